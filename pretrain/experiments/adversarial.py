"""EBGAN and WGAN on a ring of eight Gaussians: does the generator find them, and is the critic an energy?

- `modes`: that samples cover; at least a quarter of the samples that are a mode's due lie within three deviations of
  its centre. `least`: this part of its due, of the mode that has the least.
- `near`: the share of samples that lie so near to any centre.
- `auc`: the probability that the critic ranks a held-out point below one of noise that is uniform over the square.

Controls are the same pair before training and, for the share, the noise. EBGAN stands beside itself without the
pulling-away term (ebgan-no-pull), the penalty of WGAN-GP beside clipped weights (wgan-clip).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pretrain.adversarial.ebgan import EBGAN, AutoEncoderEnergy, EBGANConfig
from pretrain.adversarial.players import Adversarial, play
from pretrain.adversarial.wgan import WGAN, WGANConfig
from pretrain.data import mixture_of_gaussians
from pretrain.energies import MLPEnergy, MLPEnergyConfig
from pretrain.experiments import planes
from pretrain.experiments.figures import pixels
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.networks import mlp

MODES, STD = 8, 0.06
BATCH = 128


def ebgan(pull_away: float) -> EBGAN:
    """An auto-encoder with more codes than coordinates: the margin alone keeps it from copying everything."""
    critic = AutoEncoderEnergy(mlp((2, 96, 16), "relu"), mlp((16, 96, 2), "relu"))
    config = EBGANConfig(num_latent=4, margin=0.1, pull_away=pull_away)
    return EBGAN(config, critic, mlp((4, 96, 96, 2), "relu"))


def wgan(constraint: str) -> WGAN:
    """Slopes of 1 must turn within a gap of 0.4 between modes: a small penalty, and relu, which has corners.

    Weights are clipped to 0.1: at the paper's 0.01 the slope of a critic of this width is below 0.02.
    """
    critic = MLPEnergy(MLPEnergyConfig(num_inputs=2, hidden=(96, 96), activation="relu"))
    config = WGANConfig(num_latent=4, constraint=constraint, penalty=0.1, clip=0.1)
    return WGAN(config, critic, mlp((4, 96, 96, 2), "relu"))


METHODS: Mapping[str, tuple[Callable[[], Adversarial], int]] = {  # and the critic's steps in a round
    "ebgan": (partial(ebgan, 0.02), 1),
    "ebgan-no-pull": (partial(ebgan, 0.0), 1),
    "wgan-gp": (partial(wgan, "penalty"), 5),
    "wgan-clip": (partial(wgan, "clip"), 5),
}


def run(seed: int, quick: bool) -> Outcome:
    """`modes`, `least`, `near` and `auc` of METHOD and of METHOD.untrained, and `near` of the noise."""
    from matplotlib.figure import Figure

    generator = torch.Generator().manual_seed(seed)
    held_out, contrast = mixture_of_gaussians(1000, generator, MODES, STD), planes.noise(1000, generator)
    figure = Figure((3.4 * len(METHODS), 6.9), dpi=80, layout="constrained")
    axes = figure.subplots(2, len(METHODS))
    numbers: dict[str, float] = {"near.noise": _covered(contrast)["near"]}
    for column, (name, (method, critic_steps)) in enumerate(METHODS.items()):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            learner = method()
        for row, label in enumerate((f"{name}.untrained", name)):
            if label == name:
                _train(learner, critic_steps, generator, 10 if quick else 1000)
            with torch.no_grad():
                made = learner.sample(1000, generator)
            numbers |= {f"{number}.{label}": value for number, value in _covered(made).items()}
            numbers[f"auc.{label}"] = planes.ranked_below(learner.energy, held_out, contrast)
            planes.draw(axes[row, column], learner.energy, held_out, label.replace(".", ", "), made)
    return Outcome(numbers, {"adversarial": pixels(figure)})


def _train(learner: Adversarial, critic_steps: int, generator: torch.Generator, rounds: int) -> None:
    optimisers = {p: torch.optim.Adam(learner.parameters_of(p), 1e-3, (0.5, 0.9)) for p in learner.players}
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, rounds) for o in optimisers.values()]
    for _ in range(rounds):
        play(
            learner,
            optimisers,
            lambda: mixture_of_gaussians(BATCH, generator, MODES, STD),
            generator,
            critic_steps,
        )
        for schedule in schedules:
            schedule.step()


def _covered(samples: Tensor) -> dict[str, float]:
    angle = torch.arange(MODES) * (2 * np.pi / MODES)
    distance = torch.cdist(samples, torch.stack([angle.cos(), angle.sin()], 1))
    near = distance.amin(1) < 3 * STD
    due = torch.bincount(distance.argmin(1)[near], minlength=MODES) * MODES / len(samples)
    return {
        "modes": float((due >= 1 / 4).sum()),
        "least": float(due.min()),
        "near": float(near.float().mean()),
    }


EXPERIMENT = Experiment(
    "adversarial",
    "Does a generator that looks for low energies find the modes, and is its critic an energy of the data?",
    run,
    (
        *(
            claim
            for name in ("ebgan", "wgan-gp")
            for claim in (
                Claim(f"modes.{name}", "above", 5.5),
                Claim(f"near.{name}", "above", "near.noise", 2),
                Claim(f"auc.{name}", "above", f"auc.{name}.untrained"),
                Claim(f"auc.{name}", "above", 0.7),
            )
        ),
        *(Claim(f"{number}.wgan-gp", "above", f"{number}.wgan-clip") for number in ("modes", "near", "auc")),
    ),
)
