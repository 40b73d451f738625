// From the key to the picture: the one number that matters.
//
// A commit waits here with the time of its key event until the first picture of a newer epoch, made under its revision,
// has arrived and is on the screen. A commit that a later one overtook never gets a picture and is not counted.
//
// How far the server was when Enter was pressed (`applied` says it) makes all the difference, so each kind is kept apart.

import { Recent } from '../core/stats.js';

const WAITING_MAX = 32;
export const HITS = ['ready', 'begun', 'cold'];

export class Latency {
    constructor() {
        this._waiting = [];
        this._epoch = -1; // on the screen
        this.shown = new Recent();
        this.received = new Recent();
        this.preview = new Recent();
        this.byHit = Object.fromEntries(HITS.map((hit) => [hit, new Recent()]));
        this.last = null; // { ms, hit, cut } of the last commit that was answered
        this.measured = 0; // how many in all
    }

    // A new session counts its epochs anew.
    reset() {
        this._epoch = -1;
    }

    commit(rev, keyMs) {
        this._waiting.push({ rev, keyMs, after: this._epoch, receivedMs: null, hit: null, cut: null, previewed: false });
        if (this._waiting.length > WAITING_MAX) {
            this._waiting.shift();
        }
    }

    // The server's word on how far it was.
    applied({ rev, hit, cut }) {
        const commit = this._waiting.find((c) => c.rev === rev);
        if (commit) {
            commit.hit = HITS.includes(hit) ? hit : null;
            commit.cut = cut ?? null;
        }
    }

    arrived({ epoch, revision, atMs }) {
        const commit = this._answered(epoch, revision);
        if (commit && commit.receivedMs === null) {
            commit.receivedMs = atMs;
        }
    }

    // A preview of the answer is on the screen.
    onPreview({ epoch, revision, shownMs }) {
        const commit = this._answered(epoch, revision);
        if (commit && !commit.previewed) {
            commit.previewed = true;
            this.preview.add(shownMs - commit.keyMs);
        }
    }

    // { ms, hit, cut } when this picture is the answer to a commit, else null.
    onShown({ epoch, revision, shownMs }) {
        const commit = this._answered(epoch, revision);
        this._epoch = epoch;
        if (!commit) {
            return null;
        }
        this._waiting = this._waiting.filter((c) => c.rev > revision);
        const ms = shownMs - commit.keyMs;
        this.measured++;
        this.shown.add(ms);
        this.received.add(commit.receivedMs - commit.keyMs);
        this.byHit[commit.hit]?.add(ms);
        this.last = { ms, hit: commit.hit, cut: commit.cut };
        return this.last;
    }

    // The newest commit that this picture can be the answer to.
    _answered(epoch, revision) {
        return this._waiting.findLast((c) => c.rev <= revision && epoch > c.after);
    }
}
