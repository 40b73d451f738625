#!/usr/bin/env python3
"""LongLive v1.0's own PyTorch code at its real shapes with random weights: what `kinetype bench` is compared with.

Nothing of theirs is here: `--longlive` names a checkout. Its pipeline, generator, VAE and text encoder run as they are;
this file gives them random weights made on the card, stands in for packages they import but do not need here, and takes
times with CUDA events around their own calls. See README.md.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import json
import statistics
import sys
import time
import types
import unittest.mock

import torch
import torch.nn.functional as functional

STARTED = time.perf_counter()
BLOCK = 3  # latents
WINDOW = 12  # latents
FILL = WINDOW // BLOCK  # blocks until the window is full
PROMPT_TOKENS = 40
VAE = "streaming VAE decode of a block, 12 frames"
TAEHV = "TAEHV decode of a block, 12 frames at once"


class Shapes:
    """The released model, or (`--tiny`) the smallest that LongLive's fixed cache of 12 heads of 128 allows."""

    def __init__(self, tiny):
        self.latent = (8, 8) if tiny else (60, 104)
        self.frame_tokens = self.latent[0] * self.latent[1] // 4
        self.layers = 2 if tiny else 30
        self.dit = dict(dim=1536, ffn_dim=256 if tiny else 8960, freq_dim=256, in_dim=16, out_dim=16, num_heads=12,
                        num_layers=self.layers, model_type="t2v", text_len=512, eps=1e-6)
        self.vae = dict(dim=16 if tiny else 96, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
                        temperal_downsample=[False, True, True], dropout=0.0)
        self.text = {}
        if tiny:
            self.dit["text_dim"] = 64
            self.text = dict(vocab_size=100, dim=64, dim_attn=64, dim_ffn=128, num_heads=2, encoder_layers=2)


class Clock:
    """Points in the device's stream and the milliseconds between them."""

    def __init__(self, device):
        self.cuda = device.type == "cuda"

    def mark(self):
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def ms(self, begin, end):
        return begin.elapsed_time(end) if self.cuda else (end - begin) * 1000

    def wait(self):
        if self.cuda:
            torch.cuda.synchronize()

    def times(self, work, warm, count):
        marks = []
        for _ in range(warm + count):
            begin = self.mark()
            work()
            marks.append((begin, self.mark()))
        self.wait()
        return [self.ms(*m) for m in marks[warm:]]


# ---- their code, made importable ----


def package(name, path=None, **names):
    """A package whose own __init__ is not run (`path`), or a stand-in that holds just `names`."""
    module = types.ModuleType(name)
    if path:
        module.__path__ = [str(path)]
    module.__dict__.update(names)
    sys.modules[name] = module


def rearrange(x, pattern, **sizes):
    """The two einops patterns of the VAE: frames into the batch, and back."""
    if pattern.replace(" ", "").startswith("bcthw->"):
        return x.permute(0, 2, 1, 3, 4).reshape(-1, x.shape[1], *x.shape[3:])
    return x.reshape(-1, sizes["t"], *x.shape[1:]).permute(0, 2, 1, 3, 4)


def placed(device):
    return torch.device(device) if device.type == "cuda" else contextlib.nullcontext()


def random_model_base(shapes, device):
    class RandomModel(torch.nn.Module):
        """In place of diffusers' ModelMixin: `from_pretrained` makes random weights on the device."""

        @classmethod
        def from_pretrained(cls, _path, **options):
            with placed(device):
                return cls(**shapes.dit, **options)

    return RandomModel


class Tokens:
    """In place of the tokenizer: a prompt of PROMPT_TOKENS ids, padded to the length upstream asks for."""

    def __init__(self, name, seq_len, clean):
        del name, clean
        self.ids = torch.zeros(1, seq_len, dtype=torch.long)
        self.ids[0, :PROMPT_TOKENS] = torch.arange(PROMPT_TOKENS) + 7
        self.mask = (self.ids > 0).long()

    def __call__(self, _prompts, **_options):
        return self.ids, self.mask


