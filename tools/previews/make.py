#!/usr/bin/env python3
"""Writes the prompt pairs that `kinetype previews` compares on: make.py > tools/previews/pairs.jsonl.

Of three pairs one changes a word, one the object, one everything. Drawn once with a fixed seed, so that the file, which
is committed, is the same on every machine; the format is in cli/takes.h.
"""
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tools.train import captions  # noqa: E402

PAIRS = 96
FRAMES = 45  # before the change: 12 latents, a full window
ONE = ("colour", "shape", "background")
OBJECT = ("size", "colour", "shape", "motion")
SLOTS = ("size", "colour", "shape", "motion", "background", "light")


def text(spec):
    words = [captions.PHRASES[k][spec[k]][0] for k in SLOTS]
    return " ".join(["a"] + [w for w in words if w])


def draw(r, spec, slots):
    """`spec` with other values in `slots`; indoors there is no light."""
    new = dict(spec)
    for k in slots:
        new[k] = r.choice([i for i in range(len(captions.PHRASES[k])) if i != spec.get(k)])
    if new["background"] >= captions.OUTDOOR:
        new["light"] = 0
    return new


def main():
    r = random.Random(20)
    for n in range(PAIRS):
        old = draw(r, {}, SLOTS)
        new = draw(r, old, [(r.choice(ONE),), OBJECT, SLOTS][n % 3])
        print(json.dumps({"seed": 100 + n, "prompt": text(old), "switch": text(new), "at": FRAMES, "transition": "scene" if n % 3 == 2 else "model"}))


main()
