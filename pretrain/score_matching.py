"""Score matching: fit s(y) = d log p / dy = -dF/dy, in which no normaliser is left.

    exact      tr(ds/dy) + |s|^2 / 2
    sliced     mean over v of v' (ds/dy) v + |s|^2 / 2,  v of -1 and 1: unbiased of the exact one
    denoising  |s(y + e n) + n / e|^2 / 2,  n ~ N(0, I): the score of data blurred by N(0, e^2 I), not that of data

In expectation the exact one is E |s - d log p_data / dy|^2 / 2 up to a constant. For a Gaussian of covariance S and
s(y) = -P y it is least at P = S^-1, the denoising one at P = (S + e^2 I)^-1.
Sources: Hyvarinen, "Estimation of non-normalized statistical models by score matching" (JMLR 2005); Vincent, "A
connection between score matching and denoising autoencoders" (2011); Song et al., arXiv:1905.07088, sliced, in the form
with reduced variance (SSM-VR).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.energies import Energy
from pretrain.learner import Learner, Terms
from pretrain.samplers.chain import normal, uniform

Score = Callable[[Tensor], Tensor]  # (N, ...) to (N, ...), each row alone


def score_of(energy: Energy) -> Score:
    """-dF/dy, differentiable where gradients are wanted; F must be twice differentiable (no ReLU)."""

    def score(y: Tensor) -> Tensor:
        wanted = torch.is_grad_enabled()
        with torch.enable_grad():
            y = y if y.requires_grad else y.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(energy(y).sum(), y, create_graph=wanted)
        return -gradient

    return score


def slope(s: Tensor) -> Tensor:
    """|s|^2 / 2, (N,)."""
    return (s.flatten(1) ** 2).sum(1) / 2


@torch.enable_grad()
def exact(score: Score, y: Tensor) -> Terms:
    """{"curvature": tr(ds/dy), "slope": |s|^2 / 2}, (N,) each; a backward pass for every number of a sample."""
    y = y.detach().requires_grad_()
    s = score(y)
    flat = s.flatten(1)
    rows = [_derivative(flat[:, i], y).flatten(1)[:, i] for i in range(flat.shape[1])]
    return {"curvature": torch.stack(rows).sum(0), "slope": slope(s)}


@torch.enable_grad()
def sliced(score: Score, y: Tensor, projections: int, generator: torch.Generator) -> Terms:
    """{"curvature": mean over projections of v' (ds/dy) v, "slope": |s|^2 / 2}, (N,) each."""
    y = y.detach().requires_grad_()
    s = score(y)
    curvature = torch.zeros_like(slope(s))
    for _ in range(projections):
        v = torch.where(uniform(y.detach(), generator) < 0.5, -1.0, 1.0).to(y)
        along = _derivative((v * s).flatten(1).sum(1), y)
        curvature = curvature + (v * along).flatten(1).sum(1)
    return {"curvature": curvature / projections, "slope": slope(s)}


def denoising(score: Score, y: Tensor, sigma: float, generator: torch.Generator) -> Terms:
    """{"denoising": (N,)}, at the standard deviation sigma of the noise."""
    n = normal(y.detach(), generator)
    return {"denoising": slope(score(y + sigma * n) + n / sigma)}


def _derivative(value: Tensor, y: Tensor) -> Tensor:
    """Of value (N,) with respect to its row of y; zeros where it does not depend on y."""
    if not value.requires_grad:
        return torch.zeros_like(y)
    graph = torch.autograd.grad(value.sum(), y, create_graph=True, materialize_grads=True)
    return graph[0]


class ScoreMatching(Learner):
    """Exact score matching of an energy. Terms: "curvature", "slope"."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def energy(self, y: Tensor) -> Tensor:
        """F (N,), that is -log p up to a constant."""
        return self.model(y)

    def score(self, y: Tensor) -> Tensor:
        """-dF/dy, like y."""
        return score_of(self.model)(y)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return exact(self.score, y)


@dataclass(frozen=True, kw_only=True)
class SlicedConfig:
    """projections: v per sample, a backward pass each."""

    projections: int = 1

    def __post_init__(self) -> None:
        if self.projections < 1:
            raise ValueError(f"projections={self.projections} must be at least 1")


class SlicedScoreMatching(ScoreMatching):
    """Terms: "curvature", "slope"."""

    def __init__(self, model: nn.Module, config: SlicedConfig | None = None) -> None:
        super().__init__(model)
        self.config = config or SlicedConfig()

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return sliced(self.score, y, self.config.projections, generator)


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig:
    """sigma: deviation of the noise, in the unit of y."""

    sigma: float = 0.1

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma={self.sigma} must be positive")


class DenoisingScoreMatching(ScoreMatching):
    """Its energy is -log of the blurred density, up to a constant. Term: "denoising"."""

    def __init__(self, model: nn.Module, config: DenoisingConfig | None = None) -> None:
        super().__init__(model)
        self.config = config or DenoisingConfig()

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return denoising(self.score, y, self.config.sigma, generator)
