"""Behaviour of `kinetype serve` over real sockets: live.py SERVER DRIVER [TEST ...].

DRIVER is the library that stands in for NVIDIA's (driver/driver.h), or "none".
SERVER is kinetype-fake, whose lane draws without a model (fake_lane.c lists the words that turn its knobs). Nothing here
asserts how long something took; what must not happen too early or too often is asserted on the server's own clock.
"""
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wsclient import FIRST, FLUSH, KEY, LATE, Client, Picture, Refused, http

SERVER = DRIVER = None
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
INTERVAL_US = 62500
LEAD_US = 250000


def command(*options):
    return [SERVER, "serve", *options]


def run(*options, timeout=20, env=None):
    """A start that should fail: (exit status, stderr)."""
    p = subprocess.run(command(*options), capture_output=True, text=True, timeout=timeout, env=env)
    return p.returncode, p.stderr


class Server:
    def __init__(self, *options, env=None):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command("--model", "/tmp", "--web", "", "--port", "0", *options), stdout=subprocess.PIPE,
            stderr=self.log, text=True, env=env)
        if not select.select([self.process.stdout], [], [], 20)[0]:
            raise AssertionError("the server does not start")
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the server ended: " + self.stderr())
        self.port = int(line.rsplit(":", 1)[1].strip("/\n"))
        for _ in range(200):
            if http(self.port, "/readyz")[0] == 200:
                break
            time.sleep(0.05)

    def stderr(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self, number=signal.SIGTERM):
        """`number` None: it was told already."""
        if number:
            self.process.send_signal(number)
        status = self.process.wait(20)
        self.process.stdout.close()
        text = self.stderr()
        self.log.close()
        if status != 0 or "Sanitizer" in text or "runtime error" in text:
            raise AssertionError("exit status %d\n%s" % (status, text[-8000:]))
        return text


class Case(unittest.TestCase):
    options = ("--sessions", "4", "--prompt", "a red circle")

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.options)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.clients = []

    def tearDown(self):
        for c in self.clients:
            try:
                c.send({"type": "bye"})
                c.closed()
            except OSError:
                pass
            c.close()

    def client(self, **options):
        c = Client(self.server.port, **options)
        self.clients.append(c)
        return c

    def open(self, **fields):
        c = self.client()
        c.welcome = c.hello(**fields)
        return c

    def still_works(self, c, rev):
        """The session goes on: a full-text edit is received and a picture comes."""
        c.type("a red circle", rev, commit=False)
        c.expect("received", rev=rev)
        c.picture()


class Door(Case):
    def test_health_and_readiness(self):
        self.assertEqual(http(self.server.port, "/healthz")[0], 200)
        self.assertEqual(http(self.server.port, "/readyz")[0], 200)
        self.assertEqual(http(self.server.port, "/nothing")[0], 404)
        self.assertEqual(http(self.server.port, "/../../etc/passwd")[0], 404)
        self.assertEqual(http(self.server.port, "/v1/live")[0], 426)

    def test_headers(self):
        headers = http(self.server.port, "/healthz")[1]
        self.assertIn("default-src 'none'", headers["content-security-policy"])
        self.assertEqual(headers["cross-origin-opener-policy"], "same-origin")
        self.assertEqual(headers["cross-origin-embedder-policy"], "require-corp")
        self.assertEqual(headers["x-content-type-options"], "nosniff")

    def test_foreign_host_and_origin(self):
        port = self.server.port
        self.assertEqual(http(port, "/", host="evil.example:%d" % port)[0], 403)
        self.assertEqual(http(port, "/", headers=["Origin: http://evil.example"])[0], 403)
        self.assertEqual(http(port, "/healthz", headers=["Origin: http://127.0.0.1:%d" % port])[0], 200)
        self.assertEqual(http(port, "/healthz", host="localhost")[0], 200)
        self.assertEqual(http(port, "/healthz", headers=["Origin: http://" + "x" * 600])[0], 403)

    def test_other_methods(self):
        self.assertIn(http(self.server.port, "/healthz", headers=["Content-Length: 0"], method="POST")[0],
                      (400, 404, 405))

    def refused(self, status, **options):
        with self.assertRaises(Refused) as r:
            Client(self.server.port, **options)
        self.assertEqual(r.exception.status, status)

    def test_wrong_origin(self):
        self.refused(403, origin="http://evil.example")
        self.refused(403, origin="null")
        self.refused(403, origin="http://127.0.0.1:%d.evil.example" % self.server.port)
        self.refused(403, host="evil.example")
        c = self.client(origin="http://127.0.0.1:%d" % self.server.port)
        c.hello()

    def test_sub_protocol(self):
        self.refused(400, protocol=None)
        self.refused(400, protocol="kinetype.v2")
        self.refused(400, protocol="http")
        self.refused(400, protocol="kinetype.v1x")
        self.client(protocol="other, kinetype.v1").hello()

    def test_other_path(self):
        self.refused(404, path="/v1/live/")
        self.refused(404, path="/")

    def test_junk(self):
        for junk in (b"\x00" * 100, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 2000, b"\xff\xfe", b"GET"):
            s = socket.create_connection(("127.0.0.1", self.server.port), timeout=5)
            try:
                s.sendall(junk)
                s.settimeout(0.3)
                s.recv(1000)
            except OSError:
                pass
            s.close()
        self.assertEqual(http(self.server.port, "/healthz")[0], 200)


class Page(unittest.TestCase):
    def test_files(self):
        with tempfile.TemporaryDirectory() as d:
            big = "x" * 300000
            for name, text in (("index.html", "<p>hello"), ("app.js", big), ("x.css", "p{}")):
                with open(os.path.join(d, name), "w") as f:
                    f.write(text)
            server = Server("--web", d)
            try:
                status, headers, body = http(server.port, "/")
                self.assertEqual((status, headers["content-type"], body),
                                 (200, "text/html; charset=utf-8", b"<p>hello"))
                status, headers, body = http(server.port, "/app.js?v=1")
                self.assertEqual((status, headers["content-type"]), (200, "text/javascript; charset=utf-8"))
                self.assertEqual(body, big.encode())
            finally:
                server.stop()


