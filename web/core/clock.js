// The server's monotonic clock seen from here.
//
// A ping carries our time, the pong carries it back with the server's. The sample with the smallest round trip of the
// last WINDOW is the best one (its error is at most half its round trip); samples are never averaged, because a queue
// only ever adds delay.

const WINDOW = 30;

export class Clock {
    constructor() {
        this._samples = [];
    }

    // sentMs and receivedMs are ours, serverMs is the server's clock when it answered; all in milliseconds.
    // Returns false for a sample that cannot be true.
    sample(sentMs, serverMs, receivedMs) {
        const rtt = receivedMs - sentMs;
        if (!Number.isFinite(rtt) || !Number.isFinite(serverMs) || rtt < 0) {
            return false;
        }
        this._samples.push({ rtt, offset: serverMs - (sentMs + receivedMs) / 2 });
        if (this._samples.length > WINDOW) {
            this._samples.shift();
        }
        return true;
    }

    get ready() {
        return this._samples.length > 0;
    }

    get rttMs() {
        return this.ready ? this._best().rtt : 0;
    }

    get errorMs() {
        return this.rttMs / 2;
    }

    // A time of the server's clock on ours; null until a sample is there.
    toLocal(serverMs) {
        return this.ready ? serverMs - this._best().offset : null;
    }

    // A new connection may be to another process with another clock.
    reset() {
        this._samples.length = 0;
    }

    _best() {
        return this._samples.reduce((best, s) => (s.rtt < best.rtt ? s : best));
    }
}
