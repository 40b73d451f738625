"""Whole conversions of synthetic files with the key layouts users have."""
import json
import os
import subprocess
import sys
import unittest

import numpy as np

import support
import torchfile
from support import TempDirTest, layout, random_values, read_plain
from torchfile import Storage, T, state_dict, tensor

HEADS = 3  # the synthetic DiT's; its dim of 96 is not a multiple of 128
CONFIG_DIT = {"file": "dit.safetensors", "dim": 96, "num_heads": 3, "ffn_dim": 192,
              "num_layers": 3, "text_dim": 64, "text_len": 512, "freq_dim": 64, "in_dim": 16,
              "out_dim": 16, "patch_size": [1, 2, 2], "eps": 1e-6}
CONFIG_TEXT = {"kind": "umt5", "file": "text.safetensors", "tokenizer": "spiece.model",
               "vocab": 384, "dim": 64, "dim_attn": 64, "dim_ffn": 160, "num_heads": 4,
               "num_layers": 3, "num_buckets": 32, "max_distance": 128, "text_len": 512,
               "eps": 1e-6}
CONFIG_TAEHV = {"kind": "taehv", "file": "taehv.safetensors", "latent_channels": 16,
                "widths": [64, 32, 16, 16], "decoder_time_upscale": [1, 2, 2],
                "decoder_space_upscale": [2, 2, 2], "frames_to_trim": 3}


