"""Predictive sampling against the best of all splines."""

from __future__ import annotations

from planners import PredictiveSampling, PredictiveSamplingConfig
from planners.noise import Spline
from tests.planners import linear_quadratic as lq

H = 8


def test_predictive_sampling_finds_the_best_spline() -> None:
    state, knots = lq.starts(3), 3
    best = lq.least_squares(state, H, lq.FREE, Spline(knots, "cubic").matrix(H))
    config = PredictiveSamplingConfig(horizon=H, num_iterations=400, num_samples=32, std=0.05, knots=knots)
    plan = PredictiveSampling(config).plan(lq.step, lq.cost, state, lq.FREE, seeds=[1, 2, 3])
    assert float((plan.actions - best).abs().max()) < 0.05
    assert bool((plan.cost < lq.total_cost(state, best) * 1.001).all())
    assert bool((plan.cost > lq.total_cost(state, best) - 1e-9).all()), "it left the splines"
