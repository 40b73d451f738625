// From a binary message to a picture on the canvas: parse, decode, wait until due, draw.
//
// Runs in the decode worker, or in the page where a worker cannot have the canvas. What is bounded, and what happens
// when it is full:
//   chunks   CHUNKS_MAX undecoded pictures; then all before the newest key picture are passed over, and without one
//            all of them, and a key picture is asked for
//   decoder  DECODING_MAX pictures inside it; the others wait as chunks (a chunk is small, a decoded frame is not)
//   ready    READY_MAX decoded pictures wait to be shown, in Playout
// Every VideoFrame and ImageBitmap is closed: by Playout's `drop`, or right after it was drawn.
//
// An error of the decoder is not the end: it is made anew and asks for a key picture. If it fails again and again
// without a single picture, the codec is given up (`codec-failed`) and the session starts again without it.

import { parseMedia, ProtocolError } from './protocol.js';
import { Playout } from './playout.js';
import { Recorder } from './recorder.js';
import { now } from './now.js';

const CHUNKS_MAX = 64;
const DECODING_MAX = 4;
const READY_MAX = 12;
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
        this._playout = new Playout({ drop: (picture) => picture.image.close() });
        this._recorder = new Recorder({ onFull: () => this._report({ type: 'recording-full' }) });
        this._decoder = null;
        this._codec = null;
        this._codecString = '';
        this._colorSpace = undefined;
        this._chunks = [];
        this._pending = new Map(); // timestamp -> the picture that is in the decoder
        this._needKey = true;
        this._keyAskedMs = -Infinity;
        this._failures = 0;
        this._timer = null;
        this._frame = null;
        this._sinceFirst = 0; // pictures shown of this epoch
        this._glowMs = 0;
        this._glow = false;
        this._generation = 0; // of the decoder: late results of an older one are ignored
    }

    // A welcome: a stream begins, or goes on after a reconnect (then what is on the screen stays).
    start({ codec, codecString, colorSpace }) {
        this._closeDecoder();
        this._chunks.length = 0;
        this._playout.reset();
        this._codec = codec;
        this._codecString = codecString;
        this._colorSpace = colorSpace;
        this._needKey = true;
        this._failures = 0;
    }

    setPaused(paused) {
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
        if (picture.stream !== 0) {
            return;
        }
        this._report({ type: 'arrived', seq: picture.seq, epoch: picture.epoch, revision: picture.revision,
            bytes: buffer.byteLength, atMs: receivedMs });
        this._recorder.add(picture);
        picture.receivedMs = receivedMs;
        picture.ptsMs = picture.ptsUs / 1000;
        if (picture.flush && picture.key) {
            this._passOver(this._chunks.splice(0));
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

    _feed() {
        while (this._chunks.length && this._pending.size < DECODING_MAX &&
            this._playout.depth + this._pending.size < READY_MAX) {
            this._decode(this._chunks.shift());
        }
    }

    _decode(picture) {
        if (picture.codec !== this._codec) {
            this._closeDecoder();
            this._codec = picture.codec;
            this._codecString = '';
        }
        this._pending.set(picture.ptsUs, picture);
        picture.generation = this._generation;
        if (picture.codec === 'jpeg') {
            this._decodeJpeg(picture);
            return;
        }
        try {
            this._openDecoder();
            this._decoder.decode(new EncodedVideoChunk({
                type: picture.key ? 'key' : 'delta',
                timestamp: picture.ptsUs,
                data: picture.payload,
            }));
        } catch (error) {
            this._fail(error);
        }
    }

    _openDecoder() {
        if (this._decoder) {
            return;
        }
        const generation = this._generation;
        this._decoder = new VideoDecoder({
            output: (image) => this._decoded(image.timestamp, image, generation),
            error: (error) => {
                if (generation === this._generation) {
                    this._fail(error);
                }
            },
        });
        this._decoder.configure({
            ...decoderConfig(this._codec, this._codecString),
            colorSpace: this._colorSpace,
        });
    }

    async _decodeJpeg(picture) {
        const generation = this._generation;
        try {
            const blob = new Blob([picture.payload], { type: 'image/jpeg' });
            this._decoded(picture.ptsUs, await createImageBitmap(blob), generation);
        } catch (error) {
            if (generation === this._generation) {
                this._fail(error);
            }
        }
    }

    // Results come in wire order for a video decoder; JPEG pictures may overtake each other, and then the overtaken one is
    // passed over.
    _decoded(timestamp, image, generation) {
        const picture = generation === this._generation ? this._pending.get(timestamp) : undefined;
        if (!picture) {
            image.close();
            return;
        }
        for (const older of this._pending.keys()) {
            this._pending.delete(older);
            if (older === timestamp) {
                break;
            }
        }
        this._failures = 0;
        picture.payload = null;
        picture.image = image;
        picture.decodedMs = now();
        this._playout.push(picture, picture.decodedMs);
        this._arm();
        this._feed();
    }

    _fail(error) {
        this._failures++;
        this._report({ type: 'problem', message: `decoder: ${error && error.message}` });
        if (this._failures >= FAILURES_MAX) {
            this._report({ type: 'codec-failed', codec: this._codec });
        }
        this._loseState('decoder error');
    }

    _loseState(reason) {
        this._closeDecoder();
        this._passOver(this._chunks.splice(0));
        this._needKey = true;
        this._askForKey(reason, false);
    }

    _closeDecoder() {
        this._generation++;
        this._pending.clear();
        const decoder = this._decoder;
        this._decoder = null;
        if (decoder && decoder.state !== 'closed') {
            decoder.close();
        }
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
        const wait = this._playout.wait(now());
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
        const picture = this._playout.due(now());
        if (picture) {
            this._renderer.draw(picture.image, picture.width, picture.height);
            this._reportShown(picture);
            this._sample(picture);
            picture.image.close();
            this._feed();
        }
        this._arm();
    }

    _reportShown(picture) {
        this._report({
            type: 'shown', seq: picture.seq, epoch: picture.epoch, revision: picture.revision, frame: picture.frame,
            first: picture.first, steps: picture.steps, ptsMs: picture.ptsMs, serverUs: picture.serverUs,
            receivedMs: picture.receivedMs, decodedMs: picture.decodedMs, shownMs: now(), timings: picture.timings,
            width: picture.width, height: picture.height, codec: picture.codec,
            buffered: this._playout.depth, waiting: this._chunks.length + this._pending.size,
            rebased: this._playout.rebased,
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
        this._closeDecoder();
        this._chunks.length = 0;
        this._playout.reset();
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

const DEFAULT_STRINGS = { h264: 'avc1.64001F', vp8: 'vp8', vp9: 'vp09.00.10.08' };

// H.264 comes as Annex B with the parameter sets in each key picture, so there is no `description`. Some decoders in
// hardware keep pictures back whatever the stream says about its order, which is never worth it at these sizes.
function decoderConfig(codec, codecString = '') {
    return {
        codec: codecString || DEFAULT_STRINGS[codec],
        optimizeForLatency: true,
        ...(codec === 'h264' ? { hardwareAcceleration: 'prefer-software' } : {}),
    };
}

// What this browser decodes, best first; JPEG always. A server offers H.264 where a GPU encodes it for nothing.
export async function probeCodecs() {
    const codecs = [];
    if (typeof VideoDecoder === 'function') {
        for (const codec of ['h264', 'vp9', 'vp8']) {
            try {
                const { supported } = await VideoDecoder.isConfigSupported(decoderConfig(codec));
                if (supported) {
                    codecs.push(codec);
                }
            } catch {
                // Not this one.
            }
        }
    }
    codecs.push('jpeg');
    return codecs;
}
