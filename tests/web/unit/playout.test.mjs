import test from 'node:test';
import assert from 'node:assert/strict';
import { Playout } from '../../../web/core/playout.js';
import { seeded, SEED } from './fakes.mjs';

const FRAME = 62.5;
const DISPLAY = 1000 / 60;

// Plays `arrivals` ({ at, seq, epoch, ptsMs, flush?, late? }) on a 60 Hz display and returns what was shown when.
function play(arrivals, { untilMs, options = {}, at = {} } = {}) {
    const dropped = []; // without having been shown
    const closed = new Set();
    const playout = new Playout({
        ...options,
        drop: (p) => {
            assert.ok(!closed.has(p.seq), `${p.seq} closed twice`);
            closed.add(p.seq);
            if (!p.wasShown) {
                dropped.push(p.seq);
            }
        },
    });
    const shown = [];
    let next = 0;
    for (let now = 0; now <= untilMs; now += DISPLAY) {
        for (; next < arrivals.length && arrivals[next].at <= now; next++) {
            playout.push({ ...arrivals[next] }, arrivals[next].at);
        }
        for (const [when, act] of Object.entries(at)) {
            if (Number(when) <= now) {
                act(playout);
                delete at[when];
            }
        }
        const picture = playout.due(now);
        if (picture) {
            picture.wasShown = true;
            assert.ok(!closed.has(picture.seq) && !closed.has(picture.under?.seq), 'a closed picture is shown');
            shown.push({ seq: picture.seq, epoch: picture.epoch, at: now, under: picture.under?.seq ?? null,
                weight: picture.underWeight });
        }
    }
    return { shown, dropped, closed, playout };
}

function stream(n, { start = 0, seq = 0, epoch = 1, frame = FRAME, pts = 0, jitter = () => 0 } = {}) {
    let last = -Infinity;
    return Array.from({ length: n }, (_, i) => {
        last = Math.max(last, start + i * frame + jitter(i));
        return { at: last, seq: seq + i, epoch, ptsMs: pts + i * frame };
    });
}

function gaps(shown) {
    return shown.slice(1).map((s, i) => s.at - shown[i].at);
}

test('pictures on time are shown evenly and all of them', () => {
    const { shown, dropped } = play(stream(64), { untilMs: 4300 });
    assert.deepEqual(shown.map((s) => s.seq), Array.from({ length: 64 }, (_, i) => i));
    assert.equal(dropped.length, 0);
    assert.ok(Math.max(...gaps(shown)) < FRAME + 2 * DISPLAY);
    assert.ok(Math.min(...gaps(shown)) > FRAME - 2 * DISPLAY);
});

test(`jitter within the buffer does not show (seed ${SEED})`, () => {
    const random = seeded(SEED);
    const { shown } = play(stream(100, { jitter: () => random() * 45 }), { untilMs: 7000 });
    assert.equal(shown.length, 100);
    assert.ok(Math.max(...gaps(shown)) < FRAME + 2 * DISPLAY, `${gaps(shown)}`);
});

test('a burst of a whole block is never shown as a burst', () => {
    const burst = stream(12).map((p) => ({ ...p, at: 5 }));
    const { shown, dropped } = play(burst, { untilMs: 1200 });
    assert.equal(shown.length, 12);
    assert.equal(dropped.length, 0);
    assert.ok(Math.min(...gaps(shown)) > FRAME - 2 * DISPLAY);
});

test('after a stall the rhythm starts again: nothing is skipped, nothing is hurried', () => {
    const stalled = stream(40).map((p) => ({ ...p, at: p.seq >= 10 && p.seq < 20 ? Math.max(p.at, 1400) : p.at }))
        .sort((a, b) => a.seq - b.seq);
    let last = 0;
    for (const p of stalled) {
        p.at = last = Math.max(last, p.at);
    }
    const { shown, dropped } = play(stalled, { untilMs: 4500 });
    assert.equal(shown.length, 40);
    assert.equal(dropped.length, 0);
    assert.ok(Math.min(...gaps(shown)) > FRAME - 2 * DISPLAY, `${gaps(shown)}`);
    assert.equal(gaps(shown).filter((g) => g > FRAME + 2 * DISPLAY).length, 1);
});

