"""Stage 3: few-step sharpness by distribution matching (DMD), in the same parallel rows.

The student starts as the base model. For every noisy row it predicts the clean latents from one of the sampler's
levels, reached through its own earlier prediction; clean rows are partly its own predictions too, so that it learns
to live with what it makes. A frozen base model (with guidance) and a critic trained on the student's output say, at
random noise levels, which way real data and the student's data lie; the student moves by the difference.

    python3 -m tools.train.train_dmd --state DIR --out DIR --tokenizer spiece.model --seconds 200
"""
import argparse
import copy
import os

import torch

from . import captions, common, data, dit, flat, layout, model, rollout, tokenizer, train_dit
from .train_dit import row

EMA = .99
CRITIC_FIRST = 40  # updates of the critic before the student moves
SNAPSHOTS = (.4, .7, 1.)


def partners(names, device):
    """For each row the noisy row of the same slot (itself if there is none)."""
    table = []
    for n in names:
        p = layout.PATTERNS[n]
        noisy = {s: i for i, (s, is_noisy) in enumerate(zip(p.slot, p.noisy)) if is_noisy}
        table.append([noisy.get(s, i) for i, s in enumerate(p.slot)])
    return torch.tensor(table, device=device)


class Step:
    def __init__(self, text, teacher, lay, names, source, guidance, object_weight):
        self.text, self.teacher, self.lay, self.object_weight = text, teacher, lay, object_weight
        self.student, self.critic = copy.deepcopy(teacher), copy.deepcopy(teacher)
        self.student.requires_grad_(True)
        self.critic.requires_grad_(True)
        self.ws = flat.Flat(self.student, betas=(0., .95))
        self.wc = flat.Flat(self.critic, betas=(0., .95))
        self.twin, self.ema = self.ws.copy_of(self.student)
        self.block = common.compiled(layout.block)
        self.targets = [t.clone() for t in source.chunk()]
        self.levels = torch.tensor(rollout.sigmas([1000, 750, 500, 250], 5.), device=common.DEVICE)
        self.partner = partners(names, common.DEVICE)
        self.strength = guidance * (1. + (lay.weight > 1))
        self.lr = torch.zeros((), device=common.DEVICE)
        self.moving = torch.zeros((), device=common.DEVICE)
        self.decay = torch.zeros((), device=common.DEVICE)
        self.stats = torch.zeros(5, device=common.DEVICE)
        B = len(names)
        self.x0 = torch.zeros(B, layout.ROWS, 3, 16, 14, 24, device=common.DEVICE)
        self.past = torch.zeros_like(self.x0)
        self.raw = torch.zeros(B, 2, captions.TEXT_LEN, text.config["dim"], device=common.DEVICE)
        self.student_grad = common.graph(self._student)
        self.student_update = common.graph(self._student_update)
        self.critic_grad = common.graph(self._critic)
        self.critic_update = common.graph(self._critic_update)

    def velocity(self, net, layers, past, x, sigma, raw):
        """Velocity of noisy rows x at sigma; clean rows are `past`."""
        lay = self.lay
        rows = torch.where(row(lay.noisy), x, past)
        return layout.forward(net, layers, rows, 1000 * sigma * lay.noisy, net.embed_text(raw.to(common.DTYPE)), lay,
                              self.block, common.DTYPE)

    def noised(self, x, sigma):
        return (1 - row(sigma)) * x + row(sigma) * torch.randn_like(x)

    def weighted(self, error):
        """Row-weighted mean of a squared error, heavier where objects are."""
        per_row = (error * (1 + self.object_weight * self.touched)).mean((2, 3, 4, 5))
        return (per_row * self.lay.weight).sum() / self.lay.weight.sum()

    def _student(self):
        z, touched, ids = self.targets
        lay, (B, R) = self.lay, self.lay.noisy.shape
        rand = lambda: torch.rand(B, R, device=z.device)
        student, teacher, critic = self.student.layers(), self.teacher.layers(), self.critic.layers()
        real, self.touched = lay.gather(z).float(), lay.gather(touched).float()
        with torch.no_grad():
            self.raw.copy_(self.text(ids.flatten(0, 1)).view_as(self.raw))
            silent = torch.zeros_like(ids)
            silent[..., 0] = captions.EOS
            empty = self.text(silent[:1].flatten(0, 1)).view(1, 2, *self.raw.shape[2:]).expand_as(self.raw)
            # 1. An own prediction from real data at some level: the way to the next level, and a past.
            a = (rand() * 4).long().clamp(max=3)
            sa = self.levels[a]
            xa = self.noised(real, sa)
            own = xa - row(sa) * self.velocity(self.student, student, real, xa, sa, self.raw)
            mine = lay.gather(z).float()
            pick = self.partner[:, :, None, None, None, None].expand_as(own)
            theirs = torch.gather(own, 1, pick)
            usable = (torch.gather(a, 1, self.partner) >= 2) & (rand() < .9) & torch.gather(lay.noisy, 1, self.partner)
            self.past.copy_(torch.where(row(usable), theirs, mine))
            # 2. The level the student is trained at: the start, or a later one reached through its own prediction.
            later = torch.minimum(a + 1 + (rand() * (3 - a)).long(), torch.full_like(a, 3))
            b = torch.where(rand() < .25, torch.zeros_like(a), later)
            sb = self.levels[b]
            xb = self.noised(own, sb)
        x0 = xb - row(sb) * self.velocity(self.student, student, self.past, xb, sb, self.raw)
        with torch.no_grad():
            # 3. Which way real and made data lie from here, at a random noise level.
            t = rollout.warp(rand() * .96 + .02, 3.)
            xt = self.noised(x0, t)
            vr = self.velocity(self.teacher, teacher, self.past, xt, t, self.raw)
            vn = self.velocity(self.teacher, teacher, self.past, xt, t, empty)
            vr = vr + row(self.strength) * (vr - vn)
            vf = self.velocity(self.critic, critic, self.past, xt, t, self.raw)
            scale = (x0 - (xt - row(t) * vr)).abs().mean((2, 3, 4, 5)).clamp(min=1e-3)
            push = row(t / scale) * (vr - vf)  # critic's clean minus teacher's clean, normalised
            goal = x0 - push
            self.x0.copy_(x0)
        loss = self.weighted(.5 * (x0 - goal).pow(2))
        loss.backward()
        self.stats[0].copy_(loss.detach())
        self.stats[1].copy_(scale.mean())

    def _student_update(self):
        self.stats[2].copy_(self.ws.step(0. * self.lr, 2e-4 * self.lr * self.moving))
        self.ema.lerp_(self.ws.value, 1 - self.decay)

    def _critic(self):
        rand = lambda: torch.rand(self.lay.noisy.shape, device=self.x0.device)
        t, noise = rollout.warp(rand(), 3.), torch.randn_like(self.x0)
        x = (1 - row(t)) * self.x0 + row(t) * noise
        v = self.velocity(self.critic, self.critic.layers(), self.past, x, t, self.raw)
        loss = self.weighted((v - (noise - self.x0)).pow(2))
        loss.backward()
        self.stats[3].copy_(loss.detach())

    def _critic_update(self):
        self.stats[4].copy_(self.wc.step(0. * self.lr, 4e-4 * self.lr))


