"""Do neighbours on a topographic map of atoms come to have like orientations?

The mean difference of orientation between neighbours in a row or column of the torus, in degrees. Without any order two
angles in [0, 180) differ by 45 on average; the control is the same atoms at shuffled places.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pretrain.data import natural_patches
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.patches import orientation, tiled
from pretrain.experiments.training import train
from pretrain.sparse.energy import random_dictionary
from pretrain.sparse.learning import DictionaryLearner
from pretrain.sparse.topographic import TopographicConfig, pools, topographic_codes, topographic_energy

SIZE = 12
CONFIG = TopographicConfig(side=14, width=1.2, alpha=0.5, epsilon=0.05, steps=20)


def run(seed: int, quick: bool) -> Outcome:
    rng = torch.Generator().manual_seed(seed)
    y = natural_patches(1000 if quick else 20_000, SIZE, rng)
    pool = pools(CONFIG)
    learner = DictionaryLearner(
        random_dictionary(SIZE**2, CONFIG.side**2, rng),
        lambda y, w: topographic_codes(y, w, pool, CONFIG),
        lambda y, z, w: topographic_energy(y, z, w, pool, CONFIG),
    )
    train(learner, y, rng, num_steps=10 if quick else 800, batch=256, rate=0.02)
    atoms = learner.dictionary.detach().T
    angles = orientation(atoms, SIZE)
    shuffled = angles[torch.randperm(len(angles), generator=rng)]
    numbers = {
        "difference of neighbours": difference_of_neighbours(angles),
        "shuffled map": difference_of_neighbours(shuffled),
    }
    return Outcome(numbers, {"topographic_map": tiled(atoms.view(-1, SIZE, SIZE), CONFIG.side)})


def difference_of_neighbours(angles: Tensor) -> float:
    """Degrees, the mean over a square torus of angles in [0, pi) given row by row."""
    side = math.isqrt(len(angles))
    grid = angles.view(side, side)
    away = torch.cat([(grid - grid.roll(1, dim)).flatten() for dim in (0, 1)]).abs()
    return math.degrees(float(torch.minimum(away, math.pi - away).mean()))


EXPERIMENT = Experiment(
    "topographic",
    "Do neighbours on a topographic map come to have like orientations?",
    run,
    (Claim("difference of neighbours", "below", "shuffled map", 0.5),),
)
