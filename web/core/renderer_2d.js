// Draws a picture on a 2D canvas.
//
// The stream is small and the screen is large, so the last step is a magnification. The browser's own (bilinear) shows
// the pixel grid as soft diamonds; drawing at a multiple with a cubic filter first and leaving the rest to the
// compositor does not. The multiple is bounded by the pixels drawn, for it is paid on the CPU where there is no GPU.

// A second picture can lie over it with a weight: an old one going, or a preview. A preview is drawn small first, so that
// its magnification softens it: it must not be taken for the picture.

const PIXELS_MAX = 640 * 480;
const SCALE_MAX = 4;
const SOFT = 0.5; // of the picture's size

export function backingScale(width, height) {
    let scale = SCALE_MAX;
    while (scale > 1 && width * height * scale * scale > PIXELS_MAX) {
        scale--;
    }
    return scale;
}

export class Renderer2D {
    constructor(canvas) {
        this.name = '2d';
        this._canvas = canvas;
        this._small = null; // a preview is drawn on it first
        this._context = canvas.getContext('2d', { alpha: false });
    }

    // image: a VideoFrame or an ImageBitmap; top: { image, weight 0..1, soft } over it, or null. All stay the caller's.
    draw(image, width, height, top = null) {
        const scale = backingScale(width, height);
        const w = width * scale;
        const h = height * scale;
        if (this._canvas.width !== w || this._canvas.height !== h) {
            this._canvas.width = w;
            this._canvas.height = h;
        }
        this._context.imageSmoothingEnabled = true;
        this._context.imageSmoothingQuality = 'high';
        if (!top || top.weight < 1) {
            this._context.drawImage(image, 0, 0, w, h);
        }
        if (top) {
            this._context.globalAlpha = top.weight;
            this._context.drawImage(top.soft ? this._soften(top.image, width, height) : top.image, 0, 0, w, h);
            this._context.globalAlpha = 1;
        }
    }

    _soften(image, width, height) {
        if (typeof OffscreenCanvas !== 'function') {
            return image;
        }
        this._small ??= new OffscreenCanvas(1, 1);
        const w = Math.max(1, Math.round(width * SOFT));
        const h = Math.max(1, Math.round(height * SOFT));
        if (this._small.width !== w || this._small.height !== h) {
            this._small.width = w;
            this._small.height = h;
        }
        const context = this._small.getContext('2d', { alpha: false });
        context.imageSmoothingQuality = 'medium';
        context.drawImage(image, 0, 0, w, h);
        return this._small;
    }
}
