"""Streaming generation with a KV cache, as the engine does it: blocks of 3 latents, sink, window, recache.

Relative RoPE: keys are cached before RoPE, and both query and key take their time index from their place in the
window, so a stream has no end. Many streams run side by side (the batch). This is the judge of training: evaluate.py
scores what comes out of here, and check_golden.py holds it against the golden cases.
"""
import torch

from . import dit as D

SAMPLER = dict(num_frame_per_block=3, local_attn_size=12, sink_size=3, denoising_step_list=[1000, 750, 500, 250],
               timestep_shift=5.0, relative_rope=True, global_sink=True, context_noise=0)


def warp(s, shift):
    return shift * s / (1 + (shift - 1) * s)


def sigmas(step_list, shift):
    """Noise levels of a step list: index 1000 - v into the table warp(1, .999, ...)."""
    return [warp(v / 1000., shift) for v in step_list]


class Stream:
    def __init__(self, model, context, height=14, width=24, dtype=torch.float32, sampler=None):
        """context [B, rows, text_dim], rows already padded to text_len with zeros."""
        self.m, self.h, self.w, self.dtype = model, height, width, dtype
        self.s = dict(SAMPLER, **(sampler or {}))
        self.layers, self.heads, self.eps = model.layers(), model.config["num_heads"], model.config["eps"]
        self.k = [None] * len(self.layers)  # [B, frames * tokens, heads, d], before RoPE: sink, then rolling frames
        self.v = [None] * len(self.layers)
        self.latents, self.frames = [], 0  # the last `window` latents, and how many there have been
        ph, pw = model.config["patch_size"][1:]
        self.tokens = (height // ph) * (width // pw)
        angles = D.rope_angles(range(self.s["local_attn_size"]), height // ph, width // pw,
                               model.config["dim"] // self.heads)
        device = context.device
        self.cos, self.sin = angles.cos().float().to(device), angles.sin().float().to(device)
        self.set_context(context)

    def set_context(self, context):
        c = self.m.embed_text(context.to(self.dtype))
        self.cross = [D.cross_kv(c, w, self.heads, self.eps) for w in self.layers]

    def cached(self):
        return 0 if self.k[0] is None else self.k[0].shape[1] // self.tokens

    def turn(self, x, first, count):
        """RoPE for frames at window places first .. first + count - 1."""
        c = self.cos[first:first + count].flatten(0, 1), self.sin[first:first + count].flatten(0, 1)
        return D.rotate(x, *c)

    def forward(self, x, t, past, store=False):
        """One pass over frames x [B, f, 16, h, w] at t in 0..1000, seeing `past` cached frames and itself in full."""
        B, f = x.shape[:2]
        y = self.m.patchify(x, self.dtype).flatten(1, 2)
        e, e0 = self.m.embed_time(torch.full((B,), float(t), device=x.device))
        fresh = []
        for i, w in enumerate(self.layers):
            m = e0 + w["modulation"][0]
            q, k, v = D.self_qkv(y, m, w, self.heads, self.eps)
            if store:
                fresh.append((k, v))
            if past:
                k = torch.cat([self.k[i][:, :past * self.tokens], k], 1)
                v = torch.cat([self.v[i][:, :past * self.tokens], v], 1)
            q, k = self.turn(q, past, f), self.turn(k, 0, past + f)
            a = D.attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2).flatten(2)
            y = D.self_out(y, a, m, w)
            ck, cv = self.cross[i]
            q = D.cross_q(y, w, self.heads, self.eps)
            a = D.attend(q.transpose(1, 2), ck.transpose(1, 2), cv.transpose(1, 2)).transpose(1, 2).flatten(2)
            y = D.feed_forward(D.cross_out(y, a, w), m, w, self.eps)
        if store:
            for i, (k, v) in enumerate(fresh):
                keep = past * self.tokens
                self.k[i] = k if not past else torch.cat([self.k[i][:, :keep], k], 1)
                self.v[i] = v if not past else torch.cat([self.v[i][:, :keep], v], 1)
            return None
        return self.m.unpatchify(y.view(B, f, self.tokens, -1), e[:, None], self.h, self.w)

    def make_room(self, block):
        """Drop the oldest rolling frames so that `block` new ones fit the window."""
        sink, room = self.s["sink_size"], self.s["local_attn_size"] - block
        over = self.cached() - room
        if over > 0:
            a, b = sink * self.tokens, (sink + over) * self.tokens
            self.k = [torch.cat([k[:, :a], k[:, b:]], 1) for k in self.k]
            self.v = [torch.cat([v[:, :a], v[:, b:]], 1) for v in self.v]

    def next_block(self, noise, renoise):
        """noise [B, block, 16, h, w]; renoise() draws more of the same shape. Returns the clean latents."""
        self.make_room(noise.shape[1])
        past, levels = self.cached(), sigmas(self.s["denoising_step_list"], self.s["timestep_shift"])
        x = noise
        for i, sigma in enumerate(levels):
            x0 = x - sigma * self.forward(x, 1000 * sigma, past)
            if i + 1 < len(levels):
                x = (1 - levels[i + 1]) * x0 + levels[i + 1] * renoise()
        self.append(x0)
        return x0

    def append(self, x0):
        """Put finished latents into the cache (the t = 0 pass). make_room has run."""
        self.forward(x0, self.s["context_noise"], self.cached(), store=True)
        self.frames += x0.shape[1]
        self.latents = (self.latents + list(x0.unbind(1)))[-self.s["local_attn_size"]:]

    def switch(self, context, scene=False):
        """A prompt change before the next block: recache the window under the new prompt.

        The sink's K/V stay as they are if it is kept (`scene` false) and older than the window; otherwise every slot,
        sink included, is rewritten, and all recached frames see each other in full.
        """
        self.set_context(context)
        if not self.frames:
            return
        window, sink = self.s["local_attn_size"], self.s["sink_size"]
        keep = not scene and self.frames > window
        recent = self.latents[-(window - sink):] if keep else self.latents[-window:]
        self.forward(torch.stack(recent, 1), 0, sink if keep else 0, store=True)
