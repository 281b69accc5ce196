"""Energies: low where an answer fits. What is done with any of them, and two small ones.

An energy is a callable or nn.Module `y -> (N,)`, `(x, y) -> (N,)` or `(x, y, z) -> (N,)`, one number per sample. A
latent variable z is removed by the free energy, and a finite set of answers becomes a distribution by Gibbs' formula:

    F(x, y) = min_z E(x, y, z)                              cold, beta = inf
    F(x, y) = -1/beta log sum_z exp(-beta E(x, y, z))       at temperature 1/beta
    P(y | x) = exp(-beta F(x, y)) / sum_y' exp(-beta F(x, y'))

Source: LeCun, Chopra, Hadsell, Ranzato, Huang, "A tutorial on energy-based learning" (2006). Energy +inf forbids: it
has no probability and gets no gradient, also where all is forbidden (torch.logsumexp gives NaN gradients there). NaN
stays NaN. -inf is no energy: at a temperature the free energy and every probability are NaN, cold the minimum is -inf.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.networks import ACTIVATIONS, mlp

Energy = Callable[..., Tensor]  # y, (x, y) or (x, y, z) -> (N,)


def free_energy(energies: Tensor, beta: float = math.inf, dim: int = -1) -> Tensor:
    """F over the values of z that lie along `dim`, which is removed.

    The sum over z is a sum, not a mean: F(beta) <= min_z E, and they meet as beta grows. The gradient is P(z | x, y);
    with beta = inf, values that tie for the minimum share it equally, which is the limit.

    Returns:
        +inf, with gradient 0, where every value is +inf and where `dim` is empty.
    Raises:
        ValueError: beta is not above 0.
    """
    _check(beta)
    if energies.shape[dim] == 0:
        return energies.sum(dim) + math.inf
    if math.isinf(beta):
        lowest = energies.amin(dim)
        return torch.where(lowest.isposinf(), math.inf, lowest)
    weights, lowest = _boltzmann(energies, beta, dim)
    total = weights.sum(dim)
    possible = total != 0
    free = lowest.squeeze(dim) - torch.where(possible, total, 1).log() / beta
    return torch.where(possible, free, math.inf)


def gibbs(energies: Tensor, beta: float = 1.0, dim: int = -1) -> Tensor:
    """P of each of the finitely many answers along `dim`, of the same shape; the gradient of `free_energy`.

    Returns:
        Sums to 1 along `dim`; zeros where every answer has energy +inf, for then no distribution exists.
    Raises:
        ValueError: beta is not above 0, or infinite (then take `infer`).
    """
    _check(beta)
    if math.isinf(beta):
        raise ValueError("beta=inf: take infer(energies)")
    if energies.shape[dim] == 0:
        return torch.zeros_like(energies)
    weights, _ = _boltzmann(energies, beta, dim)
    total = weights.sum(dim, keepdim=True)
    return weights / torch.where(total != 0, total, 1)


def infer(energies: Tensor, dim: int = -1) -> Tensor:
    """argmin over the answers along `dim`: the first of those that tie, never a NaN while a number is there.

    Where all are +inf, the first.
    """
    return torch.where(energies.isnan(), math.inf, energies).argmin(dim)


def gradient(energy: Energy, y: Tensor, *, create_graph: bool = False) -> Tensor:
    """dE/dy (N, ...) at each sample of y; minus it is the direction in which samples fall, and the score of exp(-E).

    create_graph: let gradients flow through the result to y and to the energy's weights; else it is detached.
    """
    with torch.enable_grad():
        at = y if create_graph and y.requires_grad else y.detach().requires_grad_()
        (slope,) = torch.autograd.grad(energy(at).sum(), at, create_graph=create_graph)
    return slope


def descend(energy: Energy, y: Tensor, num_steps: int, rate: float) -> Tensor:
    """Inference over a continuous y by gradient descent from y (N, ...): y <- y - rate dE/dy, `num_steps` times.

    Finds the argmin of the basin it starts in; the result is detached.
    """
    y = y.detach()
    for _ in range(num_steps):
        y = y - rate * gradient(energy, y)
    return y


@dataclass(frozen=True, kw_only=True)
class MLPEnergyConfig:
    """Sizes of an MLPEnergy.

    num_inputs: of all its arguments together.
    confinement: c >= 0 of the added c/2 |inputs|^2. Above 0 with a bounded activation, exp(-E) has a finite integral.
    activation: a key of networks.ACTIVATIONS; smooth ones for losses on dE/dy, for relu's dE/dy is piecewise constant.
    """

    num_inputs: int
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "silu"
    confinement: float = 0.0

    def __post_init__(self) -> None:
        if self.num_inputs < 1:
            raise ValueError(f"num_inputs={self.num_inputs} must be at least 1")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r} must be one of {sorted(ACTIVATIONS)}")
        if self.confinement < 0:
            raise ValueError(f"confinement={self.confinement} must not be below 0")


class MLPEnergy(nn.Module):
    """E = f(inputs) + c/2 |inputs|^2, f a multi-layer perceptron over the concatenated arguments."""

    def __init__(self, config: MLPEnergyConfig) -> None:
        super().__init__()
        self.confinement = config.confinement
        self.net = mlp((config.num_inputs, *config.hidden, 1), config.activation)

    def forward(self, *parts: Tensor) -> Tensor:
        """Energies (N,) of y, (x, y) or (x, y, z), each (N, D_i)."""
        inputs = torch.cat(parts, -1)
        return self.net(inputs).squeeze(-1) + self.confinement / 2 * inputs.square().sum(-1)


class QuadraticEnergy(nn.Module):
    """E(y) = 1/2 |R (y - mu)|^2: a Gaussian of mean mu and precision R^T R, whose normaliser is known.

    -log p(y) = E(y) + log Z. Starts at mu = 0, R = I.
    """

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(num_inputs))
        self.root = nn.Parameter(torch.eye(num_inputs))

    def forward(self, y: Tensor) -> Tensor:
        """Energies (N,) of y (N, D)."""
        return ((y - self.mu) @ self.root.T).square().sum(-1) / 2

    def precision(self) -> Tensor:
        """R^T R (D, D), the inverse of the covariance."""
        return self.root.T @ self.root

    def log_partition(self) -> Tensor:
        """log Z = D/2 log(2 pi) - log |det R|, (); +inf for a singular R."""
        return len(self.mu) / 2 * math.log(2 * math.pi) - torch.linalg.slogdet(self.root).logabsdet


def _boltzmann(energies: Tensor, beta: float, dim: int) -> tuple[Tensor, Tensor]:
    """exp(-beta (E - lowest)), whose largest is 1 unless all are +inf, and the lowest (0 where it is +inf)."""
    lowest = energies.detach().amin(dim, keepdim=True)
    lowest = torch.where(lowest.isposinf(), 0, lowest)
    return torch.exp(-beta * (energies - lowest)), lowest


def _check(beta: float) -> None:
    if not beta > 0:
        raise ValueError(f"beta={beta} must be above 0")
