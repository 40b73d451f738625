"""The causal DiT and its block-wise rollout, written from the description of the model.

The cache is a list of frames, each with its absolute index and its unrotated keys; rotation is
applied when they are read, by absolute index or by slot. That is the simplest statement of both
RoPE variants, and deliberately not how an engine would store them.
"""
import numpy as np

from ref_ops import attention, gelu_tanh, layer_norm, linear, rms_norm, silu


class Frame:
    """One latent frame's K and V in every layer."""

    def __init__(self, index, k, v):
        self.index, self.k, self.v = index, k, v  # k, v: [layers][tokens, heads, d]


def rope_tables(d, times, height, width):
    """Angles [frames * height * width, d / 2]."""
    channels = (d - 4 * (d // 6), 2 * (d // 6), 2 * (d // 6))
    grid = np.stack(np.meshgrid(np.asarray(times, float), np.arange(height), np.arange(width),
                                indexing="ij"), -1).reshape(-1, 3)
    return np.concatenate([grid[:, i:i + 1] * 10000.0 ** (-np.arange(0, c, 2) / c)
                           for i, c in enumerate(channels)], -1)


def rotate(x, angles):
    """x [tokens, heads, d]; adjacent channels are a complex number."""
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return np.stack([even * c - odd * s, even * s + odd * c], -1).reshape(x.shape)


class Dit:
    def __init__(self, config, weights):
        self.c, self.w = config, {k: v.astype(np.float64) for k, v in weights.items()}
        self.heads, self.dim = config["num_heads"], config["dim"]
        self.d = self.dim // self.heads
        self.rows = config["latent_h"] // config["patch_size"][1]
        self.cols = config["latent_w"] // config["patch_size"][2]
        self.tokens = self.rows * self.cols
        self.layers, self.eps = config["num_layers"], config["eps"]

    def split(self, x):
        return x.reshape(-1, self.heads, self.d)

    def cross_kv(self, context):
        """Per layer K, V of a prompt's context, padded with zero rows to text_len."""
        padded = np.zeros((self.c["text_len"], self.c["text_dim"]))
        padded[:len(context)] = context
        x = linear(self.w, "text_embedding.2", gelu_tanh(linear(self.w, "text_embedding.0",
                                                                padded)))
        made = []
        for i in range(self.layers):
            at = f"blocks.{i}.cross_attn"
            k = rms_norm(linear(self.w, at + ".k", x), self.eps, self.w[at + ".norm_k.weight"])
            made.append((self.split(k), self.split(linear(self.w, at + ".v", x))))
        return made

    def time(self, t):
        """One timestep -> (e [dim], e0 [6, dim])."""
        half = self.c["freq_dim"] // 2
        angles = t * 10000.0 ** (-np.arange(half) / half)
        x = np.concatenate([np.cos(angles), np.sin(angles)])
        e = linear(self.w, "time_embedding.2", silu(linear(self.w, "time_embedding.0", x)))
        return e, linear(self.w, "time_projection.1", silu(e)).reshape(6, self.dim)

    def patchify(self, x):
        pt, ph, pw = self.c["patch_size"]
        f, ch = x.shape[0] // pt, x.shape[1]
        x = x.reshape(f, pt, ch, self.rows, ph, self.cols, pw).transpose(0, 3, 5, 2, 1, 4, 6)
        kernel = self.w["patch_embedding.weight"].reshape(self.dim, -1)
        return x.reshape(-1, kernel.shape[1]) @ kernel.T + self.w["patch_embedding.bias"]

    def unpatchify(self, x):
        pt, ph, pw = self.c["patch_size"]
        x = x.reshape(-1, self.rows, self.cols, pt, ph, pw, self.c["out_dim"])
        x = x.transpose(0, 3, 6, 1, 4, 2, 5)
        return x.reshape(-1, self.c["out_dim"], self.rows * ph, self.cols * pw)

    def forward(self, latents, t, cross, past, past_times, times):
        """One pass. latents [f, C, h, w] at timestep t, their time indices in `times`; past is a
        list of Frames with time indices past_times. -> (flow, [k per layer], [v per layer])."""
        x = self.patchify(latents)
        e, e0 = self.time(t)
        q_angles = rope_tables(self.d, times, self.rows, self.cols)
        k_angles = rope_tables(self.d, list(past_times) + list(times), self.rows, self.cols)
        new_k, new_v = [], []
        for i in range(self.layers):
            at, w = f"blocks.{i}", self.w
            m = w[at + ".modulation"][0] + e0
            h = layer_norm(x, self.eps) * (1 + m[1]) + m[0]
            q = rms_norm(linear(w, at + ".self_attn.q", h), self.eps,
                         w[at + ".self_attn.norm_q.weight"])
            k = rms_norm(linear(w, at + ".self_attn.k", h), self.eps,
                         w[at + ".self_attn.norm_k.weight"])
            q, k, v = self.split(q), self.split(k), self.split(linear(w, at + ".self_attn.v", h))
            new_k.append(k)
            new_v.append(v)
            keys = np.concatenate([f.k[i] for f in past] + [k])
            values = np.concatenate([f.v[i] for f in past] + [v])
            a = attention(rotate(q, q_angles), rotate(keys, k_angles), values, self.d ** -0.5)
            x = x + m[2] * linear(w, at + ".self_attn.o", a)
            h = layer_norm(x, self.eps, w[at + ".norm3.weight"], w[at + ".norm3.bias"])
            q = rms_norm(linear(w, at + ".cross_attn.q", h), self.eps,
                         w[at + ".cross_attn.norm_q.weight"])
            a = attention(self.split(q), *cross[i], self.d ** -0.5)
            x = x + linear(w, at + ".cross_attn.o", a)
            h = layer_norm(x, self.eps) * (1 + m[4]) + m[3]
            x = x + m[5] * linear(w, at + ".ffn.2", gelu_tanh(linear(w, at + ".ffn.0", h)))
        m = self.w["head.modulation"][0] + e
        out = linear(self.w, "head.head", layer_norm(x, self.eps) * (1 + m[1]) + m[0])
        return self.unpatchify(out), new_k, new_v


class Schedule:
    """sigma = shift * s / (1 + (shift - 1) * s) on s = 1, 0.999, ..., 0.001.

    The tables are fp32, as in the code the given cases come from: taking 833.333... in fp64
    instead moves the outputs by 1e-6."""

    def __init__(self, shift, steps):
        s = 1 - np.arange(1000) / 1000
        self.sigmas = np.float32(shift * s / (1 + (shift - 1) * s)).astype(float)
        self.table = np.float32(1000 * self.sigmas).astype(float)
        self.timesteps = np.append(self.table, 0.0)[[1000 - v for v in steps]]

    def sigma(self, t):
        return self.sigmas[np.argmin(np.abs(self.table - t))]


class Rollout:
    def __init__(self, config, weights):
        self.c, self.dit = config, Dit(config, weights)
        self.window, self.sink = config["local_attn_size"], config["sink_size"]
        self.block = config["num_frame_per_block"]
        self.schedule = Schedule(config["timestep_shift"], config["denoising_step_list"])
        self.cache, self.latents, self.flows = [], [], {}

    def times(self, frames, first_slot):
        """Time indices of frames that stand in the cache from first_slot on."""
        if self.c["relative_rope"]:
            return list(range(first_slot, first_slot + len(frames)))
        return frames

    def run_pass(self, latents, t, past, frames):
        past_times = self.times([f.index for f in past], 0)
        return self.dit.forward(latents, t, self.cross, past, past_times,
                                self.times(frames, len(past)))

    def store(self, past, frames, k, v):
        n = self.dit.tokens
        self.cache = past + [Frame(f, [a[j * n:(j + 1) * n] for a in k],
                                   [a[j * n:(j + 1) * n] for a in v])
                             for j, f in enumerate(frames)]

    def past_for_block(self):
        """The cached frames that stay beside a new block."""
        room = self.window - self.block
        if self.window < 0 or len(self.cache) <= room:
            return self.cache
        rolling = room - self.sink
        return self.cache[:self.sink] + (self.cache[-rolling:] if rolling else [])

    def recache(self):
        """Pass finished latents at t = context_noise under the new prompt."""
        total = len(self.latents)
        if self.window > 0 and total > self.window and self.c["global_sink"]:
            past, count = self.cache[:self.sink], self.window - self.sink
        else:
            past, count = [], total if self.window < 0 else min(self.window, total)
        frames = list(range(total - count, total))
        latents = np.stack(self.latents[total - count:])
        _, k, v = self.run_pass(latents, self.c["context_noise"], past, frames)
        self.store(past, frames, k, v)

    def make_block(self, noise, renoise, number):
        start = len(self.latents)
        frames, past, ts = list(range(start, start + self.block)), self.past_for_block(), \
            self.schedule.timesteps
        x = noise[start:start + self.block]
        for i, t in enumerate(ts):
            flow, _, _ = self.run_pass(x, t, past, frames)
            self.flows[f"flow.block{number}.step{i}"] = flow
            x0 = x - self.schedule.sigma(t) * flow
            if i + 1 < len(ts):
                s = self.schedule.sigma(ts[i + 1])
                x = (1 - s) * x0 + s * renoise[number * (len(ts) - 1) + i]
        _, k, v = self.run_pass(x0, self.c["context_noise"], past, frames)
        self.store(past, frames, k, v)
        self.latents += list(x0)

    def run(self, noise, renoise, contexts):
        switches, prompt = list(self.c["switch_frame_indices"]), 0
        self.cross = self.dit.cross_kv(contexts[0])
        for number in range(self.c["num_frames"] // self.block):
            if switches and len(self.latents) >= switches[0]:  # one switch per boundary
                switches.pop(0)
                prompt += 1
                self.cross = self.dit.cross_kv(contexts[prompt])
                self.recache()
            self.make_block(noise, renoise, number)
        return self.outputs()

    def outputs(self):
        """latents, flows of the first block, and layer 0 of the cache as an engine stores it:
        keys rotated at their absolute index, or unrotated in the relative variant."""
        slots = self.c["num_frames"] if self.window < 0 else self.window
        kv = np.zeros((2, slots, self.dit.tokens, self.dit.heads, self.dit.d))
        for slot, f in enumerate(self.cache):
            k = f.k[0]
            if not self.c["relative_rope"]:
                k = rotate(k, rope_tables(self.dit.d, [f.index], self.dit.rows, self.dit.cols))
            kv[0, slot], kv[1, slot] = k, f.v[0]
        kv = kv.reshape(2, -1, self.dit.heads, self.dit.d)
        first = {k: v for k, v in self.flows.items() if k.startswith("flow.block0.")}
        return {"latents": np.stack(self.latents), "kv.k.layer0": kv[0], "kv.v.layer0": kv[1],
                "timesteps": self.schedule.timesteps, **first}
