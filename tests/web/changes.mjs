// How a change looks and what the page makes of a server's words, in a real browser against a scripted server: cross-fades
// and previews to the pixel, drafts, the waiting room, settings, the timeline.
//
//   node changes.mjs [--browser PATH] [--only NAME ...]
//
// Exits 77 when chromium or playwright-core is missing. Each picture is waited for, so that nothing depends on speed.
import test from 'node:test';
import assert from 'node:assert/strict';
import { findBrowser, picture, readArguments, report, startBrowser, type, waitFor } from './browser.mjs';
import { SETTINGS, startScripted } from './scripted.mjs';

const args = readArguments({ browser: '', only: [] });
const found = await findBrowser(args.browser);
const SPACING_MS = 500;

function browserTest(name, options, body) {
    if (args.only.length && !args.only.some((part) => name.includes(part))) {
        return;
    }
    test(name, { timeout: 120000 }, async () => {
        const browser = await startBrowser(found, options.browser);
        const server = await startScripted(browser.context);
        try {
            await body({ browser, server });
        } finally {
            await browser.close();
            server.close();
        }
    });
}

async function opened({ browser, server }, query = '') {
    const page = await browser.page(server.url + query);
    await waitFor('the page', async () => (await report(page)).phase === 'open');
    return { page, client: server.clients[server.clients.length - 1] };
}

// The mean colour in the middle of the picture, each 0 to 1.
async function colours(page) {
    const { data, channels, width, height } = await picture(page);
    const sum = [0, 0, 0];
    let n = 0;
    for (let y = Math.floor(height * 0.6); y < height * 0.7; y++) {
        for (let x = Math.floor(width * 0.4); x < width * 0.6; x++, n++) {
            sum.forEach((_, i) => {
                sum[i] += data[(y * width + x) * channels + i];
            });
        }
    }
    return sum.map((v) => v / n / 255);
}

// Looks at the screen again and again until `last` says so; returns the colours seen, each once.
async function watch(page, last) {
    const seen = [];
    await waitFor('the last colour', async () => {
        const now = await colours(page);
        const before = seen[seen.length - 1];
        if (!before || now.some((v, i) => Math.abs(v - before[i]) > 0.02)) {
            seen.push(now);
        }
        return last(now);
    }, { everyMs: 20, timeoutMs: 20000 });
    return seen;
}

const isColour = (i) => (c) => c[i] > 0.9 && c.every((v, k) => k === i || v < 0.1);
const isRed = isColour(0);
const isGreen = isColour(1);
const isBlue = isColour(2);

async function waitForScreen(page, is) {
    await waitFor('the colour', async () => is(await colours(page)), { everyMs: 50 });
}

const falls = (values) => values.every((v, i) => i === 0 || v <= values[i - 1] + 0.03);

