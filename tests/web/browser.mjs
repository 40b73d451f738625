// What the browser scripts share: arguments, a server, a browser, and waiting for pixels.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { decodePng } from './png.mjs';
import { dominantColour } from './colour.mjs';

export const SKIP = 77; // "cannot run here"
const START_MS = 60000;
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'];
const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

// --name value pairs; unknown names are refused.
export function readArguments(defaults) {
    const values = { ...defaults };
    const argv = process.argv.slice(2);
    for (let i = 0; i < argv.length; i += 2) {
        const name = argv[i].replace(/^--/, '');
        if (!(name in defaults) || argv[i + 1] === undefined) {
            console.error(`${argv[i]}: expected one of ${Object.keys(defaults).map((n) => `--${n} VALUE`).join(', ')}`);
            process.exit(2);
        }
        values[name] = Array.isArray(defaults[name]) ? [...values[name], argv[i + 1]] : argv[i + 1];
    }
    return values;
}

function cannotRun(why) {
    console.log(`cannot run here: ${why}`);
    process.exit(SKIP);
}

// playwright-core's chromium and the path of a browser; leaves with 77 when one is missing.
export async function findBrowser(wanted) {
    const executablePath = wanted || BROWSERS.find((p) => existsSync(p));
    if (!executablePath || !existsSync(executablePath)) {
        cannotRun(`no chromium at ${wanted || BROWSERS.join(', ')}`);
    }
    try {
        const { chromium } = await import('playwright-core');
        return { chromium, executablePath };
    } catch {
        return cannotRun('playwright-core is missing (tests/web/README.md says how to install it)');
    }
}

// A running server: { url, port, stop(signal) }. Options are passed on to `serve`.
export async function startServer({ server, config, model, env = {} }, options = {}) {
    if (!server || !existsSync(server)) {
        cannotRun(`no server at "${server}"`);
    }
    const args = ['serve', ...(config ? ['--config', config] : [])];
    for (const [name, value] of Object.entries({ port: 0, ...(model ? { model } : {}), ...options })) {
        args.push(`--${name}`, String(value));
    }
    const child = spawn(server, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    let log = '';
    child.stderr.on('data', (data) => {
        log = (log + data).slice(-20000);
    });
    const exited = new Promise((resolve) => child.on('exit', (code, signal) => resolve({ code, signal })));
    const url = await firstUrl(child, exited, () => log);
    return {
        url,
        port: new URL(url).port,
        get log() {
            return log;
        },
        stop: async (signal = 'SIGTERM') => {
            child.kill(signal);
            return exited;
        },
    };
}

function firstUrl(child, exited, log) {
    return new Promise((resolve, reject) => {
        let out = '';
        const timer = setTimeout(() => {
            child.kill('SIGKILL');
            reject(new Error(`the server said no address in ${START_MS} ms\n${log()}`));
        }, START_MS);
        exited.then(({ code, signal }) => {
            clearTimeout(timer);
            reject(new Error(`the server left with ${code ?? signal}\n${log()}`));
        });
        child.stdout.on('data', (data) => {
            out += data;
            const found = out.match(/https?:\/\/\S+\//);
            if (found) {
                clearTimeout(timer);
                resolve(found[0]);
            }
        });
    });
}

// A browser with a profile of its own: { context, page(url, options), close() }. page() collects what goes wrong in it.
export async function startBrowser({ chromium, executablePath }, { viewport, args = [], gpu = false, ...options } = {}) {
    const profile = mkdtempSync(path.join(tmpdir(), 'kt-web-'));
    const context = await chromium.launchPersistentContext(profile, {
        executablePath,
        headless: true,
        viewport: viewport ?? { width: 1280, height: 800 },
        args: [...FLAGS.filter((flag) => !gpu || flag !== '--disable-gpu'), ...args],
        ...options,
    });
    return {
        context,
        page: async (url) => {
            const page = await context.newPage();
            page.faults = [];
            page.on('pageerror', (error) => page.faults.push(error.message));
            page.on('console', (m) => {
                if (m.type() === 'error') {
                    page.faults.push(m.text());
                }
            });
            await page.goto(url);
            return page;
        },
        close: async () => {
            await context.close();
            rmSync(profile, { recursive: true, force: true });
        },
    };
}

export async function waitFor(what, probe, { timeoutMs = 60000, everyMs = 100 } = {}) {
    const until = Date.now() + timeoutMs;
    let last;
    while (Date.now() < until) {
        last = await probe();
        if (last) {
            return last;
        }
        await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
    throw new Error(`${what}: not within ${timeoutMs} ms`);
}

export const report = (page) => page.evaluate(() => globalThis.kinetype?.report ?? {});

export async function waitForPictures(page, least = 8) {
    await waitFor(`${least} pictures`, async () => {
        const { phase, pictures } = await report(page);
        return phase === 'open' && pictures >= least; // of this connection: the count starts again with it
    });
}

// What is on the screen, not what is in some buffer.
export async function picture(page) {
    return decodePng(await page.locator('#picture').screenshot());
}

// Until the dominant colour is `colour` in `times` looks in a row.
export async function waitForColour(page, colour, { times = 3, ...options } = {}) {
    let run = 0;
    const seen = new Map();
    try {
        await waitFor(colour, async () => {
            const found = dominantColour(await picture(page));
            seen.set(found, (seen.get(found) ?? 0) + 1);
            run = found === colour ? run + 1 : 0;
            return run >= times;
        }, options);
    } catch {
        const list = [...seen].map(([name, n]) => `${name} ${n}×`).join(', ');
        throw new Error(`the picture never became ${colour}; seen: ${list}`);
    }
}

// Replaces the prompt by typing, key by key.
export async function type(page, text, { delay = 15 } = {}) {
    await page.focus('#prompt');
    await page.keyboard.press('Control+A');
    await page.keyboard.type(text, { delay });
}
