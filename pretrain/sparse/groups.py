"""Group sparsity: code units share pools, and a pool is either off or free to use all its units.

    E(y, z) = 1/2 ||y - W z||^2 + alpha sum over pools P of sqrt(sum over m in P of z_m^2)

Atoms of one pool come to span what varies while the same thing is seen (a phase, a small shift): the norm of the pool
does not change with it. Source: Yuan and Lin 2006 (the group lasso); LeCun, "Energy-based models, part 2". Pools are
consecutive units, `size` each, without overlap.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.sparse.energy import Problem, Step, lasso


def pooled(z: Tensor, size: int) -> Tensor:
    """The norm of each pool (N, M / size); its gradient at a pool of zeros is 0.

    Raises:
        ValueError: M is not a multiple of the size.
    """
    if size < 1 or z.shape[1] % size:
        raise ValueError(f"size={size} must divide the number of atoms, {z.shape[1]}")
    return torch.linalg.vector_norm(z.unflatten(1, (-1, size)), dim=2)


def group_energy(y: Tensor, z: Tensor, dictionary: Tensor, alpha: float, size: int) -> Tensor:
    """E(y, z), (N,)."""
    return (y - z @ dictionary.T).square().sum(1) / 2 + alpha * pooled(z, size).sum(1)


def shrink_groups(z: Tensor, threshold: float, size: int) -> Tensor:
    """max(1 - threshold / ||z_P||, 0) z_P of each pool: the proximal map of the sum of norms. Pools of 1: `shrink`."""
    norm = pooled(z, size)
    safe = torch.where(norm > threshold, norm, 1.0)  # a division by 0 that is not used still sends NaN back
    scale = torch.where(norm > threshold, 1 - threshold / safe, 0.0)
    return (z.unflatten(1, (-1, size)) * scale[:, :, None]).flatten(1)


def group_lasso(y: Tensor, dictionary: Tensor, alpha: float, size: int, step: Step | None = None) -> Problem:
    """E(y, z) as a problem in z, begun at 0."""
    return lasso(y, dictionary, alpha, step)._replace(
        prox=lambda z, t: shrink_groups(z, alpha * t, size),
        energy=lambda z: group_energy(y, z, dictionary, alpha, size),
    )