test('a slower device plays evenly slower', () => {
    const { shown } = play(stream(40, { frame: 110 }), { untilMs: 5000 });
    assert.equal(shown.length, 40);
    assert.ok(Math.max(...gaps(shown)) < 110 + 2 * DISPLAY);
    assert.ok(Math.min(...gaps(shown)) > 110 - 2 * DISPLAY);
});

test('old pictures play on until the first of the new epoch is there, then they are dropped', () => {
    const old = stream(16).map((p) => ({ ...p, at: Math.min(p.at, 100) })); // far ahead in the buffer
    const fresh = stream(8, { start: 400, seq: 16, epoch: 2, pts: 16 * FRAME });
    fresh[0].flush = true;
    const { shown, dropped } = play([...old, ...fresh], { untilMs: 1500 });
    const first = shown.find((s) => s.epoch === 2);
    assert.ok(first.at - 400 <= DISPLAY + 1e-9, `shown ${first.at - 400} ms after it came`);
    const before = shown.filter((s) => s.at < first.at);
    assert.ok(before[before.length - 1].at > 400 - FRAME - DISPLAY, 'no freeze before the change');
    assert.ok(before.every((s) => s.epoch === 1));
    assert.ok(shown.filter((s) => s.at > first.at).every((s) => s.epoch === 2));
    assert.deepEqual(dropped, Array.from({ length: 16 }, (_, i) => i).filter((seq) => !before.some((s) => s.seq === seq)));
    assert.ok(Math.min(...gaps(shown.filter((s) => s.epoch === 2))) > FRAME - 2 * DISPLAY);
});

test('a picture of an older epoch that comes behind the new one is dropped', () => {
    const dropped = [];
    const playout = new Playout({ drop: (p) => dropped.push(p.seq) });
    playout.push({ seq: 5, epoch: 2, ptsMs: 0 }, 0);
    playout.push({ seq: 4, epoch: 1, ptsMs: 0 }, 1);
    assert.deepEqual(dropped, [4]);
    assert.equal(playout.due(60).seq, 5);
});

test('late moves the clock, after the pictures before it', () => {
    const pictures = [...stream(4), ...stream(8, { start: 900, seq: 4, pts: 2000 })];
    pictures[4].late = true;
    const { shown, dropped } = play(pictures, { untilMs: 2000 });
    assert.deepEqual(shown.map((s) => s.seq), Array.from({ length: 12 }, (_, i) => i));
    assert.equal(dropped.length, 0);
    assert.ok(shown[4].at - 900 <= DISPLAY + 1e-9);
    assert.ok(Math.max(...gaps(shown.slice(4))) < FRAME + 2 * DISPLAY);
});

test('paused: nothing is due; afterwards at once and evenly', () => {
    const { shown } = play(stream(30), {
        untilMs: 4000,
        at: { 500: (p) => p.setPaused(true), 2000: (p) => p.setPaused(false) },
    });
    assert.ok(!shown.some((s) => s.at > 500 && s.at < 2000));
    assert.ok(shown.some((s) => s.at >= 2000 && s.at < 2000 + 2 * DISPLAY));
    assert.equal(shown.length, 30);
});

test('bounded: the oldest go when nobody shows anything', () => {
    const dropped = [];
    const playout = new Playout({ max: 8, drop: (p) => dropped.push(p.seq) });
    for (let seq = 0; seq < 100; seq++) {
        playout.push({ seq, epoch: 1, ptsMs: seq * FRAME }, 0);
    }
    assert.equal(playout.depth, 8);
    assert.equal(dropped.length, 92);
    assert.equal(dropped[0], 0);
    playout.reset();
    assert.equal(dropped.length, 100);
    assert.equal(playout.wait(0), null);
});

test('pts too far ahead cannot freeze the picture for long after a flush', () => {
    const playout = new Playout();
    playout.push({ seq: 0, epoch: 1, ptsMs: 0 }, 0);
    assert.equal(playout.due(60).seq, 0);
    playout.push({ seq: 1, epoch: 2, ptsMs: 900000, flush: true }, 70);
    assert.equal(playout.due(70).seq, 1);
    playout.push({ seq: 2, epoch: 2, ptsMs: 900000 + FRAME }, 80);
    assert.equal(playout.wait(70 + FRAME), 0);
});