for (const renderer of ['2d', 'webgl']) {
    const gpu = { browser: { gpu: renderer === 'webgl', args: renderer === 'webgl' ? ['--enable-unsafe-swiftshader'] : [] } };

    browserTest(`${renderer}: a flush with a fade blends the old pictures out, step by step, and then shows none`, gpu,
        async (parts) => {
            const { page, client } = await opened(parts, `&renderer=${renderer}`);
            await waitFor('the renderer to be chosen', async () => (await report(page)).renderer !== null);
            assert.equal((await report(page)).renderer, renderer);
            for (let i = 0; i < 4; i++) {
                client.picture('red', { ptsMs: i * SPACING_MS, frame: i, first: i === 0 });
            }
            await waitForScreen(page, isRed);
            // One at a time, each looked at before the next is sent: a late picture is shown when it comes.
            const red = [];
            for (const [step, weight] of [0.75, 0.5, 0.25, 0, 0].entries()) {
                client.picture('blue', { ptsMs: (4 + step) * SPACING_MS, frame: 4 + step, epoch: 2, first: step === 0,
                    flush: step === 0, fade: step === 0 ? 3 : 0 });
                await waitFor(`${weight} of the old picture`, async () => {
                    red.push((await colours(page))[0]);
                    return Math.abs(red[red.length - 1] - weight) < 0.08;
                }, { everyMs: 20, timeoutMs: 20000 });
            }
            assert.ok(falls(red), `no flicker: ${red}`);
            await page.waitForTimeout(SPACING_MS);
            assert.ok(isBlue(await colours(page)), 'no old picture after the fade');
            assert.equal((await report(page)).blended, 3);
            assert.deepEqual(page.faults, []);
        });

    browserTest(`${renderer}: a preview lies over the old pictures until the full one comes, and never after it`, gpu,
        async (parts) => {
            const { page, client } = await opened(parts, `&renderer=${renderer}`);
            for (let i = 0; i < 40; i++) {
                client.picture('red', { ptsMs: i * 150, frame: i, first: i === 0 });
            }
            await waitForScreen(page, isRed);
            let ptsMs = 50000;
            const previews = setInterval(() => {
                client.picture('green', { ptsMs, epoch: 2, stream: 1 });
                ptsMs += 150;
            }, 150);
            const coming = await watch(page, isGreen).finally(() => clearInterval(previews));
            assert.ok(falls(coming.map(([r]) => r)), `the old one goes: ${coming}`);
            assert.equal((await report(page)).previews, 1);
            for (let i = 40; i < 50; i++) {
                client.picture('blue', { ptsMs: i * 150, frame: i, epoch: 2, first: i === 40, flush: i === 40,
                    fade: i === 40 ? 3 : 0 });
            }
            client.picture('green', { ptsMs, epoch: 2, stream: 1 });
            const full = await watch(page, isBlue);
            assert.ok(falls(full.map(([, g]) => g)), `the preview goes: ${full}`);
            assert.ok(full.every(([r]) => r < 0.1), `the old picture does not come back: ${full}`);
            client.picture('green', { ptsMs: ptsMs + 150, epoch: 2, stream: 1 });
            await page.waitForTimeout(600);
            assert.ok(isBlue(await colours(page)), 'a late preview is dropped');
            assert.deepEqual(page.faults, []);
        });
}

browserTest('a new epoch without flush: the old pictures play out', {}, async (parts) => {
    const { page, client } = await opened(parts);
    for (let i = 0; i < 4; i++) {
        client.picture('red', { ptsMs: i * 200, frame: i, first: i === 0 });
    }
    for (let i = 4; i < 8; i++) {
        client.picture('blue', { ptsMs: i * 200, frame: i, epoch: 2, first: i === 4 });
    }
    await waitForScreen(page, isBlue);
    await waitFor('all pictures', async () => (await report(page)).pictures === 8);
});

browserTest('drafts: the bar says how far the server is with what is typed, and latency is kept by kind', {}, async (parts) => {
    const { page, client } = await opened(parts);
    client.picture('red', { ptsMs: 0, first: true });
    await type(page, 'a blue star');
    const rev = await waitFor('the last edit', () => client.of('edit').at(-1)?.rev >= 11 && client.of('edit').at(-1).rev);
    const stage = () => page.locator('#draft').getAttribute('data-stage');
    client.say('drafted', { rev: rev - 1, stage: 'ready', server_us: 1 });
    client.say('drafted', { rev, stage: 'text', server_us: 1 });
    await waitFor('the text', async () => await stage() === 'text');
    client.say('drafted', { rev, stage: 'ready', server_us: 1 });
    await waitFor('ready', async () => await stage() === 'ready');
    assert.match(await page.locator('#receipt').textContent(), /Enter shows it at once/);
    await page.keyboard.type('s');
    assert.equal(await stage(), 'none', 'another text, another draft');
    await page.keyboard.press('Backspace');
    await page.keyboard.press('Enter');
    const commit = await waitFor('the commit', () => client.of('commit')[0]);
    assert.deepEqual(Object.keys(commit), ['type', 'rev'], 'what is in force anyway is not said');
    client.say('applied', { rev: commit.rev, epoch: 2, frame: 8, hit: 'ready', cut: 'now', flush: true, server_us: 2 });
    client.picture('blue', { ptsMs: 500, epoch: 2, revision: commit.rev, first: true, flush: true });
    await waitFor('the measure', async () => (await report(page)).last?.hit === 'ready');
    assert.match(await page.locator('#receipt').textContent(), /drawn while you typed/);
    await waitFor('the list', async () => /drawn ahead/.test(await page.locator('#hits').textContent()));
});

