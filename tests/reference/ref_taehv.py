"""The TAEHV decoder: 2-D convolutions in which each memory block also sees the frame before."""
import numpy as np

from ref_ops import conv, upsample_nearest

SAME = (1, 1, 1, 1)
NONE = (0, 0, 0, 0)


def relu(x):
    return np.maximum(x, 0)


def memory(w, at, x):
    before = np.concatenate([np.zeros_like(x[:1]), x[:-1]])
    h = relu(conv(w, at + ".conv.0", np.concatenate([x, before], 1), SAME))
    h = relu(conv(w, at + ".conv.2", h, SAME))
    return relu(conv(w, at + ".conv.4", h, SAME) + x)


def decode(c, weights, latents):
    """[T, C, h, w] -> every frame of every latent, unclamped and untrimmed."""
    w = {k: v.astype(np.float64) for k, v in weights.items()}
    x = relu(conv(w, "decoder.1", np.tanh(latents / 3) * 3, SAME))
    for level in range(3):
        first = 3 + 6 * level
        for i in range(3):
            x = memory(w, f"decoder.{first + i}", x)
        x = upsample_nearest(x, c["decoder_space_upscale"][level])
        x = conv(w, f"decoder.{first + 4}.conv", x, NONE)
        grow = c["decoder_time_upscale"][level]
        x = x.reshape(-1, x.shape[1] // grow, *x.shape[2:])
        x = conv(w, f"decoder.{first + 5}", x, SAME)
    return conv(w, "decoder.22", relu(x), SAME)
