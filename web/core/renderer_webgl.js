// Draws a picture on a canvas with the GPU, for browsers that really have one.
//
// Magnifying a small picture well means not filtering across its edges. For every output pixel the gradient of brightness
// around it says which way an edge runs; the 16 source pixels near it are then weighted by a kernel that is long along the
// edge and short across it, as strongly as there is an edge (in a flat or mixed neighbourhood it is round, a soft cubic).
// The result is kept within what the four nearest source pixels hold, so that nothing rings.
//
// A second picture can lie over it with a weight: an old one going, or a preview, which is softened by reading around each
// point. It is magnified linearly: it is never there for longer than a blink.
//
// Without a GPU the browser would do this on the CPU, which has better things to do: `RendererWebGL.create` then gives null.

const WIDTH_MAX = 2048;
const SCALE_MAX = 8;
const SOFT_TEXELS = 1.25;
const TRIAL = { width: 1024, height: 600, draws: 3, msMax: 6 };
const PLAYED_BY_CPU = /swiftshader|llvmpipe|softpipe|software|basic render/i;

const VERTEX = `#version 300 es
void main() {
    // One triangle that covers the canvas.
    gl_Position = vec4(vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D picture;
uniform vec2 canvas_size;
uniform sampler2D top;
uniform float top_weight;
uniform float top_spread; // texels around each point that are read, too; 0: none
out vec4 colour;

const vec3 LUMA = vec3(0.2126, 0.7152, 0.0722);

vec3 texel(ivec2 at) {
    return texelFetch(picture, clamp(at, ivec2(0), textureSize(picture, 0) - 1), 0).rgb;
}

// A smooth window: 1 at 0, 0 from 2 on, slightly negative in between, which keeps edges crisp.
float kernel(float d2) {
    float x = min(d2, 4.0);
    float a = 0.4 * x - 1.0;
    float b = 0.25 * x - 1.0;
    return (1.5625 * a * a - 0.5625) * b * b;
}

vec3 over(vec2 at) {
    vec2 d = top_spread / vec2(textureSize(top, 0));
    return 0.25 * (texture(top, at + d).rgb + texture(top, at - d).rgb +
        texture(top, at + vec2(d.x, -d.y)).rgb + texture(top, at + vec2(-d.x, d.y)).rgb);
}

void main() {
    vec2 size = vec2(textureSize(picture, 0));
    vec2 flipped = vec2(gl_FragCoord.x, canvas_size.y - gl_FragCoord.y);
    vec2 at = flipped * size / canvas_size - 0.5;
    ivec2 origin = ivec2(floor(at));
    vec2 part = at - vec2(origin);

    vec3 near[16];
    float luma[16];
    for (int i = 0; i < 16; i++) {
        near[i] = texel(origin + ivec2(i & 3, i >> 2) - 1);
        luma[i] = dot(near[i], LUMA);
    }

    // Structure tensor of the four nearest pixels, by nearness.
    vec3 tensor = vec3(0.0); // xx, yy, xy
    for (int i = 0; i < 4; i++) {
        int c = 5 + (i & 1) + 4 * (i >> 1);
        float gx = luma[c + 1] - luma[c - 1];
        float gy = luma[c + 4] - luma[c - 4];
        float w = ((i & 1) == 1 ? part.x : 1.0 - part.x) * ((i >> 1) == 1 ? part.y : 1.0 - part.y);
        tensor += w * vec3(gx * gx, gy * gy, gx * gy);
    }
    float difference = tensor.x - tensor.y;
    float root = sqrt(difference * difference + 4.0 * tensor.z * tensor.z);
    float sum = tensor.x + tensor.y;
    float coherence = root / (sum + 0.0005); // 0: no direction, 1: one clear edge
    float angle = 0.5 * atan(2.0 * tensor.z, difference);
    vec2 across = vec2(cos(angle), sin(angle));
    vec2 along = vec2(-across.y, across.x);
    float strength = coherence * coherence;

    vec3 total = vec3(0.0);
    float weights = 0.0;
    for (int i = 0; i < 16; i++) {
        vec2 offset = vec2(i & 3, i >> 2) - 1.0 - part;
        float u = dot(offset, across) * mix(1.0, 1.15, strength);
        float v = dot(offset, along) * mix(1.0, 0.55, strength);
        float w = kernel(u * u + v * v);
        total += w * near[i];
        weights += w;
    }
    vec3 low = min(min(near[5], near[6]), min(near[9], near[10]));
    vec3 high = max(max(near[5], near[6]), max(near[9], near[10]));
    vec3 sharp = clamp(total / weights, low, high);
    colour = vec4(top_weight > 0.0 ? mix(sharp, over(flipped / canvas_size), top_weight) : sharp, 1.0);
}`;

