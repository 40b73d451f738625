"""Scenes of the demo world: what is in them, how it moves, and how it changes when the prompt does.

A *spec* is a dict of index tensors [B] (shape, colour, size, speed, motion, background, light, weather). A *timeline*
is up to three specs in a row with the frames where the second and third take over. At a change the scene goes on: the
object keeps its place and moves on from there, while its shape, colour and size and the background turn into the new
ones within one block (12 frames). Objects stay on screen, except that steady motion to one side leaves the picture
and comes back on the other.
"""
import math

import torch

from . import captions, render
from .captions import BACKGROUNDS, COLOURS, LIGHTS, MOTIONS, OUTDOOR, SHAPES, SIZES, SPEEDS, WEATHERS

WIDTH, HEIGHT, FPS = 192, 112, 16
BLOCK_FRAMES = 12
NEVER = 10 ** 7

RGB = [(.92, .10, .10), (1., .52, .04), (1., .90, .10), (.12, .72, .20), (.10, .86, .90), (.12, .28, .96),
       (.54, .14, .84), (1., .45, .74), (.98, .98, .98), (.05, .05, .05)]
RADII = [15., 20., 26.]
SPEED_FACTORS = [.6, 1., 1.4]
COUNTS = dict(shape=len(SHAPES), colour=len(COLOURS), size=len(SIZES), speed=len(SPEEDS), motion=len(MOTIONS),
              background=len(BACKGROUNDS), light=len(LIGHTS), weather=len(WEATHERS))
STILL, LEFT, RIGHT, UP, DOWN, BOUNCE, SPIN, CIRCLE, PULSE, SWAY = range(10)
MOTION_WEIGHTS = [.08, .13, .13, .12, .12, .10, .08, .08, .08, .08]


def draw_index(B, weights, device):
    return torch.multinomial(torch.tensor(weights, device=device), B, replacement=True)


def reserved(spec):
    """One combination of shape, colour, background and motion in 16 is kept from training, for evaluation."""
    return (spec["shape"] + 3 * spec["colour"] + 5 * spec["background"] + 7 * spec["motion"]) % 16 == 0


def held_out_pair(spec):
    table = torch.zeros(len(SHAPES), len(COLOURS), dtype=torch.bool, device=spec["shape"].device)
    for a, b in captions.HELD_OUT:
        table[a, b] = True
    return table[spec["shape"], spec["colour"]]


def lawful(spec, held_out=False):
    """Rules of the world: no light or weather indoors, still things have no speed, round things do not spin; and
    unless `held_out`, nothing that is kept from training."""
    s = dict(spec)
    round_ = (s["shape"] == SHAPES.index("ball")) | (s["shape"] == SHAPES.index("ring"))
    s["motion"] = s["motion"].masked_fill(round_ & (s["motion"] == SPIN), BOUNCE)
    s["speed"] = s["speed"].masked_fill(s["motion"] == STILL, 1)
    if not held_out:
        s["colour"] = torch.where(held_out_pair(s), (s["colour"] + 1) % len(COLOURS), s["colour"])
        s["background"] = torch.where(reserved(s), (s["background"] + 1) % len(BACKGROUNDS), s["background"])
    inside = s["background"] >= OUTDOOR
    s["light"] = s["light"].masked_fill(inside, 0)
    s["weather"] = s["weather"].masked_fill(inside, 0)
    return s


def sample_spec(B, device, held_out=False):
    any_ = lambda k: torch.randint(0, COUNTS[k], (B,), device=device)
    s = {k: any_(k) for k in ("shape", "colour", "size", "background")}
    s["speed"] = draw_index(B, [.2, .6, .2], device)
    s["motion"] = draw_index(B, MOTION_WEIGHTS, device)
    s["light"] = draw_index(B, [.5, .22, .28], device)
    s["weather"] = draw_index(B, [.6, .2, .2], device)
    return lawful(s, held_out)


