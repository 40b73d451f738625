// A Matroska/WebM file from the encoded pictures as they came: nothing is encoded twice.
//
// One video track, a cluster per key picture (or every few seconds), cues at the end, sizes and duration known because
// the file is put together when the recording ends. The element ids are those of RFC 9559 (Matroska) and RFC 8794 (EBML).

import { configurationRecord, withLengths } from './avc.js';

const CLUSTER_MS_MAX = 5000; // a block's time is 16 bits of milliseconds relative to its cluster
const CODEC_IDS = { vp8: 'V_VP8', vp9: 'V_VP9', jpeg: 'V_MJPEG', h264: 'V_MPEG4/ISO/AVC' };

const ID = {
    ebml: 0x1a45dfa3, ebmlVersion: 0x4286, ebmlReadVersion: 0x42f7, ebmlMaxId: 0x42f2, ebmlMaxSize: 0x42f3,
    docType: 0x4282, docTypeVersion: 0x4287, docTypeReadVersion: 0x4285,
    segment: 0x18538067, info: 0x1549a966, timestampScale: 0x2ad7b1, duration: 0x4489,
    muxingApp: 0x4d80, writingApp: 0x5741, title: 0x7ba9,
    tracks: 0x1654ae6b, trackEntry: 0xae, trackNumber: 0xd7, trackUid: 0x73c5, trackType: 0x83, flagLacing: 0x9c,
    codecId: 0x86, codecPrivate: 0x63a2, video: 0xe0, pixelWidth: 0xb0, pixelHeight: 0xba,
    colour: 0x55b0, matrix: 0x55b1, range: 0x55b9, transfer: 0x55ba, primaries: 0x55bb,
    cluster: 0x1f43b675, timestamp: 0xe7, simpleBlock: 0xa3,
    cues: 0x1c53bb6b, cuePoint: 0xbb, cueTime: 0xb3, cueTrackPositions: 0xb7, cueTrack: 0xf7,
    cueClusterPosition: 0xf1,
};

// WebM holds VP8 and VP9 only; motion JPEG and H.264 are plain Matroska.
export function container(codec) {
    return codec === 'jpeg' || codec === 'h264'
        ? { docType: 'matroska', mime: 'video/x-matroska', extension: 'mkv' }
        : { docType: 'webm', mime: 'video/webm', extension: 'webm' };
}

// pictures: [{ timeMs, key, payload: Uint8Array }] with growing times, the first a key. Returns the file as a list of
// Uint8Array (for a Blob: the payloads are not copied, but for H.264, whose units a file wants otherwise). colorSpace: a VideoColorSpaceInit, or null.
export function mux({ codec, width, height, pictures, lastMs, title = '', colorSpace = null }) {
    const asStored = codec === 'h264' ? pictures.map((p) => ({ ...p, payload: withLengths(p.payload) })) : pictures;
    const record = codec === 'h264' ? configurationRecord(pictures[0].payload) : null;
    const head = [...header(container(codec).docType)];
    const info = element(ID.info, [
        uint(ID.timestampScale, 1000000),
        float(ID.duration, lastMs),
        text(ID.muxingApp, 'kinetype'),
        text(ID.writingApp, 'kinetype'),
        ...(title ? [text(ID.title, title)] : []),
    ]);
    const tracks = element(ID.tracks, [element(ID.trackEntry, [
        uint(ID.trackNumber, 1),
        uint(ID.trackUid, 1),
        uint(ID.trackType, 1),
        uint(ID.flagLacing, 0),
        text(ID.codecId, CODEC_IDS[codec]),
        ...(record ? [element(ID.codecPrivate, [[record]])] : []),
        element(ID.video, [uint(ID.pixelWidth, width), uint(ID.pixelHeight, height), ...colour(colorSpace)]),
    ])]);
    const body = [info, tracks];
    const cues = [];
    let position = size(info) + size(tracks);
    for (const group of clusters(asStored)) {
        const cluster = clusterElement(group);
        cues.push(cuePoint(group[0].timeMs, position));
        position += size(cluster);
        body.push(cluster);
    }
    body.push(element(ID.cues, cues));
    return flatten([...head, element(ID.segment, body)]);
}

