"""`kinetype simulate`: the same seed gives the same bytes, another one does not, and wrong words are named."""

import json
import subprocess
import sys
import tempfile

KINETYPE = sys.argv[1]
SHORT = ["--costs", "demo-cpu", "--seconds", "40", "--sessions", "3"]


def run(*words, status=0):
    found = subprocess.run([KINETYPE, "simulate", *words], capture_output=True, text=True)
    assert found.returncode == status, (words, found.returncode, found.stderr)
    return found.stdout if status == 0 else found.stderr


def reports():
    first = run(*SHORT, "--json", "-")
    assert first == run(*SHORT, "--json", "-"), "two runs of one seed differ"
    assert first != run(*SHORT, "--seed", "2", "--json", "-"), "two seeds, one report"
    report = json.loads(first)
    assert report["commits"]["ready"] > 0 and report["enter_to_picture"]["drafted"]["shown_ms"]["p50"] > 0
    assert 0 < report["device"]["wasted_share"] < 1 and report["faults"]["first"] == ""
    assert report["sessions"]["let_in"] == 3
    peers = json.loads(run(*SHORT, "--policy", "fifo", "--cut", "block", "--json", "-"))
    assert peers["commits"]["ready"] == 0 and peers["device"]["jobs"].get("drop") is None
    assert peers["enter_to_picture"]["all"]["shown_ms"]["p50"] > report["enter_to_picture"]["all"]["shown_ms"]["p50"]
    assert "sessions a device" in run(*SHORT, "--fit")


def wrong_words():
    for words, named in ((["--costs", "h100"], "h200-fp8"), (["--policy", "deep=1"], "draft_after_ms"),
                         (["--policy", "depth=x"], "depth"), (["--policy", "lifo"], "lifo"),
                         (["--cut", "soon"], "block"), (["--sessions", "0"], "sessions"), (["--nope"], "nope")):
        assert named in run(*words, status=2), words
    assert "cannot write" in run(*SHORT, "--json", "/nowhere/report.json", status=1)


def logs():
    assert "/nowhere/log.jsonl" in run("--replay", "/nowhere/log.jsonl", status=1)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as log:
        log.write('{"kind": "job"}\n')
        log.flush()
        assert log.name in run("--replay", log.name, status=1)


reports()
wrong_words()
logs()
