// Draws a picture on a 2D canvas.
//
// The stream is small and the screen is large, so the last step is a magnification. The browser's own (bilinear) shows
// the pixel grid as soft diamonds; drawing at a multiple with a cubic filter first and leaving the rest to the
// compositor does not. The multiple is bounded by the pixels drawn, for it is paid on the CPU where there is no GPU.

const PIXELS_MAX = 640 * 480;
const SCALE_MAX = 4;

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
        this._context = canvas.getContext('2d', { alpha: false });
    }

    // image: a VideoFrame or an ImageBitmap; stays the caller's.
    draw(image, width, height) {
        const scale = backingScale(width, height);
        const w = width * scale;
        const h = height * scale;
        if (this._canvas.width !== w || this._canvas.height !== h) {
            this._canvas.width = w;
            this._canvas.height = h;
        }
        this._context.imageSmoothingEnabled = true;
        this._context.imageSmoothingQuality = 'high';
        this._context.drawImage(image, 0, 0, w, h);
    }
}
