import test from 'node:test';
import assert from 'node:assert/strict';
import { Clock } from '../../../web/core/clock.js';
import { Averages, percentile, Rate, Recent } from '../../../web/core/stats.js';

// The server's clock is 5000 ahead; each way takes as long as said.
function ping(clock, sentMs, upMs, downMs) {
    return clock.sample(sentMs, sentMs + upMs + 5000, sentMs + upMs + downMs);
}

test('the sample with the shortest round trip counts, not the mean', () => {
    const clock = new Clock();
    ping(clock, 0, 40, 2);
    ping(clock, 100, 1, 1);
    ping(clock, 200, 3, 90);
    assert.equal(clock.rttMs, 2);
    assert.equal(clock.toLocal(5500), 500);
    assert.equal(clock.errorMs, 1);
});

test('an old best sample is forgotten, so that a drift or another route is followed', () => {
    const clock = new Clock();
    ping(clock, 0, 1, 1);
    for (let i = 1; i <= 30; i++) {
        ping(clock, i * 100, 5, 5);
    }
    assert.equal(clock.rttMs, 10);
});

test('impossible samples are refused', () => {
    const clock = new Clock();
    assert.equal(clock.sample(10, 5000, 9), false);
    assert.equal(clock.sample(10, NaN, 19), false);
    assert.equal(clock.ready, false);
    assert.equal(clock.toLocal(1), null);
});

test('rates are measured between events and forget what is past', () => {
    const rate = new Rate(2000);
    assert.equal(rate.perSecond(0), 0);
    for (let t = 0; t <= 1000; t += 62.5) {
        rate.add(t);
    }
    assert.equal(rate.perSecond(1000), 16);
    assert.equal(rate.perSecond(10000), 0);
    const bytes = new Rate(5000);
    bytes.add(0, 999);
    bytes.add(500, 100);
    bytes.add(1000, 300);
    assert.equal(bytes.perSecond(1000), 400);
});

test('percentiles are by nearest rank', () => {
    const values = Array.from({ length: 20 }, (_, i) => i + 1);
    assert.equal(percentile(values, 50), 10);
    assert.equal(percentile(values, 95), 19);
    assert.equal(percentile(values.slice(0, 10), 95), 10);
    assert.equal(percentile([7], 95), 7);
    assert.equal(percentile([], 50), null);
});

test('recent values are bounded, averages move', () => {
    const recent = new Recent(3);
    [1, 2, 3, 4, NaN].forEach((v) => recent.add(v));
    assert.deepEqual(recent.values, [2, 3, 4]);
    assert.equal(recent.last, 4);
    const averages = new Averages(0.5);
    averages.add('a', 10);
    averages.add('a', 20);
    assert.equal(averages.get('a'), 15);
    assert.equal(averages.get('b'), 0);
});
