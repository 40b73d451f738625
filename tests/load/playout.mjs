// playout.mjs PRINTER: the page's playout and the load client's show the same pictures at the same time.
//
// Random arrivals (jitter, stalls, bursts, new epochs with and without flush, late flags) go through web/core/playout.js
// here and through load/playout.c in PRINTER.
import { spawnSync } from 'node:child_process';
import { Playout } from '../../web/core/playout.js';

const FRAME = 62.5; // exact in binary, like everything below
const LENGTH_MS = 20000;
const SEEDS = 40;

function generator(seed) {
    let state = BigInt(seed) * 2862933555777941757n + 3037000493n;
    return (n) => {
        state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
        return Number((state >> 33n) % BigInt(n));
    };
}

function arrivals(seed) {
    const random = generator(seed);
    const list = [];
    let at = 0;
    let pts = 0;
    let epoch = 1;
    for (let seq = 0; at < LENGTH_MS - 2000; seq++) {
        const switched = seq > 0 && random(20) === 0;
        const stalled = random(30) === 0;
        const late = stalled && random(2) === 0;
        epoch += switched ? 1 : 0;
        pts += FRAME + (late ? FRAME * random(8) : 0);
        at += (random(4) === 0 ? random(120) : 60) + (stalled ? random(600) : 0) - (random(3) === 0 ? 60 : 0);
        at = Math.max(at, list.length ? list[list.length - 1].at : 0);
        list.push({ at, seq, epoch, ptsMs: pts, flush: switched && random(2) === 0, late });
    }
    return list;
}

function playPage(list) {
    const playout = new Playout();
    const shown = [];
    let next = 0;
    for (let ms = 0; ms < LENGTH_MS; ms++) {
        for (; next < list.length && list[next].at <= ms; next++) {
            playout.push({ ...list[next] }, list[next].at);
        }
        for (let p = playout.due(ms); p; p = playout.due(ms)) {
            shown.push(`${p.seq} ${ms}`);
        }
    }
    return shown;
}

function playLoad(list) {
    const input = list.map((p) => [p.at * 1000, p.seq, p.epoch, p.ptsMs * 1000, Number(p.flush), Number(p.late)].join(' '));
    const result = spawnSync(process.argv[2], [String(LENGTH_MS)], { input: input.join('\n'), encoding: 'utf8' });
    return result.stdout.trim().split('\n');
}

let pictures = 0;
for (let seed = 1; seed <= SEEDS; seed++) {
    const list = arrivals(seed);
    const page = playPage(list);
    const load = playLoad(list);
    const at = page.findIndex((line, i) => line !== load[i]);
    if (at >= 0 || page.length !== load.length) {
        console.error(`seed ${seed}, picture ${at}: the page shows ${page[at]}, the load client ${load[at]}`);
        process.exit(1);
    }
    pictures += page.length;
}
if (pictures < 100 * SEEDS) {
    console.error(`only ${pictures} pictures were shown: the arrivals are not worth comparing`);
    process.exit(1);
}
console.log(`${pictures} pictures of ${SEEDS} streams shown alike`);
