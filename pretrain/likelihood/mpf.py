"""Minimum probability flow: no probability should flow from data to their neighbours.

    loss(y) = sum_i exp((F(y) - F(y with unit i flipped)) / 2)

Where probability flows between neighbours at rates exp((F(from) - F(to)) / 2), the model's distribution stays as it is;
the loss is the rate at which a sample leaves. Its expectation's gradient is 0 at the model that made the data. Source:
Sohl-Dickstein, Battaglino and DeWeese, arXiv:0906.4779. There only flows from data to what is not data count; here all
do, so that samples are judged one by one and a data set as large as the space of states still teaches something.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretrain.binary import flip_energies
from pretrain.energies import Energy
from pretrain.learner import Learner, Terms


def flow(energy: Energy, y: Tensor) -> Tensor:
    """The loss (N,) of y (N, D), 0 or 1; it overflows where a neighbour's energy is hundreds lower."""
    return torch.exp((energy(y)[:, None] - flip_energies(energy, y)) / 2).sum(1)


class MinimumProbabilityFlow(Learner):
    """Term: "flow". No randomness."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def energy(self, y: Tensor) -> Tensor:
        """F (N,), that is -log p up to a constant."""
        return self.model(y)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"flow": flow(self.model, y)}
