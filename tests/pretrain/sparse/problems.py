"""Small random problems that the tests of sparse coding share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pretrain.sparse.energy import unit_norm


class Random(NamedTuple):
    y: Tensor
    dictionary: Tensor
    alpha: float


def random_problem(
    seed: int = 0, num: int = 6, inputs: int = 8, atoms: int = 14, alpha: float = 0.3
) -> Random:
    """float64, so that a minimum can be told from a point beside it."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.randn(num, inputs, generator=rng, dtype=torch.float64)
    return Random(y, unit_norm(torch.randn(inputs, atoms, generator=rng, dtype=torch.float64)), alpha)


def optimum(problem: Random) -> Tensor:
    """The lasso's minimum by cyclic coordinate descent, one unit and one sample at a time."""
    y, w, alpha = problem.y.numpy(), problem.dictionary.numpy(), problem.alpha
    z = np.zeros((len(y), w.shape[1]))
    change = 1.0
    while change > 1e-13:
        before = z.copy()
        for m in range(w.shape[1]):
            match = (y - z @ w.T) @ w[:, m] + z[:, m]
            z[:, m] = np.sign(match) * np.maximum(np.abs(match) - alpha, 0)
        change = np.abs(z - before).max()
    return torch.from_numpy(z)
