// Enter-to-picture latency, measured in the page and printed; asserts nothing.
//
//   node bench.mjs --server PATH [--config FILE] [--model DIR] [--prompts 12] [--cuts now,latent,block] [--modes drafted,cold]
//                  [--transition scene] [--preview true] [--json true]
//
// Each prompt is typed, then Enter is pressed; the key event's own time stamp starts the clock. `shown` ends it when the first
// picture under the prompt has been drawn at the moment its pts asks for (a cut "now" asks for "now"), `received` when that
// picture's message arrived, `preview` when a preview of it was drawn. The compositor adds one to three display refreshes
// after `shown`, which no page can see. The first prompts warm the browser up and are left out.
//
// drafted: Enter follows when the server says that the draft is ready, as for a person who reads the line once more; at the
// latest after PATIENCE_MS. cold: drafting is off. A server that has no settings is measured once, as it is.
import os from 'node:os';
import { findBrowser, readArguments, report, startBrowser, startServer, type, waitFor, waitForPictures } from './browser.mjs';
import { percentile } from '../../web/core/stats.js';

const WARM_UP = 2;
const BETWEEN_MS = 2500; // the stream is in its stride again
const PATIENCE_MS = 4000;
const SHAPES = ['ball', 'square', 'triangle', 'star', 'heart'];
const COLOURS = ['red', 'green', 'blue', 'yellow', 'purple', 'orange'];

const args = readArguments({ server: '', config: '', model: '', browser: '', prompts: '12', cuts: 'now,latent,block',
    modes: 'drafted,cold', transition: 'scene', preview: 'true', json: 'false' });
const found = await findBrowser(args.browser);
const server = await startServer(args);
const browser = await startBrowser(found);
const progress = (text) => process.stderr.write(text);
let prompts = 0;
try {
    const page = await browser.page(server.url);
    await waitForPictures(page, 32);
    const rows = [];
    const { settings } = await report(page);
    for (const mode of settings ? args.modes.split(',') : ['as it is']) {
        for (const cut of settings ? args.cuts.split(',') : ['its own']) {
            if (settings) {
                await use(page, { draft: mode === 'drafted', cut, transition: args.transition, preview: args.preview === 'true' });
            }
            rows.push(await measure(page, mode, cut));
        }
    }
    print(rows, (await report(page)).codec);
} finally {
    await browser.close();
    await server.stop();
}

async function use(page, wanted) {
    await page.evaluate((fields) => globalThis.kinetype._session.set(fields), wanted);
    await waitFor('the settings', async () => {
        const { settings } = await report(page);
        return Object.entries(wanted).every(([name, value]) => settings[name] === value);
    });
}

async function measure(page, mode, cut) {
    const shown = [];
    const received = [];
    const preview = [];
    const hits = {};
    for (let i = 0; i < WARM_UP + Number(args.prompts); i++) {
        const before = await report(page);
        const shape = SHAPES[prompts % SHAPES.length];
        await type(page, `a big ${COLOURS[prompts++ % COLOURS.length]} ${shape} in front of a wall`);
        if (mode === 'drafted') {
            await waitFor('the draft', async () => (await report(page)).stage === 'ready',
                { timeoutMs: PATIENCE_MS, everyMs: 30 }).catch(() => {});
        }
        await page.keyboard.press('Enter');
        await waitFor('the picture', async () => (await report(page)).measured > before.measured, { everyMs: 50 });
        const r = await report(page);
        if (i >= WARM_UP) {
            shown.push(r.shownMs.at(-1));
            received.push(r.receivedMs.at(-1));
            preview.push(...(r.previews > before.previews ? [r.previewMs.at(-1)] : []));
            hits[r.last?.hit ?? 'unknown'] = (hits[r.last?.hit ?? 'unknown'] ?? 0) + 1;
        }
        progress(`\r${mode}, cut ${cut}: ${i + 1} ${Math.round(r.shownMs.at(-1))} ms ${r.last?.hit ?? ''}    `);
        await page.waitForTimeout(BETWEEN_MS);
    }
    progress('\n');
    return { mode, cut, hits, shown_ms: line(shown), received_ms: line(received), preview_ms: line(preview) };
}

function line(values) {
    return values.length === 0 ? null : { p50: Math.round(percentile(values, 50)), p95: Math.round(percentile(values, 95)),
        max: Math.round(Math.max(...values)), n: values.length };
}

function print(rows, codec) {
    const machine = `${os.cpus()[0].model.trim()}, ${os.cpus().length} cores`;
    if (args.json === 'true') {
        console.log(JSON.stringify({ machine, codec, rows }));
        return;
    }
    console.log(`Enter to picture on ${machine}, ${codec}, milliseconds: p50 p95 max (n)`);
    const cell = (v) => (v ? `${v.p50} ${v.p95} ${v.max} (${v.n})` : '–').padEnd(22);
    console.log(`${'mode'.padEnd(10)}${'cut'.padEnd(9)}${'shown'.padEnd(22)}${'received'.padEnd(22)}${'preview'.padEnd(22)}drafts`);
    for (const { mode, cut, hits, ...times } of rows) {
        const drafts = Object.entries(hits).map(([hit, n]) => `${hit} ${n}`).join(', ');
        console.log(mode.padEnd(10) + cut.padEnd(9) + cell(times.shown_ms) + cell(times.received_ms) +
            cell(times.preview_ms) + drafts);
    }
}
