// From key to picture: which picture answers which commit, and how far the server was.
import test from 'node:test';
import assert from 'node:assert/strict';
import { Latency } from '../../../web/app/latency.js';

const shown = (epoch, revision, shownMs) => ({ epoch, revision, shownMs });

test('the first picture of a newer epoch under the revision answers a commit', () => {
    const latency = new Latency();
    assert.equal(latency.onShown(shown(1, 0, 10)), null);
    latency.commit(5, 100);
    assert.equal(latency.onShown(shown(1, 0, 120)), null);
    latency.arrived({ epoch: 2, revision: 5, atMs: 150 });
    latency.applied({ rev: 5, epoch: 2, hit: 'ready', cut: 'now' });
    assert.deepEqual(latency.onShown(shown(2, 5, 160)), { ms: 60, hit: 'ready', cut: 'now' });
    assert.equal(latency.onShown(shown(2, 5, 220)), null);
    assert.deepEqual(latency.received.values, [50]);
    assert.deepEqual(latency.byHit.ready.values, [60]);
    assert.equal(latency.byHit.cold.count, 0);
});

test('an overtaken commit is not counted; an older server says nothing of hits', () => {
    const latency = new Latency();
    latency.onShown(shown(1, 0, 0));
    latency.commit(3, 10);
    latency.commit(4, 20);
    assert.deepEqual(latency.onShown(shown(2, 4, 100)), { ms: 80, hit: null, cut: null });
    assert.equal(latency.measured, 1);
    latency.commit(5, 200);
    latency.applied({ rev: 5, hit: 'constructor' });
    assert.equal(latency.onShown(shown(3, 5, 300)).hit, null);
});

test('a preview is measured once a commit, and is not the answer', () => {
    const latency = new Latency();
    latency.onShown(shown(1, 0, 0));
    latency.commit(3, 10);
    latency.onPreview(shown(2, 3, 100));
    latency.onPreview(shown(2, 3, 160));
    assert.deepEqual(latency.preview.values, [90]);
    assert.equal(latency.measured, 0);
    assert.equal(latency.onShown(shown(2, 3, 400)).ms, 390);
});
