"""Lazy tensors: a name, a dtype, a shape and a way to produce the bytes in bounded pieces.

Reading goes through pread in pieces of CHUNK bytes, not through mmap: the resident set then stays
at a few pieces however large the tensor is (the text encoder's embedding alone is 2 GB), and a file
that shrinks while it is read gives an error rather than SIGBUS. NumPy has no bfloat16, so BF16
travels as the raw 16 bits in uint16.
"""
import math
import os

import numpy as np

from errors import fail

CHUNK = 8 << 20

# safetensors name -> NumPy type of the stored bits
DTYPES = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U8": np.dtype("u1"), "BOOL": np.dtype("u1"),
}
WEIGHT_DTYPES = ("F32", "F16", "BF16")  # what the engine reads


def to_f32(bits, dtype):
    """Stored bits -> float32 values."""
    if dtype == "BF16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.astype(np.float32)


def from_f32(values, dtype):
    """float32 values -> stored bits; BF16 rounds to nearest even and keeps NaN a NaN."""
    if dtype != "BF16":
        return values.astype(DTYPES[dtype])
    u = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


class Tensor:
    """Base: subclasses say how array() is produced."""

    def __init__(self, source, name, dtype, shape):
        self.source, self.name, self.dtype, self.shape = source, name, dtype, tuple(shape)

    @property
    def count(self):
        return math.prod(self.shape)

    @property
    def nbytes(self):
        return self.count * DTYPES[self.dtype].itemsize

    def store(self, values):
        """float32 values as this tensor's bits; refuses values its dtype has no room for."""
        if self.dtype == "F16" and np.any(np.abs(values[np.isfinite(values)]) >= 65520):
            fail(self.source, f"tensor {self.name!r}: values beyond the range of F16")
        return from_f32(values, self.dtype)

    def array(self):
        """The stored bits as an array of self.shape."""
        raise NotImplementedError

    def chunks(self):
        """The stored bits in row-major order as a sequence of flat arrays."""
        flat = self.array().reshape(-1)
        step = CHUNK // flat.itemsize
        for i in range(0, flat.size, step):
            yield flat[i:i + step]


class FileTensor(Tensor):
    """A strided view of a byte range of an open file; strides and offset count elements."""

    def __init__(self, source, name, dtype, shape, fd, base, strides=None, offset=0, check=None):
        super().__init__(source, name, dtype, shape)
        self.fd, self.base, self.offset = fd, base, offset
        self.strides = contiguous_strides(shape) if strides is None else tuple(strides)
        self.check = check

    def is_contiguous(self):
        want = contiguous_strides(self.shape)
        return all(n <= 1 or s == w for n, s, w in zip(self.shape, self.strides, want))

    def array(self):
        return np.concatenate(list(self.chunks()) or [np.empty(0, DTYPES[self.dtype])]) \
            .reshape(self.shape)

    def chunks(self):
        if self.check:
            self.check()
        if self.is_contiguous():
            yield from self._pieces(self.base + self.offset * DTYPES[self.dtype].itemsize)
            return
        if self.count == 0:
            return
        # A transposed or sliced view: hold the span it touches, which lies within one storage.
        item = DTYPES[self.dtype].itemsize
        span = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        start = self.base + self.offset * item
        held = np.concatenate([np.frombuffer(b, DTYPES[self.dtype])
                               for b in pread_pieces(self.source, self.fd, start, span * item)])
        view = np.lib.stride_tricks.as_strided(held, self.shape, [s * item for s in self.strides])
        flat = np.ascontiguousarray(view).reshape(-1)
        step = CHUNK // item
        for i in range(0, flat.size, step):
            yield flat[i:i + step]

    def _pieces(self, start):
        for piece in pread_pieces(self.source, self.fd, start, self.nbytes):
            yield np.frombuffer(piece, DTYPES[self.dtype])


class CastTensor(Tensor):
    """Another tensor in another floating dtype, converted piece by piece."""

    def __init__(self, inner, dtype):
        super().__init__(inner.source, inner.name, dtype, inner.shape)
        self.inner = inner

    def array(self):
        return self.store(to_f32(self.inner.array(), self.inner.dtype))

    def chunks(self):
        for piece in self.inner.chunks():
            yield self.store(to_f32(piece, self.inner.dtype))


def cast(tensor, dtype):
    return tensor if tensor.dtype == dtype else CastTensor(tensor, dtype)


def contiguous_strides(shape):
    strides, n = [], 1
    for size in reversed(shape):
        strides.append(n)
        n *= size
    return tuple(reversed(strides))


def pread_pieces(source, fd, start, size):
    """Yield the bytes [start, start + size) of fd; CHUNK is a multiple of every item size."""
    end = start + size
    while start < end:
        want = min(CHUNK, end - start)
        piece = os.pread(fd, want, start)
        if len(piece) != want:
            fail(source, f"file ended early: expected {want} bytes at offset {start}, "
                         f"found {len(piece)}")
        yield piece
        start += want
