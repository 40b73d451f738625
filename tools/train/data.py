"""Training samples: scenes laid out for layout.py, drawn, encoded and captioned on the device."""
import torch
import torch.nn.functional as F

from . import layout, world


def timeline(names, device):
    """For each sample a timeline, the blocks in its seven slots, the specs at its start and end, and the one before
    the end."""
    B = len(names)
    kind = {n: torch.tensor([x == n for x in names], device=device) for n in layout.PATTERNS}
    rand = lambda: torch.rand(B, device=device)
    between = lambda low, high: (low + (rand() * (high - low + 1)).floor()).long().clamp(min=0)
    from_start = kind["start"] | kind["early1"] | kind["early2"] | kind["early3"]
    j = torch.where(from_start, torch.zeros(B, device=device, dtype=torch.long),
                    torch.where(kind["scene"], between(0, 239) * (rand() > .25), between(2, 240)))
    slots = torch.arange(layout.SLOTS, device=device)
    # Slot 0 is the sink: block 0, or in a re-sunk scene the oldest recached block; the rest are j, j + 1, ...
    blocks = torch.where((from_start | kind["scene"])[:, None], j[:, None] + slots, j[:, None] + slots - 1)
    blocks[:, 0] = torch.where(kind["scene"], j, torch.zeros_like(j))
    switch_slot = kind["keep"] * 4 + kind["scene"] * 4 + kind["early1"] * 1 + kind["early2"] * 2 + kind["early3"] * 3
    switched = switch_slot > 0
    second = torch.where(switched, blocks.gather(1, switch_slot[:, None])[:, 0], torch.full_like(j, world.NEVER))
    # An earlier change: any time before, often just before; always for a sink whose prompt is long gone.
    room = torch.where(switched, second - 1, j - 1).clamp(max=10 ** 6)
    recent = torch.maximum(room - between(0, 2), torch.ones_like(room))
    first = torch.where(rand() < .5, recent, 1 + (rand() * room).long().clamp(min=0))
    early = (kind["far_old"] | (switched & (rand() < .3))) & (room >= 1)
    first = torch.where(early, torch.minimum(first, room), torch.full_like(first, world.NEVER))
    spec0 = world.sample_spec(B, device)
    spec1 = world.choose(early, world.change(spec0), spec0)
    spec2 = world.choose(switched, world.change(spec1), spec1)
    previous = world.choose(switched, spec1, spec0)  # what spec2 is a change of
    # A timeline's changes come in order: without an earlier one, the switch is its first.
    spec1, first = world.choose(early, spec1, spec2), torch.where(early, first, second)
    second = torch.where(early, second, torch.full_like(second, world.NEVER))
    frame = lambda b: torch.where(b >= world.NEVER, b, world.block_start(b))
    line = world.Timeline([spec0, spec1, spec2], [frame(first), frame(second)])
    return line, blocks, spec0, spec2, previous


class Source:
    """Makes chunks of samples. `encode` maps video [B, 4n, 3, H, W] to normalised latents [B, n, 16, h, w]."""

    def __init__(self, encode, captioner, names, device):
        self.encode, self.captioner, self.names, self.device = encode, captioner, names, device

    @torch.no_grad()
    def chunk(self):
        """One batch: latents [B, SLOTS, 3, 16, h, w] bf16, object mask [B, SLOTS, 3, 1, h, w] bf16, ids old and new."""
        line, blocks, before, after, previous = timeline(self.names, self.device)
        B = len(self.names)
        latents = (3 * blocks[..., None] + torch.arange(3, device=self.device)).flatten(1)
        video, cover = line.frames(world.latent_frames(latents))
        z = self.encode(video)
        touched = F.max_pool2d(cover.view(-1, 4, *cover.shape[-2:]).amax(1, keepdim=True).bfloat16() / 255, 8)
        shape = (B, layout.SLOTS, 3)
        old = self.captioner(before)
        changed = world.differs(previous, after)
        new = self.captioner(after, must=changed, say=.85)
        same = torch.tensor([n in ("start", "far") for n in self.names], device=self.device)[:, None]
        new = torch.where(same, old, new)
        return (z.view(*shape, *z.shape[2:]).bfloat16(), (touched > .06).view(*shape, 1, *touched.shape[-2:]).bfloat16(),
                torch.stack([old, new], 1))


class Pool:
    """`size` chunks kept on the device; a batch takes each of its samples from a random chunk."""

    def __init__(self, source, size):
        self.source, self.at = source, 0
        first = source.chunk()
        self.data = [torch.empty(size, *t.shape, dtype=t.dtype, device=t.device) for t in first]
        self.lanes = torch.arange(len(source.names), device=source.device)
        for _ in range(size):
            self.refresh()

    def refresh(self):
        for store, t in zip(self.data, self.source.chunk()):
            store[self.at].copy_(t)
        self.at = (self.at + 1) % len(self.data[0])

    def fill(self, targets):
        which = torch.randint(0, len(self.data[0]), self.lanes.shape, device=self.lanes.device)
        for store, target in zip(self.data, targets):
            target.copy_(store[which, self.lanes])
