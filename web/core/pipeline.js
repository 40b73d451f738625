// From a binary message to a picture on the canvas: parse, decode, wait until due, draw.
//
// Runs in the decode worker, or in the page where a worker cannot have the canvas. Two streams come: the video, and
// previews of an epoch that is still being made (preview.js). What is bounded, and what happens when it is full:
//   chunks   CHUNKS_MAX undecoded pictures; then all before the newest key picture are passed over, and without one
//            all of them, and a key picture is asked for
//   decoder  DECODING_MAX pictures inside it; the others wait as chunks (a chunk is small, a decoded frame is not)
//   ready    READY_MAX decoded pictures wait to be shown, in Playout; with them at most FADE_MAX of an old epoch that are
//            blended out, and the one on the screen
//   preview  PREVIEWING_MAX pictures in its decoder, PREVIEW_MAX decoded; then they are left out until its next key picture
// Every VideoFrame and ImageBitmap is closed: by the `drop` of Playout or of Preview.
//
// An error of the decoder is not the end: it is made anew and asks for a key picture. If it fails again and again
// without a single picture, the codec is given up (`codec-failed`) and the session starts again without it. A preview that
// cannot be decoded is left out: the full picture is on its way.

import { parseMedia, ProtocolError, STREAM_PREVIEW, STREAM_VIDEO } from './protocol.js';
import { PictureDecoder } from './decoder.js';
import { Playout } from './playout.js';
import { Preview } from './preview.js';
import { Recorder } from './recorder.js';
import { now } from './now.js';

const CHUNKS_MAX = 64;
const DECODING_MAX = 4;
const READY_MAX = 12;
const PREVIEWING_MAX = 4;
const FAILURES_MAX = 3;
const KEY_EVERY_MS = 1000; // as often as the server grants one
const THUMB_WIDTH = 160;
const THUMBS_AT = [8, 36]; // pictures into an epoch: something soon, then the new scene when it has settled
const GLOW_EVERY_MS = 1200;
const GLOW_WIDTH = 16;

// `report` gets plain objects; those with a `bitmap` hand it over.
export class Pipeline {
    constructor({ renderer, report, requestFrame, cancelFrame }) {
        this._renderer = renderer;
        this._report = report;
        this._requestFrame = requestFrame;
        this._cancelFrame = cancelFrame;
        const drop = (picture) => picture.image.close();
        this._playout = new Playout({ drop });
        this._preview = new Preview({ drop });
        this._recorder = new Recorder({ onFull: () => this._report({ type: 'recording-full' }) });
        this._decoder = new PictureDecoder({
            onPicture: (picture) => this._decoded(picture),
            onError: (error) => this._fail(error),
        });
        this._previewDecoder = new PictureDecoder({
            onPicture: (picture) => this._previewDecoded(picture),
            onError: () => this._losePreview(),
        });
        this._colorSpace = undefined;
        this._chunks = [];
        this._previewKey = true; // the preview's decoder needs a key picture
        this._flushOwed = false; // a picture with `flush` was passed over: the next one flushes in its stead
        this._needKey = true;
        this._keyAskedMs = -Infinity;
        this._failures = 0;
        this._paused = false;
        this._previewTold = -1; // newest epoch whose preview was reported
        this._timer = null;
        this._frame = null;
        this._sinceFirst = 0; // pictures shown of this epoch
        this._glowMs = 0;
        this._glow = false;
    }

    // A welcome: a stream begins, or goes on after a reconnect (then what is on the screen stays).
    start({ codec, codecString, colorSpace }) {
        this._decoder.start({ codec, codecString, colorSpace });
        this._previewDecoder.start({ codec, codecString, colorSpace });
        this._chunks.length = 0;
        this._playout.reset();
        this._preview.reset();
        this._colorSpace = colorSpace;
        this._needKey = true;
        this._previewKey = true;
        this._flushOwed = false;
        this._previewTold = -1;
        this._failures = 0;
    }

    setPaused(paused) {
        this._paused = paused;
        this._playout.setPaused(paused);
        this._arm();
    }

    setGlow(on) {
        this._glow = on;
    }

    record(title) {
        this._recorder.start({ title, colorSpace: this._colorSpace });
        this._askForKey('recording', true);
    }

