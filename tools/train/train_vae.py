"""Stage 1: the VAE. Crops first (more variety a second), then full frames with the latent scale frozen.

    python3 -m tools.train.train_vae --out DIR --seconds 360
"""
import argparse
import math

import torch
import torch.nn as nn

from . import common, flat, sheets, vae, world

CROP = (56, 96)


def clips(batch, latents, crop):
    """Video [B, T, 3, h, w], T = 1 + 4 (latents - 1), and object cover [B, T, 1, h, w]; some clips hold a change."""
    device = common.DEVICE
    spec = world.sample_spec(batch, device, held_out=True)
    new = world.change(spec, held_out=True)
    start = torch.randint(0, 2400, (batch,), device=device) * (torch.rand(batch, device=device) > .15)
    length = 1 + 4 * (latents - 1)
    switch = start + torch.randint(-6, length, (batch,), device=device)
    switch = torch.where(torch.rand(batch, device=device) < .2, switch.clamp(min=1), torch.full_like(start, world.NEVER))
    line = world.Timeline([spec, new, new], [switch, torch.full_like(start, world.NEVER)])
    p = line.params(start[:, None] + torch.arange(length, device=device))
    if not crop:
        video, cover = world.render.draw(p, world.HEIGHT, world.WIDTH)
    else:  # half of the crops follow the object
        h, w = crop
        p = p.view(batch, length, -1)
        anywhere = torch.rand(batch, 2, device=device) * torch.tensor([world.WIDTH - w, world.HEIGHT - h], device=device)
        around = p[:, length // 2, 20:22] - torch.tensor([w / 2, h / 2], device=device) + 20 * torch.randn(batch, 2, device=device)
        corner = torch.where(torch.rand(batch, 1, device=device) < .5, anywhere, around).round()
        corner = torch.minimum(corner.clamp(min=0), torch.tensor([world.WIDTH - w, world.HEIGHT - h], device=device))
        p[..., 40:42] = corner[:, None]
        video, cover = world.render.draw(p.view(batch * length, -1), h, w)
    return video.view(batch, length, *video.shape[1:]), cover.view(batch, length, 1, *cover.shape[1:])


def with_head(video):
    """The encoder wants frame 0 four times."""
    return torch.cat([video[:, :1].expand(-1, 3, -1, -1, -1), video], 1)


def psnr(mse):
    return 10 * math.log10(4 / max(mse, 1e-9))


class Phase:
    """One batch geometry with its captured step."""

    def __init__(self, model, weights, batch, latents, crop):
        self.geometry = (batch, latents, crop)
        self.model, self.weights = model, weights
        self.lr = torch.zeros((), device=common.DEVICE)
        self.stats = torch.zeros(3, device=common.DEVICE)
        self.video, self.cover = clips(*self.geometry)
        self.run = common.graph(self.step)

    def step(self):
        video, batch = self.video, self.geometry[0]
        z = self.model["encoder"](with_head(video).to(common.DTYPE))
        noisy = z + torch.randn_like(z) * (.12 * torch.rand(batch, 1, 1, 1, 1, device=z.device))
        d = self.model["decoder"](noisy.to(common.DTYPE)).float() - video.float()
        weight = 1 + 2 * (self.cover.float() / 255)
        dx, dy = d[..., 1:] - d[..., :-1], d[..., 1:, :] - d[..., :-1, :]
        loss = (weight * (d.abs() + 1.5 * d * d)).mean() + .5 * (dx.abs().mean() + dy.abs().mean())
        loss.backward()
        norm = self.weights.step(3e-3 * self.lr, 2e-3 * self.lr, decay=0.)
        self.stats.copy_(torch.stack([loss.detach(), (d * d).mean().detach(), norm]))

    def train(self, steps):
        batch, latents, crop = self.geometry
        video, cover = clips(batch * steps, latents, crop)
        for a, b in zip(video.split(batch), cover.split(batch)):
            self.video.copy_(a)
            self.cover.copy_(b)
            self.run()


@torch.no_grad()
def measure(model, out):
    """Latent statistics and PSNR on full frames, and a sheet of pairs."""
    model.eval()
    total, square, n, errors, inside = 0., 0., 0, [], []
    for i in range(8 if common.CUDA else 1):
        video, cover = clips(16 if common.CUDA else 2, 6, None)
        z = model["encoder"](with_head(video).to(common.DTYPE))
        total, square = total + z.sum((0, 1, 3, 4)), square + (z * z).sum((0, 1, 3, 4))
        n += z.numel() // 16
        decoded = model["decoder"](z.to(common.DTYPE)).float().clamp(-1, 1)
        d = (decoded - video.float()).pow(2)
        errors += d.mean((1, 2, 3, 4)).tolist()
        hit = (cover > 0).float()
        inside.append(((d * hit).sum() / (hit.sum() * 3 + 1)).item())
    mean = total / n
    std = (square / n - mean * mean).sqrt()
    common.log(f"vae: PSNR {psnr(sum(errors) / len(errors)):.2f} dB pooled, "
               f"{sum(map(psnr, errors)) / len(errors):.2f} mean of clips, {psnr(max(errors)):.2f} worst clip, "
               f"{psnr(sum(inside) / len(inside)):.2f} on objects; latent std {std.min():.3f}..{std.max():.3f}")
    sheets.save(f"{out}/vae.png", [[video[i, 8].float(), decoded[i, 8], video[i, 20].float(), decoded[i, 20]]
                                   for i in range(min(12, len(video)))])
    return mean, std


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--out", required=True)
    a.add_argument("--seconds", type=float, default=360)
    a.add_argument("--steps", type=int, help="stop after so many rounds (tests)")
    a = a.parse_args()
    common.setup(1234)
    model = nn.ModuleDict(dict(encoder=vae.Encoder(), decoder=vae.Decoder())).to(common.DEVICE)
    muon = lambda name, p: p.dim() >= 2 and "gamma" not in name and name != "decoder.decoder.head.2.weight"
    weights = flat.Flat(model, muon)
    clock, share, step, phase, mark = common.Clock(a.seconds, steps=a.steps), 0., 0, None, 0
    big = common.CUDA
    while share < 1:
        crops = share < .62
        if phase is None or crops != (phase.geometry[2] is not None):
            model.train()
            model["encoder"].whiten.train(crops)
            phase = Phase(model, weights, *((24 if big else 2, 4, CROP) if crops else (4 if big else 1, 7, None)))
            common.log(f"vae: phase {'crops' if crops else 'full'} captured at step {step}")
        phase.lr.fill_(common.ramp(step, share, 50, .45))
        rounds = 16 if big else 2
        phase.train(rounds)
        step += rounds
        share = clock.read()
        if step - mark >= 1000 or a.steps:
            mark = step
            loss, mse, norm = phase.stats.tolist()
            common.log(f"vae: step {step} share {share:.2f} loss {loss:.4f} psnr {psnr(mse):.2f} norm {norm:.2f}")
    mean, std = measure(model, a.out)
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    state["encoder.whiten.num_batches_tracked"] = torch.zeros(1, dtype=torch.long)
    common.save(f"{a.out}/vae", dict(state, mean=mean, std=std))
    common.log(f"vae: saved after {step} steps")


if __name__ == "__main__":
    main()
