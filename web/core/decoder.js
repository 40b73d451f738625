// One stream's pictures in, decoded pictures out: a video decoder of the browser, or its JPEG reader.
//
// A picture is an object with { codec, key, ptsUs, payload }; it comes back with `image` (a VideoFrame or an ImageBitmap,
// the receiver's to close) and `decodedMs`, and without its payload. Results of a decoder that was closed meanwhile are
// closed unseen.

import { now } from './now.js';

export class PictureDecoder {
    // onPicture(picture); onError(error): the decoder is unusable until `close`.
    constructor({ onPicture, onError }) {
        this._onPicture = onPicture;
        this._onError = onError;
        this._decoder = null;
        this._codec = null;
        this._codecString = '';
        this._colorSpace = undefined;
        this._pending = new Map(); // timestamp -> the picture that is inside
        this._generation = 0; // late results of an older decoder are ignored
    }

    start({ codec, codecString, colorSpace }) {
        this.close();
        this._codec = codec;
        this._codecString = codecString;
        this._colorSpace = colorSpace;
    }

    get codec() {
        return this._codec;
    }

    // How many are inside.
    get pending() {
        return this._pending.size;
    }

    decode(picture) {
        if (picture.codec !== this._codec) {
            this.close();
            this._codec = picture.codec;
            this._codecString = '';
        }
        this._pending.set(picture.ptsUs, picture);
        if (picture.codec === 'jpeg') {
            this._decodeJpeg(picture);
            return;
        }
        try {
            this._open();
            this._decoder.decode(new EncodedVideoChunk({
                type: picture.key ? 'key' : 'delta',
                timestamp: picture.ptsUs,
                data: picture.payload,
            }));
        } catch (error) {
            this._onError(error);
        }
    }

    // Empties it; the next picture must be a key one. Returns what was inside.
    close() {
        this._generation++;
        const inside = [...this._pending.values()];
        this._pending.clear();
        inside.forEach((picture) => picture.image?.close());
        const decoder = this._decoder;
        this._decoder = null;
        if (decoder && decoder.state !== 'closed') {
            decoder.close();
        }
        return inside;
    }

    _open() {
        if (this._decoder) {
            return;
        }
        const generation = this._generation;
        this._decoder = new VideoDecoder({
            output: (image) => this._decoded(image.timestamp, image, generation),
            error: (error) => {
                if (generation === this._generation) {
                    this._onError(error);
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
                this._onError(error);
            }
        }
    }

    // A video decoder answers in wire order. JPEG pictures are read side by side and may overtake each other: they wait here
    // for those before them.
    _decoded(timestamp, image, generation) {
        const picture = generation === this._generation ? this._pending.get(timestamp) : undefined;
        if (!picture) {
            image.close();
            return;
        }
        if (picture.codec !== 'jpeg') {
            this._leaveOutBefore(timestamp);
        }
        picture.payload = null;
        picture.image = image;
        for (const [at, first] of this._pending) {
            if (!first.image || generation !== this._generation) {
                break;
            }
            this._pending.delete(at);
            first.decodedMs = now();
            this._onPicture(first);
        }
    }

    // Pictures that the decoder swallowed.
    _leaveOutBefore(timestamp) {
        for (const older of this._pending.keys()) {
            if (older === timestamp) {
                break;
            }
            this._pending.delete(older);
        }
    }
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
