"""Golden cases of shapes other than those produced with the upstream code.

Each name gives a config, random weights in the manner of the given cases (unit-gain matrices, small
biases, norm weights near one) and random inputs. The seed is the name, so a case can be made again.
"""
import pathlib
import sys
import zlib

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "convert"))
import geometry  # noqa: E402  the tables of tensor names and shapes

DIT = {"kind": "causal_wan_rollout", "dim": 128, "num_heads": 2, "ffn_dim": 160, "num_layers": 2,
       "text_dim": 24, "text_len": 20, "freq_dim": 32, "in_dim": 16, "out_dim": 16,
       "patch_size": [1, 2, 2], "eps": 1e-6, "latent_h": 4, "latent_w": 6, "local_attn_size": 12,
       "sink_size": 3, "num_frame_per_block": 3, "num_frames": 18,
       "denoising_step_list": [1000, 750, 500, 250], "timestep_shift": 5.0,
       "switch_frame_indices": [6, 15], "global_sink": True, "relative_rope": False,
       "context_noise": 0, "context_lens": [5, 20, 1]}
UMT5 = {"kind": "umt5_encoder", "vocab": 97, "dim": 48, "dim_attn": 64, "dim_ffn": 80,
        "num_heads": 2, "num_layers": 2, "num_buckets": 32, "max_distance": 128, "text_len": 512,
        "lens": [200, 2, 65], "eps": 1e-6}
VAE = {"kind": "wan_vae", "dim": 6, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
       "temporal_downsample": [False, True, True], "latent_h": 3, "latent_w": 5, "num_latents": 5,
       "encode_frames": 9}
TAEHV = {"kind": "taehv_decoder", "latent_channels": 16, "widths": [32, 24, 16, 8],
         "decoder_time_upscale": [1, 2, 2], "decoder_space_upscale": [2, 2, 2], "latent_h": 4,
         "latent_w": 3, "num_latents": 5, "frames_to_trim": 3}
TINY = {"dim": 32, "num_heads": 2, "ffn_dim": 24, "num_layers": 2, "latent_h": 4, "latent_w": 4}