browserTest('the waiting room: the place, leaving, coming in with what was typed', {}, async ({ browser, server }) => {
    server.accept = (client) => client.say('queued', { position: 3, sessions: 2, eta_ms: 42000 });
    const page = await browser.page(server.url);
    const title = page.locator('#cover-title');
    await waitFor('the place', async () => /2 people are before you/.test(await title.textContent()));
    assert.equal(await page.locator('#cover-place').textContent(), '3');
    assert.match(await page.locator('#cover-text').textContent(), /About 50 seconds/);
    await type(page, 'a star');
    await page.locator('#cover-leave').click();
    await waitFor('left', async () => /left the line/.test(await title.textContent()));
    assert.equal(server.clients[0].of('bye').length, 1);
    await page.locator('#cover-retry').click();
    await waitFor('in line again', () => server.clients.length === 2 && server.clients[1].hello);
    server.clients[1].say('queued', { position: 1, sessions: 2 });
    await waitFor('next', async () => /You are next/.test(await title.textContent()));
    server.clients[1].welcome();
    await waitFor('in', async () => (await report(page)).phase === 'open');
    await waitFor('the text', () => server.clients[1].of('edit').length === 1);
    assert.equal(await page.inputValue('#prompt'), 'a star');
    assert.equal(await page.locator('#cover-leave').isVisible(), false);
    assert.deepEqual(page.faults, []);
});

browserTest('settings: set at once, kept over a reload, reached by keys; an older server shows none', {}, async (parts) => {
    const { page, client } = await opened(parts);
    await page.keyboard.press('Escape');
    await page.keyboard.press('s');
    assert.equal(await page.locator('#tune').getAttribute('aria-expanded'), 'true');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'set-draft');
    await page.keyboard.press('Space');
    await waitFor('drafts off', () => client.of('set').some((m) => m.draft === false));
    await page.selectOption('#set-cut', 'block');
    await page.selectOption('#set-recache', '3');
    await waitFor('both', () => client.of('set').some((m) => m.recache === 3) && client.of('set').some((m) => m.cut === 'block'));
    await page.locator('#blend-choice').click();
    await waitFor('the transition', () => client.of('set').some((m) => m.transition === 'blend'));
    await page.reload();
    const again = await waitFor('the next session', () => parts.server.clients[1]?.of('set').length >= 2 && parts.server.clients[1]);
    assert.deepEqual(Object.assign({}, ...again.of('set')), { type: 'set', draft: false, cut: 'block', recache: 3,
        transition: 'blend' });
    parts.server.accept = (c) => c.welcome({ settings: undefined, features: ['scene', 'cut'] });
    await page.reload();
    await waitFor('the older server', async () => (await report(page)).phase === 'open');
    await page.locator('#tune').click();
    assert.deepEqual(await page.locator('#settings .setting:visible label').allTextContents(), ['Steps']);
    assert.equal(await page.locator('#blend-choice').isVisible(), false);
    assert.equal(parts.server.clients[2].of('set').length, 0);
});

