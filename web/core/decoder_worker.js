// The pipeline in a worker, on a canvas that the page handed over.
//
// Down: `canvas` once, then the pipeline's verbs. Up: `ready` with what can be decoded, then what Pipeline reports.

import { probeCodecs } from './decoder.js';
import { Pipeline, verbs } from './pipeline.js';
import { createRenderer } from './renderer.js';

let perform = null;

function report(message) {
    postMessage(message, message.bitmap ? [message.bitmap] : []);
}

// Without animation frames in workers a timer has to do.
const frames = typeof requestAnimationFrame === 'function'
    ? { requestFrame: (f) => requestAnimationFrame(f), cancelFrame: (id) => cancelAnimationFrame(id) }
    : { requestFrame: (f) => setTimeout(f, 8), cancelFrame: (id) => clearTimeout(id) };

onmessage = ({ data }) => {
    if (data.type === 'canvas') {
        const renderer = createRenderer(data.canvas, data.renderer);
        report({ type: 'renderer', name: renderer.name });
        perform = verbs(new Pipeline({ renderer, report, ...frames }));
    } else {
        perform[data.type](data);
    }
};

report({ type: 'ready', codecs: await probeCodecs() });