class ConvertTest(TempDirTest):
    def setUp(self):
        super().setUp()
        self.dit = random_values(layout("dit"), 1)
        self.text = random_values(layout("umt5"), 2)
        self.vae = random_values(layout("vae"), 3)
        self.taehv = random_values(layout("taehv"), 4)
        self.out = self.dir / "model"

    def torch(self, name, values, dtype="F32", wrap=lambda d: d, rename=lambda k: k):
        tensors = state_dict({rename(k): tensor(v, dtype) for k, v in values.items()})
        torchfile.save(self.path(name), wrap(tensors))
        return self.path(name)

    def parts(self, **files):
        """Arguments for a full conversion; the files not given are made with defaults."""
        chosen = {"dit": files.get("dit") or self.torch("base.pt", self.dit),
                  "text": files.get("text") or self.torch("t5.pth", self.text, "BF16"),
                  "vae": files.get("vae") or self.torch("vae.pth", self.vae),
                  "tokenizer": files.get("tokenizer")
                  or self.put("spiece.model", support.spiece_bytes())}
        argv = ["-o", self.out, "--heads", HEADS]
        for key, path in chosen.items():
            argv += [f"--{key}", path]
        return argv

    def convert(self, *extra, **files):
        status, out, err = self.run_main(*self.parts(**files), *extra)
        self.assertEqual((status, err), (0, ""), out)
        return out

    def fails(self, *extra, words, status=1, **files):
        got, out, err = self.run_main(*self.parts(**files), *extra)
        self.assertEqual(got, status, out + err)
        for word in words:
            self.assertIn(word, err)
        self.assertFalse([n for n in support.listdir(self.dir) if ".partial-" in n])
        return err

    def config(self):
        return json.loads((self.out / "config.json").read_text())

    def check_values(self, file, values, dtype="F32"):
        found = read_plain(self.out / file)
        self.assertEqual(set(found), set(values))
        for name, v in values.items():
            self.assertEqual(found[name][0], dtype, name)
            np.testing.assert_array_equal(found[name][1], torchfile.to_bits(v, dtype), name)

    # --- the model directory -------------------------------------------------------------------

    def test_model_directory(self):
        out = self.convert("--taehv", self.torch("taew2_1.pth", self.taehv, "F16"))
        self.assertEqual(support.listdir(self.out), [
            "config.json", "dit.safetensors", "spiece.model", "taehv.safetensors",
            "text.safetensors", "vae.safetensors"])
        self.check_values("dit.safetensors", self.dit)
        self.check_values("text.safetensors", self.text, "BF16")
        self.check_values("vae.safetensors", self.vae)
        self.check_values("taehv.safetensors", self.taehv, "F16")
        self.assertEqual((self.out / "spiece.model").read_bytes(), support.spiece_bytes())
        self.assertIn("100%", out)

    def test_config(self):
        self.convert("--taehv", self.torch("taew2_1.pth", self.taehv), "--name", "live one")
        config = self.config()
        vae = config["vae"]
        self.assertEqual((len(vae.pop("mean")), len(vae.pop("std"))), (16, 16))
        self.assertEqual(config, {
            "name": "live one", "format": 1, "video": {"width": 832, "height": 480, "fps": 16},
            "text": CONFIG_TEXT, "dit": CONFIG_DIT,
            "vae": {"kind": "wan", "file": "vae.safetensors", "dim": 8, "z_dim": 16,
                    "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
                    "temporal_downsample": [False, True, True]},
            "preview_vae": CONFIG_TAEHV,
            "sampler": {"num_frame_per_block": 3, "local_attn_size": 12, "sink_size": 3,
                        "denoising_step_list": [1000, 750, 500, 250], "timestep_shift": 5.0,
                        "relative_rope": True, "global_sink": True, "context_noise": 0},
            "vocabulary": {}})

    def test_flags_reach_the_config(self):
        self.convert("--width", 640, "--height", 352, "--fps", 24, "--block", 1, "--window", 6,
                     "--sink", 1, "--steps", "1000,500", "--shift", 3, "--absolute-rope",
                     "--resink", "--text-len", 64, "--eps", "1e-5", "--max-distance", 64)
        c = self.config()
        self.assertEqual(c["video"], {"width": 640, "height": 352, "fps": 24})
        self.assertEqual(c["sampler"], {
            "num_frame_per_block": 1, "local_attn_size": 6, "sink_size": 1,
            "denoising_step_list": [1000, 500], "timestep_shift": 3.0, "relative_rope": False,
            "global_sink": False, "context_noise": 0})
        self.assertEqual([c["dit"]["text_len"], c["text"]["text_len"]], [64, 64])
        self.assertEqual([c["dit"]["eps"], c["text"]["eps"]], [1e-5, 1e-5])
        self.assertEqual(c["text"]["max_distance"], 64)

    def test_taehv_alone_is_the_decoder(self):
        argv = [a for a in self.parts()]
        at = argv.index("--vae")
        argv[at] = "--taehv"
        argv[at + 1] = self.put("taew2_1.safetensors", support.safetensors_bytes(self.taehv))
        status, _, err = self.run_main(*argv)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(self.config()["vae"], CONFIG_TAEHV)
        self.assertNotIn("preview_vae", self.config())

    def test_taehv_encoder_is_left_out_quietly(self):
        values = {**self.taehv, "encoder.0.weight": np.ones((4, 3, 3, 3), np.float32)}
        self.convert("--taehv", self.torch("taew2_1.pth", values))
        self.check_values("taehv.safetensors", self.taehv)

    def test_vae_without_encoder(self):
        values = {k: v for k, v in self.vae.items()
                  if not k.startswith("encoder.") and not k.startswith("conv1.")}
        self.convert(vae=self.torch("dec.pth", values))
        self.check_values("vae.safetensors", values)

    def test_vae_of_another_shape(self):
        """Two levels of 5 and 10 channels, one residual block, time up-sampling in between."""
        values = {}

        def add(name, *shape):
            values[name] = np.ones(shape, np.float32)

        def conv(at, n_out, *rest):
            add(at + ".weight", n_out, *rest)
            add(at + ".bias", n_out)

        def residual(at, n_in, n_out):
            add(at + ".residual.0.gamma", n_in, 1, 1, 1)
            conv(at + ".residual.2", n_out, n_in, 3, 3, 3)
            add(at + ".residual.3.gamma", n_out, 1, 1, 1)
            conv(at + ".residual.6", n_out, n_out, 3, 3, 3)
            if n_in != n_out:
                conv(at + ".shortcut", n_out, n_in, 1, 1, 1)

        conv("conv2", 16, 16, 1, 1, 1)
        conv("decoder.conv1", 12, 16, 3, 3, 3)
        residual("decoder.middle.0", 12, 12)
        residual("decoder.middle.2", 12, 12)
        add("decoder.middle.1.norm.gamma", 12, 1, 1)
        conv("decoder.middle.1.to_qkv", 36, 12, 1, 1)
        conv("decoder.middle.1.proj", 12, 12, 1, 1)
        residual("decoder.upsamples.0", 12, 12)
        residual("decoder.upsamples.1", 12, 12)
        conv("decoder.upsamples.2.resample.1", 6, 12, 3, 3)
        conv("decoder.upsamples.2.time_conv", 24, 12, 3, 1, 1)
        residual("decoder.upsamples.3", 6, 4)
        residual("decoder.upsamples.4", 4, 4)
        add("decoder.head.0.gamma", 4, 1, 1, 1)
        conv("decoder.head.2", 3, 4, 3, 3, 3)
        self.convert(vae=self.torch("dec.pth", values))
        vae = self.config()["vae"]
        self.assertEqual([vae["dim"], vae["dim_mult"], vae["num_res_blocks"],
                          vae["temporal_downsample"]], [4, [1, 3], 1, [True]])

    # --- the files users have ------------------------------------------------------------------

    def test_wan_safetensors(self):
        for dtype in ("F32", "F16", "BF16"):
            with self.subTest(dtype):
                path = self.put("wan.safetensors", support.safetensors_bytes(self.dit, dtype))
                self.convert("--force", dit=path)
                self.check_values("dit.safetensors", self.dit, dtype)

    def test_longlive_wrappers(self):
        other = {k: v + 1 for k, v in self.dit.items()}
        critic = {"model.head": tensor(np.zeros(3))}
        for key in ("generator", "generator_ema", "model"):
            with self.subTest(key):
                path = self.torch("base.pt", self.dit, wrap=lambda d, k=key: {
                    k: d, "critic": critic, "step": 700, "lr": 1e-5, "note": None})
                out = self.convert("--force", dit=path)
                self.check_values("dit.safetensors", self.dit)
                self.assertIn(f"under '{key}'", out)
        both = {"generator_ema": state_dict({k: tensor(v) for k, v in other.items()}),
                "generator": state_dict({k: tensor(v) for k, v in self.dit.items()})}
        torchfile.save(self.path("both.pt"), both)
        self.convert("--force", dit=self.path("both.pt"))
        self.check_values("dit.safetensors", self.dit)
        self.convert("--force", "--ema", dit=self.path("both.pt"))
        self.check_values("dit.safetensors", other)

    def test_key_prefixes(self):
        def fsdp(key):
            parts = key.split(".")
            if parts[0] == "blocks":
                parts.insert(2, "_fsdp_wrapped_module")
            return "model._fsdp_wrapped_module." + ".".join(parts)

        for rename in (lambda k: "model." + k, lambda k: "_fsdp_wrapped_module." + k, fsdp,
                       lambda k: "base_model.model." + k, lambda k: "module.model._orig_mod." + k):
            with self.subTest(rename("blocks.0.x")):
                path = self.torch("base.pt", self.dit, rename=rename,
                                  wrap=lambda d: {"generator": d})
                self.convert("--force", dit=path)
                self.check_values("dit.safetensors", self.dit)

    def test_colliding_keys(self):
        values = {**self.dit, "model.head.modulation": self.dit["head.modulation"]}
        self.fails(dit=self.torch("base.pt", values),
                   words=["'head.modulation'", "'model.head.modulation'"])

    def test_parameters_and_views(self):
        """nn.Parameter entries, one storage for everything, transposed and offset views."""
        flat = np.concatenate([np.zeros(5, np.float32)] + [
            (v.T if v.ndim == 2 else v).reshape(-1) for v in self.dit.values()])
        storage, at, tensors = Storage(flat, "F32"), 5, {}
        for name, v in self.dit.items():
            strides = (1, v.shape[0]) if v.ndim == 2 else None
            tensors[name] = T(storage, v.shape, strides, at, parameter=v.ndim == 1)
            at += v.size
        torchfile.save(self.path("views.pt"), tensors)
        self.convert(dit=self.path("views.pt"))
        self.check_values("dit.safetensors", self.dit)

    def test_dit_dtype(self):
        self.convert("--dit-dtype", "BF16")
        for name, (dtype, bits) in read_plain(self.out / "dit.safetensors").items():
            self.assertEqual(dtype, "BF16")
            back = (bits.astype("<u4") << 16).view("<f4")
            want = self.dit[name]
            self.assertLessEqual(np.abs(back - want).max(), np.abs(want).max() / 256, name)
            # nearest: truncation of the same values is never closer
            cut = (torchfile.to_bits(want, "BF16").astype("<u4") << 16).view("<f4")
            self.assertTrue(np.all(np.abs(back - want) <= np.abs(cut - want)), name)
        self.dit["head.head.bias"][3] = 7e4
        self.fails("--force", "--dit-dtype", "F16", dit=self.torch("big.pt", self.dit),
                   words=["head.head.bias", "range of F16"])

    # --- LoRA ----------------------------------------------------------------------------------

    LINEARS = [f"blocks.{i}.{m}" for i in range(3) for m in
               [f"{a}.{p}" for a in ("self_attn", "cross_attn") for p in "qkvo"]
               + ["ffn.0", "ffn.2"]]

    def lora(self, rank=8, prefix="base_model.model.", middle="", dtype="F32", wrap=True):
        rng, factors, tensors = np.random.default_rng(9), {}, {}
        for m in self.LINEARS:
            n_out, n_in = self.dit[m + ".weight"].shape
            a = rng.standard_normal((rank, n_in)).astype(np.float32)
            b = rng.standard_normal((n_out, rank)).astype(np.float32)
            factors[m] = a, b
            tensors[f"{prefix}{m}.lora_A{middle}.weight"] = tensor(a, dtype)
            tensors[f"{prefix}{m}.lora_B{middle}.weight"] = tensor(b, dtype)
        obj = state_dict(tensors)
        torchfile.save(self.path("lora.pt"), {"generator_lora": obj} if wrap else obj)
        return factors

    def check_merged(self, factors, scale, bound=1e-6):
        found = read_plain(self.out / "dit.safetensors")
        for name, w in self.dit.items():
            got, want = found[name][1], w.astype(np.float64)
            if name[:-len(".weight")] in factors:
                a, b = factors[name[:-len(".weight")]]
                want = want + scale * b.astype(np.float64) @ a.astype(np.float64)
                self.assertLess(np.linalg.norm(got - want) / np.linalg.norm(want), bound, name)
            else:
                np.testing.assert_array_equal(got, w, name)

    def test_lora_layouts(self):
        for prefix, middle, wrap in (
                ("base_model.model.", "", True), ("base_model.model.", ".default", True),
                ("", "", False), ("base_model.model.model._fsdp_wrapped_module.", "", False)):
            with self.subTest(prefix=prefix, middle=middle, wrap=wrap):
                factors = self.lora(prefix=prefix, middle=middle, wrap=wrap)
                out = self.convert("--force", "--lora", self.path("lora.pt"))
                self.check_merged(factors, 256 / 8)
                self.assertIn("30 matrices of rank [8]", out)

    def test_lora_alpha(self):
        factors = self.lora(rank=4)
        self.convert("--lora", self.path("lora.pt"), "--lora-alpha", 2)
        self.check_merged(factors, 0.5)

    def test_lora_into_bf16_base(self):
        """The sum is made in fp32: adding in BF16 would lose this small update entirely."""
        name = self.LINEARS[0]
        self.dit[name + ".weight"][:] = 1.0
        base = self.torch("base.pt", self.dit, "BF16")
        n_out, n_in = self.dit[name + ".weight"].shape
        tensors = {}
        for m in self.LINEARS[:1]:
            tensors[f"{m}.lora_A.weight"] = tensor(np.ones((256, n_in)), "BF16")
            tensors[f"{m}.lora_B.weight"] = tensor(np.full((n_out, 256), 2.0 ** -15), "BF16")
        torchfile.save(self.path("lora.pt"), tensors)
        self.convert("--lora", self.path("lora.pt"), dit=base)
        dtype, bits = read_plain(self.out / "dit.safetensors")[name + ".weight"]
        self.assertEqual(dtype, "BF16")
        self.assertEqual(set(bits.reshape(-1)), {0x3F81})  # 1 + 256 * 2^-15 = 1.0078125

    def test_bad_lora(self):
        good = {"blocks.0.ffn.0.lora_A.weight": (4, 96), "blocks.0.ffn.0.lora_B.weight": (192, 4)}
        cases = [
            ({k: v for k, v in good.items() if "_A" in k}, ["lora_B", "missing", "blocks.0.ffn.0"]),
            ({**good, "blocks.0.ffn.0.lora_B.weight": (192, 5)}, ["ranks differ"]),
            ({**good, "blocks.0.ffn.0.lora_A.weight": (4, 97)}, ["[4, 97]", "does not fit",
                                                                 "[192, 96]"]),
            ({**good, "blocks.7.ffn.0.lora_A.weight": (4, 96),
              "blocks.7.ffn.0.lora_B.weight": (192, 4)}, ["has no tensor 'blocks.7.ffn.0.weight'"]),
            ({**good, "blocks.0.ffn.0.lora_magnitude_vector": (192,)}, ["not a LoRA factor"]),
            ({**good, "blocks.0.ffn.0.lora_A.default.weight": (4, 96)}, ["twice"]),
            ({**good, "blocks.0.ffn.0.lora_A.weight": (4,)}, ["expected a matrix"]),
        ]
        for shapes, words in cases:
            with self.subTest(words[0]):
                torchfile.save(self.path("lora.pt"),
                               {k: tensor(np.ones(s)) for k, s in shapes.items()})
                self.fails("--lora", self.path("lora.pt"), words=[self.path("lora.pt"), *words])

    # --- wrong inputs --------------------------------------------------------------------------

    def test_every_missing_tensor_is_named(self):
        for kind, values in (("dit", self.dit), ("text", self.text), ("vae", self.vae)):
            for name in list(values)[::7]:
                with self.subTest(kind=kind, name=name):
                    part = {k: v for k, v in values.items() if k != name}
                    self.fails(**{kind: self.torch("part.pth", part)},
                               words=["part.pth", "missing"])

    def test_wrong_shape(self):
        self.dit["blocks.1.self_attn.k.weight"] = np.zeros((96, 95), np.float32)
        self.fails(words=["base.pt", "'blocks.1.self_attn.k.weight'", "expected shape [96, 96]",
                          "found [96, 95]"])

    def test_wrong_dtype(self):
        tensors = {k: tensor(v) for k, v in self.dit.items()}
        for dtype in ("F64", "I64"):
            tensors["head.head.bias"] = tensor(np.zeros(64), dtype)
            torchfile.save(self.path("wrong.pt"), tensors)
            self.fails(dit=self.path("wrong.pt"), words=["'head.head.bias'", "expected dtype F32",
                                                         f"found {dtype}"])

    def test_unexpected_tensors_are_listed(self):
        values = {**self.dit, "img_emb.proj.0.weight": np.zeros(3, np.float32)}
        status, _, err = self.run_main(*self.parts(dit=self.torch("base.pt", values)))
        self.assertEqual(status, 0)
        self.assertIn("1 unexpected", err)
        self.assertIn("img_emb.proj.0.weight", err)
        self.check_values("dit.safetensors", self.dit)

    def test_files_swapped(self):
        self.fails(dit=self.torch("vae.pth", self.vae), words=["'patch_embedding.weight'"])
        self.fails(vae=self.torch("t5.pth", self.text), words=["t5.pth", "'conv2.weight'"])
        self.fails(text=self.torch("base.pt", self.dit), words=["'token_embedding.weight'"])

    def test_parts_that_do_not_fit(self):
        wide = {k: np.zeros([65 if n == 64 else n for n in v.shape], np.float32)
                if "attn" not in k or k.endswith("o.weight") else v for k, v in self.text.items()}
        for k in wide:
            shape = list(self.text[k].shape)
            if k == "token_embedding.weight" or "norm" in k or "ffn" in k:
                shape = [65 if n == 64 else n for n in shape]
            elif k.endswith(("q.weight", "k.weight", "v.weight")):
                shape = [64, 65]
            elif k.endswith("o.weight"):
                shape = [65, 64]
            wide[k] = np.zeros(shape, np.float32)
        self.fails(text=self.torch("wide.pth", wide), words=["65 channels", "expects 64"])
        self.fails(tokenizer=self.put("many.model", support.spiece_bytes(385)),
                   words=["385 pieces", "384 embeddings"])

    def test_tokenizer(self):
        good = support.spiece_bytes()
        for data, word in ((b"", "no pieces"), (good[:-3], "truncated"), (b"\xff" * 40, "not a"),
                           (b"not a model", "not a"), (support.spiece_bytes(5, kind=2), "unigram")):
            self.fails(tokenizer=self.put("bad.model", data), words=["bad.model", word])
        self.convert(tokenizer=self.put("uni.model", support.spiece_bytes(5, kind=1)))

    def test_geometry_flags(self):
        self.fails("--heads", 5, words=["96", "5 heads"])
        self.fails("--width", 830, words=["--width 830", "multiple of 16"])
        self.fails("--latent-stats", self.put("s.json", b'{"mean": [0], "std": [1]}'),
                   words=["16 channels", "1 and 1"])
        self.fails("--latent-stats", self.put("s.json", b'{"mean": [0]}'), words=["s.json"])
        self.fails("--latent-stats", self.put("s.json", b"[" * 100000), words=["s.json"])

    def test_usage_errors(self):
        for extra, word in ((["--sink", 10], "--sink 10"), (["--window", 2], "--window 2"),
                            (["--steps", "250,500"], "--steps"), (["--steps", "1000,x"], "--steps"),
                            (["--block", 1], "--block 1"), (["--shift", "nan"], "--shift"),
                            (["--space-upscale", "2,2"], "3 factors"),
                            (["--nonsense"], "nonsense")):
            self.fails(*extra, words=[word], status=2)

    # --- the output ----------------------------------------------------------------------------

    def test_refuses_to_overwrite(self):
        self.convert()
        before = (self.out / "config.json").stat().st_mtime_ns
        self.fails(words=["exists already", "--force"])
        self.assertEqual((self.out / "config.json").stat().st_mtime_ns, before)
        self.convert("--force")

    def test_force_only_replaces_models(self):
        self.out.mkdir()
        (self.out / "thesis.txt").write_text("precious")
        self.fails("--force", words=["not a model directory"])
        self.assertEqual(support.listdir(self.out), ["thesis.txt"])

    def test_failure_while_writing_leaves_the_old_model(self):
        self.convert()
        data, storages = torchfile.dumps({k: tensor(v) for k, v in self.dit.items()})
        damaged = {s.key: s.bits.tobytes() for s in storages}
        torchfile.write(self.path("bad.pt"), data, damaged, alter=lambda name, f: f.update(
            crc=f["crc"] ^ (name == "archive/data/70")))
        self.fails("--force", dit=self.path("bad.pt"), words=["archive/data/70", "checksum"])
        self.check_values("dit.safetensors", self.dit)
        self.convert("--force", "--ignore-crc", dit=self.path("bad.pt"))

    def test_unwritable_output(self):
        self.put("file", b"")
        argv = self.parts()
        argv[1] = self.path("file/model")
        status, _, err = self.run_main(*argv)
        self.assertEqual(status, 1)
        self.assertIn("file", err)

    def test_missing_and_odd_inputs(self):
        self.fails(dit=self.path("absent.pt"), words=["absent.pt", "No such file"])
        self.fails(dit=str(self.dir), words=["not a regular file"])
        os.mkfifo(self.path("pipe"))
        self.fails(dit=self.path("pipe"), words=["not a regular file"])
        self.fails(dit="/dev/zero", words=["not a regular file"])

    def test_as_a_program(self):
        tool = str(support.TOOL)
        run = subprocess.run([sys.executable, tool, *map(str, self.parts()), "--quiet"],
                             capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "", ""))
        run = subprocess.run([sys.executable, tool, "--help"], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0)
        self.assertIn("--lora", run.stdout)

    def test_memory_stays_small(self):
        """128 MiB of embedding pass through in pieces of 8 MiB."""
        if not os.path.exists("/proc/self/status"):
            self.skipTest("no /proc")
        self.text["token_embedding.weight"] = np.zeros((524288, 64), np.float32)
        path = self.torch("t5.pth", self.text)
        program = ("import runpy, sys; sys.argv[:2] = sys.argv[1:2]\n"
                   "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
                   "except SystemExit as e: assert not e.code, e.code\n"
                   "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])")
        run = subprocess.run([sys.executable, "-c", program, str(support.TOOL),
                              *map(str, self.parts(text=path)), "--quiet"],
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertLess(int(run.stdout), 100 << 10, "KiB of peak memory")


if __name__ == "__main__":
    unittest.main()
