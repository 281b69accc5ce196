"""FISTA: ISTA from a point extrapolated along the last change, so that the error falls as 1 / k^2.

    z_k = prox(w_k - f'(w_k) / L, 1 / L)          t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2
    w_{k+1} = z_k + (t_k - 1) / t_{k+1} (z_k - z_{k-1})        F(z_k) - F* <= 2 L ||z_0 - z*||^2 / (k + 1)^2

Source: Beck and Teboulle 2009 (SIAM J. Imaging Sciences 2), eqs. 4.1-4.3 and theorem 4.4. A sample whose last change
points against its step is begun anew with t = 1 (the gradient scheme of O'Donoghue and Candes 2015): near the minimum,
where the energy is strongly convex along the active atoms, that turns ripples into linear convergence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.sparse.energy import Problem


def fista(problem: Problem, steps: int, *, restart: bool = True) -> Tensor:
    """The code after k steps.

    Args:
        restart: each sample's momentum when it overshoots. The bound above is proven without.
    """
    z = w = problem.start
    t = torch.ones(len(z), *[1] * (z.dim() - 1), dtype=z.dtype, device=z.device)
    for _ in range(steps):
        new = problem.prox(problem.descend(w), 1 / problem.lipschitz)
        change = new - z
        if restart:
            overshot = ((w - new) * change).flatten(1).sum(1).view_as(t) > 0
            t = torch.where(overshot, 1.0, t)  # so that the change counts 0 below
        longer = (1 + torch.sqrt(1 + 4 * t.square())) / 2
        z, w, t = new, torch.addcmul(new, (t - 1) / longer, change), longer
    return z
