// The preview of an epoch that is still being made: stream 1, shown over the old pictures until the full ones come.
//
// A preview is soft and quickly made; it only tells that the words were understood. Four rules:
//
//  1. Never behind the full picture. Once a full picture of its epoch, or of a later one, has *arrived*, no further
//     preview of it is taken; what is on the screen stays until the first full picture is *shown* and then fades out under
//     it.
//  2. Shown at once, then by pts. Late ones are dropped when a newer one is due, too: a preview has no rhythm to keep.
//  3. It comes and goes by weight: IN_STEPS pictures in, OUT_STEPS out, counted in pictures drawn.
//  4. It never stays alone. When its epoch does not come (the prompt failed, or was overtaken) it fades out after HOLD_MS
//     without another preview.
//
// Pure: pictures with `image` in, a layer to draw out. Everything that leaves goes through `drop`, which closes it.

export const PREVIEW_MAX = 8;
const IN_STEPS = 3;
const OUT_STEPS = 4;
const HOLD_MS = 600; // a still picture for longer than that is worse than an old one that moves

export class Preview {
    constructor({ drop = () => {} } = {}) {
        this._drop = drop;
        this._queue = [];
        this._current = null; // the picture being blended in, held or blended out
        this._offset = null; // our clock minus pts
        this._full = -1; // newest epoch of which a full picture has arrived
        this._in = 0; // steps drawn since it began
        this._out = 0; // steps drawn since it began to go; 0: not going
        this._shownMs = 0;
        this.dropped = 0;
    }

    // The epoch on the screen as a preview, or null.
    get epoch() {
        return this._current ? this._current.epoch : null;
    }

    get revision() {
        return this._current ? this._current.revision : null;
    }

    get depth() {
        return this._queue.length;
    }

    // May a preview of this epoch still be shown?
    wants(epoch) {
        return epoch > this._full && (this._current === null || epoch >= this._current.epoch);
    }

    // A full picture of `epoch` has arrived.
    arrived(epoch) {
        if (epoch > this._full) {
            this._full = epoch;
            this._sift();
        }
    }

    push(picture) {
        if (!this.wants(picture.epoch)) {
            this._discard(picture);
            return;
        }
        const newest = this._queue[this._queue.length - 1] ?? this._current;
        if (!newest || newest.epoch !== picture.epoch) {
            this._offset = null; // another preview: its own clock
            this._queue.splice(0).forEach((p) => this._discard(p));
        }
        this._queue.push(picture);
        if (this._queue.length > PREVIEW_MAX) {
            this._discard(this._queue.shift());
        }
    }

    // Milliseconds until something is to be done, or null.
    wait(nowMs) {
        if (this._queue.length) {
            return this._offset === null ? 0 : Math.max(0, this._queue[0].ptsMs + this._offset - nowMs);
        }
        if (this._current && this._out === 0 && this._full < this._current.epoch) {
            return Math.max(0, this._shownMs + HOLD_MS - nowMs);
        }
        return null;
    }

    // Takes what is due. True when the picture must be drawn anew.
    due(nowMs) {
        if (this.wait(nowMs) !== 0) {
            return false;
        }
        if (!this._queue.length) {
            this._out = 1; // its epoch did not come
            return true;
        }
        let picture = this._queue.shift();
        this._offset ??= nowMs - picture.ptsMs;
        while (this._queue.length && this._queue[0].ptsMs + this._offset <= nowMs) {
            this._discard(picture);
            picture = this._queue.shift();
        }
        if (!this._current || this._out) {
            this._in = 0;
            this._out = 0;
        }
        this._take(picture);
        this._shownMs = nowMs;
        return true;
    }

    // What to blend over a full picture of `epoch` that is being drawn: { image, weight, soft }, or null.
    layer(epoch) {
        if (!this._current) {
            return null;
        }
        if (this._out === 0 && epoch >= this._current.epoch) {
            this._out = 1;
        }
        const weight = this._out ? this._leave() : this._enter();
        return weight > 0 ? { image: this._current.image, weight, soft: true } : null;
    }

    reset() {
        this._queue.splice(0).forEach((p) => this._discard(p));
        this._take(null);
        this._offset = null;
        this._full = -1;
        this._in = 0;
        this._out = 0;
    }

    _enter() {
        this._in = Math.min(this._in + 1, IN_STEPS);
        return this._in / IN_STEPS;
    }

    _leave() {
        const from = Math.max(this._in, 1) / IN_STEPS; // it may not have come in wholly
        const weight = from * (OUT_STEPS + 1 - this._out) / (OUT_STEPS + 1);
        if (this._out++ > OUT_STEPS) {
            this._take(null);
            this._in = 0;
            this._out = 0;
            return 0;
        }
        return weight;
    }

    _take(picture) {
        if (this._current) {
            this._drop(this._current);
        }
        this._current = picture;
    }

    _sift() {
        this._queue = this._queue.filter((picture) => {
            if (picture.epoch > this._full) {
                return true;
            }
            this._discard(picture);
            return false;
        });
    }

    _discard(picture) {
        this.dropped++;
        this._drop(picture);
    }
}
