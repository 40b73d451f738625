"""Triton kernel: SiLU(RMS norm over channels) of channels-last data, forward and backward in one pass each."""
import torch
import triton
import triton.language as tl


@triton.jit
def _forward(x_ptr, gamma_ptr, y_ptr, n, C: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    col = tl.arange(0, WIDE)
    at = row[:, None].to(tl.int64) * C + col[None, :]
    inside = (row < n)[:, None] & (col < C)[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    gamma = tl.load(gamma_ptr + col, mask=col < C, other=0.0).to(tl.float32)
    inv = tl.rsqrt(tl.sum(x * x, 1) / C + 1e-12)
    h = x * inv[:, None] * gamma[None, :]
    tl.store(y_ptr + at, (h * tl.sigmoid(h)).to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _backward(x_ptr, gamma_ptr, dy_ptr, dx_ptr, dgamma_ptr, n, C: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    col = tl.arange(0, WIDE)
    at = row[:, None].to(tl.int64) * C + col[None, :]
    inside = (row < n)[:, None] & (col < C)[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    dy = tl.load(dy_ptr + at, mask=inside, other=0.0).to(tl.float32)
    gamma = tl.load(gamma_ptr + col, mask=col < C, other=0.0).to(tl.float32)
    inv = tl.rsqrt(tl.sum(x * x, 1) / C + 1e-12)
    unit = x * inv[:, None]
    h = unit * gamma[None, :]
    s = tl.sigmoid(h)
    dh = dy * s * (1.0 + h * (1.0 - s))
    tl.store(dgamma_ptr + tl.program_id(0) * C + col, tl.sum(dh * unit, 0), mask=col < C)
    du = dh * gamma[None, :]
    dx = inv[:, None] * (du - unit * (tl.sum(du * unit, 1) / C)[:, None])
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=inside)


class NormSilu(torch.autograd.Function):
    """x [..., C] contiguous with at most 256 channels; gamma [C] float32."""

    @staticmethod
    def geometry(x):
        channels = x.shape[-1]
        n = x.numel() // channels
        wide = triton.next_power_of_2(channels)
        rows = max(16, 4096 // wide)
        return n, (channels, wide, rows), (triton.cdiv(n, rows),)

    @staticmethod
    def forward(ctx, x, gamma):
        n, shape, grid = NormSilu.geometry(x)
        y = torch.empty_like(x)
        _forward[grid](x, gamma, y, n, *shape)
        ctx.save_for_backward(x, gamma)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, gamma = ctx.saved_tensors
        n, shape, grid = NormSilu.geometry(x)
        dx = torch.empty_like(x)
        partial = torch.empty(grid[0], x.shape[-1], device=x.device, dtype=torch.float32)
        _backward[grid](x, gamma, dy.contiguous(), dx, partial, n, *shape)
        return dx, partial.sum(0).to(gamma.dtype)
