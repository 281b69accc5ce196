"""What experiments on natural patches share: a dictionary, pictures of atoms, their orientations."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.experiments.training import train
from pretrain.sparse.adaptive import sparse_codes
from pretrain.sparse.energy import energy
from pretrain.sparse.learning import DictionaryLearner


def sparse_dictionary(
    y: Tensor, atoms: int, alpha: float, steps: int, generator: torch.Generator
) -> DictionaryLearner:
    """Trained by sparse coding, begun at random samples."""
    start = y[torch.randint(len(y), (atoms,), generator=generator)].T
    learner = DictionaryLearner(
        start + 1e-3 * torch.randn(start.shape, generator=generator),
        lambda y, w: sparse_codes(y, w, alpha, tolerance=0.3, max_steps=40),
        lambda y, z, w: energy(y, z, w, alpha),
    )
    train(learner, y, generator, num_steps=steps, batch=256, rate=0.03)
    return learner


def orientation(atoms: Tensor, size: int) -> Tensor:
    """The angle of each atom (K, size * size) in [0, pi): along which its spectrum has most power, (K,).

    The principal axis of the power spectrum: half the angle of the sum of power * (f_u + i f_v)^2 / |f|^2.
    """
    power = torch.fft.fft2(atoms.view(-1, size, size), s=(4 * size, 4 * size)).abs().square()
    f = torch.fft.fftfreq(4 * size)
    angle = torch.atan2(f[:, None], f[None, :])
    real, imaginary = ((power * part).sum((1, 2)) for part in (torch.cos(2 * angle), torch.sin(2 * angle)))
    return torch.remainder(torch.atan2(imaginary, real) / 2, math.pi)


def tiled(images: Tensor, columns: int, zoom: int = 4) -> NDArray[np.uint8]:
    """Grey images (K, h, w) in rows of `columns`, each on its own scale around grey, as a picture (H, W, 3)."""
    num, height, width = images.shape
    scale = images.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)
    shown = images / scale / 2 + 0.5
    rows = math.ceil(num / columns)
    canvas = torch.ones(rows * (height + 1) + 1, columns * (width + 1) + 1)
    for k, image in enumerate(shown):
        top, left = k // columns * (height + 1) + 1, k % columns * (width + 1) + 1
        canvas[top : top + height, left : left + width] = image
    pixels = (canvas * 255).round().byte().numpy().repeat(zoom, 0).repeat(zoom, 1)
    return np.ascontiguousarray(np.broadcast_to(pixels[..., None], (*pixels.shape, 3)))
