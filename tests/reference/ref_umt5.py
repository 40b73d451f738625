"""The UMT5 text encoder, for the tokens of one prompt (no padding, so no mask)."""
import numpy as np

from ref_ops import attention, gelu_tanh, linear, rms_norm


def bucket(relative, count, max_distance):
    """Bidirectional bucket of (key - query). The logarithm is taken in fp32, as the trained model's
    code does: it decides which side of a boundary an exact power of two falls on."""
    half = count // 2
    exact = half // 2
    d = np.abs(relative)
    ratio = np.log(np.maximum(d, 1).astype(np.float32) / np.float32(exact)) \
        / np.float32(np.log(max_distance / exact)) * np.float32(half - exact)
    large = np.minimum(exact + ratio.astype(np.int64), half - 1)
    return np.where(relative > 0, half, 0) + np.where(d < exact, d, large)


def encode(c, weights, ids):
    w = {k: v.astype(np.float64) for k, v in weights.items()}
    x = w["token_embedding.weight"][ids]
    n, heads = len(ids), c["num_heads"]
    at = np.arange(n)
    buckets = bucket(at[None, :] - at[:, None], c["num_buckets"], c["max_distance"])
    for i in range(c["num_layers"]):
        b = f"blocks.{i}"
        bias = w[b + ".pos_embedding.embedding.weight"][buckets].transpose(2, 0, 1)
        h = rms_norm(x, c["eps"], w[b + ".norm1.weight"])
        q, k, v = (linear(w, f"{b}.attn.{p}", h).reshape(n, heads, -1) for p in "qkv")
        x = x + linear(w, b + ".attn.o", attention(q, k, v, 1.0, bias))
        h = rms_norm(x, c["eps"], w[b + ".norm2.weight"])
        h = linear(w, b + ".ffn.fc1", h) * gelu_tanh(linear(w, b + ".ffn.gate.0", h))
        x = x + linear(w, b + ".ffn.fc2", h)
    return rms_norm(x, c["eps"], w["norm.weight"])
