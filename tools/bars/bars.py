"""The whole server against its bars: starts `kinetype serve`, lets `kinetype load` type at it, prints what people waited for.

    python3 tools/bars/bars.py                                      # the demo model on this machine's CPU
    python3 tools/bars/bars.py --on card                            # LongLive's shape on the first card, random weights, about 13 minutes
    python3 tools/bars/bars.py --on card one cold --seconds 60      # some parts, shorter
    python3 tools/bars/bars.py --out DIR                            # reports (JSON, SVG) and the server's logs are kept there

Nothing else should run on the machine. Exits 1 when a bar is missed or a run was broken. Standard library only.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PORT, METRICS = 8190, 9590
COLD = ["--draft", "0", "--preview", "1", "--seed", "2"]

# name: (server's options, script, people, seconds, load's options, [(what, path in the report, bound, at least?)])
SHOWN, PREVIEW = ("shown_ms", "p50"), ("preview", "shown_ms", "p50")
STEADY = [("lowest pictures/s", ("fps_lowest",), 15.9, True), ("stalls", ("stalls", "count"), 0, False)]
TYPED = [("hit rate", ("hit_rate",), 0.6, True), ("wasted share", ("wasted_share",), 0.4, False)] + STEADY
PLACES = {
    "demo": (["--config", "config/demo.json"], {
        "one": (["--sessions", "1"], "typing", 1, 370, [], [("drafted p50", ("drafted", *SHOWN), 120, False)] + STEADY),
        "cold": (["--sessions", "1"], "typing", 1, 200, COLD, [
            ("cold p50", ("cold", *SHOWN), 700, False), ("cold p95", ("cold", "shown_ms", "p95"), 1100, False)] + STEADY),
        "two": (["--sessions", "2"], "typing", 2, 120, [], STEADY[1:]),
    }),
    "card": (["--config", "config/gpu.json", "--random", "--device", "cuda"], {
        "one": (["--sessions", "1"], "typing", 1, 150, [], [("drafted p50", ("drafted", *SHOWN), 62, False)] + TYPED),
        "editing": (["--sessions", "1"], "editing", 1, 90, [], TYPED),
        "long": (["--sessions", "1"], "long", 1, 90, [], TYPED),
        "cold": (["--sessions", "1"], "typing", 1, 150, COLD, [
            ("cold p50", ("cold", *SHOWN), 400, False), ("cold p95", ("cold", "shown_ms", "p95"), 550, False),
            ("first preview p50", PREVIEW, 130, False)] + STEADY),
        "two": (["--sessions", "2"], "typing", 2, 60, [], STEADY),
        "tiny3": (["--sessions", "3", "--tiny-vae"], "typing", 3, 60, [], STEADY),
        "two-step5": (["--sessions", "5", "--tiny-vae", "--steps", "2"], "typing", 5, 60, [], STEADY),
    }),
}


class Server:
    """One running server; parts with the same options share it."""

    def __init__(self, binary, options, log):
        self.options, self.log = options, open(log, "w")
        command = [binary, "serve", *options, "--port", str(PORT), "--metrics-port", str(METRICS)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=self.log, stderr=subprocess.STDOUT)
        begun = time.monotonic()
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() - begun > 120:
                self.stop()
                sys.exit(f"the server did not get ready: see {log}")
            time.sleep(0.1)
        print(f"ready after {time.monotonic() - begun:.1f} s: {' '.join(options)}", flush=True)

    def ready(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=2).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def load(a, name, part):
    """Lets people type; the report, or None when the run was broken."""
    _, script, people, seconds, options, _ = part
    report = os.path.join(a.out, f"{name}.json")
    command = [a.binary, "load", "--script", f"config/typing/{script}.jsonl", "--url", f"ws://127.0.0.1:{PORT}/v1/live",
               "--clients", str(people), "--seconds", str(a.seconds or seconds), "--metrics", f"http://127.0.0.1:{METRICS}/metrics",
               "--json", report, "--plot", os.path.join(a.out, f"{name}.svg"), *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(f"{name}: load ended with {done.returncode}: {done.stdout[-400:]}")
        return None
    with open(report) as f:
        return json.load(f)


def cell(figures):
    return "-" if not figures["n"] else f"{figures['p50']:.0f} / {figures['p95']:.0f} (n {figures['n']})"


def show(name, r):
    kinds = ", ".join(f"{k} {cell(r[k]['shown_ms'])}" for k in ("drafted", "begun", "cold"))
    share = lambda x: "-" if x is None else f"{x:.0%}"
    print(f"{name}: shown p50 / p95, ms: {kinds}, preview {cell(r['preview']['shown_ms'])}; {r['fps']:.2f} pictures/s, "
          f"{r['stalls']['count']} stalls, {share(r['hit_rate'])} drafted, {share(r['wasted_share'])} wasted", flush=True)


def judge(r, bars):
    """Prints each bar; how many were missed."""
    missed = 0
    for what, path, bound, at_least in bars:
        value = r
        for key in path:
            value = value[key]
        if value is None:
            print(f"    {what}: nothing to measure")
            missed += 1
            continue
        ok = value >= bound if at_least else value <= bound
        missed += not ok
        print(f"    {what}: {value:.3g} (at {'least' if at_least else 'most'} {bound}) {'ok' if ok else 'MISSED'}", flush=True)
    return missed


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("parts", nargs="*", help="of " + "; ".join(f"{k}: {' '.join(v[1])}" for k, v in PLACES.items()))
    p.add_argument("--on", choices=PLACES, default="demo")
    p.add_argument("--binary", default=os.path.join(ROOT, "build", "cli", "kinetype"))
    p.add_argument("--seconds", type=int, help="of every part, instead of its own")
    p.add_argument("--out")
    a = p.parse_args()
    common, parts = PLACES[a.on]
    unknown = [n for n in a.parts if n not in parts]
    if unknown:
        p.error(f"no part {unknown[0]}: expected some of {' '.join(parts)}")
    a.binary = os.path.abspath(a.binary)
    if not os.access(a.binary, os.X_OK):
        p.error(f"--binary: expected the kinetype program, found nothing to run at {a.binary} (./run build makes build/cli/kinetype)")
    a.out = os.path.abspath(a.out) if a.out else tempfile.mkdtemp(prefix="kinetype-bars-")
    os.makedirs(a.out, exist_ok=True)
    server, missed = None, 0
    try:
        for name in a.parts or parts:
            options = common + parts[name][0]
            if not server or server.options != options:
                if server:
                    server.stop()
                server = Server(a.binary, options, os.path.join(a.out, f"{name}.server.log"))
            r = load(a, name, parts[name])
            if r:
                show(name, r)
            missed += judge(r, parts[name][5]) if r else 1
    finally:
        if server:
            server.stop()
    print(f"{missed} missed; reports in {a.out}")
    return missed != 0


if __name__ == "__main__":
    sys.exit(main())
