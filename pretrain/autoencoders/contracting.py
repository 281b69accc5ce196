"""Contracting auto-encoder: the code may not follow y, but where reconstruction needs it to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.autoencoders.autoencoder import AutoEncoder, squared_distance
from pretrain.learner import Terms


@dataclass(frozen=True, kw_only=True)
class ContractingConfig:
    """contraction: lambda."""

    contraction: float = 0.1

    def __post_init__(self) -> None:
        if not self.contraction > 0:
            raise ValueError(f"contraction={self.contraction} must be positive")


class ContractingAutoEncoder(AutoEncoder):
    """A penalty on the encoder's Jacobian, at the data.

        loss = ||y - g(f(y))||^2 + lambda ||df/dy||_F^2

    A decoder of large weights would undo it: use one that is bounded, or the encoder's transpose. Source: Rifai,
    Vincent, Muller, Glorot and Bengio, "Contractive auto-encoders", 2011.

    norm: of y (N, ...), gives ||df/dy||_F^2 (N,), where it is known in closed form; by default by autograd.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        config: ContractingConfig,
        norm: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(encoder, decoder)
        self.config = config
        self.norm = norm or functools.partial(jacobian_norm, self.encode)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {
            "reconstruction": squared_distance(y, self.reconstruct(y)),
            "contraction": self.config.contraction * self.norm(y),
        }


def jacobian_norm(f: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """||df/dy||_F^2 (N,) at y (N, ...), exact, differentiable in f's parameters.

    f maps every sample by itself to (N, K); all K rows of the Jacobian, (K, N, ...), are in memory at once.
    """
    with torch.enable_grad():
        at = y.detach().requires_grad_()
        z = f(at)
        units = torch.eye(z.shape[1]).to(z)[:, None].expand(-1, *z.shape)
        (rows,) = torch.autograd.grad(z, at, units, create_graph=True, is_grads_batched=True)
        return rows.square().flatten(2).sum((0, 2))


def sigmoid_jacobian_norm(layer: nn.Linear, y: Tensor) -> Tensor:
    """||df/dy||_F^2 (N,) of f(y) = sigmoid(W y + b), W (K, D), at y (N, D), in closed form.

        sum_k (f_k (1 - f_k))^2 ||w_k||^2

    Source: Rifai et al. 2011, as ContractingAutoEncoder.
    """
    f = torch.sigmoid(layer(y))
    return (f * (1 - f)).square() @ layer.weight.square().sum(1)


class TiedDecoder(nn.Module):
    """W^T z + b, W the weight (K, D) of the encoder's linear layer: what the code loses in scale, this loses too."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.bias = nn.Parameter(torch.zeros(layer.in_features))

    def forward(self, z: Tensor) -> Tensor:
        """(N, D) of z (N, K)."""
        return z @ self.layer.weight + self.bias
