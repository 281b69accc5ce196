"""CEM: fits in closed form, and what is sampled around them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from planners import CEM, CEMConfig
from planners.sampling import cheapest, elites, refit
from tests.planners import linear_quadratic as lq
from tests.planners.recorder import Recorder, costs_of

H = 4


def random_candidates(num: int = 20, starts: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    actions = torch.randn(num, starts, H, 2, generator=generator, dtype=torch.float64)
    return actions, torch.rand(num, starts, generator=generator, dtype=torch.float64)


def test_elites_are_the_cheapest_in_order() -> None:
    actions, cost = random_candidates()
    cost[3, 1] = torch.inf
    best, least = elites(actions, cost, 5)
    for b in range(3):
        order = np.argsort(cost[:, b].numpy())[:5]
        assert torch.equal(best[:, b], actions[order, b])
        assert torch.equal(least[:, b], cost[order, b])
    first, lowest = cheapest(actions, cost)
    assert torch.equal(first, best[0])
    assert torch.equal(lowest, least[0])


def test_a_fit_is_the_mean_and_the_deviation_of_the_elites_and_some_of_the_last() -> None:
    actions, cost = random_candidates(6)
    mean, std = (
        torch.full((3, H, 2), 5.0, dtype=torch.float64),
        torch.full((3, H, 2), 2.0, dtype=torch.float64),
    )
    new_mean, new_std = refit(actions, cost, mean, std, 0.25)
    assert torch.allclose(new_mean, 0.75 * torch.from_numpy(actions.numpy().mean(0)) + 0.25 * 5)
    assert torch.allclose(new_std, 0.75 * torch.from_numpy(actions.numpy().std(0)) + 0.25 * 2)


def test_a_fit_leaves_out_rejected_elites() -> None:
    actions, cost = random_candidates(6)
    cost[2:, 0] = torch.inf
    cost[:, 1] = torch.inf
    mean, std = (
        torch.full((3, H, 2), 5.0, dtype=torch.float64),
        torch.full((3, H, 2), 2.0, dtype=torch.float64),
    )
    new_mean, new_std = refit(actions, cost, mean, std, 0.0)
    assert torch.allclose(new_mean[0], actions[:2, 0].mean(0))
    assert torch.allclose(new_std[0], actions[:2, 0].std(0, correction=0))
    assert torch.equal(new_mean[1], mean[1])
    assert torch.equal(new_std[1], std[1])
    assert torch.allclose(new_mean[2], actions[:, 2].mean(0))


def test_cem_samples_around_the_fit() -> None:
    """Each round's first candidate is the smoothed mean of the last round's elites, and the others spread as they."""
    state, record = lq.starts(2), Recorder(2, H)
    config = CEMConfig(
        horizon=H, num_samples=1000, num_elites=100, num_iterations=3, alpha=0.2, std=0.7, min_std=0.0
    )
    CEM(config).plan(record, lq.cost, state, lq.FREE, seeds=[1, 2])
    mean, std = torch.zeros(2, H, 1, dtype=torch.float64), torch.full((2, H, 1), 0.7 * 2, dtype=torch.float64)
    for candidates in record.rounds:
        assert torch.allclose(candidates[0], mean)
        assert torch.allclose(candidates.mean(0), mean, atol=0.2)
        assert torch.allclose(candidates.std(0), std, rtol=0.15)
        cost = costs_of(candidates, state)
        best = torch.stack([candidates[cost[:, b].argsort()[:100], b] for b in range(2)], 1)
        mean, std = 0.8 * best.mean(0) + 0.2 * mean, 0.8 * best.std(0, correction=0) + 0.2 * std
    assert float(std.max()) < 0.9, "nothing was learned"


def test_min_std_keeps_a_search_alive() -> None:
    state, record = lq.starts(1), Recorder(1, H)
    config = CEMConfig(horizon=H, num_samples=500, num_elites=10, num_iterations=20, min_std=0.05)
    CEM(config).plan(record, lq.cost, state, lq.FREE)
    assert torch.allclose(
        record.rounds[-1].std(0), torch.full((1, H, 1), 0.1, dtype=torch.float64), rtol=0.15
    )