def stand_ins(root, shapes, device):
    for name in ("wan", "wan.modules", "utils", "pipeline"):
        package(name, path=f"{root}/{name.replace('.', '/')}")
    package("wan.modules.tokenizers", HuggingfaceTokenizer=Tokens)
    package("diffusers")
    package("diffusers.configuration_utils", ConfigMixin=object, register_to_config=lambda init: init)
    package("diffusers.models")
    package("diffusers.models.modeling_utils", ModelMixin=random_model_base(shapes, device))
    if not importlib.util.find_spec("einops"):
        package("einops", rearrange=rearrange, repeat=None)
    if not importlib.util.find_spec("tqdm"):
        package("tqdm")
        package("tqdm.auto", tqdm=lambda x, **_: x)
    if device.type != "cuda":  # asked for while importing
        torch.cuda.current_device = lambda: 0
    sys.path.insert(0, root)


def route_attention():
    """Their `attention` falls back to PyTorch's SDPA by itself where flash-attn is missing; the cross-attention calls
    `flash_attention`, which has no fallback, so it is given the same one. With flash-attn installed nothing changes."""
    attention = importlib.import_module("wan.modules.attention")
    if attention.FLASH_ATTN_3_AVAILABLE or attention.FLASH_ATTN_2_AVAILABLE:
        return f"flash-attn {3 if attention.FLASH_ATTN_3_AVAILABLE else 2}"
    attention.flash_attention = attention.attention
    return "SDPA"


def random_vae(shapes, device):
    vae = importlib.import_module("wan.modules.vae")

    def make(**_options):
        with placed(device):
            model = vae.WanVAE_(**shapes.vae)
        for block in model.modules():
            if isinstance(block, vae.AttentionBlock):  # zero at first
                torch.nn.init.normal_(block.proj.weight, std=0.02)
        return model

    return make


def random_text_encoder(shapes, device):
    t5 = importlib.import_module("wan.modules.t5")

    def make(**options):
        options.update(shapes.text, device=device)
        model = t5.umt5_xxl(**options)
        model.load_state_dict = lambda _state: None
        return model

    return make


class Options(dict):
    """As OmegaConf: a mapping whose keys are attributes too."""

    def __getattr__(self, name):
        if name in self:
            return self[name]
        raise AttributeError(name)


MODEL_OPTIONS = Options(local_attn_size=WINDOW, timestep_shift=5.0, sink_size=3)


def endless_generator(device):
    """Their relative-RoPE variant (configs/longlive_inference_infinity.yaml), which models/longlive-1.3b is."""
    wrapper = importlib.import_module("utils.wan_wrapper")
    generator = wrapper.WanDiffusionWrapper(is_causal=True, use_infinite_attention=True, **MODEL_OPTIONS)
    torch.nn.init.normal_(generator.model.head.head.weight, std=0.02)
    return generator.to(dtype=torch.bfloat16).to(device=device)


def open_pipeline(shapes, device):
    """As interactive_inference.py does with configs/longlive_interactive_inference.yaml, without LoRA."""
    wrapper = importlib.import_module("utils.wan_wrapper")
    wrapper._video_vae = random_vae(shapes, device)
    wrapper.umt5_xxl = random_text_encoder(shapes, device)
    if device.type != "cuda":
        wrapper.WanTextEncoder.device = device
    interactive = importlib.import_module("pipeline.interactive_causal_inference")
    options = Options(denoising_step_list=[1000, 750, 500, 250], warp_denoising_step=True, num_frame_per_block=BLOCK,
                      context_noise=0, global_sink=True, model_kwargs=MODEL_OPTIONS)
    with unittest.mock.patch("torch.load", return_value={}):
        pipeline = interactive.InteractiveCausalInferencePipeline(options, device=device)
    torch.nn.init.normal_(pipeline.generator.model.head.head.weight, std=0.02)  # zero at first
    pipeline = pipeline.to(dtype=torch.bfloat16)
    pipeline.generator.to(device=device)
    pipeline.vae.to(device=device)
    pipeline.num_transformer_blocks = shapes.layers
    pipeline.frame_seq_length = shapes.frame_tokens
    return pipeline


# ---- attention backends ----

BACKENDS = {"cudnn": "enable_cudnn_sdp", "flash": "enable_flash_sdp", "efficient": "enable_mem_efficient_sdp",
            "math": "enable_math_sdp"}


def use_backend(name):
    """Only this SDPA backend, or all with PyTorch's own choice (None)."""
    for backend, switch in BACKENDS.items():
        if hasattr(torch.backends.cuda, switch):
            getattr(torch.backends.cuda, switch)(name in (None, backend))


