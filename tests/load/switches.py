"""No picture of an abandoned prompt after the first of its successor: switches.py KINETYPE WRITE_TINY_MODEL SPIECE [N].

The real server with a tiny random-weight model, 8 clients that change their minds at random (drafts that are dropped, Enter
pressed again before anything came, every cut and transition), and between them a wire that delays every piece it carries
by a random time and stands still now and then. Until N prompts (1,000) were switched, not one picture may be shown after
a picture of a later epoch, or even reach the client behind one, and none may be lost. (One raw picture that survives a
cut in server/reel.c gives some forty violations in the first hundred switches.)
"""
import asyncio
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time

CLIENTS = 8
WORDS = "a red blue green yellow circle star heart ring over under the sea sand sky moves left right slowly".split()
WAYS = [["--cut", "now"], ["--cut", "latent"], ["--cut", "block"], ["--cut", "now", "--transition", "scene"],
        ["--cut", "now", "--transition", "blend", "--blend", "3"], ["--cut", "latent", "--recache", "3"]]


async def carry(reader, writer, dice):
    """One direction: in order, each piece late by its own time."""
    free_at = 0.0
    try:
        while piece := await reader.read(65536):
            late = dice.choice([0, 0, dice.uniform(0, 0.03), dice.uniform(0, 0.12)])
            late += dice.uniform(0.2, 0.7) if dice.random() < 0.004 else 0
            free_at = max(free_at, time.monotonic() + late)
            await asyncio.sleep(max(0, free_at - time.monotonic()))
            writer.write(piece)
            await writer.drain()
    except (OSError, asyncio.CancelledError):
        pass
    writer.close()


async def wire(port, dice):
    async def connected(reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(carry(reader, far_writer, dice), carry(far_reader, writer, dice))
        except asyncio.CancelledError:
            pass  # the test is over

    return await asyncio.start_server(connected, "127.0.0.1", 0)


def write_script(path, dice):
    with open(path, "w") as f:
        for _ in range(400):
            actions = [{"do": "select"}, {"do": "paste", "text": " ".join(dice.choices(WORDS, k=5)), "ms": dice.randint(0, 80)}]
            if dice.random() < 0.3:
                actions += [{"do": "wait", "ms": dice.randint(0, 400)}, {"do": "erase", "keys": 3}]
            actions += [{"do": "enter", "pause_ms": dice.choice([0, dice.randint(0, 120), dice.randint(200, 700)])},
                        {"do": "wait", "ms": dice.choice([0, dice.randint(0, 150), dice.randint(0, 500)])}]
            f.writelines(json.dumps(a) + "\n" for a in actions)


def start(kinetype, folder, log):
    server = subprocess.Popen([kinetype, "serve", "--model", folder, "--web", "", "--port", "0", "--sessions", str(CLIENTS),
                               "--threads", "2"], stdout=subprocess.PIPE, stderr=log, text=True)
    if not select.select([server.stdout], [], [], 60)[0]:
        raise AssertionError("the server does not start")
    return server, int(server.stdout.readline().rsplit(":", 1)[1].strip("/\n"))


async def run_load(kinetype, port, script, way, seconds, seed, out):
    process = await asyncio.create_subprocess_exec(
        kinetype, "load", "--url", f"ws://127.0.0.1:{port}/v1/live", "--script", script, "--clients", str(CLIENTS),
        "--seconds", str(seconds), "--seed", str(seed), "--json", out, "--codec", "jpeg", "--no-decode", *way,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    said = (await process.communicate())[1].decode()
    if not os.path.exists(out):
        raise AssertionError(f"kinetype load {way}: {said}")
    with open(out) as f:
        return json.load(f)


async def switch(kinetype, port, wanted, folder, dice):
    server = await wire(port, dice)
    script, done, runs = os.path.join(folder, "typing.jsonl"), 0, 0
    write_script(script, dice)
    until = time.monotonic() + 200
    while done < wanted:
        if time.monotonic() > until:
            raise AssertionError(f"only {done} of {wanted} switches came through in time")
        way = WAYS[runs % len(WAYS)]
        report = await run_load(kinetype, server.sockets[0].getsockname()[1], script, way, 8, runs, os.path.join(folder, f"{runs}.json"))
        stale, back, gaps = report["stale_frames"], report["disordered"], report["drops"]["gaps"]
        done += report["commits"]["applied"]
        print(f"{' '.join(way)}: {report['commits']['applied']} switches, {stale} stale, {back} out of order, {gaps} gaps", flush=True)
        assert stale == 0, f"{stale} pictures of an abandoned prompt were shown after its successor's first"
        assert back == 0, f"{back} pictures of an older epoch (or previews of one that was there) came behind a newer one's"
        assert gaps == 0, f"{gaps} gaps in the sequence of pictures"
        runs += 1
    server.close()
    return done


def main():
    kinetype, write_tiny_model, spiece = sys.argv[1:4]
    wanted = int(sys.argv[4]) if len(sys.argv) > 4 else 1000
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else random.randrange(1 << 30)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "log"), "w+") as log:
        model = os.path.join(folder, "model")
        os.mkdir(model)
        subprocess.run([write_tiny_model, model, spiece], check=True)
        server, port = start(kinetype, model, log)
        try:
            done = asyncio.run(switch(kinetype, port, wanted, folder, random.Random(seed)))
            print(f"{done} switches, no violation")
        except BaseException:
            log.seek(0)
            print(log.read()[-4000:])
            raise
        finally:
            server.send_signal(signal.SIGTERM)
            if server.wait(30) != 0:
                raise AssertionError(f"the server ended with {server.returncode}")


main()
