"""All parameters of a model in one buffer: gradients, AdamW, Muon, EMA and the all-reduce are then a few tensor
operations each, and a whole training step fits a CUDA graph (nothing here allocates per parameter or reads the device).
"""
import copy

import torch

MUON_MOMENTUM, EPS = .95, 1e-8


class Flat:
    """Moves the parameters of `module` into views of one float32 buffer. `is_muon(name, p)` picks the weight matrices
    that Muon trains; those come first, grouped by shape. Convolutions count as [out, everything else]."""

    def __init__(self, module, is_muon=lambda name, p: False, betas=(.9, .98)):
        self.betas = betas
        named = list(module.named_parameters())
        matrix = lambda p: (p.shape[0], p[0].numel())
        muon = sorted((n for n in named if is_muon(*n)), key=lambda n: matrix(n[1]))
        rest = [n for n in named if not is_muon(*n)]
        device = named[0][1].device
        self.params = [p for _, p in muon + rest]
        total = sum(p.numel() for p in self.params)
        self.value = torch.empty(total, device=device)
        self.grad = torch.zeros(total, device=device)
        self.groups, at = [], 0  # (offset, count, rows, columns) of Muon's batches
        for p in self.params:
            n = p.numel()
            self.value[at:at + n].copy_(p.detach().flatten())
            p.data = self.value[at:at + n].view(p.shape)
            p.grad = self.grad[at:at + n].view(p.shape)
            at += n
        at = 0
        for _, p in muon:
            shape = matrix(p)
            if self.groups and self.groups[-1][2:] == list(shape):
                self.groups[-1][1] += 1
            else:
                self.groups.append([at, 1, *shape])
            at += p.numel()
        self.split = at  # Muon before, AdamW after
        self.momentum = torch.zeros(self.split, device=device)
        self.first, self.second = (torch.zeros(total - at, device=device) for _ in range(2))
        self.steps = torch.zeros((), device=device)

    def copy_of(self, module):
        """A second module like `module`, its parameters views of a second buffer with the same layout."""
        twin = copy.deepcopy(module)
        buffer, at = self.value.clone(), 0
        order = {id(p): i for i, p in enumerate(self.params)}
        views = {}
        for i, p in enumerate(self.params):
            views[i] = buffer[at:at + p.numel()].view(p.shape)
            at += p.numel()
        for a, b in zip(module.parameters(), twin.parameters()):
            b.data = views[order[id(a)]]
            b.grad = None
            b.requires_grad_(False)
        return twin.eval(), buffer

    @torch.no_grad()
    def step(self, lr_muon, lr_adam, decay=.01, clip=1.):
        """One update; learning rates are device scalars. Returns the gradient norm. The gradient is zeroed."""
        norm = self.grad.norm()
        self.grad.mul_((clip / (norm + 1e-6)).clamp(max=1.))
        self.steps.add_(1.)
        for at, count, rows, cols in self.groups:
            end = at + count * rows * cols
            grad, momentum = self.grad[at:end], self.momentum[at:end]
            momentum.lerp_(grad, 1 - MUON_MOMENTUM)
            update = orthogonal(grad.lerp(momentum, MUON_MOMENTUM).view(count, rows, cols))
            value = self.value[at:end]
            value.mul_(1 - lr_muon * decay)
            value.sub_(update.reshape(-1) * (lr_muon * (.2 * max(rows, cols) ** .5)))
        grad, value = self.grad[self.split:], self.value[self.split:]
        b1, b2 = self.betas
        self.first.lerp_(grad, 1 - b1)
        self.second.lerp_(grad * grad, 1 - b2)
        m = self.first / (1 - b1 ** self.steps)
        v = self.second / (1 - b2 ** self.steps)
        value.mul_(1 - lr_adam * decay)
        value.sub_(lr_adam * m / (v.sqrt() + EPS))
        self.grad.zero_()
        return norm

    def state(self):
        return dict(value=self.value, momentum=self.momentum.bfloat16(), first=self.first, second=self.second,
                    steps=self.steps)

    @torch.no_grad()
    def load(self, state):
        for k in state:
            getattr(self, k).copy_(state[k])


def orthogonal(g):
    """Newton-Schulz iteration of Muon on a batch of matrices: push all singular values towards 1."""
    x = g.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


def capture(step, warmup=3):
    """CUDA graph of step(). Returns a function that replays it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(warmup):
            step()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    return graph.replay
