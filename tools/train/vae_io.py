"""The trained VAE as the other stages use it: frozen, with the latent statistics of full frames."""
import torch

from . import common, vae


class Frozen:
    def __init__(self, folder):
        state = common.load(f"{folder}/vae")
        part = lambda p: {k[len(p):]: v for k, v in state.items() if k.startswith(p)}
        self.encoder = common.load_into(vae.Encoder(), part("encoder."), "cpu").to(common.DEVICE).eval().requires_grad_(False)
        self.decoder = common.load_into(vae.Decoder(), part("decoder."), "cpu").to(common.DEVICE).eval().requires_grad_(False)
        self.mean, self.std = (state[k].to(common.DEVICE)[:, None, None] for k in ("mean", "std"))

    @torch.no_grad()
    def encode(self, video, clips=32):
        """[B, 4n, 3, H, W] -> normalised latents [B, n, 16, h, w]."""
        parts = [self.encoder(v.to(common.DTYPE)) for v in video.split(clips)]
        return (torch.cat(parts) - self.mean) / self.std

    @torch.no_grad()
    def decode(self, z, clips=16):
        """Normalised latents [B, n, 16, h, w] from a stream's start -> frames in [-1, 1], float32."""
        parts = [self.decoder((p.float() * self.std + self.mean).to(common.DTYPE)).float() for p in z.split(clips)]
        return torch.cat(parts).clamp(-1, 1)
