"""Random shooting against the chance of a good draw."""

from __future__ import annotations

import pytest
import torch

from planners import RandomShooting, RandomShootingConfig
from tests.planners import linear_quadratic as lq
from tests.planners.two_numbers import UNITS, quadratic, still


def test_random_shooting_closes_in_as_its_sample_grows() -> None:
    """P(J - 3 > g) = (1 - pi g / (4 sqrt(3 / 4)))^N, for an ellipse of that area in a square of area 4."""
    gaps = []
    for num in (50, 500):
        planner = RandomShooting(RandomShootingConfig(horizon=1, num_samples=num))
        plan = planner.plan(still, quadratic, lq.starts(200), UNITS, seeds=range(200))
        gaps.append(float((plan.cost - 3).mean()))
    for num, gap in zip((50, 500), gaps, strict=True):
        expected = 4 * 0.75**0.5 / torch.pi / num
        assert 0.6 * expected < gap < 1.6 * expected


def test_draws_are_uniform_within_bounds() -> None:
    seen = []
    config = RandomShootingConfig(horizon=1, num_samples=4001)
    RandomShooting(config).plan(lambda s, a: seen.append(a) or s, quadratic, lq.starts(1), UNITS)
    drawn = (seen[0][1:] - UNITS.low) / (UNITS.high - UNITS.low)
    assert torch.equal(seen[0][0], torch.zeros(2, dtype=torch.float64)), "the start is a candidate"
    for share in (0.1, 0.5, 0.9):
        assert torch.allclose((drawn < share).double().mean(0), torch.tensor(share).double(), atol=0.03)


def test_a_space_without_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="bounds"):
        RandomShooting(RandomShootingConfig()).plan(lq.step, lq.cost, lq.starts(1), lq.FREE)
    with pytest.raises(ValueError):
        RandomShootingConfig(num_samples=1)
