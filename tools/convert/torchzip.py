"""Read the zip container torch.save() writes (since PyTorch 1.6).

`<prefix>/data.pkl` describes the objects, `<prefix>/data/<key>` are the raw storages. torch never
compresses, so any compressed member is refused: nothing read here can be larger than the file, and
there is no decompression to bomb. The zip directory is parsed here rather than by zipfile so that
every length is checked against the file before anything is allocated for it, and so that storages
can be read in place.
"""
import os
import struct
import zlib

import unpickle
from errors import fail
from tensors import DTYPES, FileTensor, pread_pieces

DIRECTORY_MAX = 64 << 20   # bytes of central directory; the largest real file has about 0.2 MB
MEMBERS_MAX = 200_000
PICKLE_MAX = 32 << 20      # bytes of data.pkl; real ones are below 1 MB


class Member:
    """One stored file of the archive: [start, start + size) of the container."""

    def __init__(self, name, start, size, crc):
        self.name, self.start, self.size, self.crc, self.checked = name, start, size, crc, False


def read(path, fd, size, check_crc=True):
    """The unpickled object of a torch file, with FileTensors in it."""
    members = read_directory(path, fd, size)
    pickles = [n for n in members if n.endswith("/data.pkl") and n.count("/") == 1]
    if len(pickles) != 1:
        fail(path, f"zip archive without a single <name>/data.pkl (found {len(pickles)}): not a "
                   "torch file")
    prefix = pickles[0][:-len("data.pkl")]
    order = members.get(prefix + "byteorder")
    if order and read_member(path, fd, order, 64) != b"little":
        fail(path, "byteorder is not 'little': saved on a big-endian machine")
    pickle = members[pickles[0]]
    data = read_member(path, fd, pickle, PICKLE_MAX)
    if check_crc and zlib.crc32(data) != pickle.crc:
        fail(path, f"{pickle.name}: checksum differs: the file is damaged")
    storages = Storages(path, fd, prefix, members, check_crc)
    return unpickle.load(path, data, storages.load, storages.tensor)


def read_member(path, fd, member, limit):
    if member.size > limit:
        fail(path, f"{member.name}: {member.size} bytes is beyond the limit of {limit}")
    return b"".join(pread_pieces(path, fd, member.start, member.size))


class Storages:
    """Resolves the pickle's persistent ids to archive members and builds checked views of them."""

    def __init__(self, path, fd, prefix, members, check_crc):
        self.path, self.fd, self.prefix, self.members = path, fd, prefix, members
        self.check_crc, self.seen = check_crc, {}

    def load(self, dtype, key, count):
        """A persistent id -> (member, dtype, count); the same key must always say the same."""
        name = f"{self.prefix}data/{key}"
        if name not in self.members:
            fail(self.path, f"storage {key!r} is named by the pickle, but {name!r} is not in the "
                            "archive")
        member, want = self.members[name], count * DTYPES[dtype].itemsize
        if member.size != want:
            fail(self.path, f"storage {key!r}: {count} x {dtype} needs {want} bytes, the archive "
                            f"holds {member.size}")
        storage = self.seen.setdefault(key, unpickle.Storage(member, dtype, count))
        if (storage.dtype, storage.count) != (dtype, count):
            fail(self.path, f"storage {key!r} is used as {storage.dtype} and as {dtype}")
        return storage

    def tensor(self, storage, offset, shape, strides):
        return FileTensor(self.path, "", storage.dtype, shape, self.fd, storage.member.start,
                          strides, offset, lambda: self.check(storage.member))

    def check(self, member):
        if not self.check_crc or member.checked:
            return
        crc = 0
        for piece in pread_pieces(self.path, self.fd, member.start, member.size):
            crc = zlib.crc32(piece, crc)
        if crc != member.crc:
            fail(self.path, f"{member.name}: checksum differs: the file is damaged "
                            "(--ignore-crc if it was saved without checksums)")
        member.checked = True


