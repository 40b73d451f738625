// Puts the page together: which event goes where. Each part knows its own piece of the page and nothing of the others.

import { byId, element, setText } from './dom.js';
import { Composer } from './composer.js';
import { Controls, saveFile } from './controls.js';
import { Cover, Notice } from './cover.js';
import { Hud } from './hud.js';
import { Latency } from './latency.js';
import { Settings } from './settings.js';
import { Timeline } from './timeline.js';
import { openFork, takeFork } from './fork.js';
import { clockTime } from './format.js';
import { describeShortcuts, listenForShortcuts } from './shortcuts.js';
import * as preferences from './preferences.js';
import { Player } from '../core/player.js';
import { Session } from '../core/session.js';
import { eventTime, now } from '../core/now.js';

const RENDER_EVERY_MS = 250;
const QUERY = new URLSearchParams(location.search); // codec=, renderer=: for tests and comparisons
const NOT_LISTED = new Set(['examples', 'known_words']); // of a model's vocabulary: shown elsewhere, or too many to show

class Page {
    constructor() {
        this._session = null;
        this._player = null;
        this._status = null;
        this._pictures = 0; // shown since the last welcome
        this._previews = 0; // epochs of which a preview was shown
        this._blended = 0; // pictures with an old one under them
        this._history = null; // how far back the server knows the way
        this._texts = new Map(); // revision -> text, of commits
        this._startText = '';
        this._latency = new Latency();
        this._hud = new Hud({ latency: this._latency, clock: null });
        this._notice = new Notice();
        this._cover = new Cover({
            onRetry: () => this._session.retry(),
            onToken: (token) => this._useToken(token),
            onLeave: () => this._session.leave(),
        });
        this._timeline = new Timeline({
            onPick: (text, event) => this._choose(text, event),
            onRewind: (frame, atMs) => this._rewind(frame, atMs),
            onFork: (frame) => this._fork(frame),
        });
        this._settings = new Settings({ onSet: (fields) => this._session.set(fields) });
        this._composer = new Composer({
            onEdit: (text) => this._session.edit(text),
            onCommit: (commit) => this._commit(commit),
        });
        this._controls = new Controls({
            onPause: (paused) => this._pause(paused),
            onReset: (seed) => this._session.reset(seed),
            onSteps: (steps) => this._session.steps(steps),
            onRecord: (on) => this._record(on),
        });
        this._help = byId('help');
    }

    async start() {
        this._applyPreferences();
        this._listen();
        this._player = await Player.create(byId('picture'), {
            arrived: (m) => this._arrived(m),
            preview: (m) => this._previewed(m),
            shown: (m) => this._shown(m),
            passed: (m) => this._session.shown(m.seq),
            thumb: (m) => this._timeline.thumb(m),
            glow: (m) => drawGlow(m.bitmap),
            recording: (m) => this._recorded(m),
            problem: (m) => this._notice.show(`Picture trouble: ${m.message}`),
            'need-key': (m) => this._session.keyframe(m.reason),
            'codec-failed': (m) => this._session.dropCodec(m.codec),
            'recording-full': () => this._recordingFull(),
        }, { renderer: QUERY.get('renderer') ?? '' });
        this._glow();
        this._connect(await takeFork());
        setInterval(() => this._render(), RENDER_EVERY_MS);
    }

    // For tests and for the curious in the console: what the page knows, as plain numbers.
    get report() {
        return {
            phase: this._session?.phase,
            state: this._status?.state,
            codec: this._session?.welcome?.codec,
            inWorker: this._player?.inWorker,
            renderer: this._player?.rendererName,
            pictures: this._pictures,
            epoch: this._epoch,
            revision: this._revision,
            measured: this._latency.measured,
            shownMs: this._latency.shown.values,
            receivedMs: this._latency.received.values,
            previewMs: this._latency.preview.values,
            last: this._latency.last,
            previews: this._previews,
            blended: this._blended,
            frame: this._frame,
            stage: this._composer.stage,
            settings: this._session?.can.settings,
            history: this._history,
        };
    }

