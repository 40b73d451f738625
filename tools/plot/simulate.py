#!/usr/bin/env python3
"""The report of docs/scheduling.md: runs `kinetype simulate` over its grid, and draws what came out.

  simulate.py run KINETYPE docs/scheduling.json    every world of the grid (a minute); the same program, the same bytes
  simulate.py plot docs/scheduling.json docs/      scheduling.svg, and the tables of docs/scheduling.md between their marks
"""

import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import svg  # noqa: E402

SECONDS = 1800
PAUSES = (100, 200, 300, 400, 500, 700, 900, 1200, 1500)
SYSTEMS = {  # what is compared, by options
    "drafts": {},
    "no drafts": {"policy": "drafts=0"},
    "peers": {"policy": "fifo", "cut": "block"},
}


def grid():
    """Every world: (which table, key, options)."""
    for costs in ("h200-fp8", "h200-bf16", "h200-fp8-tiny", "demo-cpu", "demo-cpu-avx2"):
        for name, options in SYSTEMS.items():
            yield "systems", f"{costs}/{name}", {"costs": costs, **options}
    for cut in ("now", "latent", "block"):
        yield "systems", f"h200-fp8/cut {cut}", {"costs": "h200-fp8", "cut": cut}
    yield "systems", "authors/peers", {"costs": "authors", **SYSTEMS["peers"]}
    for pause in PAUSES:
        span = {"pause-from": pause, "pause-to": pause + 1}
        for name, options in SYSTEMS.items():
            yield "pause", f"h200-fp8/{name}/{pause}", {"costs": "h200-fp8", **options, **span}
        yield "pause", f"authors/peers/{pause}", {"costs": "authors", **SYSTEMS["peers"], **span}
        yield "pause", f"demo-cpu/drafts/{pause}", {"costs": "demo-cpu", **span}
    for costs in ("h200-fp8", "demo-cpu"):
        for field, values in (("draft_after_ms", (0, 50, 100, 150, 180, 220, 300, 400, 600)),
                              ("depth", (0, 1, 2, 3)), ("text_after_ms", (0, 40, 100, 200, 400)),
                              ("draft_keep_ms", (500, 1000, 2000, 4000, 8000))):
            for value in values:
                yield field, f"{costs}/{value}", {"costs": costs, "policy": f"{field}={value}"}
    for costs in ("h200-fp8", "h200-bf16", "demo-cpu"):
        for value in ("full", 6, 3):
            yield "recache", f"{costs}/{value}", {"costs": costs, "recache": value}
            yield "recache", f"{costs}/{value}, no drafts", {"costs": costs, "recache": value, "policy": "drafts=0"}
    for value in (0, 20, 40, 80, 160):
        yield "reserve_ms", f"h200-fp8/{value}", {"costs": "h200-fp8", "policy": f"reserve_ms={value}", "sessions": 3,
                                                  "all": True, "steps": 4}
    for costs, steps in (("h200-fp8", 4), ("h200-fp8", 2), ("h200-fp8-tiny", 4), ("h200-fp8-tiny", 2),
                         ("h200-bf16", 4), ("demo-cpu", 4), ("demo-cpu", 2)):
        for n in range(1, 7):
            for name in ("drafts", "peers"):
                yield "sessions", f"{costs}/{steps}/{name}/{n}", {"costs": costs, "steps": steps, "sessions": n,
                                                                  "places": n, "all": True, **SYSTEMS[name]}


def run(program, options):
    words = [program, "simulate", "--seconds", str(SECONDS), "--json", "-"]
    for name, value in options.items():
        words += [f"--{name}"] + ([] if value is True else [str(value)])
    found = subprocess.run(words, capture_output=True, text=True)
    if not found.stdout:
        sys.exit(f"{' '.join(words)}: {found.stderr}")
    return summary(json.loads(found.stdout))


def summary(report):
    """The few numbers of a report that the document uses."""
    enter = report["enter_to_picture"]
    row = {"hit": report["commits"]["hit_rate"], "wasted": report["device"]["wasted_share"],
           "use": report["device"]["use"], "holes": report["video"]["holes_per_minute"],
           "slow": report["video"]["slow"], "jump": report["video"]["jump_frames_mean"], "sustained": report["sessions"]["sustained"], "n": enter["all"]["n"]}
    for kind in ("all", "drafted", "cold", "preview"):
        row[kind] = [enter[kind]["shown_ms"][q] for q in ("p50", "p95", "p99")]
    return row


def points(data, table, prefix, value):
    """[(x, y)] of the rows `prefix/x`."""
    found = []
    for key, row in data[table].items():
        head, _, x = key.rpartition("/")
        if head == prefix:
            found.append((float(x), value(row)))
    return sorted(found)


