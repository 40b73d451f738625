"""Reference for the engine, in NumPy: check golden cases, or make new ones of other shapes.

  make_golden.py check DIR...        compute every case directory and compare (a table, exit 1 past
                                     the bound); DIR may also hold case directories
  make_golden.py make OUT [NAME...]  write the cases of cases.py (all, or those named) under OUT

A case is config.json, weights.safetensors and io.safetensors. Expected values are computed in fp64
from the fp32 weights and inputs that are stored, then rounded to fp32.
"""
import json
import pathlib
import struct
import sys

import numpy as np

import cases
import ref_dit
import ref_taehv
import ref_umt5
import ref_vae

BOUND = 4e-6
KINDS = {"F32": np.dtype("<f4"), "I32": np.dtype("<i4")}


def read(path):
    data = pathlib.Path(path).read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, e in json.loads(data[8:8 + n]).items():
        if name != "__metadata__":
            begin, end = (8 + n + o for o in e["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end], KINDS[e["dtype"]]).reshape(e["shape"])
    return tensors


def write(path, tensors):
    header, body = {}, []
    at = 0
    for name in sorted(tensors):
        v = np.ascontiguousarray(tensors[name])
        kind = "I32" if v.dtype.kind == "i" else "F32"
        raw = v.astype(KINDS[kind]).tobytes()
        header[name] = {"dtype": kind, "shape": list(v.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        body.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(body))


def numbered(io, stem):
    return [io[f"{stem}.{i}"] for i in range(sum(k.startswith(stem + ".") for k in io))]


def compute(config, weights, io):
    """The outputs of a case from its inputs, in fp64."""
    io = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in io.items()}
    kind = config["kind"]
    if kind == "causal_wan_rollout":
        rollout = ref_dit.Rollout(config, weights)
        return rollout.run(io["noise"], io["renoise"], numbered(io, "context"))
    if kind == "umt5_encoder":
        return {f"context.{i}": ref_umt5.encode(config, weights, ids)
                for i, ids in enumerate(numbered(io, "ids"))}
    if kind == "wan_vae":
        vae = ref_vae.Vae(config, weights)
        pixels = vae.decode(io["latents"])
        return {"pixels": pixels, "pixels_clamped": pixels.clip(-1, 1),
                "encode_out": vae.encode(io["encode_in"])}
    if kind == "taehv_decoder":
        pixels = ref_taehv.decode(config, weights, io["latents"])
        return {"pixels": pixels, "pixels_clamped": pixels[config["frames_to_trim"]:].clip(0, 1)}
    raise SystemExit(f"unknown kind {kind!r}")


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30)


def check(case):
    """Print a row per output; the largest error."""
    config = json.loads((case / "config.json").read_text())
    io = read(case / "io.safetensors")
    outputs = compute(config, read(case / "weights.safetensors"), io)
    worst = 0.0
    for name in sorted(outputs):
        if name not in io:
            continue
        expected = io[name].astype(np.float64)
        if outputs[name].shape != expected.shape:
            print(f"{case.name:28} {name:20} shape {outputs[name].shape}, expected "
                  f"{expected.shape}")
            return np.inf
        error = relative_error(outputs[name], expected)
        worst = max(worst, error)
        print(f"{case.name:28} {name:20} {error:.2e}{'' if error <= BOUND else '  PAST BOUND'}",
              flush=True)
    return worst


def find_cases(paths):
    for path in map(pathlib.Path, paths):
        yield from [path] if (path / "config.json").exists() else \
            sorted(p.parent for p in path.glob("*/config.json"))


def make(out, name):
    config, weights, io = cases.build(name)
    weights = {k: v.astype(np.float32) for k, v in weights.items()}
    io = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in io.items()}
    outputs = compute(config, weights, io)
    case = pathlib.Path(out) / name
    case.mkdir(parents=True, exist_ok=True)
    (case / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    write(case / "weights.safetensors", weights)
    write(case / "io.safetensors", {**io, **outputs})
    size = sum(f.stat().st_size for f in case.iterdir())
    spread = {k: f"{v.std():.2f}" for k, v in outputs.items() if not k.startswith("flow")}
    print(f"{name:28} {size / 1000:8.0f} kB  std {spread}", flush=True)


def main(argv):
    if len(argv) >= 2 and argv[0] == "check":
        worst = [check(case) for case in find_cases(argv[1:])]
        if not worst:
            print("no case found", file=sys.stderr)
        return int(not worst or max(worst) > BOUND)
    if len(argv) >= 2 and argv[0] == "make":
        for name in argv[2:] or cases.NAMES:
            make(argv[1], name)
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
