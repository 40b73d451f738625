// When to show which picture: the jitter buffer.
//
// Pictures come with presentation times (pts) that the server spaces evenly, also when the device is slower than its
// frame rate, and are shown on a clock of our own that is anchored at one picture. Four rules:
//
//  1. Even before fast. Late pictures are never shown back to back, nor skipped, to catch up: the anchor moves and the
//     rhythm starts again. Nothing piles up behind us by that, because the server follows our playhead.
//  2. `flush` on arrival: old pictures play on until the first one of a new epoch is *ready to be shown*; then they are
//     dropped and it is shown at once, for it is what the person asked for.
//  3. `late` moves the anchor to that picture, after the ones before it were shown.
//  4. Bounded. At most `max` pictures are held; the rule when full is to drop the oldest, for a live picture is worth
//     more than a late one. Whatever leaves without being shown goes through `drop`, which must close it.
//
// Times are milliseconds of one clock that the caller chooses. There are no timers in here: the caller asks for due(now).

export const PLAYOUT_MAX = 32;
const RHYTHM_MS = 40; // lateness that keeps the anchor: two display refreshes and some scheduling

export class Playout {
    // jitterMs: how long the first picture waits, so that the second one's delay does not show.
    constructor({ jitterMs = 50, max = PLAYOUT_MAX, drop = () => {} } = {}) {
        this._jitter = jitterMs;
        this._max = max;
        this._drop = drop;
        this._queue = [];
        this._offset = null; // our clock minus pts; null until anchored
        this._epoch = null;
        this._shown = null; // { atMs, ptsMs } of the picture on the screen
        this._paused = false;
        this.dropped = 0;
        this.rebased = 0; // how often the rhythm had to start again
    }

    get depth() {
        return this._queue.length;
    }

    get epoch() {
        return this._epoch;
    }

    // While paused nothing is due; afterwards the rhythm starts again from the head.
    setPaused(paused) {
        if (this._paused && !paused && this._queue.length) {
            this._queue[0].rebase = true;
        }
        this._paused = paused;
    }

    // A picture ready to be shown, { seq, epoch, ptsMs, flush, late, ... }, in wire order.
    push(picture, nowMs) {
        if (this._epoch !== null && picture.epoch < this._epoch) {
            this._discard(picture);
            return;
        }
        const begins = this._epoch !== null && picture.epoch > this._epoch;
        if (picture.flush || begins) {
            this.flush();
            picture.urgent = true;
        }
        picture.rebase = Boolean(picture.late);
        this._epoch = picture.epoch;
        if (this._offset === null) {
            this._offset = nowMs + this._jitter - picture.ptsMs;
        }
        this._queue.push(picture);
        if (this._queue.length > this._max) {
            this._discard(this._queue.shift());
        }
    }

    // Drops whatever waits; what is on the screen stays there.
    flush() {
        for (const picture of this._queue.splice(0)) {
            this._discard(picture);
        }
    }

    // Another stream: another clock, another count of epochs.
    reset() {
        this.flush();
        this._offset = null;
        this._epoch = null;
        this._shown = null;
    }

    // Milliseconds until the head is due, 0 when it is; null when there is none or we are paused.
    wait(nowMs) {
        if (!this._queue.length || this._paused) {
            return null;
        }
        const head = this._queue[0];
        if (head.urgent) {
            return 0;
        }
        const dueMs = head.rebase ? this._rebasedDue(head) : head.ptsMs + this._offset;
        return Math.max(0, dueMs - nowMs);
    }

    // The picture to show now, from here on the caller's to close; or null.
    due(nowMs) {
        if (this.wait(nowMs) !== 0) {
            return null;
        }
        const picture = this._queue.shift();
        const lateMs = nowMs - (picture.ptsMs + this._offset);
        if (picture.urgent || picture.rebase || lateMs > RHYTHM_MS) {
            this._offset = nowMs - picture.ptsMs;
            this.rebased++;
        }
        this._shown = { atMs: nowMs, ptsMs: picture.ptsMs };
        return picture;
    }

    // A late picture is due at once, but never crowds the one before it.
    _rebasedDue(head) {
        if (!this._shown) {
            return -Infinity;
        }
        const spacing = Math.min(Math.max(head.ptsMs - this._shown.ptsMs, 0), RHYTHM_MS);
        return this._shown.atMs + spacing;
    }

    _discard(picture) {
        this.dropped++;
        this._drop(picture);
    }
}
