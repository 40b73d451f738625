"""The Wan VAE decoder (shipped) and the encoder that trains it (not shipped).

Decoder: parameter names and arithmetic of Wan2.1's Decoder3d, in the parallel form: all latents at once, which equals
decoding them one by one with the causal caches. Tensors are channels-last, [B, T, h, w, C]; a causal 3x3x3
convolution runs as a 2-D one over three stacked frames, which cuDNN does much faster at these few channels.

Encoder: our own. Each latent sees its own 4 frames only (latent 0 sees frame 0 four times), space-to-depth by 4 and
2-D convolutions with per-pixel norms, so crops and full frames look the same to it.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from . import dit as D

CONFIG = dict(dim=8, z_dim=16, dim_mult=[1, 2, 4, 8], num_res_blocks=1, temporal_downsample=[False, True, True])


def norm_silu(x, gamma):
    """SiLU of Wan's RMS_norm over channels: x / |x| * sqrt(C) * gamma."""
    if x.is_cuda:
        from . import fused
        return fused.NormSilu.apply(x.contiguous(), gamma)
    return F.silu(channel_norm(x, gamma))


def channel_norm(x, gamma):
    return (F.normalize(x.float(), dim=-1, eps=1e-12) * x.shape[-1] ** .5 * gamma).to(x.dtype)


class Gamma(nn.Module):
    def __init__(self, channels, dims):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * dims))

    def vector(self):
        return self.gamma.flatten()


class CausalConv(nn.Conv3d):
    """3x3x3, two frames of zeros before the first."""

    def __init__(self, i, o):
        super().__init__(i, o, 3)

    def forward(self, x):
        B, T, h, w, C = x.shape
        past = torch.cat([x.new_zeros(B, 2, h, w, C), x], 1)
        x = torch.cat([past[:, :T], past[:, 1:T + 1], past[:, 2:]], -1).view(B * T, h, w, 3 * C).permute(0, 3, 1, 2)
        weight = self.weight.transpose(1, 2).flatten(1, 2).to(x.dtype).contiguous(memory_format=torch.channels_last)
        y = F.conv2d(x, weight, self.bias.to(x.dtype), padding=1)
        return y.permute(0, 2, 3, 1).contiguous().view(B, T, h, w, -1)


class PointConv(nn.Module):
    """A 1x1 convolution with a weight of Conv2d's or Conv3d's shape."""

    def __init__(self, i, o, dims):
        super().__init__()
        c = nn.Linear(i, o)
        self.weight = nn.Parameter(c.weight.detach().reshape(o, i, *[1] * dims))
        self.bias = nn.Parameter(torch.zeros(o))

    def forward(self, x):
        return D.linear(x, self.weight.flatten(1), self.bias)


class ResBlock(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.residual = nn.Sequential(Gamma(i, 3), nn.Identity(), CausalConv(i, o),
                                      Gamma(o, 3), nn.Identity(), nn.Identity(), CausalConv(o, o))
        self.shortcut = PointConv(i, o, 3) if i != o else nn.Identity()
        nn.init.zeros_(self.residual[6].weight)
        nn.init.zeros_(self.residual[6].bias)

    def forward(self, x):
        r = self.residual
        h = r[2](norm_silu(x, r[0].vector()))
        return self.shortcut(x) + r[6](norm_silu(h, r[3].vector()))


class Attention(nn.Module):
    """One head over the pixels of each frame."""

    def __init__(self, c):
        super().__init__()
        self.norm, self.to_qkv, self.proj = Gamma(c, 2), PointConv(c, 3 * c, 2), PointConv(c, c, 2)
        nn.init.zeros_(self.proj.weight)

    def forward(self, x):
        B, T, h, w, C = x.shape
        y = self.to_qkv(channel_norm(x, self.norm.vector())).view(B * T, 1, h * w, 3 * C)
        q, k, v = y.chunk(3, -1)
        return x + self.proj(D.attend(q, k, v).reshape(B, T, h, w, C))


class Resample(nn.Module):
    """Nearest 2x in space then a 3x3 convolution; with `time`, frames are doubled from the second latent on."""

    def __init__(self, c, o, time):
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(c, o, 3, padding=1))
        self.time_conv = nn.Conv3d(c, 2 * c, (3, 1, 1)) if time else None

    def forward(self, x):
        B, T, h, w, C = x.shape
        if self.time_conv is not None and T > 1:
            past = torch.cat([x.new_zeros(B, 2, h, w, C), x[:, 1:]], 1)
            stacked = torch.cat([past[:, :-2], past[:, 1:-1], past[:, 2:]], -1)
            weight = self.time_conv.weight.flatten(2).transpose(1, 2).flatten(1)
            y = D.linear(stacked, weight, self.time_conv.bias).view(B, T - 1, h, w, 2, C)
            y = y.permute(0, 1, 4, 2, 3, 5).reshape(B, 2 * T - 2, h, w, C)
            x, T = torch.cat([x[:, :1], y], 1), 2 * T - 1
        x = F.interpolate(x.reshape(B * T, h, w, C).permute(0, 3, 1, 2), scale_factor=2, mode="nearest")
        conv = self.resample[1]
        y = F.conv2d(x, conv.weight.to(x.dtype), conv.bias.to(x.dtype), padding=1)
        return y.permute(0, 2, 3, 1).contiguous().view(B, T, 2 * h, 2 * w, -1)


