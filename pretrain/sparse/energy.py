"""The energy of sparse coding, what its minimum over codes looks like, and the form in which solvers take it.

    E(y, z) = 1/2 ||y - W z||^2 + alpha |z|_1        F(y) = min over z of E(y, z)

Source: Olshausen and Field 1997; LeCun, "Energy-based models, part 2". N samples, D inputs, M atoms: y (N, D),
z (N, M), and W (D, M) with one atom of unit norm per column: a code cannot be made small by making its atom large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


def energy(y: Tensor, z: Tensor, dictionary: Tensor, alpha: float) -> Tensor:
    """E(y, z) of each sample, (N,)."""
    return (y - z @ dictionary.T).square().sum(-1) / 2 + alpha * z.abs().sum(-1)


def shrink(z: Tensor, threshold: float | Tensor) -> Tensor:
    """sign(z) max(|z| - threshold, 0): the code that minimises 1/2 (z' - z)^2 + threshold |z'|.

    A gradient of 0 reaches what is shrunk to 0. A threshold below 0 counts as 0 where it is a tensor (a learned one).
    """
    if isinstance(threshold, Tensor):
        threshold = threshold.clamp(min=0)
        return z - torch.minimum(torch.maximum(z, -threshold), threshold)
    return z - z.clamp(-threshold, threshold)


def unit_norm(dictionary: Tensor) -> Tensor:
    """Atoms divided by their norm: columns of W (D, M), or filters (M, C, h, w). An atom of zeros stays as it is."""
    dim = 0 if dictionary.dim() == 2 else tuple(range(1, dictionary.dim()))
    norm = torch.linalg.vector_norm(dictionary, dim=dim, keepdim=True)
    return dictionary / torch.where(norm > 0, norm, 1.0)


def random_dictionary(inputs: int, atoms: int, generator: torch.Generator) -> Tensor:
    """W (D, M) of atoms uniform on the sphere."""
    return unit_norm(torch.randn(inputs, atoms, generator=generator))


def lipschitz(dictionary: Tensor) -> float:
    """L, the largest eigenvalue of W^T W: how fast the gradient of 1/2 ||y - W z||^2 changes. Exact up to rounding.

    It is rounded up a little, since a step longer than 1 / L may raise the energy. A dictionary of zeros has L = 1.
    """
    w = dictionary.detach()
    gram = w.T @ w if w.shape[1] < w.shape[0] else w @ w.T
    largest = float(torch.linalg.eigvalsh(gram)[-1])
    return largest * (1 + 1e-5) if largest > 0 else 1.0


def violation(y: Tensor, z: Tensor, dictionary: Tensor, alpha: float) -> Tensor:
    """How far a code is from the conditions of the minimum (Karush, Kuhn, Tucker), (N,); 0 only there.

    w_m . (y - W z) = alpha sign(z_m) where z_m is not 0, and |w_m . (y - W z)| <= alpha where it is
    """
    match = (y - z @ dictionary.T) @ dictionary
    active = (match - alpha * z.sign()).abs()
    return torch.where(z != 0, active, (match.abs() - alpha).clamp(min=0)).amax(-1)


class Problem(NamedTuple):
    """min over z of f(z) + g(z), f smooth with an L-Lipschitz gradient, g with a proximal map: what solvers take.

    Attributes:
        start: where a solver begins, (N, ...); samples along the first dimension are problems of their own.
        descend: z -> z - f'(z) / L.
        prox: z, t -> argmin over u of 1/2 ||u - z||^2 + t g(u).
        energy: z -> f(z) + g(z), (N,).
        lipschitz: L.
    """

    start: Tensor
    descend: Callable[[Tensor], Tensor]
    prox: Callable[[Tensor, float], Tensor]
    energy: Callable[[Tensor], Tensor]
    lipschitz: float

    def near(self, target: Tensor, weight: float) -> Problem:
        """With weight / 2 ||z - target||^2 added, begun at the target: the code is to stay near a prediction of it."""
        old, total = self.lipschitz, self.lipschitz + weight
        return Problem(
            target,
            lambda z: (old * self.descend(z) + weight * target) / total,
            self.prox,
            lambda z: self.energy(z) + weight / 2 * (z - target).flatten(1).square().sum(1),
            total,
        )


class Step(NamedTuple):
    """One step of ISTA on z, shrink(y We^T + z S^T, theta), as matrices: what LISTA learns and solvers reuse.

    encode: We = W^T / L (M, D).  inhibit: S = I - W^T W / L (M, M).  threshold: theta = alpha / L.
    """

    encode: Tensor
    inhibit: Tensor
    threshold: float
    lipschitz: float

    @staticmethod
    def of(dictionary: Tensor, alpha: float) -> Step:
        """Of a dictionary.

        Raises:
            ValueError: alpha is not above 0.
        """
        if not alpha > 0:
            raise ValueError(f"alpha={alpha} must be above 0")
        constant = lipschitz(dictionary)
        encode = dictionary.T / constant
        eye = torch.eye(dictionary.shape[1], dtype=dictionary.dtype, device=dictionary.device)
        return Step(encode, eye - encode @ dictionary, alpha / constant, constant)


def lasso(y: Tensor, dictionary: Tensor, alpha: float, step: Step | None = None) -> Problem:
    """E(y, z) as a problem in z, begun at 0.

    Args:
        step: of the same dictionary and alpha, where many batches share them.
    """
    encode, inhibit, _, constant = Step.of(dictionary, alpha) if step is None else step
    drive = y @ encode.T
    return Problem(
        torch.zeros_like(drive),
        lambda z: torch.addmm(drive, z, inhibit),  # S is symmetric
        lambda z, t: shrink(z, alpha * t),
        lambda z: energy(y, z, dictionary, alpha),
        constant,
    )
