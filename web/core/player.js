// The page's side of the pipeline: in a worker where possible, else here.

import { probeCodecs } from './decoder.js';
import { Pipeline, verbs } from './pipeline.js';
import { createRenderer } from './renderer.js';

const WORKER_START_MS = 8000;

export class Player {
    // Takes the canvas. handlers: one function per report type of Pipeline ('shown', 'passed', 'need-key', …). renderer:
    // see renderer.js.
    static async create(canvas, handlers, { renderer } = {}) {
        const player = new Player(handlers, renderer);
        const worker = typeof canvas.transferControlToOffscreen === 'function' ? await startWorker() : null;
        if (worker) {
            player._useWorker(worker, canvas);
        } else {
            await player._useHere(canvas);
        }
        return player;
    }

    constructor(handlers, renderer) {
        this._handlers = handlers;
        this._renderer = renderer;
        this._post = null;
        this.codecs = ['jpeg'];
        this.inWorker = false;
        this.rendererName = null; // '2d' or 'webgl', once known
    }

    start({ codec, codecString, colorSpace }) {
        this._post({ type: 'start', codec, codecString, colorSpace });
    }

    // The buffer is handed over.
    media(buffer, receivedMs) {
        this._post({ type: 'media', buffer, receivedMs }, [buffer]);
    }

    setPaused(paused) {
        this._post({ type: 'paused', paused });
    }

    setGlow(on) {
        this._post({ type: 'glow', on });
    }

    record(title) {
        this._post({ type: 'record', title });
    }

    finishRecording() {
        this._post({ type: 'finish-recording' });
    }

    _report(message) {
        if (message.type === 'renderer') {
            this.rendererName = message.name;
            return;
        }
        const handler = this._handlers[message.type];
        if (handler) {
            handler(message);
        } else if (message.bitmap) {
            message.bitmap.close();
        }
    }

    _useWorker({ worker, codecs }, canvas) {
        this.inWorker = true;
        this.codecs = codecs;
        worker.onmessage = ({ data }) => this._report(data);
        worker.onerror = (event) => this._report({ type: 'problem', message: `decode worker: ${event.message}` });
        const offscreen = canvas.transferControlToOffscreen();
        worker.postMessage({ type: 'canvas', canvas: offscreen, renderer: this._renderer }, [offscreen]);
        this._post = (message, transfer = []) => worker.postMessage(message, transfer);
    }

    async _useHere(canvas) {
        this.codecs = await probeCodecs();
        const renderer = createRenderer(canvas, this._renderer);
        this.rendererName = renderer.name;
        const pipeline = new Pipeline({
            renderer,
            report: (message) => this._report(message),
            requestFrame: (f) => requestAnimationFrame(f),
            cancelFrame: (id) => cancelAnimationFrame(id),
        });
        const perform = verbs(pipeline);
        this._post = (message) => perform[message.type](message);
    }
}

// The worker and what it can decode, or null: the canvas is only handed to a worker that has answered.
function startWorker() {
    return new Promise((resolve) => {
        let worker;
        try {
            worker = new Worker(new URL('./decoder_worker.js', import.meta.url), { type: 'module' });
        } catch {
            resolve(null);
            return;
        }
        const give = (result) => {
            clearTimeout(timer);
            if (!result) {
                worker.terminate();
            }
            resolve(result);
        };
        const timer = setTimeout(() => give(null), WORKER_START_MS);
        worker.onerror = () => give(null);
        worker.onmessage = ({ data }) => {
            if (data.type === 'ready') {
                give({ worker, codecs: data.codecs });
            }
        };
    });
}
