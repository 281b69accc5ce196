"""Score matching where the score is known: a Gaussian's precision, and the field around eight modes on a circle.

The precision is found from 300, 3,000 and 30,000 samples (`pretrain.experiments.precision`): its error, and the slope
of the error's logarithm over that of their number, -1/2 where it falls as 1 / sqrt(N). Denoising finds the precision of
blurred data, however many there are, unless it is corrected.

The field is the gradient of a small net's energy. Its error is E |s - s*|^2 / E |s*|^2 over fresh draws, s* the true
score: of the data for exact and sliced score matching, of the data blurred by its noise for denoising. Controls are the
same energy before training, and for the field also the Gaussian with the data's mean and covariance.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain.data import mixture_of_gaussians
from pretrain.energies import free_energy
from pretrain.experiments.figures import pixels
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.precision import DRAWS, FALLING, METHODS, SIZES, draw_errors, precision_errors
from pretrain.experiments.training import train
from pretrain.score_matching import Score, score_of

MODES = 8
STD = 0.15  # of a mode
SIGMA = 0.1  # deviation of the noise of denoising, for the field


def run(seed: int, quick: bool) -> Outcome:
    """numbers: those of `precision_errors`; "field <method>", the error above."""
    generator = torch.Generator().manual_seed(seed)
    numbers = precision_errors(generator, 2 if quick else DRAWS)
    pictures = {"precision": draw_errors(numbers)}
    fields: dict[str, Score] = {}
    y = mixture_of_gaussians(1000 if quick else 10_000, generator, MODES, STD)
    fresh = mixture_of_gaussians(4000, generator, MODES, STD)
    for method, make in METHODS.items():
        width = SIGMA if method == "denoising" else 0.0
        judged = fresh + width * torch.randn(fresh.shape, generator=generator)
        true = score_of(lambda at, width=width: circle(at, (STD**2 + width**2) ** 0.5))
        learner = make(Net(generator), SIGMA)
        numbers[f"field {method} untrained"] = error(learner.score, true, judged)
        train(learner, y, generator, num_steps=100 if quick else 1500, batch=256, rate=5e-3)
        numbers[f"field {method}"] = error(learner.score, true, judged)
        numbers[f"field {method} Gaussian"] = error(gaussian_score(y, width), true, judged)
        fields[method] = learner.score
    fields["true"] = score_of(lambda y: circle(y, STD))
    return Outcome(numbers, pictures | {"field": draw_fields(fields, fresh[:400])})


class Net(nn.Module):
    """F of y (N, 2), twice differentiable, with a bowl that keeps it from falling far away."""

    def __init__(self, generator: torch.Generator, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)
        )
        for parameter in self.layers.parameters():
            bound = parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 0.5
            parameter.data.uniform_(-bound, bound, generator=generator)

    def forward(self, y: Tensor) -> Tensor:
        return self.layers(2 * y)[:, 0] + (y**2).sum(1) / 2


def circle(y: Tensor, std: float) -> Tensor:
    """-log p (N,) of the modes, up to a constant."""
    angle = torch.arange(MODES) * (2 * np.pi / MODES)
    centres = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    return free_energy(((y[:, None] - centres) ** 2).sum(2) / (2 * std**2), 1.0)


def gaussian_score(y: Tensor, width: float) -> Score:
    """Of the Gaussian with the mean and covariance of y blurred by N(0, width^2 I)."""
    precision = (y.T.cov() + width**2 * torch.eye(2)).inverse()
    return lambda at: -(at - y.mean(0)) @ precision


def error(score: Score, true: Score, y: Tensor) -> float:
    """E |s - s*|^2 / E |s*|^2."""
    with torch.no_grad():
        return float((score(y) - true(y)).square().sum() / true(y).square().sum())


def draw_fields(fields: dict[str, Score], data: Tensor) -> NDArray:
    """Arrows of each field on a grid, over some data; lengths are those of the score, shortened far out."""
    from matplotlib.figure import Figure

    line = torch.linspace(-1.6, 1.6, 21)
    grid = torch.cartesian_prod(line, line)
    figure = Figure(figsize=(3.6 * len(fields), 3.8), dpi=100, layout="constrained")
    for k, (name, score) in enumerate(fields.items()):
        with torch.no_grad():
            s = score(grid)
        arrows = s / (10 + s.norm(dim=1, keepdim=True))
        axes = figure.add_subplot(1, len(fields), k + 1)
        axes.plot(data[:, 0], data[:, 1], ".", color="0.75", markersize=2)
        axes.quiver(
            grid[:, 0], grid[:, 1], arrows[:, 0], arrows[:, 1], s.norm(dim=1).clamp(max=40),
            cmap="viridis", angles="xy", scale=14, width=0.005,
        )  # fmt: skip
        axes.set(title=name, aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    return pixels(figure)


EXPERIMENT = Experiment(
    name="score",
    question="Does score matching find a Gaussian's precision, and the field of a density with eight modes?",
    run=run,
    claims=(
        Claim("precision exact 3000", "below", "precision untrained", 0.1),
        Claim("precision sliced 3000", "below", "precision untrained", 0.1),
        Claim("precision denoising corrected 3000", "below", "precision untrained", 0.2),
        *(Claim(f"precision exact {num}", "below", f"precision likelihood {num}", 1.01) for num in SIZES),
        *(
            Claim(f"slope {m}", is_, bound)
            for m in FALLING
            for is_, bound in (("below", -0.4), ("above", -0.6))
        ),
        Claim("slope denoising", "above", -0.1),
        Claim("precision denoising corrected 30000", "below", "precision denoising 30000", 0.2),
        *(Claim(f"field {m}", "below", f"field {m} untrained", 0.5) for m in METHODS),
        *(Claim(f"field {m}", "below", f"field {m} Gaussian", 0.5) for m in METHODS),
    ),
)
