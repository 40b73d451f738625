// Time and a network that a test moves by hand.

export class FakeTimers {
    constructor() {
        this.nowMs = 0;
        this._id = 0;
        this._timers = new Map();
        this.setTimeout = (f, ms) => this._add(f, ms, null);
        this.setInterval = (f, ms) => this._add(f, ms, ms);
        this.clearTimeout = (id) => this._timers.delete(id);
        this.clearInterval = (id) => this._timers.delete(id);
        this.now = () => this.nowMs;
    }

    get pending() {
        return this._timers.size;
    }

    advance(ms) {
        const until = this.nowMs + ms;
        for (;;) {
            const due = [...this._timers].filter(([, t]) => t.at <= until).sort((a, b) => a[1].at - b[1].at)[0];
            if (!due) {
                break;
            }
            const [id, timer] = due;
            this.nowMs = timer.at;
            if (timer.every === null) {
                this._timers.delete(id);
            } else {
                timer.at += timer.every;
            }
            timer.f();
        }
        this.nowMs = until;
    }

    _add(f, ms, every) {
        this._timers.set(++this._id, { f, at: this.nowMs + ms, every });
        return this._id;
    }
}

// A WebSocket class whose other end is in the test's hands. `made` lists the sockets in order.
export function fakeWebSocket() {
    return class FakeWebSocket {
        static made = [];

        static get last() {
            return FakeWebSocket.made[FakeWebSocket.made.length - 1];
        }

        constructor(url, protocols) {
            this.url = url;
            this.protocols = protocols;
            this.readyState = 0;
            this.bufferedAmount = 0;
            this.sent = [];
            this.closedWith = null;
            FakeWebSocket.made.push(this);
        }

        send(text) {
            if (this.readyState !== 1) {
                throw new Error('send on a socket that is not open');
            }
            this.sent.push(JSON.parse(text));
        }

        close(code, reason) {
            this.readyState = 3;
            this.closedWith = { code, reason };
        }

        // ---- the test's side ----

        open() {
            this.readyState = 1;
            this.onopen?.();
        }

        say(message) {
            this.onmessage?.({ data: typeof message === 'string' ? message : JSON.stringify(message) });
        }

        picture(buffer) {
            this.onmessage?.({ data: buffer });
        }

        drop(code = 1006, reason = '') {
            this.readyState = 3;
            this.onclose?.({ code, reason });
        }

        of(type) {
            return this.sent.filter((m) => m.type === type);
        }
    };
}

// A seeded generator (mulberry32): a failing random test can be repeated.
export function seeded(seed) {
    let a = seed >>> 0;
    return () => {
        a = (a + 0x6d2b79f5) >>> 0;
        let t = a;
        t = Math.imul(t ^ (t >>> 15), t | 1);
        t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
        return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
}

// The seed of this run: given by the environment of a repeated run, else new; say it in every failure message.
export const SEED = Number(process.env.KT_TEST_SEED ?? Date.now() % 1000000);
