import test from 'node:test';
import assert from 'node:assert/strict';
import { Session } from '../../../web/core/session.js';
import { FakeTimers, fakeWebSocket } from './fakes.mjs';
import { bytes, controlVectors, mediaVectors } from './vectors.mjs';

const vector = (name) => JSON.parse(controlVectors.server.find((v) => v.name === name).text);

function setUp(options = {}) {
    const timers = new FakeTimers();
    timers.nowMs = 1000000;
    const WebSocketImpl = fakeWebSocket();
    const log = [];
    const session = new Session({
        url: 'ws://here/v1/live',
        codecs: ['vp9', 'vp8', 'jpeg'],
        WebSocketImpl,
        timers,
        now: timers.now,
        random: () => 0,
        handlers: {
            onPhase: (phase, detail) => log.push([phase, detail]),
            onWelcome: (m) => log.push(['welcome', m]),
            onMessage: (m) => log.push([m.type, m]),
            onMedia: (buffer) => log.push(['media', buffer.byteLength]),
            onProblem: (text) => log.push(['problem', text]),
        },
        ...options,
    });
    session.start();
    return { session, timers, sockets: WebSocketImpl, log, names: () => log.map(([name]) => name) };
}

function connected(options) {
    const all = setUp(options);
    all.sockets.last.open();
    all.sockets.last.say(vector('welcome'));
    return all;
}

test('greets with what it can decode, and with secrets only in hello', () => {
    const { sockets } = setUp({ token: 'open sesame', resume: 'ab'.repeat(16) });
    assert.deepEqual(sockets.last.protocols, ['kinetype.v1']);
    assert.ok(!sockets.last.url.includes('sesame'));
    assert.equal(sockets.last.sent.length, 0);
    sockets.last.open();
    assert.deepEqual(sockets.last.sent, [{ type: 'hello', protocol: 1, codecs: ['vp9', 'vp8', 'jpeg'],
        token: 'open sesame', resume: 'ab'.repeat(16), client: 'web' }]);
});

test('whatever comes before welcome does no harm; pictures before it are not passed on', () => {
    const { sockets, names } = setUp();
    sockets.last.open();
    sockets.last.picture(bytes(mediaVectors.good[1].hex));
    sockets.last.say(vector('pong'));
    sockets.last.say(vector('status-live'));
    sockets.last.say('{"type":"weather"}');
    sockets.last.say(vector('welcome'));
    sockets.last.picture(bytes(mediaVectors.good[1].hex));
    assert.deepEqual(names(), ['connecting', 'pong', 'status', 'open', 'welcome', 'media']);
});

test('nothing is said before welcome but hello', () => {
    const { session, sockets } = setUp();
    sockets.last.open();
    session.edit('typed early');
    session.commit({});
    session.pause();
    assert.equal(sockets.last.sent.length, 1);
    sockets.last.say(vector('welcome'));
    assert.deepEqual(sockets.last.sent.slice(1, 3).map((m) => m.type), ['edit', 'commit']);
    assert.equal(sockets.last.sent[1].text, 'typed early');
});

test('playhead reports: every 100 ms while pictures are shown, every 500 ms else, none when hidden', () => {
    const { session, sockets, timers } = connected();
    const reports = () => sockets.last.of('playhead');
    timers.advance(1000);
    assert.equal(reports().length, 0, 'nothing shown, nothing reported');
    for (let seq = 0; seq < 16; seq++) {
        session.shown(seq);
        timers.advance(62.5);
    }
    assert.ok(reports().length >= 9 && reports().length <= 11, `${reports().length}`);
    assert.equal(reports()[reports().length - 1].seq, 15);
    const before = reports().length;
    timers.advance(2000);
    assert.equal(reports().length - before, 4);
    session.setVisible(false);
    const hidden = reports().length;
    timers.advance(5000);
    assert.equal(reports().length, hidden);
    session.setVisible(true);
    assert.equal(reports().length, hidden + 1);
});

test('pings carry integers and the clock listens to the pongs', () => {
    const { session, sockets, timers } = connected();
    timers.nowMs += 0.123456;
    timers.advance(2100);
    const ping = sockets.last.of('ping')[1];
    assert.ok(Number.isInteger(ping.client_us));
    timers.nowMs = ping.client_us / 1000 + 8;
    sockets.last.say({ type: 'pong', id: ping.id, client_us: ping.client_us, server_us: 5000000 });
    assert.ok(Math.abs(session.clock.rttMs - 8) < 1e-6);
    session.shown(3);
    timers.advance(200);
    assert.equal(sockets.last.of('playhead')[0].rtt_us, 8000);
});

