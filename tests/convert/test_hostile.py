"""Files that are damaged or made to do harm: each must end in a clear error, with nothing run."""
import contextlib
import json
import os
import pickle
import random
import struct
import unittest
import zlib

import numpy as np

import support
import torchfile
import torchzip
import unpickle
from errors import ConvertError
from support import TempDirTest, raw_safetensors
from torchfile import Storage, T, tensor
from weights import Weights

# Hand-made protocol 2 pickles: PROTO 2, a body, STOP.
PROTO, STOP = b"\x80\x02", b"."


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def number(n):
    return b"J" + struct.pack("<i", n) if -2**31 <= n < 2**31 else \
        b"\x8a\x09" + n.to_bytes(9, "little", signed=True)


def tuple_of(*parts):
    return b"(" + b"".join(parts) + b"t"


def persistent(kind=b"ctorch\nFloatStorage\n", key=text("0"), count=number(6), tag=text("storage")):
    return tuple_of(tag, kind, key, text("cpu"), count) + b"Q"


def rebuild(storage=None, offset=number(0), shape=None, stride=None):
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + tuple_of(
        persistent() if storage is None else storage, offset,
        shape or tuple_of(number(2), number(3)), stride or tuple_of(number(3), number(1)),
        b"\x89", b"ccollections\nOrderedDict\n)R") + b"R"


def one_tensor(value):
    return PROTO + b"}" + text("w") + value + b"s" + STOP


