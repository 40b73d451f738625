// Which renderer a canvas gets: the GPU's where there is one, else the 2D one.

import { Renderer2D } from './renderer_2d.js';
import { RendererWebGL } from './renderer_webgl.js';

// wanted: '2d', 'webgl' (also without a GPU), or anything else for the choice above.
export function createRenderer(canvas, wanted = '') {
    const gpu = wanted === '2d' ? null : RendererWebGL.create(canvas, { force: wanted === 'webgl' });
    return gpu ?? new Renderer2D(canvas);
}