    // ---- session ----

    _connect(fork) {
        const address = new URL('v1/live', document.baseURI);
        address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
        address.search = '';
        address.hash = '';
        const only = QUERY.get('codec');
        this._session = new Session({
            url: address.href,
            codecs: this._player.codecs.filter((codec) => !only || codec === only),
            token: preferences.takeAccessToken(),
            resume: fork ? null : preferences.takeResumeToken(),
            fork,
            handlers: {
                onPhase: (phase, detail) => this._phase(phase, detail),
                onWelcome: (message) => this._welcome(message),
                onMessage: (message) => this._message(message),
                onMedia: (buffer, atMs) => this._player.media(buffer, atMs),
                onProblem: (text) => this._notice.show(`The server said something unreadable: ${text}`),
            },
        });
        this._hud.clock = this._session.clock;
        this._session.setVisible(!document.hidden);
        this._session.start();
    }

    _useToken(token) {
        preferences.keepAccessToken(token);
        this._session.token = token;
        this._session.retry();
    }

    _phase(phase, detail) {
        this._cover.phase(phase, detail);
        this._controls.setConnected(phase === 'open');
        if (phase !== 'open') {
            byId('pace').hidden = true;
        }
    }

    _welcome(message) {
        this._pictures = 0;
        this._status = null;
        this._player.start({
            codec: message.codec,
            codecString: message.codec_string ?? '',
            colorSpace: message.video.color_space,
        });
        this._startText = message.text;
        this._composer.limit(message.limits.text_bytes ?? 8192);
        this._composer.show(message.shownText);
        this._controls.welcome(message);
        const { can } = this._session;
        this._composer.canBlend = can.blend;
        this._settings.welcome(message, can.settings);
        if (can.settings && can.settings.transition !== this._composer.transition) {
            this._session.set({ transition: this._composer.transition });
        }
        this._shape(message.video);
        setText(byId('model'), message.model.name ?? '');
        this._chips(message.model.examples ?? []);
        this._vocabulary(message.model.vocabulary);
        if (!message.resumed) {
            this._latency.reset();
            this._timeline.restart();
            this._history = null;
            this._texts.clear();
            this._controls.setPaused(false);
        } else if (this._controls.paused) {
            this._session.pause();
        }
        this._player.setPaused(this._controls.paused);
        this._hud.reset();
        this._invite();
    }

    // With a keyboard at hand the prompt has the focus; on a touch screen that would cover half the page.
    _invite() {
        if (matchMedia('(hover: hover) and (pointer: fine)').matches && document.activeElement === document.body) {
            this._composer.focus();
        }
    }

    _message(message) {
        switch (message.type) {
        case 'received':
            this._composer.received(message);
            break;
        case 'drafted':
            if (message.rev === this._session.prompt.rev) {
                this._composer.drafted(message.stage);
            }
            break;
        case 'settings':
            this._settings.show(this._session.can.settings);
            break;
        case 'history':
            this._history = { from: message.from, to: message.to };
            this._timeline.history(this._history);
            break;
        case 'applied':
            this._timeline.applied(message);
            this._latency.applied(message);
            break;
        case 'failed':
            this._timeline.failed(message);
            this._composer.say('bad', `This prompt could not be used: ${message.message}`);
            break;
        case 'status':
            this._onStatus(message);
            break;
        case 'error':
            this._onError(message);
            break;
        default:
            break;
        }
    }

    _onStatus(message) {
        this._status = message;
        this._hud.status(message);
        this._cover.status(message);
        const pace = byId('pace');
        pace.hidden = !message.slow;
        if (message.slow) {
            setText(pace, `Slow: ${message.fps.toFixed(0)} of ${message.target_fps} fps, ` +
                `${message.steps} ${message.steps === 1 ? 'step' : 'steps'}`);
        }
    }

