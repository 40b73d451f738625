"""How a training sample is laid out: nine block-sized rows that stand for one moment of streaming generation.

A sample holds up to seven blocks of latents. A *clean* row is a block at t = 0, as the cache pass or a recache sees it;
a *noisy* row is a block being denoised. Which rows see which is exactly what the engine's cache would hold (window 12
latents, sink 3, relative positions), so one forward of nine rows trains several blocks at once, and the training
forward equals the streaming one (selftest.py holds the two against each other).

Relative RoPE needs no per-reader rotation of the rolling keys: turning every row by its place in the *sample* gives
the same differences as its place in the window. Only the sink, whose distance to the window stays fixed while the
sample goes on, is added as three more copies of its keys, turned 3, 6 and 9 latents further.
"""
import math

import torch
import torch.nn.functional as F

from . import dit as D

ROWS, SLOTS, TOKENS, ROW = 9, 7, 252, 256  # rows per sample, blocks per sample, tokens per block, padded row
WINDOW, SINK, BLOCK = 12, 3, 3


class Pattern:
    """clean: slots with a clean row; noisy: (slot, loss weight) rows; recache: slots rewritten together by a prompt
    change, seeing each other in full; old_sink: the sink keeps the K/V it got under the old prompt."""

    def __init__(self, clean, noisy, recache=(), old_sink=False):
        rows = [(s, False, 0.) for s in clean] + [(s, True, w) for s, w in noisy]
        assert len(rows) == ROWS
        clean_row = {s: i for i, s in enumerate(clean)}
        self.slot = [s for s, _, _ in rows]
        self.noisy = [n for _, n, _ in rows]
        self.weight = [w for _, _, w in rows]
        self.new = [not (old_sink and s == 0) for s in self.slot]
        self.allow = torch.zeros(ROWS, ROWS + 3, dtype=torch.bool)
        for i, (slot, noisy, _) in enumerate(rows):
            keys = [i]
            if slot in recache and not noisy:
                keys += [clean_row[s] for s in set(recache) | {0}]
            elif slot > 0:
                shift = max(0, slot - (WINDOW // BLOCK - 1))  # blocks by which the window has left the sample's start
                keys += [ROWS + shift - 1 if shift else clean_row[0]]
                past = WINDOW // BLOCK - 2  # rolling blocks beside sink and self
                keys += [clean_row[s] for s in range(max(1, slot - past), slot)]
            self.allow[i, keys] = True


PATTERNS = {
    "start": Pattern(range(4), [(0, 2.), (1, 1.), (2, 1.), (3, 1.), (4, 1.)]),
    "far": Pattern(range(5), [(2, .5), (3, 1.), (4, 1.), (5, 1.)]),
    "far_old": Pattern(range(5), [(2, .5), (3, 1.), (4, 1.), (5, 1.)], old_sink=True),
    "keep": Pattern(range(6), [(4, 1.5), (5, 1.), (6, 1.)], recache=(1, 2, 3), old_sink=True),
    "scene": Pattern(range(6), [(4, 1.5), (5, 1.), (6, 1.)], recache=(0, 1, 2, 3)),
    "early1": Pattern(range(4), [(1, .7), (1, .7), (2, 1.), (3, 1.), (4, 1.)], recache=(0,)),
    "early2": Pattern(range(5), [(2, 1.5), (3, 1.), (4, 1.), (5, 1.)], recache=(0, 1)),
    "early3": Pattern(range(5), [(3, .7), (3, .7), (4, 1.), (5, 1.)], recache=(0, 1, 2)),
}
# How many of each make a batch of 64.
MIX = dict(start=16, far=12, far_old=6, keep=13, scene=8, early1=3, early2=3, early3=3)


def assignment(batch, mix=MIX):
    """Pattern name of each sample of a batch, in a fixed order."""
    total = sum(mix.values())
    ends, names, at = [], list(mix), 0
    for n in names:
        at += mix[n]
        ends.append(round(batch * at / total))
    return [n for a, b, n in zip([0] + ends, ends, names) for _ in range(b - a)]


class Layout:
    """Static tables of one batch; `names` gives each sample's pattern."""

    def __init__(self, names, model_config, device, height=14, width=24, flex=True):
        self.names, self.device = names, device
        self.height, self.width = height, width
        p = [PATTERNS[n] for n in names]
        table = lambda key, dtype: torch.tensor([getattr(x, key) for x in p], dtype=dtype, device=device)
        self.slot, self.noisy = table("slot", torch.long), table("noisy", torch.bool)
        self.new, self.weight = table("new", torch.bool), table("weight", torch.float32)
        self.place = self.slot  # rows are turned by their slot's place, in blocks
        self.pick = torch.arange(len(names), device=device)[:, None]
        head = model_config["dim"] // model_config["num_heads"]
        ph, pw = model_config["patch_size"][1:]
        angles = D.rope_angles(range(BLOCK * SLOTS), height // ph, width // pw, head)
        angles = angles.view(SLOTS, TOKENS, -1)
        angles = F.pad(angles, (0, 0, 0, ROW - TOKENS))
        self.cos, self.sin = angles.cos().float().to(device), angles.sin().float().to(device)
        allow = torch.stack([x.allow for x in p]).to(device)
        self.mask = self._block_mask(allow) if flex else self._dense_mask(allow)
        self.heads, self.eps, self.flex = model_config["num_heads"], model_config["eps"], flex

    def _dense_mask(self, allow):
        mask = allow.repeat_interleave(ROW, 1).repeat_interleave(ROW, 2)
        real = torch.arange(mask.shape[2], device=self.device) % ROW < TOKENS
        return (mask & real)[:, None]

    def _block_mask(self, allow):
        """Each row is two tiles of 128 tokens; the second of a key row ends in padding and needs the token mask."""
        from torch.nn.attention.flex_attention import BlockMask
        allow = allow.repeat_interleave(2, 1)

        def listed(parity):
            tiles = torch.zeros(*allow.shape[:2], 2 * allow.shape[2], dtype=torch.bool, device=self.device)
            tiles[..., parity::2] = allow
            count = tiles.sum(-1, dtype=torch.int32)[:, None]
            order = torch.argsort(tiles.int(), dim=-1, descending=True, stable=True).to(torch.int32)[:, None]
            return count.contiguous(), order.contiguous()

        def real(b, h, q, k):
            return k % ROW < TOKENS

        partial, full = listed(1), listed(0)
        return BlockMask.from_kv_blocks(*partial, *full, BLOCK_SIZE=128, mask_mod=real,
                                        seq_lengths=(ROWS * ROW, (ROWS + 3) * ROW))

    def gather(self, blocks):
        """blocks [B, SLOTS, ...] -> rows [B, ROWS, ...]."""
        return blocks[self.pick, self.slot]


def attention(q, k, v, mask, flex):
    if flex:
        from torch.nn.attention.flex_attention import flex_attention
        return flex_attention(q, k, v, block_mask=mask)
    logits = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(~mask, -1e30)
    return torch.softmax(logits, -1) @ v


def block(y, e0, context, new, place, cos, sin, mask, flex, w, heads, eps):
    """One layer over y [B, ROWS, ROW, D]; e0 [B, ROWS, 6, D]; context [B, 2, text rows, D] (old, new prompt)."""
    B = y.shape[0]
    m = e0 + w["modulation"][0]
    q, k, v = D.self_qkv(y, m, w, heads, eps)
    sink = torch.stack([D.rotate(k[:, 0], cos[s], sin[s]) for s in (1, 2, 3)], 1)
    q, k = D.rotate(q, cos[place], sin[place]), D.rotate(k, cos[place], sin[place])
    k = torch.cat([k, sink], 1)
    v = torch.cat([v, v[:, :1].expand(-1, 3, -1, -1, -1)], 1)
    along = lambda t: t.reshape(B, -1, heads, t.shape[-1]).transpose(1, 2)
    a = attention(along(q), along(k), along(v), mask, flex)
    y = D.self_out(y, a.transpose(1, 2).reshape(y.shape), m, w)
    ck, cv = D.cross_kv(context, w, heads, eps)
    chosen = new[:, :, None, None, None]
    ck, cv = (torch.where(chosen, t[:, None, 1], t[:, None, 0]).flatten(0, 1) for t in (ck, cv))
    q = D.cross_q(y, w, heads, eps).flatten(0, 1)
    a = D.attend(q.transpose(1, 2), ck.transpose(1, 2), cv.transpose(1, 2)).transpose(1, 2)
    return D.feed_forward(D.cross_out(y, a.reshape(y.shape), w), m, w, eps)


def forward(model, layers, x, t, context, layout, block_fn=block, dtype=torch.bfloat16):
    """x [B, ROWS, 3, 16, h, w] and t [B, ROWS] in 0..1000 -> velocity like x (float32; rubbish on clean rows).

    context [B, 2, rows, dim] is the embedded text (model.embed_text) of the old and the new prompt.
    """
    y = F.pad(model.patchify(x, dtype).flatten(2, 3), (0, 0, 0, ROW - TOKENS))
    e, e0 = model.embed_time(t)
    for w in layers:
        y = block_fn(y, e0, context, layout.new, layout.place, layout.cos, layout.sin, layout.mask, layout.flex, w,
                     layout.heads, layout.eps)
    y = y[:, :, :TOKENS].reshape(*x.shape[:3], TOKENS // BLOCK, -1)
    return model.unpatchify(y, e[:, :, None], layout.height, layout.width)
