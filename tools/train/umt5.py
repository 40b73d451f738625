"""UMT5-style text encoder. Parameter names are those of Wan's `models_t5_umt5-xxl-enc-bf16.pth`."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

CONFIG = dict(dim=128, dim_attn=128, dim_ffn=256, num_heads=4, num_layers=2, num_buckets=32, max_distance=128,
              text_len=40, eps=1e-6)


def rms_norm(x, weight, eps):
    x32 = x.float()
    return (x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


class Norm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x):
        return rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c["num_heads"]
        dim, inner = c["dim"], c["dim_attn"]
        self.q, self.k, self.v = (nn.Linear(dim, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, dim, bias=False)
        nn.init.normal_(self.q.weight, std=(dim * inner / self.heads) ** -.5)  # there is no 1/sqrt(d) in the logits
        for m in (self.k, self.v):
            nn.init.normal_(m.weight, std=dim ** -.5)
        nn.init.normal_(self.o.weight, std=inner ** -.5)

    def forward(self, x, bias):
        B, L, _ = x.shape
        q, k, v = (m(x).view(B, L, self.heads, -1).transpose(1, 2) for m in (self.q, self.k, self.v))
        logits = q @ k.transpose(-1, -2) + bias.to(q.dtype)
        out = torch.softmax(logits.float(), -1).to(q.dtype) @ v
        return self.o(out.transpose(1, 2).reshape(B, L, -1))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(c["dim"], c["dim_ffn"], bias=False))
        self.fc1 = nn.Linear(c["dim"], c["dim_ffn"], bias=False)
        self.fc2 = nn.Linear(c["dim_ffn"], c["dim"], bias=False)

    def forward(self, x):
        g = self.gate(x)
        gelu = .5 * g * (1 + torch.tanh(math.sqrt(2 / math.pi) * (g + .044715 * g * g * g)))
        return self.fc2(self.fc1(x) * gelu)


class RelativeBias(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embedding = nn.Embedding(c["num_buckets"], c["num_heads"])
        nn.init.normal_(self.embedding.weight, std=.1)

    def forward(self, buckets):
        return self.embedding(buckets).permute(2, 0, 1)[None]


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1, self.norm2 = Norm(c["dim"], c["eps"]), Norm(c["dim"], c["eps"])
        self.attn, self.ffn, self.pos_embedding = Attention(c), FeedForward(c), RelativeBias(c)

    def forward(self, x, buckets, mask):
        x = x + self.attn(self.norm1(x), self.pos_embedding(buckets) + mask)
        return x + self.ffn(self.norm2(x))


class TextEncoder(nn.Module):
    def __init__(self, vocab, **config):
        super().__init__()
        self.config = dict(CONFIG, vocab=vocab, **config)
        c = self.config
        self.token_embedding = nn.Embedding(vocab, c["dim"])
        nn.init.normal_(self.token_embedding.weight, std=1.)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["num_layers"]))
        self.norm = Norm(c["dim"], c["eps"])
        self.register_buffer("buckets", self._buckets(c["text_len"]), persistent=False)

    def _buckets(self, length):
        half = self.config["num_buckets"] // 2
        exact = half // 2
        at = torch.arange(length)
        offset = at[None] - at[:, None]  # key minus query
        far = exact + (torch.log(offset.abs().clamp(min=1).double() / exact)
                       / math.log(self.config["max_distance"] / exact) * (half - exact)).long()
        near = offset.abs()
        return half * (offset > 0) + torch.where(near < exact, near, far.clamp(max=half - 1))

    def forward(self, ids):
        """ids [B, L] padded with 0 -> context [B, L, dim]; rows of padding are zero."""
        real = ids > 0
        mask = torch.where(real, 0., -1e9)[:, None, None, :]
        x = self.token_embedding(ids)
        buckets = self.buckets[:ids.shape[1], :ids.shape[1]]
        for block in self.blocks:
            x = block(x, buckets, mask)
        return self.norm(x) * real[..., None]