class Greeting(Case):
    def test_welcome(self):
        c = self.open(seed="18446744073709551615", steps=2, client="test")
        w = c.welcome
        self.assertEqual((w["protocol"], w["codec"], w["codec_string"], w["resumed"]), (1, "vp8", "vp8", False))
        self.assertEqual(w["video"]["width"], 192)
        self.assertEqual(w["video"]["color_space"]["matrix"], "bt709")
        self.assertEqual((w["text"], w["rev"], w["committed"]), ("a red circle", 0, 0))
        self.assertEqual((w["seed"], w["steps"]), ("18446744073709551615", 2))
        self.assertEqual(len(w["session"]), 32)
        self.assertIn("a red circle over the sea", w["model"]["examples"])
        self.assertEqual(c.receive()["type"], "status")

    def test_own_first_prompt(self):
        c = self.open(text="a blue star")
        self.assertEqual((c.welcome["text"], c.welcome["committed"]), ("a blue star", 0))
        c.picture()
        c = self.open(text="")
        self.assertEqual((c.welcome["text"], c.welcome["committed"]), ("", None))
        self.assertEqual(c.expect("status")["state"], "waiting")
        c.type("a green star", 1)
        self.assertEqual(c.picture().revision, 1)

    def test_codecs(self):
        for wanted, codec, string, start in ((["jpeg", "vp8"], 3, "", b"\xff\xd8"),
                                             (["h265", "vp9"], 2, "vp09.00.10.08", b"")):
            c = self.open(codecs=wanted)
            self.assertEqual(c.welcome["codec_string"], string)
            p = c.picture()
            self.assertEqual(p.codec, codec)
            self.assertTrue(p.flags & KEY)
            self.assertTrue(p.payload.startswith(start))
            self.assertEqual(c.picture().codec, codec)

    def test_something_else_first(self):
        c = self.client()
        c.send({"type": "commit", "rev": 0})
        self.assertEqual(c.expect("error")["code"], "hello_expected")
        c.send({"type": "ping", "id": 1, "client_us": 2})
        self.assertEqual(c.expect("pong")["client_us"], 2)
        c.hello()
        c.send({"type": "hello", "protocol": 1, "codecs": ["vp8"]})
        self.assertEqual(c.expect("error")["code"], "hello_repeated")
        c.picture()

    def test_nothing_in_common(self):
        for hello, code in (({"protocol": 2, "codecs": ["vp8"]}, "bad_protocol"),
                            ({"protocol": 1, "codecs": ["h265"]}, "no_codec")):
            c = self.client()
            c.send({"type": "hello", **hello})
            texts, close = c.closed()
            self.assertEqual((texts[0]["code"], texts[0]["fatal"], close), (code, True, 4000))

    def test_silence(self):
        c = self.client()
        texts, close = c.closed()
        self.assertEqual((texts[0]["code"], close), ("hello_timeout", 1008))


class Typing(Case):
    def test_splices(self):
        c = self.open()
        c.picture()
        c.send({"type": "edit", "rev": 1, "base": 0, "at": 2, "del": 3, "ins": "blue"})
        c.send({"type": "edit", "rev": 2, "base": 1, "at": 13, "del": 0, "ins": " \U0001F600 zeppelin"})
        c.send({"type": "edit", "rev": 3, "base": 2, "at": 14, "del": 1, "ins": "é"})
        self.assertEqual(c.expect("received", rev=1)["unknown"], [])
        r = c.expect("received", rev=3)
        self.assertEqual((r["words"], r["known"], r["unknown"]), (4, 2, ["é", "zeppelin"]))
        c.send({"type": "commit", "rev": 3})
        self.assertTrue(c.expect("received", rev=3)["committed"])
        a = c.expect("applied", rev=3)
        p = c.picture(epoch=a["epoch"])
        self.assertEqual((p.revision, p.frame), (3, a["frame"]))
        self.assertEqual(p.flags, KEY | FIRST | FLUSH)

    def test_wrong_base_loses_nothing(self):
        c = self.open()
        c.send({"type": "edit", "rev": 5, "base": 4, "at": 0, "del": 0, "ins": "x"})
        r = c.expect("resync")
        self.assertEqual((r["rev"], r["text"]), (0, "a red circle"))
        self.assertIn("base is 4", r["reason"])
        c.type("x a red circle", 6)
        self.assertEqual(c.expect("applied")["rev"], 6)

    def test_refused_edits_change_nothing(self):
        c = self.open()
        for edit, code in (({"base": 0, "at": 13, "del": 0, "ins": "x"}, "bad_splice"),
                           ({"base": 0, "at": 0, "del": 13, "ins": ""}, "bad_splice"),
                           ({"base": 0, "at": 0, "del": 0, "ins": "x" * 8192}, "text_too_long")):
            c.send({"type": "edit", "rev": 1, **edit})
            e = c.expect("error")
            self.assertEqual((e["code"], e["rev"], e["fatal"]), (code, 1, False))
            self.assertTrue(e["expected"] and e["found"])
            r = c.expect("resync")
            self.assertEqual((r["rev"], r["text"]), (0, "a red circle"))
        self.still_works(c, 1)

    def test_ten_thousand_characters(self):
        c = self.open()
        c.type("x" * 10000, 1, commit=False)
        e = c.expect("error")
        self.assertEqual((e["code"], e["found"]), ("text_too_long", "10000 bytes"))
        self.assertIn("8192", e["expected"])
        self.assertEqual(c.expect("resync")["text"], "a red circle")
        c.type("é" * 4096, 2)
        self.assertEqual(c.expect("applied")["rev"], 2)
        c = self.client()
        c.send({"type": "hello", "protocol": 1, "codecs": ["vp8"], "text": "x" * 10000})
        self.assertEqual(c.expect("error")["code"], "text_too_long")
        c.send({"type": "hello", "protocol": 1, "codecs": ["vp8"], "steps": 16})
        self.assertEqual(c.expect("error")["code"], "out_of_range")
        c.hello()

    def test_empty_prompt(self):
        c = self.open()
        c.picture()
        for rev, text in ((1, ""), (2, "  \n\t ")):
            c.type(text, rev)
            c.expect("received", rev=rev)
            e = c.expect("error")
            self.assertEqual((e["code"], e["rev"]), ("empty_prompt", rev))
        p = c.picture()
        self.assertEqual(p.revision, 0)
        c.type("a blue star", 3)
        self.assertEqual(c.expect("applied")["rev"], 3)

    def test_commit_of_another_revision(self):
        c = self.open()
        c.send({"type": "commit", "rev": 1})
        e = c.expect("error")
        self.assertEqual((e["code"], e["rev"]), ("wrong_rev", 1))
        self.still_works(c, 1)

    def test_nothing_known_is_said(self):
        c = self.open()
        c.type("grüne zeppeline", 1)
        r = c.expect("received", rev=1)
        self.assertEqual((r["words"], r["known"]), (2, 0))
        self.assertIn("none of these words", r["note"])

    def test_latest_commit_wins(self):
        c = self.open()
        c.picture()
        for rev in range(1, 31):
            c.type("delay=300 a green star " + "x" * rev, rev)
        for rev in range(1, 31):
            c.expect("received", rev=rev, committed=True)
        self.assertEqual(c.expect("applied")["rev"], 30)
        self.assertEqual(c.picture(revision=30).flags & FIRST, FIRST)

    def test_failed_prompt(self):
        c = self.open()
        c.picture()
        c.type("fail", 1)
        f = c.expect("failed")
        self.assertEqual((f["rev"], f["code"]), (1, "model_failed"))
        self.assertIn("asked to fail", f["message"])
        self.assertEqual(c.picture().revision, 0)

    def test_too_many_edits(self):
        c = self.open()
        for rev in range(1, 301):
            c.send({"type": "edit", "rev": rev, "text": "%d" % rev})
        e = c.expect("error", limit=2000)
        self.assertEqual((e["code"], e["limit"]), ("rate_limited", 60))
        r = c.expect("resync")
        self.assertEqual(r["text"], str(r["rev"]))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:  # what the page does: its own text, in full, a little later
            time.sleep(e["retry_ms"] / 1000 + 0.05)
            c.type("all of it", 1000, commit=False)
            m = c.receive()
            while not (isinstance(m, dict) and m.get("rev") == 1000):
                m = c.receive()
            if m["type"] == "received":
                break
        self.assertEqual(m["type"], "received")