test('a lost connection comes back with growing pauses, resumes, and keeps the text', () => {
    const { session, sockets, timers, log } = connected();
    session.edit('a red star');
    sockets.last.drop(1006);
    const pauses = [];
    for (let i = 0; i < 7; i++) {
        const [phase, detail] = log[log.length - 1];
        assert.equal(phase, 'reconnecting');
        pauses.push(detail.retryMs);
        const made = sockets.made.length;
        timers.advance(detail.retryMs);
        assert.equal(sockets.made.length, made + 1);
        sockets.last.drop(1006);
    }
    assert.deepEqual(pauses, [300, 700, 1500, 3000, 5000, 8000, 8000]);
    timers.advance(8000);
    sockets.last.open();
    assert.equal(sockets.last.sent[0].resume, vector('welcome').session);
    sockets.last.say({ ...vector('welcome-resumed'), rev: 1, text: 'a red star' });
    assert.equal(log[log.length - 1][1].shownText, 'a red star');
    assert.equal(sockets.last.of('edit').length, 0, 'the server has it all');
    sockets.last.drop(1006);
    assert.equal(log[log.length - 1][1].retryMs, 300, 'a connection that worked starts from the shortest pause');
});

test('a server that was restarted is given the committed prompt again', () => {
    const { session, sockets, timers } = connected();
    session.edit('a red star');
    session.commit({ transition: 'scene' });
    sockets.last.say({ type: 'received', rev: 1, committed: true });
    sockets.last.drop(1001);
    timers.advance(300);
    sockets.last.open();
    sockets.last.say(vector('welcome'));
    const [edit, commit] = sockets.last.sent.slice(1);
    assert.equal(edit.text, 'a red star');
    assert.deepEqual(commit, { type: 'commit', rev: edit.rev, transition: 'scene' });
});

test('busy: says the limit, waits as told, then tries again', () => {
    const { sockets, timers, log } = setUp();
    sockets.last.open();
    sockets.last.say(vector('error-sessions'));
    sockets.last.drop(1013);
    const [phase, detail] = log[log.length - 1];
    assert.equal(phase, 'busy');
    assert.equal(detail.limit, 2);
    assert.equal(detail.retryMs, 5000);
    timers.advance(4999);
    assert.equal(sockets.made.length, 1);
    timers.advance(1);
    assert.equal(sockets.made.length, 2);
    sockets.last.drop(1006);
    assert.equal(log[log.length - 1][1].retryMs, 300, 'what the server said holds once');
});

for (const [code, close] of [['bad_token', 1008], ['bad_protocol', 4000], ['no_codec', 4000], ['taken_over', 4001]]) {
    test(`${code}: does not come back by itself, but when asked to`, () => {
        const { session, sockets, timers, log } = setUp();
        sockets.last.open();
        sockets.last.say({ type: 'error', code, message: 'no', fatal: true });
        sockets.last.drop(close);
        assert.equal(log[log.length - 1][0], 'refused');
        assert.equal(log[log.length - 1][1].code, code);
        timers.advance(60000);
        assert.equal(sockets.made.length, 1);
        session.retry();
        assert.equal(sockets.made.length, 2);
    });
}

test('a takeover told by the close code alone is understood', () => {
    const { sockets, log } = connected();
    sockets.last.drop(4001);
    assert.equal(log[log.length - 1][1].code, 'taken_over');
});

test('a silent connection is given up; a suspended page is not taken for one', () => {
    const { sockets, timers, log, session } = connected();
    timers.advance(8000);
    assert.equal(sockets.made.length, 1);
    timers.advance(1500);
    assert.equal(log[log.length - 1][0], 'reconnecting');
    timers.advance(300);
    sockets.last.open();
    sockets.last.say(vector('welcome'));
    const made = sockets.made.length;
    timers.nowMs += 3600000; // asleep: no timer ran
    session.setVisible(true);
    assert.equal(sockets.made.length, made);
});

test('messages of a socket that was given up are not heard', () => {
    const { sockets, timers, names } = connected();
    const old = sockets.last;
    timers.advance(9500);
    const before = names().length;
    old.say(vector('status-live'));
    old.picture(bytes(mediaVectors.good[1].hex));
    old.drop(1006);
    assert.equal(names().length, before);
});

test('an answer that never comes to the handshake is not waited for for ever', () => {
    const { sockets, timers, log } = setUp();
    timers.advance(8000);
    assert.equal(log[log.length - 1][0], 'reconnecting');
    timers.advance(300);
    assert.equal(sockets.made.length, 2);
});

test('a control message that cannot be read is told and left out, and the session goes on', () => {
    const { sockets, names, log } = connected();
    sockets.last.say('{"type":"applied"');
    sockets.last.say('{"type":"applied","rev":"one"}');
    sockets.last.say(vector('applied'));
    assert.equal(names()[names().length - 1], 'applied');
    assert.equal(log.filter(([name]) => name === 'applied').length, 1);
    assert.equal(log.filter(([name]) => name === 'problem').length, 2);
});

test('leaving says bye and stays away', () => {
    const { session, sockets, timers } = connected();
    session.close();
    assert.equal(sockets.last.of('bye').length, 1);
    assert.equal(sockets.last.closedWith.code, 1000);
    timers.advance(60000);
    assert.equal(sockets.made.length, 1);
    assert.equal(timers.pending, 0);
});

