// What lies over the picture while there is none, and the one-word state in the header.

import { byId, setText } from './dom.js';
import { quoted } from './format.js';

// phase or status -> header word and its colour
const STATES = {
    connecting: ['Connecting…', 'wait'],
    warming: ['Warming up', 'wait'],
    waiting: ['Waiting for a prompt', 'wait'],
    live: ['Live', 'live'],
    paused: ['Paused', 'warn'],
    hidden: ['Asleep', 'warn'],
    busy: ['Busy', 'warn'],
    reconnecting: ['Reconnecting…', 'warn'],
    refused: ['Stopped', 'bad'],
    queued: ['In line', 'warn'],
    left: ['Not connected', 'bad'],
};

// Why a session was refused, for people: [title, what to do].
const REFUSED = {
    bad_token: ['A token is needed', 'This server asks for an access token. Whoever started it has it.'],
    bad_protocol: ['This page is out of date', 'The server speaks another version. Reload the page.'],
    no_codec: ['No common picture format', 'This browser and the server have no picture format in common.'],
    taken_over: ['Continued elsewhere', 'This session went on in another tab or window.'],
    too_many_errors: ['The server hung up', 'It received too many messages that it could not use.'],
    model_failed: ['The model failed', ''],
};

export class Cover {
    // onRetry(), onToken(text), onLeave()
    constructor({ onRetry, onToken, onLeave }) {
        this._cover = byId('cover');
        this._title = byId('cover-title');
        this._text = byId('cover-text');
        this._spin = byId('cover-spin');
        this._retry = byId('cover-retry');
        this._form = byId('token-form');
        this._place = byId('cover-place');
        this._leave = byId('cover-leave');
        this._timer = null;
        this._leave.addEventListener('click', onLeave);
        this._retry.addEventListener('click', onRetry);
        this._form.addEventListener('submit', (event) => {
            event.preventDefault();
            onToken(byId('token').value);
        });
    }

    phase(phase, detail) {
        this._stopCounting();
        this.state(phase === 'open' ? 'connecting' : phase);
        if (phase === 'connecting') {
            this._show({ title: 'Connecting', spin: true });
        } else if (phase === 'queued') {
            this._queued(detail);
        } else if (phase === 'left') {
            this._show({ title: 'You left the line', text: 'Your text is kept.', retry: 'Get in line again' });
        } else if (phase === 'busy') {
            this._busy(detail);
        } else if (phase === 'reconnecting') {
            this._reconnecting(detail);
        } else if (phase === 'refused') {
            this._refused(detail);
        }
    }

    // A status message of the server, or the first picture.
    status({ state, reason }) {
        this._stopCounting();
        this.state(reason === 'hidden' ? 'hidden' : state);
        if (state === 'warming') {
            this._show({ title: 'Warming up the model', text: 'The first picture takes a few seconds.', spin: true });
        } else if (state === 'waiting') {
            this._show({ title: 'What would you like to see?', text: 'Type it below and press Enter.' });
        } else {
            this._hide();
        }
    }

    state(name) {
        const [word, kind] = STATES[name] ?? [name, 'wait'];
        byId('state').dataset.kind = kind;
        setText(byId('state-text'), word);
    }

    // The waiting room. The server says when the place changes; the estimate is counted down in between.
    _queued({ position, etaMs }) {
        const rest = 'One more person now would make the video stutter. You come in by yourself; your text is kept.';
        this._show({
            title: position === 1 ? 'You are next' : `${position - 1} ${position === 2 ? 'person is' : 'people are'} before you`,
            place: String(position),
            leave: true,
        });
        if (Number.isFinite(etaMs)) {
            this._count(etaMs, (s) => `${s > 0 ? `About ${about(s)}. ` : 'Any moment now. '}${rest}`);
        } else {
            setText(this._text, rest);
        }
    }

    _busy({ limit, retryMs }) {
        const places = limit === 1 ? 'Its one place is taken' : limit ? `All ${limit} places are taken` : 'All places are taken';
        this._show({ title: 'Somebody else is watching', retry: 'Try now' });
        this._count(retryMs, (s) => `${places}. Trying again in ${s} s.`);
    }

    _reconnecting({ code, message, retryMs }) {
        const shutdown = code === 'shutdown';
        this._show({ title: shutdown ? 'The server is restarting' : 'Connection lost', retry: 'Try now', spin: true });
        const why = message && !shutdown ? `${message.replace(/[.\s]*$/, '')}. ` : '';
        this._count(retryMs, (s) => `${why}Your text is kept. Trying again${s > 0 ? ` in ${s} s` : ''}.`);
    }

    _refused({ code, message }) {
        const [title, text] = REFUSED[code] ?? ['The server refused', ''];
        const token = code === 'bad_token';
        const retry = token ? null : code === 'taken_over' ? 'Continue here' : 'Try again';
        this._show({ title, text: text || message, retry, token });
        if (token) {
            byId('token').focus();
        }
    }

    _show({ title, text = '', spin = false, retry = null, token = false, place = '', leave = false }) {
        this._cover.hidden = false;
        setText(this._title, title);
        setText(this._text, text);
        this._spin.hidden = !spin;
        this._retry.hidden = retry === null;
        setText(this._retry, retry ?? '');
        this._form.hidden = !token;
        setText(this._place, place);
        this._place.hidden = !place;
        this._leave.hidden = !leave;
    }

    _hide() {
        this._cover.hidden = true;
    }

    _count(ms, sentence) {
        const until = Date.now() + ms;
        const tell = () => setText(this._text, sentence(Math.max(0, Math.ceil((until - Date.now()) / 1000))));
        tell();
        this._timer = setInterval(tell, 500);
    }

    _stopCounting() {
        clearInterval(this._timer);
        this._timer = null;
    }
}

// Seconds as people guess them.
function about(s) {
    if (s < 10) {
        return 'ten seconds';
    }
    return s < 55 ? `${Math.ceil(s / 10) * 10} seconds` : s < 90 ? 'a minute' : `${Math.round(s / 60)} minutes`;
}

// Passing remarks at the lower edge of the picture.
export class Notice {
    constructor() {
        this._node = byId('notice');
        this._timer = null;
    }

    show(text, ms = 4000) {
        setText(this._node, text);
        this._node.hidden = false;
        clearTimeout(this._timer);
        this._timer = setTimeout(() => {
            this._node.hidden = true;
        }, ms);
    }
}

export function unknownWords(unknown) {
    return `The model does not know ${quoted(unknown)}.`;
}