    _onError(message) {
        if (!message.fatal && message.code !== 'rate_limited' && message.code !== 'wrong_rev') {
            this._composer.say('bad', message.message);
        }
    }

    // ---- pictures ----

    _arrived(message) {
        this._hud.arrived(message);
        this._latency.arrived(message);
    }

    _shown(picture) {
        this._pictures++;
        this._epoch = picture.epoch;
        this._revision = picture.revision;
        this._frame = picture.frame;
        this._blended += picture.blended > 0 ? 1 : 0;
        this._session.shown(picture.seq);
        this._hud.shown(picture);
        const answer = this._latency.onShown(picture);
        const text = this._textOf(picture.revision);
        this._timeline.shown(picture, text, answer?.ms ?? null);
        if (answer) {
            this._composer.shown(answer);
            this._announce(text);
        } else if (this._pictures === 1) {
            this._announce(text);
        }
    }

    _previewed(picture) {
        this._previews++;
        this._latency.onPreview(picture);
    }

    _textOf(revision) {
        return this._texts.get(revision) ?? this._session.prompt.committedText(revision) ?? this._startText;
    }

    _announce(text) {
        byId('picture').setAttribute('aria-label', `Live video of: ${text || 'no prompt yet'}`);
        document.title = text ? `${text} · kinetype` : 'kinetype';
    }

    _shape({ width, height }) {
        byId('frame').style.setProperty('--aspect', `${width} / ${height}`);
    }

    // ---- what people do ----

    _commit({ transition, keyMs, text }) {
        if (this._controls.paused) {
            this._controls.togglePause();
        }
        const rev = this._session.commit({ transition });
        if (rev === null) {
            this._composer.offline();
            return;
        }
        this._texts.set(rev, text);
        if (this._texts.size > 256) {
            this._texts.delete(this._texts.keys().next().value);
        }
        this._latency.commit(rev, keyMs);
        this._timeline.commit({ rev, text, transition });
    }

    _choose(text, event) {
        this._composer.choose(text, eventTime(event));
    }

    _rewind(frame, atMs) {
        if (this._controls.paused) {
            this._controls.togglePause();
        }
        if (this._session.rewind(frame)) {
            this._timeline.rewinding(atMs);
            this._notice.show(`Going back to ${clockTime(atMs)}…`, 2000);
        }
    }

    _fork(frame) {
        if (!openFork({ session: this._session.resumeToken, frame })) {
            this._notice.show('The browser did not open a second window. Allow pop-ups for this page and try again.', 6000);
        }
    }

    _chooseTransition() {
        const { transition } = this._composer;
        preferences.save('transition', transition);
        this._session?.set({ transition });
    }

    _pause(paused) {
        this._player.setPaused(paused);
        if (paused) {
            this._session.pause();
        } else {
            this._session.resume();
        }
    }

    _record(on) {
        if (on) {
            this._player.record(this._composer.text);
        } else {
            this._player.finishRecording();
        }
    }

    _recordingFull() {
        this._controls.recordingEnded();
        this._player.finishRecording();
    }

    _recorded({ file, extension, durationMs }) {
        if (!file) {
            this._notice.show('Nothing was recorded: no picture came.');
            return;
        }
        this._notice.show(`Saved ${saveFile(file, extension)} (${clockTime(durationMs)}).`, 6000);
    }

    // ---- page ----

    _chips(examples) {
        byId('chips').replaceChildren(...examples.map((text) => {
            const button = element('button', { type: 'button' }, text);
            button.addEventListener('click', (event) => this._choose(text, event));
            return element('li', {}, button);
        }));
    }

