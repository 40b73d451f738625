"""Make one model directory out of the weights files users have.

  config.json  dit.safetensors  text.safetensors  vae.safetensors  [taehv.safetensors]  spiece.model

Needs Python 3.11 and NumPy. Nothing in an input file is executed, and tensors are converted one at
a time: memory stays far below the size of the files.
"""
import argparse
import json
import math
import os
import sys

import geometry
import lora as lora_merge
import output
import safetensors
import spiece
from errors import ConvertError, fail
from tensors import WEIGHT_DTYPES, cast
from weights import Weights, open_file

EXTRA_SHOWN = 8


def parse_args(argv):
    p = argparse.ArgumentParser(
        prog="convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 done; 1 an input or the output is wrong (the message names the "
               "file, what was\nexpected and what was found); 2 wrong usage; 130 interrupted.")
    p.add_argument("-o", "--output", required=True, metavar="DIR", help="model directory to make")
    p.add_argument("--force", action="store_true", help="replace DIR if it is a model directory")
    p.add_argument("--name", help="the model's name in config.json (default: DIR's last part)")
    p.add_argument("--quiet", action="store_true", help="no progress lines")
    p.add_argument("--ignore-crc", action="store_true",
                   help="do not verify the checksums of torch files")

    files = p.add_argument_group("files")
    files.add_argument("--dit", required=True, metavar="FILE",
                       help="longlive_base.pt or Wan's diffusion_pytorch_model.safetensors")
    files.add_argument("--lora", metavar="FILE", help="lora.pt, merged into the DiT")
    files.add_argument("--text", required=True, metavar="FILE",
                       help="models_t5_umt5-xxl-enc-bf16.pth")
    files.add_argument("--tokenizer", required=True, metavar="FILE", help="spiece.model")
    files.add_argument("--vae", metavar="FILE", help="Wan2.1_VAE.pth")
    files.add_argument("--taehv", metavar="FILE",
                       help="taew2_1.pth or .safetensors; the preview decoder beside --vae, the "
                            "only one without it")

    net = p.add_argument_group("what tensor shapes cannot tell (defaults are LongLive's)")
    net.add_argument("--heads", type=positive, metavar="N", help="DiT heads (default: dim / 128)")
    net.add_argument("--text-len", type=positive, default=512, metavar="N",
                     help="context rows (512)")
    net.add_argument("--max-distance", type=positive, default=128, metavar="N",
                     help="farthest relative position of the text encoder (128)")
    net.add_argument("--eps", type=float, default=1e-6, help="of every normalisation (1e-6)")
    net.add_argument("--latent-stats", metavar="FILE",
                     help='JSON {"mean": [...], "std": [...]} per latent channel (Wan 2.1\'s)')
    net.add_argument("--space-upscale", type=int_list, default=[2, 2, 2], metavar="A,B,C",
                     help="TAEHV's up-sampling per level (2,2,2)")
    net.add_argument("--dit-dtype", choices=["keep", *WEIGHT_DTYPES], default="keep",
                     help="store the DiT in this type (keep)")
    net.add_argument("--ema", action="store_true",
                     help="prefer 'generator_ema' where the DiT file has both")
    net.add_argument("--lora-alpha", type=float, default=256.0, metavar="A",
                     help="update scale is A / rank (256)")

    run = p.add_argument_group("video and sampler (defaults are LongLive's)")
    run.add_argument("--width", type=positive, default=832)
    run.add_argument("--height", type=positive, default=480)
    run.add_argument("--fps", type=positive, default=16)
    run.add_argument("--block", type=positive, default=3, metavar="N",
                     help="latent frames per block (3)")
    run.add_argument("--window", type=int, default=12, metavar="N",
                     help="attention window in latent frames, -1 for all (12)")
    run.add_argument("--sink", type=int, default=3, metavar="N", help="latent frames kept (3)")
    run.add_argument("--steps", type=int_list, default=[1000, 750, 500, 250], metavar="A,B,..",
                     help="denoising_step_list before warping (1000,750,500,250)")
    run.add_argument("--shift", type=float, default=5.0, help="timestep shift (5)")
    run.add_argument("--absolute-rope", action="store_true",
                     help="absolute positions (default: relative, for endless streams)")
    run.add_argument("--resink", action="store_true",
                     help="global_sink false: a prompt switch makes a new sink")
    args = p.parse_args(argv)
    check_args(p, args)
    return args


