import test from 'node:test';
import assert from 'node:assert/strict';
import { Recorder } from '../../../web/core/recorder.js';

// A reader of just the elements that are written: { id, children or bytes }.
const MASTERS = new Set([0x1a45dfa3, 0x18538067, 0x1549a966, 0x1654ae6b, 0xae, 0xe0, 0x55b0, 0x1f43b675, 0x1c53bb6b,
    0xbb, 0xb7]);

function parse(data, at = 0, end = data.length) {
    const out = [];
    while (at < end) {
        const idLength = Math.clz32(data[at]) - 23;
        const id = Number(`0x${Buffer.from(data.subarray(at, at + idLength)).toString('hex')}`);
        at += idLength;
        const sizeLength = Math.clz32(data[at]) - 23;
        let size = data[at] & ((1 << (8 - sizeLength)) - 1);
        for (let i = 1; i < sizeLength; i++) {
            size = size * 256 + data[at + i];
        }
        at += sizeLength;
        assert.ok(at + size <= end, 'an element reaches beyond its parent');
        out.push({ id, at, bytes: data.subarray(at, at + size),
            children: MASTERS.has(id) ? parse(data, at, at + size) : [] });
        at += size;
    }
    assert.equal(at, end);
    return out;
}

function find(elements, id) {
    return elements.flatMap((e) => [...(e.id === id ? [e] : []), ...find(e.children, id)]);
}

const number = (e) => Number(`0x${Buffer.from(e.bytes).toString('hex') || '0'}`);

function picture(seq, { ms = seq * 62.5, key = seq === 0, codec = 'vp8', width = 192 } = {}) {
    return { seq, key, codec, width, height: 112, ptsUs: Math.round(ms * 1000), payload: new Uint8Array([seq & 255, 7]) };
}

function file(result) {
    return parse(Buffer.concat(result.parts.map((p) => Buffer.from(p))));
}

function blocks(elements) {
    return find(elements, 0x1f43b675).flatMap((cluster) => {
        const base = number(find([cluster], 0xe7)[0]);
        return find([cluster], 0xa3).map(({ bytes }) => ({
            timeMs: base + ((bytes[1] << 24) >> 16) + bytes[2], key: bytes[3] === 0x80, first: bytes[4],
        }));
    });
}

test('a recording is a WebM file with every picture at its time', () => {
    const recorder = new Recorder();
    recorder.start({ title: 'a red star', colorSpace: { matrix: 'bt709', primaries: 'bt709', transfer: 'bt709',
        fullRange: false } });
    for (let seq = 0; seq < 200; seq++) {
        recorder.add(picture(seq, { ms: 40000 + seq * 62.5 }));
    }
    const result = recorder.stop();
    assert.equal(result.mime, 'video/webm');
    assert.equal(result.pictures, 200);
    const elements = file(result);
    assert.equal(find(elements, 0x4282)[0].bytes.toString(), 'webm');
    assert.equal(find(elements, 0x86)[0].bytes.toString(), 'V_VP8');
    assert.equal(number(find(elements, 0xb0)[0]), 192);
    assert.equal(number(find(elements, 0x55b1)[0]), 1);
    assert.equal(number(find(elements, 0x55b9)[0]), 1);
    const all = blocks(elements);
    assert.deepEqual(all.map((b) => b.timeMs), Array.from({ length: 200 }, (_, i) => Math.round(i * 62.5)));
    assert.ok(all[0].key && !all[1].key);
    assert.equal(find(elements, 0x4489)[0].bytes.readDoubleBE(0), Math.round(199 * 62.5) + 62);
    assert.ok(find(elements, 0x1f43b675).length >= 3, 'clusters are short enough for 16 bits');
});

test('the cues point at the clusters', () => {
    const recorder = new Recorder();
    recorder.start();
    for (let seq = 0; seq < 300; seq++) {
        recorder.add(picture(seq, { key: seq % 100 === 0 }));
    }
    const elements = file(recorder.stop());
    const segment = find(elements, 0x18538067)[0];
    const clusters = find(elements, 0x1f43b675);
    const positions = find(elements, 0xf1).map(number);
    assert.equal(positions.length, clusters.length);
    positions.forEach((position, i) => {
        const [, size] = [4, 8]; // of a cluster's id and of its size field
        assert.equal(segment.at + position + 4 + size, clusters[i].at);
    });
});

