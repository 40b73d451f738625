"""Everything at a bad moment: disorder.py KINETYPE TINY SPIECE SWITCHES.

The real server with a tiny random-weight model (written by TINY), two people at once: drafts, commits that overtake each
other, every cut and transition, resets and rewinds on top of them, playhead reports that lag, a client that does not read
for a while, and a server that the system stops for a while. No picture of an abandoned prompt may come after the first of
its successor, every commit that nothing overtakes takes effect, and the server ends in order. (tests/load/switches.py
asks the first of these of the clients' side.) The seed is printed; KT_TEST_SEED repeats it.
"""
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wsclient import FIRST, FLUSH, KEY, Client, Picture, http

PATIENCE = int(os.environ.get("KT_TEST_PATIENCE", "100"))
WORDS = "a red blue star heart over the sea hills at night sunset moves left".split()


class Typist(Client):
    """One person: a thread reads and judges, another types."""

    def __init__(self, port, dice):
        self.lock = threading.Lock()
        super().__init__(port, timeout=PATIENCE)
        self.dice, self.done, self.trouble = dice, threading.Event(), None
        self.epoch = self.revision = -1
        self.applied = {}  # epoch: message
        self.switches = self.pictures = self.previews = 0
        self.pts = {}
        self.shown = None  # what the reports say: it lags
        self.changed = threading.Event()

    def frame(self, *a, **k):
        with self.lock:
            super().frame(*a, **k)

    def _report(self):
        pass  # the typing thread does it

    def expect_that(self, truth, *what):
        if not truth:
            raise AssertionError("%s; at epoch %d, revision %d" % (what, self.epoch, self.revision))

    def judge(self, p):
        self.expect_that(p.pts_us > self.pts.get(p.stream, -1), "pts", p.pts_us, self.pts)
        self.pts[p.stream] = p.pts_us
        if p.stream:
            self.previews += 1
            self.expect_that(p.epoch > self.epoch, "a preview of an epoch that is shown", p.epoch)
            return
        self.pictures += 1
        self.expect_that(p.epoch >= self.epoch, "an abandoned epoch", p.epoch)
        self.expect_that(p.revision >= self.revision, "an abandoned prompt", p.revision)
        self.expect_that(bool(p.flags & FIRST) == (p.epoch > self.epoch), "flag first", p.flags)
        self.expect_that(p.fade == 0 or p.flags & FLUSH, "a fade without flush")
        if p.epoch > self.epoch:
            self.expect_that(p.flags & KEY, "the first picture is no key")
            self.expect_that(p.epoch in self.applied, "pictures before applied")
            self.expect_that(self.applied[p.epoch]["rev"] == p.revision, "another revision than applied")
            self.expect_that(self.applied[p.epoch]["flush"] == bool(p.flags & FLUSH), "flush is not as applied said")
            self.switches += p.revision > self.revision
            self.epoch, self.revision = p.epoch, p.revision
            self.changed.set()

    def read(self):
        seq = -1
        try:
            while not self.done.is_set():
                m = self.receive()
                self.expect_that(m is not None, "closed", self.close_code)
                if isinstance(m, Picture):
                    self.expect_that(m.seq == seq + 1, "seq", m.seq)
                    seq = m.seq
                    self.judge(m)
                    self.shown = m.seq if m.stream == 0 else self.shown
                elif m["type"] == "applied":
                    self.expect_that(m["epoch"] not in self.applied, "applied twice", m)
                    self.applied[m["epoch"]] = m
                elif m["type"] in ("error", "failed", "bye", "resync"):
                    self.expect_that(m.get("field") == "frame", m)  # a rewind to what is not kept (any more)
                if self.dice.random() < 0.01:
                    time.sleep(self.dice.random() * 0.3)  # the network
        except Exception as e:
            self.trouble = e
            self.done.set()
            self.changed.set()

    def nap(self, seconds):
        end = time.monotonic() + seconds
        while not self.done.is_set():
            if self.shown is not None and self.dice.random() < 0.9:
                self.send({"type": "playhead", "seq": self.shown, "rtt_us": self.dice.randrange(100000)})
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.05))

    def type_on(self, switches):
        rev, d = 0, self.dice
        while self.switches < switches and not self.done.is_set():
            rev += 1
            self.send({"type": "edit", "rev": rev, "text": " ".join(d.choice(WORDS) for _ in range(d.randrange(1, 6)))})
            self.nap(d.choice((0, 0, 0.02, 0.1, 0.35)))
            self.changed.clear()
            commit = {"type": "commit", "rev": rev}
            if d.random() < 0.6:
                commit["cut"] = d.choice(("now", "latent", "block"))
            if d.random() < 0.3:
                commit["transition"] = d.choice(("model", "cut", "scene", "blend"))
            if d.random() < 0.2:
                commit["recache"] = d.choice(("full", "checkpoint", 1, 2))
            self.send(commit)
            if d.random() < 0.05:
                self.send({"type": "set", "draft": d.random() < 0.8, "preview": d.random() < 0.7, "depth": d.randrange(5),
                           "cut": d.choice(("now", "now", "latent"))})
            if d.random() < 0.02:
                self.send({"type": "reset"})
            if d.random() < 0.02 and self.shown is not None:
                self.send({"type": "rewind", "frame": d.randrange(200)})
            if d.random() < 0.7:  # else the next one overtakes it
                end = time.monotonic() + PATIENCE
                while self.revision < rev and not self.done.is_set():
                    self.expect_that(time.monotonic() < end, "revision %d never came" % rev)
                    self.nap(0.02)
            else:
                self.nap(d.random() * 0.1)

    def run(self, switches):
        reader = threading.Thread(target=self.read, daemon=True)
        reader.start()
        try:
            self.type_on(switches)
        except Exception as e:
            self.trouble = self.trouble or e
        self.done.set()


