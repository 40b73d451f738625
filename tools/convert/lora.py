"""Merge a LoRA into base weights: W += (alpha / rank) * B @ A, in fp32, back to W's dtype."""
import re

import numpy as np

from errors import fail
from tensors import WEIGHT_DTYPES, Tensor, to_f32

NAME = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")


class MergedTensor(Tensor):
    """A base matrix with its update, computed when it is written."""

    def __init__(self, base, a, b, scale):
        super().__init__(base.source, base.name, base.dtype, base.shape)
        self.base, self.a, self.b, self.scale = base, a, b, scale

    def array(self):
        w = to_f32(self.base.array(), self.base.dtype)
        a, b = (to_f32(t.array(), t.dtype) for t in (self.a, self.b))
        return self.store(w + np.float32(self.scale) * (b @ a))


def merge(base, lora, alpha):
    """Base tensors by name, with every pair of the LoRA file merged in; (tensors, pairs, rank)."""
    pairs = collect(lora)
    merged, ranks = dict(base.tensors), set()
    for module, pair in sorted(pairs.items()):
        a, b = check_pair(lora.path, module, pair)
        name = module + ".weight"
        if name not in base.tensors:
            fail(lora.path, f"LoRA for {module!r}: {base.path} has no tensor {name!r}")
        w, rank = base.tensors[name], a.shape[0]
        if w.shape != (b.shape[0], a.shape[1]):
            fail(lora.path, f"LoRA for {module!r}: B {list(b.shape)} x A {list(a.shape)} does not "
                            f"fit {name!r} of shape {list(w.shape)} in {base.path}")
        if w.dtype not in WEIGHT_DTYPES:
            fail(base.path, f"tensor {name!r}: dtype {w.dtype}, expected one of "
                            f"{', '.join(WEIGHT_DTYPES)}")
        merged[name] = MergedTensor(w, a, b, alpha / rank)
        ranks.add(rank)
    return merged, len(pairs), sorted(ranks)


def collect(lora):
    pairs = {}
    for name, tensor in lora.tensors.items():
        match = NAME.fullmatch(name)
        if not match:
            fail(lora.path, f"tensor {name!r} is not a LoRA factor; expected names that end in "
                            ".lora_A.weight or .lora_B.weight")
        factors = pairs.setdefault(match[1], {})
        if match[2] in factors:
            fail(lora.path, f"LoRA for {match[1]!r}: lora_{match[2]} appears twice")
        factors[match[2]] = tensor
    return pairs


def check_pair(path, module, pair):
    for which in "AB":
        if which not in pair:
            fail(path, f"LoRA for {module!r}: lora_{which} is missing")
        tensor = pair[which]
        if tensor.dtype not in WEIGHT_DTYPES or len(tensor.shape) != 2:
            fail(path, f"tensor {tensor.name!r}: expected a matrix of {', '.join(WEIGHT_DTYPES)}, "
                       f"found {tensor.dtype} {list(tensor.shape)}")
    a, b = pair["A"], pair["B"]
    if a.shape[0] != b.shape[1] or a.shape[0] == 0:
        fail(path, f"LoRA for {module!r}: ranks differ: A {list(a.shape)}, B {list(b.shape)}")
    return a, b
