"""Does another device or precision draw what the reference draws? The same prompts and seeds on each, judged by the
detector, compared prompt by prompt. Prompts are those of evaluate.py, unseen by training. The pictures come from
`kinetype pictures`; nothing here needs a GPU, PyTorch alone does the judging (always in fp32).

    python3 -m tools.train.paired list  --tokenizer models/demo/spiece.model --prompts 1024 --takes takes.jsonl
    python3 -m tools.train.paired run   --binary build/cli/kinetype --takes takes.jsonl --out cpu.jsonl
    python3 -m tools.train.paired run   --binary build/cli/kinetype --takes takes.jsonl --out fp8.jsonl \\
        --flags "--device cuda --precision fp8 --workers 4" --chunk 1024
    python3 -m tools.train.paired table --takes takes.jsonl cpu.jsonl fp8.jsonl

`run` goes on where its file ends, and --first and --last let several machines share the work (join their files). Places:
3 s, and 1.5 s after a change of prompt at 3.6 s with the sink kept. A verdict is the class that each of the detector's
heads names.
"""
import argparse
import json
import os
import shlex
import subprocess

import numpy as np
import torch

from . import captions, common, detector, evaluate, tokenizer, world
from .evaluate_engine import FIRST, rgb_of

PLACES = {"3 s": evaluate.BLOCK_3S, "after switch": evaluate.BLOCK_AFTER}
FRAMES = ",".join(f"{FIRST(b)}-{FIRST(b) + 11}" for b in PLACES.values())
PICTURE = world.WIDTH * world.HEIGHT * 3 // 2
SHOWN = ["shape", "colour", "background", "direction", "motion", "weather", "light", "size"]


def make_list(a):
    torch.manual_seed(31337)
    sp = tokenizer.load(a.tokenizer)
    caption = captions.Captioner(sp.encode, "cpu")
    spec = evaluate.unseen(4 * ((a.prompts + 3) // 4), "cpu")
    mix = torch.randperm(len(spec["shape"]))[:a.prompts]
    spec = {k: v[mix] for k, v in spec.items()}
    new = evaluate.follow_up(spec)
    rows = [[[i for i in row if i != captions.PAD] for row in caption(s, plain=True).tolist()] for s in (spec, new)]
    text = lambda ids: sp.decode([i for i in ids if i > captions.EOS])
    with open(a.takes, "w") as f:
        for n, (ids, new_ids) in enumerate(zip(*rows)):
            line = {"seed": 100 + n, "prompt": ids, "switch": new_ids, "at": FIRST(evaluate.SWITCH), "transition": "cut",
                    "text": [text(ids), text(new_ids)]}
            for place, s in zip(PLACES, (spec, new)):
                line[place] = {k: int(v[n]) for k, v in detector.targets(s).items()}
            f.write(json.dumps(line) + "\n")


@torch.no_grad()
def verdicts(net, path, first):
    """One line a take of a file of pictures: what every head names at every place."""
    record = len(PLACES) * detector.FRAMES * PICTURE
    data = np.memmap(path, np.uint8, "r")
    if len(data) % record:
        raise ValueError(f"{path}: expected a multiple of {record} bytes, found {len(data)}")
    data, lines = data.reshape(-1, len(PLACES), detector.FRAMES, PICTURE), []
    for i in range(0, len(data), 32):
        part = rgb_of(data[i:i + 32])
        seen = {p: {k: v.argmax(1).tolist() for k, v in net(part[:, n]).items()} for n, p in enumerate(PLACES)}
        lines += [dict({p: {k: v[j] for k, v in seen[p].items()} for p in PLACES}, take=first + i + j)
                  for j in range(len(part))]
    return lines


def run(a):
    takes = sum(1 for _ in open(a.takes))
    last = min(a.last or takes, takes)
    done = a.first + (sum(1 for _ in open(a.out)) if os.path.exists(a.out) else 0)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_threads(1)
    net, path = detector.load(a.state), f"{a.out}.i420"
    while done < last:
        count = min(a.chunk, last - done)
        subprocess.run([a.binary, "pictures", a.takes, "--frames", FRAMES, "--model", a.model, "--first", str(done), "--count",
                        str(count), "-o", path] + shlex.split(a.flags), check=True)
        lines = verdicts(net, path, done)
        with open(a.out, "a") as f:
            f.write("".join(json.dumps(line) + "\n" for line in lines))
        done += count
        print(f"{a.out}: {done - a.first} of {last - a.first}", flush=True)
        os.remove(path)


def read(path):
    return {line["take"]: line for line in map(json.loads, open(path))}


def table(a):
    """Percent right of each file; for all but the first the difference in points, and the share of equal verdicts."""
    takes = [json.loads(line) for line in open(a.takes)]
    files = [read(f) for f in a.verdicts]
    both = sorted(set.intersection(*(set(f) for f in files)))
    names = [os.path.splitext(os.path.basename(f))[0] for f in a.verdicts]
    print(f"{len(both)} prompts\n\n| where | device | " + " | ".join(SHOWN) + " |\n|" + " --- |" * (len(SHOWN) + 2))
    worst = 0
    for place in PLACES:
        judged = {k: [n for n in both if takes[n][place][k] >= 0] for k in SHOWN}
        right = lambda f, k: 100 * sum(f[n][place][k] == takes[n][place][k] for n in judged[k]) / max(1, len(judged[k]))
        base = {k: right(files[0], k) for k in SHOWN}
        rows = [(names[0], [f"{base[k]:.1f}" for k in SHOWN])]
        for name, f in zip(names[1:], files[1:]):
            gap = {k: right(f, k) - base[k] for k in SHOWN}
            worst = max([worst] + [abs(g) for g in gap.values()])
            same = {k: 100 * sum(f[n][place][k] == files[0][n][place][k] for n in judged[k]) / max(1, len(judged[k])) for k in SHOWN}
            rows += [(name, [f"{right(f, k):.1f} ({gap[k]:+.1f})" for k in SHOWN]),
                     (f"{name}: the same verdict", [f"{same[k]:.1f}" for k in SHOWN])]
        for name, cells in rows:
            print(f"| {place} | {name} | " + " | ".join(cells) + " |")
    print(f"\nlargest difference: {worst:.2f} points")


def arguments(prompts):
    """The three sub-commands that this file and transitions.py have; and `run` and `table`, for what each adds."""
    p = argparse.ArgumentParser()
    sub = p.add_subparsers(dest="what", required=True)
    make, go, show = (sub.add_parser(n) for n in ("list", "run", "table"))
    for q in (make, go, show):
        q.add_argument("--takes", required=True)
    make.add_argument("--tokenizer", required=True)
    make.add_argument("--prompts", type=int, default=prompts)
    go.add_argument("--binary", required=True)
    go.add_argument("--out", required=True, help="one line of verdicts a take")
    go.add_argument("--state", default="tools/train/state", help="where the detector is")
    go.add_argument("--model", default="models/demo")
    go.add_argument("--flags", default="", help="more for `kinetype pictures`: --device, --precision, --workers, ...")
    return p, go, show


def main():
    p, go, show = arguments(1024)
    go.add_argument("--chunk", type=int, default=32, help="takes a call; 0.8 MB each while they are judged")
    go.add_argument("--first", type=int, default=0)
    go.add_argument("--last", type=int, default=0)
    show.add_argument("verdicts", nargs="+", help="files of `run`; the first is the reference")
    a = p.parse_args()
    {"list": make_list, "run": run, "table": table}[a.what](a)


if __name__ == "__main__":
    main()
