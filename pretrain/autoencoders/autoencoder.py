"""What auto-encoders have in common: an encoder, a decoder, and how badly they reconstruct."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretrain.learner import Learner, Terms


class AutoEncoder(Learner):
    """An encoder f and a decoder g, any modules; by itself it only learns to reconstruct.

        E(y) = ||y - g(f(y))||^2, summed over all of y's entries

    Of a code as large as y, the identity is a solution, and its energy is 0 everywhere. What this package builds on it
    differs in how it keeps the energy of other points up.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, y: Tensor) -> Tensor:
        """The code of y (N, ...)."""
        return self.encoder(y)

    def reconstruct(self, y: Tensor) -> Tensor:
        """g(f(y)), like y (N, ...)."""
        return self.decoder(self.encode(y))

    def energy(self, y: Tensor) -> Tensor:
        """E (N,) of y (N, ...)."""
        return squared_distance(y, self.reconstruct(y))

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"reconstruction": self.energy(y)}


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """||a - b||^2 (N,) of a, b (N, ...)."""
    assert a.shape == b.shape, f"{tuple(a.shape)} against {tuple(b.shape)}"
    return (a - b).square().flatten(1).sum(1)