    // The model's own object: names and lists of words; whatever else it holds is left out.
    _vocabulary(vocabulary) {
        const lists = Object.entries(vocabulary ?? {})
            .filter(([name, words]) => !NOT_LISTED.has(name) && Array.isArray(words) &&
                words.every((w) => typeof w === 'string'));
        byId('words').hidden = lists.length === 0;
        byId('word-lists').replaceChildren(...lists.flatMap(([name, words]) => [
            element('h3', {}, name.replaceAll('_', ' ')),
            element('ul', {}, ...words.map((word) => element('li', {}, word))),
        ]));
    }

    _applyPreferences() {
        byId('live').checked = preferences.load('live', 'false') === 'true';
        this._composer.transition = preferences.load('transition', 'scene');
        this._showStats(preferences.load('stats', 'false') === 'true');
        byId('where').open = preferences.load('where', 'false') === 'true';
    }

    _showStats(on) {
        this._hud.visible = on;
        byId('stats').setAttribute('aria-pressed', String(on));
    }

    _toggleStats() {
        const on = byId('stats').getAttribute('aria-pressed') !== 'true';
        this._showStats(on);
        preferences.save('stats', on);
    }

    _listen() {
        describeShortcuts();
        byId('stats').addEventListener('click', () => this._toggleStats());
        byId('keys').addEventListener('click', () => this._help.showModal());
        byId('where').addEventListener('toggle', (event) => preferences.save('where', event.target.open));
        byId('live').addEventListener('change', (event) => preferences.save('live', event.target.checked));
        for (const radio of document.querySelectorAll('input[name="transition"]')) {
            radio.addEventListener('change', () => this._chooseTransition());
        }
        document.addEventListener('visibilitychange', () => this._session?.setVisible(!document.hidden));
        addEventListener('pagehide', () => preferences.keepResumeToken(this._session?.resumeToken));
        addEventListener('online', () => this._session?.retry());
        addEventListener('beforeunload', (event) => {
            if (this._controls.recording) {
                event.preventDefault();
            }
        });
        const calm = matchMedia('(prefers-reduced-motion: reduce), (max-width: 61rem)');
        const glow = () => this._player?.setGlow(!calm.matches);
        calm.addEventListener('change', glow);
        this._glow = glow;
        this._listenForKeys();
    }

    _listenForKeys() {
        listenForShortcuts({
            focus: () => this._composer.focus(),
            pause: () => this._controls.togglePause(),
            transition: () => this._flipTransition(),
            live: () => byId('live').click(),
            reset: () => this._controls.reset(),
            dice: () => this._controls.newSeed(),
            record: () => this._controls.toggleRecord(),
            stats: () => this._toggleStats(),
            settings: () => this._settings.toggle(),
            full: () => this._controls.toggleFull(),
            help: () => this._help.showModal(),
            escape: () => this._escape(),
        });
    }

    _flipTransition() {
        this._composer.flipTransition();
        this._chooseTransition();
    }

    _escape() {
        this._controls.leaveFull();
        document.activeElement?.blur();
    }

    _render() {
        if (document.hidden) {
            return;
        }
        this._hud.render(now());
        this._timeline.tick();
        this._controls.tick();
    }
}

// A very small copy of the picture behind it, fading out towards its edges; the browser magnifies it smoothly.
function drawGlow(bitmap) {
    const canvas = byId('glow');
    const context = canvas.getContext('2d');
    const { width, height } = canvas;
    context.globalCompositeOperation = 'source-over';
    context.clearRect(0, 0, width, height);
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    context.globalCompositeOperation = 'destination-in';
    for (const [x0, y0, x1, y1] of [[0, 0, width, 0], [0, 0, 0, height]]) {
        const fade = context.createLinearGradient(x0, y0, x1, y1);
        fade.addColorStop(0, 'transparent');
        fade.addColorStop(0.22, '#000');
        fade.addColorStop(0.78, '#000');
        fade.addColorStop(1, 'transparent');
        context.fillStyle = fade;
        context.fillRect(0, 0, width, height);
    }
}

const page = new Page();
globalThis.kinetype = page;
await page.start();
