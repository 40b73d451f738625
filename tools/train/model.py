"""The text encoder and the transformer together, as training handles them."""
import torch
import torch.nn as nn

from . import captions, common, dit, umt5


def new(vocab):
    return nn.ModuleDict(dict(text=umt5.TextEncoder(vocab), dit=dit.DiT()))


def muon(name, p):
    """Weight matrices inside the layers of both; embeddings, norms, modulation, head and the rest go to AdamW."""
    return p.dim() == 2 and ".blocks." in name and "pos_embedding" not in name and "norm" not in name


def contexts(model, ids):
    """ids [B, n, 40] -> embedded text [B, n, 40, dim]."""
    raw = model["text"](ids.flatten(0, 1)).view(*ids.shape[:2], ids.shape[2], -1)
    return model["dit"].embed_text(raw.to(common.DTYPE))


def silence(ids, chance):
    """Replace both prompts of a sample by the empty one now and then."""
    empty = torch.zeros_like(ids)
    empty[..., 0] = captions.EOS
    return torch.where(torch.rand(len(ids), 1, 1, device=ids.device) < chance, empty, ids)
