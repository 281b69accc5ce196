"""Predictive sparse decomposition: a dictionary and an encoder that each make the other's work easy.

    E(y, z) = 1/2 ||y - W z||^2 + alpha |z|_1 + beta / 2 ||z - Enc(y)||^2

The code is found near the encoder's prediction, then W and the encoder move down the energy with the code held fixed.
After training the encoder alone gives a code at once. Source: Kavukcuoglu, Ranzato and LeCun 2008 (arXiv:1010.3467).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.learner import Learner, Terms
from pretrain.sparse.energy import Problem, lasso, unit_norm
from pretrain.sparse.fista import fista


@dataclass(frozen=True, kw_only=True)
class PSDConfig:
    """Weights of the energy, and the steps of FISTA that infer a code."""

    alpha: float = 0.5
    beta: float = 1.0
    steps: int = 20

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha={self.alpha} must be above 0")
        if self.beta < 0:
            raise ValueError(f"beta={self.beta} must not be negative")


class TanhEncoder(nn.Module):
    """Enc(y) = g tanh(We y + b), g one gain per atom; it begins as W^T y."""

    def __init__(self, dictionary: Tensor) -> None:
        super().__init__()
        self.encode = nn.Parameter(dictionary.detach().T.clone())
        self.bias = nn.Parameter(torch.zeros_like(self.encode[:, 0]))
        self.gain = nn.Parameter(torch.ones_like(self.bias))

    def forward(self, y: Tensor) -> Tensor:
        return self.gain * torch.tanh(y @ self.encode.T + self.bias)


class PSD(Learner):
    """Learns W and any encoder from y to codes."""

    def __init__(self, dictionary: Tensor, encoder: nn.Module, config: PSDConfig | None = None) -> None:
        super().__init__()
        self.config = PSDConfig() if config is None else config
        self.dictionary = nn.Parameter(unit_norm(dictionary.detach().clone()))
        self.encoder = encoder

    def problem(self, y: Tensor) -> Problem:
        """The energy without the encoder's term."""
        return lasso(y, self.dictionary, self.config.alpha)

    def infer(self, y: Tensor) -> Tensor:
        """The code of the least energy with the encoder's term, without a gradient."""
        with torch.no_grad():
            return fista(self.problem(y).near(self.encoder(y), self.config.beta), self.config.steps)

    def energy(self, y: Tensor, z: Tensor) -> Tensor:
        """E(y, z) (N,)."""
        return torch.stack(list(self._terms(y, z).values())).sum(0)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return self._terms(y, self.infer(y))

    def _terms(self, y: Tensor, z: Tensor) -> Terms:
        error = (z - self.encoder(y)).flatten(1).square().sum(1)
        return {"sparse coding": self.problem(y).energy(z), "prediction": self.config.beta / 2 * error}

    def after_step(self, player: str = "model") -> None:
        with torch.no_grad():
            self.dictionary.copy_(unit_norm(self.dictionary))