def start(binary, model, log):
    config = tempfile.NamedTemporaryFile("w", suffix=".json")
    config.write('{"queue_max": 4, "archive_mib": 4, "draft_after_ms": 60, "text_after_ms": 10}')
    config.flush()
    process = subprocess.Popen([binary, "serve", "--config", config.name, "--model", model, "--web", "", "--port", "0",
                                "--sessions", "2", "--prompt", "a red star", "--threads", "1", *os.environ.get("KT_TEST_OPTIONS", "").split()],
                               stdout=subprocess.PIPE, stderr=log, text=True)
    if not select.select([process.stdout], [], [], PATIENCE)[0]:
        raise AssertionError("the server does not start")
    line = process.stdout.readline()
    if not line:
        raise AssertionError("the server ended")
    port = int(line.rsplit(":", 1)[1].strip("/\n"))
    while http(port, "/readyz")[0] != 200:
        time.sleep(0.1)
    config.close()
    return process, port


def disturb(process, threads, dice):
    while any(t.is_alive() for t in threads):
        time.sleep(dice.random() * 0.8)
        process.send_signal(signal.SIGSTOP)
        time.sleep(dice.random() ** 3 * 0.4)
        process.send_signal(signal.SIGCONT)


def main(binary, tiny, spiece, switches):
    seed = int(os.environ.get("KT_TEST_SEED", random.randrange(1 << 30)))
    print("seed", seed)
    folder, log, trouble = tempfile.TemporaryDirectory(), tempfile.TemporaryFile("w+"), ""
    subprocess.run([tiny, folder.name, spiece], check=True)
    process, port = start(binary, folder.name, log)
    status = 1
    try:
        people = [Typist(port, random.Random(seed + i)) for i in range(2)]
        for p in people:
            p.hello(codecs=["vp8"])
        threads = [threading.Thread(target=p.run, args=(switches // 2,), daemon=True) for p in people]
        for t in threads:
            t.start()
        disturb(process, threads, random.Random(seed + 9))
        trouble = "\n".join(repr(p.trouble) for p in people if p.trouble)
        hits = [a["hit"] for p in people for a in p.applied.values()]
        print("%d switches, %d pictures, %d previews, %s" % (
            sum(p.switches for p in people), sum(p.pictures for p in people), sum(p.previews for p in people),
            {h: hits.count(h) for h in sorted(set(hits))}))
        process.send_signal(signal.SIGTERM)
        status = process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        log.seek(0)
        text = log.read()
    if trouble or status != 0 or "Sanitizer" in text or "runtime error" in text:
        sys.exit("%s\nexit status %d\n%s" % (trouble, status, text[-6000:]))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
