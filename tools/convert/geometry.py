"""What each network's tensors must be: geometry read from a few shapes, then every tensor checked.

Each function takes the tensors of one file (by plain name) and returns the section of config.json
that follows from the shapes and the complete table of tensors that geometry calls for. What shapes
cannot tell (head counts, text length) comes from the command line.
"""
import math
import re

from errors import ConvertError, fail
from tensors import WEIGHT_DTYPES

LAYERS_MAX = 512


class Shapes:
    """Shape lookups for one file that fail with the tensor's name."""

    def __init__(self, path, tensors):
        self.path, self.tensors = path, tensors

    def __call__(self, name, dims):
        if name not in self.tensors:
            fail(self.path, f"tensor {name!r} is missing; is this the right file?")
        shape = self.tensors[name].shape
        if len(shape) != dims or 0 in shape:
            fail(self.path, f"tensor {name!r}: expected {dims} non-empty dimensions, found shape "
                            f"{list(shape)}")
        return shape

    def layers(self, pattern):
        """1 + the largest index that the pattern's group takes over all names."""
        found = {int(m[1]) for m in (re.match(pattern, n) for n in self.tensors) if m}
        count = max(found, default=-1) + 1
        if not 0 < count <= LAYERS_MAX:
            fail(self.path, f"found {count} layers of the form {pattern!r}; expected 1 to "
                            f"{LAYERS_MAX}; is this the right file?")
        return count


def select(path, tensors, expected, leave_out=()):
    """The expected tensors, checked; plus the names that are in the file but not wanted."""
    missing = [n for n in expected if n not in tensors]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        fail(path, f"tensor {missing[0]!r} of shape {list(expected[missing[0]])} is missing{more}")
    for name, shape in expected.items():
        found = tensors[name]
        if found.shape != tuple(shape):
            fail(path, f"tensor {name!r}: expected shape {list(shape)}, found {list(found.shape)}")
        if found.dtype not in WEIGHT_DTYPES:
            fail(path, f"tensor {name!r}: expected dtype {', '.join(WEIGHT_DTYPES)}, found "
                       f"{found.dtype}")
    extra = sorted(n for n in tensors if n not in expected and not n.startswith(tuple(leave_out)))
    return [tensors[n] for n in expected], extra


def linear(table, name, n_out, n_in, bias=True):
    table[name + ".weight"] = (n_out, n_in)
    if bias:
        table[name + ".bias"] = (n_out,)


def conv(table, name, n_out, n_in, *kernel, bias=True):
    table[name + ".weight"] = (n_out, n_in, *kernel)
    if bias:
        table[name + ".bias"] = (n_out,)


# --- DiT ---------------------------------------------------------------------------------------

