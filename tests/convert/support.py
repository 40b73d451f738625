"""Shared by the converter's tests: its modules on the path, layouts, files, running it."""
import contextlib
import importlib.util
import io
import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import unittest

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
TOOL = HERE.parent.parent / "tools" / "convert"
sys.path.insert(0, str(TOOL))

import torchfile  # noqa: E402
from errors import ConvertError  # noqa: E402
from weights import Weights  # noqa: E402


def load_main():
    spec = importlib.util.spec_from_file_location("convert_main", TOOL / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAIN = load_main()


def layout(name):
    """name -> shape, as listed in layouts/<name>.txt (taken from files of that kind)."""
    table = {}
    for line in (HERE / "layouts" / f"{name}.txt").read_text().splitlines():
        key, shape = line.split()
        table[key] = tuple(int(n) for n in shape.split(","))
    return table


def random_values(table, seed):
    rng = np.random.default_rng(seed)
    return {k: rng.standard_normal(s).astype(np.float32) for k, s in table.items()}


def read_plain(path):
    """An independent few-line safetensors reader: name -> (dtype, array of stored bits)."""
    kinds = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "I64": "<i8"}
    data = pathlib.Path(path).read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header, found = json.loads(data[8:8 + n]), {}
    for name, e in header.items():
        if name != "__metadata__":
            b, end = e["data_offsets"]
            bits = np.frombuffer(data[8 + n + b:8 + n + end], kinds[e["dtype"]])
            found[name] = (e["dtype"], bits.reshape(e["shape"]))
    return found


def safetensors_bytes(values, dtype="F32"):
    header, body = {}, b""
    for name, v in values.items():
        bits = torchfile.to_bits(v, dtype).tobytes()
        header[name] = {"dtype": dtype, "shape": list(np.shape(v)),
                        "data_offsets": [len(body), len(body) + len(bits)]}
        body += bits
    return raw_safetensors(json.dumps(header).encode(), body)


def raw_safetensors(header, body=b"", length=None):
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def spiece_bytes(pieces=20, kind=None):
    """A SentencePiece model: pieces of (text, score, type), and the trainer's model type."""
    out = b""
    for i in range(pieces):
        text = f"piece{i}".encode()
        piece = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", -i)
        out += b"\x0a" + bytes([len(piece)]) + piece
    return out + (b"\x12\x02\x18" + bytes([kind]) if kind is not None else b"")


class TempDirTest(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="convert-test-"))
        self.addCleanup(shutil.rmtree, self.dir)

    def path(self, name):
        return str(self.dir / name)

    def put(self, name, data):
        (self.dir / name).write_bytes(data)
        return self.path(name)

    def open(self, path, *wrappers, **kw):
        weights = Weights(path, wrappers, **kw)
        self.addCleanup(weights.close)
        return weights

    def refused(self, path, *words, **kw):
        """Opening and reading every tensor must end in a ConvertError that has all the words."""
        with self.assertRaises(ConvertError) as caught:
            with contextlib.closing(Weights(path, (), **kw)) as weights:
                for t in weights.tensors.values():
                    t.array()
        self.assertLessEqual(len(str(caught.exception)), 2000)
        for word in (path, *words):
            self.assertIn(word, str(caught.exception))

    def run_main(self, *argv):
        """(exit status, stdout, stderr) of the converter run in this process."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = MAIN.main([str(a) for a in argv])
            except SystemExit as e:
                status = e.code
        return status, out.getvalue(), err.getvalue()


def listdir(path):
    return sorted(os.listdir(path))
