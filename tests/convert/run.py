"""Run all the converter's tests; 77 when NumPy is not there to run them with."""
import pathlib
import sys
import unittest

try:
    import numpy  # noqa: F401
except ImportError:
    print("skipped: no NumPy for this Python")
    sys.exit(77)

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here))
result = unittest.TextTestRunner(verbosity=1).run(
    unittest.defaultTestLoader.discover(str(here), pattern=sys.argv[1] if sys.argv[1:] else
                                        "test_*.py"))
sys.exit(not result.wasSuccessful() or result.testsRun == 0)
