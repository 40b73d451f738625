"""The causal Wan/LongLive transformer. Parameter names are those of Wan's checkpoint.

The module only holds parameters; the arithmetic is in plain functions over tensors, so that the same few functions
serve three callers: the streaming sampler (rollout.py), training over many blocks at once (layout.py), and
torch.compile, which then compiles one function once for every layer and every copy of the model.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

CONFIG = dict(dim=256, num_heads=4, ffn_dim=1024, num_layers=8, text_dim=128, text_len=40, freq_dim=256, in_dim=16,
              out_dim=16, patch_size=[1, 2, 2], eps=1e-6)


# ---------------------------------------------------------------------------------------------- arithmetic

def linear(x, weight, bias):
    return F.linear(x, weight.to(x.dtype), bias.to(x.dtype))


def rms(x, weight, eps):
    x32 = x.float()
    return (x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def layer_norm(x, eps):
    x32 = x.float()
    x32 = x32 - x32.mean(-1, keepdim=True)
    return x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + eps)


def gelu(x):
    return F.gelu(x, approximate="tanh")


def attend(q, k, v):
    """softmax(q k / sqrt(d)) v over [..., heads, L, d]."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v)
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v


def rope_angles(frames, height, width, head_dim):
    """Angles [frames, height*width, head_dim/2] for frame indices `frames` (a list or tensor), in double."""
    spatial = 2 * (head_dim // 6)
    temporal = head_dim - 2 * spatial
    rate = lambda c: 10000. ** (-torch.arange(0, c, 2, dtype=torch.float64) / c)
    at = torch.as_tensor(frames, dtype=torch.float64)
    n = len(at)
    t = (at[:, None] * rate(temporal))[:, None, None].expand(n, height, width, -1)
    y = (torch.arange(height).double()[:, None] * rate(spatial))[None, :, None].expand(n, height, width, -1)
    x = (torch.arange(width).double()[:, None] * rate(spatial))[None, None].expand(n, height, width, -1)
    return torch.cat([t, y, x], -1).reshape(n, height * width, -1)


def rotate(x, cos, sin):
    """Turn adjacent channel pairs. x [..., heads, d]; cos, sin [..., d/2] broadcast over heads."""
    pair = x.float().reshape(*x.shape[:-1], -1, 2)
    a, b = pair[..., 0], pair[..., 1]
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)


def self_qkv(x, e, w, heads, eps):
    """x [..., L, D], e [..., 6, D] -> q, k (normalised, before RoPE), v, each [..., L, heads, d]."""
    h = (layer_norm(x, eps) * (1 + e[..., 1:2, :]) + e[..., 0:1, :]).to(x.dtype)
    weight = torch.cat([w["self_attn.q.weight"], w["self_attn.k.weight"], w["self_attn.v.weight"]])
    bias = torch.cat([w["self_attn.q.bias"], w["self_attn.k.bias"], w["self_attn.v.bias"]])
    q, k, v = linear(h, weight, bias).chunk(3, -1)
    q, k = rms(q, w["self_attn.norm_q.weight"], eps), rms(k, w["self_attn.norm_k.weight"], eps)
    split = lambda y: y.reshape(*y.shape[:-1], heads, -1)
    return split(q), split(k), split(v)


def self_out(x, a, e, w):
    """Add the gated output of self-attention; a [..., L, D]."""
    return x + (linear(a, w["self_attn.o.weight"], w["self_attn.o.bias"]) * e[..., 2:3, :]).to(x.dtype)


def cross_q(x, w, heads, eps):
    h = (layer_norm(x, eps) * w["norm3.weight"] + w["norm3.bias"]).to(x.dtype)
    q = rms(linear(h, w["cross_attn.q.weight"], w["cross_attn.q.bias"]), w["cross_attn.norm_q.weight"], eps)
    return q.reshape(*q.shape[:-1], heads, -1)


def cross_kv(context, w, heads, eps):
    k = rms(linear(context, w["cross_attn.k.weight"], w["cross_attn.k.bias"]), w["cross_attn.norm_k.weight"], eps)
    v = linear(context, w["cross_attn.v.weight"], w["cross_attn.v.bias"])
    split = lambda y: y.reshape(*y.shape[:-1], heads, -1)
    return split(k), split(v)


