// The README's pictures of the page, made by driving a real server: page.png, phone.png and, where ffmpeg is installed,
// page.webp, a short animation in which a prompt is typed and the picture follows.
//
//   node shots.mjs --server PATH [--config FILE] [--model DIR] [--out DIR] [--seed N] [--prompt TEXT ...]
//
// The animation plays at the speed at which it happened: each shot is shown for as long as it took until the next.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { findBrowser, readArguments, report, startBrowser, startServer, waitFor, waitForPictures } from './browser.mjs';

const DESKTOP = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const SHOT_EVERY_MS = 125;
const KEY_MS = 120;
const READ_MS = 1500;
const ANIMATION_WIDTH = 800;
const WATCH_MS = 4000; // after a prompt is on the screen

const args = readArguments({ server: '', config: '', model: '', browser: '', out: 'shots', seed: '1', prompt: [] });
const prompts = args.prompt.length ? args.prompt : [
    'a big yellow star gliding left over the ocean',
    'a big red heart over a city at night',
    'a big purple ball bouncing over green hills',
];
const found = await findBrowser(args.browser);
mkdirSync(args.out, { recursive: true });
const server = await startServer(args, { seed: args.seed });
try {
    await desktop();
    await phone();
} finally {
    await server.stop();
}

async function desktop() {
    const browser = await startBrowser(found, { viewport: DESKTOP });
    try {
        const page = await browser.page(server.url);
        await waitForPictures(page, 32);
        for (const text of prompts.slice(0, -1)) {
            await apply(page, text);
            await page.waitForTimeout(WATCH_MS);
        }
        const film = startFilm(page);
        await page.waitForTimeout(1000);
        await apply(page, prompts[prompts.length - 1]);
        await page.waitForTimeout(WATCH_MS);
        await page.screenshot({ path: path.join(args.out, 'page.png') });
        console.log(path.join(args.out, 'page.png'));
        await film.end();
    } finally {
        await browser.close();
    }
}

async function phone() {
    const browser = await startBrowser(found, { viewport: PHONE, deviceScaleFactor: 2, hasTouch: true });
    try {
        const page = await browser.page(server.url);
        await waitForPictures(page, 32);
        await apply(page, prompts[0]);
        await page.waitForTimeout(WATCH_MS);
        await page.screenshot({ path: path.join(args.out, 'phone.png') });
        console.log(path.join(args.out, 'phone.png'));
    } finally {
        await browser.close();
    }
}

// Types like a person, who reads the line once more before Enter, and waits until the prompt is on the screen.
async function apply(page, text) {
    const before = (await report(page)).measured;
    await page.focus('#prompt');
    await page.keyboard.press('Control+A');
    await page.keyboard.type(text, { delay: KEY_MS });
    await waitFor('the draft', async () => (await report(page)).stage === 'ready', { timeoutMs: READ_MS, everyMs: 30 })
        .catch(() => {}); // a server that draws nothing ahead, or a slow one
    await page.keyboard.press('Enter');
    await waitFor('the picture', async () => (await report(page)).measured > before);
}

// Takes shots until end(), which makes the animation of them.
function startFilm(page) {
    const folder = mkdtempSync(path.join(tmpdir(), 'kt-shots-'));
    const shots = [];
    let going = true;
    const taken = (async () => {
        while (going) {
            const at = Date.now();
            const file = path.join(folder, `${String(shots.length).padStart(4, '0')}.png`);
            await page.screenshot({ path: file });
            shots.push({ at, file });
            await page.waitForTimeout(Math.max(0, SHOT_EVERY_MS - (Date.now() - at)));
        }
    })();
    return {
        end: async () => {
            going = false;
            await taken;
            animate(folder, shots);
            rmSync(folder, { recursive: true, force: true });
        },
    };
}

function animate(folder, shots) {
    const list = path.join(folder, 'list.txt');
    writeFileSync(list, shots.map(({ file, at }, i) => {
        const seconds = i + 1 < shots.length ? (shots[i + 1].at - at) / 1000 : 1;
        return `file '${file}'\nduration ${seconds.toFixed(3)}\n`;
    }).join(''));
    const out = path.join(args.out, 'page.webp');
    const made = spawnSync('ffmpeg', ['-v', 'error', '-y', '-f', 'concat', '-safe', '0', '-i', list,
        '-vf', `fps=10,scale=${ANIMATION_WIDTH}:-2:flags=lanczos`, '-c:v', 'libwebp_anim', '-quality', '72',
        '-compression_level', '4', '-loop', '0', out], { stdio: ['ignore', 'inherit', 'inherit'] });
    if (made.error || made.status !== 0) {
        console.log(`no animation: ${made.error ? 'ffmpeg is not installed' : `ffmpeg left with ${made.status}`}`);
        return;
    }
    console.log(out, `(${shots.length} shots)`);
}
