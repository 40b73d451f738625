import test from 'node:test';
import assert from 'node:assert/strict';
import { Prompt } from '../../../web/core/prompt.js';
import { applySplice } from '../../../web/core/edits.js';
import { FakeTimers, seeded, SEED } from './fakes.mjs';

// The server's side of proto/PROTOCOL.md, "Edits". `refuse(message)` may answer an error instead.
class TextServer {
    constructor({ rev = 0, text = '', refuse = () => null } = {}) {
        this.rev = rev;
        this.text = text;
        this.refuse = refuse;
        this.commits = [];
    }

    // Returns the messages that answer this one.
    take(message) {
        const code = this.refuse(message);
        if (code) {
            return this._refused(message, code);
        }
        return message.type === 'edit' ? this._edit(message) : this._commit(message);
    }

    _refused({ type, rev }, code) {
        const error = { type: 'error', code, message: code, rev, fatal: false, retry_ms: 20 };
        return type === 'edit' ? [error, this._resync(code)] : [error];
    }

    _edit(m) {
        if (m.text === undefined && m.base !== this.rev) {
            return [this._resync('base')];
        }
        if (m.rev <= this.rev) {
            return this._refused(m, 'wrong_rev');
        }
        this.text = m.text ?? applySplice(this.text, m);
        this.rev = m.rev;
        return [{ type: 'received', rev: m.rev, committed: false }];
    }

    _commit(m) {
        if (m.rev !== this.rev) {
            return this._refused(m, 'wrong_rev');
        }
        this.commits.push({ text: this.text, transition: m.transition });
        return [{ type: 'received', rev: m.rev, committed: true }];
    }

    _resync(reason) {
        return { type: 'resync', rev: this.rev, text: this.text, reason };
    }
}

// A prompt and a server with a network between them that delivers when told to.
function pair(options) {
    const timers = new FakeTimers();
    const server = new TextServer(options);
    const up = [];
    const down = [];
    const prompt = new Prompt({ send: (type, fields) => up.push({ type, ...fields }), timers });
    const answer = (m) => {
        if (m.type === 'received') {
            prompt.onReceived(m);
        } else if (m.type === 'resync') {
            prompt.onResync(m);
        } else {
            prompt.onError(m);
        }
    };
    const settle = () => {
        for (let i = 0; (up.length || down.length || timers.pending) && i < 10000; i++) {
            if (down.length) {
                answer(down.shift());
            } else if (up.length) {
                down.push(...server.take(up.shift()));
            } else {
                timers.advance(25);
            }
        }
    };
    return { prompt, server, up, down, timers, answer, settle };
}

test('every key is a splice on the one before it, without waiting', () => {
    const { prompt, up, settle, server } = pair();
    prompt.link({ rev: 0, text: '', resumed: false });
    for (const text of ['a', 'a ', 'a r', 'a re', 'a red']) {
        prompt.edit(text);
    }
    assert.deepEqual(up.map((m) => [m.rev, m.base, m.at, m.del, m.ins]),
        [[1, 0, 0, 0, 'a'], [2, 1, 1, 0, ' '], [3, 2, 2, 0, 'r'], [4, 3, 3, 0, 'e'], [5, 4, 4, 0, 'd']]);
    assert.equal(prompt.commit({ transition: 'scene' }), 5);
    assert.deepEqual(up[5], { type: 'commit', rev: 5, transition: 'scene' });
    settle();
    assert.deepEqual(server.commits, [{ text: 'a red', transition: 'scene' }]);
    assert.equal(prompt.committing, null);
});

test('the first link shows the server\'s text and sends nothing', () => {
    const { prompt, up } = pair();
    assert.equal(prompt.link({ rev: 0, text: 'its own start', resumed: false }), 'its own start');
    assert.equal(up.length, 0);
});

test('a wrong base is answered with the whole text, once', () => {
    const { prompt, up, down, server, settle } = pair();
    prompt.link({ rev: 0, text: '', resumed: false });
    prompt.edit('one');
    up.shift(); // lost
    for (const text of ['one t', 'one tw', 'one two']) {
        prompt.edit(text);
    }
    prompt.commit({});
    for (const m of up.splice(0)) {
        down.push(...server.take(m));
    }
    assert.equal(down.filter((m) => m.type === 'resync').length, 3);
    prompt.onResync(down.shift());
    prompt.onResync(down.shift());
    prompt.onResync(down.shift());
    assert.deepEqual(up.map((m) => m.type), ['edit', 'commit']);
    assert.equal(up[0].text, 'one two');
    settle();
    assert.equal(server.text, 'one two');
    assert.deepEqual(server.commits.map((c) => c.text), ['one two']);
});

