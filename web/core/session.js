// One session with the server: greeting, keeping it over reconnects, and the small messages that go with it.
//
// It owns the socket, the prompt's copy and the clock; it draws nothing and decodes nothing. What happens is told through
// `handlers`, all optional:
//   onPhase(phase, detail)   phase: connecting, queued, busy, reconnecting, open, refused, left
//   onWelcome(message)       a session began or goes on (message.resumed); message.shownText is the text to show
//   onMessage(message)       every other message, after the session has done its part with it
//   onMedia(buffer, atMs)    a binary message
//   onProblem(text)          a message that cannot be read was left out
//
// Phases: `queued` is the waiting room (detail.position, 1 is next; detail.sessions, detail.etaMs); `welcome` follows by
// itself, or `leave()` gives the place up and ends in `left`. `busy` (too many sessions; detail.limit) and `reconnecting` come back by themselves after detail.retryMs.
// `refused` does not: detail.code says why (bad_token, bad_protocol, no_codec, taken_over, …) and `retry()` tries again.
//
// `can` says what this server understands; what it does not is never sent to it.

import { Socket } from './socket.js';
import { Prompt } from './prompt.js';
import { Clock } from './clock.js';
import { abilities, control, parseControl, ProtocolError, PROTOCOL_VERSION, SUBPROTOCOL } from './protocol.js';
import { now as wallNow } from './now.js';

const PING_EVERY_MS = 2000;
const DEAD_AFTER_MS = 9000; // without any message; the server's own bound is 20 s
const REPORT_EVERY_MS = 100;
const REPORT_IDLE_MS = 500;
const BUSY_RETRY_MS = 5000;

// After these, coming back at once would end the same way.
const FINAL = new Set(['bad_token', 'bad_protocol', 'no_codec', 'taken_over', 'too_many_errors', 'model_failed']);

export class Session {
    // fork: { session, frame }: begin where that session is or was, instead of anew.
    constructor({ url, codecs, client = 'web', token = null, resume = null, fork = null, handlers = {}, WebSocketImpl,
        timers = globalThis, now = wallNow, random }) {
        this._codecs = codecs;
        this._client = client;
        this._token = token;
        this._resume = resume;
        this._fork = resume ? null : fork;
        this._handlers = handlers;
        this._timers = timers;
        this._now = now;
        this._socket = new Socket({
            url,
            protocols: [SUBPROTOCOL],
            WebSocketImpl,
            timers,
            random,
            handlers: {
                onOpen: () => this._greet(),
                onText: (text) => this._text(text),
                onBinary: (buffer) => this._binary(buffer),
                onDown: (down) => this._down(down),
            },
        });
        this.clock = new Clock();
        this.prompt = new Prompt({
            send: (type, fields) => this._send(type, type === 'commit' ? this._brief(fields) : fields),
            timers,
        });
        this.welcome = null;
        this.can = abilities(null);
        this._welcomed = false;
        this._ended = false;
        this._fatal = null; // the error or bye before the connection went down
        this._ticker = null;
        this._visible = true;
        this._shownSeq = null;
        this._reportedSeq = null;
        this._reportedMs = 0;
        this._pingId = 0;
        this._pingedMs = 0;
        this._heardMs = 0;
        this._tickMs = 0;
    }

    start() {
        this._phase('connecting', {});
        this._socket.start();
    }

    // After `refused`, or to shorten a pause.
    retry() {
        if (this._ended) {
            this._ended = false;
            this.start();
        } else {
            this._socket.retryNow();
        }
    }

    // Gives up the place in the waiting room; `retry()` joins again, at its end.
    leave() {
        this._raw('bye');
        this._ended = true;
        this._socket.stop();
        this._phase('left', {});
    }

    // Leaves for good: the server frees the place at once.
    close() {
        this._send('bye');
        this._stopTicking();
        this._socket.stop();
    }

    set token(token) {
        this._token = token;
    }

