"""Saturating auto-encoder: units are pushed into the flat parts of their nonlinearity, where no change of y is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pretrain.autoencoders.autoencoder import AutoEncoder, squared_distance
from pretrain.learner import Terms


class Nonlinearity(NamedTuple):
    """f, and f_c: how far an input is from the nearest one where f is flat."""

    f: Callable[[Tensor], Tensor]
    complement: Callable[[Tensor], Tensor]


NONLINEARITIES = {
    # flat below 0
    "relu": Nonlinearity(torch.relu, torch.relu),
    # flat below 0 and above 1
    "saturated": Nonlinearity(lambda a: a.clamp(0, 1), lambda a: torch.minimum(a, 1 - a).clamp(min=0)),
    # flat within [-1, 1]
    "shrink": Nonlinearity(lambda a: a - a.clamp(-1, 1), lambda a: (a - a.clamp(-1, 1)).abs()),
}


@dataclass(frozen=True, kw_only=True)
class SaturatingConfig:
    """nonlinearity: "relu", "saturated" (clamped to [0, 1]) or "shrink" (by 1). saturation: alpha."""

    nonlinearity: Literal["relu", "saturated", "shrink"] = "saturated"
    saturation: float = 0.1

    def __post_init__(self) -> None:
        if self.nonlinearity not in NONLINEARITIES:
            raise ValueError(f"nonlinearity='{self.nonlinearity}' must be one of {', '.join(NONLINEARITIES)}")
        if not self.saturation > 0:
            raise ValueError(f"saturation={self.saturation} must be positive")


class SaturatingAutoEncoder(AutoEncoder):
    """A code z = f(a) of inputs a that are pushed to where f is flat.

        loss = ||y - g(f(a(y)))||^2 + alpha sum_k f_c(a_k(y)),    f_c(a) = min over a' with f'(a') = 0 of |a - a'|

    Where all units are flat, the reconstruction does not follow y, and the energy rises with the distance. Source:
    Goroshin and LeCun, "Saturating auto-encoders", arXiv:1301.3577.

    The encoder gives a (N, K), without a nonlinearity at its end; it and g may be layers of any number.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, config: SaturatingConfig) -> None:
        super().__init__(encoder, decoder)
        self.config = config
        self.nonlinearity = NONLINEARITIES[config.nonlinearity]

    def encode(self, y: Tensor) -> Tensor:
        """z (N, K) of y (N, ...)."""
        return self.nonlinearity.f(self.encoder(y))

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        a = self.encoder(y)
        return {
            "reconstruction": squared_distance(y, self.decoder(self.nonlinearity.f(a))),
            "saturation": self.config.saturation * self.nonlinearity.complement(a).sum(1),
        }
