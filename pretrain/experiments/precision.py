"""A Gaussian's precision by score matching, from ever more samples, beside maximum likelihood.

F = y' P y / 2, so s(y) = -P y. Exact score matching is least at P = S^-1, S the samples' second moments, which is the
maximum of likelihood; sliced and denoising score matching are near it by as much as their noise lets them. The error
of each falls as 1 / sqrt(N); that of denoising only after the noise's variance is taken out of P^-1 = S + e^2 I.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain.experiments.figures import pixels
from pretrain.score_matching import (
    DenoisingConfig,
    DenoisingScoreMatching,
    ScoreMatching,
    SlicedScoreMatching,
)

UNITS = 5
BLUR = 0.3  # deviation of the noise of denoising; the Gaussian's are 0.5 to 1.5
SIZES = (300, 3000, 30_000)
DRAWS = 32  # of samples, at each size
METHODS: dict[str, Callable[[nn.Module, float], ScoreMatching]] = {
    "exact": lambda model, sigma: ScoreMatching(model),
    "sliced": lambda model, sigma: SlicedScoreMatching(model),
    "denoising": lambda model, sigma: DenoisingScoreMatching(model, DenoisingConfig(sigma=sigma)),
}
FALLING = ("likelihood", "exact", "sliced", "denoising corrected")


class Quadratic(nn.Module):
    """F = y' P y / 2, P symmetric, the identity at first."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.root = nn.Parameter(torch.eye(units, dtype=torch.float64))

    def precision(self) -> Tensor:
        return (self.root + self.root.T) / 2

    def forward(self, y: Tensor) -> Tensor:
        return ((y @ self.precision()) * y).sum(1) / 2


def precision_errors(generator: torch.Generator, draws: int = DRAWS) -> dict[str, float]:
    """Of a random Gaussian: "precision METHOD N", see `errors`; "precision untrained", the identity's error.

    "slope METHOD" is that of log error over log N, by least squares.
    """
    turned, _ = torch.linalg.qr(torch.randn(UNITS, UNITS, generator=generator, dtype=torch.float64))
    root = turned @ torch.diag(torch.linspace(0.5, 1.5, UNITS, dtype=torch.float64))
    found = [errors(root, num, draws, generator) for num in SIZES]
    numbers = {"precision untrained": off(torch.eye(UNITS), (root @ root.T).inverse())}
    for name in found[0]:
        falling = [each[name] for each in found]
        numbers |= {f"precision {name} {num}": error for num, error in zip(SIZES, falling, strict=True)}
        numbers[f"slope {name}"] = float(np.polyfit(np.log(SIZES), np.log(falling), 1)[0])
    return numbers


def errors(root: Tensor, num: int, draws: int, generator: torch.Generator) -> dict[str, float]:
    """Each method's error of P, the root of its mean square over draws of `num` samples root n, n ~ N(0, I)."""
    want = (root @ root.T).inverse()
    squares: dict[str, float] = {}
    for _ in range(draws):
        y = torch.randn(num, len(root), generator=generator, dtype=root.dtype) @ root.T
        for name, found in precisions(y, generator).items():
            squares[name] = squares.get(name, 0.0) + off(found, want) ** 2 / draws
    return {name: square**0.5 for name, square in squares.items()}


def off(found: Tensor, want: Tensor) -> float:
    """|P - P*| / |P*| (Frobenius)."""
    return float((found - want).norm() / want.norm())


def precisions(y: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """P (D, D) of samples y (N, D) of mean 0, by each method."""
    found = {"likelihood": (y.T @ y / len(y)).inverse()}
    noise_seed = int(torch.randint(2**31, (1,), generator=generator))
    for method, make in METHODS.items():
        model = Quadratic(y.shape[1])
        minimise(make(model, BLUR), y, noise_seed)
        found[method] = model.precision().detach()
    blurred = found["denoising"].inverse()
    found["denoising corrected"] = (blurred - BLUR**2 * torch.eye(len(blurred)).to(y)).inverse()
    return found


def minimise(learner: ScoreMatching, y: Tensor, noise_seed: int) -> None:
    """By L-BFGS; the noise, if any, is drawn once and for all."""
    optimiser = torch.optim.LBFGS(learner.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        terms = learner.terms(y, torch.Generator().manual_seed(noise_seed))
        value = torch.stack(list(terms.values())).sum(0).mean()
        value.backward()
        return value

    optimiser.step(loss)


def draw_errors(numbers: dict[str, float]) -> NDArray:
    """The errors over the number of samples, log-log; dotted 1 / sqrt(N), dashed the identity's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for marker, name in zip("ox+sv", (*FALLING, "denoising"), strict=True):
        over = [numbers[f"precision {name} {num}"] for num in SIZES]
        size = 10 if name == "likelihood" else 6  # exact score matching lies on it
        axes.loglog(SIZES, over, marker=marker, markersize=size, markerfacecolor="none", label=name)
    first = numbers[f"precision likelihood {SIZES[0]}"]
    axes.loglog(SIZES, first * (SIZES[0] / np.array(SIZES)) ** 0.5, "k:", label="1 / sqrt(N)")
    axes.axhline(numbers["precision untrained"], color="0.6", linestyle="--", label="identity")
    axes.set(xlabel="samples N", ylabel="|P - P*| / |P*|")
    axes.legend(fontsize=8)
    return pixels(figure)