class BadMessages(Case):
    def test_every_bad_vector(self):
        with open(os.path.join(ROOT, "proto", "vectors", "control.json")) as f:
            vectors = json.load(f)["client_bad"]
        c = self.open()
        seen = 0
        for i, v in enumerate(vectors):
            if v["code"] in ("bad_protocol", "no_codec"):
                continue
            c.send_bytes(v["text"].encode("utf-8", "surrogatepass"))
            e = c.expect("error")
            self.assertEqual((v["name"], e["code"]), (v["name"], v["code"]))
            self.assertEqual(e.get("field"), v.get("field"))
            self.assertFalse(e["fatal"])
            self.assertTrue(e["message"] and e["expected"] and e["found"])
            c.send({"type": "ping", "id": i, "client_us": 0})
            c.expect("pong", id=i)
            seen += 1
        self.assertGreater(seen, 35)
        self.still_works(c, 1)

    def test_too_many_errors(self):
        c = self.open()
        for _ in range(32):
            c.send("nonsense")
        texts, close = c.closed()
        self.assertEqual(close, 1008)
        self.assertEqual(texts[-1]["code"], "too_many_errors")
        self.assertEqual(len([t for t in texts if t.get("code") == "bad_json"]), 32)

    def test_huge_messages(self):
        c = self.open()
        c.send(" " * 65536)
        self.assertEqual(c.expect("error")["code"], "bad_json")
        c.send(" " * 65537)
        texts, close = c.closed()
        e = [t for t in texts if t["type"] == "error"][-1]
        self.assertEqual((e["code"], e["fatal"], close), ("too_big", True, 1009))
        self.assertIn("65536", e["expected"])

    def test_huge_claim(self):
        c = self.open()
        c.frame(1, b"x" * 100, claim=1 << 40)
        texts, close = c.closed()
        self.assertEqual((texts[-1]["code"], close), ("too_big", 1009))

    def test_endless_fragments(self):
        c = self.open()
        c.frame(1, b"x" * 1000, final=False)
        try:
            for _ in range(100):
                c.frame(0, b"x" * 1000, final=False)
        except OSError:
            pass
        texts, close = c.closed()
        self.assertEqual([t["code"] for t in texts if t["type"] == "error"], ["too_big"])
        self.assertEqual(close, 1009)

    def test_fragments_make_a_message(self):
        c = self.open()
        text = json.dumps({"type": "ping", "id": 77, "client_us": 5}).encode()
        c.frame(1, text[:5], final=False)
        c.frame(9, b"between")
        for b in text[5:-1]:
            c.frame(0, bytes([b]), final=False)
        c.frame(0, text[-1:])
        c.expect("pong", id=77)

    def test_invalid_utf8(self):
        for bad in (b'{"type":"\xff"}', b'{"type":"edit","rev":1,"text":"\xed\xa0\x80"}', b"\xc3"):
            c = self.open()
            c.send_bytes(bad)
            texts, close = c.closed()
            self.assertEqual((texts[-1]["code"], close), ("bad_utf8", 1007))

    def test_binary(self):
        c = self.open()
        c.send_bytes(b"\x00\x01\x02", opcode=2)
        e = c.expect("error")
        self.assertEqual((e["code"], e["fatal"]), ("binary_unexpected", False))
        self.still_works(c, 1)

    def test_flood(self):
        c = self.open()
        try:
            for i in range(2000):
                c.send({"type": "pause"})
        except OSError:
            pass
        texts, close = c.closed()
        self.assertEqual(close, 1008)
        self.assertEqual(texts[-1]["code"], "too_many_messages")

    def test_out_of_range_of_the_model(self):
        c = self.open()
        c.send({"type": "steps", "steps": 9})
        e = c.expect("error")
        self.assertEqual((e["code"], e["expected"], e["found"]), ("out_of_range", "0 to 4", "9"))
        c.send({"type": "steps", "steps": 2})
        c.picture(steps=2)