    // To be kept by the caller over a reload; null when there is nothing to resume.
    get resumeToken() {
        return this._resume;
    }

    get connected() {
        return this._welcomed;
    }

    // A codec that turned out not to work here: the session goes on without it.
    dropCodec(codec) {
        if (codec !== 'jpeg') {
            this._codecs = this._codecs.filter((c) => c !== codec);
            this._socket.restart(`${codec} does not work here`);
        }
    }

    edit(text) {
        return this.prompt.edit(text);
    }

    commit(options) {
        return this.prompt.commit(options);
    }

    pause() {
        return this._send('pause');
    }

    resume() {
        return this._send('resume');
    }

    reset(seed) {
        return this._send('reset', { seed });
    }

    steps(steps) {
        return this._send('steps', { steps });
    }

    // What drafts are made with, and the defaults of later commits; what the server has no setting for is left out.
    set(fields) {
        const known = Object.entries(fields).filter(([name]) => this.can.settings && name in this.can.settings);
        return known.length > 0 && this._send('set', Object.fromEntries(known));
    }

    // The stream goes on from that picture of its timeline.
    rewind(frame) {
        return this.can.rewind && this._send('rewind', { frame });
    }

    keyframe(reason) {
        return this._send('keyframe', { reason: reason.slice(0, 64) });
    }

    // The picture on the screen, or the last one passed over.
    shown(seq) {
        this._shownSeq = seq;
    }

    // A hidden page shows nothing and says so by saying nothing.
    setVisible(visible) {
        this._visible = visible;
        if (visible) {
            this._heardMs = this._now();
            this._tick();
        }
    }

    // ---- down and up ----

    _greet() {
        this._fatal = null;
        this._heardMs = this._now();
        this._raw('hello', {
            protocol: PROTOCOL_VERSION,
            codecs: this._codecs,
            token: this._token,
            resume: this._resume,
            fork: this._resume ? null : this._fork,
            client: this._client,
        });
    }

    _binary(buffer) {
        this._heardMs = this._now();
        if (this._welcomed) {
            this._handlers.onMedia?.(buffer, this._heardMs);
        }
    }

    _text(text) {
        this._heardMs = this._now();
        const message = this._parse(text);
        if (message === null) {
            return;
        }
        switch (message.type) {
        case 'welcome':
            this._onWelcome(message);
            return;
        case 'pong':
            this.clock.sample(message.client_us / 1000, message.server_us / 1000, this._heardMs);
            break;
        case 'queued':
            this._onQueued(message);
            break;
        case 'settings':
            this._onSettings(message);
            break;
        case 'history':
            this.can.rewind = true;
            this.can.fork = true;
            break;
        case 'received':
            this.prompt.onReceived(message);
            break;
        case 'resync':
            this.prompt.onResync(message);
            break;
        case 'error':
            this._onError(message);
            break;
        case 'bye':
            this._leaving(message);
            break;
        default:
            break;
        }
        this._handlers.onMessage?.(message);
    }

    _parse(text) {
        try {
            return parseControl(text);
        } catch (error) {
            if (!(error instanceof ProtocolError)) {
                throw error;
            }
            this._handlers.onProblem?.(error.message);
            return null;
        }
    }

    _onWelcome(message) {
        this._welcomed = true;
        this._resume = message.session;
        this._fork = null; // from here on it is a session of its own
        this.welcome = message;
        this.can = abilities(message);
        this.clock.reset();
        this._socket.settled();
        this._shownSeq = null;
        this._reportedSeq = null;
        message.shownText = this.prompt.link(message);
        this._phase('open', {});
        this._handlers.onWelcome?.(message);
        this._startTicking();
    }

    _onQueued({ position, sessions, eta_ms: etaMs }) {
        if (!this._welcomed) {
            this._phase('queued', { position, sessions, etaMs });
        }
    }

