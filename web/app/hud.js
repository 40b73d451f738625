// The numbers: the panel beside the picture and the overlay on it.

import { byId, element, setText } from './dom.js';
import { bitrate, milliseconds, seconds } from './format.js';
import { HITS } from './latency.js';
import { Averages, Rate } from '../core/stats.js';

// [key, label, once per prompt?]; what the server reports with each picture, then what happens on the way and here.
const ROWS = [
    ['queue', 'Wait for cut', true],
    ['text', 'Text encoder', true],
    ['recache', 'Recache', true],
    ['denoise', 'Denoise (block)'],
    ['decode', 'VAE (latent)'],
    ['convert', 'Convert'],
    ['encode', 'Encode'],
    ['send', 'Send queue'],
    ['network', 'Network'],
    ['client', 'Decode here'],
    ['wait', 'Held until due'],
];
// What `applied` says of a commit, for people: in a list, and in a sentence.
const HIT_NAMES = { ready: 'drawn ahead', begun: 'half drawn', cold: 'from scratch' };
const HIT_TITLES = {
    ready: 'Its pictures were there before Enter',
    begun: 'The server was at it when Enter came',
    cold: 'It was begun with Enter',
};
const CODEC_NAMES = { vp8: 'VP8', vp9: 'VP9', jpeg: 'JPEG', h264: 'H.264' };

export class Hud {
    constructor({ latency, clock }) {
        this._latency = latency;
        this._clock = clock;
        this._shown = new Rate();
        this._bytes = new Rate(3000);
        this._stages = new Averages();
        this._once = new Map();
        this._rows = new Map();
        this._last = null;
        this._status = {};
        this._overlay = byId('hud');
        this._build();
    }

    set clock(clock) {
        this._clock = clock;
    }

    status(message) {
        this._status = message;
    }

    arrived({ atMs, bytes }) {
        this._bytes.add(atMs, bytes);
    }

    shown(picture) {
        this._last = picture;
        this._shown.add(picture.shownMs);
        for (const [key, , once] of ROWS) {
            const ms = picture.timings[key];
            if (once) {
                this._keep(key, ms, picture.first);
            } else if (ms !== undefined) {
                this._stages.add(key, ms);
            }
        }
        const sentMs = this._clock?.toLocal(picture.serverUs / 1000) ?? null;
        if (sentMs !== null) {
            this._stages.add('network', Math.max(0, picture.receivedMs - sentMs));
        }
        this._stages.add('client', picture.decodedMs - picture.receivedMs);
        this._stages.add('wait', picture.shownMs - picture.decodedMs);
    }

    reset() {
        this._shown.reset();
        this._bytes.reset();
    }

    toggle() {
        this._overlay.hidden = !this._overlay.hidden;
        return !this._overlay.hidden;
    }

    set visible(on) {
        this._overlay.hidden = !on;
    }

    // A few times a second.
    render(nowMs) {
        const fps = this._shown.perSecond(nowMs);
        const { shown } = this._latency;
        const target = this._status.target_fps;
        setText(byId('n-latency'), shown.last === null ? '–' : seconds(shown.last));
        setText(byId('n-latency-more'), shown.last === null ? 'press Enter to measure' : this._spread());
        const preview = this._latency.preview.last;
        byId('preview-figure').hidden = preview === null;
        setText(byId('n-preview'), preview === null ? '–' : seconds(preview));
        this._renderHits();
        setText(byId('n-fps'), this._last ? `${fps.toFixed(1)}${target ? ` of ${round(target)}` : ''} fps` : '–');
        setText(byId('n-rate'), this._last ? bitrate(this._bytes.perSecond(nowMs)) : '–');
        setText(byId('n-rtt'), this._clock?.ready ? milliseconds(this._clock.rttMs) : '–');
        if (this._last) {
            this._renderStages();
            setText(byId('n-format'), this._format());
            if (!this._overlay.hidden) {
                setText(this._overlay, this._lines(fps, nowMs));
            }
        }
    }

    _keep(key, ms, first) {
        if (first || ms > 0) {
            this._once.set(key, ms);
        }
    }

    _value(key, once) {
        return once ? this._once.get(key) ?? 0 : this._stages.get(key);
    }

    _spread() {
        const { shown, last } = this._latency;
        if (last?.hit) {
            return HIT_NAMES[last.hit];
        }
        if (shown.count < 2) {
            return 'from key to screen';
        }
        return `median ${seconds(shown.percentile(50))} · p95 ${seconds(shown.percentile(95))} of ${shown.count}`;
    }

    _renderHits() {
        const kinds = HITS.filter((hit) => this._latency.byHit[hit].count > 0);
        const list = byId('hits');
        list.hidden = kinds.length === 0;
        while (list.children.length > kinds.length) {
            list.lastChild.remove();
        }
        kinds.forEach((hit, i) => {
            const row = list.children[i] ?? list.appendChild(element('li'));
            const times = this._latency.byHit[hit];
            row.dataset.hit = hit;
            row.title = `${HIT_TITLES[hit]}: median and count; p95 ${seconds(times.percentile(95))}`;
            setText(row, `${HIT_NAMES[hit]} ${seconds(times.percentile(50))} × ${times.count}`);
        });
    }

    _format() {
        const p = this._last;
        return `${p.width}×${p.height} ${CODEC_NAMES[p.codec] ?? p.codec}, ${p.steps} steps, ` +
            `${p.buffered + p.waiting} pictures ahead`;
    }

    _lines(fps, nowMs) {
        const p = this._last;
        const { shown, last } = this._latency;
        const path = ROWS.filter(([key, , once]) => !once && this._value(key) >= 0.05)
            .map(([key, label]) => `${label.padEnd(16)}${milliseconds(this._value(key)).padStart(8)}`);
        return [
            `key to picture  ${(shown.last === null ? '–' : seconds(shown.last)).padStart(8)}`,
            ...(last?.hit ? [`  ${last.hit}${last.cut ? `, cut ${last.cut}` : ''}`] : []),
            `frame rate   ${`${fps.toFixed(1)} fps`.padStart(11)}`,
            `bitrate      ${bitrate(this._bytes.perSecond(nowMs)).padStart(11)}`,
            ...path,
            `epoch ${p.epoch}  picture ${p.frame}`,
        ].join('\n');
    }

    _renderStages() {
        const longest = Math.max(1, ...ROWS.map(([key, , once]) => this._value(key, once)));
        for (const [key, , once] of ROWS) {
            const ms = this._value(key, once);
            const { fill, value } = this._rows.get(key);
            fill.style.width = `${(100 * ms) / longest}%`;
            setText(value, milliseconds(ms));
        }
    }

    _build() {
        for (const [key, label, once] of ROWS) {
            const fill = element('i');
            const value = element('span', { className: 'ms' }, '–');
            const row = element('li', { className: once ? 'once' : '' }, element('span', {}, label),
                element('span', { className: 'fill' }, fill), value);
            row.title = once ? 'of the last prompt' : 'average';
            byId('stages').append(row);
            this._rows.set(key, { fill, value });
        }
    }
}

function round(fps) {
    return Number.isInteger(fps) ? String(fps) : fps.toFixed(1);
}
