#!/usr/bin/env python3
"""test_pictures.py KINETYPE MODEL: raw frames that `kinetype pictures` writes, and its refusals."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

KINETYPE, MODEL = sys.argv[1:3]
PICTURE = 192 * 112 * 3 // 2
TEXT, IDS = "with rain one green moon at rest over the hills", [11, 14, 10, 23, 57, 7, 134, 16, 4, 76, 1]
OTHER = [6, 51, 94, 20, 136, 29, 61, 62, 3, 4, 36, 1]
TAKES = [{"seed": 1, "prompt": IDS}, {"seed": 1, "prompt": IDS, "switch": OTHER, "at": 9, "transition": "cut", "note": 1},
         {"seed": 2, "prompt": IDS}]


class Pictures(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def pictures(self, lines, *words, name="x"):
        path = os.path.join(self.dir.name, "takes")
        with open(path, "w") as f:
            f.write("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        return subprocess.run([KINETYPE, "pictures", path, "--model", MODEL, "-o", os.path.join(self.dir.name, name), *words],
                              capture_output=True, text=True, timeout=240)

    def made(self, lines, *words):
        run = self.pictures(lines, "--frames", "0,8-9", "--steps", "1", *words)
        self.assertEqual(run.returncode, 0, run.stderr)
        with open(os.path.join(self.dir.name, "x"), "rb") as f:
            data = f.read()
        self.assertEqual(len(data) % (3 * PICTURE), 0)
        return [[data[i + n * PICTURE:][:PICTURE] for n in range(3)] for i in range(0, len(data), 3 * PICTURE)]

    def test_takes_in_order_whoever_makes_them(self):
        plain, changed, other = self.made(TAKES)
        self.assertEqual(plain[:2], changed[:2])  # until the switch takes effect at the block that begins at frame 9
        self.assertNotEqual(plain[2], changed[2])
        self.assertNotEqual(plain[0], other[0])
        self.assertNotEqual(plain[0], plain[1])
        one = ["--threads", "1"]
        alone = self.made(TAKES, *one)
        self.assertEqual(self.made(TAKES, *one, "--workers", "3"), alone)
        self.assertEqual(self.made(TAKES, *one, "--first", "1", "--count", "1"), alone[1:2])
        self.assertEqual(self.made(TAKES + ["", " "], *one, "--first", "2"), alone[2:])

    def test_takes_that_begin_alike_share_their_beginning(self):
        def take(**more):
            return dict(TAKES[1], **more)

        kinds = [take(), take(recache=1), take(blend=2), take(transition="scene"), take(seed=2), take(switch=IDS)]
        run = self.pictures(kinds, "--frames", "0,9,33", "--steps", "1", "--threads", "1")
        self.assertEqual(run.returncode, 0, run.stderr)
        with open(os.path.join(self.dir.name, "x"), "rb") as f:
            shared = f.read()
        alone = b""
        for i in range(len(kinds)):
            run = self.pictures(kinds, "--frames", "0,9,33", "--steps", "1", "--threads", "1", "--first", str(i), "--count", "1")
            self.assertEqual(run.returncode, 0, run.stderr)
            with open(os.path.join(self.dir.name, "x"), "rb") as f:
                alone += f.read()
        self.assertEqual(shared, alone)
        last = [shared[(3 * i + 2) * PICTURE:][:PICTURE] for i in range(len(kinds))]
        self.assertEqual(last[0], last[3])  # in so short a stream both rewrite everything
        self.assertEqual(len(set(last)), len(kinds) - 1)

    def test_text_and_its_ids_are_one_prompt(self):
        lines = [{"seed": 3, "prompt": TEXT}, {"seed": 3, "prompt": IDS}, {"seed": 3, "prompt": OTHER}]
        run = self.pictures(lines[:1], "--frames", "0")
        if "no tokenizer in this build" in run.stderr:
            self.skipTest("this build has no SentencePiece")
        text, ids, other = self.made(lines)
        self.assertEqual(text, ids)
        self.assertNotEqual(text, other)

    def test_the_frames_are_those_that_generate_shows(self):
        path = os.path.join(self.dir.name, "g.y4m")
        run = subprocess.run([KINETYPE, "generate", "--model", MODEL, "--prompt", TEXT, "--seed", "3", "--seconds", "1",
                              "--steps", "1", "--quiet", "-o", path], capture_output=True, text=True, timeout=240)
        if "not in this build" in run.stderr:
            self.skipTest("this build has no codecs")
        self.assertEqual(run.returncode, 0, run.stderr)
        with open(path, "rb") as f:
            head = len(f.readline())
            f.seek(head)
            frames = [f.read(6 + PICTURE)[6:] for _ in range(16)]
        self.assertEqual(self.made([{"seed": 3, "prompt": TEXT}]), [[frames[0], frames[8], frames[9]]])

    def refused(self, status, text, lines, *words):
        run = self.pictures(lines, *(words or ("--frames", "0")))
        self.assertEqual(run.returncode, status, run.stderr)
        self.assertIn(text, run.stderr)
        self.assertEqual(len(run.stderr.strip().splitlines()), 1, run.stderr)
        self.assertEqual(os.listdir(self.dir.name), ["takes"])

    def test_refusals(self):
        good = TAKES[0]
        self.refused(2, "--frames is missing", [good], "--quiet")
        for bad in ("", "x", "3-1", "5,5", "0-9,9", "1-", "2;3", "-1", "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16"):
            self.refused(2, "rising ranges", [good], "--frames=" + bad)
        self.refused(2, "did you mean '--frames'", [good], "--frame", "0")
        self.refused(2, "half", [good], "--frames", "0", "--precision", "half")
        self.refused(1, "no takes in it", ["", "  "])
        self.refused(1, "line 2: expected a JSON object", [good, "{"])
        self.refused(1, "line 2: expected a JSON object, found another value", [good, "[1]"])
        self.refused(1, "line 1: seed", [dict(good, seed=-1)])
        self.refused(1, "line 1: prompt", [{"seed": 1}])
        self.refused(1, "line 1: prompt", [dict(good, prompt=[])])
        self.refused(1, "at 1", [dict(good, prompt=[4, "x"])])
        self.refused(1, "line 1: at", [dict(good, switch=IDS)])
        self.refused(1, "line 1: transition", [dict(good, switch=IDS, at=9, transition="fade")])
        self.refused(1, "--first", [good], "--frames", "0", "--first", "1")
        self.refused(1, "take 1: ", [good, dict(good, prompt=[100000])], "--frames", "0", "--quiet")
        self.refused(1, "config.json", [good], "--frames", "0", "--model", self.dir.name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
