"""The few operations the reference networks share, in fp64 NumPy and in the plainest form."""
import numpy as np


def linear(w, name, x):
    y = x @ w[name + ".weight"].T
    return y + w[name + ".bias"] if name + ".bias" in w else y


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))


def silu(x):
    return x / (1 + np.exp(-x))


def layer_norm(x, eps, weight=1.0, bias=0.0):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + eps) * weight + bias


def rms_norm(x, eps, weight):
    return x / np.sqrt((x ** 2).mean(-1, keepdims=True) + eps) * weight


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v, scale, bias=0.0):
    """q [Lq, heads, d], k and v [Lk, heads, d] -> [Lq, heads * d]; bias broadcasts to
    [heads, Lq, Lk]."""
    q, k, v = (a.transpose(1, 0, 2) for a in (q, k, v))
    out = softmax(q @ k.transpose(0, 2, 1) * scale + bias) @ v
    return out.transpose(1, 0, 2).reshape(q.shape[1], -1)


def conv(w, name, x, pad, stride=1):
    """Cross-correlation. x [T, C, H, W]; weight [O, C, kt, kh, kw] or [O, C, kh, kw] (kt = 1).
    pad = (top, bottom, left, right); time is never padded; stride applies to height and width."""
    kernel = w[name + ".weight"]
    if kernel.ndim == 4:
        kernel = kernel[:, :, None]
    n_out, _, kt, kh, kw = kernel.shape
    x = np.pad(x, ((0, 0), (0, 0), pad[:2], pad[2:]))
    t = x.shape[0] - kt + 1
    h, wd = (x.shape[2] - kh) // stride + 1, (x.shape[3] - kw) // stride + 1
    y = np.zeros((t, n_out, h * wd))
    for a in range(kt):
        for b in range(kh):
            for c in range(kw):
                tap = x[a:a + t, :, b:b + stride * (h - 1) + 1:stride,
                        c:c + stride * (wd - 1) + 1:stride]
                y += kernel[:, :, a, b, c] @ tap.reshape(t, x.shape[1], h * wd)
    y = y.reshape(t, n_out, h, wd)
    bias = w.get(name + ".bias")
    return y if bias is None else y + bias[:, None, None]


def upsample_nearest(x, factor):
    return x.repeat(factor, -2).repeat(factor, -1)
