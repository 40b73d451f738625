// Typed text as a series of splices.
//
// Positions and lengths count Unicode code points, as the protocol does: JavaScript's own indices count UTF-16 units,
// which would cut an emoji in two. One input event is one splice, whatever it was (a key, a paste, an undo, the
// composed text of an input method), because the splice is found by comparing the text before and after.

const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g;
// C0 and C1 controls but tab and line breaks, which become spaces.
const CONTROL = /[\u0000-\u0008\u000E-\u001F\u007F-\u009F]/g;
const BREAK = /[\t\n\v\f\r]+/g;

// What the box holds, as it may travel: valid Unicode on one line, at most `limit` code points.
export function cleanText(text, limit = Infinity) {
    const clean = text.replace(BREAK, ' ').replace(CONTROL, '').replace(LONE_SURROGATE, '\uFFFD');
    if (clean.length <= limit) {
        return clean;
    }
    return Array.from(clean).slice(0, limit).join('');
}

// The smallest splice that turns `before` into `after`: { at, del, ins } with `at` and `del` in code points, or null
// when nothing changed. Of equal choices (a letter doubled) it takes the rightmost, where a typist's caret is.
export function splice(before, after) {
    if (before === after) {
        return null;
    }
    const a = Array.from(before);
    const b = Array.from(after);
    const shorter = Math.min(a.length, b.length);
    let head = 0;
    while (head < shorter && a[head] === b[head]) {
        head++;
    }
    let tail = 0;
    while (tail < shorter - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) {
        tail++;
    }
    return {
        at: head,
        del: a.length - head - tail,
        ins: b.slice(head, b.length - tail).join(''),
    };
}

// The inverse: what a server does with a splice.
export function applySplice(text, { at, del, ins }) {
    const points = Array.from(text);
    if (at < 0 || del < 0 || at + del > points.length) {
        throw new RangeError(`splice ${at}+${del} is outside a text of ${points.length}`);
    }
    points.splice(at, del, ...Array.from(ins));
    return points.join('');
}
