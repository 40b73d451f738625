"""One visit to the real server: real.py KINETYPE CONFIG [MODEL_CONFIG].

With MODEL_CONFIG, the server has nothing of the model but that config.json, and weights are random.

live.py asks about every rule of the protocol, of a server whose lane only draws. This one asks whether the whole of it, the
model included, gets through an ordinary visit and ends in an orderly way; it is what the sanitizer jobs watch.
"""
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wsclient import KEY, Client, http

PATIENCE = 100  # seconds: a sanitizer makes the model some ten times slower
JPEG = 3


class Visitor(Client):
    """A client whose page stays visible, however rarely pictures come: it reports twice a second from a thread."""

    def __init__(self, port):
        self.lock = threading.Lock()
        self.gone = threading.Event()
        super().__init__(port, timeout=PATIENCE)
        threading.Thread(target=self.stay_visible, daemon=True).start()

    def frame(self, *a, **k):
        with self.lock:
            super().frame(*a, **k)

    def stay_visible(self):
        while not self.gone.wait(0.5):
            try:
                if self.last_seq is not None:
                    self.send({"type": "playhead", "seq": self.last_seq})
            except OSError:
                return

    def close(self):
        self.gone.set()
        super().close()


def start(binary, config, log, folder, *options):
    process = subprocess.Popen([binary, "serve", "--config", config, "--port", "0", "--sessions", "2", "--seed", "7",
                                "--threads", "2", "--metrics-port", "0", "--decision-log", folder + "/%t.jsonl", *options],
                               stdout=subprocess.PIPE, stderr=log, text=True)
    if not select.select([process.stdout], [], [], PATIENCE)[0]:
        raise AssertionError("the server does not start")
    port = int(process.stdout.readline().rsplit(":", 1)[1].strip("/\n"))
    until = time.monotonic() + PATIENCE
    while http(port, "/readyz")[0] != 200:
        if time.monotonic() > until:
            raise AssertionError("the server does not get ready")
        time.sleep(0.1)
    return process, port


def visit(port):
    c = Visitor(port)
    welcome = c.hello(codecs=["vp9", "vp8"])
    first = c.picture()
    assert first.flags & KEY and (first.width, first.height) == (192, 112), "the first picture"

    # Typed letter by letter; then two commits at once: the latest wins.
    text, rev = welcome["text"], welcome["rev"]
    c.send({"type": "edit", "base": rev, "rev": rev + 1, "at": 0, "del": len(text), "ins": ""})
    for i, letter in enumerate("a blue ball over hills"):
        c.send({"type": "edit", "base": rev + 1 + i, "rev": rev + 2 + i, "at": i, "del": 0, "ins": letter})
    rev += 1 + len("a blue ball over hills")
    c.send({"type": "commit", "rev": rev})
    epoch = c.expect("applied", rev=rev)["epoch"]
    assert c.picture(epoch=epoch).revision == rev
    c.type("a red star", 100)
    c.type("a green heart in the desert", 101, transition="scene", cut="block")
    epoch = c.expect("applied", rev=101)["epoch"]
    c.picture(epoch=epoch)

    c.send({"type": "steps", "steps": 1})
    c.send({"type": "keyframe"})
    while not c.picture().flags & KEY:
        pass
    c.send({"type": "pause"})
    c.expect("status", state="paused", reason="client")
    c.send({"type": "resume"})
    c.picture()
    c.send({"type": "reset", "seed": "12345678901234567890"})
    assert c.picture(epoch=epoch + 1).frame == 0, "a reset begins anew"
    return c, welcome["session"], epoch + 1


def come_second(first, second):
    """Whether the device has time for two is the device's business; who waits comes in when the first one leaves."""
    second.send({"type": "hello", "protocol": 1, "codecs": ["vp8"], "text": "an orange ring at night", "seed": "1"})
    answer = second.receive()["type"]
    if answer == "queued":
        first.send({"type": "bye"})
        assert first.closed()[1] == 1000, "bye is answered"
        first.close()
        second.expect("welcome")
        return [second]
    assert answer == "welcome", answer
    return [first, second]


def check_decisions(folder):
    """The decision log begins with its head, lost nothing, and names every kind of work that the visit asked for."""
    (name,) = os.listdir(folder)
    with open(os.path.join(folder, name)) as f:
        lines = [json.loads(line) for line in f]
    assert lines[0]["kind"] == "head", "the head: %s" % lines[0]
    jobs = {line["job"] for line in lines if line["kind"] == "job"}
    assert {"text", "cut", "step", "commit", "decode", "promote"} <= jobs, "jobs: %s" % jobs
    assert not any(line["kind"] == "gap" for line in lines), "records were lost"


def bare(binary, config, model_config):
    """What measuring at a shape whose weights are not there needs: two prompts, two sets of pictures."""
    with tempfile.TemporaryDirectory() as model, tempfile.TemporaryFile("w+") as log:
        shutil.copy(model_config, os.path.join(model, "config.json"))
        process, port = start(binary, config, log, model, "--model", model, "--random", "--window", "6", "--checkpoints", "1")
        try:
            c = Visitor(port)
            c.hello(codecs=["vp8"])
            c.picture()
            c.type("four bytes a word", 100)
            c.picture(epoch=c.expect("applied", rev=100)["epoch"])
            c.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0, "an orderly end"
        finally:
            process.kill()
            process.wait()
            log.seek(0)
            sys.stderr.write(log.read()[-8000:])


def main(binary, config, model_config=None):
    if model_config:
        return bare(binary, config, model_config)
    log = tempfile.TemporaryFile("w+")
    folder = tempfile.TemporaryDirectory()
    process, port = start(binary, config, log, folder.name)
    trouble, status = "", 1
    try:
        c, session, epoch = visit(port)
        c.close()  # without a word, while pictures are being made
        again = Visitor(port)
        assert again.hello(codecs=["jpeg"], resume=session)["resumed"]
        picture = again.picture()
        assert picture.epoch >= epoch and picture.codec == JPEG, "resumed, with another codec"
        other = Visitor(port)
        there = come_second(again, other)
        other.picture()
        process.send_signal(signal.SIGINT)
        for client in there:
            texts, code = client.closed()
            assert code == 1001 and any(t["type"] == "bye" for t in texts), "an orderly end (%s)" % code
            client.close()
        status = process.wait(PATIENCE)
        check_decisions(folder.name)
    except (AssertionError, OSError) as e:
        trouble = "%s: %s\n" % (type(e).__name__, e)
        time.sleep(1)  # a sanitizer may be writing its report
    finally:
        process.kill()
        process.wait()
        log.seek(0)
        text = log.read()
    if trouble or status != 0 or "Sanitizer" in text or "runtime error" in text:
        sys.exit("%sexit status %d\n%s" % (trouble, status, text[-8000:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
