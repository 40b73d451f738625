// H.264 as files want it, from H.264 as it travels: Annex B byte streams (start codes between the units) become units
// with their length in front, and the parameter sets become the record that names the stream (ISO/IEC 14496-15).

const TYPE_MASK = 31;
const SPS = 7;
const PPS = 8;
const PLAIN_PROFILES = [66, 77, 88]; // Baseline, Main, Extended: the record ends earlier

// The units of one picture, without start codes and the zeroes that may stand before them.
export function units(bytes) {
    const found = [];
    let start = -1;
    for (let i = 0; i + 2 < bytes.length; i++) {
        if (bytes[i] === 0 && bytes[i + 1] === 0 && bytes[i + 2] === 1) {
            if (start >= 0) {
                found.push(trim(bytes.subarray(start, i)));
            }
            start = i + 3;
            i += 2;
        }
    }
    if (start >= 0) {
        found.push(trim(bytes.subarray(start)));
    }
    return found.filter((unit) => unit.length);
}

// A unit never ends in a zero byte.
function trim(unit) {
    let n = unit.length;
    while (n > 0 && unit[n - 1] === 0) {
        n--;
    }
    return unit.subarray(0, n);
}

// One picture, each unit after its length in 4 bytes.
export function withLengths(bytes) {
    const list = units(bytes);
    const out = new Uint8Array(list.reduce((sum, unit) => sum + 4 + unit.length, 0));
    const view = new DataView(out.buffer);
    let at = 0;
    for (const unit of list) {
        view.setUint32(at, unit.length);
        out.set(unit, at + 4);
        at += 4 + unit.length;
    }
    return out;
}

// The AVCDecoderConfigurationRecord of a stream that begins with this key picture, or null when the parameter sets are
// missing.
export function configurationRecord(bytes) {
    const list = units(bytes);
    const ofType = (type) => list.find((unit) => (unit[0] & TYPE_MASK) === type);
    const sps = ofType(SPS);
    const pps = ofType(PPS);
    if (!sps || !pps || sps.length < 4) {
        return null;
    }
    const [profile, constraints, level] = sps.subarray(1);
    const tail = PLAIN_PROFILES.includes(profile) ? [] : [0xfd, 0xf8, 0xf8, 0]; // 4:2:0, 8 bits, no extensions
    return new Uint8Array([1, profile, constraints, level, 0xff, 0xe1, sps.length >> 8, sps.length & 255, ...sps,
        1, pps.length >> 8, pps.length & 255, ...pps, ...tail]);
}
