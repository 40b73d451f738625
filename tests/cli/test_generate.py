#!/usr/bin/env python3
"""test_generate.py KINETYPE MODEL: files that `kinetype generate` writes, read back, and its refusals."""
import os
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

KINETYPE, MODEL = sys.argv[1:3]


def generate(*words):
    return subprocess.run([KINETYPE, "generate", "--model", MODEL, *words], capture_output=True, text=True, timeout=240)


def read_y4m(path):
    with open(path, "rb") as f:
        header = f.readline().decode().split()
        assert header[0] == "YUV4MPEG2", header
        width, height = int(header[1][1:]), int(header[2][1:])
        frames = []
        while f.readline() == b"FRAME\n":
            frames.append(f.read(width * height * 3 // 2))
            assert len(frames[-1]) == width * height * 3 // 2
        return width, height, frames


class Generate(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def test_same_seed_same_file_and_a_switch_changes_the_rest(self):
        words = ["--prompt", "a red circle", "--seconds", "2", "--steps", "1"]
        for name, more in (("a", []), ("b", []), ("c", ["--switch", "1:a blue square"]), ("d", ["--seed", "8"])):
            run = generate(*words, *more, "-o", self.path(name + ".y4m"))
            self.assertEqual(run.returncode, 0, run.stderr)
        a, b, c, d = (read_y4m(self.path(n + ".y4m")) for n in "abcd")
        self.assertEqual(len(a[2]), 32)
        self.assertEqual(a, b)
        self.assertNotEqual(a, d)
        # A switch takes effect at the first block boundary at or after its time: 21 frames in, with blocks of 9 and 12.
        self.assertEqual(a[2][:21], c[2][:21])
        self.assertNotEqual(a[2][21], c[2][21])

    def test_webm_and_contact_sheet(self):
        run = generate("--prompt", "a red circle", "--seconds", "1", "--steps", "1", "-o", self.path("x.webm"),
                       "--sheet", self.path("x.png"))
        self.assertEqual(run.returncode, 0, run.stderr)
        with open(self.path("x.webm"), "rb") as f:
            data = f.read()
        self.assertEqual(data[:4], b"\x1a\x45\xdf\xa3")
        self.assertIn(b"webm", data[:64])
        self.assertIn(b"V_VP9", data)
        with open(self.path("x.png"), "rb") as f:
            png = f.read()
        self.assertEqual(png[:8], b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", png[16:24])
        self.assertEqual((width, height), (4 * 196 + 4, 4 * 116 + 4))
        self.assertIn("16 of 16 frames", run.stderr)
        self.assertEqual(os.listdir(self.dir.name).count("x.webm.part"), 0)

    def refused(self, status, text, *words):
        run = generate(*words)
        self.assertEqual(run.returncode, status, run.stderr)
        self.assertIn(text, run.stderr)
        self.assertEqual(len(run.stderr.strip().splitlines()), 1)

    def test_refusals(self):
        out = self.path("x.y4m")
        self.refused(2, "--prompt is missing", "-o", out)
        self.refused(2, "-o FILE is missing", "--prompt", "x")
        self.refused(2, "expected SECONDS:TEXT", "--prompt", "x", "--switch", "3", "-o", out)
        self.refused(2, "the video ends at 2 s", "--prompt", "x", "--seconds", "2", "--switch", "3:y", "-o", out)
        self.refused(2, "expected rising times", "--prompt", "x", "--switch", "3:y", "--switch", "2:z", "-o", out)
        self.refused(2, "expected a whole number", "--prompt", "x", "--seed", "-1", "-o", out)
        self.refused(2, "did you mean '--seconds'", "--prompt", "x", "--secnds", "3", "-o", out)
        self.refused(1, "ends in .webm, .y4m or .png", "--prompt", "x", "-o", self.path("x.avi"))
        self.refused(1, "No such file", "--prompt", "x", "-o", self.path("nowhere/x.y4m"))
        self.refused(1, "config.json", "--prompt", "x", "-o", out, "--model", self.path("nothing"))
        self.refused(1, "UTF-8", "--prompt", b"\xff\xfe", "-o", out)
        self.assertEqual(os.listdir(self.dir.name), [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
