"""A ring of four Gaussians, and how many of them a generator finds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pretrain.adversarial.players import Adversarial, play
from pretrain.data import mixture_of_gaussians

MODES, STD = 4, 0.15


def covered(samples: Tensor) -> int:
    """Modes within three deviations of which there are at least a quarter of the samples that are their due."""
    angle = torch.arange(MODES) * (2 * np.pi / MODES)
    distance = torch.cdist(samples, torch.stack([angle.cos(), angle.sin()], 1))
    near = torch.bincount(distance.argmin(1)[distance.amin(1) < 3 * STD], minlength=MODES)
    return int((near > len(samples) / MODES / 4).sum())


def modes_before_and_after(learner: Adversarial, rounds: int, critic_steps: int) -> tuple[int, int]:
    """Modes that its samples cover, untrained and trained."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        before = covered(learner.sample(1000, generator))
    optimisers = {p: torch.optim.Adam(learner.parameters_of(p), 2e-3, (0.5, 0.9)) for p in learner.players}
    for _ in range(rounds):
        play(
            learner,
            optimisers,
            lambda: mixture_of_gaussians(128, generator, MODES, STD),
            generator,
            critic_steps,
        )
    with torch.no_grad():
        return before, covered(learner.sample(1000, generator))