    // Only what this version knows to ask for is kept; `type` is no setting.
    _onSettings({ type, server_us: at, ...values }) {
        this.can.settings = { ...this.can.settings, ...values };
    }

    _onError(message) {
        if (message.fatal) {
            this._leaving(message);
        } else if (!this._welcomed && this._fork) {
            // There is nothing to fork any more, or the server cannot: then a stream of its own.
            this._fork = null;
            this._greet();
        } else {
            this.prompt.onError(message);
        }
    }

    // The server is about to close; it may say when to come back.
    _leaving(message) {
        this._fatal = message;
        if (Number.isFinite(message.retry_ms)) {
            this._socket.retryIn(message.retry_ms);
        } else if (message.code === 'too_many_sessions') {
            this._socket.retryIn(BUSY_RETRY_MS);
        }
    }

    _down({ code, reason, opened, retryMs }) {
        const fatal = this._fatal;
        this._fatal = null;
        this._welcomed = false;
        this.prompt.unlink();
        this._stopTicking();
        if (retryMs === null) {
            return;
        }
        const why = fatal ? fatal.code : CLOSE_CODES[code];
        const message = fatal ? fatal.message : reason;
        if (FINAL.has(why)) {
            this._ended = true;
            this._socket.stop();
            this._phase('refused', { code: why, message });
        } else {
            this._phase(why === 'too_many_sessions' ? 'busy' : 'reconnecting',
                { code: why, message, limit: fatal?.limit, retryMs, opened });
        }
    }

    _phase(phase, detail) {
        this.phase = phase;
        this._handlers.onPhase?.(phase, detail);
    }

    // A commit without what is in force anyway: then it finds the draft that was made with just that.
    _brief(fields) {
        const { settings, blend } = this.can;
        const left = Object.entries(fields).filter(([name, value]) => !settings || settings[name] !== value);
        return Object.fromEntries(left.filter(([, value]) => blend || value !== 'blend'));
    }

    _send(type, fields) {
        return this._welcomed && this._raw(type, fields);
    }

    _raw(type, fields) {
        return this._socket.send(control(type, fields));
    }

    // ---- ticking ----

    _startTicking() {
        this._stopTicking();
        this._pingedMs = -Infinity;
        this._tickMs = this._now();
        this._ticker = this._timers.setInterval(() => this._tick(), REPORT_EVERY_MS);
        this._tick();
    }

    _stopTicking() {
        if (this._ticker !== null) {
            this._timers.clearInterval(this._ticker);
            this._ticker = null;
        }
    }

    _tick() {
        if (!this._welcomed) {
            return;
        }
        const at = this._now();
        const slept = at - this._tickMs > DEAD_AFTER_MS / 2; // a suspended machine or page proves nothing
        this._tickMs = at;
        if (slept) {
            this._heardMs = at;
        }
        if (at - this._heardMs > DEAD_AFTER_MS) {
            this._socket.restart('silence');
            return;
        }
        if (at - this._pingedMs >= PING_EVERY_MS) {
            this._pingedMs = at;
            this._send('ping', { id: ++this._pingId, client_us: Math.round(at * 1000) });
        }
        this._reportPlayhead(at);
    }

    _reportPlayhead(at) {
        if (!this._visible || this._shownSeq === null) {
            return;
        }
        if (this._shownSeq === this._reportedSeq && at - this._reportedMs < REPORT_IDLE_MS) {
            return;
        }
        this._reportedSeq = this._shownSeq;
        this._reportedMs = at;
        this._send('playhead', {
            seq: this._shownSeq,
            client_us: Math.round(at * 1000),
            rtt_us: this.clock.ready ? Math.round(this.clock.rttMs * 1000) : undefined,
        });
    }
}

const CLOSE_CODES = { 1013: 'too_many_sessions', 4001: 'taken_over', 4002: 'slow_client', 1001: 'shutdown',
    1008: 'policy', 1011: 'internal' };
