"""Checks that must hold before device time is spent: kernels, layout, tokenizer, graphs, and the speed of a step.

    python3 -m tools.train.selftest --tokenizer spiece.model [--speed]
"""
import argparse
import time

import torch
import torch.nn.functional as F

from . import captions, common, dit, flat, layout, model, render, rollout, tokenizer, vae, world


def check(name, error, bound):
    common.log(f"selftest: {name:44s} {error:.2e} (bound {bound:.0e})")
    if not error <= bound:
        raise SystemExit(f"selftest failed: {name}")


def relative(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def captions_match(path):
    """Ids put together from tables equal the tokenizer's ids of the text."""
    sp = tokenizer.load(path)
    caption = captions.Captioner(sp.encode, common.DEVICE)
    spec = world.sample_spec(2000, common.DEVICE)
    wrong = 0
    for ids in caption(spec).tolist():
        if captions.EOS not in ids:
            wrong += 1
            continue
        ids = ids[:ids.index(captions.EOS)]
        wrong += sp.encode(sp.decode(ids)) != ids
    check("captions unlike the tokenizer", wrong / 2000, 0)


def fused_norm():
    """The Triton kernel against plain PyTorch."""
    for c in (8, 96, 192):
        x = torch.randn(1000, c, device="cuda", requires_grad=True)
        g = torch.rand(c, device="cuda", requires_grad=True)
        dy = torch.randn_like(x)
        want = F.silu(vae.channel_norm(x, g))
        want_grad = torch.autograd.grad(want, (x, g), dy)
        out = vae.norm_silu(x, g)
        grad = torch.autograd.grad(out, (x, g), dy)
        check(f"norm_silu {c} forward, backward, gamma", max(relative(out, want), *map(relative, grad, want_grad)), 1e-5)


def renderer():
    """Frames are in range and the mask covers a sensible part of the picture."""
    line = world.still_timeline(world.sample_spec(64, common.DEVICE))
    video, cover = line.frames(torch.arange(12, device=common.DEVICE)[None].expand(64, -1))
    bad = (~torch.isfinite(video)).sum().item() + (video.abs() > 1).sum().item()
    check("render: values out of range", bad, 0)
    share = (cover > 0).float().mean().item()
    check("render: share of object pixels off .07", abs(share - .07), .05)


def small_dit():
    torch.manual_seed(0)
    m = dit.DiT(num_layers=2)
    for p in (m.head.head.weight, m.time_projection[1].weight):
        torch.nn.init.normal_(p, std=.05)
    return m.to(common.DEVICE)


@torch.no_grad()
def layout_is_streaming(flex):
    """Every noisy row of every pattern equals the streaming sampler's pass with the same past."""
    m, names = small_dit(), list(layout.PATTERNS)
    lay = layout.Layout(names, m.config, common.DEVICE, flex=flex)
    dtype = torch.bfloat16 if flex else torch.float32
    z = torch.randn(len(names), layout.SLOTS, 3, 16, 14, 24, device=common.DEVICE)
    text = torch.randn(len(names), 2, captions.TEXT_LEN, m.config["text_dim"], device=common.DEVICE)
    x, noisy = lay.gather(z), lay.noisy[:, :, None, None, None, None]
    x = torch.where(noisy, torch.randn_like(x), x)
    t = torch.rand(len(names), layout.ROWS, device=common.DEVICE) * 1000 * lay.noisy
    block = common.compiled(layout.block) if flex else layout.block
    out = layout.forward(m, m.layers(), x, t, m.embed_text(text.to(dtype)), lay, block, dtype)
    for i, name in enumerate(names):
        pattern, worst = layout.PATTERNS[name], 0.
        switch = dict(keep=4, scene=4, early1=1, early2=2, early3=3).get(name, 0)
        old, new = text[i:i + 1, int(pattern.new[0])], text[i:i + 1, 1]
        for r in range(layout.ROWS):
            if not pattern.noisy[r]:
                continue
            stream = rollout.Stream(m, old, dtype=dtype)
            for b in range(pattern.slot[r] + 1):
                if name == "far_old" and b == 1:
                    stream.set_context(new)
                if switch and b == switch:
                    if name in ("keep", "scene"):
                        stream.frames = 100  # a stream longer than the window
                    stream.switch(new, scene=name == "scene")
                stream.make_room(3)
                if b < pattern.slot[r]:
                    stream.append(z[i:i + 1, b])
            want = stream.forward(x[i:i + 1, r], t[i, r].item(), stream.cached())
            worst = max(worst, relative(out[i:i + 1, r], want))
        check(f"layout {'flex' if flex else 'dense'} {name}", worst, 6e-2 if flex else 2e-5)


def speed(tokens):
    """Time of one training step on random latents, forward and backward and update, as a graph."""
    net = model.new(tokens).to(common.DEVICE)
    weights = flat.Flat(net, model.muon)
    names = layout.assignment(64)
    lay = layout.Layout(names, net["dit"].config, common.DEVICE)
    block, layers = common.compiled(layout.block), net["dit"].layers()
    z = torch.randn(64, layout.ROWS, 3, 16, 14, 24, device=common.DEVICE)
    ids = torch.randint(1, tokens, (64, 2, captions.TEXT_LEN), device=common.DEVICE)
    lr = torch.zeros((), device=common.DEVICE)

    def backward():
        v = layout.forward(net["dit"], layers, z, 500. * lay.noisy, model.contexts(net, ids), lay, block, common.DTYPE)
        (v - z).pow(2).mean().backward()

    t = time.time()
    replay = common.graph(backward)
    update = common.graph(lambda: weights.step(lr, lr))
    common.log(f"selftest: compile and capture {time.time() - t:.1f} s")
    for name, run in (("backward", replay), ("update", update)):
        run()
        torch.cuda.synchronize()
        t = time.time()
        for _ in range(20):
            run()
        torch.cuda.synchronize()
        common.log(f"selftest: {name} {(time.time() - t) * 50:.2f} ms")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as prof:
        replay()
        torch.cuda.synchronize()
    common.log(prof.key_averages().table(sort_by="cuda_time_total", row_limit=22, max_name_column_width=70)[:7000])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--speed", action="store_true")
    a = p.parse_args()
    common.setup(5)
    captions_match(a.tokenizer)
    renderer()
    if common.CUDA:
        fused_norm()
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    layout_is_streaming(False)
    if common.CUDA:
        layout_is_streaming(True)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        if a.speed:
            speed(tokenizer.load(a.tokenizer).get_piece_size())
    common.log("selftest: passed")


if __name__ == "__main__":
    main()
