"""What every method that is trained has in common: named terms per sample, whose sum is the loss.

A method is an nn.Module. One step of training it is the same for all (`step`): the terms of a batch, their sum, its
gradient, the optimiser, and what the method does to its weights afterwards (a unit norm, a clamp). A method of several
players (EBGAN, WGAN) names them; each has its own parameters, terms and optimiser.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

Terms = dict[str, Tensor]  # (N,) each; the loss is the mean of their sum


class Learner(nn.Module, ABC):
    """A method that learns from batches."""

    players: tuple[str, ...] = ("model",)
    largest_batch: int | None = None  # where there is a limit

    @abstractmethod
    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        """The terms of a player's loss on a batch y (N, ...), each (N,), named."""

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        """What the player's optimiser changes; everything, where there is one player."""
        return self.parameters()

    def after_step(self, player: str = "model") -> None:
        """What is done to the weights after an optimiser's step."""


class Fitted(nn.Module, ABC):
    """A method that is fitted to all data at once (PCA, K-means, EM)."""

    @abstractmethod
    def fit(self, y: Tensor, generator: torch.Generator) -> None:
        """To all samples y (N, ...)."""


def step(
    learner: Learner,
    optimiser: torch.optim.Optimizer,
    y: Tensor,
    generator: torch.Generator,
    player: str = "model",
) -> dict[str, float]:
    """One update on a batch; the mean of each term, and "loss", their sum.

    Raises:
        FloatingPointError: a term is NaN or infinite; it is named, and no weight is changed.
    """
    terms = learner.terms(y, generator, player)
    for name, term in terms.items():
        if not torch.isfinite(term).all():
            raise FloatingPointError(f"{type(learner).__name__}: the term '{name}' is not finite")
    loss = torch.stack([term.mean() for term in terms.values()]).sum()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    learner.after_step(player)
    return {name: float(term.detach().mean()) for name, term in terms.items()} | {
        "loss": float(loss.detach())
    }
