// When to show which picture: the jitter buffer.
//
// Pictures come with presentation times (pts) that the server spaces evenly, also when the device is slower than its
// frame rate, and are shown on a clock of our own that is anchored at one picture. Four rules:
//
//  1. Even before fast. Late pictures are never shown back to back, nor skipped, to catch up: the anchor moves and the
//     rhythm starts again. Nothing piles up behind us by that, because the server follows our playhead.
//  2. `flush` on arrival: old pictures play on until the first one of a new epoch is *ready to be shown*; then they are
//     dropped and it is shown at once, for it is what the person asked for. With a `fade` of n the next n of them stay, to
//     be blended under the first n new ones with falling weight; where there are fewer, the last one stands. A new epoch
//     without `flush` follows in order and drops nothing.
//  3. `late` moves the anchor to that picture, after the ones before it were shown.
//  4. Bounded. At most `max` pictures are held; the rule when full is to drop the oldest, for a live picture is worth
//     more than a late one. Whatever leaves without being shown goes through `drop`, which must close it.
//
// Times are milliseconds of one clock that the caller chooses. There are no timers in here: the caller asks for due(now).
// The picture on the screen stays open until the next one is due, because a fade may begin at it.

export const PLAYOUT_MAX = 32;
export const FADE_MAX = 16;
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
        this._screen = null; // that picture, still open
        this._fade = null; // { total, step, old: pictures to come, under: the one being blended, or null }
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

    // The picture on the screen, ours to close; or null.
    get screen() {
        return this._screen;
    }

    // While paused nothing is due; afterwards the rhythm starts again from the head.
    setPaused(paused) {
        if (this._paused && !paused && this._queue.length) {
            this._queue[0].rebase = true;
        }
        this._paused = paused;
    }

    // A picture ready to be shown, { seq, epoch, ptsMs, flush, fade, late, ... }, in wire order.
    push(picture, nowMs) {
        if (this._epoch !== null && picture.epoch < this._epoch) {
            this._discard(picture);
            return;
        }
        if (picture.flush) {
            this._beginFade(Math.min(picture.fade ?? 0, FADE_MAX));
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
        this._endFade();
        for (const picture of this._queue.splice(0)) {
            this._discard(picture);
        }
    }

    // Another stream: another clock, another count of epochs.
    reset() {
        this.flush();
        this._close(this._screen);
        this._screen = null;
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

    // The picture to show now, or null. It stays ours and open until the next one is due. `under` and `underWeight`: an old
    // picture to blend over it, while a fade lasts; else null and 0.
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
        picture.under = null;
        picture.underWeight = 0;
        this._stepFade(picture);
        this._screen = picture;
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

    // What waits becomes the old side of a fade over `total` pictures; the rest of it is dropped.
    _beginFade(total) {
        const old = this._queue.splice(0);
        const kept = old.splice(0, total);
        this._endFade();
        for (const picture of old) {
            this._discard(picture);
        }
        this._fade = total ? { total, step: 0, old: kept, under: null } : null;
    }

    // The next new picture: the old one that was due with it, at a weight that falls to nothing behind the last.
    _stepFade(picture) {
        const before = this._screen;
        const fade = this._fade;
        if (!fade) {
            this._close(before);
            return;
        }
        if (fade.step >= fade.total) {
            this._endFade();
            this._close(before);
            return;
        }
        const next = fade.old.shift() ?? (fade.under ? null : before);
        if (next) {
            this._close(fade.under);
            fade.under = next;
        }
        if (next !== before) {
            this._close(before);
        }
        picture.under = fade.under;
        picture.underWeight = fade.under ? (fade.total - fade.step) / (fade.total + 1) : 0;
        fade.step++;
    }

    _endFade() {
        const fade = this._fade;
        this._fade = null;
        if (fade) {
            this._close(fade.under);
            if (this._screen) {
                this._screen.under = null;
            }
            fade.old.forEach((picture) => this._discard(picture));
        }
    }

    _discard(picture) {
        this.dropped++;
        this._drop(picture);
    }

    // Was shown, or blended.
    _close(picture) {
        if (picture) {
            this._drop(picture);
        }
    }
}
