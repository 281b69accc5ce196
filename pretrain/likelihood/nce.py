"""Noise contrastive estimation: tell data from noise of a known density q, and learn the normaliser on the way.

    G(y) = -F(y) - c - log q(y)
    loss = -log h(y) - sum_k log(1 - h(n_k)),   h = sigmoid(G - log nu),   n_1 ... n_nu ~ q

Over all functions it is least, in expectation, at exp(-F - c) = the density of data, where q is positive: c becomes
log Z. The ranking form, -log of exp(G(y)) / (exp(G(y)) + sum_k exp(G(n_k))), needs no c. Sources: Gutmann and
Hyvarinen, "Noise-contrastive estimation of unnormalized statistical models, with applications to natural image
statistics" (JMLR 2012); Ma and Collins, arXiv:1809.01812, for the ranking form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.learner import Learner, Terms
from pretrain.likelihood.densities import Density
from pretrain.losses.group import info_nce


def as_data(log_ratio: Tensor, nu: int) -> Tensor:
    """-log h of G (...): that it is data."""
    return F.softplus(math.log(nu) - log_ratio)


def as_noise(log_ratio: Tensor, nu: int) -> Tensor:
    """-log(1 - h) of G (...): that it is noise."""
    return F.softplus(log_ratio - math.log(nu))


def ranked_first(data: Tensor, noise: Tensor) -> Tensor:
    """The ranking loss (N,) of G of data (N,) among noise (N, nu)."""
    return info_nce(-data, -noise)


@dataclass(frozen=True, kw_only=True)
class NCEConfig:
    """nu: noise samples for each of the data; the error nears that of maximum likelihood as nu grows.
    ranking: data must be the likeliest among its noise, instead of each being judged alone; c is then not learned.
    """

    nu: int = 10
    ranking: bool = False

    def __post_init__(self) -> None:
        if self.nu < 1:
            raise ValueError(f"nu={self.nu} must be at least 1")


class NoiseContrastive(Learner):
    """Terms: "data" and "noise", or "ranking". log_z: c, at first 0."""

    def __init__(self, model: nn.Module, noise: Density, config: NCEConfig | None = None) -> None:
        super().__init__()
        self.model, self.noise, self.config = model, noise, config or NCEConfig()
        self.log_z = nn.Parameter(torch.zeros(()))

    def energy(self, y: Tensor) -> Tensor:
        """F + c (N,), that is -log p; up to a constant, if it was learned by ranking."""
        return self.model(y) + self.log_z

    def log_ratio(self, y: Tensor) -> Tensor:
        """G (N,)."""
        return -self.energy(y) - self.noise.log_prob(y)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        nu = self.config.nu
        noise = self.noise.sample(len(y) * nu, generator).to(y)
        for_data, for_noise = self.log_ratio(y), self.log_ratio(noise).view(len(y), nu)
        if self.config.ranking:
            return {"ranking": ranked_first(for_data, for_noise)}
        return {"data": as_data(for_data, nu), "noise": as_noise(for_noise, nu).sum(1)}
