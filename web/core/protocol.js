// The bytes and words of proto/PROTOCOL.md, version 1. Pure: nothing here does I/O.

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = 'kinetype.v1';
export const HEADER_BYTES = 72;
export const REV_MAX = 2 ** 31 - 1;

// Media streams.
export const STREAM_VIDEO = 0;
export const STREAM_PREVIEW = 1; // of the epoch to come

export const CODECS = Object.freeze({ 1: 'vp8', 2: 'vp9', 3: 'jpeg', 4: 'h264' });

const MAGIC = 0x4b54; // "KT"
const TYPE_PICTURE = 1;
const FLAG_KEY = 1;
const FLAG_FIRST = 2;
const FLAG_FLUSH = 4;
const FLAG_LATE = 8;
const FLAGS_KNOWN = FLAG_KEY | FLAG_FIRST | FLAG_FLUSH | FLAG_LATE;

// The work a picture came from, in wire order.
export const STAGES = Object.freeze(
    ['queue', 'text', 'recache', 'denoise', 'decode', 'convert', 'encode', 'send']);

export class ProtocolError extends Error {}

function demand(condition, message) {
    if (!condition) {
        throw new ProtocolError(message);
    }
}

// One binary message, header and payload. The payload is a view into `buffer`: nothing is copied.
// Throws ProtocolError on anything the protocol says to refuse.
export function parseMedia(buffer) {
    demand(buffer.byteLength >= HEADER_BYTES,
        `media message of ${buffer.byteLength} bytes; the header alone has ${HEADER_BYTES}`);
    const v = new DataView(buffer);
    demand(v.getUint16(0) === MAGIC, 'media message without the magic "KT"');
    demand(v.getUint8(2) === PROTOCOL_VERSION,
        `media version ${v.getUint8(2)}; expected ${PROTOCOL_VERSION}`);
    demand(v.getUint8(3) === TYPE_PICTURE, `media type ${v.getUint8(3)}; expected ${TYPE_PICTURE}`);
    const codec = CODECS[v.getUint8(5)];
    demand(codec, `unknown codec ${v.getUint8(5)}`);
    const flags = v.getUint16(6);
    demand((flags & ~FLAGS_KNOWN) === 0, `reserved flags set: 0x${flags.toString(16)}`);
    demand(v.getUint8(21) === 0 || (flags & FLAG_FLUSH) !== 0, 'a fade without flush');
    demand(v.getUint16(22) === HEADER_BYTES,
        `header of ${v.getUint16(22)} bytes; expected ${HEADER_BYTES}`);
    demand(v.getUint16(64) > 0 && v.getUint16(66) > 0, 'picture without width or height');
    const bytes = v.getUint32(68);
    demand(bytes === buffer.byteLength - HEADER_BYTES,
        `payload of ${buffer.byteLength - HEADER_BYTES} bytes; the header says ${bytes}`);
    return {
        stream: v.getUint8(4),
        codec,
        key: (flags & FLAG_KEY) !== 0,
        first: (flags & FLAG_FIRST) !== 0,
        flush: (flags & FLAG_FLUSH) !== 0,
        late: (flags & FLAG_LATE) !== 0,
        seq: v.getUint32(8),
        epoch: v.getUint32(12),
        revision: v.getUint32(16),
        steps: v.getUint8(20),
        fade: v.getUint8(21),
        frame: Number(v.getBigUint64(24)),
        ptsUs: Number(v.getBigUint64(32)),
        serverUs: Number(v.getBigUint64(40)),
        timings: parseTimings(v),
        width: v.getUint16(64),
        height: v.getUint16(66),
        payload: new Uint8Array(buffer, HEADER_BYTES),
    };
}

function parseTimings(view) {
    const ms = {};
    STAGES.forEach((stage, i) => {
        ms[stage] = view.getUint16(48 + 2 * i) / 10;
    });
    return ms;
}

// What a message from the server must have before anybody looks into it. Unknown fields and types are let through, as
// the protocol asks of clients.
const REQUIRED = {
    welcome: { protocol: 'number', session: 'string', codec: 'string', video: 'object', limits: 'object',
        model: 'object', rev: 'number', text: 'string' },
    received: { rev: 'number' },
    applied: { rev: 'number', epoch: 'number', frame: 'number' },
    failed: { rev: 'number', code: 'string', message: 'string' },
    resync: { rev: 'number', text: 'string' },
    status: { state: 'string' },
    pong: { id: 'number', client_us: 'number', server_us: 'number' },
    settings: {},
    drafted: { rev: 'number', stage: 'string' },
    queued: { position: 'number' },
    history: { from: 'number', to: 'number' },
    error: { code: 'string', message: 'string' },
    bye: { code: 'string', message: 'string' },
};

// One text message: its object, or null for a type this version does not know. Throws ProtocolError.
export function parseControl(text) {
    let message;
    try {
        message = JSON.parse(text);
    } catch {
        throw new ProtocolError('control message is not JSON');
    }
    demand(message !== null && typeof message === 'object' && !Array.isArray(message),
        'control message is not an object');
    const required = Object.hasOwn(REQUIRED, message.type) ? REQUIRED[message.type] : null;
    if (!required) {
        return null;
    }
    for (const [field, type] of Object.entries(required)) {
        demand(typeof message[field] === type && message[field] !== null,
            `${message.type}.${field}: expected ${type}`);
    }
    return message;
}

// Serializes a message for the server. Absent optional fields are left out, since the server refuses what it does
// not expect.
export function control(type, fields = {}) {
    const message = { type };
    for (const [name, value] of Object.entries(fields)) {
        if (value !== undefined && value !== null) {
            message[name] = value;
        }
    }
    return JSON.stringify(message);
}

// What this server can do, from its `welcome`: an older one is sent nothing that it would refuse as unknown.
//   settings   the values in force, or null: `set` is understood for the names in it
//   blend, rewind, fork
export function abilities(welcome) {
    const features = new Set(Array.isArray(welcome?.features) ? welcome.features : []);
    const settings = welcome?.settings;
    return {
        settings: settings && typeof settings === 'object' ? { ...settings } : null,
        blend: features.has('blend') || settings?.blend !== undefined,
        rewind: features.has('rewind'),
        fork: features.has('fork'),
    };
}

// A 64-bit seed as the protocol carries it, or null when `text` is none.
export function parseSeed(text) {
    const trimmed = text.trim();
    if (!/^\d{1,20}$/.test(trimmed)) {
        return null;
    }
    const seed = BigInt(trimmed);
    return seed < 2n ** 64n ? seed.toString() : null;
}