class Pictures(Case):
    def watch(self, c, n, act=None):
        out = []
        while len(out) < n:
            m = c.receive()
            self.assertIsNotNone(m)
            if isinstance(m, Picture):
                out.append(m)
            if act:
                act(m, out)
        return out

    def check_wire(self, pictures):
        """Order and, on the server's clock, that no picture left earlier than the lead allows."""
        self.assertTrue(pictures[0].flags & KEY)
        anchor = pictures[0]
        for a, b in zip(pictures, pictures[1:]):
            self.assertEqual(b.seq, a.seq + 1)
            self.assertGreater(b.pts_us, a.pts_us)
            self.assertGreaterEqual(b.server_us, a.server_us)
            self.assertGreaterEqual(b.epoch, a.epoch)
            if b.epoch > a.epoch:
                self.assertEqual(b.flags & (KEY | FIRST | FLUSH), KEY | FIRST | FLUSH)
            if b.flags & (FLUSH | LATE):
                anchor = b
            ahead = (b.pts_us - anchor.pts_us) - (b.server_us - anchor.server_us)
            self.assertLess(ahead, LEAD_US + 2 * INTERVAL_US)
        for p in pictures:
            self.assertEqual((p.magic, p.version, p.type, p.stream, p.header_bytes), (0x4B54, 1, 1, 0, 72))
            self.assertEqual((p.width, p.height, p.n), (192, 112, len(p.payload)))

    def test_steady_stream(self):
        c = self.open()
        pictures = self.watch(c, 80)
        self.check_wire(pictures)
        self.assertEqual([p.frame for p in pictures], list(range(80)))
        self.assertEqual([p.flags & ~LATE for p in pictures], [KEY | FIRST] + [0] * 79)

    def test_flush_rule(self):
        c = self.open()
        state = {"rev": 0, "applied": {}}

        def act(m, out):
            if isinstance(m, dict) and m["type"] == "applied":
                state["applied"][m["epoch"]] = m
            elif isinstance(m, Picture):
                if m.flags & FIRST:
                    self.assertIn(m.epoch, state["applied"])
                    self.assertEqual(m.revision, state["applied"][m.epoch]["rev"])
                if len(out) % 20 == 10:
                    state["rev"] += 1
                    c.type("a %s star delay=30" % ("blue", "green")[state["rev"] % 2], state["rev"])

        pictures = self.watch(c, 130, act)
        self.check_wire(pictures)
        self.assertGreaterEqual(pictures[-1].epoch, 5)
        self.assertGreaterEqual(pictures[-1].revision, 5)

    def test_slow_device(self):
        c = self.open()
        c.type("fps=6 a red star", 1)
        s = c.expect("status", state="live", slow=True)
        self.assertLess(s["fps"], 7)
        self.assertEqual(s["target_fps"], 16)
        pictures = self.watch(c, 20)
        for a, b in zip(pictures, pictures[1:]):
            self.assertGreater(b.pts_us - a.pts_us, 100000)

    def test_pause_and_resume(self):
        c = self.open()
        c.picture()
        c.send({"type": "pause"})
        self.assertEqual(c.expect("status", state="paused")["reason"], "client")
        c.send({"type": "ping", "id": 1, "client_us": 0})
        c.expect("pong", id=1)
        last = c.last_seq
        time.sleep(0.5)
        c.send({"type": "ping", "id": 2, "client_us": 0})
        c.expect("pong", id=2)
        self.assertEqual(c.last_seq, last)
        c.send({"type": "resume"})
        p = c.picture()
        self.assertEqual(p.seq, last + 1)
        self.assertTrue(p.flags & LATE)

    def test_hidden_page(self):
        c = self.open()
        c.picture()
        c.reports = False
        self.assertEqual(c.expect("status", state="paused")["reason"], "hidden")
        c.reports = True
        c.send({"type": "playhead", "seq": c.last_seq})
        c.expect("status", state="live")
        c.picture()

    def test_reset(self):
        c = self.open()
        first = self.watch(c, 10)
        c.send({"type": "reset", "seed": "7"})
        p = c.picture(frame=0)
        self.assertEqual((p.epoch, p.flags), (first[0].epoch + 1, KEY | FIRST | FLUSH))

    def test_key_pictures(self):
        c = self.open()
        self.watch(c, 5)
        c.send({"type": "keyframe", "reason": "test"})
        while not c.picture().flags & KEY:
            pass
        for _ in range(4):
            c.send({"type": "keyframe"})
        e = c.expect("error")
        self.assertEqual((e["code"], e["limit"]), ("rate_limited", 1))
        self.assertGreater(e["retry_ms"], 0)

    def test_reports_out_of_range(self):
        c = self.open()
        c.reports = False
        out = []
        for _ in range(40):
            m = c.receive()
            if isinstance(m, Picture):
                out.append(m)
                c.send({"type": "playhead", "seq": 4294967295, "rtt_us": 9007199254740991})
                c.send({"type": "playhead", "seq": 0})
        self.assertGreater(len(out), 20)
        # an impossible round trip buys two seconds, not more
        for p in out:
            ahead = (p.pts_us - out[0].pts_us) - (p.server_us - out[0].server_us)
            self.assertLess(ahead, LEAD_US + 2000000 + 2 * INTERVAL_US)


class Places(Case):
    options = ("--sessions", "2", "--prompt", "a red circle")

    def test_too_many_sessions(self):
        a, b = self.open(), self.open()
        c = self.client()
        c.send({"type": "hello", "protocol": 1, "codecs": ["vp8"], "wait": False})
        texts, close = c.closed()
        e = texts[0]
        self.assertEqual((e["code"], e["limit"], e["fatal"], close), ("too_many_sessions", 2, True, 1013))
        self.assertIn("2", e["message"])
        self.assertGreater(e["retry_ms"], 0)
        a.send({"type": "bye"})
        self.assertEqual(a.closed()[1], 1000)
        d = self.open()
        d.picture()
        b.picture()

    def test_sleeper_makes_room(self):
        a, b = self.open(), self.open()
        a.picture()
        a.close()
        c = self.open()
        c.picture()
        b.picture()
        d = self.client()  # and cannot come back now
        d.send({"type": "hello", "protocol": 1, "codecs": ["vp8"], "resume": a.welcome["session"], "wait": False})
        self.assertEqual(d.closed()[0][0]["code"], "too_many_sessions")

    def test_resume(self):
        a = self.open()
        a.type("a blue star", 1)
        a.expect("applied", rev=1)
        last = a.picture(revision=1)
        a.frame(1, b'{"type":"ping"', claim=500)  # goes away in the middle of a frame
        a.close()
        b = self.client()
        w = b.hello(resume=a.welcome["session"], codecs=["vp9"])
        self.assertEqual((w["resumed"], w["rev"], w["text"], w["committed"], w["session"]),
                         (True, 1, "a blue star", 1, a.welcome["session"]))
        p = b.picture()
        self.assertGreater(p.seq, last.seq)
        self.assertGreaterEqual(p.frame, last.frame)
        self.assertTrue(p.flags & KEY)
        self.assertEqual((p.codec, p.revision), (2, 1))
        self.assertGreater(b.picture().seq, p.seq)

    def test_takeover(self):
        a = self.open()
        a.picture()
        b = self.client()
        self.assertTrue(b.hello(resume=a.welcome["session"])["resumed"])
        texts, close = a.closed()
        self.assertEqual((texts[-1]["code"], close), ("taken_over", 4001))
        self.assertTrue(b.picture().flags & KEY)

    def test_unknown_resume_token_is_a_new_session(self):
        c = self.client()
        self.assertFalse(c.hello(resume="0" * 32)["resumed"])
        c.picture()

    def test_many_come_and_go(self):
        for i in range(30):
            c = self.client()
            if i % 3 == 0:
                c.frame(1, b'{"ty', final=False)
            elif i % 3 == 1:
                c.hello()
                c.picture()
                self.clients.remove(c)
            else:
                c.hello()
                c.frame(1, b"x", claim=4000)
            c.close()
        self.open().picture()

    def test_never_reads(self):
        slow = self.client(receive_buffer=4096)
        slow.hello()
        self.clients.remove(slow)
        other = self.open()
        slow.type("x" * 8000, 1, commit=False)
        gone = False
        deadline = time.monotonic() + 40
        while not gone and time.monotonic() < deadline:
            try:  # every wrong base is answered with 8 kB that nobody reads
                for _ in range(10):
                    slow.send({"type": "edit", "rev": 9, "base": 8, "at": 0, "del": 0, "ins": "x"})
                slow.send({"type": "playhead", "seq": 4294967295})
            except OSError:
                gone = True
            for _ in range(4):
                other.picture()  # everybody else is served
        slow.close()
        self.assertTrue(gone, "it was never closed")