    // Answers with a `recording` report; `file` is null when nothing was recorded.
    finishRecording() {
        const result = this._recorder.stop();
        if (!result) {
            this._report({ type: 'recording', file: null });
            return;
        }
        const { parts, mime, extension, pictures, durationMs } = result;
        this._report({ type: 'recording', file: new Blob(parts, { type: mime }), extension, pictures, durationMs });
    }

    // One binary message; receivedMs on now()'s clock.
    media(buffer, receivedMs) {
        let picture;
        try {
            picture = parseMedia(buffer);
        } catch (error) {
            if (!(error instanceof ProtocolError)) {
                throw error;
            }
            this._report({ type: 'problem', message: error.message });
            this._loseState('bad media message');
            return;
        }
        picture.receivedMs = receivedMs;
        picture.ptsMs = picture.ptsUs / 1000;
        if (picture.stream === STREAM_VIDEO) {
            this._video(picture, buffer.byteLength);
        } else if (picture.stream === STREAM_PREVIEW) {
            this._previewed(picture);
        }
    }

    _video(picture, bytes) {
        this._report({ type: 'arrived', seq: picture.seq, epoch: picture.epoch, revision: picture.revision,
            bytes, atMs: picture.receivedMs });
        this._recorder.add(picture);
        this._preview.arrived(picture.epoch);
        if (picture.flush && picture.key) {
            // What the fade needs is still decoded; the rest of the old epoch is not.
            const needed = Math.max(0, picture.fade - this._playout.depth - this._decoder.pending);
            this._passOver(this._chunks.splice(needed));
        }
        if (this._needKey && !picture.key) {
            this._passOver([picture]);
            this._askForKey('need a key picture', false);
            return;
        }
        this._needKey = false;
        this._chunks.push(picture);
        this._bound();
        this._feed();
    }

    // ---- decode ----

    // A flush does not wait for room among the old pictures, which it clears away.
    _feed() {
        while (this._chunks.length && this._decoder.pending < DECODING_MAX &&
            (this._playout.depth + this._decoder.pending < READY_MAX || this._chunks[0].flush)) {
            const picture = this._chunks.shift();
            if (this._flushOwed) {
                picture.flush = true;
                this._flushOwed = false;
            }
            this._decoder.decode(picture);
        }
    }

    _decoded(picture) {
        this._failures = 0;
        this._playout.push(picture, picture.decodedMs);
        this._arm();
        this._feed();
    }

    _previewed(picture) {
        if (!this._preview.wants(picture.epoch) || this._previewDecoder.pending >= PREVIEWING_MAX ||
            (this._previewKey && !picture.key)) {
            this._previewKey = true; // the chain is broken
            return;
        }
        this._previewKey = false;
        this._previewDecoder.decode(picture);
    }

    _previewDecoded(picture) {
        this._preview.push(picture);
        this._arm();
    }

    _losePreview() {
        this._previewDecoder.close();
        this._previewKey = true;
    }

    _fail(error) {
        this._failures++;
        this._report({ type: 'problem', message: `decoder: ${error && error.message}` });
        if (this._failures >= FAILURES_MAX) {
            this._report({ type: 'codec-failed', codec: this._decoder.codec });
        }
        this._loseState('decoder error');
    }

    _loseState(reason) {
        this._flushOwed ||= this._decoder.close().some((picture) => picture.flush);
        this._passOver(this._chunks.splice(0));
        this._needKey = true;
        this._askForKey(reason, false);
    }

    _bound() {
        if (this._chunks.length <= CHUNKS_MAX) {
            return;
        }
        const key = this._chunks.findLastIndex((c) => c.key);
        if (key > 0) {
            this._passOver(this._chunks.splice(0, key));
        } else {
            this._loseState('decoder too slow');
        }
    }

    // Not shown, but the playhead goes past them, or the server would wait for them.
    _passOver(pictures) {
        if (pictures.length) {
            this._flushOwed ||= pictures.some((picture) => picture.flush);
            this._report({ type: 'passed', seq: pictures[pictures.length - 1].seq, count: pictures.length });
        }
    }

    _askForKey(reason, anyway) {
        const at = now();
        if (anyway || at - this._keyAskedMs >= KEY_EVERY_MS) {
            this._keyAskedMs = at;
            this._report({ type: 'need-key', reason });
        }
    }

