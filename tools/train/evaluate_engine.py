"""Scores what the engine itself draws: prompts that training never saw go through `kinetype generate`, and the detector
looks at the frames of the files it writes. Needs PyTorch on a CPU, no GPU.

    python3 -m tools.train.evaluate_engine --binary build/cli/kinetype --state DIR --tokenizer models/demo/spiece.model \\
        --model models/demo --out DIR --case steps2 --prompts 48

Cases: steps4, steps2, steps1 (3 s, then 1.5 s after a prompt change at 3.6 s, sink kept and re-sunk), minute (60 s of
one stream), long (10 min of one stream, looked at every minute).
"""
import argparse
import json
import os
import subprocess

import numpy as np
import torch

from . import captions, common, detector, evaluate, sheets, tokenizer, world

FIRST = lambda block: 12 * block - 3


def rgb_of(i420):
    """RGB [..., 3, H, W] in [-1, 1] of I420 pictures [..., bytes] (BT.709, limited range)."""
    w, h = world.WIDTH, world.HEIGHT
    data = torch.as_tensor(np.array(i420), device=common.DEVICE).float()
    y, u, v = data.split([w * h, w * h // 4, w * h // 4], -1)
    y = (y.unflatten(-1, (h, w)) - 16) / 219
    u, v = (((c - 128) / 224).unflatten(-1, (h // 2, w // 2)).repeat_interleave(2, -2).repeat_interleave(2, -1) for c in (u, v))
    return torch.stack([y + 1.5748 * v, y - .18732 * u - .46812 * v, y + 1.8556 * u], -3).clamp(0, 1) * 2 - 1


def frames_of(path, wanted):
    """RGB [n, 3, H, W] in [-1, 1] of the wanted frame numbers of an I420 .y4m file."""
    size = world.WIDTH * world.HEIGHT * 3 // 2
    out = []
    with open(path, "rb") as f:
        start = len(f.readline())
        for n in wanted:
            f.seek(start + n * (size + len(b"FRAME\n")))
            if f.readline() != b"FRAME\n":
                raise ValueError(f"{path}: frame {n} is missing")
            out.append(rgb_of(np.frombuffer(f.read(size), np.uint8)))
    return torch.stack(out)


def generate(a, prompt, seconds, seed, steps=0, switch=None, scene=False):
    path = os.path.join(a.out, f"{a.case}-{os.getpid()}.y4m")
    command = [a.binary, "generate", "--model", a.model, "--prompt", prompt, "--seconds", str(seconds), "--seed",
               str(seed), "--steps", str(steps), "--threads", str(a.threads), "--quiet", "-o", path]
    if switch:
        command += ["--switch", f"{FIRST(evaluate.SWITCH) / world.FPS}:{switch}"] + (["--scene"] if scene else [])
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def block(path, number):
    return frames_of(path, range(FIRST(number), FIRST(number) + 12))


def summary(net, clips, spec):
    """Share of right answers per head over clips [n, 12, 3, H, W] and their specs."""
    return {k: (good / judged if judged else None) for k, (good, judged) in
            detector.score(net, torch.stack(clips), detector.targets(spec)).items()}


def short(a, net, sp, spec, new, ids, new_ids, steps):
    text = lambda row: sp.decode([i for i in row.tolist() if i > captions.EOS])
    clips, strips = {"3 s": [], "after switch, sink kept": [], "after switch, re-sunk": []}, []
    for i in range(a.prompts):
        for scene in (False, True):
            path = generate(a, text(ids[i]), 6, 100 + i, steps, text(new_ids[i]), scene)
            if not scene:
                clips["3 s"].append(block(path, evaluate.BLOCK_3S))
                if i % max(1, a.prompts // 10) == 0 and len(strips) < 10:
                    strips.append(list(frames_of(path, (0, 4, 10, 22, 34, 52, 57, 62, 68, 80, 92))))
                    print(f"row {len(strips)}: {text(ids[i])!r} -> {text(new_ids[i])!r}", flush=True)
            clips["after switch, re-sunk" if scene else "after switch, sink kept"].append(block(path, evaluate.BLOCK_AFTER))
        if i % 8 == 7 or i + 1 == a.prompts:
            seen = lambda s: {k: v[:i + 1] for k, v in s.items()}
            out = {k: summary(net, v, seen(spec if k == "3 s" else new)) for k, v in clips.items()}
            report(a, i + 1, out)
            sheets.save(f"{a.out}/{a.case}.png", strips, .66)


def long(a, net, sp, spec, ids, blocks):
    text = lambda row: sp.decode([i for i in row.tolist() if i > captions.EOS])
    clips, strips = {b: [] for b in blocks}, []
    for i in range(a.prompts):
        path = generate(a, text(ids[i]), (FIRST(blocks[-1]) + 12) / world.FPS, 500 + i)
        for b in blocks:
            clips[b].append(block(path, b))
        strips.append([clips[b][-1][6] for b in blocks])
        print(f"row {i + 1}: {text(ids[i])!r}", flush=True)
        report(a, i + 1, {f"block {b}": summary(net, clips[b], {k: v[:i + 1] for k, v in spec.items()}) for b in blocks})
        sheets.save(f"{a.out}/{a.case}.png", strips[:12], .66)


def report(a, count, scores):
    with open(f"{a.out}/engine-{a.case}.json", "w") as f:
        json.dump(dict(case=a.case, prompts=count, scores=scores), f, indent=1)
    for k, s in scores.items():
        print(f"{a.case} n={count} {k}: " + " ".join(f"{h} {100 * x:.0f}" for h, x in s.items() if x is not None), flush=True)


@torch.no_grad()
def main():
    p = argparse.ArgumentParser()
    for name in ("--binary", "--state", "--model", "--tokenizer", "--out", "--case"):
        p.add_argument(name, required=True)
    p.add_argument("--prompts", type=int, default=48)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    torch.manual_seed(31337)
    torch.set_num_threads(1)
    sp, net = tokenizer.load(a.tokenizer), detector.load(a.state)
    caption = captions.Captioner(sp.encode, common.DEVICE)
    spec = evaluate.unseen(4 * ((a.prompts + 3) // 4), common.DEVICE)
    mix = torch.randperm(len(spec["shape"]))[:a.prompts]
    spec = {k: v[mix] for k, v in spec.items()}
    new = evaluate.follow_up(spec)
    ids, new_ids = caption(spec, plain=True), caption(new, plain=True)
    if a.case.startswith("steps"):
        short(a, net, sp, spec, new, ids, new_ids, int(a.case[5:]))
    else:
        long(a, net, sp, spec, ids, [1, 4, 20, 40, 80] if a.case == "minute" else [1, 80, 160, 240, 320, 400, 560, 800])
    os.remove(os.path.join(a.out, f"{a.case}-{os.getpid()}.y4m"))


if __name__ == "__main__":
    main()
