"""Coordinate descent, one code unit at a time, and its learned form.

    b = We y;  repeat:  u = shrink(b, theta),  k = argmax |u - z|,  b <- b + S_{:,k} (u_k - z_k),  z_k <- u_k
    at the end z = shrink(b, theta)

with We = W^T, S = I - W^T W, theta = alpha for atoms of unit norm: the unit that would change most is set to its
optimum given the others. A step costs M operations where one of ISTA's costs M^2. Source: Li and Osher 2009; Gregor
and LeCun 2010, whose LCoD learns We, S and theta by back-propagation through a fixed number of steps (which unit is
chosen carries no gradient).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.sparse.encoder import Encoder
from pretrain.sparse.energy import shrink


def coordinate_matrices(dictionary: Tensor) -> tuple[Tensor, Tensor]:
    """We (M, D) and S (M, M)."""
    eye = torch.eye(dictionary.shape[1], dtype=dictionary.dtype, device=dictionary.device)
    return dictionary.T, eye - dictionary.T @ dictionary


def coordinate_descent(y: Tensor, dictionary: Tensor, alpha: float, steps: int) -> Tensor:
    """z (N, M) after a number of steps, each of one unit of every sample.

    Raises:
        ValueError: an atom's norm is not 1 (a unit's optimum would be another).
    """
    if not torch.allclose(dictionary.norm(dim=0), dictionary.new_ones(()), atol=1e-4):
        raise ValueError("coordinate descent needs atoms of unit norm")
    encode, inhibit = coordinate_matrices(dictionary)
    return descend(y @ encode.T, inhibit, alpha, steps)


def descend(drive: Tensor, inhibit: Tensor, threshold: float | Tensor, steps: int) -> Tensor:
    """The loop: z (N, M) of the drive b (N, M), S (M, M) and a threshold, one or (M,)."""
    b, z, columns = drive, torch.zeros_like(drive), inhibit.T
    for _ in range(steps):
        change = shrink(b, threshold) - z
        k = change.detach().abs().argmax(1, keepdim=True)
        by = change.gather(1, k)
        b = torch.addcmul(b, columns[k[:, 0]], by)
        z = z.scatter_add(1, k, by)
    return shrink(b, threshold)


@dataclass(frozen=True, kw_only=True)
class LCoDConfig:
    """Steps, of one code unit each."""

    steps: int = 32

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps={self.steps} must not be negative")


class LCoD(Encoder):
    """Before training it equals coordinate descent."""

    def __init__(self, dictionary: Tensor, alpha: float, config: LCoDConfig | None = None) -> None:
        super().__init__(dictionary, alpha)
        self.config = LCoDConfig() if config is None else config
        encode, inhibit = coordinate_matrices(self.dictionary)
        self.encode, self.inhibit = nn.Parameter(encode.clone()), nn.Parameter(inhibit)
        self.threshold = nn.Parameter(torch.full_like(encode[:, 0], alpha))

    def forward(self, y: Tensor) -> Tensor:
        return descend(y @ self.encode.T, self.inhibit, self.threshold, self.config.steps)
