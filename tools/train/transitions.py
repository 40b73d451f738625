"""What a transition and a recache do to the scores of the new prompt: the same prompts, seeds and change of prompt, each
with every way to change, judged by the detector 1.5 s and 3 s after the change. `kinetype pictures` makes the pictures (takes
that begin alike share their beginning); PyTorch on the CPU judges.

    python3 -m tools.train.transitions list  --tokenizer models/demo/spiece.model --prompts 64 --takes takes.jsonl
    python3 -m tools.train.transitions run   --binary build/cli/kinetype --takes takes.jsonl --out verdicts.jsonl
    python3 -m tools.train.transitions table --takes takes.jsonl verdicts.jsonl

`run` goes on where its file ends. `table` scores the prompts that have all their ways.
"""
import json
import math
import os
import shlex
import subprocess

import numpy as np
import torch

from . import captions, detector, evaluate, paired, tokenizer
from .evaluate_engine import FIRST, rgb_of

WAYS = {"cut, full recache (9)": {"transition": "cut"}, "cut, last 6": {"transition": "cut", "recache": 6},
        "cut, last 3": {"transition": "cut", "recache": 3}, "scene (12)": {"transition": "scene"},
        "blend 2 (3 a block)": {"transition": "cut", "blend": 2}, "blend 4 (3 a block)": {"transition": "cut", "blend": 4}}
PLACES = {"1.5 s": evaluate.SWITCH + 2, "3 s": evaluate.SWITCH + 4}
FRAMES = ",".join(f"{FIRST(b)}-{FIRST(b) + 11}" for b in PLACES.values())
SHOWN = ["shape", "colour", "background"]


def make_list(a):
    torch.manual_seed(31337)
    sp = tokenizer.load(a.tokenizer)
    caption = captions.Captioner(sp.encode, "cpu")
    spec = evaluate.unseen(4 * ((a.prompts + 3) // 4), "cpu")
    mix = torch.randperm(len(spec["shape"]))[:a.prompts]
    spec = {k: v[mix] for k, v in spec.items()}
    new = evaluate.follow_up(spec)
    rows = [[[i for i in row if i != captions.PAD] for row in caption(s, plain=True).tolist()] for s in (spec, new)]
    with open(a.takes, "w") as f:
        for n, (ids, new_ids) in enumerate(zip(*rows)):
            for name, way in WAYS.items():
                line = {"seed": 100 + n, "prompt": ids, "switch": new_ids, "at": FIRST(evaluate.SWITCH), "way": name, **way}
                line["new"] = {k: int(v[n]) for k, v in detector.targets(new).items()}
                line["old"] = {k: int(v[n]) for k, v in detector.targets(spec).items()}
                f.write(json.dumps(line) + "\n")


@torch.no_grad()
def verdicts(net, path):
    data = np.memmap(path, np.uint8, "r").reshape(-1, len(PLACES), detector.FRAMES, paired.PICTURE)
    heads = [net(rgb_of(data[:, n])) for n in range(len(PLACES))]
    seen = [{k: h[k].argmax(1).tolist() for k in SHOWN} for h in heads]
    return [{p: {k: seen[n][k][j] for k in SHOWN} for n, p in enumerate(PLACES)} for j in range(len(data))]


def run(a):
    takes = sum(1 for _ in open(a.takes))
    done = sum(1 for _ in open(a.out)) if os.path.exists(a.out) else 0
    torch.set_num_threads(1)
    net, path = detector.load(a.state), f"{a.out}.i420"
    while done < takes:
        count = min(len(WAYS), takes - done)
        subprocess.run([a.binary, "pictures", a.takes, "--frames", FRAMES, "--model", a.model, "--first", str(done), "--count",
                        str(count), "--quiet", "-o", path] + shlex.split(a.flags), check=True)
        with open(a.out, "a") as f:
            f.write("".join(json.dumps(line) + "\n" for line in verdicts(net, path)))
        done += count
        print(f"{a.out}: {done} of {takes}", flush=True)
        os.remove(path)


def table(a):
    """Percent of prompts whose new value is seen, and whose old value still is; +- is one standard error."""
    takes = [json.loads(line) for line in open(a.takes)]
    seen = [json.loads(line) for line in open(a.verdicts)]
    whole = len(seen) // len(WAYS) * len(WAYS)
    print(f"{whole // len(WAYS)} prompts\n\n| after | way | " + " | ".join(SHOWN) + " | old " + " | old ".join(SHOWN) + " |")
    print("|" + " --- |" * (2 + 2 * len(SHOWN)))
    for place in PLACES:
        for way in WAYS:
            cells = []
            for which in ("new", "old"):
                for k in SHOWN:
                    mine = [(t[which][k], v[place][k]) for t, v in zip(takes[:whole], seen)
                            if t["way"] == way and t[which][k] >= 0 and t["new"][k] != t["old"][k]]
                    share = sum(x == y for x, y in mine) / max(1, len(mine))
                    error = math.sqrt(share * (1 - share) / max(1, len(mine)))
                    cells.append(f"{100 * share:.0f} +- {100 * error:.0f}" if mine else "-")
            print(f"| {place} | {way} | " + " | ".join(cells) + " |")


def main():
    p, _, show = paired.arguments(64)
    show.add_argument("verdicts")
    a = p.parse_args()
    {"list": make_list, "run": run, "table": table}[a.what](a)


if __name__ == "__main__":
    main()
