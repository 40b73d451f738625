"""Writes a model directory the engine loads: config.json, dit/text/vae.safetensors (F16) and spiece.model.

    python3 -m tools.train.export STATE_DIR models/demo [NAME]   from a training state; NAME is dmd or base
    python3 -m tools.train.export --random models/demo           final geometry, random weights
"""
import json
import os
import sys

import numpy as np

from . import captions, tensors

VIDEO = dict(width=192, height=112, fps=16)
EXAMPLES = ["a big red heart pulsing over the ocean at sunset", "a yellow star spinning in space",
            "a blue ball bouncing over green hills", "a white moon gliding left over a city at night",
            "a green ring circling in a forest in the rain", "a purple triangle rising over snowy mountains with snow",
            "an orange square moving to the right in the desert", "a pink cross swaying underwater"]


def config(vocab, text, dit, vae, sampler, mean, std):
    c = captions
    return {
        "name": "kinetype-demo", "format": 1, "video": VIDEO,
        "text": {"kind": "umt5", "file": "text.safetensors", "tokenizer": "spiece.model", **dict(text, vocab=vocab)},
        "dit": {"file": "dit.safetensors", **dit},
        "vae": {"kind": "wan", "file": "vae.safetensors", **vae, "mean": mean, "std": std},
        "sampler": sampler,
        "vocabulary": {"shapes": c.SHAPES, "colours": c.COLOURS, "backgrounds": c.BACKGROUNDS, "weather": c.WEATHERS,
                       "light": c.LIGHTS, "motions": c.MOTIONS, "sizes": c.SIZES, "speeds": c.SPEEDS,
                       "examples": EXAMPLES, "known_words": c.known_words()},
    }


def write(folder, conf, text, dit, vae):
    """Each of text, dit, vae is a dict of float arrays."""
    half = lambda d: {k: np.asarray(v, np.float32).astype(np.float16) for k, v in d.items()}
    for name, d in (("text", text), ("dit", dit), ("vae", vae)):
        bad = [k for k, v in half(d).items() if not np.isfinite(v).all()]
        if bad:
            raise ValueError(f"{name}: not finite in F16: {bad[:5]}")
        tensors.save(os.path.join(folder, f"{name}.safetensors"), half(d))
    with open(os.path.join(folder, "config.json"), "w") as f:
        text = json.dumps(conf, indent=1)
        f.write(text + "\n")


def numpy_state(module, skip=()):
    return {k: v.detach().float().cpu().numpy() for k, v in module.state_dict().items() if not k.startswith(skip)}


def from_modules(folder, text, dit, vae, mean, std):
    from . import rollout
    vocab = text.config["vocab"]
    conf = config(vocab, text.config, dit.config, vae.config, rollout.SAMPLER, [round(float(x), 6) for x in mean],
                  [round(float(x), 6) for x in std])
    write(folder, conf, numpy_state(text), numpy_state(dit), numpy_state(vae))


def from_state(folder, name, vocab):
    """(text, dit, vae decoder, latent mean, latent std) of the model `name` in a state folder."""
    from . import common, model, vae
    net = common.load_into(model.new(vocab), common.load(f"{folder}/{name}"), "cpu")
    state = common.load(f"{folder}/vae")
    part = {k[len("decoder."):]: v for k, v in state.items() if k.startswith("decoder.")}
    decoder = common.load_into(vae.Decoder(), part, "cpu")
    return net["text"], net["dit"], decoder, state["mean"], state["std"]


def main():
    import torch
    from . import dit, tokenizer, umt5, vae
    source, folder = sys.argv[1:3]
    vocab = tokenizer.load(os.path.join(folder, "spiece.model")).get_piece_size()
    if source == "--random":
        torch.manual_seed(0)
        net = dit.DiT()
        torch.nn.init.normal_(net.head.head.weight, std=.02)  # a zero head would only show noise's mirror
        from_modules(folder, umt5.TextEncoder(vocab), net, vae.Decoder(), [0.] * 16, [1.] * 16)
    else:
        from_modules(folder, *from_state(source, sys.argv[3] if len(sys.argv) > 3 else "dmd", vocab))


if __name__ == "__main__":
    main()
