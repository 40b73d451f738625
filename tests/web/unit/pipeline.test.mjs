// The pipeline with a decoder, a display and a clock of the test's own: what it does when things go wrong, and that
// every decoded picture is closed whatever happens.
import test from 'node:test';
import assert from 'node:assert/strict';
import { Pipeline } from '../../../web/core/pipeline.js';
import { seeded, SEED } from './fakes.mjs';

let images = { open: 0, made: 0 };

class FakeImage {
    constructor(timestamp) {
        this.timestamp = timestamp;
        this.closed = false;
        images.open++;
        images.made++;
    }

    close() {
        assert.equal(this.closed, false, 'closed twice');
        this.closed = true;
        images.open--;
    }
}

// Decodes when told to; fails on a delta picture without its predecessor, as a real one does.
class FakeDecoder {
    static last = null;
    static failNext = 0;
    static all = [];

    // Every decoder there is works a little.
    static work(n) {
        FakeDecoder.all = FakeDecoder.all.filter((d) => d.state !== 'closed');
        FakeDecoder.all.forEach((d) => d.work(n));
    }

    constructor({ output, error }) {
        this._output = output;
        this._error = error;
        this.state = 'unconfigured';
        this.queue = [];
        this._last = null;
        FakeDecoder.last = this;
        FakeDecoder.all.push(this);
    }

    configure(config) {
        this.config = config;
        this.state = 'configured';
    }

    decode(chunk) {
        assert.equal(this.state, 'configured');
        if (this._last === null && chunk.type !== 'key') {
            throw new TypeError('a key frame is required');
        }
        this._last = chunk.timestamp;
        this.queue.push(chunk);
    }

    close() {
        this.state = 'closed';
        this.queue.length = 0;
    }

    work(n = Infinity) {
        for (let i = 0; i < n && this.queue.length && this.state === 'configured'; i++) {
            const chunk = this.queue.shift();
            if (FakeDecoder.failNext > 0) {
                FakeDecoder.failNext--;
                this.state = 'closed';
                this._error(new Error('broken picture'));
                return;
            }
            this._output(new FakeImage(chunk.timestamp));
        }
    }
}

globalThis.VideoDecoder = FakeDecoder;
globalThis.EncodedVideoChunk = class {
    constructor(init) {
        Object.assign(this, init);
    }
};
globalThis.createImageBitmap = async () => ({ close() {} });

function message({ seq, epoch = 1, key = false, first = false, flush = false, fade = 0, stream = 0, codec = 1,
    pts = seq * 62500 }) {
    const buffer = new ArrayBuffer(73);
    const v = new DataView(buffer);
    v.setUint16(0, 0x4b54);
    v.setUint8(2, 1);
    v.setUint8(3, 1);
    v.setUint8(4, stream);
    v.setUint8(5, codec);
    v.setUint16(6, (key ? 1 : 0) | (first ? 2 : 0) | (flush ? 4 : 0));
    v.setUint32(8, seq);
    v.setUint32(12, epoch);
    v.setUint8(21, fade);
    v.setUint16(22, 72);
    v.setBigUint64(32, BigInt(pts));
    v.setUint16(64, 192);
    v.setUint16(66, 112);
    v.setUint32(68, 1);
    return buffer;
}