CASES = {
    # head dimensions
    "dit-head64": {**DIT},
    "dit-head128": {**DIT, "dim": 256, "num_frames": 15, "switch_frame_indices": [3],
                    "context_lens": [7, 3]},
    "dit-head128-relative": {**DIT, "dim": 256, "relative_rope": True},
    # windows and sinks
    "dit-nosink": {**DIT, "sink_size": 0, "local_attn_size": 6, "switch_frame_indices": [6, 12]},
    "dit-nosink-relative": {**DIT, "sink_size": 0, "local_attn_size": 6, "relative_rope": True,
                            "switch_frame_indices": [3, 12]},
    "dit-nosink-resink": {**DIT, "sink_size": 0, "local_attn_size": 9, "global_sink": False,
                          "switch_frame_indices": [6, 12]},
    "dit-window7-sink1": {**DIT, "sink_size": 1, "local_attn_size": 7,
                          "switch_frame_indices": [6, 12]},
    "dit-window8-block2": {**DIT, "sink_size": 2, "local_attn_size": 8, "num_frame_per_block": 2,
                           "switch_frame_indices": [5, 8], "num_frames": 16},
    "dit-window7-block2-relative": {
        **DIT, "sink_size": 1, "local_attn_size": 7, "num_frame_per_block": 2, "num_frames": 16,
        "relative_rope": True, "switch_frame_indices": [6, 11]},
    "dit-window6-tight": {**DIT, "local_attn_size": 6, "switch_frame_indices": [6, 9]},
    "dit-resink-relative": {**DIT, "local_attn_size": 9, "global_sink": False,
                            "relative_rope": True, "switch_frame_indices": [6, 12]},
    "dit-resink-window7": {**DIT, "local_attn_size": 7, "sink_size": 2, "global_sink": False,
                           "switch_frame_indices": [6, 12]},
    # blocks of one frame
    "dit-block1": {**DIT, "num_frame_per_block": 1, "sink_size": 1, "local_attn_size": 5,
                   "num_frames": 11, "switch_frame_indices": [2, 8]},
    "dit-block1-relative": {**DIT, "num_frame_per_block": 1, "sink_size": 1, "local_attn_size": 5,
                            "num_frames": 11, "relative_rope": True,
                            "switch_frame_indices": [5, 8]},
    "dit-block1-nosink": {**DIT, "num_frame_per_block": 1, "sink_size": 0, "local_attn_size": 4,
                          "num_frames": 9, "global_sink": False, "switch_frame_indices": [4, 7]},
    # unbounded windows
    "dit-unbounded": {**DIT, "local_attn_size": -1, "num_frames": 15,
                      "switch_frame_indices": [6, 12]},
    "dit-unbounded-relative": {**DIT, "local_attn_size": -1, "num_frames": 15, "sink_size": 0,
                               "relative_rope": True, "switch_frame_indices": [6, 12]},
    "dit-unbounded-resink": {**DIT, "local_attn_size": -1, "num_frames": 15, "global_sink": False,
                             "switch_frame_indices": [6, 12]},
    "dit-unbounded-block1": {**DIT, "local_attn_size": -1, "num_frames": 7, "sink_size": 0,
                             "num_frame_per_block": 1, "switch_frame_indices": [3, 5]},
    # sampler, patches, channels
    "dit-two-steps": {**DIT, "denoising_step_list": [1000, 500], "timestep_shift": 3.0,
                      "num_frames": 12, "switch_frame_indices": [], "context_lens": [4]},
    "dit-one-step": {**DIT, "denoising_step_list": [1000], "num_frames": 12,
                     "switch_frame_indices": [6], "context_lens": [4, 6]},
    "dit-odd-steps": {**DIT, "denoising_step_list": [1000, 901, 333, 77, 1], "num_frames": 6,
                      "switch_frame_indices": [], "context_lens": [4], "timestep_shift": 8.0},
    "dit-patch1": {**DIT, "patch_size": [1, 1, 1], "latent_h": 3, "latent_w": 5, "num_frames": 6,
                   "switch_frame_indices": [3], "context_lens": [4, 9]},
    "dit-patch4x2": {**DIT, "patch_size": [1, 4, 2], "latent_h": 8, "latent_w": 4, "num_frames": 6,
                     "switch_frame_indices": [3], "context_lens": [4, 9]},
    "dit-channels8": {**DIT, "in_dim": 8, "out_dim": 8, "num_heads": 4, "num_frames": 6,
                      "switch_frame_indices": [], "context_lens": [20], "eps": 1e-5},
    "dit-switch-at-9": {**DIT, "local_attn_size": 9, "switch_frame_indices": [9], "num_frames": 18,
                        "context_lens": [5, 8]},
    "dit-context-noise": {**DIT, "context_noise": 100, "switch_frame_indices": [6, 15]},
    "dit-two-switches-in-a-block": {**DIT, "switch_frame_indices": [4, 5], "num_frames": 12},
    "dit-three-heads-odd": {**DIT, "dim": 66, "num_heads": 3, "ffn_dim": 50, "latent_h": 6,
                            "latent_w": 2, "text_len": 9, "context_lens": [9, 1, 4]},
    # text encoder
    "umt5-wide-attention": {**UMT5},
    "umt5-few-buckets": {**UMT5, "dim": 64, "dim_attn": 32, "num_heads": 4, "num_buckets": 16,
                         "max_distance": 40, "lens": [130, 17], "eps": 1e-5},
    # Wan VAE
    "vae-dim6": {**VAE},
    "vae-one-res-block": {**VAE, "dim": 8, "num_res_blocks": 1, "latent_h": 2, "latent_w": 4},
    "vae-time-first": {**VAE, "dim_mult": [1, 2, 3, 4], "temporal_downsample": [True, True, False]},
    "vae-three-levels": {**VAE, "dim_mult": [1, 2, 4], "temporal_downsample": [True, False],
                         "num_latents": 6, "latent_h": 5, "latent_w": 7},
    "vae-two-levels": {**VAE, "dim": 10, "dim_mult": [1, 3], "temporal_downsample": [False],
                       "num_res_blocks": 3, "num_latents": 3, "latent_h": 8, "latent_w": 6,
                       "encode_frames": 5},
    "vae-one-latent": {**VAE, "num_latents": 1, "encode_frames": 1},
    # TAEHV
    "taehv-widths": {**TAEHV},
    "taehv-time-1-1-2": {**TAEHV, "decoder_time_upscale": [1, 1, 2], "frames_to_trim": 1},
    "taehv-time-2-2-2": {**TAEHV, "decoder_time_upscale": [2, 2, 2], "frames_to_trim": 7},
    "taehv-space-2-1-2": {**TAEHV, "decoder_space_upscale": [2, 1, 2], "latent_channels": 8,
                          "widths": [16, 16, 8, 12]},
    # small enough to be kept in the repository
    "tiny-dit-block1": {**DIT, **TINY, "num_frame_per_block": 1, "sink_size": 1,
                        "local_attn_size": 4, "num_frames": 8, "relative_rope": True,
                        "switch_frame_indices": [3, 6]},
    "tiny-dit-unbounded": {**DIT, **TINY, "local_attn_size": -1, "sink_size": 0,
                           "num_frames": 9, "switch_frame_indices": [6], "context_lens": [5, 8]},
    "tiny-dit-resink": {**DIT, **TINY, "local_attn_size": 7, "sink_size": 2,
                        "num_frame_per_block": 2, "num_frames": 12, "global_sink": False,
                        "switch_frame_indices": [4, 9]},
    "tiny-vae": {**VAE, "dim": 4, "dim_mult": [1, 2, 2], "temporal_downsample": [True, False],
                 "num_res_blocks": 1, "num_latents": 3, "latent_h": 3, "latent_w": 4,
                 "encode_frames": 5},
    "tiny-taehv": {**TAEHV, "widths": [12, 8, 8, 4], "decoder_time_upscale": [1, 2, 1],
                   "frames_to_trim": 1, "latent_h": 2, "latent_w": 3},
    "tiny-umt5": {**UMT5, "dim": 32, "dim_attn": 48, "dim_ffn": 40, "lens": [70, 9]},
}
NAMES = list(CASES)


