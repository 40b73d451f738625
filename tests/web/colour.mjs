// Which colour the object in a picture has.
//
// Pixels that are strongly coloured are sorted by hue; the pale ones (snow, clouds, city walls) and the dark ones do not
// count, so prompts for these tests name a pale background. The answer is the hue that most coloured pixels have.

const HUES = [ // name, up to this hue in degrees
    ['red', 15], ['orange', 42], ['yellow', 68], ['green', 165], ['cyan', 195], ['blue', 255], ['purple', 292],
    ['pink', 342], ['red', 360],
];
const SATURATION_MIN = 0.5;
const VALUE_MIN = 0.25;

// { name: share of all pixels }, with `none` for the pale and the dark.
export function colourShares({ data, channels, width, height }) {
    const counts = { none: 0 };
    for (let at = 0; at < data.length; at += channels) {
        const name = hueName(data[at] / 255, data[at + 1] / 255, data[at + 2] / 255);
        counts[name] = (counts[name] ?? 0) + 1;
    }
    for (const name of Object.keys(counts)) {
        counts[name] /= width * height;
    }
    return counts;
}

// The dominant colour, or 'none' when less than `least` of the picture is coloured like it.
export function dominantColour(picture, least = 0.01) {
    const { none, ...shares } = colourShares(picture);
    const [name, share] = Object.entries(shares).sort((a, b) => b[1] - a[1])[0] ?? ['none', none];
    return share >= least ? name : 'none';
}

// The mean [r, g, b] of the pixels that are coloured like `name`, or null when there are none.
export function meanOf({ data, channels }, name) {
    const sum = [0, 0, 0];
    let n = 0;
    for (let at = 0; at < data.length; at += channels) {
        if (hueName(data[at] / 255, data[at + 1] / 255, data[at + 2] / 255) === name) {
            n++;
            sum.forEach((_, i) => {
                sum[i] += data[at + i];
            });
        }
    }
    return n ? sum.map((v) => v / n) : null;
}

function hueName(r, g, b) {
    const value = Math.max(r, g, b);
    const chroma = value - Math.min(r, g, b);
    if (value < VALUE_MIN || chroma < SATURATION_MIN * value) {
        return 'none';
    }
    let hue;
    if (value === r) {
        hue = ((g - b) / chroma) * 60;
    } else if (value === g) {
        hue = ((b - r) / chroma) * 60 + 120;
    } else {
        hue = ((r - g) / chroma) * 60 + 240;
    }
    hue = (hue + 360) % 360;
    return HUES.find(([, to]) => hue <= to)[0];
}
