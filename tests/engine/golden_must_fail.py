#!/usr/bin/env python3
"""golden_must_fail.py KINETYPE GOLDEN_DIR: `kinetype golden` must refuse an output that is off by 1e-3.

Copies cases, scales one listed output by 1.001, and expects exit status 1 and the word FAILED for exactly that output.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

CASES = {
    "dit-single-block": "flow.block0.step2",
    "dit-rollout-switch": "latents",
    "vae-small": "encode_out",
    "taehv-small": "pixels",
    "umt5-small": "context.1",
}


def scale_output(path, name, factor):
    with open(path, "rb") as f:
        data = bytearray(f.read())
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    begin, end = (8 + length + o for o in header[name]["data_offsets"])
    values = struct.unpack_from("<%df" % ((end - begin) // 4), data, begin)
    struct.pack_into("<%df" % len(values), data, begin, *(v * factor for v in values))
    with open(path, "wb") as f:
        f.write(data)


def main():
    kinetype, golden = sys.argv[1:]
    if not os.path.isdir(golden):
        print("no golden cases at", golden)
        return 77
    failed = 0
    for case, output in CASES.items():
        with tempfile.TemporaryDirectory() as tmp:
            shutil.copytree(os.path.join(golden, case), os.path.join(tmp, case))
            io = os.path.join(tmp, case, "io.safetensors")
            os.chmod(os.path.dirname(io), 0o755)
            os.chmod(io, 0o644)
            scale_output(io, output, 1.001)
            run = subprocess.run([kinetype, "golden", os.path.join(tmp, case)], capture_output=True, text=True)
            bad = [line.split()[0] for line in run.stdout.splitlines() if line.endswith("FAILED")]
            ok = run.returncode == 1 and bad == [output]
            print(case, output, "refused" if ok else "NOT refused: %s" % (run.stdout + run.stderr))
            failed += not ok
    print("%d passed, %d failed" % (len(CASES) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
