// Numbers as people read them.

// 75 s -> "1:15"
export function clockTime(ms) {
    const total = Math.max(0, Math.floor(ms / 1000));
    const h = Math.floor(total / 3600);
    const m = Math.floor((total % 3600) / 60);
    const s = String(total % 60).padStart(2, '0');
    return h ? `${h}:${String(m).padStart(2, '0')}:${s}` : `${m}:${s}`;
}

// 840 ms -> "0.84 s"
export function seconds(ms) {
    const s = ms / 1000;
    return `${s < 10 ? s.toFixed(2) : s.toFixed(1)} s`;
}

export function milliseconds(ms) {
    if (ms >= 1000) {
        return seconds(ms);
    }
    return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

export function bitrate(bytesPerSecond) {
    const kilobits = (bytesPerSecond * 8) / 1000;
    return kilobits >= 1000 ? `${(kilobits / 1000).toFixed(1)} Mbit/s` : `${Math.round(kilobits)} kbit/s`;
}

// ["a", "b", "c"] -> "“a”, “b” and “c”"
export function quoted(words) {
    const marked = words.map((w) => `“${w}”`);
    return marked.length < 2 ? marked.join('') : `${marked.slice(0, -1).join(', ')} and ${marked[marked.length - 1]}`;
}

// 0.75 -> "0.75", 3 -> "3"
export function number(value) {
    return String(Math.round(value * 100) / 100);
}
