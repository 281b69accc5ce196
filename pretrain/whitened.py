"""Learning in a plane: a learner of the coordinates in which data have variance 1, instead of the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.bounded import PCA
from pretrain.learner import Learner, Terms


class Whitened(Learner):
    """A learner of x, K coordinates of variance 1 of a fitted PCA.

        x = diag(v)^-1/2 V^T (y - m),    F(y) = F_x(x)

    Along directions in which data hardly vary an energy of y is so steep that no network finds it and no chain of one
    step size moves on it; in x all directions are alike. F is an energy over x: what of y lies outside the plane costs
    nothing.
    """

    learner: Any  # with an energy

    def __init__(self, pca: PCA, learner: Learner) -> None:
        super().__init__()
        self.pca, self.learner, self.players = pca, learner, learner.players

    def energy(self, y: Tensor) -> Tensor:
        """F (N,) of y (N, D)."""
        return self.learner.energy(self.pca.whiten(y))

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return self.learner.terms(self.pca.whiten(y), generator, player)

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        return self.learner.parameters_of(player)

    def after_step(self, player: str = "model") -> None:
        self.learner.after_step(player)
