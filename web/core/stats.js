// Small bounded statistics for the overlay: rates over the last seconds and percentiles over the last events.

// Sum of what was added in the last `spanMs`, per second.
export class Rate {
    constructor(spanMs = 2000, max = 512) {
        this._span = spanMs;
        this._max = max;
        this._events = [];
    }

    add(nowMs, amount = 1) {
        this._events.push({ at: nowMs, amount });
        if (this._events.length > this._max) {
            this._events.shift();
        }
    }

    // Between the first and the last event inside the span, so that neither a late look nor a fresh start bends it.
    perSecond(nowMs) {
        while (this._events.length && this._events[0].at < nowMs - this._span) {
            this._events.shift();
        }
        const n = this._events.length;
        if (n < 2) {
            return 0;
        }
        const elapsed = this._events[n - 1].at - this._events[0].at;
        const amount = this._events.reduce((sum, e) => sum + e.amount, 0) - this._events[0].amount;
        return elapsed > 0 ? (amount * 1000) / elapsed : 0;
    }

    reset() {
        this._events.length = 0;
    }
}

// The last `max` values, for percentiles.
export class Recent {
    constructor(max = 64) {
        this._max = max;
        this._values = [];
    }

    add(value) {
        if (!Number.isFinite(value)) {
            return;
        }
        this._values.push(value);
        if (this._values.length > this._max) {
            this._values.shift();
        }
    }

    get count() {
        return this._values.length;
    }

    get last() {
        return this._values.length ? this._values[this._values.length - 1] : null;
    }

    get values() {
        return this._values.slice();
    }

    // Nearest rank; null when empty.
    percentile(p) {
        return percentile(this._values, p);
    }
}

export function percentile(values, p) {
    if (!values.length) {
        return null;
    }
    const sorted = Array.from(values).sort((x, y) => x - y);
    const rank = Math.ceil((p / 100) * sorted.length);
    return sorted[Math.min(sorted.length, Math.max(1, rank)) - 1];
}

// Exponential moving averages by name, for the stage bars.
export class Averages {
    constructor(weight = 0.12) {
        this._weight = weight;
        this._values = new Map();
    }

    add(name, value) {
        if (!Number.isFinite(value)) {
            return;
        }
        const old = this._values.get(name);
        this._values.set(name, old === undefined ? value : old + (value - old) * this._weight);
    }

    get(name) {
        return this._values.get(name) ?? 0;
    }

    reset() {
        this._values.clear();
    }
}
