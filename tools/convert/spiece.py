"""Just enough of SentencePiece's model file to tell that it is one.

The file is a protobuf: field 1, repeated, is a piece; field 2 the trainer's settings, whose field 3
is the model type (1, unigram, is also the default).
"""
from errors import fail

SIZE_MAX = 64 << 20  # google/umt5-xxl's has 4.5 MB
UNIGRAM = 1


def check(path, data):
    """The number of pieces of a unigram model."""
    if len(data) > SIZE_MAX:
        fail(path, f"{len(data)} bytes: too large for a SentencePiece model")
    pieces, kind = 0, UNIGRAM
    try:
        for field, value in fields(data):
            if field == 1:
                pieces += 1
            elif field == 2:
                kind = dict(fields(value)).get(3, UNIGRAM)
    except (IndexError, ValueError, TypeError) as e:
        fail(path, f"not a SentencePiece model, or truncated: {e}")
    if pieces == 0:
        fail(path, "not a SentencePiece model: no pieces found")
    if kind != UNIGRAM:
        fail(path, f"SentencePiece model type {kind}; only unigram ({UNIGRAM}) is supported")
    return pieces


def fields(data):
    """(field number, int or bytes) of a protobuf message."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = varint(data, at)
        else:
            if wire not in (1, 2, 5):
                raise ValueError(f"wire type {wire}")
            size, at = varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            if at + size > len(data):
                raise ValueError("a field runs past the end")
            value, at = data[at:at + size], at + size
        yield tag >> 3, value


def varint(data, at):
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 10 bytes")
