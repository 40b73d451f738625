"""The Wan 2.1 VAE, decoder and encoder, over whole clips at once.

Streaming with caches must equal this: every causal convolution sees its two predecessors (zeros
before the stream), and only the first latent is special where time is resampled.
"""
import numpy as np

from ref_ops import conv, silu, softmax, upsample_nearest

MEAN = np.array([-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134,
                 -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921])
STD = np.array([2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526,
                2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160])
SAME = (1, 1, 1, 1)
NONE = (0, 0, 0, 0)


class Vae:
    def __init__(self, config, weights):
        self.c, self.w = config, {k: v.astype(np.float64) for k, v in weights.items()}

    def causal(self, name, x):
        return conv(self.w, name, np.concatenate([np.zeros_like(x[:1])] * 2 + [x]), SAME)

    def point(self, name, x):
        return conv(self.w, name, x, NONE)

    def norm(self, name, x):
        length = np.maximum(np.sqrt((x ** 2).sum(1, keepdims=True)), 1e-12)
        return x / length * np.sqrt(x.shape[1]) * self.w[name + ".gamma"].reshape(-1, 1, 1)

    def residual(self, at, x):
        h = self.causal(at + ".residual.2", silu(self.norm(at + ".residual.0", x)))
        h = self.causal(at + ".residual.6", silu(self.norm(at + ".residual.3", h)))
        return h + (self.point(at + ".shortcut", x) if at + ".shortcut.weight" in self.w else x)

    def attention(self, at, x):
        t, c, h, w = x.shape
        qkv = self.point(at + ".to_qkv", self.norm(at + ".norm", x)).reshape(t, 3, c, h * w)
        q, k, v = (qkv[:, i].transpose(0, 2, 1) for i in range(3))
        out = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(c)) @ v
        return x + self.point(at + ".proj", out.transpose(0, 2, 1).reshape(t, c, h, w))

    def middle(self, at, x):
        x = self.residual(at + ".0", x)
        return self.residual(at + ".2", self.attention(at + ".1", x))

    # --- decoder -------------------------------------------------------------------------------

    def upsample(self, at, x, temporal):
        if temporal:
            rest = x[1:]  # the first latent passes by and is not seen by the second
            if len(rest):
                pair = conv(self.w, at + ".time_conv",
                            np.concatenate([np.zeros_like(rest[:1])] * 2 + [rest]), NONE)
                pair = pair.reshape(-1, 2, *rest.shape[1:]).reshape(-1, *rest.shape[1:])
                x = np.concatenate([x[:1], pair])
        return conv(self.w, at + ".resample.1", upsample_nearest(x, 2), SAME)

    def decode(self, latents):
        """[T, z, h, w] -> [1 + (T - 1) * 2^k, 3, H, W], unclamped."""
        c = self.c
        x = latents * STD[:, None, None] + MEAN[:, None, None]
        x = self.causal("decoder.conv1", self.point("conv2", x))
        x, index = self.middle("decoder.middle", x), 0
        for level in range(len(c["dim_mult"])):
            for _ in range(c["num_res_blocks"] + 1):
                x = self.residual(f"decoder.upsamples.{index}", x)
                index += 1
            if level + 1 < len(c["dim_mult"]):
                x = self.upsample(f"decoder.upsamples.{index}", x,
                                  c["temporal_downsample"][::-1][level])
                index += 1
        return self.causal("decoder.head.2", silu(self.norm("decoder.head.0", x)))

    # --- encoder -------------------------------------------------------------------------------

    def downsample(self, at, x, temporal):
        x = conv(self.w, at + ".resample.1", x, (0, 1, 0, 1), stride=2)
        if temporal and len(x) > 1:  # frames (0,1,2), (2,3,4), ...: stride 2 in time
            x = np.concatenate([x[:1], conv(self.w, at + ".time_conv", x, NONE)[::2]])
        return x

    def encode(self, pixels):
        """[1 + k * frames per latent, 3, H, W] in [-1, 1] -> normalised latents."""
        c = self.c
        x, index = self.causal("encoder.conv1", pixels), 0
        for level in range(len(c["dim_mult"])):
            for _ in range(c["num_res_blocks"]):
                x = self.residual(f"encoder.downsamples.{index}", x)
                index += 1
            if level + 1 < len(c["dim_mult"]):
                x = self.downsample(f"encoder.downsamples.{index}", x,
                                    c["temporal_downsample"][level])
                index += 1
        x = self.middle("encoder.middle", x)
        x = self.causal("encoder.head.2", silu(self.norm("encoder.head.0", x)))
        x = self.point("conv1", x)[:, :c["z_dim"]]
        return (x - MEAN[:, None, None]) / STD[:, None, None]
