"""RealNVP: a flow of affine couplings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.flows.coupling import Flow, Monotone, check_flow


@dataclass(frozen=True, kw_only=True)
class RealNVPConfig:
    """dim: D of y. hidden: of every layer's network. max_log_scale: bounds s, so that no step of training overflows."""

    dim: int
    num_layers: int = 8
    hidden: tuple[int, ...] = (64, 64)
    max_log_scale: float = 2.0

    def __post_init__(self) -> None:
        check_flow(self.dim, self.num_layers)
        if not self.max_log_scale > 0:
            raise ValueError(f"max_log_scale={self.max_log_scale} must be positive")


class Affine(Monotone):
    """f(y) = y exp(s) + t, s bounded by c tanh(s / c)."""

    num_parameters = 2

    def __init__(self, max_log_scale: float) -> None:
        self.max_log_scale = max_log_scale

    def forward(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        s = self.log_scale(parameters)
        return y * torch.exp(s) + parameters[..., 1], s

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        return (z - parameters[..., 1]) * torch.exp(-self.log_scale(parameters))

    def log_scale(self, parameters: Tensor) -> Tensor:
        """s (...) within the bound."""
        return self.max_log_scale * torch.tanh(parameters[..., 0] / self.max_log_scale)


class RealNVP(Flow):
    """Affine couplings. Source: Dinh, Sohl-Dickstein and Bengio, arXiv:1605.08803, section 3 (no batch norm)."""

    def __init__(self, config: RealNVPConfig) -> None:
        super().__init__(Affine(config.max_log_scale), config.dim, config.num_layers, config.hidden)
        self.config = config
