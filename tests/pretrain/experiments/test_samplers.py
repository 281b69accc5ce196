"""The experiment of the samplers, quickly."""

from __future__ import annotations

import numpy as np
import torch

from pretrain.experiments import samplers


def test_it_runs_and_hmc_is_worth_more() -> None:
    outcome = samplers.EXPERIMENT.run(0, True)
    assert outcome.numbers["hmc over mala"] > 2
    (picture,) = outcome.pictures.values()
    assert picture.dtype == np.uint8
    assert picture.std() > 5
    for claim in samplers.EXPERIMENT.claims:
        assert {claim.better, claim.control} - {0.1} <= set(outcome.numbers)


def test_starts_are_drawn_from_the_energy() -> None:
    """E F = D / 2 for a Gaussian."""
    turned, _ = torch.linalg.qr(
        torch.randn(10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )
    world = samplers.World(axes=turned, scales=torch.logspace(-1, 0, 10, dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    y = torch.cat([world.start(generator) for _ in range(100)])
    assert abs(float(world.energy(y).mean()) - 5) < 4 * (5 / len(y)) ** 0.5