def dit(path, tensors, heads=None, text_len=512, eps=1e-6):
    shape = Shapes(path, tensors)
    dim, in_dim, *patch = shape("patch_embedding.weight", 5)
    ffn = shape("blocks.0.ffn.0.weight", 2)[0]
    text_dim = shape("text_embedding.0.weight", 2)[1]
    freq_dim = shape("time_embedding.0.weight", 2)[1]
    head_out = shape("head.head.weight", 2)[0]
    layers = shape.layers(r"blocks\.([0-9]{1,6})\.")
    heads = heads or max(1, dim // 128)
    if dim % heads or (dim // heads) % 2:
        fail(path, f"dim {dim} does not split into {heads} heads of an even size; give --heads")
    if head_out % math.prod(patch):
        fail(path, f"tensor 'head.head.weight': {head_out} rows are not a multiple of the patch "
                   f"size {patch}")
    config = {"dim": dim, "num_heads": heads, "ffn_dim": ffn, "num_layers": layers,
              "text_dim": text_dim, "text_len": text_len, "freq_dim": freq_dim, "in_dim": in_dim,
              "out_dim": head_out // math.prod(patch), "patch_size": list(patch), "eps": eps}
    table = {}
    conv(table, "patch_embedding", dim, in_dim, *patch)
    linear(table, "text_embedding.0", dim, text_dim)
    linear(table, "text_embedding.2", dim, dim)
    linear(table, "time_embedding.0", dim, freq_dim)
    linear(table, "time_embedding.2", dim, dim)
    linear(table, "time_projection.1", 6 * dim, dim)
    for i in range(layers):
        dit_block(table, f"blocks.{i}", dim, ffn)
    linear(table, "head.head", head_out, dim)
    table["head.modulation"] = (1, 2, dim)
    return config, table


def dit_block(table, at, dim, ffn):
    table[f"{at}.modulation"] = (1, 6, dim)
    for attn in ("self_attn", "cross_attn"):
        for part in "qkvo":
            linear(table, f"{at}.{attn}.{part}", dim, dim)
        table[f"{at}.{attn}.norm_q.weight"] = (dim,)
        table[f"{at}.{attn}.norm_k.weight"] = (dim,)
    table[f"{at}.norm3.weight"] = (dim,)
    table[f"{at}.norm3.bias"] = (dim,)
    linear(table, f"{at}.ffn.0", ffn, dim)
    linear(table, f"{at}.ffn.2", dim, ffn)


# --- text encoder ------------------------------------------------------------------------------

def umt5(path, tensors, text_len=512, max_distance=128, eps=1e-6):
    shape = Shapes(path, tensors)
    vocab, dim = shape("token_embedding.weight", 2)
    attn = shape("blocks.0.attn.q.weight", 2)[0]
    ffn = shape("blocks.0.ffn.gate.0.weight", 2)[0]
    buckets, heads = shape("blocks.0.pos_embedding.embedding.weight", 2)
    layers = shape.layers(r"blocks\.([0-9]{1,6})\.")
    if attn % heads:
        fail(path, f"attention dim {attn} does not split into {heads} heads")
    config = {"kind": "umt5", "vocab": vocab, "dim": dim, "dim_attn": attn, "dim_ffn": ffn,
              "num_heads": heads, "num_layers": layers, "num_buckets": buckets,
              "max_distance": max_distance, "text_len": text_len, "eps": eps}
    table = {"token_embedding.weight": (vocab, dim), "norm.weight": (dim,)}
    for i in range(layers):
        at = f"blocks.{i}"
        for part in "qkv":
            linear(table, f"{at}.attn.{part}", attn, dim, bias=False)
        linear(table, f"{at}.attn.o", dim, attn, bias=False)
        linear(table, f"{at}.ffn.gate.0", ffn, dim, bias=False)
        linear(table, f"{at}.ffn.fc1", ffn, dim, bias=False)
        linear(table, f"{at}.ffn.fc2", dim, ffn, bias=False)
        table[f"{at}.norm1.weight"] = table[f"{at}.norm2.weight"] = (dim,)
        table[f"{at}.pos_embedding.embedding.weight"] = (buckets, heads)
    return config, table


# --- Wan VAE -----------------------------------------------------------------------------------

WAN_MEAN = [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
            0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921]
WAN_STD = [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
           3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160]


def wan_vae(path, tensors, stats=None):
    """The decoder's tensors are required; the encoder's are taken when the file has them."""
    shape = Shapes(path, tensors)
    z_dim = shape("conv2.weight", 5)[0]
    dim = shape("decoder.head.0.gamma", 4)[0]
    widths, blocks, temporal = vae_levels(path, shape)
    with_encoder = any(n.startswith("encoder.") for n in tensors)
    if with_encoder:
        dim = shape("encoder.conv1.weight", 5)[0]
    if any(w % dim for w in widths):
        fail(path, f"level widths {widths} are not multiples of the base width {dim}")
    mult = [w // dim for w in reversed(widths)]
    if stats is None and z_dim != len(WAN_MEAN):
        fail(path, f"latent of {z_dim} channels: Wan's statistics are for {len(WAN_MEAN)}; give "
                   "--latent-stats")
    mean, std = stats or (WAN_MEAN, WAN_STD)
    if len(mean) != z_dim or len(std) != z_dim:
        fail(path, f"latent of {z_dim} channels, but statistics for {len(mean)} and {len(std)}")
    config = {"kind": "wan", "dim": dim, "z_dim": z_dim, "dim_mult": mult,
              "num_res_blocks": blocks, "temporal_downsample": temporal[::-1],
              "mean": list(mean), "std": list(std)}
    table = {}
    conv(table, "conv2", z_dim, z_dim, 1, 1, 1)
    vae_decoder(table, dim, z_dim, mult, blocks, temporal)
    if with_encoder:
        conv(table, "conv1", 2 * z_dim, 2 * z_dim, 1, 1, 1)
        vae_encoder(table, dim, z_dim, mult, blocks, temporal[::-1])
    return config, table


def vae_levels(path, shape):
    """(level widths from the coarsest, residual blocks less one, time up-sampling per step)."""
    count = shape.layers(r"decoder\.upsamples\.([0-9]{1,6})\.")
    widths, per_level, temporal, run = [], [], [], 0
    for i in range(count):
        at = f"decoder.upsamples.{i}"
        if f"{at}.resample.1.weight" in shape.tensors:
            temporal.append(f"{at}.time_conv.weight" in shape.tensors)
            per_level.append(run)
            run = 0
            continue
        width = shape(f"{at}.residual.6.weight", 5)[0]
        widths[len(per_level):] = [width]
        run += 1
    per_level.append(run)
    if len(set(per_level)) != 1 or run < 2:
        fail(path, f"decoder.upsamples: expected the same number (2 or more) of residual blocks at "
                   f"every level, found {per_level}")
    return widths, run - 1, temporal


def vae_residual(table, at, n_in, n_out):
    table[f"{at}.residual.0.gamma"] = (n_in, 1, 1, 1)
    conv(table, f"{at}.residual.2", n_out, n_in, 3, 3, 3)
    table[f"{at}.residual.3.gamma"] = (n_out, 1, 1, 1)
    conv(table, f"{at}.residual.6", n_out, n_out, 3, 3, 3)
    if n_in != n_out:
        conv(table, f"{at}.shortcut", n_out, n_in, 1, 1, 1)


def vae_middle(table, at, c):
    vae_residual(table, f"{at}.0", c, c)
    table[f"{at}.1.norm.gamma"] = (c, 1, 1)
    conv(table, f"{at}.1.to_qkv", 3 * c, c, 1, 1)
    conv(table, f"{at}.1.proj", c, c, 1, 1)
    vae_residual(table, f"{at}.2", c, c)


def vae_decoder(table, dim, z_dim, mult, blocks, temporal):
    widths = [dim * m for m in reversed(mult)]
    conv(table, "decoder.conv1", widths[0], z_dim, 3, 3, 3)
    vae_middle(table, "decoder.middle", widths[0])
    index, width = 0, widths[0]
    for level, n_out in enumerate(widths):
        for _ in range(blocks + 1):
            vae_residual(table, f"decoder.upsamples.{index}", width, n_out)
            index, width = index + 1, n_out
        if level + 1 < len(widths):
            at = f"decoder.upsamples.{index}"
            conv(table, f"{at}.resample.1", width // 2, width, 3, 3)
            if temporal[level]:
                conv(table, f"{at}.time_conv", 2 * width, width, 3, 1, 1)
            index, width = index + 1, width // 2
    table["decoder.head.0.gamma"] = (width, 1, 1, 1)
    conv(table, "decoder.head.2", 3, width, 3, 3, 3)


def vae_encoder(table, dim, z_dim, mult, blocks, temporal):
    conv(table, "encoder.conv1", dim, 3, 3, 3, 3)
    index, width = 0, dim
    for level, m in enumerate(mult):
        for _ in range(blocks):
            vae_residual(table, f"encoder.downsamples.{index}", width, dim * m)
            index, width = index + 1, dim * m
        if level + 1 < len(mult):
            at = f"encoder.downsamples.{index}"
            conv(table, f"{at}.resample.1", width, width, 3, 3)
            if temporal[level]:
                conv(table, f"{at}.time_conv", width, width, 3, 1, 1)
            index += 1
    vae_middle(table, "encoder.middle", width)
    table["encoder.head.0.gamma"] = (width, 1, 1, 1)
    conv(table, "encoder.head.2", 2 * z_dim, width, 3, 3, 3)


# --- TAEHV -------------------------------------------------------------------------------------

def taehv(path, tensors, space=(2, 2, 2)):
    """Three levels of six modules each: three memory blocks, up-sampling, time growth, conv."""
    shape = Shapes(path, tensors)
    width, channels = shape("decoder.1.weight", 4)[:2]
    widths, times, table = [width], [], {}
    conv(table, "decoder.1", width, channels, 3, 3)
    for level in range(3):
        first = 3 + 6 * level
        for i in range(first, first + 3):
            conv(table, f"decoder.{i}.conv.0", width, 2 * width, 3, 3)
            conv(table, f"decoder.{i}.conv.2", width, width, 3, 3)
            conv(table, f"decoder.{i}.conv.4", width, width, 3, 3)
        grow = shape(f"decoder.{first + 4}.conv.weight", 4)[0]
        if grow % width:
            fail(path, f"tensor 'decoder.{first + 4}.conv.weight': {grow} rows are not a multiple "
                       f"of {width} channels")
        times.append(grow // width)
        conv(table, f"decoder.{first + 4}.conv", grow, width, 1, 1, bias=False)
        n_out = shape(f"decoder.{first + 5}.weight", 4)[0]
        conv(table, f"decoder.{first + 5}", n_out, width, 3, 3, bias=False)
        widths.append(n_out)
        width = n_out
    conv(table, "decoder.22", 3, width, 3, 3)
    config = {"kind": "taehv", "latent_channels": channels, "widths": widths,
              "decoder_time_upscale": times, "decoder_space_upscale": list(space),
              "frames_to_trim": math.prod(times) - 1}
    return config, table


# --- agreement between the parts ---------------------------------------------------------------

def check_parts(text, dit_config, decoders, pieces):
    """Refuse parts that cannot work together; `pieces` is the tokenizer's vocabulary size."""
    if text["dim"] != dit_config["text_dim"]:
        raise ConvertError(f"text encoder gives {text['dim']} channels, the DiT's text_embedding "
                           f"expects {dit_config['text_dim']}")
    if pieces > text["vocab"]:
        raise ConvertError(f"the tokenizer has {pieces} pieces, the text encoder only "
                           f"{text['vocab']} embeddings")
    for decoder in decoders:
        channels = decoder.get("z_dim", decoder.get("latent_channels"))
        if channels != dit_config["out_dim"]:
            raise ConvertError(f"{decoder['kind']} decoder takes {channels} latent channels, the "
                               f"DiT makes {dit_config['out_dim']}")