class Shaped:
    """Stands in for a tensor where the geometry only asks for its shape."""

    def __init__(self, *shape):
        self.shape = shape


def table_of(c):
    table = {}
    if c["kind"] == "causal_wan_rollout":
        probe = {"patch_embedding.weight": Shaped(c["dim"], c["in_dim"], *c["patch_size"]),
                 "blocks.0.ffn.0.weight": Shaped(c["ffn_dim"], c["dim"]),
                 "text_embedding.0.weight": Shaped(c["dim"], c["text_dim"]),
                 "time_embedding.0.weight": Shaped(c["dim"], c["freq_dim"]),
                 "head.head.weight": Shaped(int(np.prod(c["patch_size"])) * c["out_dim"], c["dim"]),
                 f"blocks.{c['num_layers'] - 1}.": None}
        _, table = geometry.dit("", probe, c["num_heads"])
    elif c["kind"] == "umt5_encoder":
        probe = {"token_embedding.weight": Shaped(c["vocab"], c["dim"]),
                 "blocks.0.attn.q.weight": Shaped(c["dim_attn"], c["dim"]),
                 "blocks.0.ffn.gate.0.weight": Shaped(c["dim_ffn"], c["dim"]),
                 "blocks.0.pos_embedding.embedding.weight": Shaped(c["num_buckets"],
                                                                  c["num_heads"]),
                 f"blocks.{c['num_layers'] - 1}.": None}
        _, table = geometry.umt5("", probe)
    elif c["kind"] == "wan_vae":
        z, args = c["z_dim"], (c["dim"], c["z_dim"], c["dim_mult"], c["num_res_blocks"])
        geometry.conv(table, "conv1", 2 * z, 2 * z, 1, 1, 1)
        geometry.conv(table, "conv2", z, z, 1, 1, 1)
        geometry.vae_decoder(table, *args, c["temporal_downsample"][::-1])
        geometry.vae_encoder(table, *args, c["temporal_downsample"])
    else:
        widths, probe = c["widths"], {}
        probe["decoder.1.weight"] = Shaped(widths[0], c["latent_channels"], 3, 3)
        for i in range(3):
            grow = widths[i] * c["decoder_time_upscale"][i]
            probe[f"decoder.{7 + 6 * i}.conv.weight"] = Shaped(grow, widths[i], 1, 1)
            probe[f"decoder.{8 + 6 * i}.weight"] = Shaped(widths[i + 1], widths[i], 3, 3)
        _, table = geometry.taehv("", probe)
    return table


def random_weights(table, rng):
    made = {}
    for name, shape in table.items():
        x = rng.standard_normal(shape)
        if "pos_embedding" in name:
            x *= 0.5
        elif name.endswith("modulation"):
            x *= 0.2
        elif name.endswith("gamma") or "norm" in name.split(".")[-2]:
            x = 1 + 0.1 * x
        elif len(shape) == 1:
            x *= 0.05
        else:
            x /= np.sqrt(np.prod(shape[1:]))
        made[name] = x
    return made


def build(name):
    """(config, weights, inputs)"""
    c = dict(CASES[name])
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    weights, io = random_weights(table_of(c), rng), {}
    if c["kind"] == "causal_wan_rollout":
        c["context_lens"] = c["context_lens"][:len(c["switch_frame_indices"]) + 1]
        frame = (c["in_dim"], c["latent_h"], c["latent_w"])
        blocks = c["num_frames"] // c["num_frame_per_block"]
        draws = blocks * (len(c["denoising_step_list"]) - 1)
        io["noise"] = rng.standard_normal((c["num_frames"], *frame))
        io["renoise"] = rng.standard_normal((draws, c["num_frame_per_block"], *frame))
        for i, n in enumerate(c["context_lens"]):
            io[f"context.{i}"] = rng.standard_normal((n, c["text_dim"]))
    elif c["kind"] == "umt5_encoder":
        for i, n in enumerate(c["lens"]):
            ids = rng.integers(2, c["vocab"], n)
            ids[-1] = 1
            io[f"ids.{i}"] = ids.astype(np.int32)
    elif c["kind"] == "wan_vae":
        scale = 2 ** (len(c["dim_mult"]) - 1)
        size = (3, c["latent_h"] * scale, c["latent_w"] * scale)
        io["latents"] = rng.standard_normal((c["num_latents"], c["z_dim"], c["latent_h"],
                                             c["latent_w"]))
        io["encode_in"] = rng.uniform(-1, 1, (c.pop("encode_frames"), *size))
    else:
        io["latents"] = rng.standard_normal((c["num_latents"], c["latent_channels"],
                                             c["latent_h"], c["latent_w"]))
    return c, weights, io
