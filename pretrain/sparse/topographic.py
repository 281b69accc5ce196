"""Topographic square pooling: pools overlap on a map, so that neighbours on the map come to be alike.

    E(y, z) = 1/2 ||y - W z||^2 + alpha sum_i sqrt(epsilon^2 + sum_j P_ij z_j^2)

The atoms lie on a square grid that is closed to a torus; P_ij falls off as a Gaussian of the distance from i to j and
sums to 1 over j. Few pools are active at a time, hence atoms that are active together move together. Source: Hyvarinen
and Hoyer 2001 (topographic ICA); Kavukcuoglu, Ranzato, Fergus and LeCun 2009 (CVPR), with an encoder.

Overlapping norms have no closed proximal map. The root is majorised by its tangent in the squares, which with
L / 2 ||z' - z||^2 above the reconstruction makes every step a division, and no step raises the energy:

    z_j <- (z - f'(z) / L)_j / (1 + alpha / L sum_i P_ij / sqrt(epsilon^2 + sum_k P_ik z_k^2))
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.sparse.energy import Step, lasso


@dataclass(frozen=True, kw_only=True)
class TopographicConfig:
    """A map of side * side atoms."""

    side: int = 16
    width: float = 1.0  # atoms; the Gaussian's standard deviation
    alpha: float = 1.0
    epsilon: float = 0.01  # above 0, or the root has no gradient where a pool is off
    steps: int = 50

    def __post_init__(self) -> None:
        if self.side < 1:
            raise ValueError(f"side={self.side} must be at least 1")
        for name in ("width", "alpha", "epsilon"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")


def torus_distance(side: int) -> Tensor:
    """Distance (M, M) between atoms on the torus, in atoms, M = side^2, row by row."""
    at = torch.arange(side)
    along = (at[:, None] - at[None, :]).abs()
    along = torch.minimum(along, side - along).float()
    squared = along.square()[:, None, :, None] + along.square()[None, :, None, :]  # (rows, columns) twice
    return squared.reshape(side**2, side**2).sqrt()


def pools(config: TopographicConfig) -> Tensor:
    """P (M, M), symmetric, each row sums to 1."""
    weight = torch.exp(-torch.square(torus_distance(config.side) / config.width) / 2)
    return weight / weight.sum(1, keepdim=True)


def pooled(z: Tensor, pool: Tensor, epsilon: float) -> Tensor:
    """sqrt(epsilon^2 + sum_j P_ij z_j^2), (N, M): the complex cells above the simple ones."""
    return torch.sqrt(epsilon**2 + z.square() @ pool.T)


def topographic_energy(
    y: Tensor, z: Tensor, dictionary: Tensor, pool: Tensor, config: TopographicConfig
) -> Tensor:
    """E(y, z), (N,)."""
    penalty = config.alpha * pooled(z, pool, config.epsilon).sum(1)
    return (y - z @ dictionary.T).square().sum(1) / 2 + penalty


def topographic_codes(y: Tensor, dictionary: Tensor, pool: Tensor, config: TopographicConfig) -> Tensor:
    """z (N, M) after the configured number of steps from a gradient step on the reconstruction."""
    problem = lasso(y, dictionary, config.alpha, Step.of(dictionary, config.alpha))
    z = problem.descend(problem.start)
    for _ in range(config.steps):
        curvature = config.alpha * (1 / pooled(z, pool, config.epsilon)) @ pool
        z = problem.descend(z) / (1 + curvature / problem.lipschitz)
    return z