def main():
    p = argparse.ArgumentParser()
    for name in ("--state", "--out", "--tokenizer"):
        p.add_argument(name, required=True)
    p.add_argument("--seconds", type=float, required=True)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--pool", type=int, default=60)
    p.add_argument("--guidance", type=float, default=.5, help="weight of (prompt - no prompt) added to the score, twice that where hard")
    p.add_argument("--object-weight", type=float, default=train_dit.OBJECT_WEIGHT)
    p.add_argument("--steps", type=int)
    a = p.parse_args()
    common.setup(555)
    base = model.new(tokenizer.load(a.tokenizer).get_piece_size())
    common.load_into(base, common.load(f"{a.state}/base"), "cpu")
    base = base.to(common.DEVICE).eval().requires_grad_(False)
    torch.manual_seed(2000 + common.RANK)
    _, source, names = train_dit.make_source(a, a.batch)
    lay = layout.Layout(names, base["dit"].config, common.DEVICE, flex=common.CUDA)
    step = Step(base["text"], base["dit"], lay, names, source, a.guidance, a.object_weight)
    common.log("dmd: captured")
    pool = data.Pool(source, a.pool)
    clock, share, n, history, snapshots = common.Clock(a.seconds, steps=a.steps), 0., 0, [], list(SNAPSHOTS)
    while share < 1:
        for i in range(10 if common.CUDA else 1):
            step.lr.fill_(common.ramp(n, share, 50, .6))
            step.moving.fill_(float(n >= CRITIC_FIRST or a.steps is not None))
            step.decay.fill_(min(EMA, (1 + n) / (10 + n)))
            pool.fill(step.targets)
            step.student_grad()
            common.share_gradients(step.ws.grad)
            step.student_update()
            step.critic_grad()
            common.share_gradients(step.wc.grad)
            step.critic_update()
            n += 1
            if n % 8 == 0:
                pool.refresh()
        share = clock.read()
        history.append(step.stats.clone())
        if n % 100 == 0 or a.steps:
            g, scale, gn, c, cn = torch.stack(history).mean(0).tolist()
            history = []
            common.log(f"dmd: step {n} share {share:.3f} student {g:.4f} (norm {gn:.2f}, |x0-real| {scale:.3f}) "
                       f"critic {c:.4f} (norm {cn:.2f})")
        while snapshots and share >= snapshots[0]:
            mark = snapshots.pop(0)
            if common.RANK == 0:
                name = "dmd" if mark == 1. else f"dmd{int(100 * mark)}"
                whole = {f"dit.{k}": v for k, v in step.twin.state_dict().items()}
                whole.update({f"text.{k}": v for k, v in base["text"].state_dict().items()})
                common.save(f"{a.out}/{name}", whole)
    common.log(f"dmd: saved after {n} steps")


if __name__ == "__main__":
    main()