class PickleTest(TempDirTest):
    def file(self, pickled, storages=None, **zip_options):
        path = self.path("weights.pt")
        storages = {"0": np.arange(6, dtype="<f4").tobytes()} if storages is None else storages
        torchfile.write(path, pickled, storages, **zip_options)
        return path

    def refuse(self, pickled, *words, **kw):
        self.refused(self.file(pickled, **kw), *words)

    def test_the_hand_made_pickle_is_read(self):
        weights = self.open(self.file(one_tensor(rebuild())))
        np.testing.assert_array_equal(weights.tensors["w"].array(), np.arange(6).reshape(2, 3))

    # --- nothing is executed -------------------------------------------------------------------

    def test_code_is_refused_by_name(self):
        mark = self.path("owned")
        command = f"touch {mark}"

        class Reduce:
            def __reduce__(self):
                return os.system, (command,)

        class Eval:
            def __reduce__(self):
                return eval, (f"open({mark!r}, 'w')",)

        line = command.encode() + b"\n"
        cases = {
            "REDUCE 2": (pickle.dumps({"w": Reduce()}, 2), "posix.system"),
            "REDUCE 4 (STACK_GLOBAL)": (pickle.dumps({"w": Reduce()}, 4), "posix.system"),
            "eval": (pickle.dumps({"w": Eval()}, 2), "__builtin__.eval"),
            "GLOBAL": (PROTO + b"cos\nsystem\n" + tuple_of(text(command)) + b"R.", "os.system"),
            "INST": (b"(S'" + line[:-1] + b"'\nios\nsystem\n.", "INST of 'os.system'"),
            "OBJ": (b"(cos\nsystem\nS'" + line[:-1] + b"'\no.", "os.system"),
            "NEWOBJ": (PROTO + b"csubprocess\nPopen\n" + tuple_of(text(command)) + b"\x81.",
                       "subprocess.Popen"),
            "NEWOBJ on a permitted class": (PROTO + b"ccollections\nOrderedDict\n)\x81.",
                                            "NEWOBJ on collections.OrderedDict"),
            "nested": (PROTO + b"}" + text("w") + rebuild(b"cos\nsystem\n"
                       + tuple_of(text(command)) + b"R") + b"s.", "os.system"),
            "an attribute of a permitted module": (PROTO + b"ctorch\nload\n.", "torch.load"),
            "a dotted name": (b"\x80\x04" + text("torch._utils") + text("os.system") + b"\x93.",
                              "torch._utils.os.system"),
            "torch's own loader": (PROTO + b"ctorch.storage\n_load_from_bytes\n.",
                                   "_load_from_bytes"),
            "config object": (PROTO + b"comegaconf.dictconfig\nDictConfig\n)\x81.",
                              "omegaconf.dictconfig.DictConfig"),
            "EXT": (PROTO + b"\x82\x01.", "EXT1"),
            "PERSID": (b"Pposix.system\n.", "PERSID"),
        }
        for name, (data, word) in cases.items():
            with self.subTest(name):
                self.refuse(data, "refused", word)
                self.assertFalse(os.path.exists(mark), "it ran!")

    def test_permitted_names_cannot_be_misused(self):
        cases = {
            "a storage type called": (PROTO + b"ctorch\nFloatStorage\n)R.", "torch.FloatStorage"),
            "a string called": (PROTO + text("os.system") + b")R.", "call of str"),
            "BUILD on a dict": (PROTO + b"}}b.", "state of an object of type dict"),
            "BUILD on a class": (PROTO + b"ccollections\nOrderedDict\n}" + text("__init__")
                                 + text("x") + b"sb.", "collections.OrderedDict"),
            "BUILD with other state": (PROTO + b"ccollections\nOrderedDict\n)R}" + text("__class__")
                                       + text("x") + b"sb.", "OrderedDict"),
            "BUILD on a tensor": (PROTO + rebuild() + b"}" + text("fd") + number(0) + b"sb.",
                                  "FileTensor"),
        }
        for name, (data, word) in cases.items():
            with self.subTest(name):
                self.refuse(data, "refused", word)

    # --- tensors that reach outside their storage ----------------------------------------------

    def test_bounds(self):
        dims = lambda *n: tuple_of(*map(number, n))
        cases = {
            "size": (rebuild(shape=dims(3, 3)), "reaches element 8 of a storage of 6"),
            "offset": (rebuild(offset=number(1)), "offset 1 reaches element 6"),
            "stride": (rebuild(stride=dims(4, 1)), "reaches element 6"),
            "huge stride": (rebuild(stride=dims(2**31 - 1, 1)), "reaches element"),
            "huge size": (rebuild(shape=dims(2**47, 2**47), stride=dims(0, 0)), "repeats"),
            "expanded": (rebuild(shape=dims(1 << 30, 3), stride=dims(0, 1)), "repeats a storage"),
            "negative offset": (rebuild(offset=number(-1)), "non-negative"),
            "negative size": (rebuild(shape=dims(-2, 3)), "non-negative"),
            "negative stride": (rebuild(stride=dims(-3, 1)), "non-negative"),
            "too large a size": (rebuild(shape=dims(1 << 60, 3)), "non-negative"),
            "bool size": (rebuild(shape=tuple_of(b"\x88", number(3))), "non-negative"),
            "text size": (rebuild(shape=tuple_of(text("2"), number(3))), "non-negative"),
            "rank mismatch": (rebuild(shape=dims(6)), "non-negative"),
            "nine dimensions": (rebuild(shape=dims(*[1] * 9), stride=dims(*[1] * 9)), "at most 8"),
            "no storage": (rebuild(storage=text("0")), "without a storage"),
            "too few arguments": (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "TypeError"),
            "absent storage": (rebuild(persistent(key=text("1"))), "storage '1'"),
            "path as key": (rebuild(persistent(key=text("../data.pkl"))), "not in the archive"),
            "storage count": (rebuild(persistent(count=number(7))), "needs 28 bytes"),
            "storage dtype": (rebuild(persistent(kind=b"ctorch\nDoubleStorage\n")), "6 x F64"),
            "unknown storage": (rebuild(persistent(kind=b"ctorch\nQInt8Storage\n")),
                                "torch.QInt8Storage"),
            "storage of nothing": (rebuild(persistent(kind=b"ctorch\nfloat32\n")), "known type"),
            "negative count": (rebuild(persistent(count=number(-6))), "element count"),
            "number as key": (rebuild(persistent(key=number(0))), "valid key"),
            "not a storage": (rebuild(persistent(tag=text("module"))), "persistent id"),
            "persistent id of text": (rebuild(text("0") + b"Q"), "persistent id"),
        }
        for name, (value, word) in cases.items():
            with self.subTest(name):
                self.refuse(one_tensor(value), word)

    def test_one_storage_two_types(self):
        half = persistent(kind=b"ctorch\nIntStorage\n")
        data = PROTO + b"}(" + text("a") + rebuild() + text("b") + rebuild(half) + b"u."
        self.refuse(data, "used as F32 and as I32")

    def test_empty_tensors_are_harmless(self):
        zero = tuple_of(number(0), number(3))
        weights = self.open(self.file(one_tensor(rebuild(shape=zero))))
        self.assertEqual(weights.tensors["w"].array().shape, (0, 3))

    # --- shape of the pickle -------------------------------------------------------------------

    def test_limits(self):
        deep = PROTO + b"}" + text("w") + b"]" * 100 + b"a" * 99 + b"s."
        self.refuse(deep, "nested deeper than")
        self.refuse(PROTO + b")" + b"\x85" * 100000 + b".", "nested deeper than")
        self.refuse(PROTO + b"]" * 200000 + b".", "stack deeper than")
        self.refuse(PROTO + b"(" * 200000 + b".", "stack deeper than")
        limit, unpickle.OPS_MAX = unpickle.OPS_MAX, 1000
        try:
            self.refuse(PROTO + b"N0" * 1000 + b".", "more than 1000 operations")
        finally:
            unpickle.OPS_MAX = limit
        self.refuse(PROTO + b"r\xff\xff\xff\x7f" + b".", "damaged pickle")

    def test_huge_memo_index_costs_nothing(self):
        data = PROTO + b"}r\xff\xff\xff\x7f" + text("w") + rebuild() + b"s."
        self.assertEqual(list(self.open(self.file(data)).tensors), ["w"])

    def test_self_reference(self):
        data = PROTO + b"}q\x00" + text("me") + b"h\x00s."
        self.refuse(data, "no tensors found")

    def test_dictionary_keys(self):
        self.refuse(PROTO + b"}(" + text("w") + rebuild() + text("w") + rebuild() + b"u.", "twice")
        self.refuse(PROTO + b"}" + b")" + rebuild() + b"s.", "key of type tuple")
        self.refuse(PROTO + b"}" + number(3) + rebuild() + b"s.", "tensor name of type int")
        surrogate = b"X\x03\x00\x00\x00\xed\xa0\x80"
        self.refuse(PROTO + b"}" + surrogate + rebuild() + b"s.", "not valid Unicode")
        self.refuse(PROTO + b"}" + b"X\x02\x00\x00\x00\xff\xfe" + rebuild() + b"s.", "damaged")
        self.refuse(one_tensor(rebuild()).replace(text("w"), text("w" * 100000)).replace(
            b"ccollections", b"cbad"), "bad.OrderedDict")

    def test_malformed(self):
        for data in (b"", b".", PROTO, PROTO + b"0.", PROTO + b"t.", PROTO + b"e.",
                     PROTO + b"h\x05.", PROTO + b"Na.", PROTO + b"}N.", PROTO + b"}(Nu.",
                     PROTO + b"R.", PROTO + b"Q.", PROTO + b"(.",
                     PROTO + b"\x8b\xff\xff\xff\x7f.", PROTO + b"X\xff\xff\xff\xff.",
                     b"\x80\xff}.", b"\xff" * 50, PROTO + b"I" + b"9" * 5000 + b"\n.",
                     b"\x80\x04\x8e" + b"\xff" * 8 + b".", b"\x80\x04\x93.", PROTO + b"N\x93.",
                     PROTO + b"K\x01K\x02\x93.", PROTO + b"]" + b"R."):
            with self.subTest(data[:20]):
                self.refuse(data)
        self.refuse(b"\x80\xff" + one_tensor(rebuild())[2:], "protocol 255")
        self.refuse(PROTO + b"}" + text("w") + b"(s.", "unexpected mark")
        self.refuse(PROTO + b"N.", "expected a dictionary of tensors, found NoneType")
        self.refuse(PROTO + rebuild() + b".", "expected a dictionary")
        self.refuse(PROTO + b"}" + text("a") + b"Ns.", "no tensors", "'a'")

    def test_random_damage(self):
        """Any change of the pickle's bytes gives tensors within bounds or an error, never a
        crash."""
        rng, good = random.Random(5), bytearray(one_tensor(rebuild()))
        for _ in range(1000):
            data = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            with contextlib.suppress(ConvertError):
                with contextlib.closing(Weights(self.file(bytes(data)))) as weights:
                    for t in weights.tensors.values():
                        self.assertLessEqual(t.array().size, 6)