class Changes(Case):
    """How prompts take effect: drafts, cuts, previews, rewinds, forks."""
    def drafted(self, c, text, rev, stage):
        c.type(text, rev, commit=False)
        return c.expect("drafted", rev=rev, stage=stage)

    def test_drafted_and_committed(self):
        c = self.open()
        c.picture()
        self.drafted(c, "a blue star", 1, "text")
        d = c.expect("drafted", rev=1, stage="ready")
        c.send({"type": "commit", "rev": 1})
        a = c.expect("applied", rev=1)
        self.assertEqual((a["hit"], a["cut"], a["flush"]), ("ready", "now", True))
        self.assertGreaterEqual(a["server_us"], d["server_us"])
        p = c.picture(epoch=a["epoch"])
        self.assertEqual((p.flags, p.fade, p.frame), (KEY | FIRST | FLUSH, 3, a["frame"]))
        self.assertEqual(c.picture().fade, 0)

    def test_committed_while_it_is_drafted(self):
        c = self.open()
        c.picture()
        self.drafted(c, "delay=1200 a blue star", 1, "text")
        c.send({"type": "commit", "rev": 1})
        self.assertEqual(c.expect("applied", rev=1)["hit"], "begun")

    def test_not_drafted(self):
        c = self.open()
        c.send({"type": "set", "draft": False})
        self.assertFalse(c.expect("settings")["draft"])
        c.picture()
        c.type("a blue star", 1)
        self.assertEqual(c.expect("applied", rev=1)["hit"], "cold")

    def test_another_text_or_another_wish_is_not_the_draft(self):
        c = self.open()
        c.picture()
        self.drafted(c, "a blue star", 1, "ready")
        c.send({"type": "commit", "rev": 1, "transition": "scene"})
        self.assertEqual(c.expect("applied", rev=1)["hit"], "cold")
        self.drafted(c, "a green star", 2, "ready")
        c.type("a green star moves", 3)
        self.assertNotEqual(c.expect("applied", rev=3)["hit"], "ready")

    def test_settings(self):
        c = self.open()
        all_of_them = {"draft": True, "preview": True, "depth": 1, "cut": "now", "transition": "model", "blend": 2,
                       "recache": "full"}
        self.assertEqual(c.welcome["settings"], all_of_them)
        self.assertEqual(c.welcome["limits"]["window"], 12)
        c.send({"type": "set"})
        s = c.expect("settings")
        s.pop("type")
        self.assertEqual(s, all_of_them)
        c.send({"type": "set", "recache": 13})
        e = c.expect("error")
        self.assertEqual((e["code"], e["field"], e["found"]), ("out_of_range", "recache", "13"))
        c.send({"type": "set", "cut": "block", "depth": 0, "recache": "checkpoint"})
        s = c.expect("settings")
        c.close()
        d = self.client()
        w = d.hello(resume=c.welcome["session"])
        s.pop("type")
        self.assertEqual(w["settings"], s)  # kept while it slept

    def test_recache_as_the_server_is_set(self):
        server = Server("--prompt", "a red circle", "--recache", "6")
        c = Client(server.port)
        self.assertEqual(c.hello()["settings"]["recache"], 6)
        c.close()
        server.stop()
        status, text = run("--model", "/tmp", "--web", "", "--port", "0", "--recache", "13")
        self.assertEqual(status, 1)
        self.assertIn("recache: expected at most the model's window, 12, found 13", text)

    def test_cuts_that_follow(self):
        c = self.open()
        last = c.picture()
        for rev, cut in enumerate(("latent", "block", "latent"), 1):
            for _ in range(10):
                last = c.picture()
            c.type("a blue star " + "x" * rev, rev, cut=cut)
            a = None
            while not (last.epoch == (a or {}).get("epoch")):
                m = c.receive()
                if isinstance(m, dict):
                    a = m if m["type"] == "applied" else a
                    continue
                self.assertEqual(m.frame, last.frame + 1)  # nothing is left out, nothing twice
                last = m
            self.assertEqual((a["cut"], a["flush"]), (cut, False))
            self.assertGreaterEqual(last.frame, a["frame"])
            self.assertEqual((last.flags & ~LATE, last.fade), (KEY | FIRST, 0))
            if cut == "block":
                self.assertEqual(a["frame"] % 12, 0)

    def test_previews(self):
        c = self.open()
        c.send({"type": "set", "draft": False})
        first = c.picture()
        c.type("delay=600 preview a blue star", 1)
        seen, p = [], first
        while p.epoch == first.epoch or p.stream:
            m = c.receive()
            if isinstance(m, Picture):
                p = m
                seen += [p] if p.stream else []
        self.assertEqual(len(seen), 4)
        self.assertEqual([q.epoch for q in seen], [p.epoch] * 4)
        self.assertEqual([q.flags & KEY for q in seen], [KEY, 0, 0, 0])
        for a, b in zip(seen, seen[1:]):
            self.assertEqual((b.pts_us - a.pts_us, b.codec), (INTERVAL_US, 1))
        c.send({"type": "set", "preview": False})
        c.type("delay=600 preview a green star", 2)
        while p.revision < 2:
            m = c.receive()
            if isinstance(m, Picture):
                self.assertEqual(m.stream, 0)
                p = m

    def test_rewind(self):
        c = self.open()
        c.send({"type": "rewind", "frame": 1 << 40})
        e = c.expect("error")
        self.assertEqual((e["code"], e["field"]), ("out_of_range", "frame"))
        for _ in range(40):
            last = c.picture()
        h = c.expect("history")
        self.assertEqual(h["from"], 0)
        self.assertGreaterEqual(h["to"], last.frame)
        c.send({"type": "rewind", "frame": 8})
        p = c.picture(epoch=last.epoch + 1)
        self.assertEqual((p.frame, p.flags, p.fade, p.revision), (8, KEY | FIRST | FLUSH, 0, 0))
        self.assertEqual(c.picture().frame, 9)

    def test_fork(self):
        a = self.open(seed="5")
        a.type("a blue star", 1)
        for _ in range(20):
            p = a.picture(revision=1)
        b = self.client()
        b.send({"type": "hello", "protocol": 1, "codecs": ["vp8"], "fork": {"session": "0" * 32}})
        e = b.expect("error")
        self.assertEqual((e["code"], e["field"], e["fatal"]), ("unknown_session", "fork.session", False))
        b.send({"type": "hello", "protocol": 1, "codecs": ["vp8"],
                "fork": {"session": a.welcome["session"], "frame": 1 << 40}})
        self.assertEqual(b.expect("error")["field"], "fork.frame")
        w = b.hello(fork={"session": a.welcome["session"]}, text="does not count")
        self.assertEqual((w["resumed"], w["text"], w["seed"], w["committed"]), (False, "a blue star", "5", 0))
        self.assertNotEqual(w["session"], a.welcome["session"])
        q = b.picture()
        self.assertGreater(q.frame, 0)
        self.assertLessEqual(q.frame, p.frame + 8)
        a.picture()
        c = self.client()
        c.hello(fork={"session": a.welcome["session"], "frame": 0})
        self.assertEqual(c.picture().frame, 0)

    def test_any_order(self):
        """Random typing, commits, cuts, resets and rewinds: no epoch comes twice, no picture of an abandoned prompt."""
        dice = random.Random(int(os.environ.get("KT_TEST_SEED", "7")))
        c = self.open()
        epoch, rev, abandoned, seq = 0, 0, -1, None
        for _ in range(250):
            act = dice.random()
            if act < 0.5:
                rev += 1
                c.type("delay=%d %s a blue star %d" % (dice.choice((0, 20, 150)), dice.choice(("", "preview")), rev),
                       rev, commit=False)
                if dice.random() < 0.6:
                    c.send({"type": "commit", "rev": rev, "cut": dice.choice(("now", "latent", "block"))})
            elif act < 0.55:
                c.send({"type": "reset"})
            elif act < 0.6 and epoch:
                c.send({"type": "rewind", "frame": 0})
            for _ in range(dice.randrange(6)):
                m = c.receive()
                self.assertIsNotNone(m)
                if not isinstance(m, Picture):
                    self.assertNotEqual(m["type"], "error", m)
                    continue
                self.assertEqual(m.seq, m.seq if seq is None else seq + 1)
                seq = m.seq
                if m.stream:
                    self.assertGreater(m.epoch, epoch)
                    continue
                self.assertGreaterEqual(m.epoch, epoch)
                self.assertGreaterEqual(m.revision, abandoned)
                self.assertEqual(bool(m.flags & FIRST), m.epoch > epoch)
                epoch, abandoned = m.epoch, m.revision