def positive(text):
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def int_list(text):
    return [positive(part) for part in text.split(",")]


def check_args(p, args):
    if not args.vae and not args.taehv:
        p.error("give --vae, --taehv or both")
    if args.window != -1 and args.window < args.block:
        p.error(f"--window {args.window}: expected -1 or at least --block {args.block}")
    if args.sink < 0 or (args.window != -1 and args.sink + args.block > args.window):
        p.error(f"--sink {args.sink}: sink and block must fit in the window of {args.window}")
    if args.block == 1 and args.sink > 1:
        p.error("--block 1 with a sink larger than 1 is not defined")
    if any(not 0 < s <= 1000 for s in args.steps) or sorted(set(args.steps))[::-1] != args.steps:
        p.error(f"--steps {args.steps}: expected decreasing values in 1..1000")
    if len(args.space_upscale) != 3:
        p.error(f"--space-upscale: expected 3 factors, got {len(args.space_upscale)}")
    if not (math.isfinite(args.shift) and args.shift > 0):
        p.error(f"--shift {args.shift}: expected a positive number")
    if not (math.isfinite(args.eps) and args.eps > 0):
        p.error(f"--eps {args.eps}: expected a positive number")
    if not math.isfinite(args.lora_alpha):
        p.error(f"--lora-alpha {args.lora_alpha}: expected a number")


class Part:
    """One output file: its config section and the tensors it will hold."""

    def __init__(self, key, file, config, tensors):
        self.key, self.file, self.tensors = key, file, tensors
        self.config = {"kind": config.pop("kind"), "file": file, **config} if "kind" in config \
            else {"file": file, **config}
        self.nbytes = sum(t.nbytes for t in tensors)