test('it begins at a key picture', () => {
    const recorder = new Recorder();
    recorder.start();
    recorder.add(picture(0, { key: false }));
    recorder.add(picture(1, { key: false }));
    recorder.add(picture(2, { key: true }));
    recorder.add(picture(3));
    const all = blocks(file(recorder.stop()));
    assert.deepEqual(all.map((b) => [b.first, b.timeMs]), [[2, 0], [3, 63]]);
});

test('a stream that starts over goes on in the same file; its pictures before a key are left out', () => {
    const recorder = new Recorder();
    recorder.start();
    recorder.add(picture(0));
    recorder.add(picture(1));
    recorder.add(picture(7, { ms: 0, key: false }));
    recorder.add(picture(8, { ms: 10, key: true }));
    recorder.add(picture(9, { ms: 72.5 }));
    const all = blocks(file(recorder.stop()));
    assert.deepEqual(all.map((b) => b.first), [0, 1, 8, 9]);
    assert.ok(all.every((b, i) => i === 0 || b.timeMs > all[i - 1].timeMs), JSON.stringify(all));
    assert.equal(all[3].timeMs - all[2].timeMs, 63);
});

test('JPEG pictures become a Matroska file', () => {
    const recorder = new Recorder();
    recorder.start();
    recorder.add(picture(0, { codec: 'jpeg' }));
    const result = recorder.stop();
    assert.equal(result.extension, 'mkv');
    assert.equal(find(file(result), 0x4282)[0].bytes.toString(), 'matroska');
});

// A key picture as it travels: parameter sets (one behind a start code of three bytes) and a slice with an emulated zero.
const KEY_UNIT = [0, 0, 0, 1, 0x67, 0x64, 0, 0x1e, 0xac, 0, 0, 1, 0x68, 0xee, 0x3c, 0, 0, 0, 1, 0x65, 0x88, 0, 0, 3, 1];

test('H.264 becomes a Matroska file with lengths and a record instead of start codes', () => {
    const recorder = new Recorder();
    recorder.start();
    recorder.add({ ...picture(0, { codec: 'h264' }), payload: new Uint8Array(KEY_UNIT) });
    recorder.add({ ...picture(1, { codec: 'h264' }), payload: new Uint8Array([0, 0, 0, 1, 0x41, 0x9a]) });
    const result = recorder.stop();
    assert.equal(result.extension, 'mkv');
    const elements = file(result);
    assert.equal(find(elements, 0x86)[0].bytes.toString(), 'V_MPEG4/ISO/AVC');
    assert.deepEqual([...find(elements, 0x63a2)[0].bytes], [1, 0x64, 0, 0x1e, 0xff,
        0xe1, 0, 5, 0x67, 0x64, 0, 0x1e, 0xac, 1, 0, 3, 0x68, 0xee, 0x3c, 0xfd, 0xf8, 0xf8, 0]);
    const stored = find(elements, 0xa3).map((e) => [...e.bytes.subarray(4)]);
    assert.deepEqual(stored, [
        [0, 0, 0, 5, 0x67, 0x64, 0, 0x1e, 0xac, 0, 0, 0, 3, 0x68, 0xee, 0x3c, 0, 0, 0, 6, 0x65, 0x88, 0, 0, 3, 1],
        [0, 0, 0, 2, 0x41, 0x9a],
    ]);
});

test('bounded, and another size or codec ends it', () => {
    let full = 0;
    const recorder = new Recorder({ bytesMax: 10, onFull: () => full++ });
    recorder.start();
    for (let seq = 0; seq < 9; seq++) {
        recorder.add(picture(seq));
    }
    assert.equal(full, 1);
    assert.equal(recorder.stop().pictures, 5);
    recorder.start();
    recorder.add(picture(0));
    recorder.add(picture(1, { width: 320 }));
    recorder.add(picture(2));
    assert.equal(full, 2);
    assert.equal(recorder.stop().pictures, 1);
});

test('nothing recorded is null, and nothing is kept when it is off', () => {
    const recorder = new Recorder();
    recorder.add(picture(0));
    assert.equal(recorder.stop(), null);
    recorder.start();
    assert.equal(recorder.stop(), null);
});
