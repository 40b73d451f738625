"""Stage 2: the base transformer by flow matching on the rows of layout.py. Can be stopped and resumed.

    python3 -m tools.train.train_dit --state DIR --out DIR --tokenizer spiece.model --until 0.9 --total 600

--total is the whole budget in seconds, over all calls; --until is the share of it at which this call stops. Momentum
and exact weights for resuming on the same machine go to --scratch; --out gets the averaged weights in F16, from which a
later machine goes on with --start.
"""
import argparse
import os

import torch

from . import captions, common, data, flat, layout, model, rollout, tokenizer, vae_io

OBJECT_WEIGHT = 4.
EMA = .9985


def row(t):
    return t[:, :, None, None, None, None]


class Step:
    def __init__(self, net, weights, lay, source, object_weight):
        self.net, self.weights, self.lay, self.object_weight = net, weights, lay, object_weight
        self.layers = net["dit"].layers()
        self.block = common.compiled(layout.block)
        self.targets = [t.clone() for t in source.chunk()]
        self.lr = torch.zeros((), device=common.DEVICE)
        self.stats = torch.zeros(4, device=common.DEVICE)
        self.twin, self.ema = weights.copy_of(net)
        self.decay = torch.zeros((), device=common.DEVICE)
        self.backward = common.graph(self._backward)
        self.update = common.graph(self._update)

    def _backward(self):
        z, touched, ids = self.targets
        lay, B = self.lay, len(z)
        rand = lambda: torch.rand(B, layout.ROWS, device=z.device)
        x1, touched = lay.gather(z).float(), lay.gather(touched).float()
        context = model.contexts(self.net, model.silence(ids, .1))
        u = rand()
        sigma = torch.where(rand() < .5, rollout.warp(u, 5.), rollout.warp(u, 3.))
        sigma = torch.where(rand() < .05, torch.ones_like(u), sigma)
        grain = .2 * rand() * (rand() < .5)  # clean rows are never quite clean when the model made them itself
        noise = torch.randn_like(x1)
        s = row(torch.where(lay.noisy, sigma, grain))
        keep = torch.where(row(lay.noisy), 1 - s, torch.ones_like(s))
        v = layout.forward(self.net["dit"], self.layers, keep * x1 + s * noise, 1000 * sigma * lay.noisy, context, lay,
                           self.block, common.DTYPE)
        error = (v - (noise - x1)).pow(2)
        plain = error.mean((2, 3, 4, 5))
        weighted = (error * (1 + self.object_weight * touched)).mean((2, 3, 4, 5))
        loss = (weighted * lay.weight).sum() / lay.weight.sum()
        loss.backward()
        first = (lay.slot == 0) & lay.noisy
        self.stats[:3].copy_(torch.stack([loss.detach(), (plain * first).sum() / first.sum().clamp(min=1),
                                          (plain * lay.noisy).sum() / lay.noisy.sum()]).detach())

    def _update(self):
        norm = self.weights.step(2.5e-3 * self.lr, 1.2e-3 * self.lr)
        self.ema.lerp_(self.weights.value, 1 - self.decay)
        self.stats[3:].copy_(norm[None])


def make_source(a, batch):
    vae = vae_io.Frozen(a.state)
    captioner = captions.Captioner(tokenizer.load(a.tokenizer).encode, common.DEVICE)
    names = layout.assignment(batch)
    return vae, data.Source(vae.encode, captioner, names, common.DEVICE), names


def save(a, weights, twin, ema, share, step):
    if common.RANK:
        return
    meta = dict(share=torch.tensor([float(share)]), step=torch.tensor([step]))
    common.save(f"{a.out}/base", twin.state_dict())
    torch.save(dict(weights.state(), ema=ema, **meta), f"{a.scratch}/base.pt")


def resume(a, weights, ema):
    """Exact state from --scratch, or else from the averaged weights in --state, which main has loaded, at share
    --start: momentum is lost, so the learning rate warms up again. Returns (share, step)."""
    exact = f"{a.scratch}/base.pt"
    if os.path.exists(exact):
        s = torch.load(exact, map_location=common.DEVICE)
        weights.load({k: s[k] for k in ("value", "momentum", "first", "second", "steps")})
        ema.copy_(s["ema"])
        return s["share"].item(), int(s["step"])
    return (a.start, 1) if a.start else (0., 0)


def main():
    p = argparse.ArgumentParser()
    for name in ("--state", "--out", "--tokenizer"):
        p.add_argument(name, required=True)
    p.add_argument("--scratch", default="/tmp/kinetype-train")
    p.add_argument("--total", type=float, required=True)
    p.add_argument("--until", type=float, default=1.)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--pool", type=int, default=160)
    p.add_argument("--hold", type=float, default=.5, help="share of the budget before the learning rate decays")
    p.add_argument("--lr", type=float, default=1.)
    p.add_argument("--object-weight", type=float, default=OBJECT_WEIGHT)
    p.add_argument("--start", type=float, default=0., help="go on from the state's base model at this share")
    p.add_argument("--steps", type=int)
    a = p.parse_args()
    common.setup(4321)
    os.makedirs(a.scratch, exist_ok=True)
    vocab = tokenizer.load(a.tokenizer).get_piece_size()
    net = model.new(vocab)
    if a.start:
        common.load_into(net, common.load(f"{a.state}/base"), "cpu")
    net = net.to(common.DEVICE)
    weights = flat.Flat(net, model.muon)
    if common.RANKS > 1:
        torch.distributed.broadcast(weights.value, 0)
    torch.manual_seed(1000 + common.RANK)
    _, source, names = make_source(a, a.batch)
    lay = layout.Layout(names, net["dit"].config, common.DEVICE, flex=common.CUDA)
    step = Step(net, weights, lay, source, a.object_weight)
    common.log(f"dit: {len(weights.value) / 1e6:.2f} M parameters, captured")
    done, n = resume(a, weights, step.ema)
    if n and not os.path.exists(f"{a.scratch}/base.pt"):
        step.ema.copy_(weights.value)
    pool = data.Pool(source, a.pool)
    clock = common.Clock(a.total, done * a.total, a.steps)
    share, begin, n0, history = done, None, n, []
    common.log(f"dit: pool of {a.pool * a.batch} ready, starting at step {n}, share {share:.3f}")
    while share < a.until:
        for i in range(20 if common.CUDA else 2):
            step.lr.fill_(a.lr * common.ramp(n, share, 150, a.hold))
            step.decay.fill_(min(EMA, (1 + n) / (10 + n)))
            pool.fill(step.targets)
            step.backward()
            common.share_gradients(weights.grad)
            step.update()
            n += 1
            if n % 8 == 0:
                pool.refresh()
        share = clock.read()
        history.append(step.stats.clone())
        if n % 500 == 0 or a.steps:
            loss, first, later, norm = torch.stack(history).mean(0).tolist()
            history = []
            rate = (n - n0) / max(1e-9, clock.seconds * (share - done)) if not a.steps else 0
            common.log(f"dit: step {n} share {share:.3f} loss {loss:.4f} first {first:.4f} all {later:.4f} "
                       f"norm {norm:.2f} {rate:.1f} it/s")
    save(a, weights, step.twin, step.ema, share, n)
    common.log(f"dit: saved at step {n}, share {share:.3f}"
               + (f", {torch.cuda.max_memory_allocated() / 2 ** 30:.1f} GiB" if common.CUDA else ""))


if __name__ == "__main__":
    main()
