"""Builds render.cu for the device at hand and calls it on torch tensors."""
import ctypes
import os
import subprocess
import tempfile

import torch

PARAMS = 48
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "render.cu")
_library = {}


def _build(cuda):
    out = os.path.join(tempfile.gettempdir(), f"kinetype-render-{'cuda' if cuda else 'cpu'}-{os.getpid()}.so")
    if cuda:
        command = ["nvcc", "-O3", "-arch=sm_90", "--use_fast_math", "-shared", "-Xcompiler", "-fPIC", SOURCE, "-o", out]
    else:
        command = ["g++", "-O2", "-x", "c++", "-shared", "-fPIC", SOURCE, "-o", out]
    subprocess.run(command, check=True)
    function = ctypes.CDLL(out).render
    function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
    os.unlink(out)
    return function


def draw(params, height=112, width=192):
    """params [n, PARAMS] float32 -> frames [n, 3, height, width] in [-1, 1] (bf16 on CUDA), cover [n, height, width]."""
    cuda = params.is_cuda
    if cuda not in _library:
        _library[cuda] = _build(cuda)
    params = params.contiguous().float()
    n = len(params)
    frames = torch.empty(n, 3, height, width, device=params.device, dtype=torch.bfloat16 if cuda else torch.float32)
    cover = torch.empty(n, height, width, device=params.device, dtype=torch.uint8)
    stream = torch.cuda.current_stream().cuda_stream if cuda else 0
    code = _library[cuda](params.data_ptr(), frames.data_ptr(), cover.data_ptr(), n, height, width, stream)
    if code:
        raise RuntimeError(f"render failed with CUDA error {code}")
    return frames, cover