def change(spec, held_out=False):
    """A follow-up of `spec`: some things new, at least one of them seen at once. A third of the time, everything."""
    B, device = len(spec["shape"]), spec["shape"].device
    new = sample_spec(B, device, held_out)
    all_ = torch.rand(B, device=device) < .33
    sure = torch.randint(0, 4, (B,), device=device)
    out = {}
    for i, k in enumerate(("shape", "colour", "background", "motion", "size", "light", "weather")):
        swap = all_ | (torch.rand(B, device=device) < .28) | (sure == i)
        out[k] = torch.where(swap, new[k], spec[k])
        if k == "motion":
            out["speed"] = torch.where(swap, new["speed"], spec["speed"])
    return lawful(out, held_out)


def differs(a, b):
    return {k: a[k] != b[k] for k in a}


def choose(mask, a, b):
    return {k: torch.where(mask, a[k], b[k]) for k in a}


class Timeline:
    """specs: three specs; starts: frames [B] where the second and third take over. A NEVER in the
    first means NEVER in the second."""

    def __init__(self, specs, starts):
        self.specs = specs
        self.B, self.device = len(specs[0]["shape"]), specs[0]["shape"].device
        self.starts = [torch.zeros_like(starts[0], dtype=torch.float32)] + [s.float() for s in starts]
        self.seeds = torch.rand(self.B, 4, device=self.device) * 6 + .5
        at = lambda values: torch.tensor(values, device=self.device)
        self.radius = [at(RADII)[s["size"]] for s in specs]
        self.factor = [at(SPEED_FACTORS)[s["speed"]] for s in specs]
        self.entry = [self._birth()]  # x, y, angle where each spec takes over
        for i in (1, 2):
            self.entry.append(self._state(i - 1, self.starts[i][:, None])[:3])

    def _room(self, i):
        """The box (x low, x high, y low, y high) that keeps the object and its motion on screen."""
        m, motion = self.radius[i] * 1.1 + 4, self.specs[i]["motion"]
        m = torch.where(motion == PULSE, m + .2 * self.radius[i], m)
        zero = torch.zeros_like(m)
        side = torch.where(motion == SWAY, zero + 28, torch.where(motion == CIRCLE, zero + 18, zero))
        up, down = torch.where(motion == BOUNCE, zero + 30, zero), torch.where(motion == CIRCLE, zero + 36, zero)
        x0, x1, y0, y1 = m + side, WIDTH - m - side, m + up, HEIGHT - m - down
        return x0, torch.maximum(x0, x1), y0, torch.maximum(y0, y1)

    def _birth(self):
        x0, x1, y0, y1 = self._room(0)
        motion = self.specs[0]["motion"]
        x0, x1 = torch.where(motion == LEFT, x0 + .6 * (x1 - x0), x0), torch.where(motion == RIGHT, x0 + .25 * (x1 - x0), x1)
        y0, y1 = torch.where(motion == UP, y0 + .7 * (y1 - y0), y0), torch.where(motion == DOWN, y0 + .3 * (y1 - y0), y1)
        u, v = torch.rand(2, self.B, device=self.device)
        return [(x0 + u * (x1 - x0))[:, None], (y0 + v * (y1 - y0))[:, None], torch.zeros(self.B, 1, device=self.device)]

    def _state(self, i, f):
        """x, y, angle and scale [B, T] of the object at frames f under spec i."""
        col = lambda t: t[:, None]
        motion, v = col(self.specs[i]["motion"]), col(self.factor[i])
        s = ((f - col(self.starts[i])) / FPS).clamp(min=0)
        zero = torch.zeros_like(s)
        is_ = lambda k, value: torch.where(motion == k, value, zero)
        x, y, angle = self.entry[i]
        x0, x1, y0, y1 = (col(t) for t in self._room(i))
        home_x = torch.where((motion == LEFT) | (motion == RIGHT), x, torch.minimum(torch.maximum(x, x0), x1))
        home_y = torch.where((motion == UP) | (motion == DOWN), y, torch.minimum(torch.maximum(y, y0), y1))
        ease = 1 - torch.exp(-s / .7)
        turn = 2 * math.pi * .35 * v * s
        x = x + (home_x - x) * ease + is_(RIGHT, 26 * v * s) - is_(LEFT, 26 * v * s) + is_(CIRCLE, 18 * turn.sin()) \
            + is_(SWAY, 28 * turn.sin())
        y = y + (home_y - y) * ease + is_(DOWN, 13 * v * s) - is_(UP, 13 * v * s) + is_(CIRCLE, 18 * (1 - turn.cos())) \
            - is_(BOUNCE, 30 * (math.pi * .75 * v * s).sin().abs())
        margin = col(self.radius[i]) * 1.25 + 3  # out of sight on one side before it comes in on the other
        x = torch.remainder(x + margin, WIDTH + 2 * margin) - margin
        y = torch.remainder(y + margin, HEIGHT + 2 * margin) - margin
        angle = (torch.remainder(angle + math.pi, 2 * math.pi) - math.pi) * torch.exp(-s / .4) \
            + is_(SPIN, 2 * math.pi * .3 * v * s)
        return [x, y, angle, 1 + is_(PULSE, .2 * (2 * math.pi * .8 * v * s).sin())]

    def params(self, f):
        """Renderer parameters [B * T, PARAMS] for frames f [B, T]."""
        f = f.float()
        B, T = f.shape
        turn = [torch.ones_like(f)]
        for start in self.starts[1:]:
            m = ((f - start[:, None] + 1) / BLOCK_FRAMES).clamp(0, 1)
            turn.append(m * m * (3 - 2 * m))

        def blend(values):
            out = values[0]
            for m, new in zip(turn[1:], values[1:]):
                out = out + (new - out) * (m[..., None] if new.dim() == 3 else m)
            return out

        def pick(values):
            out = values[0]
            for start, new in zip(self.starts[1:], values[1:]):
                out = torch.where(f >= start[:, None], new, out)
            return out

        one_hot = lambda k: blend([torch.nn.functional.one_hot(s[k], COUNTS[k]).float()[:, None].expand(B, T, -1)
                                   for s in self.specs])
        states = [self._state(i, f) for i in range(3)]
        x, y, angle = (pick([s[j] for s in states]) for j in range(3))
        radius = blend([r[:, None] * s[3] for r, s in zip(self.radius, states)])
        rgb = torch.tensor(RGB, device=self.device)
        p = torch.zeros(B, T, render.PARAMS, device=self.device)
        p[..., 0] = f / FPS
        p[..., 1:5] = self.seeds[:, None]
        p[..., 5:14], p[..., 14:17] = one_hot("background"), one_hot("light")
        p[..., 17:19] = one_hot("weather")[..., 1:]
        p[..., 20], p[..., 21], p[..., 22], p[..., 23], p[..., 24] = x, y, angle.cos(), angle.sin(), radius
        p[..., 25] = .06 + .84 * one_hot("colour")[..., COLOURS.index("black")]
        p[..., 26:29] = blend([rgb[s["colour"]][:, None].expand(B, T, 3) for s in self.specs])
        p[..., 29:37] = one_hot("shape")
        return p.view(B * T, -1)

    def frames(self, f):
        """Frames [B, T, 3, H, W] and object cover [B, T, H, W] (uint8)."""
        video, cover = render.draw(self.params(f), HEIGHT, WIDTH)
        return video.view(*f.shape, 3, HEIGHT, WIDTH), cover.view(*f.shape, HEIGHT, WIDTH)


def still_timeline(spec):
    never = torch.full_like(spec["shape"], NEVER)
    return Timeline([spec, spec, spec], [never, never])


def block_start(block):
    """First frame of a block; block 0 has 9 frames, later ones 12."""
    return (BLOCK_FRAMES * block - 3).clamp(min=0)


def latent_frames(latents):
    """Latent indices [B, n] -> the 4 frames behind each, [B, 4n]; latent 0 is frame 0 four times."""
    f = 4 * latents[..., None] - 3 + torch.arange(4, device=latents.device)
    return f.clamp(min=0).flatten(1)
