"""Open a weights file of either format and give its tensors their plain names.

Training wrappers leave their marks in key names: FSDP, activation checkpointing and torch.compile
insert components anywhere; wrapper modules and PEFT prefix the whole. All are removed here, and two
keys that become one are an error.
"""
import os
import stat

import safetensors
import torchzip
from errors import ConvertError, fail
from tensors import Tensor

INSERTED = {"_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"}
PREFIXES = {"model", "module", "base_model"}


def clean_key(key):
    parts = [p for p in key.split(".") if p not in INSERTED]
    while len(parts) > 1 and parts[0] in PREFIXES:
        parts.pop(0)
    return ".".join(parts)


class Weights:
    """An open weights file: .path, .wrapper (which dictionary was taken), .tensors by name."""

    def __init__(self, path, wrappers=(), check_crc=True):
        self.path, self.wrapper = path, None
        self.fd = open_file(path)
        try:
            tensors = self.read(wrappers, check_crc)
            self.tensors = rename(path, tensors)
        except BaseException:
            self.close()
            raise

    def read(self, wrappers, check_crc):
        size = os.fstat(self.fd).st_size
        magic = os.pread(self.fd, 64, 0)
        if magic[:4] == b"PK\3\4":
            obj = torchzip.read(self.path, self.fd, size, check_crc)
            return self.unwrap(obj, wrappers)
        if magic[:1] == b"\x80" and magic[8:9] != b"{":  # PROTO; 0x80 may also begin a length
            fail(self.path, "legacy torch file (a bare pickle, PyTorch before 1.6), not read here; "
                            "load it with PyTorch once and torch.save() it again")
        if magic.startswith(b"version https://git-lfs"):
            fail(self.path, "this is a Git LFS pointer, not the weights; run 'git lfs pull'")
        return safetensors.read(self.path, self.fd, size)

    def unwrap(self, obj, wrappers):
        """Take the first wrapper dictionary present, or the object itself."""
        if not isinstance(obj, dict):
            fail(self.path, f"expected a dictionary of tensors, found {type(obj).__name__}")
        for name in wrappers:
            if isinstance(obj.get(name), dict):
                self.wrapper, obj = name, obj[name]
                break
        tensors = {k: v for k, v in obj.items() if isinstance(v, Tensor)}
        if not tensors:
            keys = ", ".join(repr(k)[:40] for k in list(obj)[:8])
            fail(self.path, f"no tensors found; looked for a dictionary under "
                            f"{', '.join(wrappers) or '(nothing)'} or at the top, found keys: "
                            f"{keys or 'none'}")
        return tensors

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_file(path):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as e:
        raise ConvertError(f"{path}: {e.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        fail(path, "not a regular file")
    return fd


def rename(path, tensors):
    """Clean names; the tensors are told theirs."""
    named, origin = {}, {}
    for key, tensor in tensors.items():
        if not isinstance(key, str):
            fail(path, f"tensor name of type {type(key).__name__}; expected a string")
        try:
            key.encode("utf-8")
        except UnicodeEncodeError:
            fail(path, f"tensor name {key!r} is not valid Unicode")
        name = clean_key(key)
        if name in named:
            fail(path, f"keys {origin[name]!r} and {key!r} both mean {name!r}")
        tensor.name, named[name], origin[name] = name, tensor, key
    return named