def cross_out(x, a, w):
    return x + linear(a, w["cross_attn.o.weight"], w["cross_attn.o.bias"])


def feed_forward(x, e, w, eps):
    h = (layer_norm(x, eps) * (1 + e[..., 4:5, :]) + e[..., 3:4, :]).to(x.dtype)
    h = linear(gelu(linear(h, w["ffn.0.weight"], w["ffn.0.bias"])), w["ffn.2.weight"], w["ffn.2.bias"])
    return x + (h * e[..., 5:6, :]).to(x.dtype)


# ---------------------------------------------------------------------------------------------- parameters

class Projection(nn.Module):
    """q, k, v, o with the RMS norms of q and k."""

    def __init__(self, dim):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = Weight(dim), Weight(dim)


class Weight(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        dim = c["dim"]
        self.self_attn, self.cross_attn = Projection(dim), Projection(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, c["ffn_dim"]), nn.Identity(), nn.Linear(c["ffn_dim"], dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim ** .5)


class Head(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.head = nn.Linear(c["dim"], c["out_dim"] * math.prod(c["patch_size"]))
        self.modulation = nn.Parameter(torch.randn(1, 2, c["dim"]) / c["dim"] ** .5)


class DiT(nn.Module):
    def __init__(self, **config):
        super().__init__()
        self.config = dict(CONFIG, **config)
        c = self.config
        dim = c["dim"]
        self.patch_embedding = nn.Conv3d(c["in_dim"], dim, tuple(c["patch_size"]), tuple(c["patch_size"]))
        self.text_embedding = nn.Sequential(nn.Linear(c["text_dim"], dim), nn.GELU(), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(c["freq_dim"], dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["num_layers"]))
        self.head = Head(c)
        self._init()

    def _init(self):
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        for m in (self.time_embedding[0], self.time_embedding[2]):
            nn.init.normal_(m.weight, std=.02)
        nn.init.zeros_(self.time_projection[1].weight)
        nn.init.zeros_(self.head.head.weight)

    def layers(self):
        """Per layer, a dict of its parameters by their names within the layer."""
        return [dict(b.named_parameters()) for b in self.blocks]

    def embed_text(self, context):
        """[..., rows, text_dim] -> [..., rows, dim]; padded rows take part, as text_embedding(0)."""
        first, _, second = self.text_embedding
        return linear(gelu(linear(context, first.weight, first.bias)), second.weight, second.bias)

    def embed_time(self, t):
        """t [...] in 0..1000 -> e [..., dim] for the head and e0 [..., 6, dim] for the layers, both float32."""
        half = self.config["freq_dim"] // 2
        rate = 10000. ** (-torch.arange(half, device=t.device, dtype=torch.float64) / half)
        angle = t.double()[..., None] * rate
        wave = torch.cat([angle.cos(), angle.sin()], -1).float()
        e = self.time_embedding(wave)
        return e, self.time_projection(e).view(*e.shape[:-1], 6, -1)

    def patchify(self, latents, dtype):
        """[..., 16, h, w] -> [..., tokens, dim]."""
        *lead, c, h, w = latents.shape
        ph, pw = self.config["patch_size"][1:]
        n = len(lead)
        x = latents.reshape(*lead, c, h // ph, ph, w // pw, pw)
        x = x.permute(*range(n), n + 1, n + 3, n, n + 2, n + 4).reshape(*lead, (h // ph) * (w // pw), c * ph * pw)
        return linear(x.to(dtype), self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)

    def unpatchify(self, x, e, height, width):
        """Head and unpatchify: x [..., tokens, dim], e [..., dim] -> [..., 16, h, w] float32."""
        m = self.head.modulation[0] + e[..., None, :]
        h = (layer_norm(x, self.config["eps"]) * (1 + m[..., 1:2, :]) + m[..., 0:1, :]).to(x.dtype)
        y = linear(h, self.head.head.weight, self.head.head.bias).float()
        ph, pw = self.config["patch_size"][1:]
        lead, n = y.shape[:-2], y.dim() - 2
        y = y.reshape(*lead, height // ph, width // pw, ph, pw, -1)
        return y.permute(*range(n), n + 4, n, n + 2, n + 1, n + 3).reshape(*lead, -1, height, width)
