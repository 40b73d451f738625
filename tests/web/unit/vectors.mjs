// The literal messages that the C tests read too.
import { readFileSync } from 'node:fs';

const read = (name) => JSON.parse(readFileSync(new URL(`../../../proto/vectors/${name}`, import.meta.url), 'utf8'));

export const controlVectors = read('control.json');
export const mediaVectors = read('media.json');

// A fresh ArrayBuffer, as a WebSocket gives one.
export function bytes(hex) {
    const out = new Uint8Array(hex.length / 2);
    for (let i = 0; i < out.length; i++) {
        out[i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
    }
    return out.buffer;
}
