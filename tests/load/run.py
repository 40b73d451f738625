"""`kinetype load` against a running server: run.py KINETYPE FAKE_SERVER.

FAKE_SERVER draws without a model (tests/server/fake_lane.c). Times are only asserted where nothing but a fault could make
them wrong.
"""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from xml.etree import ElementTree

KINETYPE = FAKE = None
SCRIPT = """{"do": "select"}
{"do": "type", "text": "a blue ring"}
{"do": "enter", "pause_ms": 250}
{"do": "wait", "ms": 300}
{"do": "select", "text": "blue"}
{"do": "type", "text": "rad"}
{"do": "erase", "keys": 2}
{"do": "type", "text": "ed"}
{"do": "enter", "pause_ms": 200}
{"do": "wait", "ms": 300}
{"do": "select"}
{"do": "paste", "text": "a yellow star over the sea"}
{"do": "enter", "pause_ms": 200}
{"do": "wait", "ms": 300}
"""


class Server:
    def __init__(self, *options):
        self.process = subprocess.Popen([FAKE, "serve", "--model", "/tmp", "--web", "", "--port", "0", *options],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = "ws" + self.process.stdout.readline().strip()[4:] + "v1/live"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.process.stdout.close()


def read(path):
    with open(path) as f:
        return json.load(f)


def load(*options, url=None, script=SCRIPT):
    """(exit status, report or None, stdout, stderr)"""
    with tempfile.TemporaryDirectory() as folder:
        path, out = os.path.join(folder, "t.jsonl"), os.path.join(folder, "out.json")
        with open(path, "w") as f:
            f.write(script)
        command = [KINETYPE, "load", "--script", path, "--json", out, *options]
        r = subprocess.run(command + (["--url", url] if url else []), capture_output=True, text=True, timeout=60)
        report = read(out) if os.path.exists(out) else None
        return r.returncode, report, r.stdout, r.stderr


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--sessions", "3", "--prompt", "a red circle")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_three_clients(self):
        status, r, out, err = load("--clients", "3", "--seconds", "8", "--server-pid",
                                    str(self.server.process.pid), url=self.server.url)
        self.assertEqual(status, 0, err + out)
        self.assertEqual(r["clients"]["opened"], 3)
        self.assertEqual(r["problem"], None)
        self.assertGreaterEqual(r["commits"]["sent"], 4)
        self.assertEqual(r["commits"]["applied"] + r["commits"]["overtaken"], r["commits"]["sent"])
        rows = [s for s in r["samples"] if s["end"] == "shown"]
        self.assertEqual({s["client"] for s in rows}, {0, 1, 2})
        for s in rows:
            self.assertLessEqual(s["received_ms"], s["decoded_ms"])
            self.assertLessEqual(s["decoded_ms"], s["shown_ms"])
            self.assertGreater(s["received_ms"], 0)
        n = sum(r[kind]["shown_ms"]["n"] for kind in ("drafted", "begun", "cold"))
        self.assertEqual(n, r["commits"]["shown"] - r["commits"]["opening"])
        self.assertEqual(r["all"]["shown_ms"]["n"], n)
        self.assertEqual(sum(p["n"] for p in r["by_pause"]), n)
        self.assertEqual(r["stale_frames"], 0)
        self.assertEqual(r["drops"]["gaps"], 0)
        self.assertEqual(r["drops"]["decode_errors"], 0)
        self.assertGreater(r["stages"]["pictures"]["client_decode"]["n"], 100)
        self.assertGreater(r["rtt_ms"]["n"], 3)
        self.assertEqual(r["wasted_device_ms"], None)
        self.assertGreater(r["server"]["rss_mib"], 1)
        for word in ("cold", "stalls", "hit rate", "denoise"):
            self.assertIn(word, out)

    def test_drawn_again(self):
        with tempfile.TemporaryDirectory() as folder:
            first, second, plot = (os.path.join(folder, name) for name in ("a.json", "b.json", "a.svg"))
            with open(os.path.join(folder, "t.jsonl"), "w") as f:
                f.write(SCRIPT)
            run = subprocess.run([KINETYPE, "load", "--script", f.name, "--json", first, "--plot", plot, "--seconds", "3",
                                  "--url", self.server.url], capture_output=True, text=True, timeout=60)
            self.assertEqual(run.returncode, 0, run.stderr)
            ElementTree.parse(plot)
            again = subprocess.run([KINETYPE, "load", "--from", first, "--json", second], capture_output=True, text=True)
            self.assertEqual(again.stdout, run.stdout)
            self.assertEqual(read(first), read(second))
            refused = subprocess.run([KINETYPE, "load", "--from", plot], capture_output=True, text=True)
            self.assertEqual(refused.returncode, 1)
            self.assertIn("expected a report of this command", refused.stderr)

    def test_one_too_many_and_no_decoding(self):
        server = Server("--sessions", "3", "--prompt", "a red circle")  # its own: nobody who has just left holds a place
        try:
            _, r, out, err = load("--clients", "5", "--seconds", "4", "--no-decode", url=server.url)
        finally:
            server.stop()
        self.assertEqual(r["clients"]["opened"], 3)
        self.assertEqual(r["clients"]["refused"] + r["clients"]["queued"], 2)
        self.assertEqual(r["stages"]["pictures"]["client_decode"]["n"], 0)

    def test_interrupted(self):
        with tempfile.TemporaryDirectory() as folder:
            path, out = os.path.join(folder, "t.jsonl"), os.path.join(folder, "out.json")
            with open(path, "w") as f:
                f.write(SCRIPT)
            p = subprocess.Popen([KINETYPE, "load", "--script", path, "--json", out, "--seconds", "600", "--url",
                                  self.server.url], stdout=subprocess.PIPE, text=True)
            time.sleep(2)
            p.send_signal(signal.SIGINT)
            text = p.communicate(timeout=20)[0]
            self.assertEqual(p.returncode, 0)
            self.assertIn("stale pictures", text)
            self.assertLess(read(out)["run"]["seconds"], 30)


class Mistakes(unittest.TestCase):
    def fails(self, status, words, *options, script=SCRIPT):
        got, _, _, err = load(*options, script=script)
        self.assertEqual(got, status, err)
        self.assertRegex(err, words)

    def test_options(self):
        self.fails(2, "--clients: expected a whole number from 1", "--clients", "0")
        self.fails(2, "unknown option '--clinets'; did you mean '--clients'", "--clinets", "1")
        self.fails(2, "--cut: expected now, latent, block, found 'never'", "--cut", "never")
        self.fails(2, "--transition: expected model", "--transition", "x")
        self.fails(2, "--recache: expected full, checkpoint or a number", "--recache", "0")
        self.fails(2, "--codec: expected vp8", "--codec", "mpeg")
        self.fails(2, "--codec: expected vp8 or vp9", "--codec", "jpeg")
        self.fails(1, "--metrics: expected http://HOST:PORT/metrics", "--metrics", "127.0.0.1:1")
        self.fails(1, "--metrics: http://127.0.0.1:1/metrics does not answer", "--metrics", "http://127.0.0.1:1/metrics")
        self.fails(1, "--server-pid: there is no process", "--server-pid", "2147483647")
        self.fails(1, "--url: expected ws://", "--url", "http://127.0.0.1/")
        r = subprocess.run([KINETYPE, "load"], capture_output=True, text=True)
        self.assertEqual(r.returncode, 2)
        self.assertIn("--script FILE is needed", r.stderr)

    def test_script(self):
        self.fails(1, r"t\.jsonl:2: \"do\": expected", script='{"do": "select"}\n{"do": "fly"}\n')

    def test_nobody_there(self):
        got, r, out, _ = load("--url", "ws://127.0.0.1:1/v1/live", "--seconds", "0.5")
        self.assertEqual(got, 1)
        self.assertEqual(r["clients"]["refused"], 1)
        self.assertIn("first problem", out)


if __name__ == "__main__":
    KINETYPE, FAKE = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