export class RendererWebGL {
    // null where there is no WebGL 2, or only one that the CPU would have to play. `force` takes that one, too (tests).
    // The canvas is only touched when it works.
    static create(canvas, { force = false } = {}) {
        if (typeof OffscreenCanvas !== 'function') {
            return null;
        }
        const wanted = { alpha: false, antialias: false, depth: false, failIfMajorPerformanceCaveat: !force };
        const trial = new OffscreenCanvas(TRIAL.width, TRIAL.height).getContext('webgl2', wanted);
        if (!trial) {
            return null;
        }
        const good = build(trial) !== null && (force || isFast(trial));
        trial.getExtension('WEBGL_lose_context')?.loseContext();
        if (!good) {
            return null;
        }
        const gl = canvas.getContext('webgl2', wanted);
        return gl ? new RendererWebGL(canvas, gl) : null;
    }

    constructor(canvas, gl) {
        this.name = 'webgl';
        this._canvas = canvas;
        this._gl = gl;
        this._program = build(gl);
        // A lost context comes back empty; until then there is nothing to draw on.
        canvas.addEventListener('webglcontextlost', (event) => {
            event.preventDefault();
            this._program = null;
        });
        canvas.addEventListener('webglcontextrestored', () => {
            this._program = build(gl);
        });
    }

    // image: a VideoFrame or an ImageBitmap; top: { image, weight 0..1, soft } over it, or null. All stay the caller's.
    draw(image, width, height, top = null) {
        const gl = this._gl;
        if (!this._program) {
            return;
        }
        this._resize(width, height);
        gl.viewport(0, 0, this._canvas.width, this._canvas.height);
        if (top) {
            upload(gl, 1, top.image);
            gl.uniform1f(this._program.topSpread, top.soft ? SOFT_TEXELS : 0);
        }
        upload(gl, 0, image);
        gl.uniform1f(this._program.topWeight, top ? top.weight : 0);
        gl.uniform2f(this._program.canvasSize, this._canvas.width, this._canvas.height);
        gl.drawArrays(gl.TRIANGLES, 0, 3);
    }

    _resize(width, height) {
        const scale = Math.max(1, Math.min(SCALE_MAX, Math.floor(WIDTH_MAX / width)));
        if (this._canvas.width !== width * scale || this._canvas.height !== height * scale) {
            this._canvas.width = width * scale;
            this._canvas.height = height * scale;
        }
    }
}

function upload(gl, unit, image) {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
}

// The caveat flag above is not honoured everywhere, so the renderer's name and its speed are asked, too.
function isFast(gl) {
    const info = gl.getExtension('WEBGL_debug_renderer_info');
    if (info && PLAYED_BY_CPU.test(gl.getParameter(info.UNMASKED_RENDERER_WEBGL))) {
        return false;
    }
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 192, 112, 0, gl.RGBA, gl.UNSIGNED_BYTE, null);
    gl.uniform2f(gl.getUniformLocation(gl.getParameter(gl.CURRENT_PROGRAM), 'canvas_size'), TRIAL.width, TRIAL.height);
    let best = Infinity;
    for (let i = 0; i <= TRIAL.draws; i++) {
        const began = performance.now();
        gl.drawArrays(gl.TRIANGLES, 0, 3);
        gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4)); // waits until it is drawn
        best = i === 0 ? best : Math.min(best, performance.now() - began); // the first one also compiles
    }
    return best <= TRIAL.msMax;
}

// The program in use, with its textures bound, as { canvasSize, topWeight, topSpread }: where its numbers go. Or null.
function build(gl) {
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, source);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
        return null;
    }
    gl.useProgram(program);
    bindTexture(gl, 1, gl.LINEAR);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, null); // it is read only when weighted
    bindTexture(gl, 0, gl.NEAREST);
    const at = (name) => gl.getUniformLocation(program, name);
    gl.uniform1i(at('picture'), 0);
    gl.uniform1i(at('top'), 1);
    return { canvasSize: at('canvas_size'), topWeight: at('top_weight'), topSpread: at('top_spread') };
}

function bindTexture(gl, unit, filter) {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, filter);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
}
