"""Scores a model on prompts that training never saw, as a person would meet it: streaming, with prompt changes.

    python3 -m tools.train.evaluate --state DIR --name dmd --out DIR --tokenizer spiece.model

The judge is the detector of detector.py (trained on drawn frames only). "drawn" rows are its own score on drawn scenes
that went through the VAE: the ceiling. Places: 3 s (block 4), 1.5 s after a prompt change at 3.6 s (block 7; sink kept,
and re-sunk), 60 s (block 80) and 10 minutes (block 800) of one stream under one prompt.
"""
import argparse
import copy
import json

import torch

from . import captions, common, detector, model, rollout, sheets, tokenizer, vae_io, world

PROMPTS, LONG = 208, 64
BLOCK_3S, SWITCH, BLOCK_AFTER, BLOCK_60S, BLOCK_10M = 4, 5, 7, 80, 800
STEP_LISTS = {4: [1000, 750, 500, 250], 2: [1000, 500], 1: [1000]}
BARS = {"3 s": dict(colour=.95, background=.97, direction=.85, shape=.80),
        "after switch, sink kept": dict(colour=.90, background=.90, shape=.75),
        "after switch, re-sunk": dict(colour=.90, background=.90, shape=.75),
        "60 s": dict(colour=.93, background=.93), "10 min": dict(colour=.93, background=.93)}