def time_backends(clock, shapes, device):
    """Self-attention of one layer, one block, window full."""
    rows = {}
    keep = dict(device=device, dtype=torch.bfloat16)
    q = torch.randn(1, BLOCK * shapes.frame_tokens, 12, 128, **keep).transpose(1, 2)
    k, v = (torch.randn(1, WINDOW * shapes.frame_tokens, 12, 128, **keep).transpose(1, 2) for _ in range(2))
    for name in ("cudnn", "flash", None):
        use_backend(name)
        try:
            work = lambda: functional.scaled_dot_product_attention(q, k, v)  # noqa: E731
            rows[name] = statistics.median(clock.times(work, 5, 20))
        except RuntimeError as error:
            print(f"  attention {name}: {str(error).splitlines()[0]}")
    use_backend(None)
    return rows


# ---- one generation, watched ----


class Watch:
    """Marks around every call of the generator and every recache while their `inference` runs."""

    def __init__(self, pipeline, clock):
        self.pipeline, self.clock = pipeline, clock
        self.passes, self.recaches, self.recache_passes = [], [], []
        self.in_recache = False

    def __enter__(self):
        self.forward = self.pipeline.generator.forward
        self.recache = self.pipeline._recache_after_switch
        self.pipeline.generator.forward = self.timed_forward
        self.pipeline._recache_after_switch = self.timed_recache
        return self

    def __exit__(self, *_):
        self.pipeline.generator.forward = self.forward
        self.pipeline._recache_after_switch = self.recache
        self.clock.wait()

    def timed_forward(self, *arguments, **options):
        begin = self.clock.mark()
        result = self.forward(*arguments, **options)
        (self.recache_passes if self.in_recache else self.passes).append((begin, self.clock.mark()))
        return result

    def timed_recache(self, *arguments):
        self.in_recache = True
        begin = self.clock.mark()
        self.recache(*arguments)
        self.recaches.append((begin, self.clock.mark()))
        self.in_recache = False

    def span(self, first_pass, last_pass):
        """Per block, from the start of one of its five passes to the end of another."""
        return [self.clock.ms(self.passes[b + first_pass][0], self.passes[b + last_pass][1])
                for b in range(0, len(self.passes), 5)]


def generate(pipeline, clock, shapes, device, blocks, switches=(), decode=False):
    """Their `inference`: noise in, latents (and, with `decode`, the whole video) out, with marks."""
    noise = torch.randn(1, blocks * BLOCK, 16, *shapes.latent, device=device, dtype=torch.bfloat16)
    prompts = [["a prompt"]] * (len(switches) + 1)
    decode_to_pixel = pipeline.vae.decode_to_pixel

    def video(latents, **options):
        if not decode:
            return torch.zeros(1, device=latents.device)
        use_backend(None)  # its heads are too wide for most
        return decode_to_pixel(latents, **options)

    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        stack.enter_context(unittest.mock.patch.object(pipeline.vae, "decode_to_pixel", video))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        watch = stack.enter_context(Watch(pipeline, clock))
        _, latents = pipeline.inference(noise=noise, text_prompts_list=prompts, return_latents=True,
                                        switch_frame_indices=list(switches))
    watch.seconds = time.perf_counter() - start
    if not torch.isfinite(latents.float()).all() or latents.float().std() == 0:
        print("warning: the latents are constant or not finite, which flatters the times")
    return watch


# ---- the report ----


class Report:
    def __init__(self):
        self.rows = {}

    def add(self, name, samples):
        """Milliseconds; `samples` is a list of times or one number."""
        samples = samples if isinstance(samples, list) else [samples]
        ms = statistics.median(samples)
        self.rows[name.strip()] = ms
        print(f"| {name} | {ms:.1f} | {min(samples):.1f} .. {max(samples):.1f} of {len(samples)} |", flush=True)
        return ms


