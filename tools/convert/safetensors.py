"""Read and write safetensors files.

Layout: u64 little-endian header length, that many bytes of JSON
({name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {str: str}}), then the data;
offsets count from the end of the header and must cover the data exactly, without holes.
"""
import json
import math
import os
import struct

from errors import fail
from tensors import DTYPES, FileTensor

HEADER_MAX = 100_000_000  # the format's own limit
ALIGN = 64                # data start in files we write, for readers that map the file


def read(path, fd, size):
    """name -> FileTensor for the safetensors file open at fd."""
    header, start = read_header(path, fd, size)
    tensors, spans = {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            check_metadata(path, entry)
            continue
        dtype, shape, begin, end = check_entry(path, name, entry, size - start)
        spans.append((begin, end, name))
        tensors[name] = FileTensor(path, name, dtype, shape, fd, start + begin)
    check_cover(path, spans, size - start)
    return tensors


def read_header(path, fd, size):
    if size < 8:
        fail(path, f"not a weights file: {size} bytes, too short even for a safetensors header")
    length = struct.unpack("<Q", os.pread(fd, 8, 0))[0]
    if length > HEADER_MAX:
        fail(path, f"not a safetensors file: header length {length} is beyond the limit of "
                   f"{HEADER_MAX}")
    if 8 + length > size:
        fail(path, f"truncated: header says {length} bytes, the file has {size - 8} after its "
                   "length field")
    text = os.pread(fd, length, 8)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as e:
        fail(path, f"safetensors header is not valid JSON: {e or type(e).__name__}")
    if not isinstance(header, dict):
        fail(path, f"safetensors header: expected a JSON object, found {type(header).__name__}")
    return header, 8 + length


def no_duplicates(pairs):
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} appears twice")
        found[key] = value
    return found


def check_metadata(path, entry):
    if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
        fail(path, "__metadata__: expected an object of strings")


def is_size(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def check_entry(path, name, entry, data_size):
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        fail(path, f"tensor {name!r}: expected an object with dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        fail(path, f"tensor {name!r}: unknown dtype {dtype!r}; known are {', '.join(DTYPES)}")
    if not isinstance(shape, list) or len(shape) > 8 or not all(map(is_size, shape)):
        fail(path, f"tensor {name!r}: shape is not a list of at most 8 non-negative integers")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_size, offsets)):
        fail(path, f"tensor {name!r}: data_offsets is not a pair of non-negative integers")
    begin, end = offsets
    if not begin <= end <= data_size:
        fail(path, f"tensor {name!r}: data_offsets {offsets} lie outside the {data_size} bytes of "
                   "data (truncated file?)")
    want = math.prod(shape) * DTYPES[dtype].itemsize
    if end - begin != want:
        fail(path, f"tensor {name!r}: {dtype} {shape} needs {want} bytes, data_offsets give "
                   f"{end - begin}")
    return dtype, shape, begin, end


def check_cover(path, spans, data_size):
    at = 0
    for begin, end, name in sorted(spans):
        if begin != at:
            what = "overlaps the tensor before it" if begin < at else "leaves a hole before it"
            fail(path, f"tensor {name!r}: data at {begin} {what} (expected {at})")
        at = end
    if at != data_size:
        fail(path, f"tensors cover {at} bytes of data, the file holds {data_size}")


def write(path, tensors, progress=lambda name, nbytes: None):
    """Write the tensors (an iterable of Tensor) to a new file, one piece at a time.

    Wide dtypes come first, so that every tensor is aligned to its element size.
    """
    tensors = sorted(tensors, key=lambda t: (-DTYPES[t.dtype].itemsize, t.name))
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for t in tensors:
        header[t.name] = {"dtype": t.dtype, "shape": list(t.shape),
                          "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-(8 + len(text)) % ALIGN)
    with open(path, "xb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for t in tensors:
            written = sum(out.write(piece.tobytes()) for piece in t.chunks())
            if written != t.nbytes:
                fail(t.source, f"tensor {t.name!r}: expected {t.nbytes} bytes, produced {written}")
            progress(t.name, t.nbytes)
        out.flush()
        os.fsync(out.fileno())