function header(docType) {
    return [element(ID.ebml, [
        uint(ID.ebmlVersion, 1), uint(ID.ebmlReadVersion, 1), uint(ID.ebmlMaxId, 4), uint(ID.ebmlMaxSize, 8),
        text(ID.docType, docType), uint(ID.docTypeVersion, 4), uint(ID.docTypeReadVersion, 2),
    ])];
}

// What a VideoColorSpace says, as far as Matroska (that is, ISO/IEC 23091-2) has the same number for it.
const COLOUR_NUMBERS = { bt709: 1, bt470bg: 5, smpte170m: 6 };

function colour(space) {
    const matrix = COLOUR_NUMBERS[space?.matrix];
    if (!matrix) {
        return [];
    }
    return [element(ID.colour, [
        uint(ID.matrix, matrix),
        uint(ID.range, space.fullRange ? 2 : 1),
        uint(ID.transfer, COLOUR_NUMBERS[space.transfer] ?? matrix),
        uint(ID.primaries, COLOUR_NUMBERS[space.primaries] ?? matrix),
    ])];
}

function clusters(pictures) {
    const groups = [];
    for (const picture of pictures) {
        const group = groups[groups.length - 1];
        if (!group || (picture.key && group.length > 1 && picture.timeMs - group[0].timeMs > 1000) ||
            picture.timeMs - group[0].timeMs >= CLUSTER_MS_MAX) {
            groups.push([picture]);
        } else {
            group.push(picture);
        }
    }
    return groups;
}

function clusterElement(group) {
    const base = group[0].timeMs;
    return element(ID.cluster, [
        uint(ID.timestamp, base),
        ...group.map((p) => simpleBlock(p.timeMs - base, p.key, p.payload)),
    ]);
}

function simpleBlock(relativeMs, key, payload) {
    const head = new Uint8Array([0x81, relativeMs >> 8, relativeMs & 255, key ? 0x80 : 0]);
    return element(ID.simpleBlock, [[head], [payload]]);
}

function cuePoint(timeMs, position) {
    return element(ID.cuePoint, [
        uint(ID.cueTime, timeMs),
        element(ID.cueTrackPositions, [uint(ID.cueTrack, 1), uint(ID.cueClusterPosition, position)]),
    ]);
}

// An element is a list of byte arrays; so are its children.
function element(id, children) {
    const parts = flatten(children);
    const bytes = parts.reduce((sum, p) => sum + p.length, 0);
    return [idBytes(id), sizeBytes(bytes), ...parts];
}

function flatten(lists) {
    return lists.flat();
}

function size(list) {
    return list.reduce((sum, part) => sum + part.length, 0);
}

function idBytes(id) {
    const bytes = [];
    for (let rest = id; rest > 0; rest = Math.floor(rest / 256)) {
        bytes.unshift(rest % 256);
    }
    return new Uint8Array(bytes);
}

// Always eight bytes: one marker bit and 56 bits of size.
function sizeBytes(bytes) {
    const out = new Uint8Array(8);
    new DataView(out.buffer).setBigUint64(0, BigInt(bytes) | (1n << 56n));
    return out;
}

function uint(id, value) {
    const bytes = [];
    let rest = value;
    do {
        bytes.unshift(rest % 256);
        rest = Math.floor(rest / 256);
    } while (rest > 0);
    return element(id, [[new Uint8Array(bytes)]]);
}

function float(id, value) {
    const out = new Uint8Array(8);
    new DataView(out.buffer).setFloat64(0, value);
    return element(id, [[out]]);
}

function text(id, value) {
    return element(id, [[new TextEncoder().encode(value)]]);
}