def time_dit(report, pipeline, clock, shapes, device, counts):
    """One stream: the window fills, then blocks without and with a prompt switch before them."""
    plain, switched = FILL + 2, FILL + 2 + counts
    blocks = switched + counts + 1
    watch = generate(pipeline, clock, shapes, device, blocks, switches=range(switched * BLOCK, blocks * BLOCK, BLOCK))
    block = report.add("one block: 4 steps + cache pass, window full", watch.span(0, 4)[plain:switched])
    report.add("  of it the 4 steps", watch.span(0, 3)[plain:switched])
    report.add("recache of 12 frames at a prompt switch", [clock.ms(*m) for m in watch.recaches[1:]])
    report.add("  of it the pass (rest: a mask not used in it)", [clock.ms(*m) for m in watch.recache_passes[1:]])
    report.add("  4 steps after a switch", watch.span(0, 3)[switched + 1:])
    return block


def time_vae(report, pipeline, clock, shapes, device, counts):
    def decode(latents):
        x = torch.randn(1, latents, 16, *shapes.latent, device=device, dtype=torch.bfloat16)
        return lambda: pipeline.vae.decode_to_pixel(x, use_cache=True)

    pipeline.vae.model.clear_cache()
    block = report.add(VAE, clock.times(decode(BLOCK), 3, counts))
    report.add("  of one latent, 4 frames", clock.times(decode(1), 1, counts))
    pipeline.vae.model.clear_cache()
    return block


def time_vae_channels_last(report, pipeline, clock, shapes, device, counts):
    x = torch.randn(1, BLOCK, 16, *shapes.latent, device=device, dtype=torch.bfloat16)
    for layer in pipeline.vae.model.modules():
        if isinstance(layer, torch.nn.Conv3d):
            layer.to(memory_format=torch.channels_last_3d)
        elif isinstance(layer, torch.nn.Conv2d):
            layer.to(memory_format=torch.channels_last)
    decode = lambda: pipeline.vae.decode_to_pixel(x, use_cache=True)  # noqa: E731
    report.add("VAE decode of a block, channels-last weights (not upstream's)", clock.times(decode, 2, counts))
    pipeline.vae.model.clear_cache()


def time_taehv(report, path, clock, shapes, device, counts):
    spec = importlib.util.spec_from_file_location("taehv", path)
    taehv = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(taehv)
    with placed(device):
        model = taehv.TAEHV(checkpoint_path=None)
    model = model.to(device=device, dtype=torch.bfloat16).eval()
    x = torch.randn(1, BLOCK, 16, *shapes.latent, device=device, dtype=torch.bfloat16)
    report.add(TAEHV,
               clock.times(lambda: model.decode_video(x, parallel=True, show_progress_bar=False), 3, counts))
    stream = taehv.StreamingTAEHV(model)

    def decode():
        frame = stream.decode(x)
        while frame is not None:
            frame = stream.decode()

    report.add("  frame by frame with its memory (StreamingTAEHV)", clock.times(decode, 3, counts))


def derive(report, block, vae):
    rows = report.rows
    switch = rows["UMT5-XXL encode, 512 rows"] + rows["recache of 12 frames at a prompt switch"]
    report.add("prompt switch to first new frames, idle device (sum)",
               switch + rows["4 steps after a switch"] + rows["of one latent, 4 frames"])
    report.add("a block and its frames (sum)", block + vae)
    print(f"\n{frames_per_second(block, vae):.1f} frames/s with the full VAE", end="")
    taehv = rows.get(TAEHV)
    print(f", {frames_per_second(block, taehv):.1f} with TAEHV\n" if taehv else "\n")


def frames_per_second(block, decode):
    return 4 * BLOCK * 1000 / (block + decode)


def compare(rows, path, vae_row):
    """`kinetype bench --json` beside it. A stage that it left out (0 ms) stays empty."""
    with open(path, encoding="utf-8") as report:
        bench = json.load(report)
    stage = bench["stage_ms"]
    block = rows["one block: 4 steps + cache pass, window full"]
    vae = rows[vae_row]
    decode = BLOCK * stage["vae_decode"]
    text = stage["text"] if bench["text_tokens"] else 0
    print(f"| stage, ms | LongLive | kinetype {bench['device']} | times faster |\n|---|---:|---:|---:|")
    for name, theirs, ours in (
        ("one block", block, stage["denoise_block"]),
        (vae_row, vae, decode),
        ("a block and its frames", block + vae, decode and stage["denoise_block"] + decode),
        ("recache", rows["recache of 12 frames at a prompt switch"], stage["recache"]),
        (f"text encoder (512 rows; ours {bench['text_tokens']})", rows["UMT5-XXL encode, 512 rows"], text),
    ):
        print(f"| {name} | {theirs:.1f} |", f"{ours:.1f} | {theirs / ours:.2f} |" if ours else "| |")
    if decode:
        ours = frames_per_second(stage["denoise_block"], decode)
        print(f"| frames/s | {frames_per_second(block, vae):.1f} | {ours:.1f} "
              f"| ({bench['fps_end_to_end']:.1f} with conversion and {bench['encoder']} on one thread) |")
    print()


