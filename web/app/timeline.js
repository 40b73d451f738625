// The prompts of this session and when each took effect: a list with small pictures, and a strip under the picture.
//
// An entry is made when a prompt is committed and stands as waiting until its first picture is on the screen; the server's
// `applied` ties it to an epoch. An epoch that nobody committed here (a start prompt, a start over) gets an entry of its
// own. Oldest entries go when there are too many.
//
// Each entry knows which frames of the stream's present timeline it stands for. A new epoch that begins further back (a
// rewind, a start over, a cut among pictures already made) takes the frames behind its beginning away from the entries
// before it; what has none left can be looked at, but not returned to. The server's `history` says how far back it still
// knows the way.

import { byId, element, setText } from './dom.js';
import { clockTime, seconds } from './format.js';

const ENTRIES_MAX = 60;
const STRIP_MAX = 24;

export class Timeline {
    // onPick(text, event); onRewind(frame, atMs), onFork(frame)
    constructor({ onPick, onRewind, onFork }) {
        this._onPick = onPick;
        this._onRewind = onRewind;
        this._onFork = onFork;
        this._range = null; // { from, to } of frames that can be returned to
        this._rewound = null; // where a rewind under way goes to, on our clock
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
        this._range = null;
        this._rewound = null;
        for (const entry of this._entries) {
            entry.epoch = null;
            entry.frame = undefined;
        }
        this._reach();
    }

    // How far back the server knows the way; null: not at all.
    history(range) {
        this._range = range;
        this._reach();
    }

    // A rewind to that moment was asked for.
    rewinding(atMs) {
        this._rewound = atMs;
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
    shown({ epoch, revision, ptsMs, frame }, text, latencyMs) {
        if (this._base === null) {
            this._base = ptsMs - this._nowMs;
        }
        this._nowMs = ptsMs - this._base;
        const current = this._current();
        if (current && current.epoch === epoch) {
            current.until = frame + 1;
            return;
        }
        this._take({ epoch, revision, frame }, text, latencyMs);
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
            entry.endMs = i + 1 < shown.length ? shown[i + 1].atMs : this._nowMs;
            const bar = this._strip.children[i] ?? this._strip.appendChild(this._makeBar());
            bar.style.flexGrow = String(Math.max(200, entry.endMs - entry.atMs));
            this._renderBar(bar, entry);
        });
    }

    _makeBar() {
        const button = element('button', { type: 'button', className: 'moment', tabIndex: -1 });
        const bar = element('li', {}, button);
        button.addEventListener('click', (event) => this._pickMoment(bar, event));
        button.addEventListener('keydown', (event) => this._walk(event));
        return bar;
    }

    _renderBar(bar, entry) {
        const button = bar.firstChild;
        const open = this._open(entry);
        bar.entry = entry;
        bar.dataset.state = entry.state;
        bar.dataset.open = String(open);
        button.disabled = this._range === null;
        button.setAttribute('aria-disabled', String(!open));
        const label = `${clockTime(entry.atMs)} ${entry.text}`;
        button.setAttribute('aria-label', label);
        button.title = this._range === null ? label : open ? `Go back to ${label}` : `${label} (no way back there any more)`;
    }

    // A click goes to the moment under it; keys go to where the prompt began.
    _pickMoment(bar, event) {
        const { entry } = bar;
        if (!this._open(entry)) {
            return;
        }
        const box = bar.getBoundingClientRect();
        const part = event.detail > 0 && box.width > 0 ? (event.clientX - box.left) / box.width : 0;
        this._goTo(entry, Math.min(Math.max(part, 0), 1));
    }

    _goTo(entry, part) {
        const wanted = entry.frame + Math.round(part * (entry.until - 1 - entry.frame));
        const frame = Math.min(Math.max(wanted, this._range.from), this._range.to);
        this._onRewind(frame, entry.atMs + part * (entry.endMs - entry.atMs));
    }

    // One stop for Tab, arrows between the moments.
    _walk(event) {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        const bars = [...this._strip.children];
        const next = step && bars[bars.indexOf(event.currentTarget.parentElement) + step];
        if (next) {
            event.preventDefault();
            next.firstChild.focus();
        }
    }

    // Can the stream return to it?
    _open(entry) {
        return this._range !== null && entry.frame !== undefined && entry.until > entry.frame &&
            entry.until > this._range.from && entry.frame <= this._range.to;
    }

    _reach() {
        const can = this._range !== null;
        this._strip.setAttribute('aria-hidden', String(!can));
        this._strip.classList.toggle('can', can);
        const last = this._strip.lastChild?.firstChild;
        if (last) {
            last.tabIndex = can ? 0 : -1;
        }
        this._entries.forEach((entry) => this._renderActions(entry));
    }

    _take({ epoch, revision, frame }, text, latencyMs) {
        const current = this._current();
        if (current) {
            current.state = 'past';
            this._render(current);
        }
        for (const entry of this._entries) {
            entry.until = Math.min(entry.until ?? 0, frame);
        }
        let entry = this._entries.find((e) => e.state === 'waiting' && (e.epoch === epoch || e.rev === revision));
        if (!entry) {
            const again = current && current.rev === revision;
            const note = this._rewound !== null ? `back at ${clockTime(this._rewound)}` : again ? 'started over' : '';
            entry = this._add({ rev: revision, text: again ? current.text : text, state: 'current', note });
        }
        this._rewound = null;
        for (const overtaken of this._entries.filter((e) => e.state === 'waiting' && e.rev < revision)) {
            this._remove(overtaken);
        }
        Object.assign(entry, { state: 'current', epoch, frame, until: frame + 1, atMs: this._nowMs, latencyMs });
        this._render(entry);
        this._strip.replaceChildren();
        this.tick();
        this._reach();
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
        entry.back = this._makeAction('i-back', 'Go back to here', () => this._goTo(entry, 0));
        entry.fork = this._makeAction('i-fork', 'Go on from here in a second window', () =>
            this._onFork(Math.max(entry.frame, this._range.from)));
        entry.item = element('li', {}, entry.button, element('span', { className: 'actions' }, entry.back, entry.fork));
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

    _makeAction(icon, label, act) {
        const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
        const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
        use.setAttribute('href', `#${icon}`);
        svg.append(use);
        const button = element('button', { type: 'button', className: 'tool small', title: label, hidden: true }, svg);
        button.setAttribute('aria-label', label);
        button.addEventListener('click', act);
        return button;
    }

    // Shown where the server can; dead where it no longer can.
    _renderActions(entry) {
        const open = this._open(entry);
        for (const button of [entry.back, entry.fork]) {
            button.hidden = this._range === null || entry.atMs === undefined;
            button.disabled = !open;
        }
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