    // ---- show ----

    // A timer until shortly before the picture is due, then the display's own rhythm: no work at 60 Hz for a 16 Hz stream.
    _arm() {
        clearTimeout(this._timer);
        this._timer = null;
        const at = now();
        const wait = earliest(this._playout.wait(at), this._paused ? null : this._preview.wait(at));
        if (wait === null) {
            return;
        }
        if (wait > 12) {
            this._timer = setTimeout(() => this._arm(), wait - 8);
        } else if (this._frame === null) {
            this._frame = this._requestFrame(() => {
                this._frame = null;
                this._show();
            });
        }
    }

    _show() {
        const at = now();
        const picture = this._playout.due(at);
        const preview = !this._paused && this._preview.due(at);
        if (picture || preview) {
            this._draw(picture, at);
        }
        if (picture) {
            this._reportShown(picture);
            this._sample(picture);
            this._feed();
        }
        this._arm();
    }

    // The picture that is due, or once more the one on the screen, and over it a preview, or an old picture that goes.
    _draw(picture, at) {
        const base = picture ?? this._playout.screen;
        if (!base) {
            return; // a preview before the first picture: the cover is still there
        }
        const before = this._preview.epoch;
        const preview = this._preview.layer(base.epoch);
        const top = preview ??
            (base.under ? { image: base.under.image, weight: base.underWeight, soft: false } : null);
        this._renderer.draw(base.image, base.width, base.height, top);
        if (preview && before !== this._previewTold && before > base.epoch) {
            this._previewTold = before;
            this._report({ type: 'preview', epoch: before, revision: this._preview.revision, shownMs: at });
        }
    }

    _reportShown(picture) {
        this._report({
            type: 'shown', seq: picture.seq, epoch: picture.epoch, revision: picture.revision, frame: picture.frame,
            first: picture.first, steps: picture.steps, ptsMs: picture.ptsMs, serverUs: picture.serverUs,
            receivedMs: picture.receivedMs, decodedMs: picture.decodedMs, shownMs: now(), timings: picture.timings,
            width: picture.width, height: picture.height, codec: picture.codec,
            buffered: this._playout.depth, waiting: this._chunks.length + this._decoder.pending,
            rebased: this._playout.rebased, blended: picture.underWeight,
        });
    }

    // Small copies for the page: thumbnails of each epoch for the timeline, a glow around the picture now and then.
    _sample(picture) {
        this._sinceFirst = picture.first ? 0 : this._sinceFirst + 1;
        if (THUMBS_AT.includes(this._sinceFirst)) {
            this._copy('thumb', picture, THUMB_WIDTH);
        }
        if (this._glow && picture.decodedMs - this._glowMs > GLOW_EVERY_MS) {
            this._glowMs = picture.decodedMs;
            this._copy('glow', picture, GLOW_WIDTH);
        }
    }

    async _copy(type, picture, width) {
        const height = Math.max(1, Math.round((width * picture.height) / picture.width));
        try {
            const bitmap = await createImageBitmap(picture.image,
                { resizeWidth: width, resizeHeight: height, resizeQuality: 'medium' });
            this._report({ type, epoch: picture.epoch, bitmap });
        } catch {
            // A picture less in the margin; the stream goes on.
        }
    }

    // Stops everything; the pipeline may be started again.
    close() {
        this._decoder.close();
        this._previewDecoder.close();
        this._chunks.length = 0;
        this._playout.reset();
        this._preview.reset();
        clearTimeout(this._timer);
        if (this._frame !== null) {
            this._cancelFrame(this._frame);
            this._frame = null;
        }
    }
}

// The pipeline's verbs as messages, for a worker or for a page that has none.
export function verbs(pipeline) {
    return {
        start: (m) => pipeline.start(m),
        media: (m) => pipeline.media(m.buffer, m.receivedMs),
        paused: (m) => pipeline.setPaused(m.paused),
        glow: (m) => pipeline.setGlow(m.on),
        record: (m) => pipeline.record(m.title),
        'finish-recording': () => pipeline.finishRecording(),
    };
}

function earliest(a, b) {
    return a === null ? b : b === null ? a : Math.min(a, b);
}