// 16 old pictures of which many wait, then a new epoch at 400 ms.
function switched({ flush = true, fade = 0, ahead = 16, n = 8 }) {
    const old = stream(ahead).map((p) => ({ ...p, at: Math.min(p.at, 100) }));
    const fresh = stream(n, { start: 400, seq: ahead, epoch: 2, pts: ahead * FRAME });
    Object.assign(fresh[0], { flush, fade });
    return play([...old, ...fresh], { untilMs: 3500 });
}

test('fade: the old pictures that were due lie under the new ones with falling weight, then they are gone', () => {
    const { shown, playout } = switched({ fade: 3 });
    const last = shown.findLast((s) => s.epoch === 1).seq;
    const fresh = shown.filter((s) => s.epoch === 2);
    assert.deepEqual(fresh.map((s) => s.under), [last + 1, last + 2, last + 3, null, null, null, null, null]);
    assert.deepEqual(fresh.slice(0, 4).map((s) => s.weight), [0.75, 0.5, 0.25, 0]);
    assert.ok(shown.filter((s) => s.epoch === 1).every((s) => s.under === null));
    assert.equal(playout.dropped, 16 - 1 - last - 3, 'the old ones beyond the fade');
});

test('fade with fewer old pictures than it lasts: the last one stands; with none, the one on the screen', () => {
    const one = switched({ fade: 3, ahead: 7 }); // at 400 ms pictures 0 to 5 were shown, one waits
    const before = one.shown.findLast((s) => s.epoch === 1).seq;
    assert.equal(before, 5);
    assert.deepEqual(one.shown.filter((s) => s.epoch === 2).slice(0, 4).map((s) => s.under), [6, 6, 6, null]);
    const none = switched({ fade: 3, ahead: 5 });
    assert.deepEqual(none.shown.filter((s) => s.epoch === 2).slice(0, 4).map((s) => s.under), [4, 4, 4, null]);
    none.playout.reset();
    assert.equal(none.closed.size, 13, 'every picture is closed');
});

test('a new epoch without flush follows in order and drops nothing', () => {
    const { shown, dropped } = switched({ flush: false });
    assert.deepEqual(shown.map((s) => s.seq), Array.from({ length: 24 }, (_, i) => i));
    assert.deepEqual(dropped, []);
    assert.ok(Math.min(...gaps(shown)) > FRAME - 2 * DISPLAY);
    assert.ok(shown.every((s) => s.under === null));
});

test('a second flush during a fade ends it: nothing of two epochs ago is blended', () => {
    const old = stream(8).map((p) => ({ ...p, at: 10 }));
    const second = stream(4, { start: 200, seq: 8, epoch: 2, pts: 8 * FRAME }).map((p) => ({ ...p, at: 200 }));
    const third = stream(6, { start: 300, seq: 12, epoch: 3, pts: 12 * FRAME });
    Object.assign(second[0], { flush: true, fade: 4 });
    Object.assign(third[0], { flush: true, fade: 4 });
    const { shown } = play([...old, ...second, ...third], { untilMs: 1500 });
    const under = shown.filter((s) => s.epoch === 3).map((s) => s.under);
    assert.deepEqual(under, [10, 11, 11, 11, null, null]);
});

test(`random switches: no old picture after the fade, weights fall, every picture is closed once (seed ${SEED})`, () => {
    const random = seeded(SEED);
    const arrivals = [];
    let at = 0;
    let epoch = 1;
    for (let seq = 0; seq < 2000; seq++) {
        at += random() < 0.1 ? random() * 200 : random() * 70;
        const flush = random() < 0.05;
        epoch += flush || random() < 0.02 ? 1 : 0;
        arrivals.push({ at, seq, epoch, ptsMs: seq * FRAME, flush, fade: flush ? Math.floor(random() * 5) : 0 });
    }
    const { shown, closed, playout } = play(arrivals, { untilMs: at + 3000 });
    let epochShown = 0;
    let blended = 0;
    for (const s of shown) {
        assert.ok(s.epoch >= epochShown, 'an old picture after a new one');
        blended = s.epoch > epochShown ? 0 : blended;
        epochShown = s.epoch;
        if (s.under !== null) {
            blended++;
            assert.ok(s.under < s.seq && s.weight > 0 && s.weight < 1 && blended <= 4, JSON.stringify(s));
        }
    }
    assert.ok(shown.some((s) => s.under !== null));
    playout.reset();
    assert.equal(closed.size, 2000);
});