class ZipTest(TempDirTest):
    PICKLE = one_tensor(rebuild())
    DATA = np.arange(6, dtype="<f4").tobytes()

    def build(self, alter=lambda name, f: None, members=None, zip64=True):
        members = members or [("a/data.pkl", self.PICKLE), ("a/byteorder", b"little"),
                              ("a/data/0", self.DATA), ("a/version", b"3\n")]
        return torchfile.make_zip(members, alter, zip64)

    def refuse(self, *words, **kw):
        self.refused(self.put("weights.pt", self.build(**kw)), *words)

    def test_both_end_records(self):
        for zip64 in (True, False):
            weights = self.open(self.put("weights.pt", self.build(zip64=zip64)))
            self.assertEqual(weights.tensors["w"].shape, (2, 3))

    def test_zip64_sizes(self):
        """Sizes and offset in the zip64 field, as for members past 4 GiB."""
        def alter(name, f):
            f["extra"] = b"XX\2\0zz" + struct.pack("<HHQQQ", 1, 24, f["size"], f["packed"],
                                                   f["offset"])
            f["size"] = f["packed"] = f["offset"] = 0xFFFFFFFF
        weights = self.open(self.put("weights.pt", self.build(alter)))
        self.assertEqual(weights.tensors["w"].array().tobytes(), self.DATA)

        def short(name, f):
            alter(name, f)
            f["extra"] = struct.pack("<HHQ", 1, 8, 24)
        self.refuse("zip64 field is too short", alter=short)

    def test_every_truncation(self):
        whole = self.build()
        self.assertEqual(list(self.open(self.put("whole.pt", whole)).tensors), ["w"])
        for n in range(len(whole)):
            self.refused(self.put("cut.pt", whole[:n]))
            if n % 7 == 0:  # cut from the middle, with the end kept
                self.refused_or_same(whole[:n] + whole[n + 13:])

    def refused_or_same(self, data):
        """Padding may be lost without harm; anything else must be noticed."""
        path = self.put("cut.pt", data)
        try:
            with contextlib.closing(Weights(path)) as weights:
                self.assertEqual(weights.tensors["w"].array().tobytes(), self.DATA)
        except ConvertError:
            pass

    def test_random_damage(self):
        rng, whole = random.Random(6), self.build()
        for _ in range(800):
            data = bytearray(whole)
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            self.refused_or_same(bytes(data))

    def test_bombs(self):
        def claim(field, value):
            return lambda name, f: f.update({field: value}) if name == "a/data/0" else None
        packed = zlib.compress(bytes(1 << 20))
        self.refuse("compressed", alter=claim("method", 8))
        self.refuse("compressed", alter=claim("size", 1 << 31))
        self.refuse("compressed", members=[
            ("a/data.pkl", self.PICKLE), ("a/data/0", packed)],
            alter=lambda n, f: f.update(method=8, size=1 << 20) if n == "a/data/0" else None)
        for size, word in ((1 << 31, "outside the archive"), (400, "outside the archive"),
                           (25, "needs 24 bytes, the archive holds 25")):
            self.refuse(word, alter=lambda n, f, size=size: f.update(
                size=size, packed=size) if n == "a/data/0" else None)
        self.refuse("beyond the limit", members=[("a/data.pkl", bytes(33 << 20))])

    def test_overlap(self):
        """Two directory entries on the same bytes (as quine and overlap bombs have)."""
        at = {}

        def alter(name, f):
            at[name] = f["offset"]
            if name == "b/data/0":
                f["offset"] = at["a/data/0"]
        same = [("a/data.pkl", self.PICKLE), ("a/data/0", self.DATA), ("b/data/0", self.DATA)]
        self.refuse("no matching header", alter=alter, members=same)
        inner = torchfile.make_zip([("a/data/1", self.DATA)])
        self.refuse("overlap", members=[("a/data.pkl", self.PICKLE), ("a/data/0", inner),
                                        ("a/data/1", self.DATA)],
                    alter=lambda n, f: at.update({n: f["offset"]}) or f.update(
                        offset=self.inner_offset(n, at, f, inner)))

    def inner_offset(self, name, at, f, inner):
        """data/1 points at the copy of its header that lies within data/0."""
        if name != "a/data/1":
            return f["offset"]
        whole = torchfile.make_zip([("a/data.pkl", self.PICKLE), ("a/data/0", inner)])
        return whole.index(inner)

    def test_directory(self):
        self.refuse("twice", members=[("a/data.pkl", self.PICKLE), ("a/data/0", self.DATA),
                                      ("a/data/0", self.DATA)])
        self.refuse("encrypted", alter=lambda n, f: f.update(flags=1))
        self.refuse("no matching header", alter=lambda n, f: f.update(offset=f["offset"] + 1))
        self.refuse("no matching header", alter=lambda n, f: f.update(offset=0xFFFFFFFE))
        self.refused(self.put("w.pt", self.build().replace(b"PK\3\4-\0\x08", b"PK\3\5-\0\x08")
                              .replace(b"PK\3\5", b"PK\3\4", 1)), "no matching header")
        self.refuse("found 0", members=[("x.txt", b"hello")])
        self.refuse("found 2", members=[("a/data.pkl", self.PICKLE), ("b/data.pkl", self.PICKLE)])
        self.refuse("big-endian", members=[("a/data.pkl", self.PICKLE), ("a/byteorder", b"big"),
                                           ("a/data/0", self.DATA)])
        whole = bytearray(self.build(zip64=False))
        whole[-6 - 6:-6] = struct.pack("<IH", 1 << 30, 0)[:6]
        self.refused(self.put("w.pt", bytes(whole)))
        for field, value in ((10, 0xFFFF), (12, 0x7FFFFFFF), (16, 0x7FFFFFFF)):
            whole = bytearray(self.build(zip64=False))
            struct.pack_into("<H" if field == 10 else "<I", whole, len(whole) - 22 + field, value)
            self.refused(self.put("w.pt", bytes(whole)))
        for at, value in ((32, 1 << 60), (40, 1 << 60), (48, 1 << 60), (32, 1 << 16)):
            whole = bytearray(self.build())
            struct.pack_into("<Q", whole, len(whole) - 22 - 20 - 56 + at, value)
            self.refused(self.put("w.pt", bytes(whole)))

    def test_directory_limits(self):
        limit, torchzip.MEMBERS_MAX = torchzip.MEMBERS_MAX, 3
        try:
            self.refuse("directory of 4 members")
        finally:
            torchzip.MEMBERS_MAX = limit
        limit, torchzip.DIRECTORY_MAX = torchzip.DIRECTORY_MAX, 100
        try:
            self.refuse("is beyond the limits")
        finally:
            torchzip.DIRECTORY_MAX = limit

    def test_last_entry_runs_past_the_directory(self):
        whole = bytearray(self.build(zip64=False))
        last = whole.rindex(b"PK\1\2")
        struct.pack_into("<H", whole, last + 32, 50)  # comment length
        self.refused(self.put("w.pt", bytes(whole)), "zip directory is damaged")

    def test_checksums(self):
        for name in ("a/data.pkl", "a/data/0"):
            def alter(n, f, name=name):
                f["crc"] ^= n == name
            self.refuse(name, "checksum differs", alter=alter)
            weights = self.open(self.put("weights.pt", self.build(alter)), check_crc=False)
            self.assertEqual(weights.tensors["w"].array().tobytes(), self.DATA)