def panels(data):
    wait = svg.Panel("One session: Enter to the first new picture", "pause before Enter, ms",
                     "ms; p50, dashed p95")
    for colour, (label, prefix) in enumerate((("H200 fp8, drafts", "h200-fp8/drafts"),
                                              ("H200 fp8, no drafts", "h200-fp8/no drafts"),
                                              ("H200 fp8, the peers' policy", "h200-fp8/peers"),
                                              ("H200, LongLive's code and the peers' policy", "authors/peers"))):
        wait.line(label, points(data, "pause", prefix, lambda r: r["all"][0]), colour)
        wait.line("", points(data, "pause", prefix, lambda r: r["all"][1]), colour, dashed=True)
    draft = svg.Panel("One session: how long to wait before drawing a draft", "draft_after_ms", "%",
                      y_max=100)
    for colour, (label, costs) in enumerate((("H200 fp8", "h200-fp8"), ("demo model, CPU", "demo-cpu"))):
        draft.line(f"{label}: branch ready at Enter", points(data, "draft_after_ms", costs, lambda r: 100 * r["hit"]), colour)
        draft.line(f"{label}: wasted of device time",
                   points(data, "draft_after_ms", costs, lambda r: 100 * r["wasted"]), colour, dashed=True)
    draft.bound(60, "hit rate wanted")
    draft.bound(40, "waste allowed")
    many = svg.Panel("Several people on one device: Enter to picture", "sessions", "ms, p95")
    holes = svg.Panel("Several people on one device: holes in the video", "sessions", "holes a minute of video")
    for colour, (label, prefix) in enumerate((("H200 fp8, full VAE", "h200-fp8/4"), ("tiny VAE", "h200-fp8-tiny/4"),
                                              ("tiny VAE, 2 steps", "h200-fp8-tiny/2"),
                                              ("demo model, 2 CPU cores", "demo-cpu/4"))):
        many.line(label, points(data, "sessions", prefix + "/drafts", lambda r: r["all"][1]), colour)
        holes.line(label, points(data, "sessions", prefix + "/drafts", lambda r: r["holes"]), colour)
    many.line("H200 fp8, full VAE, the peers' policy", points(data, "sessions", "h200-fp8/4/peers", lambda r: r["all"][1]),
              5, dashed=True)
    holes.line("H200 fp8, full VAE, the peers' policy", points(data, "sessions", "h200-fp8/4/peers", lambda r: r["holes"]),
               5, dashed=True)
    holes.bound(1, "sustained: less than 1")
    return [wait, draft, many, holes]


# ---- tables ----

def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows])


def pair(row, kind):
    return f"{row[kind][0]:.0f} / {row[kind][1]:.0f}" if row[kind][0] else "-"


def cells(row):
    return [pair(row, "all"), pair(row, "drafted"), pair(row, "cold"), f"{100 * row['hit']:.0f} %", f"{100 * row['wasted']:.0f} %",
            f"{100 * row['use']:.0f} %", f"{row['holes']:.2f}", f"{row['jump']:.1f}"]


HEAD = ["Enter to picture, p50 / p95 ms", "drafted", "cold", "hit rate", "wasted", "device use", "holes a minute", "jump, frames"]


def carried(data, prefix):
    """Sessions up to which every number of them was sustained."""
    n = 0
    for x, good in points(data, "sessions", prefix, lambda r: r["sustained"]):
        if not good:
            break
        n = int(x)
    return n


def tables(data):
    out = {"systems": table(["costs, policy"] + HEAD, [[k] + cells(r) for k, r in data["systems"].items()])}
    for field in ("draft_after_ms", "depth", "text_after_ms", "draft_keep_ms", "reserve_ms"):
        out[field] = table([f"costs / {field}"] + HEAD, [[k] + cells(r) for k, r in data[field].items()])
    out["recache"] = table(["costs / latents"] + HEAD[:3] + ["first preview"] + HEAD[3:6],
                           [[k] + cells(r)[:3] + [pair(r, "preview")] + cells(r)[3:6] for k, r in data["recache"].items()])
    kinds = sorted({k.rsplit("/", 2)[0] for k in data["sessions"]})
    rows = []
    for kind in kinds:
        costs, steps = kind.split("/")
        rows.append([costs, steps] + [str(carried(data, f"{kind}/{name}")) for name in ("drafts", "peers")])
    out["sessions"] = table(["costs", "steps", "sessions a device, drafts", "the peers' policy"], rows)
    return out


def plot(data, folder):
    (folder / "scheduling.svg").write_text(svg.page(panels(data)), encoding="utf-8")
    document = (folder / "scheduling").with_suffix(".md")
    text = document.read_text(encoding="utf-8")
    for name, body in tables(data).items():
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m: m.group(1) + body + "\n" + m.group(2), text,
                      flags=re.S)
    document.write_text(text, encoding="utf-8")


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("run", "plot"):
        sys.exit(__doc__)
    if sys.argv[1] == "plot":
        plot(json.loads(pathlib.Path(sys.argv[2]).read_text(encoding="utf-8")), pathlib.Path(sys.argv[3]))
        return
    data = {}
    for name, key, options in grid():
        data.setdefault(name, {})[key] = run(sys.argv[2], options)
    rows = ",\n".join(f' "{name}": {{\n' + ",\n".join(f'  "{k}": {json.dumps(r)}' for k, r in found.items()) + "\n }"
                      for name, found in data.items())
    pathlib.Path(sys.argv[3]).write_text("{\n" + rows + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
