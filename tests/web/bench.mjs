// Enter-to-picture latency, measured in the page and printed; asserts nothing.
//
//   node bench.mjs --server PATH [--config FILE] [--model DIR] [--prompts 30] [--json true]
//
// Each prompt is typed, then Enter is pressed; the key event's own time stamp starts the clock. `shown` ends it when the first
// picture under the prompt has been drawn at the moment its pts asks for (a prompt change asks for "now"), `received` when that
// picture's message arrived. The compositor adds one to three display refreshes after `shown`, which no page can see. The first
// prompts warm the browser up and are left out.
import os from 'node:os';
import { findBrowser, readArguments, report, startBrowser, startServer, type, waitFor, waitForPictures } from './browser.mjs';
import { percentile } from '../../web/core/stats.js';

const WARM_UP = 3;
const BETWEEN_MS = 2500; // the stream is in its stride again
const SHAPES = ['ball', 'square', 'triangle', 'star', 'heart'];
const COLOURS = ['red', 'green', 'blue', 'yellow', 'purple', 'orange'];

const args = readArguments({ server: '', config: '', model: '', browser: '', prompts: '30', json: 'false' });
const found = await findBrowser(args.browser);
const server = await startServer(args);
const browser = await startBrowser(found);
const progress = (text) => process.stderr.write(text);
try {
    const page = await browser.page(server.url);
    await waitForPictures(page, 32);
    const total = WARM_UP + Number(args.prompts);
    const shown = [];
    const received = [];
    for (let i = 0; i < total; i++) {
        const before = (await report(page)).measured;
        await type(page, `a big ${COLOURS[i % COLOURS.length]} ${SHAPES[i % SHAPES.length]} in front of a wall`);
        await page.keyboard.press('Enter');
        await waitFor('the picture', async () => (await report(page)).measured > before, { timeoutMs: 60000, everyMs: 50 });
        const r = await report(page);
        if (i >= WARM_UP) {
            shown.push(r.shownMs[r.shownMs.length - 1]);
            received.push(r.receivedMs[r.receivedMs.length - 1]);
        }
        progress(`\r${i + 1}/${total} ${Math.round(r.shownMs[r.shownMs.length - 1])} ms  `);
        await page.waitForTimeout(BETWEEN_MS);
    }
    progress('\n');
    const line = (values) => ({ p50: Math.round(percentile(values, 50)), p95: Math.round(percentile(values, 95)),
        max: Math.round(Math.max(...values)), n: values.length });
    const result = {
        machine: `${os.cpus()[0].model.trim()}, ${os.cpus().length} cores`,
        codec: (await report(page)).codec,
        shown_ms: line(shown),
        received_ms: line(received),
    };
    if (args.json === 'true') {
        console.log(JSON.stringify(result));
    } else {
        console.log(`Enter to picture on ${result.machine}, ${result.codec}`);
        for (const [name, v] of [['shown', result.shown_ms], ['received', result.received_ms]]) {
            console.log(`  ${name.padEnd(9)} p50 ${v.p50} ms   p95 ${v.p95} ms   max ${v.max} ms   n ${v.n}`);
        }
    }
} finally {
    await browser.close();
    await server.stop();
}
