#!/usr/bin/env python3
"""test_bench.py KINETYPE MODEL: what `kinetype bench` measures and leaves out, and its refusals. No timing is judged."""
import json
import subprocess
import sys
import unittest

KINETYPE, MODEL = sys.argv[1:3]


def bench(*words):
    return subprocess.run([KINETYPE, "bench", MODEL, "--seconds", "0.1", "--steps", "1", *words], capture_output=True,
                          text=True, timeout=240)


class Bench(unittest.TestCase):
    def report(self, *words):
        run = bench("--json", *words)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)

    def test_an_empty_prompt_is_a_prompt(self):
        self.assertFalse(self.report("--prompt", "")["random_weights"])
        report = self.report("--prompt", "", "--random")
        self.assertTrue(report["random_weights"])
        self.assertEqual(report["text_tokens"], 40)

    def test_counts_are_those_of_one_block(self):
        report, longer, more = self.report(), self.report("--seconds", "0.6"), self.report("--steps", "2")
        block = report["per_block"]
        self.assertEqual(block, longer["per_block"])
        self.assertEqual(block["downloads"], 3 * 4)  # latents, and the pictures of one
        self.assertEqual(block["bytes_downloaded"], 12 * 192 * 112 * 3 // 2)
        self.assertEqual((block["syncs"], block["allocations"], report["snapshot_bytes_copied"]), (0, 0, 0))
        self.assertEqual((report["steps"], more["steps"]), (1, 2))
        self.assertGreater(more["per_block"]["launches"], block["launches"])
        self.assertEqual(more["per_block"]["downloads"], block["downloads"])
        if report["encoder"] != "none":
            self.assertGreater(report["encoded_bytes_per_s"], 0)

    def test_what_is_left_out(self):
        report = self.report("--no-vae", "--no-text")
        self.assertEqual([report[key] for key in ("width", "height", "encoder", "encoded_bytes_per_s", "fps_end_to_end")],
                         [0, 0, "none", 0, 0])
        for pool in ("decoded i420", "text scratch"):
            self.assertNotIn(pool, report["device_memory_mib"])
        self.assertGreater(report["stage_ms"]["denoise_block"], 0)
        for stage in ("vae_decode", "convert", "encode"):
            self.assertEqual(report["stage_ms"][stage], 0)
        whole = self.report()
        self.assertEqual((whole["width"], whole["height"]), (192, 112))
        self.assertTrue({"decoded i420", "text scratch"} <= set(whole["device_memory_mib"]))
        self.assertGreater(whole["stage_ms"]["vae_decode"], 0)

    def test_every_word_for_a_precision_is_one(self):
        listed = bench("--precision", "half").stderr.partition("expected ")[2].strip()
        words = listed.replace(" or ", ", ").split(", ")
        self.assertEqual(len(words), 5)
        for command in ("bench", "generate", "pictures"):
            run = subprocess.run([KINETYPE, command, "--help"], capture_output=True, text=True, timeout=60)
            if "not in this build" not in run.stderr:
                self.assertIn(listed, run.stdout + run.stderr)
        for word in words:  # a model that is not there: refused later than the word
            run = subprocess.run([KINETYPE, "bench", "nowhere", "--precision", word], capture_output=True, text=True,
                                 timeout=60)
            self.assertIn("nowhere", run.stderr)

    def test_precision_is_told_as_it_is(self):
        for asked, told in (("auto", "fp32"), ("fp32", "fp32"), ("fp8", "fp8-emulated"), ("fp8-emulated", "fp8-emulated")):
            self.assertEqual(self.report("--precision", asked, "--no-vae", "--no-text")["precision"], told)

    def refused(self, status, text, *words):
        run = bench(*words)
        self.assertEqual(run.returncode, status, run.stderr)
        self.assertIn(text, run.stderr)
        self.assertEqual(len(run.stderr.strip().splitlines()), 1, run.stderr)
        self.assertEqual(run.stdout, "")

    def test_refusals(self):
        self.refused(1, "precision 'half': expected auto, fp32", "--precision", "half")
        self.refused(1, "no preview_vae", "--tiny-vae")
        self.refused(2, "did you mean '--no-vae'", "--no-vea")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
