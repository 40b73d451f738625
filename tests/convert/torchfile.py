"""Writes files as torch.save() does, without PyTorch, for the converter's tests.

Python's own pickler does the pickling, with stand-in modules under torch's names, so that the
opcodes are the ones a real file has. The zip container is written by hand because real ones have
features zipfile does not produce (zip64 end records always, 64-byte alignment padding in the local
header only, data descriptors), and because hostile ones need every field under control.
"""
import io
import pickle
import struct
import sys
import types
import zlib
from collections import OrderedDict

import numpy as np

STORAGE = {"F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage",
           "BF16": "BFloat16Storage", "I64": "LongStorage"}


def stand_ins():
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGE.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        def function(*args):
            raise AssertionError("never called")
        function.__module__, function.__name__, function.__qualname__ = "torch._utils", name, name
        setattr(utils, name, function)
    torch._utils = utils
    return torch


class Storage:
    """bits: a flat NumPy array (uint16 for BF16)."""

    def __init__(self, bits, dtype):
        self.bits, self.dtype, self.key = np.ascontiguousarray(bits).reshape(-1), dtype, None


class T:
    """A tensor: a view of a storage; parameter=True wraps it as nn.Parameter."""

    def __init__(self, storage, shape, strides=None, offset=0, parameter=False):
        self.storage, self.shape, self.offset, self.parameter = storage, tuple(shape), offset, \
            parameter
        self.strides = tuple(strides) if strides is not None else row_major(shape)


def row_major(shape):
    strides, n = [], 1
    for size in reversed(shape):
        strides.append(n)
        n *= size
    return tuple(reversed(strides))


def tensor(values, dtype="F32"):
    """A contiguous tensor of its own storage from float values."""
    values = np.asarray(values)
    return T(Storage(to_bits(values, dtype), dtype), values.shape)


def to_bits(values, dtype):
    if dtype == "BF16":  # by truncation: a second opinion on rounding is in the tests themselves
        return (np.ascontiguousarray(values, "<f4").view("<u4") >> 16).astype("<u2")
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8"}
    return np.asarray(values).astype(kinds[dtype])


class Pickler(pickle.Pickler):
    def __init__(self, out, torch, storages):
        super().__init__(out, protocol=2)
        self.torch, self.storages = torch, storages

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        if obj.key is None or obj not in self.storages:
            obj.key = str(len(self.storages))
            self.storages.append(obj)
        kind = getattr(self.torch, STORAGE[obj.dtype])
        return ("storage", kind, obj.key, "cpu", int(obj.bits.size))

    def reducer_override(self, obj):
        if not isinstance(obj, T):
            return NotImplemented
        if obj.parameter:
            plain = T(obj.storage, obj.shape, obj.strides, obj.offset)
            return self.torch._utils._rebuild_parameter, (plain, True, OrderedDict())
        return self.torch._utils._rebuild_tensor_v2, (
            obj.storage, obj.offset, obj.shape, obj.strides, False, OrderedDict())


def dumps(obj):
    """(pickle, storages)"""
    torch, saved = stand_ins(), {n: sys.modules.get(n) for n in ("torch", "torch._utils")}
    sys.modules.update({"torch": torch, "torch._utils": torch._utils})
    try:
        out, storages = io.BytesIO(), []
        Pickler(out, torch, storages).dump(obj)
        return out.getvalue(), storages
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def state_dict(tensors):
    """An OrderedDict with the _metadata attribute that nn.Module.state_dict() leaves."""
    made = OrderedDict(tensors)
    made._metadata = OrderedDict({"": {"version": 1}, "blocks": {"version": 1}})
    return made


def save(path, obj, prefix="archive"):
    data, storages = dumps(obj)
    write(path, data, {s.key: s.bits.tobytes() for s in storages}, prefix)


def write(path, pickled, storages, prefix="archive", **zip_options):
    """A torch container of a given pickle; storages: key -> bytes."""
    members = [(f"{prefix}/data.pkl", pickled), (f"{prefix}/byteorder", b"little")]
    members += [(f"{prefix}/data/{key}", data) for key, data in storages.items()]
    members += [(f"{prefix}/version", b"3\n")]
    with open(path, "wb") as out:
        out.write(make_zip(members, **zip_options))


def make_zip(members, alter=lambda name, fields: None, zip64=True):
    """Members are (name, bytes). `alter` may change a directory entry's fields in place:
    method, flags, crc, packed, size, offset, extra."""
    out, directory = bytearray(), bytearray()
    for name, data in members:
        raw = name.encode()
        f = {"method": 0, "flags": 8, "crc": zlib.crc32(data), "packed": len(data),
             "size": len(data), "offset": len(out), "extra": b""}
        pad = -(len(out) + 30 + len(raw) + 4) % 64
        out += struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 8, 0, 0, 0, 0, 0, 0, len(raw), 4 + pad)
        out += raw + b"FB" + struct.pack("<H", pad) + b"Z" * pad + data
        out += struct.pack("<4sIQQ", b"PK\7\x08", f["crc"], len(data), len(data))
        alter(name, f)
        directory += struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 0, 45, f["flags"], f["method"], 0, 0, f["crc"],
            f["packed"], f["size"], len(raw), len(f["extra"]), 0, 0, 0, 0, f["offset"])
        directory += raw + f["extra"]
    start, count = len(out), len(members)
    out += directory
    if zip64:
        where = len(out)
        out += struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count,
                           len(directory), start)
        out += struct.pack("<4sIQI", b"PK\6\7", 0, where, 1)
        out += struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    else:
        out += struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, len(directory), start, 0)
    return bytes(out)
