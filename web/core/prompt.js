// The typed text and its copy at the server.
//
// Every change goes out as a splice against the revision before it, without waiting for an answer: the server applies
// them in order. When the two copies disagree (`resync`), the person's text wins: it is sent whole, once. Messages that
// were under way when that happened are answered by further resyncs, which say nothing new; so while a whole text is
// unanswered, only an error that names it counts.
//
// A commit names the revision that it makes take effect. If that revision was lost on the way, the commit is repeated
// behind the whole text: nobody presses Enter twice.

import { splice, cleanText } from './edits.js';

const RETRY_MS = 500; // when the server does not say
const TRY_AGAIN = new Set(['rate_limited', 'busy']);

export class Prompt {
    // send(type, fields) is called only between link and unlink.
    constructor({ send, timers = globalThis }) {
        this._send = send;
        this._timers = timers;
        this._linked = false;
        this._rev = 0; // the last one used, by us or by the server
        this._base = 0; // the server's revision, if all goes well
        this._sent = ''; // the server's text, if all goes well
        this._text = ''; // what the person sees
        this._whole = null; // the revision of the whole text that is unanswered
        this._commit = null; // { rev, options } of the last commit, until answered
        this._committed = null; // { rev, text, options } of the last commit, for a server that forgot us
        this._timer = null; // a whole text waits for the server to be less busy
    }

    get text() {
        return this._text;
    }

    // The revision of what the person sees, if all goes well.
    get rev() {
        return this._base;
    }

    // After `welcome`, whose rev and text these are. A session that is not ours from before starts with the server's own
    // text, and is given back what was committed and what was typed since. Returns the text to show.
    link({ rev, text, resumed }) {
        this._unschedule();
        const ours = this._base > 0 || this._text !== '';
        this._linked = true;
        this._whole = null;
        this._rev = Math.max(this._rev, rev);
        this._base = rev;
        this._sent = text;
        if (!ours) {
            this._text = text;
        } else if (!resumed && this._committed) {
            this._restore();
        } else {
            this._push();
            this._repeatCommit();
        }
        return this._text;
    }

    unlink() {
        this._linked = false;
        this._whole = null;
        this._unschedule();
    }

    // The box changed. Returns the text as it travels (cleaned).
    edit(text) {
        this._text = cleanText(text);
        this._push();
        return this._text;
    }

    // Makes the present text take effect; options: { transition, cut }. Returns the revision, or null when there is no
    // connection: the text stays and the commit follows with the next link.
    commit(options = {}) {
        this._push();
        this._commit = { rev: this._rev, options };
        this._committed = { rev: this._rev, text: this._text, options };
        if (!this._linked) {
            return null;
        }
        if (this._timer === null) {
            this._send('commit', { rev: this._base, ...options });
        }
        return this._rev;
    }

    onReceived({ rev, committed }) {
        if (this._whole !== null && rev >= this._whole) {
            this._whole = null;
        }
        if (committed && this._commit && rev >= this._commit.rev) {
            this._commit = null;
        }
    }

    onResync({ rev, text }) {
        if (this._whole !== null || !this._linked) {
            return;
        }
        this._rev = Math.max(this._rev, rev);
        this._base = rev;
        this._sent = text;
        if (this._timer === null) {
            this._sendWhole();
        }
    }

    // An error that names one of our revisions.
    onError({ code, rev, retry_ms: retryMs }) {
        if (TRY_AGAIN.has(code) && this._linked && rev !== undefined) {
            this._whole = null;
            this._later(retryMs ?? RETRY_MS);
            return;
        }
        if (this._commit && rev === this._commit.rev && code !== 'wrong_rev') {
            this._commit = null;
        }
        if (rev !== undefined && rev === this._whole) {
            // Refused as a whole: sending it again would be refused again. The next key typed tries anew.
            this._sent = null;
        }
    }

    // The text that was committed as this revision, as far as it is the last commit; else null. A commit that was repeated
    // travels under another revision than commit() returned.
    committedText(rev) {
        return this._committed && this._committed.rev === rev ? this._committed.text : null;
    }

    // Under which revision the last commit now travels; null when it was answered.
    get committing() {
        return this._commit ? this._commit.rev : null;
    }

    _push() {
        if (!this._linked || this._timer !== null || this._sent === this._text) {
            return;
        }
        if (this._sent === null) {
            this._sendWhole();
            return;
        }
        const change = splice(this._sent, this._text);
        const base = this._base;
        this._send('edit', { rev: this._advance(), base, ...change });
    }

    _sendWhole() {
        this._whole = this._advance();
        this._send('edit', { rev: this._whole, text: this._text });
        this._repeatCommit();
    }

    // What was asked for on the lost session, then what was typed since.
    _restore() {
        const typed = this._text;
        this._text = this._committed.text;
        this._commit = { rev: 0, options: this._committed.options };
        this._sendWhole();
        this._text = typed;
        this._push();
    }

    _repeatCommit() {
        if (this._commit) {
            this._commit.rev = this._base;
            this._committed.rev = this._base;
            this._committed.text = this._text;
            this._send('commit', { rev: this._base, ...this._commit.options });
        }
    }

    _advance() {
        this._rev++;
        this._base = this._rev;
        this._sent = this._text;
        return this._rev;
    }

    _later(ms) {
        this._unschedule();
        this._timer = this._timers.setTimeout(() => {
            this._timer = null;
            this._sendWhole();
        }, ms);
    }

    _unschedule() {
        if (this._timer !== null) {
            this._timers.clearTimeout(this._timer);
            this._timer = null;
        }
    }
}