def read_directory(path, fd, size):
    """name -> Member, from the central directory; checks bounds, overlap, names and method."""
    count, cd_size, cd_start = find_directory(path, fd, size)
    if count > MEMBERS_MAX or cd_size > DIRECTORY_MAX:
        fail(path, f"zip directory of {count} members in {cd_size} bytes is beyond the limits "
                   f"({MEMBERS_MAX}, {DIRECTORY_MAX})")
    if cd_start + cd_size > size:
        fail(path, "truncated: the zip directory lies beyond the end of the file")
    directory = b"".join(pread_pieces(path, fd, cd_start, cd_size))
    members, at = {}, 0
    for _ in range(count):
        member, at = read_entry(path, fd, cd_start, directory, at)
        if member.name in members:
            fail(path, f"zip member {member.name!r} appears twice")
        members[member.name] = member
    end, last = 0, ""
    for m in sorted(members.values(), key=lambda m: (m.start, m.size)):
        if m.start < end:
            fail(path, f"zip members {last!r} and {m.name!r} overlap")
        end, last = m.start + m.size, m.name
    return members


def find_directory(path, fd, size):
    """(members, bytes, offset) of the central directory, from the end record (zip64 or not)."""
    tail_start = max(0, size - 65557)  # 22-byte record + a comment of at most 65535 bytes
    tail = os.pread(fd, size - tail_start, tail_start)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        fail(path, "truncated: a zip archive without its directory at the end")
    _, _, _, count, cd_size, cd_start = struct.unpack_from("<HHHHII", tail, at + 4)
    if at >= 20 and tail[at - 20:at - 16] == b"PK\6\7":
        where = struct.unpack_from("<Q", tail, at - 12)[0]
        record = os.pread(fd, 56, where) if where + 56 <= size else b""
        if record[:4] != b"PK\6\6" or len(record) != 56:
            fail(path, "truncated: the zip64 end record is missing")
        count, cd_size, cd_start = struct.unpack_from("<QQQ", record, 32)
    return count, cd_size, cd_start


def read_entry(path, fd, cd_start, directory, at):
    """One central directory entry -> (Member, next offset)."""
    if at + 46 > len(directory) or directory[at:at + 4] != b"PK\1\2":
        fail(path, f"zip directory is damaged at offset {cd_start + at}")
    (flags, method, _, _, crc, packed, size, name_len, extra_len, comment_len, _, _, _,
     offset) = struct.unpack_from("<HHHHIIIHHHHHII", directory, at + 8)
    end = at + 46 + name_len + extra_len + comment_len
    if end > len(directory):
        fail(path, f"zip directory is damaged at offset {cd_start + at}")
    raw = directory[at + 46:at + 46 + name_len]
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        fail(path, f"zip member name {raw!r} is not UTF-8")
    extra = directory[at + 46 + name_len:at + 46 + name_len + extra_len]
    size, packed, offset = zip64_sizes(path, name, extra, size, packed, offset)
    if flags & 1:
        fail(path, f"zip member {name!r} is encrypted")
    if method != 0 or packed != size:
        fail(path, f"zip member {name!r} is compressed (method {method}, {packed} -> {size} "
                   "bytes); torch stores its members uncompressed")
    return Member(name, data_start(path, fd, name, raw, offset, size, cd_start), size, crc), end


def zip64_sizes(path, name, extra, size, packed, offset):
    """Replace the 32-bit fields that overflowed by those of the zip64 extra field."""
    values, at = [size, packed, offset], 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = extra[at + 4:at + 4 + length]
            for i, value in enumerate(values):
                if value == 0xFFFFFFFF:
                    if len(field) < 8:
                        fail(path, f"zip member {name!r}: zip64 field is too short")
                    values[i] = struct.unpack("<Q", field[:8])[0]
                    field = field[8:]
            break
        at += 4 + length
    return values


def data_start(path, fd, name, raw, offset, size, limit):
    """Offset of a member's bytes, which must lie before the directory."""
    head = os.pread(fd, 30 + len(raw), offset) if offset + 30 <= limit else b""
    if len(head) != 30 + len(raw) or head[:4] != b"PK\3\4" or head[30:] != raw:
        fail(path, f"zip member {name!r}: no matching header at offset {offset}")
    name_len, extra_len = struct.unpack_from("<HH", head, 26)
    start = offset + 30 + name_len + extra_len
    if start + size > limit:
        fail(path, f"zip member {name!r}: bytes {start}..{start + size} lie outside the archive")
    return start
