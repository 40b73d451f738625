// One connection that is kept: opens, watches, comes back with growing pauses.
//
// It knows nothing of what is said on it, except that somebody tells it (`stop`, `retryIn`) when coming back makes no
// sense or when to. Timers and the WebSocket class are parameters, so that tests run without a network and without time.

const BACKOFF_MS = [300, 700, 1500, 3000, 5000, 8000];
const JITTER = 0.3; // so that many pages do not come back in the same instant
const OPEN_TIMEOUT_MS = 8000;

export class Socket {
    // handlers: onOpen(), onText(string), onBinary(ArrayBuffer), onDown({ code, reason, opened, retryMs }): the
    // connection is gone and comes back in retryMs, or not at all when that is null.
    constructor({ url, protocols, handlers, WebSocketImpl = globalThis.WebSocket, timers = globalThis,
        random = Math.random }) {
        this._url = url;
        this._protocols = protocols;
        this._handlers = handlers;
        this._WebSocket = WebSocketImpl;
        this._timers = timers;
        this._random = random;
        this._ws = null;
        this._timer = null;
        this._attempt = 0;
        this._stopped = true;
        this._retryHint = null;
    }

    get open() {
        return this._ws !== null && this._ws.readyState === 1;
    }

    // Bytes that the browser has taken but not sent.
    get bufferedBytes() {
        return this._ws ? this._ws.bufferedAmount : 0;
    }

    start() {
        this._stopped = false;
        this._attempt = 0;
        this._connect();
    }

    // Now instead of when the pause is over.
    retryNow() {
        if (!this._stopped && !this._ws) {
            this._connect();
        }
    }

    // The server said how long to wait before the next try.
    retryIn(ms) {
        this._retryHint = ms;
    }

    // The conversation works: the next pause is a short one again.
    settled() {
        this._attempt = 0;
    }

    stop(code = 1000, reason = '') {
        this._stopped = true;
        this._clear();
        this._drop(code, reason);
    }

    // Gives the connection up as dead and comes back.
    restart(reason) {
        const ws = this._ws;
        if (!ws) {
            return;
        }
        this._detach();
        ws.close(4000, reason);
        this._down(1006, reason, true);
    }

    // False when there is nothing to send on; nothing is queued here.
    send(text) {
        if (!this.open) {
            return false;
        }
        this._ws.send(text);
        return true;
    }

    _connect() {
        this._clear();
        let ws;
        try {
            ws = new this._WebSocket(this._url, this._protocols);
        } catch (error) {
            this._down(1006, String(error && error.message), false);
            return;
        }
        ws.binaryType = 'arraybuffer';
        this._ws = ws;
        let opened = false;
        this._timer = this._timers.setTimeout(() => this.restart('no answer'), OPEN_TIMEOUT_MS);
        ws.onopen = () => {
            opened = true;
            this._clear();
            this._handlers.onOpen();
        };
        ws.onmessage = (event) => this._deliver(event.data);
        ws.onclose = (event) => {
            this._detach();
            this._down(event.code, event.reason, opened);
        };
    }

    _deliver(data) {
        if (typeof data === 'string') {
            this._handlers.onText(data);
        } else {
            this._handlers.onBinary(data);
        }
    }

    _down(code, reason, opened) {
        this._clear();
        const retryMs = this._stopped ? null : this._pause();
        if (retryMs !== null) {
            this._timer = this._timers.setTimeout(() => this._connect(), retryMs);
        }
        this._handlers.onDown({ code, reason, opened, retryMs });
    }

    _pause() {
        const hint = this._retryHint;
        this._retryHint = null;
        if (hint !== null) {
            return hint;
        }
        const base = BACKOFF_MS[Math.min(this._attempt++, BACKOFF_MS.length - 1)];
        return Math.round(base * (1 + JITTER * this._random()));
    }

    _drop(code, reason) {
        const ws = this._ws;
        if (ws) {
            this._detach();
            ws.close(code, reason);
        }
    }

    _detach() {
        if (this._ws) {
            this._ws.onopen = null;
            this._ws.onmessage = null;
            this._ws.onclose = null;
            this._ws = null;
        }
    }

    _clear() {
        if (this._timer !== null) {
            this._timers.clearTimeout(this._timer);
            this._timer = null;
        }
    }
}
