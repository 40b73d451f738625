"""Contact sheets: rows of frames as one PNG."""
import numpy as np


def save(path, rows, scale=1):
    """rows: lists of [3, H, W] tensors in [-1, 1]."""
    from PIL import Image
    tile = lambda f: np.pad(f.detach().float().clamp(-1, 1).cpu().numpy(), ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    image = np.concatenate([np.concatenate([tile(f) for f in row], 2) for row in rows], 1)
    image = ((image + 1) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(image)
    if scale != 1:
        picture = picture.resize((int(image.shape[1] * scale), int(image.shape[0] * scale)), Image.LANCZOS)
    picture.save(path, optimize=True)