def more(report, pipeline, clock, shapes, device, backend, counts):
    """Variants that say how far the choice of attention, layout and RoPE moves the numbers."""
    time_vae_channels_last(report, pipeline, clock, shapes, device, counts)
    if backend == "cudnn":
        use_backend("flash")
        watch = generate(pipeline, clock, shapes, device, FILL + 6)
        report.add("one block with PyTorch's FlashAttention-2", watch.span(0, 4)[FILL + 1:])
    use_backend(backend)
    blocks = 10
    watch = generate(pipeline, clock, shapes, device, blocks, decode=True)
    frames = 4 * BLOCK * blocks - 3
    report.rows["whole inference, frames/s"] = frames / watch.seconds
    print(f"their inference() from prompt to video: {frames} frames in {watch.seconds:.2f} s, "
          f"{frames / watch.seconds:.1f} frames/s")
    pipeline.generator = endless_generator(device)
    use_backend(backend)
    watch = generate(pipeline, clock, shapes, device, FILL + 5)
    report.add("one block with relative RoPE (their endless mode)", watch.span(0, 4)[FILL + 1:])


def measure(arguments, shapes, device):
    clock, report, counts = Clock(device), Report(), arguments.counts
    stand_ins(arguments.longlive, shapes, device)
    attention = route_attention()
    pipeline = open_pipeline(shapes, device)
    clock.wait()
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, "
          f"ready after {time.perf_counter() - STARTED:.1f} s")
    backend = None
    if attention == "SDPA" and device.type == "cuda":
        layer = time_backends(clock, shapes, device)
        backend = min((b for b in layer if b), key=layer.get)
        print("one self-attention, ms:", ", ".join(f"{k or 'own choice'} {v:.3f}" for k, v in layer.items()))
    print(f"attention through {attention} {backend or ''}\n\n| stage | ms, median | range |\n|---|---:|---|")
    use_backend(backend)
    block = time_dit(report, pipeline, clock, shapes, device, counts)
    use_backend(None)
    vae = time_vae(report, pipeline, clock, shapes, device, counts)
    report.add("UMT5-XXL encode, 512 rows", clock.times(lambda: pipeline.text_encoder(text_prompts=["a"]), 3, counts))
    if arguments.taehv:
        time_taehv(report, arguments.taehv, clock, shapes, device, counts)
    derive(report, block, vae)
    for path in arguments.beside:
        compare(report.rows, path, VAE)
    for path in arguments.beside_tiny if arguments.taehv else []:
        compare(report.rows, path, TAEHV)
    if arguments.more:
        more(report, pipeline, clock, shapes, device, backend, counts)
    print(f"{time.perf_counter() - STARTED:.0f} s in all")
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longlive", required=True, help="checkout of NVlabs/LongLive, branch v1.0")
    parser.add_argument("--taehv", help="taehv.py of madebyollin/taehv")
    parser.add_argument("--beside", nargs="*", default=[], help="reports of `kinetype bench --json` of the same minute")
    parser.add_argument("--beside-tiny", nargs="*", default=[], help="the same, made with --tiny-vae")
    parser.add_argument("--counts", type=int, default=5, help="samples of each time (5)")
    parser.add_argument("--more", action="store_true",
                        help="also other attention, layout, RoPE, and a whole inference()")
    parser.add_argument("--tiny", action="store_true", help="small shapes, on the CPU where there is no card")
    parser.add_argument("--json", help="write the numbers here too")
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.tiny:
        raise SystemExit("no CUDA device; --tiny runs small shapes on the CPU")
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    report = measure(arguments, Shapes(arguments.tiny), device)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump(report.rows, out, indent=1)


if __name__ == "__main__":
    main()
