"""ISTA: iterative shrinkage and thresholding, a proximal gradient step again and again.

    z <- prox(z - f'(z) / L, 1 / L)        F(z_k) - F* <= L ||z_0 - z*||^2 / (2 k)

Source: Daubechies, Defrise and De Mol 2004; the bound is theorem 3.1 of Beck and Teboulle 2009.
"""

from __future__ import annotations

from torch import Tensor

from pretrain.sparse.energy import Problem


def ista(problem: Problem, steps: int) -> Tensor:
    """The code after k steps; the energy never rises."""
    z = problem.start
    for _ in range(steps):
        z = problem.prox(problem.descend(z), 1 / problem.lipschitz)
    return z