test('typed while offline: goes out when the session is back, committed text first', () => {
    const { prompt, server, settle, up } = pair();
    prompt.link({ rev: 0, text: '', resumed: false });
    prompt.edit('a red square');
    prompt.commit({ transition: 'cut' });
    settle();
    prompt.unlink();
    prompt.edit('a red square in the rain');
    assert.equal(up.length, 0);
    // The server has been restarted: it knows nothing of us.
    server.rev = 0;
    server.text = 'start';
    assert.equal(prompt.link({ rev: 0, text: 'start', resumed: false }), 'a red square in the rain');
    settle();
    assert.deepEqual(server.commits.map((c) => c.text), ['a red square', 'a red square']);
    assert.equal(server.text, 'a red square in the rain');
});

test('a commit made offline follows with the link', () => {
    const { prompt, server, settle } = pair();
    prompt.link({ rev: 0, text: '', resumed: false });
    prompt.edit('one');
    settle();
    prompt.unlink();
    prompt.edit('two');
    assert.equal(prompt.commit({}), null);
    prompt.link({ rev: server.rev, text: server.text, resumed: true });
    settle();
    assert.equal(server.text, 'two');
    assert.deepEqual(server.commits.map((c) => c.text), ['two']);
});

test('rate limited: nothing typed is lost, and the whole text waits as told', () => {
    let busy = true;
    const { prompt, server, up, timers, down, settle, answer } = pair({
        refuse: (m) => (busy && m.type === 'edit' ? 'rate_limited' : null),
    });
    prompt.link({ rev: 0, text: '', resumed: false });
    prompt.edit('a');
    prompt.edit('ab');
    for (const m of up.splice(0)) {
        down.push(...server.take(m));
    }
    down.splice(0).forEach(answer);
    prompt.edit('abc');
    assert.equal(up.length, 0, 'quiet while it waits');
    busy = false;
    timers.advance(20);
    assert.deepEqual(up.map((m) => m.text), ['abc']);
    settle();
    assert.equal(server.text, 'abc');
});

test('a text refused for good is not sent again and again', () => {
    const { prompt, server, settle } = pair({
        refuse: (m) => (m.type === 'edit' && (m.text ?? m.ins).length > 5 ? 'text_too_long' : null),
    });
    prompt.link({ rev: 0, text: '', resumed: false });
    prompt.edit('far too long');
    settle();
    assert.equal(server.text, '');
    prompt.edit('fits');
    settle();
    assert.equal(server.text, 'fits');
});

test('an empty commit is not repeated', () => {
    const { prompt, settle, up } = pair({ refuse: (m) => (m.type === 'commit' ? 'empty_prompt' : null) });
    prompt.link({ rev: 0, text: '', resumed: false });
    prompt.commit({});
    settle();
    assert.equal(prompt.committing, null);
    assert.equal(up.length, 0);
});

test(`any order of typing, delays and refusals ends with equal copies (seed ${SEED})`, () => {
    const random = seeded(SEED);
    for (let round = 0; round < 200; round++) {
        let calm = false;
        const { prompt, server, up, down, answer, settle, timers } = pair({
            text: 'start',
            refuse: (m) => (!calm && random() < 0.15 ? (random() < 0.5 ? 'rate_limited' : 'busy') : null),
        });
        prompt.link({ rev: 0, text: 'start', resumed: false });
        let text = 'start';
        let committed = null;
        for (let step = 0; step < 60; step++) {
            const dice = random();
            if (dice < 0.45) {
                const at = Math.floor(random() * (text.length + 1));
                text = text.slice(0, at) + 'xyz'[Math.floor(random() * 3)] + text.slice(at + Math.floor(random() * 2));
                prompt.edit(text);
            } else if (dice < 0.55) {
                prompt.commit({});
                committed = text;
            } else if (dice < 0.75 && up.length) {
                down.push(...server.take(up.shift()));
            } else if (dice < 0.95 && down.length) {
                answer(down.shift());
            } else {
                timers.advance(30);
            }
        }
        calm = true;
        settle();
        prompt.edit(`${text}!`);
        settle();
        assert.equal(server.text, `${text}!`, `round ${round}`);
        if (committed !== null) {
            assert.ok(server.commits.length > 0, `round ${round}: a commit was lost`);
        }
    }
});
