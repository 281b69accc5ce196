"""Ratio matching: the model's ratios of probability between neighbours should be the data's.

    loss(y) = sum_i g(p(y) / p(y_i))^2 = sum_i sigmoid(F(y) - F(y_i))^2,   g(u) = 1 / (1 + u)

where y_i is y with unit i flipped. In expectation it is least at the density of data. Source: Hyvarinen, "Some
extensions of score matching" (Computational Statistics and Data Analysis, 2007).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretrain.binary import flip_energies
from pretrain.energies import Energy
from pretrain.learner import Learner, Terms


def mismatch(energy: Energy, y: Tensor) -> Tensor:
    """The loss (N,) of y (N, D), 0 or 1."""
    return (torch.sigmoid(energy(y)[:, None] - flip_energies(energy, y)) ** 2).sum(1)


class RatioMatching(Learner):
    """Term: "mismatch". No randomness."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def energy(self, y: Tensor) -> Tensor:
        """F (N,), that is -log p up to a constant."""
        return self.model(y)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"mismatch": mismatch(self.model, y)}
