// Keeps the encoded pictures of a recording and makes a file of them at the end.
//
// The file is the stream as the server sent it, at the stream's own clock: a prompt change that flushed some pictures on
// the screen keeps them in the file, for the decoder needs them. The recording begins at the first key picture after
// `start` (the caller asks the server for one). When it grows over its bound it ends by itself; nothing is thrown away.

import { mux, container } from './webm.js';

export const RECORD_BYTES_MAX = 256 * 1024 * 1024;
const JOIN_MS = 62; // between the last picture of one stream and the first of the next, after a reset or a reconnect

export class Recorder {
    // onFull() is called once when the bound is reached; the caller then calls stop().
    constructor({ bytesMax = RECORD_BYTES_MAX, onFull = () => {} } = {}) {
        this._bytesMax = bytesMax;
        this._onFull = onFull;
        this._clear();
        this.active = false;
    }

    start({ title = '', colorSpace = null } = {}) {
        this._clear();
        this._title = title;
        this._colorSpace = colorSpace;
        this.active = true;
    }

    // A picture as parseMedia gives it. Keeps the payload's buffer.
    add(picture) {
        if (!this.active || this._full) {
            return;
        }
        if (!this._format && picture.key) {
            this._format = { codec: picture.codec, width: picture.width, height: picture.height };
        }
        if (!this._format) {
            return;
        }
        if (this._differs(picture) || this._bytes + picture.payload.length > this._bytesMax) {
            this._full = true;
            this._onFull();
            return;
        }
        const timeMs = this._time(picture);
        if (timeMs === null) {
            return;
        }
        this._bytes += picture.payload.length;
        this._lastMs = timeMs;
        this._pictures.push({ timeMs, key: picture.key, payload: picture.payload });
    }

    // { parts, mime, extension, pictures, durationMs }, or null when no picture came.
    stop() {
        const pictures = this._pictures;
        const format = this._format;
        const title = this._title;
        const colorSpace = format && format.codec === 'jpeg' ? null : this._colorSpace; // JPEG has its own
        this.active = false;
        this._clear();
        if (!pictures.length) {
            return null;
        }
        const durationMs = pictures[pictures.length - 1].timeMs + JOIN_MS;
        const parts = mux({ ...format, pictures, lastMs: durationMs, title, colorSpace });
        const { mime, extension } = container(format.codec);
        return { parts, mime, extension, pictures: pictures.length, durationMs };
    }

    get durationMs() {
        return this._pictures.length ? this._lastMs : 0;
    }

    // File time of a picture. A stream that starts over must do so with a key; until then its pictures are of no use.
    _time(picture) {
        const ptsMs = picture.ptsUs / 1000;
        if (this._origin === null || picture.seq !== this._nextSeq) {
            if (!picture.key) {
                return null;
            }
        }
        if (this._origin === null) {
            this._origin = ptsMs;
        } else if (ptsMs - this._origin <= this._lastMs) {
            this._origin = ptsMs - this._lastMs - JOIN_MS;
        }
        this._nextSeq = picture.seq + 1;
        return Math.round(ptsMs - this._origin);
    }

    _differs(picture) {
        const f = this._format;
        return f.codec !== picture.codec || f.width !== picture.width || f.height !== picture.height;
    }

    _clear() {
        this._pictures = [];
        this._format = null;
        this._origin = null;
        this._nextSeq = null;
        this._lastMs = 0;
        this._bytes = 0;
        this._full = false;
        this._title = '';
        this._colorSpace = null;
    }
}
