"""Convolutional sparse coding and convolutional PSD: one small set of filters, at every place of an image.

    E(y, z) = 1/2 ||y - sum_m d_m * z_m||^2 + lambda |z|_1
    PSD:      E(y, z) + beta / 2 ||z - Enc(y)||^2,        Enc(y)_m = g_m shrink(k_m (correlated with) y, theta_m)

Shapes: y (N, C, H, W); filters d (M, C, h, w) of unit norm; maps z (N, M, H - h + 1, W - w + 1), so that every atom
lies inside the image. Source: Zeiler, Krishnan, Taylor and Fergus 2010 (CVPR); Kavukcuoglu, Sermanet, Boureau, Gregor,
Mathieu and LeCun 2010 (NIPS) for PSD, whose encoder's smooth shrinkage is taken here in its sharp limit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.sparse.energy import Problem, shrink
from pretrain.sparse.psd import PSD


def decode(z: Tensor, filters: Tensor) -> Tensor:
    """sum_m d_m * z_m, the full convolution, (N, C, H, W)."""
    return F.conv_transpose2d(z, filters)


def convolutional_energy(y: Tensor, z: Tensor, filters: Tensor, alpha: float) -> Tensor:
    """E(y, z), (N,); alpha is the equation's lambda."""
    return (y - decode(z, filters)).flatten(1).square().sum(1) / 2 + alpha * z.flatten(1).abs().sum(1)


def convolutional_lipschitz(filters: Tensor, height: int, width: int) -> float:
    """A bound of L, close to it for images larger than the filters.

    Decoding is a circular convolution on the H x W image of maps that are 0 where an atom would wrap around. Without
    that restriction Fourier coefficients do not mix, and L is the largest eigenvalue of their C x C matrices.
    """
    spectrum = torch.fft.rfft2(filters.detach(), s=(height, width)).flatten(2).permute(2, 1, 0)  # (F, C, M)
    gram = spectrum @ spectrum.mH
    largest = float(torch.linalg.eigvalsh(gram).max())
    return largest * (1 + 1e-5) if largest > 0 else 1.0


def convolutional_lasso(y: Tensor, filters: Tensor, alpha: float) -> Problem:
    """E(y, z) as a problem in z, begun at 0.

    Raises:
        ValueError: alpha is not above 0, or an image is smaller than the filters.
    """
    if not alpha > 0:
        raise ValueError(f"alpha={alpha} must be above 0")
    (height, width), (h, w) = y.shape[2:], filters.shape[2:]
    if height < h or width < w:
        raise ValueError(f"an image of {height} x {width} is smaller than filters of {h} x {w}")
    constant = convolutional_lipschitz(filters, height, width)
    return Problem(
        y.new_zeros(len(y), len(filters), height - h + 1, width - w + 1),
        lambda z: z + F.conv2d(y - decode(z, filters), filters) / constant,
        lambda z, t: shrink(z, alpha * t),
        lambda z: convolutional_energy(y, z, filters, alpha),
        constant,
    )


class ShrinkEncoder(nn.Module):
    """g_m shrink(k_m y, theta_m): filters, thresholds and gains of its own; it begins with the dictionary's filters."""

    def __init__(self, filters: Tensor, threshold: float = 0.0) -> None:
        super().__init__()
        self.filters = nn.Parameter(filters.detach().clone())
        self.threshold = nn.Parameter(torch.full_like(self.filters[:, 0, 0, 0], threshold))
        self.gain = nn.Parameter(torch.ones_like(self.threshold))

    def forward(self, y: Tensor) -> Tensor:
        response = F.conv2d(y, self.filters)
        return self.gain[:, None, None] * shrink(response, self.threshold[:, None, None])


class ConvolutionalPSD(PSD):
    """PSD of images (N, C, H, W) with filters (M, C, h, w)."""

    def problem(self, y: Tensor) -> Problem:
        return convolutional_lasso(y, self.dictionary, self.config.alpha)