// Two prompts on the timeline: frames 0 to 15, and 16 on.
async function twoPrompts(client, page) {
    for (let i = 0; i < 8; i++) {
        client.picture('red', { ptsMs: i * 60, frame: 2 * i, first: i === 0 });
    }
    await waitFor('eight', async () => (await report(page)).pictures >= 8);
    for (let i = 8; i < 16; i++) {
        client.picture('blue', { ptsMs: i * 60, frame: 2 * i, epoch: 2, revision: 5, first: i === 8 });
    }
    await waitFor('sixteen', async () => (await report(page)).pictures >= 16);
}

browserTest('the timeline: a click goes back, as long as there is a way', {}, async (parts) => {
    const { page, client } = await opened(parts);
    await twoPrompts(client, page);
    assert.equal(await page.locator('#track').getAttribute('aria-hidden'), 'true', 'not before the server says so');
    client.say('history', { from: 0, to: 30 });
    const moments = page.locator('#track .moment');
    await waitFor('the strip', async () => await page.locator('#track').getAttribute('aria-hidden') === 'false');
    await page.waitForTimeout(300);
    const box = await moments.nth(0).boundingBox();
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    const back = await waitFor('the rewind', () => client.of('rewind')[0]);
    assert.ok(back.frame >= 5 && back.frame <= 9, `frame ${back.frame} of 0 to 14`);
    client.say('applied', { rev: 5, epoch: 3, frame: back.frame, hit: 'cold', cut: 'now', flush: true, server_us: 1 });
    client.picture('green', { ptsMs: 1500, frame: back.frame, epoch: 3, revision: 5, first: true, flush: true, fade: 3 });
    await waitFor('the entry', async () => /back at/.test(await page.locator('#history .when').first().textContent()));
    client.say('history', { from: 0, to: back.frame });
    await waitFor('no way to what was overwritten', async () =>
        await moments.nth(1).getAttribute('aria-disabled') === 'true' &&
        await moments.nth(0).getAttribute('aria-disabled') === 'false');
    assert.match(await moments.nth(1).getAttribute('title'), /no way back/);
    await moments.nth(2).focus();
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('Enter');
    await waitFor('the start', () => client.of('rewind').some((m) => m.frame === 0));
    client.say('history', { from: 12, to: 40 });
    await waitFor('gone', async () => await moments.nth(0).getAttribute('aria-disabled') === 'true');
    const before = client.of('rewind').length;
    await moments.nth(0).click({ force: true });
    await page.waitForTimeout(200);
    assert.equal(client.of('rewind').length, before);
    assert.deepEqual(page.faults, []);
});

browserTest('a fork opens a second window; the token never stands in an address', {}, async (parts) => {
    const { page, client } = await opened(parts);
    await twoPrompts(client, page);
    client.say('history', { from: 0, to: 30 });
    const opening = parts.browser.context.waitForEvent('page');
    await page.locator('#history li').nth(1).getByRole('button', { name: /second window/ }).click();
    const other = await opening;
    const hello = await waitFor('its hello', () => parts.server.clients[1]?.hello);
    assert.equal(hello.fork.frame, 0);
    assert.equal(hello.fork.session, await page.evaluate(() => globalThis.kinetype._session.resumeToken));
    assert.equal(hello.resume, undefined);
    assert.ok(!other.url().includes(hello.fork.session) && !other.url().includes('#'), other.url());
    await other.close();
    assert.equal((await report(page)).phase, 'open');
    assert.deepEqual(page.faults, []);
});

browserTest('everything in the settings and on the timeline has a name', {}, async (parts) => {
    const { page, client } = await opened(parts);
    await twoPrompts(client, page);
    client.say('history', { from: 0, to: 30 });
    await page.locator('#tune').click();
    await waitFor('all settings', async () =>
        await page.locator('#settings .setting:visible').count() === Object.keys(SETTINGS).length);
    const nameless = await page.evaluate(() => [...document.querySelectorAll('button, input, select, textarea')]
        .filter((e) => e.checkVisibility() && !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
        .map((e) => e.outerHTML));
    assert.deepEqual(nameless, []);
});
