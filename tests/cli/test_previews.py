#!/usr/bin/env python3
"""test_previews.py KINETYPE MODEL ENCODER: what `kinetype previews` compares, and its refusals."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

KINETYPE, MODEL, ENCODER = sys.argv[1:4]
IDS, OTHER = [11, 14, 10, 23, 57, 7, 134, 16, 4, 76, 1], [6, 51, 94, 20, 136, 29, 61, 62, 3, 4, 36, 1]
PAIRS = [{"seed": 1, "prompt": IDS, "switch": OTHER, "at": 21}, {"seed": 2, "prompt": OTHER, "switch": IDS, "at": 9}]


class Previews(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def previews(self, lines, *words):
        path = os.path.join(self.dir.name, "pairs")
        with open(path, "w") as f:
            f.write("\n".join(map(json.dumps, lines)))
        return subprocess.run([KINETYPE, "previews", path, "--model", MODEL, "--encoder", ENCODER, "--threads", "1", *words],
                              capture_output=True, text=True, timeout=240)

    def figures(self, *words):
        run = self.previews(PAIRS, "--quiet", "--json", "-", *words)
        self.assertEqual(run.returncode, 0, run.stderr)
        out = json.loads(run.stdout)
        return out, {w["way"]: w["pictures"] for w in out["ways"]}

    def test_figures_and_the_same_again(self):
        out, ways = self.figures("--steps", "2")
        self.assertEqual(list(ways), ["old", "A1", "B1", "B2", "B4"])
        self.assertEqual((out["pairs"], out["steps"], out["low"]), (2, 2, [96, 64]))
        self.assertEqual(ways["old"]["share"], 0)
        self.assertEqual(ways["old"]["from_old_levels"], 0)
        self.assertGreater(ways["A1"]["psnr_db"], ways["old"]["psnr_db"])
        self.assertGreater(ways["A1"]["share"], 0.5)
        self.assertEqual(ways["A1"]["nearer_than_old"], 1)
        self.assertLess(ways["B1"]["ssim"], ways["A1"]["ssim"])
        for name in ("text", "recache", "step", "commit", "decode", "preview", "low_encode", "low_recache", "low_step"):
            self.assertGreater(out["stage_ms"][name], 0, name)
        self.assertEqual(self.figures("--steps", "2")[1], ways)

    def test_sheet(self):
        sheet = os.path.join(self.dir.name, "s.png")
        run = self.previews(PAIRS, "--steps", "2", "--sheet", sheet, "--cell", "64")
        if "not in this build" in run.stderr:
            self.skipTest("this build has no codecs")
        self.assertEqual(run.returncode, 0, run.stderr)
        with open(sheet, "rb") as f:
            head = f.read(24)
        self.assertEqual(head[:8], b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", head[16:])
        self.assertGreaterEqual(width, 5 * 64)  # old, A1, B1, B4, full
        self.assertGreaterEqual(height, 2 * 36)

    def test_way_b_at_the_full_size_draws_nearly_the_full_pictures(self):
        """Nothing but the encoder is between them then: the noise and the prompts are the same."""
        _, ways = self.figures("--low", "192x112")
        self.assertGreater(ways["B4"]["psnr_db"], 34)
        self.assertGreater(ways["B4"]["ssim"], 0.98)

    def refused(self, status, text, lines, *words):
        run = self.previews(lines, *words)
        self.assertEqual(run.returncode, status, run.stderr)
        self.assertIn(text, run.stderr)
        self.assertEqual(len(run.stderr.strip().splitlines()), 1, run.stderr)

    def test_refusals(self):
        for low in ("x", "96", "96x", "100x64", "96x64x", "0x0", "-96x64", "99999x64"):
            self.refused(2, "--low: expected WIDTHxHEIGHT in multiples of 16", PAIRS, "--low=" + low)
        self.refused(2, "did you mean '--sheet'", PAIRS, "--sheat", "x.png")
        self.refused(1, "take 0 has no \"switch\"", [{"seed": 1, "prompt": IDS}])
        self.refused(1, "\"at\" up to", [dict(PAIRS[0], at=100000)])
        self.refused(1, "no blend", [dict(PAIRS[0], blend=2)])
        self.refused(1, "no takes in it", [])
        self.refused(1, "steps: expected 0 (all) to 4, found 5", PAIRS, "--steps", "5")
        self.refused(1, "encoder.enter", PAIRS, "--encoder", os.path.join(MODEL, "vae.safetensors"))
        self.refused(1, "nowhere", PAIRS, "--encoder", os.path.join(self.dir.name, "nowhere"))
        self.refused(1, "config.json", PAIRS, "--model", self.dir.name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