def unseen(n, device):
    """Specs kept from training: the first quarter held-out (shape, colour) pairs, the rest reserved combinations."""
    pool = world.sample_spec(400 * n, device, held_out=True)
    pair = world.held_out_pair(pool)
    take = lambda mask, count: {k: v[mask][:count] for k, v in pool.items()}
    a, b = take(pair, n // 4), take(world.reserved(pool) & ~pair, n - n // 4)
    return {k: torch.cat([a[k], b[k]]) for k in a}


def follow_up(spec):
    """A change of each spec to something that is itself kept from training."""
    out, done = dict(spec), torch.zeros_like(spec["shape"], dtype=torch.bool)
    for _ in range(200):
        new = world.change(spec, held_out=True)
        good = (world.held_out_pair(new) | world.reserved(new)) & ~done
        out = world.choose(good, new, out)
        done = done | good
    return out


class Judge:
    def __init__(self, a):
        self.vae, self.net = vae_io.Frozen(a.state), detector.load(a.state)

    def score(self, video, spec):
        hits = {k: [0, 0] for k in detector.HEADS}
        for i in range(0, len(video), 64):
            part = {k: v[i:i + 64] for k, v in spec.items()}
            for k, (good, judged) in detector.score(self.net, video[i:i + 64], detector.targets(part)).items():
                hits[k] = [hits[k][0] + good, hits[k][1] + judged]
        out = {k: good / max(judged, 1) for k, (good, judged) in hits.items()}
        dx = (video[..., 1:] - video[..., :-1]).abs().mean().item()
        dt = (video[:, 1:] - video[:, :-1]).abs().mean().item()
        return dict(out, sharp=dx, moving=dt)


def ceiling(judge, spec, new):
    """The detector on drawn scenes that went through the VAE, at the same places."""
    n, device = len(spec["shape"]), spec["shape"].device
    never = torch.full((n,), world.NEVER, device=device)
    switch = torch.full((n,), 12 * SWITCH - 3, device=device)
    line, out = world.Timeline([spec, new, new], [switch, never]), {}
    still = world.still_timeline(spec)
    for name, l, block, s in (("3 s", still, BLOCK_3S, spec), ("after switch", line, BLOCK_AFTER, new),
                              ("60 s", still, BLOCK_60S, spec)):
        video = []
        for i in range(0, n, 16):
            latents = (torch.arange(3 * (block - 2), 3 * block + 3, device=device))[None].expand(n, -1)
            frames = world.latent_frames(latents)
            drawn, _ = cut(l, frames, i, i + 16)
            z = judge.vae.encode(drawn)
            video.append(judge.vae.decode(z)[:, -12:])
        out[name] = judge.score(torch.cat(video), s)
    return out


def cut(line, frames, a, b):
    """Frames of samples a..b of a timeline."""
    p = line.params(frames).view(*frames.shape, -1)[a:b]
    video, cover = world.render.draw(p.flatten(0, 1), world.HEIGHT, world.WIDTH)
    return video.view(*p.shape[:2], *video.shape[1:]), cover


class Player:
    """Streams of one model with one step list."""

    def __init__(self, net, steps, seed):
        self.net, self.steps = net, steps
        self.random = torch.Generator(device=common.DEVICE).manual_seed(seed)

    def context(self, ids):
        return self.net["text"](ids)

    def open(self, ids):
        return rollout.Stream(self.net["dit"], self.context(ids), dtype=common.DTYPE,
                              sampler=dict(denoising_step_list=STEP_LISTS[self.steps]))

    def block(self, stream):
        B = stream.cross[0][0].shape[0]
        draw = lambda: torch.randn(B, 3, 16, 14, 24, device=common.DEVICE, generator=self.random)
        return stream.next_block(draw(), draw)


def fork(stream):
    twin = copy.copy(stream)
    for k in ("k", "v", "latents", "cross"):
        setattr(twin, k, list(getattr(stream, k)))
    return twin


def recent(stream):
    return torch.stack(stream.latents, 1)


@torch.no_grad()
def short(judge, net, spec, new, ids, new_ids, steps):
    """3 s, then a prompt change of both kinds. Returns scores and a few clips for the sheet."""
    player = Player(net, steps, 11)
    stream, out = player.open(ids), {}
    history = []
    for b in range(SWITCH):
        history.append(player.block(stream))
        if b in (0, 1, BLOCK_3S):
            z = torch.cat(history[max(0, b - 3):], 1)
            name = "3 s" if b == BLOCK_3S else f"block {b}"
            if b:
                video = judge.vae.decode(z)[:, -12:]
                out[name] = judge.score(video, spec)
    if len(spec["shape"]) >= 8:
        pair = world.held_out_pair(spec)
        part = {k: v[pair] for k, v in spec.items()}
        out["3 s, held-out pairs"] = judge.score(video[pair], part)
    tapes = []
    for scene in (False, True):
        branch = fork(stream)
        branch.set_context(player.context(new_ids))
        branch.switch(player.context(new_ids), scene=scene)
        tape = list(history)
        for _ in range(SWITCH, BLOCK_AFTER + 1):
            tape.append(player.block(branch))
        name = "after switch, re-sunk" if scene else "after switch, sink kept"
        out[name] = judge.score(judge.vae.decode(torch.cat(tape[-4:], 1))[:, -12:], new)
        tapes.append(torch.cat(tape, 1))
    return out, tapes


@torch.no_grad()
def long(judge, net, spec, ids, steps, last, rows=6):
    player = Player(net, steps, 12)
    rows = min(rows, len(ids))
    stream, out, strips = player.open(ids), {}, [[] for _ in range(rows)]
    for b in range(last + 1):
        player.block(stream)
        if b in (1, 4, 20, BLOCK_60S, 200, 400, BLOCK_10M):
            video = judge.vae.decode(recent(stream))[:, -12:]
            for r in range(min(rows, len(video))):
                strips[r].append(video[r, 6])
        if b in (BLOCK_60S, BLOCK_10M):
            out["60 s" if b == BLOCK_60S else "10 min"] = judge.score(video, spec)
    return out, strips


def table(results):
    heads = ["shape", "colour", "background", "direction", "motion", "weather", "light", "size"]
    lines = ["| steps | where | " + " | ".join(heads) + " |", "|" + " --- |" * (len(heads) + 2)]
    for steps, places in results.items():
        for place, s in places.items():
            bars = BARS.get(place, {}) if str(steps) == "4" else {}
            cell = lambda h: f"{100 * s[h]:.0f}" + (f" ({'ok' if s[h] >= bars[h] else 'bar'} {100 * bars[h]:.0f})" if h in bars else "")
            lines.append(f"| {steps} | {place} | " + " | ".join(cell(h) for h in heads) + " |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser()
    for name in ("--state", "--out", "--tokenizer"):
        p.add_argument(name, required=True)
    p.add_argument("--model", help="folder of the model's state (default: --state)")
    p.add_argument("--name", default="dmd")
    p.add_argument("--steps", default="4,2,1")
    p.add_argument("--prompts", type=int, default=PROMPTS)
    p.add_argument("--long", type=int, default=LONG)
    p.add_argument("--last", type=int, default=BLOCK_10M, help="last block of the long streams; 0: no long streams")
    p.add_argument("--no-ceiling", action="store_true")
    p.add_argument("--sheets", action="store_true")
    a = p.parse_args()
    common.setup(31337)
    sp = tokenizer.load(a.tokenizer)
    judge = Judge(a)
    net = model.new(sp.get_piece_size())
    common.load_into(net, common.load(f"{a.model or a.state}/{a.name}"), "cpu")
    net = net.to(common.DEVICE).eval().requires_grad_(False)
    torch.manual_seed(31337)
    caption = captions.Captioner(sp.encode, common.DEVICE)
    spec = unseen(a.prompts, common.DEVICE)
    new = follow_up(spec)
    ids, new_ids = caption(spec, plain=True), caption(new, plain=True)
    results = {}
    if not a.no_ceiling:
        results["drawn"] = ceiling(judge, spec, new)
    for steps in map(int, a.steps.split(",")):
        results[steps], tapes = short(judge, net, spec, new, ids, new_ids, steps)
        common.log(f"evaluate: {a.name} {steps} steps,", {k: {h: round(x, 3) for h, x in v.items()} for k, v in
                                                         results[steps].items()})
        if a.sheets:
            write_sheets(a, judge, sp, ids, new_ids, tapes, steps)
        if a.last and steps != 1:
            mix = torch.randperm(a.prompts, device=common.DEVICE)[:a.long]
            part = {k: v[mix] for k, v in spec.items()}
            more, strips = long(judge, net, part, ids[mix], steps, a.last if steps == 4 else min(a.last, BLOCK_60S))
            results[steps].update(more)
            if a.sheets and steps == 4:
                sheets.save(f"{a.out}/long.png", strips, .66)
    with open(f"{a.out}/scores-{a.name}.json", "w") as f:
        json.dump(dict(model=a.name, prompts=a.prompts, long=a.long, scores=results), f, indent=1)
    common.log(f"evaluate: {a.name}\n" + table(results))


def write_sheets(a, judge, sp, ids, new_ids, tapes, steps):
    text = lambda r: sp.decode([i for i in r.tolist() if i > 1])
    which = torch.linspace(0, len(ids) - 1, min(10, len(ids))).long()
    for kind, tape in zip(("kept", "resunk"), tapes):
        if steps != 4 and kind == "resunk":
            continue
        video = judge.vae.decode(tape[which.to(tape.device)])
        frames = [f for f in (0, 4, 10, 22, 34, 52, 57, 62, 68, 80, 92) if f < video.shape[1]]
        sheets.save(f"{a.out}/switch-{kind}-{steps}steps.png", [[v[f] for f in frames] for v in video], .66)
    if steps == 4:
        common.log("prompts of the sheets:", [(text(ids[i]), text(new_ids[i])) for i in which.tolist()])


if __name__ == "__main__":
    main()
