// The bar under the picture: pause, start over, seed, record, full screen, and the steps.

import { byId, element, setText } from './dom.js';
import { clockTime } from './format.js';
import { parseSeed } from '../core/protocol.js';

const IDLE_MS = 2500;
const FILE_KEPT_MS = 60000;

export class Controls {
    // onPause(paused), onReset(seed or undefined), onSteps(n), onRecord(on)
    constructor({ onPause, onReset, onSteps, onRecord }) {
        this._onPause = onPause;
        this._onReset = onReset;
        this._onRecord = onRecord;
        this._app = byId('app');
        this._seed = byId('seed');
        this._paused = false;
        this._recording = null; // when it began
        this._idleTimer = null;
        byId('pause').addEventListener('click', () => this.togglePause());
        byId('reset').addEventListener('click', () => this.reset());
        byId('dice').addEventListener('click', () => this.newSeed());
        byId('record').addEventListener('click', () => this.toggleRecord());
        byId('full').addEventListener('click', () => this.toggleFull());
        byId('steps').addEventListener('change', (event) => onSteps(Number(event.target.value)));
        this._seed.addEventListener('keydown', (event) => {
            if (event.key === 'Enter') {
                this.reset();
            }
        });
        this._seed.addEventListener('input', () => this._checkSeed());
        document.addEventListener('fullscreenchange', () => this._setFull(document.fullscreenElement !== null));
        for (const name of ['pointermove', 'pointerdown', 'keydown']) {
            document.addEventListener(name, () => this._wake());
        }
    }

    welcome({ seed, steps, limits }) {
        if (seed !== undefined && document.activeElement !== this._seed) {
            this._seed.value = seed;
        }
        const most = Math.min(limits.steps_max ?? 4, 16);
        const choices = [['0', 'Auto']];
        for (let n = most; n >= 1; n--) {
            choices.push([String(n), String(n)]);
        }
        byId('steps').replaceChildren(...choices.map(([value, text]) => element('option', { value }, text)));
        byId('steps').value = String(steps ?? 0);
    }

    setConnected(connected) {
        for (const id of ['pause', 'reset', 'dice', 'seed', 'steps']) {
            byId(id).disabled = !connected;
        }
    }

    get paused() {
        return this._paused;
    }

    setPaused(paused) {
        this._paused = paused;
        const button = byId('pause');
        button.setAttribute('aria-label', paused ? 'Go on' : 'Pause');
        button.title = paused ? 'Go on (Space)' : 'Pause (Space)';
        button.querySelector('use').setAttribute('href', paused ? '#i-play' : '#i-pause');
    }

    togglePause() {
        if (!byId('pause').disabled) {
            this.setPaused(!this._paused);
            this._onPause(this._paused);
        }
    }

    // Start over with what the seed field says; an empty field keeps the seed.
    reset() {
        const text = this._seed.value.trim();
        if (this._checkSeed() && !byId('reset').disabled) {
            this._onReset(text === '' ? undefined : parseSeed(text));
        }
    }

    newSeed() {
        this._seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0] % 1000000);
        this.reset();
    }

    _checkSeed() {
        const text = this._seed.value.trim();
        const good = text === '' || parseSeed(text) !== null;
        this._seed.setAttribute('aria-invalid', String(!good));
        this._seed.title = good ? '' : 'A whole number from 0 to 18446744073709551615';
        return good;
    }

    // ---- recording ----

    get recording() {
        return this._recording !== null;
    }

    toggleRecord() {
        const on = this._recording === null;
        this._setRecording(on);
        this._onRecord(on);
    }

    // It ended by itself.
    recordingEnded() {
        this._setRecording(false);
    }

    tick() {
        if (this._recording !== null) {
            setText(byId('record-time'), clockTime(performance.now() - this._recording));
        }
    }

    _setRecording(on) {
        this._recording = on ? performance.now() : null;
        const button = byId('record');
        button.setAttribute('aria-pressed', String(on));
        button.setAttribute('aria-label', on ? 'Stop and save the recording' : 'Record');
        button.title = on ? 'Stop and save (V)' : 'Record (V)';
        button.querySelector('use').setAttribute('href', on ? '#i-stop' : '#i-record');
        byId('record-time').hidden = !on;
        setText(byId('record-time'), '0:00');
    }

    // ---- full screen ----

    async toggleFull() {
        if (this._app.classList.contains('full')) {
            if (document.fullscreenElement) {
                await document.exitFullscreen();
            }
            this._setFull(false);
            return;
        }
        this._setFull(true);
        try {
            await this._app.requestFullscreen?.();
        } catch {
            // The page fills the window instead.
        }
    }

    leaveFull() {
        if (this._app.classList.contains('full') && !document.fullscreenElement) {
            this._setFull(false);
        }
    }

    _setFull(on) {
        this._app.classList.toggle('full', on);
        byId('full').setAttribute('aria-pressed', String(on));
        this._wake();
    }

    _wake() {
        this._app.classList.remove('idle');
        clearTimeout(this._idleTimer);
        if (this._app.classList.contains('full')) {
            this._idleTimer = setTimeout(() => this._app.classList.add('idle'), IDLE_MS);
        }
    }
}

// Hands a finished recording to the browser's downloads. Returns its name.
export function saveFile(blob, extension) {
    const stamp = new Date().toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15);
    const name = `kinetype-${stamp}.${extension}`;
    const url = URL.createObjectURL(blob);
    const link = element('a', { href: url, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), FILE_KEPT_MS);
    return name;
}
