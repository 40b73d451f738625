// The settings panel: what the server keeps for this session (`set`), chosen here and kept in this browser.
//
// The server's word counts: the controls show what `settings` says is in force. A setting that the server does not have is
// not shown; with an older server only the steps are left.

import { byId, element, setText } from './dom.js';
import { number } from './format.js';
import * as preferences from './preferences.js';

const SWITCHES = ['draft', 'preview'];
const RANGES = ['blend', 'depth'];
const CHOICES = ['cut', 'recache'];
export const NAMES = [...SWITCHES, ...RANGES, ...CHOICES];

export class Settings {
    // onSet(fields)
    constructor({ onSet }) {
        this._onSet = onSet;
        this._panel = byId('settings');
        this._button = byId('tune');
        this._blockMs = 750;
        this._button.addEventListener('click', () => this.toggle());
        byId('settings-close').addEventListener('click', () => this.toggle(false));
        for (const name of NAMES) {
            const control = byId(`set-${name}`);
            control.addEventListener('change', () => this._chosen(name));
            control.addEventListener('input', () => this._label(name));
        }
    }

    // A session began: its pace and its settings, or null. What was chosen here before is asked for again.
    welcome({ video, limits }, settings) {
        const latentMs = (1000 * (video.frames_per_latent ?? 4)) / (video.fps || 16);
        this._blockMs = (1000 * (video.block_frames ?? 12)) / (video.fps || 16);
        choices('cut', [['now', 'At once'], ['latent', `Within ${number(latentMs / 1000)} s`],
            ['block', `Within ${number(this._blockMs / 1000)} s`]]);
        choices('recache', recaches(limits.window));
        for (const name of NAMES) {
            byId(`set-${name}`).closest('.setting').hidden = !settings || !(name in settings);
        }
        if (settings) {
            this.show(settings);
            this._restore(settings);
        }
    }

    // What is in force now.
    show(settings) {
        for (const name of NAMES.filter((n) => n in settings)) {
            const control = byId(`set-${name}`);
            if (SWITCHES.includes(name)) {
                control.checked = settings[name];
            } else {
                const value = String(settings[name]);
                if (CHOICES.includes(name) && ![...control.options].some((o) => o.value === value)) {
                    control.append(element('option', { value }, value)); // in force, so it must be there
                }
                control.value = value;
            }
            this._label(name);
        }
    }

    get open() {
        return !this._panel.hidden;
    }

    toggle(on = !this.open) {
        this._panel.hidden = !on;
        this._panel.parentElement.classList.toggle('tuning', on);
        this._button.setAttribute('aria-expanded', String(on));
        if (on) {
            this._panel.scrollIntoView({ block: 'nearest' });
            this._panel.querySelector('.setting:not([hidden]) :is(input, select)')?.focus();
        } else if (this._panel.contains(document.activeElement) || document.activeElement === document.body) {
            this._button.focus();
        }
    }

    _chosen(name) {
        const value = this._value(name);
        preferences.save(`set.${name}`, JSON.stringify(value));
        this._onSet({ [name]: value });
    }

    _value(name) {
        const control = byId(`set-${name}`);
        if (SWITCHES.includes(name)) {
            return control.checked;
        }
        return /^\d+$/.test(control.value) ? Number(control.value) : control.value;
    }

    _restore(settings) {
        const kept = {};
        for (const name of NAMES.filter((n) => n in settings)) {
            const value = stored(name, settings[name]);
            if (value !== settings[name]) {
                kept[name] = value;
            }
        }
        if (Object.keys(kept).length) {
            this._onSet(kept);
        }
    }

    _label(name) {
        if (name === 'blend') {
            setText(byId('out-blend'), `${number((this._value(name) * this._blockMs) / 1000)} s`);
        } else if (name === 'depth') {
            const n = this._value(name);
            setText(byId('out-depth'), n === 0 ? 'nothing' : `${number((n * this._blockMs) / 1000)} s`);
        }
    }
}

// What this browser keeps, as far as it is still a value that the control has; else what is in force.
function stored(name, inForce) {
    let value;
    try {
        value = JSON.parse(preferences.load(`set.${name}`, 'null'));
    } catch {
        return inForce;
    }
    if (SWITCHES.includes(name)) {
        return typeof value === 'boolean' ? value : inForce;
    }
    const control = byId(`set-${name}`);
    if (RANGES.includes(name)) {
        return Number.isInteger(value) && value >= Number(control.min) && value <= Number(control.max) ? value : inForce;
    }
    return [...control.options].some((o) => o.value === String(value)) ? value : inForce;
}

function recaches(window = 9) {
    const list = [['full', 'All of it'], ['checkpoint', 'To a checkpoint']];
    for (const n of [6, 3, 1].filter((k) => k <= window)) {
        list.push([String(n), n === 1 ? 'Last latent' : `Last ${n} latents`]);
    }
    return list;
}

function choices(name, list) {
    byId(`set-${name}`).replaceChildren(...list.map(([value, text]) => element('option', { value }, text)));
}
