"""LongLive v1.0's own code with a prompt switch asked for at a random time: milliseconds until the first new frames are on the
host. The blocks are made one after the other as its `inference()` makes them (4 steps, cache pass), decoded as they come
(`decode_to_pixel(use_cache=True)`), and a switch is seen between two blocks: encode, recache 12, 4 steps, decode.

    python3 tools/baseline/switch.py --longlive LongLive --json FILE [--count 12] [--tiny]

Rows: `back to back`: the next block begins when the last is decoded. `paced`: a block begins 850 ms before its time at 16 frames/s, hardly
ahead (a request that comes while it waits begins at once). `whole`: the new block decoded whole, as their code does; `first`: in their favour its
first latent decoded before the rest and before the cache pass. `shown`: due on a player that plays what is queued first.
"""
import argparse
import contextlib
import io
import json
import random
import statistics
import time

import torch

import longlive as L

BLOCK_S = 0.75


class Stream:
    """Their `inference()` taken apart: the same calls in the same order, block by block, for ever."""

    def __init__(self, pipeline, shapes, device, backend):
        self.p, self.shapes, self.device, self.backend = pipeline, shapes, device, backend
        self.kept = 48  # latents of output that are kept; a recache needs 12
        self.reset()

    def reset(self):
        """A new stream of their code: its positions are absolute and its rotary table ends at latent 1,024."""
        p, keep = self.p, dict(dtype=torch.bfloat16, device=self.device)
        with contextlib.redirect_stdout(io.StringIO()):
            p._initialize_kv_cache(1, kv_cache_size_override=L.WINDOW * self.shapes.frame_tokens, **keep)
            p._initialize_crossattn_cache(batch_size=1, **keep)
            p.generator.model.local_attn_size = p.local_attn_size
            p._set_all_modules_max_attention_size(p.local_attn_size)
        p.vae.model.clear_cache()
        self.output = torch.zeros(1, 400, 16, *self.shapes.latent, **keep)
        self.at = 0
        self.condition = p.text_encoder(text_prompts=["a prompt"])
        self.sync()

    def sync(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def pass_(self, x, timestep):
        t = torch.ones([1, L.BLOCK], device=self.device, dtype=torch.int64) * timestep
        return self.p.generator(noisy_image_or_video=x, conditional_dict=self.condition, timestep=t, kv_cache=self.p.kv_cache1,
                                crossattn_cache=self.p.crossattn_cache, current_start=self.at * self.p.frame_seq_length)

    def decode(self, latents):
        L.use_backend(None)
        video = (self.p.vae.decode_to_pixel(latents, use_cache=True) * 0.5 + 0.5).clamp(0, 1)
        host = (video * 255).to(torch.uint8).cpu()
        L.use_backend(self.backend)
        return host

    def block(self, switch, first_latent_first):
        """Makes a block; the moment at which its first frames are on the host."""
        p = self.p
        if switch:
            self.condition = p.text_encoder(text_prompts=["another prompt"])
            with contextlib.redirect_stdout(io.StringIO()):
                p._recache_after_switch(self.output, self.at, self.condition)
        x = torch.randn(1, L.BLOCK, 16, *self.shapes.latent, device=self.device, dtype=torch.bfloat16)
        steps = p.denoising_step_list
        for i, step in enumerate(steps):
            _, denoised = self.pass_(x, step)
            if i + 1 < len(steps):
                flat = denoised.flatten(0, 1)
                again = steps[i + 1] * torch.ones([L.BLOCK], device=self.device, dtype=torch.long)
                x = p.scheduler.add_noise(flat, torch.randn_like(flat), again).unflatten(0, denoised.shape[:2])
        self.output[:, self.at:self.at + L.BLOCK] = denoised
        moment = None
        if first_latent_first:
            self.decode(denoised[:, :1])
            moment = time.perf_counter()
        self.pass_(denoised, 0)
        rest = denoised[:, 1:] if first_latent_first else denoised
        self.decode(rest)
        self.sync()
        self.at += L.BLOCK
        return moment or time.perf_counter()


def run(stream, count, paced, first):
    """Requests at random times; (until on the host, until due) of each, ms."""
    rows, draw = [], random.Random(11)
    stream.reset()
    for _ in range(L.FILL + 2):
        stream.block(False, first)
    start, made = time.perf_counter(), 0  # a player that starts now, with one block in hand
    asked = start + draw.uniform(1.0, 2.0)
    while len(rows) < count and stream.at + 2 * L.BLOCK < stream.output.shape[1]:
        while paced and time.perf_counter() < start + BLOCK_S * made - 0.1 and time.perf_counter() < asked:
            time.sleep(0.002)
        switch = time.perf_counter() >= asked
        moment = stream.block(switch, first)
        due = start + BLOCK_S * (made + 1)  # everything made before it plays out
        made += 1
        if start + BLOCK_S * made < time.perf_counter():  # too late: the player waits
            start = time.perf_counter() - BLOCK_S * made
        if switch:
            rows.append(((moment - asked) * 1000, (max(moment, due) - asked) * 1000))
            asked = time.perf_counter() + draw.uniform(0.7, 2.2)
    return rows


def p95(x):
    return sorted(x)[max(0, -(-len(x) * 95 // 100) - 1)]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--longlive", required=True)
    a.add_argument("--count", type=int, default=12)
    a.add_argument("--rows", default="back,paced,paced-first", help="of back back-first paced paced-first")
    a.add_argument("--tiny", action="store_true")
    a.add_argument("--json")
    a = a.parse_args()
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    shapes = L.Shapes(a.tiny)
    L.stand_ins(a.longlive, shapes, device)
    attention = L.route_attention()
    pipeline = L.open_pipeline(shapes, device)
    clock, backend = L.Clock(device), None
    if attention == "SDPA" and device.type == "cuda":
        layer = L.time_backends(clock, shapes, device)
        backend = min((b for b in layer if b), key=layer.get)
    L.use_backend(backend)
    stream = Stream(pipeline, shapes, device, backend)
    begin = time.perf_counter()
    for i in range(3):
        stream.block(i == 2, i == 1)
    print(f"attention through {attention} {backend or ''}; warm after {time.perf_counter() - begin:.1f} s", flush=True)
    out = {}
    print("| from the request, ms | p50 | p95 | n | shown p50 | p95 |\n|---|---:|---:|---:|---:|---:|")
    for row in a.rows.split(","):
        paced, first = row.startswith("paced"), row.endswith("-first")
        rows = run(stream, a.count, paced, first)
        name = f"{'paced' if paced else 'back to back'}, {'first' if first else 'whole'}"
        host, shown = [r[0] for r in rows], [r[1] for r in rows]
        out[name] = dict(host_ms=host, shown_ms=shown)
        print(f"| {name} | {statistics.median(host):.0f} | {p95(host):.0f} | {len(host)} | {statistics.median(shown):.0f} | "
              f"{p95(shown):.0f} |", flush=True)
        if a.json:
            with open(a.json, "w") as f:
                json.dump(out, f)


if __name__ == "__main__":
    main()
