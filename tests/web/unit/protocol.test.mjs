import test from 'node:test';
import assert from 'node:assert/strict';
import { abilities, control, parseControl, parseMedia, parseSeed, ProtocolError, STAGES } from '../../../web/core/protocol.js';
import { bytes, controlVectors, mediaVectors } from './vectors.mjs';

for (const { name, hex, header } of mediaVectors.good) {
    test(`media ${name} is read as the vector says`, () => {
        const p = parseMedia(bytes(hex));
        for (const field of ['stream', 'codec', 'key', 'first', 'flush', 'late', 'seq', 'epoch', 'revision', 'steps',
            'width', 'height']) {
            assert.equal(p[field], header[field], field);
        }
        assert.equal(p.frame, Number(header.frame));
        assert.equal(p.ptsUs, Number(header.pts_us));
        assert.equal(p.serverUs, Number(header.server_us));
        STAGES.forEach((stage, i) => assert.equal(p.timings[stage], header.timings[i] / 10, stage));
        assert.equal(Buffer.from(p.payload).toString('hex'), header.payload);
    });
}

for (const { name, hex, field } of mediaVectors.bad) {
    test(`media ${name} is refused (${field})`, () => {
        assert.throws(() => parseMedia(bytes(hex)), ProtocolError);
    });
}

for (const { name, text } of controlVectors.server) {
    test(`server message ${name} is read`, () => {
        assert.deepEqual(parseControl(text), JSON.parse(text));
    });
}

for (const { name, text } of controlVectors.client) {
    test(`client message ${name} is written as the vector says`, () => {
        const { type, ...fields } = JSON.parse(text);
        assert.deepEqual(JSON.parse(control(type, fields)), JSON.parse(text));
    });
}

test('absent fields are left out, zero and the empty text are not', () => {
    assert.equal(control('reset', { seed: undefined }), '{"type":"reset"}');
    assert.equal(control('edit', { rev: 1, base: 0, at: 0, del: 0, ins: '' }),
        '{"type":"edit","rev":1,"base":0,"at":0,"del":0,"ins":""}');
});

test('unknown types are ignored, unknown fields let through', () => {
    assert.equal(parseControl('{"type":"weather","rain":true}'), null);
    assert.equal(parseControl('{"type":"constructor"}'), null);
    assert.equal(parseControl('{"type":"resync","rev":1,"text":"a","mood":"good"}').mood, 'good');
});

for (const text of ['', 'hello', '[]', 'null', '3', '{"type":"resync","rev":"1","text":"a"}',
    '{"type":"applied","rev":1}', '{"type":"welcome","protocol":1,"video":null}']) {
    test(`server message refused: ${text || '(empty)'}`, () => {
        assert.throws(() => parseControl(text), ProtocolError);
    });
}

test('seeds are whole numbers of 64 bits', () => {
    assert.equal(parseSeed(' 18446744073709551615 '), '18446744073709551615');
    assert.equal(parseSeed('007'), '7');
    for (const bad of ['18446744073709551616', '-1', '1.5', '', 'seven', '1e3', '999999999999999999999']) {
        assert.equal(parseSeed(bad), null, bad);
    }
});

test('a fade goes with flush, and only with it', () => {
    const { hex } = mediaVectors.good.find((v) => v.header.flush);
    const faded = (h) => h.slice(0, 42) + '03' + h.slice(44);
    assert.equal(parseMedia(bytes(faded(hex))).fade, 3);
    assert.throws(() => parseMedia(bytes(faded(mediaVectors.good.find((v) => !v.header.flush).hex))), ProtocolError);
});

test('what a server can is read off its welcome, whatever stands there', () => {
    for (const strange of [null, undefined, {}, { features: 'rewind' }, { features: ['latent'], settings: 3 }]) {
        const can = abilities(strange);
        assert.deepEqual([can.settings, can.blend, can.rewind, can.fork], [null, false, false, false]);
    }
    const can = abilities({ features: ['rewind', 'fork'], settings: { blend: 2 } });
    assert.deepEqual([can.blend, can.rewind, can.fork], [true, true, true]);
});
