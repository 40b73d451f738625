// Milliseconds on one clock for the page and its worker, whose performance.now() start at different moments.
export function now() {
    return performance.timeOrigin + performance.now();
}

// An event's timeStamp on that clock.
export function eventTime(event) {
    return performance.timeOrigin + event.timeStamp;
}
