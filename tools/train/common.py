"""What every training stage shares: device, ranks, log, states on disk, CUDA graphs with a plain fallback for a CPU."""
import glob
import os
import time

import numpy as np
import torch

from . import flat, tensors

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
DTYPE = torch.bfloat16 if CUDA else torch.float32
RANK, RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
SHARD = 15 << 20  # files of a state stay below this
_start = time.time()


def setup(seed):
    if CUDA:
        torch.cuda.set_device(RANK)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    if RANKS > 1:
        torch.distributed.init_process_group("nccl", device_id=torch.device("cuda", RANK))
    torch.manual_seed(seed)


def log(*what):
    if RANK == 0:
        print(f"[{time.time() - _start:6.1f}]", *what, flush=True)


def graph(step):
    """Capture on CUDA; on a CPU just call."""
    return flat.capture(step) if CUDA else step


def compiled(function):
    return torch.compile(function, dynamic=False) if CUDA else function


class Clock:
    """Share of a time budget that is gone, the same on all ranks."""

    def __init__(self, seconds, done=0., steps=None):
        self.seconds, self.done, self.begin, self.steps, self.count = seconds, done, time.time(), steps, 0
        self.share = torch.zeros((), device=DEVICE)

    def read(self):
        """Call every few steps on all ranks: it waits for the device."""
        if CUDA:
            torch.cuda.synchronize()
        if self.steps:  # a fixed number of reads, for tests
            self.count += 1
            return min(1., self.count / self.steps)
        self.share.fill_((self.done + time.time() - self.begin) / self.seconds)
        if RANKS > 1:
            torch.distributed.all_reduce(self.share, op=torch.distributed.ReduceOp.MAX)
        return self.share.item()


def share_gradients(buffer):
    if RANKS > 1:
        torch.distributed.all_reduce(buffer, op=torch.distributed.ReduceOp.AVG)


def ramp(step, share, warmup=100, hold=.55, floor=.02):
    """Learning-rate factor: linear warm-up, constant, linear decay over the rest of the budget."""
    return min(1., (step + 1) / warmup) * min(1., max(floor, (1 - share) / (1 - hold)))


def save(path, state, meta=None):
    """Write a dict of tensors as F16 safetensors in shards path-0, path-1, ... (integers stay I64)."""
    for old in glob.glob(f"{path}-*.safetensors"):
        os.remove(old)
    shard, size, index = {}, 0, 0
    as_numpy = lambda t: t.detach().cpu().numpy() if not t.is_floating_point() else t.detach().half().cpu().numpy()
    for k, t in state.items():
        a = np.ascontiguousarray(as_numpy(t)) if t.dim() else as_numpy(t).reshape(1)
        if size + a.nbytes > SHARD and shard:
            tensors.save(f"{path}-{index}.safetensors", shard)
            shard, size, index = {}, 0, index + 1
        shard[k], size = a, size + a.nbytes
    tensors.save(f"{path}-{index}.safetensors", shard)


def load(path):
    """Read the shards of a state back, floats as float32; None if there are none."""
    files = sorted(glob.glob(f"{path}-*.safetensors"))
    if not files:
        return None
    out = {}
    for f in files:
        out.update(tensors.load(f))
    return {k: torch.from_numpy(v).float() if v.dtype == np.float16 else torch.from_numpy(v) for k, v in out.items()}


def load_into(module, state, device=DEVICE):
    own = module.state_dict()
    with torch.no_grad():
        for k, t in own.items():
            t.copy_(state[k].view(t.shape).to(device))
    return module
