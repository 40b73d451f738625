"""The committed cases are what the reference computes, and the comparison can fail.

Exit status 77 without NumPy.
"""
import contextlib
import io
import pathlib
import shutil
import sys
import tempfile
import unittest

try:
    import numpy as np
except ImportError:
    print("skipped: no NumPy for this Python")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import make_golden  # noqa: E402

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "golden"


def quietly(*argv):
    """Exit status and output of make_golden.py with these arguments."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = make_golden.main([str(a) for a in argv])
    return status, out.getvalue()


class ReferenceTest(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="reference-test-"))
        self.addCleanup(shutil.rmtree, self.dir)

    def test_committed_cases(self):
        status, out = quietly("check", FIXTURES)
        self.assertEqual(status, 0, out)
        self.assertGreaterEqual(len({line.split()[0] for line in out.splitlines()}), 6)

    def test_an_output_off_by_1e_3_fails(self):
        for case, output in (("tiny-dit-block1", "latents"), ("tiny-dit-resink", "kv.k.layer0"),
                             ("tiny-vae", "pixels"), ("tiny-vae", "encode_out"),
                             ("tiny-taehv", "pixels_clamped"), ("tiny-umt5", "context.1")):
            with self.subTest(case=case, output=output):
                shutil.copytree(FIXTURES / case, self.dir / "case", dirs_exist_ok=True)
                tensors = make_golden.read(self.dir / "case" / "io.safetensors")
                tensors[output] = tensors[output] * np.float32(1.001)
                make_golden.write(self.dir / "case" / "io.safetensors", tensors)
                status, out = quietly("check", self.dir / "case")
                self.assertEqual(status, 1)
                self.assertIn("PAST BOUND", out)

    def test_a_case_can_be_made_again(self):
        status, out = quietly("make", self.dir, "tiny-dit-unbounded")
        self.assertEqual(status, 0, out)
        made, kept = self.dir / "tiny-dit-unbounded", FIXTURES / "tiny-dit-unbounded"
        self.assertEqual((made / "config.json").read_text(), (kept / "config.json").read_text())
        for name in ("weights.safetensors", "io.safetensors"):
            shapes = [{k: v.shape for k, v in make_golden.read(d / name).items()}
                      for d in (made, kept)]
            self.assertEqual(*shapes)
        self.assertEqual(quietly("check", made)[0], 0)

    def test_no_case_is_a_failure(self):
        self.assertEqual(quietly("check", self.dir)[0], 1)


if __name__ == "__main__":
    unittest.main()
