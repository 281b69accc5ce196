"""The lecture's pictures: energies over the plane, shaped by contrasts or by what they are built of.

Data lie on y2 = y1^2 or on a spiral, with noise of 0.03. Five energies of them:

    untrained    a perceptron of random weights
    energy-loss  the same, floored at 0, pulled down on data and pushed up nowhere: it becomes flat
    hinge        the same, raised at y' = y + noise until F(y') - F(y) = |y' - y|
    likelihood   the same, by InfoNCE against points drawn evenly: F = -log p + constant, as deep as data are dense
    latent       F(y) = -1/beta log sum_z exp(-beta |y - c_z|^2): 24 places c_z, trained by the energy loss alone. It is
                 low in few places by construction, so it needs no contrast.

Reported on held-out data: the probability of ranking a point of data below one of noise, and how far points of noise
end from the manifold after they followed -dF/dy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain import data
from pretrain.energies import MLPEnergy, MLPEnergyConfig, free_energy
from pretrain.experiments import planes
from pretrain.experiments.figures import pixels
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.training import train
from pretrain.learner import Learner, Terms
from pretrain.losses import pairwise
from pretrain.losses.group import info_nce

MANIFOLDS: Mapping[str, Callable[..., Tensor]] = {"parabola": data.parabola, "spiral": data.spiral}
NOISE = 0.03
SPREAD = 0.6  # of the hinge's contrasts around data, at most
BATCH = 128


class Untrained(Learner):
    """The perceptron that the others train."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MLPEnergy(MLPEnergyConfig(num_inputs=2, hidden=(96, 96)))

    def energy(self, y: Tensor) -> Tensor:
        return self.net(y)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"nothing": 0 * self.energy(y)}


class EnergyLoss(Untrained):
    """Down on data."""

    def energy(self, y: Tensor) -> Tensor:
        return F.softplus(self.net(y))

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"energy": self.energy(y)}


class Hinge(Untrained):
    """Down on data, up around."""

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        spread = SPREAD * torch.rand(len(y), 1, generator=generator)
        contrast = y + spread * torch.randn(y.shape, generator=generator)
        return {"hinge": pairwise.general(pairwise.hinge, self.energy, y, contrast, pairwise.distance)}


class Likelihood(Untrained):
    """Down on data, up where the model puts probability that data do not have."""

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        contrasts = self.energy(planes.noise(2 * BATCH, generator))
        return {"nce": info_nce(self.energy(y), contrasts.expand(len(y), -1))}


class Latent(Learner):
    """Low around few places, which start at points of data."""

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.places = nn.Parameter(places.clone())

    def energy(self, y: Tensor) -> Tensor:
        return free_energy((y[:, None] - self.places).square().sum(2), beta=60.0)

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        return {"energy": self.energy(y)}


METHODS: Mapping[str, Callable[[Tensor], Untrained | Latent]] = {
    "untrained": lambda y: Untrained(),
    "energy-loss": lambda y: EnergyLoss(),
    "hinge": lambda y: Hinge(),
    "likelihood": lambda y: Likelihood(),
    "latent": lambda y: Latent(y[:24]),
}


def run(seed: int, quick: bool) -> Outcome:
    """`auc.METHOD.MANIFOLD`, `distance.METHOD.MANIFOLD` after following the field, `distance.start.MANIFOLD`."""
    from matplotlib.figure import Figure

    generator = torch.Generator().manual_seed(seed)
    figure = Figure((3 * len(METHODS), 6.4), dpi=100, layout="constrained")
    axes = figure.subplots(2, len(METHODS))
    numbers: dict[str, float] = {}
    for row, (manifold, points) in zip(axes, MANIFOLDS.items(), strict=True):
        y, held_out = points(2000, generator, NOISE), points(1000, generator, NOISE)
        contrast, exact = planes.noise(1000, generator), points(2000, generator)
        numbers[f"distance.start.{manifold}"] = _distance(contrast, exact)
        for axis, (name, method) in zip(row, METHODS.items(), strict=True):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                learner = method(y)
            if name != "untrained":
                train(learner, y, generator, num_steps=20 if quick else 2000, batch=BATCH, rate=3e-3)
            numbers[f"auc.{name}.{manifold}"] = planes.ranked_below(learner.energy, held_out, contrast)
            ended = planes.followed(learner.energy, contrast, 10 if quick else 200)
            numbers[f"distance.{name}.{manifold}"] = _distance(ended, exact)
            planes.draw(axis, learner.energy, held_out, name)
    return Outcome(numbers, {"energy surfaces": pixels(figure)})


def _distance(y: Tensor, exact: Tensor) -> float:
    return float(torch.cdist(y, exact).amin(1).mean())


EXPERIMENT = Experiment(
    "energy-surfaces",
    "Do contrasts, or a limited latent variable, shape an energy that is low on a manifold and leads to it?",
    run,
    tuple(
        claim
        for manifold in MANIFOLDS
        for method in ("hinge", "likelihood", "latent")
        for claim in (
            Claim(f"auc.{method}.{manifold}", "above", f"auc.untrained.{manifold}"),
            Claim(f"auc.{method}.{manifold}", "above", f"auc.energy-loss.{manifold}"),
            Claim(f"distance.{method}.{manifold}", "below", f"distance.start.{manifold}", 0.5),
            Claim(f"distance.{method}.{manifold}", "below", f"distance.energy-loss.{manifold}"),
        )
    ),
)
