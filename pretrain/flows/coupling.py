"""Normalising flows of coupling layers: an invertible map of the data to a Gaussian, whose volume change is known."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pretrain.learner import Learner, Terms
from pretrain.networks import mlp


class Monotone(ABC):
    """Increasing functions of one number, each chosen by `num_parameters` numbers; zeros choose the identity."""

    num_parameters: int

    @abstractmethod
    def forward(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """f(y) and log f'(y), both (...), of y (...) and parameters (..., P)."""

    @abstractmethod
    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """y (...) with f(y) = z."""


class Coupling(nn.Module):
    """Half of the entries change, by functions that the other half chooses.

        z_a = y_a,    z_b = f(y_b; net(y_a)),    log |det dz/dy| = sum_b log f'(y_b)

    Source: Dinh, Krueger and Bengio, "NICE", arXiv:1410.8516. Starts as the identity.
    """

    kept: Tensor
    changed: Tensor

    def __init__(self, monotone: Monotone, kept: Tensor, changed: Tensor, hidden: Sequence[int]) -> None:
        """kept, changed: indices of the entries a and of the entries b, all D between them."""
        super().__init__()
        self.monotone = monotone
        self.register_buffer("kept", kept)
        self.register_buffer("changed", changed)
        self.net = mlp([len(kept), *hidden, len(changed) * monotone.num_parameters], "relu")
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, D) and log |det| (N,) of y (N, D)."""
        changed, log_slope = self.monotone.forward(y[:, self.changed], self.parameters_at(y))
        return self.joined(y, changed), log_slope.sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """y (N, D) of z (N, D)."""
        return self.joined(z, self.monotone.inverse(z[:, self.changed], self.parameters_at(z)))

    def parameters_at(self, y: Tensor) -> Tensor:
        """(N, entries that change, P), from the entries that do not."""
        return self.net(y[:, self.kept]).unflatten(-1, (-1, self.monotone.num_parameters))

    def joined(self, y: Tensor, changed: Tensor) -> Tensor:
        """y with its changed entries put in."""
        return y.index_copy(1, self.changed, changed)


class Flow(Learner):
    """Coupling layers one after the other, that keep even and odd entries in turn, and a standard Gaussian behind them.

        -log p(y) = ||z(y)||^2 / 2 + D/2 log 2 pi - log |det dz/dy|

    Learned by maximum likelihood. It starts as that Gaussian: standardise the data.
    """

    def __init__(self, monotone: Monotone, dim: int, num_layers: int, hidden: Sequence[int]) -> None:
        super().__init__()
        even, odd = torch.arange(0, dim, 2), torch.arange(1, dim, 2)
        self.dim = dim
        self.layers = nn.ModuleList(
            Coupling(monotone, *((even, odd) if k % 2 == 0 else (odd, even)), hidden=hidden)
            for k in range(num_layers)
        )

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, D) and log |det dz/dy| (N,) of y (N, D)."""
        log_det = torch.zeros_like(y[:, 0])
        for layer in self.layers:
            y, one = layer(y)
            log_det = log_det + one
        return y, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """y (N, D) of z (N, D)."""
        for layer in reversed(self.layers):
            assert isinstance(layer, Coupling)
            z = layer.inverse(z)
        return z

    def energy(self, y: Tensor) -> Tensor:
        """-log p (N,) of y (N, D), normalised."""
        z, log_det = self(y)
        return z.square().sum(-1) / 2 + self.dim / 2 * math.log(2 * math.pi) - log_det

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"energy": self.energy(y)}

    @torch.no_grad()
    def sample(self, num: int, generator: torch.Generator) -> Tensor:
        """Points (N, D)."""
        like = next(self.parameters())
        noise = torch.randn(num, self.dim, generator=generator, device=generator.device, dtype=like.dtype)
        return self.inverse(noise)


def check_flow(dim: int, num_layers: int) -> None:
    """What every flow of coupling layers needs.

    Raises:
        ValueError: of one entry, none is kept while another changes; of one layer, half of the entries never change.
    """
    if dim < 2:
        raise ValueError(f"dim={dim} must be at least 2")
    if num_layers < 2:
        raise ValueError(f"num_layers={num_layers} must be at least 2")
