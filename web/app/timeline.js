// The prompts of this session and when each took effect: a list with small pictures, and a strip under the picture.
//
// An entry is made when a prompt is committed and stands as waiting until its first picture is on the screen; the server's
// `applied` ties it to an epoch. An epoch that nobody committed here (a start prompt, a start over) gets an entry of its
// own. Oldest entries go when there are too many.

import { byId, element, setText } from './dom.js';
import { clockTime, seconds } from './format.js';

const ENTRIES_MAX = 60;
const STRIP_MAX = 24;

export class Timeline {
    // onPick(text, event)
    constructor({ onPick }) {
        this._onPick = onPick;
        this._list = byId('history');
        this._strip = byId('track');
        this._empty = byId('history-empty');
        this._entries = [];
        this._base = null; // pts of stream time 0
        this._nowMs = 0;
    }

    // Another session: its clock and its epochs start again; our time goes on where it stood.
    restart() {
        this._base = null;
        for (const entry of this._entries) {
            entry.epoch = null;
        }
    }

    get streamMs() {
        return this._nowMs;
    }

    commit({ rev, text, transition }) {
        for (const old of this._entries.filter((e) => e.state === 'waiting' && e.rev === rev)) {
            this._remove(old);
        }
        this._add({ rev, text, transition, state: 'waiting' });
    }

    applied({ rev, epoch }) {
        const entry = this._entries.find((e) => e.rev === rev && e.state === 'waiting');
        if (entry) {
            entry.epoch = epoch;
        }
    }

    failed({ rev, message }) {
        const entry = this._entries.find((e) => e.rev === rev && e.state === 'waiting');
        if (entry) {
            entry.state = 'failed';
            entry.detail = message;
            this._render(entry);
        }
    }

    // A picture is on the screen. `text` is the prompt it was made under when no entry knows.
    shown({ epoch, revision, ptsMs }, text, latencyMs) {
        if (this._base === null) {
            this._base = ptsMs - this._nowMs;
        }
        this._nowMs = ptsMs - this._base;
        const current = this._current();
        if (current && current.epoch === epoch) {
            return;
        }
        this._take(epoch, revision, text, latencyMs);
    }

    thumb({ epoch, bitmap }) {
        const entry = this._entries.find((e) => e.epoch === epoch && e.state !== 'waiting');
        if (entry) {
            entry.canvas.width = bitmap.width;
            entry.canvas.height = bitmap.height;
            entry.canvas.getContext('2d').drawImage(bitmap, 0, 0);
        }
        bitmap.close();
    }

    // The strip's proportions; called now and then.
    tick() {
        setText(byId('clock'), clockTime(this._nowMs));
        const shown = this._entries.filter((e) => e.atMs !== undefined).slice(-STRIP_MAX);
        while (this._strip.children.length > shown.length) {
            this._strip.lastChild.remove();
        }
        shown.forEach((entry, i) => {
            const until = i + 1 < shown.length ? shown[i + 1].atMs : this._nowMs;
            const bar = this._strip.children[i] ?? this._strip.appendChild(element('li'));
            bar.style.flexGrow = String(Math.max(200, until - entry.atMs));
            bar.title = `${clockTime(entry.atMs)} ${entry.text}`;
        });
    }

    _take(epoch, revision, text, latencyMs) {
        const current = this._current();
        if (current) {
            current.state = 'past';
            this._render(current);
        }
        let entry = this._entries.find((e) => e.state === 'waiting' && (e.epoch === epoch || e.rev === revision));
        if (!entry) {
            const again = current && current.rev === revision;
            entry = this._add({ rev: revision, text: again ? current.text : text, state: 'current',
                note: again ? 'started over' : '' });
        }
        for (const overtaken of this._entries.filter((e) => e.state === 'waiting' && e.rev < revision)) {
            this._remove(overtaken);
        }
        Object.assign(entry, { state: 'current', epoch, atMs: this._nowMs, latencyMs });
        this._render(entry);
        this._strip.replaceChildren();
        this.tick();
    }

    _current() {
        return this._entries.find((e) => e.state === 'current');
    }

    _add(entry) {
        entry.canvas = element('canvas', { width: 16, height: 9 });
        entry.words = element('span', { className: 'words-of' });
        entry.when = element('span', { className: 'when' });
        entry.button = element('button', { className: 'entry', type: 'button' }, entry.canvas,
            element('span', {}, entry.words, entry.when));
        entry.button.title = 'Use this prompt again';
        entry.button.addEventListener('click', (event) => this._onPick(entry.text, event));
        entry.item = element('li', {}, entry.button);
        this._entries.push(entry);
        this._list.prepend(entry.item);
        this._list.scrollTo({ top: 0, left: 0 });
        this._empty.hidden = true;
        this._list.hidden = false;
        if (this._entries.length > ENTRIES_MAX) {
            this._remove(this._entries[0]);
        }
        this._render(entry);
        return entry;
    }

    _remove(entry) {
        entry.item.remove();
        this._entries = this._entries.filter((e) => e !== entry);
    }

    _render(entry) {
        entry.button.dataset.state = entry.state;
        if (entry.state === 'current') {
            entry.button.setAttribute('aria-current', 'true');
        } else {
            entry.button.removeAttribute('aria-current');
        }
        setText(entry.words, entry.text);
        setText(entry.when, describe(entry));
    }
}

function describe(entry) {
    if (entry.state === 'waiting') {
        return 'on its way…';
    }
    if (entry.state === 'failed') {
        return entry.detail || 'could not be used';
    }
    const parts = [clockTime(entry.atMs ?? 0)];
    if (entry.latencyMs !== undefined && entry.latencyMs !== null) {
        parts.push(`after ${seconds(entry.latencyMs)}`);
    }
    if (entry.note) {
        parts.push(entry.note);
    }
    return parts.join(' · ');
}