class OtherFormatsTest(TempDirTest):
    def test_named_for_what_they_are(self):
        legacy = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
        self.refused(self.put("old.pt", legacy), "legacy torch file")
        self.refused(self.put("old.pt", pickle.dumps({"w": 1}, 4)), "legacy torch file")
        self.refused(self.put("p", b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS")
        self.refused(self.put("p", b""), "0 bytes")
        self.refused(self.put("p", b"<!DOCTYPE html><html>"), "not a safetensors file")


class SafetensorsTest(TempDirTest):
    ONE = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    BODY = np.arange(6, dtype="<f4").tobytes()

    def refuse(self, header, *words, body=BODY, length=None):
        if not isinstance(header, bytes):
            header = json.dumps(header).encode()
        self.refused(self.put("w.safetensors", raw_safetensors(header, body, length)), *words)

    def one(self, **changes):
        return {"w": {**self.ONE["w"], **changes}}

    def test_good(self):
        for pad in range(300):  # passes through lengths that begin like a pickle
            header = json.dumps({**self.ONE, "__metadata__": {"a": "b"}}).encode() + b" " * pad
            weights = self.open(self.put("w.safetensors", raw_safetensors(header, self.BODY)))
            np.testing.assert_array_equal(weights.tensors["w"].array(), np.arange(6).reshape(2, 3))

    def test_every_truncation(self):
        whole = raw_safetensors(json.dumps(self.ONE).encode(), self.BODY)
        for n in range(len(whole)):
            self.refused(self.put("w.safetensors", whole[:n]))
        self.refused(self.put("w.safetensors", whole + b"x"), "cover 24 bytes", "holds 25")

    def test_header_length(self):
        for length in (2**60, 2**64 - 1, 100_000_001):
            self.refuse(self.ONE, "beyond the limit", length=length)
        self.refuse(self.ONE, "truncated", length=10_000)
        self.refuse(self.ONE, "not valid JSON", length=20)

    def test_header_text(self):
        self.refuse(b"\xff\xfe{}", "not valid JSON")
        self.refuse(b'{"\xc3\x28": 1}', "not valid JSON")
        self.refuse(b"[" * 200000, "not valid JSON")
        self.refuse(b'{"a":' * 50000, "not valid JSON")
        self.refuse(b"[]", "expected a JSON object, found list")
        self.refuse(b'{"w": ' + b"9" * 5000 + b"}", "not valid JSON")
        entry = json.dumps(self.ONE["w"]).encode()
        self.refuse(b'{"w": ' + entry + b', "w": ' + entry + b"}", "'w' appears twice")
        self.refuse(b'{"w": {"dtype": "F32", "dtype": "F16", "shape": [2, 3], '
                    b'"data_offsets": [0, 24]}}', "'dtype' appears twice")
        self.refuse({**self.ONE, "__metadata__": {"a": 1}}, "__metadata__")
        self.refuse({**self.ONE, "__metadata__": 3}, "__metadata__")

    def test_entries(self):
        for entry in (3, [], {"dtype": "F32"}, {**self.ONE["w"], "x": 1}):
            self.refuse({"w": entry}, "'w'", "dtype, shape and data_offsets")
        for dtype in ("F8_E4M3", "f32", 3, None, ["F32"]):
            self.refuse(self.one(dtype=dtype), "'w'", "unknown dtype")
        for shape in (6, [2.0, 3], [-2, -3], [True, 6], ["2", 3], [1 << 60, 3], [1] * 9, {}):
            self.refuse(self.one(shape=shape), "'w'", "shape")
        for offsets in ([0], [0, 24, 24], [0, "24"], [-24, 0], [False, 24], 24, [0, 1 << 62]):
            self.refuse(self.one(data_offsets=offsets), "'w'", "data_offsets")
        for offsets in ([0, 25], [24, 0], [100, 124]):
            self.refuse(self.one(data_offsets=offsets), "'w'", "outside")
        self.refuse(self.one(shape=[2, 2]), "needs 16 bytes, data_offsets give 24")
        self.refuse(self.one(dtype="F16"), "needs 12 bytes")
        self.refuse(self.one(shape=[1 << 40, 1 << 40]), "needs")

    def test_layout(self):
        two = {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
               "b": {"dtype": "F32", "shape": [3], "data_offsets": [12, 24]}}
        self.refuse({**two, "b": {**two["b"], "data_offsets": [8, 20]}}, "'b'", "overlaps")
        self.refuse({**two, "b": {**two["b"], "data_offsets": [0, 12]}}, "overlaps")
        self.refuse({**two, "b": {**two["b"], "data_offsets": [16, 28]}}, "'b'", "hole",
                    body=self.BODY + b"1234")
        self.refuse({}, "cover 0 bytes")

    def test_names_cannot_flood_the_terminal(self):
        self.refuse({"\x1b[2J" + "x" * 100000: 3}, r"\x1b[2J")

    def test_random_damage(self):
        rng, whole = random.Random(7), raw_safetensors(json.dumps(self.ONE).encode(), self.BODY)
        for _ in range(1000):
            data = bytearray(whole)
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data) - 24)] = rng.randrange(256)
            with contextlib.suppress(ConvertError):
                with contextlib.closing(Weights(self.put("w", bytes(data)))) as weights:
                    for t in weights.tensors.values():
                        self.assertLessEqual(t.array().nbytes, 24)

    def test_file_shrinks_while_open(self):
        path = self.put("w", raw_safetensors(json.dumps(self.ONE).encode(), self.BODY))
        weights = self.open(path)
        os.truncate(path, 60)
        with self.assertRaisesRegex(ConvertError, "ended early"):
            weights.tensors["w"].array()