function setUp() {
    images = { open: 0, made: 0 };
    FakeDecoder.failNext = 0;
    FakeDecoder.all = [];
    const reports = [];
    const frames = [];
    const drawn = [];
    const tops = [];
    const pipeline = new Pipeline({
        renderer: {
            draw: (image, width, height, top) => {
                assert.equal(image.closed, false, 'a closed picture is drawn');
                assert.notEqual(top?.image.closed, true, 'a closed picture is blended');
                drawn.push(image.timestamp);
                tops.push(top);
            },
        },
        report: (m) => reports.push(m),
        requestFrame: (f) => frames.push(f),
        cancelFrame: () => frames.splice(0),
    });
    pipeline.start({ codec: 'vp8', codecString: 'vp8', colorSpace: { matrix: 'bt709' } });
    return {
        pipeline, reports, drawn, tops,
        give: (m) => pipeline.media(message(m), 0),
        refresh: () => frames.splice(0).forEach((f) => f()),
        of: (type) => reports.filter((r) => r.type === type),
        end: () => {
            pipeline.close();
            assert.equal(images.open, 0, 'pictures left open');
        },
    };
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test('the decoder is told codec, colour and low latency', () => {
    const { give, end } = setUp();
    give({ seq: 0, key: true });
    assert.deepEqual(FakeDecoder.last.config, { codec: 'vp8', colorSpace: { matrix: 'bt709' }, optimizeForLatency: true });
    end();
});

test('H.264 goes to a decoder that keeps nothing back, under the name that the server gave', () => {
    const { pipeline, give, end } = setUp();
    pipeline.start({ codec: 'h264', codecString: 'avc1.64001E', colorSpace: { matrix: 'bt709' } });
    give({ seq: 0, key: true, codec: 4 });
    assert.deepEqual(FakeDecoder.last.config, { codec: 'avc1.64001E', colorSpace: { matrix: 'bt709' },
        optimizeForLatency: true, hardwareAcceleration: 'prefer-software' });
    give({ seq: 1, key: true, codec: 1 }); // the server had to replace its encoder
    assert.equal(FakeDecoder.last.config.codec, 'vp8');
    end();
});

test('a picture is decoded, shown when due, told, and closed', async () => {
    const { give, refresh, of, drawn, end } = setUp();
    give({ seq: 0, key: true, first: true });
    FakeDecoder.last.work();
    await wait(60);
    refresh();
    assert.deepEqual(drawn, [0]);
    assert.equal(of('shown').length, 1);
    assert.equal(of('shown')[0].seq, 0);
    assert.equal(images.open, 1, 'the one on the screen');
    end();
});

test('without a key picture nothing is decoded; one is asked for, once a second, and the playhead goes on', () => {
    const { give, of, end } = setUp();
    for (let seq = 0; seq < 10; seq++) {
        give({ seq });
    }
    assert.equal(of('need-key').length, 1);
    assert.deepEqual(of('passed').map((p) => p.seq), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    give({ seq: 10, key: true });
    assert.equal(FakeDecoder.last.queue.length, 1);
    end();
});

test('a decoder error is recovered from with a key picture', () => {
    const { give, of, end } = setUp();
    give({ seq: 0, key: true });
    FakeDecoder.failNext = 1;
    FakeDecoder.last.work();
    assert.equal(of('problem').length, 1);
    assert.equal(of('need-key').length, 1);
    give({ seq: 1 });
    give({ seq: 2, key: true });
    FakeDecoder.last.work();
    assert.equal(images.made, 1);
    assert.equal(of('codec-failed').length, 0);
    end();
});

test('a codec that never gives a picture is given up', () => {
    const { give, of, end } = setUp();
    FakeDecoder.failNext = 3;
    for (let seq = 0; seq < 3; seq++) {
        give({ seq, key: true });
        FakeDecoder.last.work();
    }
    assert.deepEqual(of('codec-failed').map((m) => m.codec), ['vp8']);
    end();
});

test('a flush passes over what is not decoded yet', () => {
    const { give, of, end } = setUp();
    give({ seq: 0, key: true });
    for (let seq = 1; seq < 20; seq++) {
        give({ seq });
    }
    const inside = FakeDecoder.last.queue.length;
    assert.ok(inside <= 4, `${inside} in the decoder`);
    give({ seq: 20, epoch: 2, key: true, first: true, flush: true });
    assert.equal(of('passed')[0].seq, 19);
    assert.equal(of('passed')[0].count, 20 - inside);
    FakeDecoder.last.work();
    assert.equal(images.open, 1, 'of the old epoch none is kept');
    end();
});

test('with a fade the old pictures that are still to decode are decoded, as many as it needs', async () => {
    const { give, of, refresh, tops, end } = setUp();
    give({ seq: 0, key: true });
    for (let seq = 1; seq < 20; seq++) {
        give({ seq });
    }
    FakeDecoder.last.work(1);
    await wait(60);
    refresh(); // 0 is on the screen, four are in the decoder
    give({ seq: 20, epoch: 2, key: true, first: true, flush: true, fade: 6 });
    assert.equal(of('passed')[0].seq, 19);
    for (let i = 0; i < 10; i++) {
        FakeDecoder.last.work();
    }
    refresh();
    assert.equal(of('shown').length, 2);
    assert.equal(of('shown')[1].seq, 20);
    assert.equal(tops[1].image.timestamp, 62500, 'the old one that was due next');
    assert.ok(Math.abs(tops[1].weight - 6 / 7) < 1e-9 && tops[1].soft === false);
    assert.equal(images.open, 1 + 6, 'the one on the screen and the fade');
    end();
});

test('a flush that was lost is made up for by the next picture', () => {
    const { give, of, refresh, end } = setUp();
    give({ seq: 0, key: true });
    give({ seq: 1, epoch: 2, key: true, first: true, flush: true });
    FakeDecoder.failNext = 1;
    FakeDecoder.last.work();
    give({ seq: 2, epoch: 2, key: true });
    FakeDecoder.last.work();
    refresh();
    assert.deepEqual(of('shown').map((p) => p.seq), [2], 'at once, without waiting for its time');
    end();
});

test('a preview is shown over the old picture until the full one comes', async () => {
    const { give, of, refresh, drawn, tops, end } = setUp();
    give({ seq: 0, key: true, first: true });
    FakeDecoder.work();
    await wait(60);
    refresh();
    give({ seq: 1, stream: 1, epoch: 2, pts: 9000000 }); // its chain was begun before we came
    give({ seq: 2, stream: 1, epoch: 2, key: true, pts: 9062500 });
    FakeDecoder.work();
    refresh();
    assert.deepEqual(drawn, [0, 0]);
    assert.equal(tops[1].image.timestamp, 9062500);
    assert.equal(tops[1].soft, true);
    assert.deepEqual(of('preview').map((p) => p.epoch), [2]);
    assert.equal(of('shown').length, 1, 'a preview is no picture for the playhead');
    give({ seq: 3, epoch: 2, key: true, first: true, flush: true, fade: 3 });
    give({ seq: 4, stream: 1, epoch: 2, key: true, pts: 9125000 });
    assert.ok(!FakeDecoder.all.some((d) => d.queue.some((c) => c.timestamp === 9125000)), 'behind the full one');
    FakeDecoder.work();
    refresh();
    assert.equal(drawn[2], 3 * 62500);
    assert.equal(tops[2].image.timestamp, 9062500, 'it goes out under the full picture');
    assert.ok(tops[2].weight < tops[1].weight + 1e-9);
    assert.equal(of('arrived').length, 2);
    end();
});

test('a preview that cannot be decoded is left out', async () => {
    const { give, of, refresh, end } = setUp();
    give({ seq: 0, key: true });
    FakeDecoder.work();
    give({ seq: 1, stream: 1, epoch: 2, key: true, pts: 7 });
    FakeDecoder.failNext = 1;
    FakeDecoder.work();
    await wait(60);
    refresh();
    assert.equal(of('problem').length, 0);
    assert.equal(of('need-key').length, 0);
    assert.equal(of('shown').length, 1);
    end();
});

test('JPEG pictures that overtake each other wait for those before them', async () => {
    const readers = [];
    const usual = globalThis.createImageBitmap;
    globalThis.createImageBitmap = () => new Promise((resolve) => readers.push(resolve));
    const { pipeline, give, end } = setUp();
    try {
        for (let seq = 0; seq < 3; seq++) {
            give({ seq, key: true, codec: 3 });
        }
        const order = [];
        const push = pipeline._playout.push.bind(pipeline._playout);
        pipeline._playout.push = (picture, at) => {
            order.push(picture.seq);
            push(picture, at);
        };
        for (const i of [2, 0]) {
            readers[i](new FakeImage(i));
            await wait(1);
        }
        assert.deepEqual(order, [0]);
        readers[1](new FakeImage(1));
        await wait(1);
        assert.deepEqual(order, [0, 1, 2]);
        give({ seq: 3, key: true, codec: 3 });
        give({ seq: 4, key: true, codec: 3 });
        readers[4](new FakeImage(4)); // still waits for 3 when all ends
        await wait(1);
    } finally {
        globalThis.createImageBitmap = usual;
    }
    end();
});

test('a client that cannot keep up passes over pictures to the newest key one', () => {
    const { give, of, end } = setUp();
    give({ seq: 0, key: true });
    for (let seq = 1; seq < 200; seq++) {
        give({ seq, key: seq === 50 });
    }
    assert.ok(of('passed').length > 0);
    assert.ok(of('need-key').length >= 1);
    end();
});

test('broken messages are told and cost a key picture, nothing more', () => {
    const { pipeline, give, of, end } = setUp();
    give({ seq: 0, key: true });
    pipeline.media(new ArrayBuffer(10), 0);
    pipeline.media(new ArrayBuffer(100), 0);
    assert.equal(of('problem').length, 2);
    assert.equal(of('need-key').length, 1);
    give({ seq: 1, key: true });
    FakeDecoder.last.work();
    assert.equal(images.made, 1);
    end();
});

test('results of a decoder that was replaced are closed unseen', () => {
    const { pipeline, give, end } = setUp();
    give({ seq: 0, key: true });
    const old = FakeDecoder.last;
    pipeline.start({ codec: 'vp8', codecString: 'vp8' });
    old.state = 'configured';
    old._output(new FakeImage(0));
    assert.equal(images.open, 0);
    end();
});

test(`whatever happens in whatever order, every picture is closed and the queues stay bounded (seed ${SEED})`, async () => {
    const random = seeded(SEED);
    const { pipeline, give, refresh, end } = setUp();
    let epoch = 1;
    for (let seq = 0; seq < 4000; seq++) {
        const key = random() < 0.05;
        const flush = key && random() < 0.4;
        epoch += flush ? 1 : 0;
        if (random() < 0.2) {
            give({ seq, epoch: epoch + (random() < 0.7 ? 1 : 0), key: random() < 0.3, stream: 1 });
            continue;
        }
        give({ seq, epoch, key, first: flush, flush, fade: flush ? Math.floor(random() * 6) : 0 });
        if (random() < 0.02) {
            FakeDecoder.failNext = 1;
        }
        if (random() < 0.6) {
            FakeDecoder.work(Math.floor(random() * 6));
        }
        if (random() < 0.3) {
            refresh();
        }
        if (random() < 0.01) {
            pipeline.setPaused(random() < 0.5);
        }
        if (random() < 0.002) {
            pipeline.start({ codec: 'vp8', codecString: 'vp8' });
        }
        if (seq % 500 === 0) {
            await wait(1);
        }
        assert.ok(images.open <= 32, `${images.open} pictures open at ${seq}`);
    }
    assert.ok(images.made > 100, `only ${images.made} pictures decoded`);
    await wait(5);
    end();
});
