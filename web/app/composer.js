// The prompt box: every change streams out, Enter (or a pause, in live mode) makes it take effect, and the line below
// says what has become of it. A thin bar says how far the server is with what stands there and was not applied yet: full
// means that Enter only has to show it.

import { byId, setText } from './dom.js';
import { seconds } from './format.js';
import { unknownWords } from './cover.js';
import { eventTime, now } from '../core/now.js';

const LIVE_PAUSE_MS = 450;
const HEIGHT_MAX_REM = 6.2;
const STAGES = ['text', 'ready']; // how far a draft is

export class Composer {
    // onEdit(text); onCommit({ transition, keyMs, text })
    constructor({ onEdit, onCommit }) {
        this._onEdit = onEdit;
        this._onCommit = onCommit;
        this._box = byId('prompt');
        this._receipt = byId('receipt');
        this._live = byId('live');
        this._draft = byId('draft');
        this._stage = null; // of STAGES
        this._composing = false;
        this._timer = null;
        this._committed = null; // text of the last commit
        this._warning = '';
        this._keyMs = 0;
        this._listen();
        this._enable();
    }

    get text() {
        return this._box.value;
    }

    // Shows a text that did not come from the keyboard here. The caret goes to its end.
    show(text) {
        if (this._box.value !== text) {
            this._box.value = text;
            this._box.setSelectionRange(text.length, text.length);
        }
        this._fit();
        this._enable();
    }

    // A text chosen instead of typed: streams out and takes effect.
    choose(text, keyMs) {
        this.show(text);
        this._setStage(null);
        this._onEdit(text);
        this.commit(keyMs);
    }

    focus() {
        this._box.focus();
    }

    limit(bytes) {
        this._box.maxLength = Math.floor(bytes / 3); // a UTF-16 unit is at most three bytes of UTF-8
    }

    committed(text) {
        this._committed = text;
    }

    get transition() {
        return document.querySelector('input[name="transition"]:checked').value;
    }

    set transition(value) {
        const radio = document.querySelector(`input[name="transition"][value="${value}"]`);
        if (radio) {
            radio.checked = true;
        }
    }

    // "Blend" only where the server can.
    set canBlend(can) {
        byId('blend-choice').hidden = !can;
        if (!can && this.transition === 'blend') {
            this.transition = 'cut';
        }
    }

    get transitions() {
        return [...document.querySelectorAll('input[name="transition"]')]
            .filter((radio) => !radio.parentElement.hidden).map((radio) => radio.value);
    }

    // The next one of the list.
    flipTransition() {
        const list = this.transitions;
        this.transition = list[(list.indexOf(this.transition) + 1) % list.length];
    }

    commit(keyMs, transition = this.transition) {
        clearTimeout(this._timer);
        const text = this._box.value.trim();
        if (!text) {
            this.say('warn', 'Type something first: an empty prompt cannot take effect.');
            return;
        }
        this._committed = text;
        this._warning = '';
        this._setStage(null);
        this._onCommit({ transition, keyMs, text });
    }

    // The server is so far with the text that stands here.
    drafted(stage) {
        if (!STAGES.includes(stage) || this._box.value.trim() === (this._committed ?? '').trim()) {
            return;
        }
        this._setStage(stage);
        if (!this._warning) {
            this._idle();
        }
    }

    get stage() {
        return this._stage;
    }

    _setStage(stage) {
        this._stage = stage;
        this._draft.dataset.stage = stage ?? 'none';
        byId('apply').dataset.stage = stage ?? 'none';
    }

    // ---- the line below ----

    say(kind, text) {
        this._receipt.dataset.kind = kind;
        setText(this._receipt, text);
    }

    offline() {
        this.say('warn', 'Not connected. It takes effect as soon as the connection is back.');
    }

    received(message) {
        this._warn(message);
        if (message.committed) {
            this.say(this._warning ? 'warn' : 'busy', this._warning || 'Received. The picture follows…');
        } else if (this._warning) {
            this.say('warn', this._warning);
        } else {
            this._idle();
        }
    }

    shown({ ms, hit }) {
        const took = `On screen ${seconds(ms)} after the key${hit === 'ready' ? ', drawn while you typed' : ''}.`;
        this.say(this._warning ? 'warn' : 'good', this._warning ? `${took} ${this._warning}` : took);
    }

    _warn({ note, unknown, known }) {
        if (note) {
            this._warning = note;
        } else if (unknown && unknown.length) {
            this._warning = `${unknownWords(unknown)}${known === 0 ? '' : ' It draws the rest.'}`;
        } else {
            this._warning = '';
        }
    }

    _idle() {
        if (this._box.value.trim() !== (this._committed ?? '').trim()) {
            const live = this._live.checked;
            if (this._stage === 'ready') {
                this.say('ready', live ? 'Already drawn.' : 'Already drawn: Enter shows it at once.');
            } else {
                this.say('idle', live ? 'Takes effect when you pause.' :
                    this._stage === 'text' ? 'Understood. Press Enter to apply.' : 'Press Enter to apply.');
            }
        }
    }

    // ---- keys ----

    _listen() {
        const box = this._box;
        box.addEventListener('compositionstart', () => {
            this._composing = true;
            clearTimeout(this._timer);
        });
        box.addEventListener('compositionend', (event) => {
            this._composing = false;
            this._changed(eventTime(event));
        });
        box.addEventListener('input', (event) => {
            if (!this._composing && !event.isComposing) {
                this._changed(eventTime(event));
            }
        });
        box.addEventListener('keydown', (event) => {
            if (event.key === 'Enter' && !event.isComposing && event.keyCode !== 229) {
                event.preventDefault();
                this.commit(eventTime(event), event.shiftKey ? other(this.transition) : this.transition);
            }
        });
        byId('composer').addEventListener('submit', (event) => {
            event.preventDefault();
            this.commit(eventTime(event));
        });
        this._live.addEventListener('change', () => {
            if (this._live.checked) {
                this._later(now());
            }
        });
    }

    _changed(keyMs) {
        this._setStage(null);
        const clean = this._onEdit(this._box.value);
        if (clean !== this._box.value) {
            this._keepCaret(clean);
        }
        this._fit();
        this._enable();
        this._later(keyMs);
    }

    _later(keyMs) {
        clearTimeout(this._timer);
        if (!this._live.checked) {
            return;
        }
        this._timer = setTimeout(() => {
            const text = this._box.value.trim();
            if (text && text !== this._committed) {
                this.commit(keyMs);
            }
        }, LIVE_PAUSE_MS);
    }

    _keepCaret(text) {
        const caret = this._box.selectionStart;
        this._box.value = text;
        this._box.setSelectionRange(caret, caret);
    }

    // As tall as its text, up to a few lines.
    _fit() {
        this._box.style.height = 'auto';
        const max = HEIGHT_MAX_REM * parseFloat(getComputedStyle(document.documentElement).fontSize);
        this._box.style.height = `${Math.min(this._box.scrollHeight, max)}px`;
    }

    _enable() {
        byId('apply').disabled = !this._box.value.trim();
    }
}

function other(transition) {
    return transition === 'scene' ? 'cut' : 'scene';
}
