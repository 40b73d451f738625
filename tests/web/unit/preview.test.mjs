// The preview's policy: never behind the full picture, never alone, never a queue that grows.
import test from 'node:test';
import assert from 'node:assert/strict';
import { Preview, PREVIEW_MAX } from '../../../web/core/preview.js';
import { seeded, SEED } from './fakes.mjs';

const FRAME = 62.5;

function setUp() {
    const closed = [];
    const preview = new Preview({
        drop: (p) => {
            assert.ok(!closed.includes(p), 'closed twice');
            closed.push(p);
        },
    });
    const made = [];
    const push = (epoch, ptsMs) => {
        const picture = { epoch, ptsMs, revision: 7, image: { name: `${epoch}@${ptsMs}` } };
        made.push(picture);
        preview.push(picture);
    };
    return { preview, push, closed, made };
}

test('comes in over three pictures, at once', () => {
    const { preview, push } = setUp();
    assert.equal(preview.wait(0), null);
    push(2, 1000);
    assert.equal(preview.wait(500), 0);
    assert.equal(preview.due(500), true);
    assert.deepEqual([1, 1, 1, 1].map((e) => preview.layer(e).weight.toFixed(2)), ['0.33', '0.67', '1.00', '1.00']);
    assert.equal(preview.layer(1).soft, true);
});

test('the following ones come by pts; of several that are due only the newest is shown', () => {
    const { preview, push, closed } = setUp();
    for (let i = 0; i < 4; i++) {
        push(2, 1000 + i * FRAME);
    }
    preview.due(0);
    assert.equal(preview.wait(10), FRAME - 10);
    assert.equal(preview.due(10), false);
    assert.equal(preview.due(3 * FRAME), true);
    assert.equal(preview.layer(1).image.name, `2@${1000 + 3 * FRAME}`);
    assert.equal(closed.length, 3);
});

test('once a full picture has arrived no further one is taken; it goes under the first that is shown', () => {
    const { preview, push, closed, made } = setUp();
    push(2, 0);
    push(2, FRAME);
    preview.due(0);
    preview.layer(1);
    preview.layer(1);
    preview.layer(1);
    preview.arrived(2);
    assert.equal(preview.depth, 0);
    assert.equal(preview.wants(2), false);
    push(2, 2 * FRAME);
    assert.equal(preview.depth, 0);
    assert.equal(preview.wait(10000), null, 'it waits for the full picture');
    assert.equal(preview.layer(1).weight, 1, 'an old picture is still drawn under it');
    const going = [2, 2, 2, 2, 2].map((e) => preview.layer(e)?.weight ?? 0);
    assert.ok(going.every((w, i) => w < (i ? going[i - 1] : 1)), `${going}`);
    assert.equal(going[4], 0);
    assert.equal(preview.layer(2), null);
    assert.equal(preview.epoch, null);
    assert.equal(closed.length, made.length);
});

test('an epoch that does not come: it fades out by itself', () => {
    const { preview, push } = setUp();
    push(2, 0);
    preview.due(0);
    preview.layer(1);
    const wait = preview.wait(0);
    assert.ok(wait > 500 && wait < 5000);
    assert.equal(preview.due(wait), true);
    let n = 0;
    while (preview.layer(1)) {
        n++;
    }
    assert.ok(n > 0 && n < 8);
    assert.equal(preview.wait(wait + 1), null);
});

test('a newer preview takes the place of an older one', () => {
    const { preview, push } = setUp();
    push(2, 0);
    preview.due(0);
    preview.layer(1);
    push(3, 5000);
    assert.equal(preview.wants(2), true, 'until the newer one is shown');
    assert.equal(preview.due(20), true);
    assert.equal(preview.layer(1).image.name, '3@5000');
    assert.equal(preview.wants(2), false);
});

test(`bounded, and every picture is closed once (seed ${SEED})`, () => {
    const random = seeded(SEED);
    const { preview, push, closed, made } = setUp();
    let epoch = 1;
    let now = 0;
    for (let i = 0; i < 3000; i++) {
        now += random() * 60;
        epoch += random() < 0.05 ? 1 : 0;
        const what = random();
        if (what < 0.5) {
            push(epoch + (random() < 0.8 ? 1 : 0), i * 20);
        } else if (what < 0.6) {
            preview.arrived(epoch);
        } else if (what < 0.605) {
            preview.reset();
        }
        preview.due(now);
        const layer = preview.layer(epoch);
        assert.ok(!layer || (layer.weight > 0 && layer.weight <= 1 && !closed.some((p) => p.image === layer.image)));
        assert.ok(preview.depth <= PREVIEW_MAX);
    }
    preview.reset();
    assert.equal(closed.length, made.length);
});