class Decoder3d(nn.Module):
    def __init__(self, c):
        super().__init__()
        dims = [c["dim"] * m for m in [c["dim_mult"][-1]] + c["dim_mult"][::-1]]
        time = c["temporal_downsample"][::-1]
        self.conv1 = CausalConv(c["z_dim"], dims[0])
        self.middle = nn.Sequential(ResBlock(dims[0], dims[0]), Attention(dims[0]), ResBlock(dims[0], dims[0]))
        ups = []
        for i, (a, b) in enumerate(zip(dims[:-1], dims[1:])):
            a = a // 2 if i else a
            for _ in range(c["num_res_blocks"] + 1):
                ups.append(ResBlock(a, b))
                a = b
            if i + 1 < len(c["dim_mult"]):
                ups.append(Resample(b, b // 2, time[i]))
        self.upsamples = nn.Sequential(*ups)
        self.head = nn.Sequential(Gamma(dims[-1], 3), nn.Identity(), CausalConv(dims[-1], 3))

    def forward(self, x):
        x = self.upsamples(self.middle(self.conv1(x)))
        return self.head[2](norm_silu(x, self.head[0].vector()))


class Decoder(nn.Module):
    """Latents as the encoder makes them (mean and std undone) -> pixels."""

    def __init__(self, **config):
        super().__init__()
        self.config = dict(CONFIG, **config)
        self.conv2 = PointConv(self.config["z_dim"], self.config["z_dim"], 3)
        self.decoder = Decoder3d(self.config)
        with torch.no_grad():
            self.conv2.weight.copy_(torch.eye(self.config["z_dim"]).view_as(self.conv2.weight))

    def forward(self, z):
        """[B, n, 16, h, w] -> [B, 1 + 4 (n - 1), 3, 8h, 8w], not clamped."""
        return self.decoder(self.conv2(z.permute(0, 1, 3, 4, 2).contiguous())).permute(0, 1, 4, 2, 3)


class EncoderBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1, self.norm2 = Gamma(c, 2), Gamma(c, 2)
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x):
        h = conv(self.conv1, norm_silu(x, self.norm1.vector()))
        return x + conv(self.conv2, norm_silu(h, self.norm2.vector()))


def conv(m, x):
    """A Conv2d module on channels-last data [N, h, w, C], weights cast to the data's type."""
    weight = m.weight.to(x.dtype).contiguous(memory_format=torch.channels_last)
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, m.bias.to(x.dtype), stride=m.stride, padding=m.padding)
    return y.permute(0, 2, 3, 1).contiguous()


class Encoder(nn.Module):
    def __init__(self, width=96, z=16):
        super().__init__()
        self.enter = nn.Conv2d(192, width, 3, padding=1)
        self.fine = nn.Sequential(EncoderBlock(width), EncoderBlock(width))
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.coarse = nn.Sequential(EncoderBlock(2 * width), EncoderBlock(2 * width))
        self.norm, self.leave = Gamma(2 * width, 2), nn.Conv2d(2 * width, z, 3, padding=1)
        self.whiten = nn.BatchNorm2d(z, affine=False, momentum=.02)

    def forward(self, video):
        """[B, 4n, 3, H, W] in [-1, 1], frame 0 of a stream given four times -> latents [B, n, 16, H/8, W/8]."""
        B, T, _, H, W = video.shape
        x = F.pixel_unshuffle(video.reshape(B * T // 4, 12, H, W), 4).permute(0, 2, 3, 1).contiguous()
        x = conv(self.down, self.fine(conv(self.enter, x)))
        x = conv(self.leave, norm_silu(self.coarse(x), self.norm.vector()))
        z = self.whiten(x.permute(0, 3, 1, 2).float())
        return z.reshape(B, T // 4, -1, H // 8, W // 8)
