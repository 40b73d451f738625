"""Reading and writing safetensors with NumPy alone."""
import json
import struct

import numpy as np

NAMES = {"F32": np.float32, "F16": np.float16, "I32": np.int32, "I64": np.int64}


def save(path, tensors, metadata=None):
    header, at = ({"__metadata__": metadata} if metadata else {}), 0
    arrays = {k: np.ascontiguousarray(v) for k, v in sorted(tensors.items())}
    for k, a in arrays.items():
        name = next(n for n, t in NAMES.items() if a.dtype == t)
        header[k] = {"dtype": name, "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in arrays.values():
            f.write(a.tobytes())


def load(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    header.pop("__metadata__", None)
    return {k: np.frombuffer(data[e["data_offsets"][0]:e["data_offsets"][1]], NAMES[e["dtype"]])
            .reshape(e["shape"]).copy() for k, e in header.items()}
