// Reads the PNGs that a browser's screenshot gives: 8 bits, RGB or RGBA, not interlaced.
import { inflateSync } from 'node:zlib';

const CHANNELS = { 2: 3, 6: 4 };

// { width, height, channels, data }: rows from the top, no padding.
export function decodePng(file) {
    const chunks = readChunks(file);
    const header = chunks.find((c) => c.type === 'IHDR').data;
    const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
    const channels = CHANNELS[header[9]];
    if (header[8] !== 8 || !channels || header[12] !== 0) {
        throw new Error(`PNG with ${header[8]} bits, colour type ${header[9]}, interlace ${header[12]}`);
    }
    const packed = inflateSync(Buffer.concat(chunks.filter((c) => c.type === 'IDAT').map((c) => c.data)));
    return { width, height, channels, data: unfilter(packed, width * channels, height, channels) };
}

function readChunks(file) {
    const chunks = [];
    for (let at = 8; at < file.length;) {
        const bytes = file.readUInt32BE(at);
        chunks.push({ type: file.toString('latin1', at + 4, at + 8), data: file.subarray(at + 8, at + 8 + bytes) });
        at += bytes + 12;
    }
    return chunks;
}

function unfilter(packed, stride, height, bpp) {
    const out = Buffer.alloc(stride * height);
    for (let y = 0; y < height; y++) {
        const filter = packed[y * (stride + 1)];
        for (let x = 0; x < stride; x++) {
            const at = y * stride + x;
            const left = x >= bpp ? out[at - bpp] : 0;
            const up = y > 0 ? out[at - stride] : 0;
            const corner = x >= bpp && y > 0 ? out[at - stride - bpp] : 0;
            out[at] = packed[y * (stride + 1) + 1 + x] + predict(filter, left, up, corner);
        }
    }
    return out;
}

function predict(filter, left, up, corner) {
    switch (filter) {
    case 0: return 0;
    case 1: return left;
    case 2: return up;
    case 3: return (left + up) >> 1;
    default: return paeth(left, up, corner);
    }
}

function paeth(left, up, corner) {
    const [a, b, c] = [left, up, corner].map((v) => Math.abs(left + up - corner - v));
    return a <= b && a <= c ? left : b <= c ? up : corner;
}