class Line(Case):
    options = ("--sessions", "3", "--prompt", "")

    def waiting(self, position, sessions=1, **fields):
        c = self.client()
        c.send({"type": "hello", "protocol": 1, "codecs": ["vp8"], **fields})
        q = c.expect("queued")
        self.assertEqual((q["position"], q["sessions"]), (position, sessions))
        return c

    def test_line(self):
        a = self.open()
        a.type("admit=0 a red circle", 1)
        a.picture()
        b, c = self.waiting(1), self.waiting(2, text="a blue star")
        d = self.client()
        d.send({"type": "hello", "protocol": 1, "codecs": ["vp8"], "wait": False})
        texts, close = d.closed()
        self.assertEqual((texts[0]["code"], texts[0]["limit"], close), ("too_many_sessions", 3, 1013))
        b.send({"type": "ping", "id": 4, "client_us": 0})
        b.expect("pong", id=4)
        b.send({"type": "commit", "rev": 0})
        e = b.expect("error")
        self.assertEqual((e["code"], e["fatal"]), ("hello_expected", False))
        b.send({"type": "bye"})
        self.assertEqual(b.closed()[1], 1000)
        self.assertEqual(c.expect("queued")["position"], 1)
        a.picture(steps=4)
        a.type("admit=2 a red circle", 2)
        self.assertFalse(c.expect("welcome")["resumed"])
        self.assertEqual(c.picture().steps, 2)  # and not at the first one's cost
        a.picture(steps=4, revision=2)
        a.send({"type": "bye"})
        c.picture(steps=4, limit=2000)  # alone, it gets them all

    def test_somebody_leaves(self):
        a = self.open()
        a.type("admit=0 a red circle", 1)
        a.picture()
        b = self.waiting(1)
        a.send({"type": "bye"})
        b.expect("welcome")
        b.type("a blue star", 1)
        b.picture()

    def test_one_who_waits_goes_away(self):
        a = self.open()
        a.type("admit=0 a red circle", 1)
        a.picture()
        b, c = self.waiting(1), self.waiting(2)
        b.close()
        self.assertEqual(c.expect("queued")["position"], 1)
        a.type("admit=4 a red circle", 2)
        c.expect("welcome")

    def test_a_sleeper_makes_room(self):
        a = self.open()
        a.type("admit=0 a red circle", 1)
        a.picture()
        a.close()
        b = self.client()
        b.hello()

    def test_the_line_is_bounded(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            f.write('{"sessions_max": 1, "queue_max": 2, "prompt": "a red circle"}')
            f.flush()
            server = Server("--config", f.name)
        clients = [Client(server.port) for _ in range(4)]
        clients[0].hello()
        for i, c in enumerate(clients[1:]):
            c.send({"type": "hello", "protocol": 1, "codecs": ["vp8"]})
            m = c.receive()
            self.assertEqual(m.get("position", m.get("code")), (1, 2, "too_many_sessions")[i])
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(clients[1].closed()[1], 1001)
        for c in clients:
            c.close()
        server.stop(None)


class Metrics(unittest.TestCase):
    """/metrics in the Prometheus text format 0.0.4: every line is read."""
    SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:[{]((?:[a-z_]+="(?:[^"\\\n]|\\[\\n"])*",?)*)[}])? (\S+)')

    def start(self, *options):
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        s.close()
        self.server = Server("--metrics-port", str(port), "--sessions", "2", *options)
        self.addCleanup(self.server.stop)
        return port

    def scrape(self, port, headers=()):
        status, fields, body = http(port, "/metrics", headers=headers)
        self.assertEqual((status, fields["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        text = body.decode()
        self.assertTrue(text.endswith("\n"))
        types, helped, values = {}, set(), {}
        for line in text[:-1].split("\n"):
            if line.startswith("# HELP "):
                name = line.split()[2]
                self.assertNotIn(name, helped)
                self.assertTrue(line.split(" ", 3)[3].endswith("."), line)
                helped.add(name)
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                self.assertIn(kind, ("counter", "gauge", "histogram"))
                self.assertIn(name, helped)
                self.assertEqual(name.endswith("_total"), kind == "counter", name)
                types[name] = kind
            else:
                m = self.SAMPLE.fullmatch(line)
                self.assertTrue(m, line)
                base = m[1]
                if base not in types:
                    base = re.sub("_(bucket|sum|count)$", "", base)
                    self.assertEqual(types.get(base), "histogram", line)
                self.assertTrue(base.startswith("kinetype_") or base == "process_resident_memory_bytes", line)
                key = (m[1], m[2] or "")
                self.assertNotIn(key, values)
                values[key] = float(m[3])
                if types[base] != "gauge":
                    self.assertGreaterEqual(values[key], 0)
        self.assertEqual(set(types), helped)
        self.check_histograms(types, values)
        return types, values

    def check_histograms(self, types, values):
        rows = {}
        for (name, labels), value in values.items():
            if name.endswith("_bucket"):
                stage, bound = re.fullmatch('stage="([a-z]+)",le="([^"]+)"', labels).groups()
                rows.setdefault((name[:-len("_bucket")], stage), []).append((float(bound), value))
        self.assertGreater(len(rows), 5)
        for (name, stage), buckets in rows.items():
            self.assertEqual(types[name], "histogram")
            self.assertEqual([b for b, _ in buckets], sorted(b for b, _ in buckets))
            counts = [n for _, n in buckets]
            self.assertEqual(counts, sorted(counts))
            self.assertEqual(buckets[-1][0], float("inf"))
            self.assertEqual(counts[-1], values[name + "_count", 'stage="%s"' % stage])

    def test_numbers(self):
        port = self.start("--prompt", "a red circle")
        self.scrape(port)
        c = Client(self.server.port)
        c.hello()
        types, before = self.scrape(port)
        self.assertEqual(before["kinetype_sessions", 'state="awake"'], 1)
        self.assertEqual(before["kinetype_connections", ""], 1)
        for _ in range(30):
            c.picture()
        c.type("a blue star", 1)
        c.expect("applied", rev=1)
        d = Client(self.server.port)
        d.hello()
        e = Client(self.server.port)
        e.send({"type": "hello", "protocol": 1, "codecs": ["vp8"]})
        e.expect("queued")
        types, after = self.scrape(port)
        for (name, labels), value in before.items():
            if types.get(name) == "counter" or name.endswith(("_bucket", "_count", "_sum")):
                self.assertGreaterEqual(after[name, labels], value, name)
        self.assertEqual(after["kinetype_sessions_opened_total", ""], 2)
        self.assertEqual(after["kinetype_queue_length", ""], 1)
        self.assertEqual(after["kinetype_queued_total", ""], 1)
        self.assertEqual(after["kinetype_sessions_limit", ""], 2)
        self.assertGreaterEqual(after["kinetype_pictures_total", ""], 30)
        self.assertGreaterEqual(after["kinetype_prompts_applied_total", ""], 2)
        self.assertGreaterEqual(after["kinetype_stage_seconds_count", 'stage="encode"'], 30)
        self.assertGreater(after["kinetype_sent_bytes_total", ""], 1000)
        self.assertGreater(after["process_resident_memory_bytes", ""], 1e6)
        self.assertEqual([v for (n, _), v in after.items() if n == "kinetype_build_info"], [1])
        for x in (c, d, e):
            x.close()

    def test_nothing_else_is_there(self):
        port = self.start()
        for path in ("/", "/healthz", "/metrics/", "/v1/live"):
            self.assertEqual(http(port, path)[0], 404, path)
        self.assertEqual(http(self.server.port, "/metrics")[0], 404)
        self.assertEqual(http(port, "/metrics", host="evil.example")[0], 403)
        with self.assertRaises(Refused) as r:
            Client(port)
        self.assertEqual(r.exception.status, 404)
        self.scrape(port)

    def test_others_need_the_token(self):
        port = self.start("--metrics-listen", "0.0.0.0", "--token", "open sesame")
        self.assertEqual(http(port, "/metrics")[0], 401)
        self.assertEqual(http(port, "/metrics", headers=["Authorization: Bearer open sesam"])[0], 401)
        self.assertEqual(http(port, "/metrics", headers=["Authorization: Basic open sesame"])[0], 401)
        self.scrape(port, headers=["Authorization: Bearer open sesame"])

    def test_a_full_server_can_be_seen(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            f.write('{"connections_max": 2}')
            f.flush()
            port = self.start("--config", f.name)
        idle = [socket.create_connection(("127.0.0.1", self.server.port), timeout=10) for _ in range(6)]
        for s in idle:
            try:
                s.sendall(b"GET /hea")
            except OSError:
                pass
        time.sleep(0.2)
        self.scrape(port)
        for s in idle:
            s.close()


class Connections(unittest.TestCase):
    def test_limit(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            f.write('{"connections_max": 8, "prompt": "a red circle"}')
            f.flush()
            server = Server("--config", f.name)
        sockets, refused = [], 0
        for _ in range(20):
            s = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                refused += not s.recv(100)
            except ConnectionResetError:
                refused += 1
            sockets.append(s)
        self.assertGreaterEqual(refused, 12)
        self.assertLess(refused, 18)
        for s in sockets:
            s.close()
        for _ in range(100):
            try:
                if http(server.port, "/healthz")[0] == 200:
                    break
            except (OSError, IndexError, ValueError):
                time.sleep(0.05)
        c = Client(server.port)
        c.hello()
        c.picture()
        c.close()
        self.assertIn("which is the limit", server.stop())


class Token(Case):
    options = ("--listen", "0.0.0.0", "--token", "open sesame", "--prompt", "a red circle")

    def test_token(self):
        for token in (None, "", "open sesam", "open sesame!"):
            c = self.client()
            hello = {"type": "hello", "protocol": 1, "codecs": ["vp8"]}
            if token is not None:
                hello["token"] = token
            c.send(hello)
            texts, close = c.closed()
            self.assertEqual((texts[0]["code"], close), ("bad_token", 1008))
        self.client().hello(token="open sesame")

    def test_token_is_never_logged(self):
        self.client().hello(token="open sesame")
        self.assertNotIn("sesame", self.server.stderr())


class Start(unittest.TestCase):
    def fails(self, says, *options):
        status, text = run("--port", "0", *options)
        self.assertEqual(status, 1)
        self.assertEqual(text.count("\n"), 1, text)
        self.assertTrue(text.startswith("kinetype serve: "), text)
        self.assertIn(says, text)

    def test_missing_model(self):
        self.fails("/nowhere/model", "--model", "/nowhere/model", "--web", "")

    def test_missing_page(self):
        self.fails("/nowhere/web", "--model", "/tmp", "--web", "/nowhere/web")

    def test_unknown_key(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            f.write('{"modle": "x"}')
            f.flush()
            self.fails('unknown key "modle"; did you mean "model"?', "--config", f.name)

    def test_missing_config(self):
        self.fails("/nowhere.json", "--config", "/nowhere.json")

    def test_unknown_option(self):
        self.fails("--prompt", "--promt", "x")

    def test_listen_needs_a_token(self):
        self.fails("token", "--listen", "0.0.0.0", "--model", "/tmp", "--web", "")

    def test_metrics_need_a_token_and_a_port(self):
        self.fails("metrics_listen", "--metrics-listen", "0.0.0.0", "--metrics-port", "9464", "--model", "/tmp", "--web", "")
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = str(s.getsockname()[1])
        self.fails("IP address", "--metrics-listen", "localhost", "--metrics-port", port, "--token", "x",
                   "--model", "/tmp", "--web", "")
        server = Server("--metrics-port", port)
        self.assertIn("no metrics: port %s on 127.0.0.1 is in use" % port, server.stop())
        s.close()

    def test_listen_needs_an_address(self):
        self.fails("IP address", "--listen", "example.org", "--token", "x", "--model", "/tmp", "--web", "")

    def test_port_in_use(self):
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = str(s.getsockname()[1])
        self.fails("port %s on 127.0.0.1 is in use" % port, "--model", "/tmp", "--web", "", "--port", port)
        s.close()
        server = Server()
        self.fails("is in use", "--model", "/tmp", "--web", "", "--port", str(server.port))
        server.stop()


class Libraries:
    """A folder with what the server takes for NVIDIA's driver, and an environment in which it is found first."""
    def __init__(self, driver):
        self.folder = tempfile.TemporaryDirectory()
        for name in "libcuda.so.1", "libnvidia-encode.so.1":
            path = os.path.join(self.folder.name, name)
            if driver:
                os.symlink(os.path.abspath(driver), path)
            else:
                open(path, "w").close()  # a file, but no library
        self.env = dict(os.environ, LD_LIBRARY_PATH=self.folder.name)

    def remove(self):
        self.folder.cleanup()


class Nvenc(Case):
    SPS = b"\0\0\0\1\x67\x64"

    @classmethod
    def setUpClass(cls):
        if DRIVER == "none":
            raise unittest.SkipTest("built without NVENC")
        cls.libraries = Libraries(DRIVER)
        cls.server = Server(*cls.options, env=cls.libraries.env)
        if "not implemented" in cls.server.stderr():
            cls.tearDownClass()
            raise unittest.SkipTest("no libx264 behind the driver")

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.libraries.remove()

    def test_stream(self):
        self.assertRegex(self.server.stderr(), "h264 by NVENC: avc1.64[0-9A-F]{4}\n")
        c = self.open(codecs=["h264", "vp8"])
        self.assertEqual(c.welcome["codec"], "h264")
        self.assertRegex(c.welcome["codec_string"], "^avc1[.]64[0-9A-F]{4}$")
        p = c.picture()
        self.assertEqual((p.codec, p.flags & KEY), (4, KEY))
        self.assertTrue(p.payload.startswith(self.SPS), p.payload[:8])
        for _ in range(20):
            p = c.picture()
            self.assertEqual((p.codec, p.flags & KEY), (4, 0))
            self.assertNotIn(self.SPS, p.payload)
        c.send({"type": "keyframe", "reason": "test"})
        for _ in range(40):
            p = c.picture()
            if p.flags & KEY:
                break
        self.assertTrue(p.flags & KEY)
        self.assertTrue(p.payload.startswith(self.SPS))

    def test_who_wants_another_gets_it(self):
        c = self.open(codecs=["vp8", "h264"])
        self.assertEqual(c.welcome["codec"], "vp8")
        self.assertEqual(c.picture().codec, 1)

    def test_resumed_with_another_codec(self):
        a = self.open(codecs=["h264"])
        a.picture()
        a.close()
        b = self.client()
        b.hello(resume=a.welcome["session"], codecs=["vp8"])
        self.assertEqual(b.picture().codec, 1)


class NoNvenc(unittest.TestCase):
    def setUp(self):
        if DRIVER == "none":
            self.skipTest("built without NVENC")
        self.libraries = Libraries(None)

    def tearDown(self):
        self.libraries.remove()

    def test_one_line_says_why(self):
        server = Server("--prompt", "a red circle", env=self.libraries.env)
        c = Client(server.port)
        self.assertEqual(c.hello(codecs=["h264", "vp8"])["codec"], "vp8")
        self.assertEqual(c.picture().codec, 1)
        c.close()
        log = server.stop()
        self.assertRegex(log, "pictures are encoded on the CPU: no NVENC: [^\n]*libcuda.so.1: ")
        self.assertEqual(log.count("NVENC"), 1, log)

    def test_alone_it_is_needed(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            f.write('{"codecs": ["h264"]}')
            f.flush()
            status, text = run("--config", f.name, "--model", "/tmp", "--web", "", env=self.libraries.env)
        self.assertEqual(status, 1)
        self.assertIn("h264 alone is listed: no NVENC: ", text)


class Stop(unittest.TestCase):
    def test_goodbye(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = Server("--prompt", "a red circle")
            c, idle = Client(server.port), Client(server.port)
            c.hello()
            c.picture()
            server.process.send_signal(number)
            texts, close = c.closed()
            self.assertEqual((texts[-1]["type"], texts[-1]["code"], close), ("bye", "shutdown", 1001))
            server.stop(None)
            c.close()
            idle.close()

    def test_with_a_client_that_does_not_read(self):
        server = Server("--prompt", "a red circle")
        c = Client(server.port, receive_buffer=4096)
        c.hello()
        for _ in range(100):
            c.send({"type": "edit", "rev": 9, "base": 8, "at": 0, "del": 0, "ins": "x"})
        server.stop()
        c.close()

    def test_before_it_is_ready(self):
        p = subprocess.Popen(command("--model", "/tmp", "--web", "", "--port", "0"), stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
        p.stdout.readline()
        p.terminate()
        self.assertEqual(p.wait(20), 0)
        p.stdout.close()


if __name__ == "__main__":
    SERVER, DRIVER = sys.argv[1:3]
    unittest.main(argv=[sys.argv[0]] + sys.argv[3:], verbosity=2)
