"""K-means: one code of K, so that only K points have zero energy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.learner import Fitted


@dataclass(frozen=True, kw_only=True)
class KMeansConfig:
    """dim: D of y. num_codes: K. num_restarts: the best of so many starts is kept."""

    dim: int
    num_codes: int
    num_restarts: int = 10
    num_iterations: int = 300  # at most, of each start

    def __post_init__(self) -> None:
        for name in ("dim", "num_codes", "num_restarts", "num_iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


class KMeans(Fitted):
    """The K points that are nearest to the data.

        E(y, z) = ||y - W z||^2, z one-hot of K,    F(y) = min_z E(y, z) = min_k ||y - w_k||^2

    Lloyd's iterations from k-means++ starts. Source: Lloyd 1982; Arthur and Vassilvitskii 2007 (the starts).

    Buffers: codes W^T (K, D).
    """

    codes: Tensor

    def __init__(self, config: KMeansConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("codes", torch.zeros(config.num_codes, config.dim))

    @torch.no_grad()
    def fit(self, y: Tensor, generator: torch.Generator) -> None:
        """To samples y (N, D).

        Raises:
            ValueError: fewer samples than codes.
        """
        if len(y) < self.config.num_codes:
            raise ValueError(f"{len(y)} samples are fewer than num_codes={self.config.num_codes}")
        ends = [
            lloyd(y, plus_plus(y, self.config.num_codes, generator), self.config.num_iterations)
            for _ in range(self.config.num_restarts)
        ]
        costs = [float(distances(y, codes).amin(1).square().sum()) for codes in ends]
        self.codes.copy_(ends[costs.index(min(costs))])

    def assign(self, y: Tensor) -> Tensor:
        """The nearest code's index (N,) of y (N, D)."""
        return distances(y, self.codes).argmin(1)

    def energy(self, y: Tensor) -> Tensor:
        """F (N,) of y (N, D): the squared distance to the nearest code."""
        return (y - self.codes[self.assign(y.detach())]).square().sum(-1)


def distances(y: Tensor, codes: Tensor) -> Tensor:
    """||y_n - w_k|| (N, K), also far from the origin, where |y|^2 + |w|^2 - 2 y'w cancels."""
    return torch.cdist(y, codes, compute_mode="donot_use_mm_for_euclid_dist")


def plus_plus(y: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Starts (K, D): samples, each drawn with a probability proportional to F(y) under those before it."""
    codes = y[torch.randint(len(y), (1,), generator=generator, device=generator.device).to(y.device)]
    for _ in range(num - 1):
        cost = distances(y, codes).amin(1).square()
        if not cost.any():  # fewer distinct samples than codes
            cost = torch.ones_like(cost)
        drawn = torch.multinomial(cost.to(generator.device), 1, generator=generator)
        codes = torch.cat([codes, y[drawn.to(y.device)]])
    return codes


def lloyd(y: Tensor, codes: Tensor, num_iterations: int) -> Tensor:
    """Codes (K, D) after alternating assignment and means, until no sample changes its code.

    A code that no sample chose moves to the sample that is worst off.
    """
    before = None
    for _ in range(num_iterations):
        distance, nearest = distances(y, codes).min(1)
        counts = torch.bincount(nearest, minlength=len(codes))
        empty = torch.nonzero(counts == 0).flatten()
        if before is not None and not len(empty) and torch.equal(nearest, before):
            break
        sums = torch.zeros_like(codes).index_add_(0, nearest, y)
        codes = sums / counts.clamp(min=1)[:, None]
        codes[empty] = y[distance.topk(len(empty)).indices]
        before = nearest
    return codes