class Converter:
    def __init__(self, args):
        self.args, self.opened = args, []

    def say(self, text):
        if not self.args.quiet:
            print(text, flush=True)

    def open(self, path, *wrappers):
        weights = Weights(path, wrappers, not self.args.ignore_crc)
        self.opened.append(weights)
        under = f" under {weights.wrapper!r}" if weights.wrapper else ""
        self.say(f"{path}: {len(weights.tensors)} tensors{under}")
        return weights

    def select(self, weights, tensors, table, leave_out=()):
        chosen, extra = geometry.select(weights.path, tensors, table, leave_out)
        if extra:
            more = f" and {len(extra) - EXTRA_SHOWN} more" if len(extra) > EXTRA_SHOWN else ""
            print(f"{weights.path}: warning: {len(extra)} unexpected tensors left out: "
                  f"{', '.join(map(repr, extra[:EXTRA_SHOWN]))}{more}", file=sys.stderr)
        return chosen

    def dit(self):
        args = self.args
        wrappers = ["generator", "generator_ema", "model"]
        if args.ema:
            wrappers[:2] = wrappers[1::-1]
        weights = self.open(args.dit, *wrappers)
        tensors = weights.tensors
        if args.lora:
            lora = self.open(args.lora, "generator_lora")
            tensors, pairs, ranks = lora_merge.merge(weights, lora, args.lora_alpha)
            self.say(f"{args.lora}: merging {pairs} matrices of rank {ranks}, alpha "
                     f"{args.lora_alpha:g}")
        config, table = geometry.dit(weights.path, tensors, args.heads, args.text_len, args.eps)
        chosen = self.select(weights, tensors, table)
        if args.dit_dtype != "keep":
            chosen = [cast(t, args.dit_dtype) for t in chosen]
        return Part("dit", "dit.safetensors", config, chosen)

    def text(self):
        weights = self.open(self.args.text)
        config, table = geometry.umt5(weights.path, weights.tensors, self.args.text_len,
                                      self.args.max_distance, self.args.eps)
        part = Part("text", "text.safetensors", config,
                    self.select(weights, weights.tensors, table))
        part.config = {"kind": part.config.pop("kind"), "file": part.config.pop("file"),
                       "tokenizer": "spiece.model", **part.config}
        return part

    def decoders(self):
        parts = []
        if self.args.vae:
            weights = self.open(self.args.vae)
            config, table = geometry.wan_vae(weights.path, weights.tensors, self.latent_stats())
            parts.append(Part("vae", "vae.safetensors", config,
                              self.select(weights, weights.tensors, table)))
        if self.args.taehv:
            weights = self.open(self.args.taehv)
            config, table = geometry.taehv(weights.path, weights.tensors, self.args.space_upscale)
            chosen = self.select(weights, weights.tensors, table, leave_out=("encoder.",))
            parts.append(Part("preview_vae" if parts else "vae", "taehv.safetensors", config,
                              chosen))
        return parts

    def latent_stats(self):
        path = self.args.latent_stats
        if not path:
            return None
        try:
            with open(path, encoding="utf-8") as f:
                stats = json.load(f)
            mean, std = stats["mean"], stats["std"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
            fail(path, f'expected JSON {{"mean": [...], "std": [...]}}: {e}')
        for values in (mean, std):
            if not isinstance(values, list) or not all(
                    isinstance(v, (int, float)) and math.isfinite(v) for v in values):
                fail(path, "mean and std must be lists of numbers")
        if any(v <= 0 for v in std):
            fail(path, "std must be positive")
        return mean, std

    def tokenizer(self):
        fd = open_file(self.args.tokenizer)
        with os.fdopen(fd, "rb") as f:
            data = f.read(spiece.SIZE_MAX + 1)
        pieces = spiece.check(self.args.tokenizer, data)
        self.say(f"{self.args.tokenizer}: {pieces} pieces")
        return data, pieces

    def config(self, parts):
        a = self.args
        name = a.name or os.path.basename(os.path.abspath(a.output))
        config = {"name": name, "format": 1,
                  "video": {"width": a.width, "height": a.height, "fps": a.fps}}
        config.update({part.key: part.config for part in parts})
        config["sampler"] = {
            "num_frame_per_block": a.block, "local_attn_size": a.window, "sink_size": a.sink,
            "denoising_step_list": a.steps, "timestep_shift": a.shift,
            "relative_rope": not a.absolute_rope, "global_sink": not a.resink, "context_noise": 0}
        config["vocabulary"] = {}
        return config

    def check_video(self, dit, decoder):
        """Width and height must be whole patches of latents of the main decoder."""
        if decoder["kind"] == "wan":
            factor = 2 ** (len(decoder["dim_mult"]) - 1)
        else:
            factor = math.prod(decoder["decoder_space_upscale"])
        for what, size, patch in (("height", self.args.height, dit["patch_size"][1]),
                                  ("width", self.args.width, dit["patch_size"][2])):
            if size % (factor * patch):
                raise ConvertError(f"--{what} {size}: expected a multiple of {factor * patch} "
                                   f"(decoder x{factor}, patch {patch})")

    def write(self, out, parts):
        total = sum(part.nbytes for part in parts)
        out.need(total)
        done = 0
        for part in parts:
            def progress(name, nbytes):
                nonlocal done
                before, done = done, done + nbytes
                if done * 20 // max(total, 1) != before * 20 // max(total, 1):
                    self.say(f"{done * 100 // max(total, 1):3d}% {part.file}: {name}")
            safetensors.write(out.file(part.file), part.tensors, progress)

    def run(self):
        try:
            dit, text, decoders = self.dit(), self.text(), self.decoders()
            data, pieces = self.tokenizer()
            geometry.check_parts(text.config, dit.config, [d.config for d in decoders], pieces)
            self.check_video(dit.config, decoders[0].config)
            parts = [text, dit, *decoders]
            with output.OutputDir(self.args.output, self.args.force) as out:
                self.write(out, parts)
                with open(out.file("spiece.model"), "xb") as f:
                    f.write(data)
                out.write_json("config.json", self.config(parts))
                out.publish()
            self.say(f"{self.args.output}: {sum(p.nbytes for p in parts) / 1e6:.1f} MB of weights "
                     "written")
        finally:
            for weights in self.opened:
                weights.close()


def main(argv=None):
    args = parse_args(argv)
    try:
        Converter(args).run()
    except ConvertError as e:
        print(f"convert: error: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"convert: error: {e.filename or args.output}: {e.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("convert: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