class TensorTest(TempDirTest):
    def test_views_and_types(self):
        base = np.arange(24, dtype=np.float32) - 7
        for dtype in ("F32", "F16", "BF16", "F64", "I64"):
            s = Storage(torchfile.to_bits(base, dtype), dtype)
            views = {"whole": T(s, (4, 6)), "transposed": T(s, (6, 4), (1, 6)),
                     "columns": T(s, (4, 2), (6, 1), 3), "scalar": T(s, (), (), 5),
                     "every second": T(s, (12,), (2,), 1), "one": T(s, (1, 6), (99, 1), 6)}
            torchfile.save(self.path("v.pt"), views)
            tensors = self.open(self.path("v.pt")).tensors
            grid = torchfile.to_bits(base, dtype).reshape(4, 6)
            want = {"whole": grid, "transposed": grid.T, "columns": grid[:, 3:5],
                    "scalar": grid.reshape(-1)[5], "every second": grid.reshape(-1)[1::2],
                    "one": grid[1:2]}
            for name, values in want.items():
                with self.subTest(name=name, dtype=dtype):
                    self.assertEqual(tensors[name].dtype, dtype)
                    np.testing.assert_array_equal(tensors[name].array(), values)
                    flat = np.concatenate(list(tensors[name].chunks()))
                    np.testing.assert_array_equal(flat, np.ravel(values))

    def test_bf16_rounding(self):
        from tensors import from_f32, to_f32
        cases = {0x3F800000: 0x3F80, 0x3F808000: 0x3F80, 0x3F818000: 0x3F82, 0x3F808001: 0x3F81,
                 0x7F800000: 0x7F80, 0xFF800000: 0xFF80, 0x00000000: 0, 0x80000000: 0x8000,
                 0x7F7FFFFF: 0x7F80, 0x00008001: 1}
        values = np.array(list(cases), "<u4").view("<f4")
        np.testing.assert_array_equal(from_f32(values, "BF16"), list(cases.values()))
        nan = from_f32(np.array([0x7F800001, 0xFFFFFFFF], "<u4").view("<f4"), "BF16")
        self.assertTrue(np.isnan(to_f32(nan, "BF16")).all())


if __name__ == "__main__":
    unittest.main()
