"""Holds these PyTorch modules against golden cases: relative L2 error <= 2e-5 in float32.

    python3 -m tools.train.check_golden GOLDEN_DIR
"""
import json
import os
import sys

import torch

from . import dit, rollout, tensors, umt5, vae

BOUND = 2e-5


def case(root, name):
    d = os.path.join(root, name)
    read = lambda f: {k: torch.from_numpy(v) for k, v in tensors.load(os.path.join(d, f)).items()}
    return json.load(open(os.path.join(d, "config.json"))), read("weights.safetensors"), read("io.safetensors")


def error(out, want):
    return ((out.double() - want.double()).norm() / want.double().norm()).item()


def text(root):
    c, w, io = case(root, "umt5-small")
    keys = ("dim", "dim_attn", "dim_ffn", "num_heads", "num_layers", "num_buckets", "max_distance", "text_len", "eps")
    m = umt5.TextEncoder(c["vocab"], **{k: c[k] for k in keys})
    m.load_state_dict(w)
    for i, n in enumerate(c["lens"]):
        ids = torch.zeros(1, c["text_len"], dtype=torch.long)
        ids[0, :n] = io[f"ids.{i}"].long()
        yield f"umt5-small context.{i}", error(m(ids)[0, :n], io[f"context.{i}"])


def transformer(root):
    c, w, io = case(root, "dit-rollout-relative-rope")
    m = dit.DiT(**{k: c[k] for k in dit.CONFIG})
    m.load_state_dict(w)
    pad = lambda x: torch.nn.functional.pad(x, (0, 0, 0, c["text_len"] - len(x)))[None]
    sampler = {k: c[k] for k in ("num_frame_per_block", "local_attn_size", "sink_size", "denoising_step_list",
                                 "timestep_shift", "context_noise")}
    s = rollout.Stream(m, pad(io["context.0"]), c["latent_h"], c["latent_w"], sampler=sampler)
    draws = iter(io["renoise"])
    out, prompt = [], 0
    for f in range(0, c["num_frames"], 3):
        if f in c["switch_frame_indices"]:
            prompt += 1
            s.switch(pad(io[f"context.{prompt}"]), scene=not c["global_sink"])
        out.append(s.next_block(io["noise"][None, f:f + 3], lambda: next(draws)[None]))
    yield "dit-rollout-relative-rope latents", error(torch.cat(out, 1)[0], io["latents"])


def decoder(root):
    c, w, io = case(root, "vae-small")
    m = vae.Decoder(**{k: c[k] for k in vae.CONFIG})
    m.load_state_dict({k: v for k, v in w.items() if k.startswith(("conv2.", "decoder."))})
    mean = torch.tensor([-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517,
                         -0.3632, -0.1922, -0.9497, 0.2503, -0.2921])[:, None, None]
    std = torch.tensor([2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579,
                        1.6382, 1.1253, 2.8251, 1.9160])[:, None, None]
    yield "vae-small pixels", error(m(io["latents"][None] * std + mean)[0], io["pixels"])


@torch.no_grad()
def main():
    worst = 0.
    for part in (text, transformer, decoder):
        for name, e in part(sys.argv[1]):
            print(f"{name:40s} {e:.2e}")
            worst = max(worst, e)
    return 0 if worst <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