test('a codec that fails is left out of the next greeting; JPEG is never given up', () => {
    const { session, sockets, timers } = connected();
    session.dropCodec('vp9');
    timers.advance(300);
    sockets.last.open();
    assert.deepEqual(sockets.last.sent[0].codecs, ['vp8', 'jpeg']);
    session.dropCodec('jpeg');
    assert.equal(sockets.made.length, 2);
});

// ---- a server that can more ----

const SETTINGS = { draft: true, preview: true, depth: 1, cut: 'now', transition: 'scene', blend: 2, recache: 'full' };

function newer(options) {
    const all = setUp(options);
    all.sockets.last.open();
    all.sockets.last.say({ ...vector('welcome'), settings: SETTINGS });
    return all;
}

test('the waiting room: the place is told, typing is kept, welcome follows', () => {
    const { session, sockets, log } = setUp();
    sockets.last.open();
    sockets.last.say({ type: 'queued', position: 2, sessions: 1, eta_ms: 42000 });
    assert.deepEqual(log[1], ['queued', { position: 2, sessions: 1, etaMs: 42000 }]);
    session.edit('a star');
    assert.equal(session.commit({ transition: 'cut' }), null);
    assert.equal(sockets.last.sent.length, 1, 'only hello');
    sockets.last.say({ type: 'queued', position: 1, sessions: 1 });
    sockets.last.say(vector('welcome'));
    assert.equal(session.phase, 'open');
    assert.equal(sockets.last.of('edit').at(-1).text, 'a star');
    assert.deepEqual(sockets.last.of('commit').map((m) => m.transition), ['cut']);
});

test('leaving the waiting room says bye and does not come back by itself', () => {
    const { session, sockets, timers } = setUp();
    sockets.last.open();
    sockets.last.say({ type: 'queued', position: 1, sessions: 1 });
    session.leave();
    assert.equal(session.phase, 'left');
    assert.equal(sockets.made[0].of('bye').length, 1);
    timers.advance(60000);
    assert.equal(sockets.made.length, 1);
    session.retry();
    assert.equal(sockets.made.length, 2);
});

test('settings: only what the server has is set, and its word is kept', () => {
    const { session, sockets } = newer();
    assert.deepEqual(session.can.settings, SETTINGS);
    session.set({ cut: 'block', mood: 'good' });
    assert.deepEqual(sockets.last.of('set'), [{ type: 'set', cut: 'block' }]);
    sockets.last.say({ type: 'settings', ...SETTINGS, cut: 'block' });
    assert.equal(session.can.settings.cut, 'block');
    assert.equal('type' in session.can.settings, false);
});

test('a commit says only what is not in force anyway, so that it finds its draft', () => {
    const { session, sockets } = newer();
    session.edit('one');
    session.commit({ transition: 'scene' });
    session.commit({ transition: 'cut' });
    assert.deepEqual(sockets.last.of('commit').map((m) => m.transition), [undefined, 'cut']);
});

test('an older server is told nothing new', () => {
    const { session, sockets } = setUp();
    sockets.last.open();
    sockets.last.say({ ...vector('welcome'), settings: undefined, features: ['scene', 'cut'] });
    assert.equal(session.can.settings, null);
    session.set({ draft: true });
    session.rewind(12);
    session.edit('one');
    session.commit({ transition: 'blend' });
    assert.deepEqual(sockets.last.sent.map((m) => m.type).filter((t) => !['ping', 'edit'].includes(t)), ['hello', 'commit']);
    assert.deepEqual(sockets.last.of('commit').map((m) => m.transition), [undefined]);
});

test('once the server told its history one can go back', () => {
    const { session, sockets } = newer();
    sockets.last.say({ type: 'history', from: 4, to: 96 });
    assert.ok(session.can.rewind && session.can.fork);
    session.rewind(40);
    assert.deepEqual(sockets.last.of('rewind'), [{ type: 'rewind', frame: 40 }]);
});

test('a fork is asked for once; after welcome the session is its own', () => {
    const fork = { session: 'cd'.repeat(16), frame: 48 };
    const { sockets, timers } = setUp({ fork });
    sockets.last.open();
    assert.deepEqual(sockets.last.sent[0].fork, fork);
    sockets.last.say(vector('welcome'));
    sockets.last.drop();
    timers.advance(5000);
    sockets.last.open();
    assert.equal(sockets.last.sent[0].fork, undefined);
    assert.equal(sockets.last.sent[0].resume, vector('welcome').session);
    sockets.last.say({ type: 'error', code: 'out_of_range', message: 'no', fatal: false });
    assert.equal(sockets.last.of('hello').length, 1);
});

test('a fork that is refused becomes a stream of its own', () => {
    for (const code of ['unknown_session', 'unknown_field']) {
        const { sockets, session } = setUp({ fork: { session: 'cd'.repeat(16) } });
        sockets.last.open();
        sockets.last.say({ type: 'error', code, message: 'no', fatal: false });
        assert.deepEqual(sockets.last.of('hello').map((m) => 'fork' in m), [true, false]);
        sockets.last.say(vector('welcome'));
        assert.equal(session.phase, 'open');
    }
});
