// A server that does as the test says: it serves the page from its files, and what goes over the page's WebSocket is in the
// test's hands. Pictures are JPEGs of one colour, made by the browser itself.
import http from 'node:http';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { controlVectors } from './unit/vectors.mjs';

const WEB = new URL('../../web/', import.meta.url).pathname;
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
    "worker-src 'self'";
const WIDTH = 192;
const HEIGHT = 112;
export const SETTINGS = { draft: true, preview: true, depth: 1, cut: 'now', transition: 'scene', blend: 2, recache: 'full' };
const COLOURS = { red: '#f00', green: '#0f0', blue: '#00f' };

// { url, clients, accept(message), close() } for one browser context. Every connection becomes a client { hello, sent, say,
// picture }; `accept` answers its hello, with a welcome unless the test says otherwise.
export async function startScripted(context) {
    const site = http.createServer(async (request, response) => {
        const name = request.url.split('?')[0].replace(/\/$/, '/index.html');
        try {
            const body = await readFile(path.join(WEB, path.normalize(name)));
            response.writeHead(200, { 'content-type': TYPES[path.extname(name)] ?? 'text/plain',
                'content-security-policy': POLICY, 'cross-origin-opener-policy': 'same-origin',
                'cross-origin-embedder-policy': 'require-corp' });
            response.end(body);
        } catch {
            response.writeHead(404).end();
        }
    });
    await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
    const server = {
        url: `http://127.0.0.1:${site.address().port}/?codec=jpeg`,
        jpegs: await makeJpegs(context),
        clients: [],
        accept: (client) => client.welcome(),
        close: () => {
            site.closeAllConnections?.();
            site.close();
        },
    };
    await context.routeWebSocket(/\/v1\/live$/, (ws) => {
        server.clients.push(new Client(ws, server));
    });
    return server;
}

class Client {
    constructor(ws, server) {
        this._ws = ws;
        this._server = server;
        this._seq = 0;
        this.hello = null;
        this.sent = [];
        ws.onMessage((text) => this._heard(JSON.parse(text)));
    }

    of(type) {
        return this.sent.filter((m) => m.type === type);
    }

    say(type, fields) {
        this._ws.send(JSON.stringify({ type, ...fields }));
    }

    welcome(fields = {}) {
        const { text } = controlVectors.server.find((v) => v.name === 'welcome');
        const message = { ...JSON.parse(text), codec: 'jpeg', codec_string: '', settings: SETTINGS, ...fields };
        this._ws.send(JSON.stringify(message));
        this.say('status', { state: 'live', reason: '', fps: 16, target_fps: 16, steps: 4, slow: false });
    }

    // One picture of a colour; times in milliseconds.
    picture(colour, { epoch = 1, revision = 0, frame = 0, ptsMs, first = false, flush = false, fade = 0, stream = 0 }) {
        const payload = this._server.jpegs[colour];
        const message = Buffer.alloc(72 + payload.length);
        message.writeUInt16BE(0x4b54, 0);
        message.set([1, 1, stream, 3], 2);
        message.writeUInt16BE(1 | (first ? 2 : 0) | (flush ? 4 : 0), 6);
        message.writeUInt32BE(this._seq++, 8);
        message.writeUInt32BE(epoch, 12);
        message.writeUInt32BE(revision, 16);
        message.set([4, fade], 20);
        message.writeUInt16BE(72, 22);
        message.writeBigUInt64BE(BigInt(frame), 24);
        message.writeBigUInt64BE(BigInt(Math.round(ptsMs * 1000)), 32);
        message.writeUInt16BE(WIDTH, 64);
        message.writeUInt16BE(HEIGHT, 66);
        message.writeUInt32BE(payload.length, 68);
        payload.copy(message, 72);
        this._ws.send(message);
    }

    _heard(message) {
        this.sent.push(message);
        if (message.type === 'hello') {
            this.hello = message;
            this._server.accept(this);
        } else if (message.type === 'ping') {
            this.say('pong', { id: message.id, client_us: message.client_us, server_us: message.client_us });
        } else if (message.type === 'edit' || message.type === 'commit') {
            this.say('received', { rev: message.rev, committed: message.type === 'commit', words: 3, server_us: 1 });
        } else if (message.type === 'set') {
            const { type, ...values } = message;
            this.say('settings', { ...SETTINGS, ...values });
        }
    }
}

async function makeJpegs(context) {
    const page = await context.newPage();
    const made = await page.evaluate(async ({ colours, width, height }) => {
        const canvas = new OffscreenCanvas(width, height);
        const out = {};
        for (const [name, value] of Object.entries(colours)) {
            const c = canvas.getContext('2d');
            c.fillStyle = value;
            c.fillRect(0, 0, width, height);
            const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.9 })).arrayBuffer());
            out[name] = btoa(String.fromCharCode(...bytes));
        }
        return out;
    }, { colours: COLOURS, width: WIDTH, height: HEIGHT });
    await page.close();
    return Object.fromEntries(Object.entries(made).map(([name, text]) => [name, Buffer.from(text, 'base64')]));
}
