import test from 'node:test';
import assert from 'node:assert/strict';
import { applySplice, cleanText, splice } from '../../../web/core/edits.js';
import { seeded, SEED } from './fakes.mjs';

const cases = [
    ['typing at the end', 'a re', 'a red', { at: 4, del: 0, ins: 'd' }],
    ['typing in the middle', 'a circle', 'a red circle', { at: 2, del: 0, ins: 'red ' }],
    ['a doubled letter is where the caret is', 'moon', 'mooon', { at: 3, del: 0, ins: 'o' }],
    ['backspace', 'red', 're', { at: 2, del: 1, ins: '' }],
    ['a word replaced', 'a red star', 'a blue star', { at: 2, del: 3, ins: 'blue' }],
    ['everything gone', 'abc', '', { at: 0, del: 3, ins: '' }],
    ['code points, not UTF-16 units', '🌧️ rain', '🌧️🌊 rain', { at: 2, del: 0, ins: '🌊' }],
    ['half of an equal surrogate pair is not kept', '😀', '😁', { at: 0, del: 1, ins: '😁' }],
    ['composed text is one edit', '海の', '海の夕日', { at: 2, del: 0, ins: '夕日' }],
    ['a combining mark is a code point of its own', 'e', 'e\u0301', { at: 1, del: 0, ins: '\u0301' }],
];

for (const [name, before, after, expected] of cases) {
    test(name, () => {
        assert.deepEqual(splice(before, after), expected);
        assert.equal(applySplice(before, expected), after);
    });
}

test('no change, no splice', () => {
    assert.equal(splice('same 🌊', 'same 🌊'), null);
});

test(`random pairs come out right and minimal (seed ${SEED})`, () => {
    const random = seeded(SEED);
    const alphabet = Array.from('ab 海🌊é');
    const text = () => Array.from({ length: Math.floor(random() * 12) },
        () => alphabet[Math.floor(random() * alphabet.length)]).join('');
    for (let i = 0; i < 5000; i++) {
        const before = text();
        const after = text();
        const s = splice(before, after);
        if (s === null) {
            assert.equal(before, after);
            continue;
        }
        assert.equal(applySplice(before, s), after);
        const removed = Array.from(before).slice(s.at, s.at + s.del);
        const inserted = Array.from(s.ins);
        if (removed.length && inserted.length) {
            assert.notEqual(removed[0], inserted[0]);
            assert.notEqual(removed[removed.length - 1], inserted[inserted.length - 1]);
        }
    }
});

test('a splice outside the text is refused', () => {
    assert.throws(() => applySplice('abc', { at: 2, del: 2, ins: '' }), RangeError);
    assert.throws(() => applySplice('abc', { at: -1, del: 0, ins: '' }), RangeError);
});

test('what cannot travel is taken out', () => {
    assert.equal(cleanText('a\r\nb\tc'), 'a b c');
    assert.equal(cleanText('a\u0000b\u0007c\u009f'), 'abc');
    assert.equal(cleanText('x\ud800y\udc00z'), 'x\ufffdy\ufffdz');
    assert.equal(cleanText('😀'), '😀');
    assert.equal(cleanText('😀😀😀', 2), '😀😀');
    assert.ok(cleanText('é'.repeat(10000)).length === 10000);
});
