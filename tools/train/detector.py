"""A small CNN that reads 12 frames (one block) and names what is in them. Trained on drawn frames only.

    python3 -m tools.train.detector --out DIR --seconds 150
"""
import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F

from . import common, flat, world

FRAMES = 12
DIRECTIONS = [world.LEFT, world.RIGHT, world.UP, world.DOWN]
HEADS = dict({k: v for k, v in world.COUNTS.items() if k != "speed"}, direction=4)
ATTENDED = 8


def layer(i, o, stride):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.GroupNorm(8, o), nn.SiLU())


class Detector(nn.Module):
    """Frames as channels, so that motion is seen by the first layer; attention pooling finds the object."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(layer(3 * FRAMES, 64, 2), layer(64, 96, 1), layer(96, 128, 2), layer(128, 192, 1),
                                  layer(192, 192, 2), layer(192, 256, 1), layer(256, 256, 1))
        self.look = nn.Conv2d(256, ATTENDED, 1)
        self.heads = nn.ModuleDict({k: nn.Linear(256 * (ATTENDED + 1), n) for k, n in HEADS.items()})

    def forward(self, video):
        """[B, 12, 3, H, W] -> dict of logits."""
        x = self.body(video.flatten(1, 2).contiguous(memory_format=torch.channels_last))
        flatx, look = x.flatten(2), self.look(x).flatten(2).float().softmax(-1).to(x.dtype)
        pooled = torch.cat([flatx.mean(-1), (look @ flatx.transpose(1, 2)).flatten(1)], 1)
        return {k: head(pooled).float() for k, head in self.heads.items()}


def targets(spec):
    """Class of every head; direction is -1 where the motion is none of the four."""
    out = {k: spec[k] for k in HEADS if k != "direction"}
    d = torch.full_like(spec["motion"], -1)
    for i, m in enumerate(DIRECTIONS):
        d = torch.where(spec["motion"] == m, torch.full_like(d, i), d)
    return dict(out, direction=d)


def examples(batch):
    """Drawn clips at any time of a scene, a third of them some time after a change."""
    device = common.DEVICE
    old = world.sample_spec(batch, device, held_out=True)
    new = world.change(old, held_out=True)
    changed = torch.rand(batch, device=device) < .35
    when = torch.randint(1, 600, (batch,), device=device)
    line = world.Timeline([old, new, new], [torch.where(changed, when, torch.full_like(when, world.NEVER)),
                                            torch.full_like(when, world.NEVER)])
    early = torch.rand(batch, device=device) < .4
    since = torch.where(early, torch.randint(0, 60, (batch,), device=device), torch.randint(0, 1500, (batch,), device=device))
    start = torch.where(changed, when + 12 + since, since)
    video, _ = line.frames(start[:, None] + torch.arange(FRAMES, device=device))
    return video, targets(world.choose(changed, new, old))


def roughen(video):
    """Blur, noise, brightness: a decoder's pictures are softer than drawn ones."""
    B = len(video)
    r = lambda: torch.rand(B, 1, 1, 1, 1, device=video.device)
    x = video.flatten(0, 1).float()
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1).view_as(video)
    x = video.float() + (soft - video.float()) * r() * (r() < .6)
    return (x * (1 + .1 * (r() - .5)) + .1 * (r() - .5) + torch.randn_like(x) * .06 * r()).to(video.dtype)


def loss_of(logits, wanted):
    return sum(F.cross_entropy(logits[k], wanted[k], ignore_index=-1) for k in HEADS)


def train(out, seconds, steps=None):
    batch = 96 if common.CUDA else 4
    net = Detector().to(common.DEVICE).to(memory_format=torch.channels_last)
    weights = flat.Flat(net, lambda name, p: name.startswith("body") and p.dim() == 4)
    lr, stats = torch.zeros((), device=common.DEVICE), torch.zeros(2, device=common.DEVICE)
    video, wanted = examples(batch)
    device = "cuda" if common.CUDA else "cpu"

    def step():
        with torch.autocast(device, torch.bfloat16, enabled=common.CUDA, cache_enabled=False):
            logits = net(roughen(video))
        loss = loss_of(logits, wanted)
        loss.backward()
        norm = weights.step(2e-3 * lr, 1.5e-3 * lr, decay=.02)
        stats.copy_(torch.stack([loss.detach(), norm]))

    run = common.graph(step)
    clock, share, n = common.Clock(seconds, steps=steps), 0., 0
    while share < 1:
        fresh, answers = examples(batch * 8)
        for i in range(8):
            part = slice(i * batch, (i + 1) * batch)
            video.copy_(fresh[part])
            for k in wanted:
                wanted[k].copy_(answers[k][part])
            lr.fill_(common.ramp(n, share, 100, .3))
            run()
            n += 1
        share = clock.read()
        if n % 1000 == 0 or steps:
            common.log(f"detector: step {n} loss {stats[0].item():.3f} norm {stats[1].item():.2f}")
    net.eval()
    common.save(f"{out}/detector", net.state_dict())
    hits = {k: [0, 0] for k in HEADS}
    for _ in range(8 if common.CUDA else 1):
        video, wanted = examples(batch)
        for k, (good, all_) in score(net, video, wanted).items():
            hits[k] = [hits[k][0] + good, hits[k][1] + all_]
    common.log(f"detector: {n} steps; on drawn clips:", {k: round(g / max(a, 1), 3) for k, (g, a) in hits.items()})


@torch.no_grad()
def score(net, video, wanted):
    """For every head (right, judged)."""
    device = "cuda" if common.CUDA else "cpu"
    with torch.autocast(device, torch.bfloat16, enabled=common.CUDA):
        logits = net(video.to(common.DTYPE))
    out = {}
    for k in HEADS:
        judged = wanted[k] >= 0
        out[k] = (((logits[k].argmax(1) == wanted[k]) & judged).sum().item(), judged.sum().item())
    return out


def load(folder):
    net = common.load_into(Detector(), common.load(f"{folder}/detector"), "cpu")
    return net.to(common.DEVICE).to(memory_format=torch.channels_last).eval().requires_grad_(False)


if __name__ == "__main__":
    a = argparse.ArgumentParser()
    a.add_argument("--out", required=True)
    a.add_argument("--seconds", type=float, default=150)
    a.add_argument("--steps", type=int)
    a = a.parse_args()
    common.setup(99)
    train(a.out, a.seconds, a.steps)
