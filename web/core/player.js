// The page's side of the pipeline: in a worker where possible, else here.

import { Pipeline, probeCodecs, verbs } from './pipeline.js';
import { Renderer2D } from './renderer_2d.js';

const WORKER_START_MS = 8000;

export class Player {
    // Takes the canvas. handlers: one function per report type of Pipeline ('shown', 'passed', 'need-key', …).
    static async create(canvas, handlers) {
        const player = new Player(handlers);
        const worker = typeof canvas.transferControlToOffscreen === 'function' ? await startWorker() : null;
        if (worker) {
            player._useWorker(worker, canvas);
        } else {
            await player._useHere(canvas);
        }
        return player;
    }

    constructor(handlers) {
        this._handlers = handlers;
        this._post = null;
        this.codecs = ['jpeg'];
        this.inWorker = false;
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
        worker.postMessage({ type: 'canvas', canvas: offscreen }, [offscreen]);
        this._post = (message, transfer = []) => worker.postMessage(message, transfer);
    }

    async _useHere(canvas) {
        this.codecs = await probeCodecs();
        const pipeline = new Pipeline({
            renderer: new Renderer2D(canvas),
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
