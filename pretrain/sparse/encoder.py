"""What is learned to replace inference: a function from y to the code, trained to make the energy low at once."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from pretrain.learner import Learner, Terms
from pretrain.sparse.energy import energy


class Encoder(Learner):
    """Predicts the sparse code of y (N, D) under a fixed dictionary W (D, M).

    It is trained on E(y, z(y)) itself. Gregor and LeCun 2010 regress the optimal code instead; the energy needs no
    solver to teach it, and counts an error of the code by what it costs.
    """

    dictionary: Tensor

    def __init__(self, dictionary: Tensor, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("dictionary", dictionary.detach().clone())

    @abstractmethod
    def forward(self, y: Tensor) -> Tensor:
        """z (N, M)."""

    def energy(self, y: Tensor) -> Tensor:
        """E(y, z(y)) (N,): at least the free energy, and close to it once trained."""
        return energy(y, self(y), self.dictionary, self.alpha)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"energy": self.energy(y)}
