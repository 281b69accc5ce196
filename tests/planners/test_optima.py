"""Every planner finds the minimum of a quadratic, and the LQR plan, free and within bounds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from planners import (
    CEM,
    ICEM,
    ILQR,
    MPPI,
    BeamConfig,
    BeamSearch,
    Box,
    CEMConfig,
    Corrected,
    GradientCEM,
    GradientCEMConfig,
    GradientConfig,
    GradientPlanner,
    ICEMConfig,
    ILQRConfig,
    LBFGSConfig,
    LBFGSPlanner,
    Mixed,
    MixedConfig,
    MPPIConfig,
    Planner,
    PredictiveSampling,
    PredictiveSamplingConfig,
    RandomShooting,
    RandomShootingConfig,
    Table,
)
from tests.planners import linear_quadratic as lq
from tests.planners.two_numbers import TARGET, UNITS, quadratic, still


def planners(horizon: int) -> list[tuple[Planner[Any], float]]:
    """With how far from the best action any action may be."""
    h = horizon
    cem: dict[str, Any] = {"horizon": h, "num_samples": 300, "num_elites": 40, "std": 1.0, "min_std": 1e-4}
    return [
        (CEM(CEMConfig(num_iterations=40, **cem)), 0.01),
        (ICEM(ICEMConfig(num_iterations=60, alpha=0.3, decay=1.02, noise_beta=0.5, **cem)), 0.06),
        (MPPI(MPPIConfig(horizon=h, num_iterations=100, temperature=0.01, std=1.0, std_decay=0.93)), 0.1),
        (
            GradientPlanner(GradientConfig(horizon=h, num_iterations=300, learning_rate=0.2, decay=0.985)),
            0.02,
        ),
        (LBFGSPlanner(LBFGSConfig(horizon=h, num_iterations=20)), 1e-4),
        (
            GradientCEM(
                GradientCEMConfig(horizon=h, num_iterations=25, std=1.0, min_std=1e-4, gradient_steps=5)
            ),
            0.01,
        ),
        (ILQR(ILQRConfig(horizon=h, num_iterations=5)), 1e-5),
        (
            PredictiveSampling(
                PredictiveSamplingConfig(
                    horizon=h, num_iterations=800, std=0.03, knots=h, interpolation="hold"
                )
            ),
            0.1,
        ),
    ]


NAMES = [type(planner).__name__ for planner, _ in planners(1)]
each = pytest.mark.parametrize("k", range(len(NAMES)), ids=NAMES)
H = 8


def test_the_riccati_equation_and_least_squares_agree() -> None:
    state = lq.starts(5)
    assert torch.allclose(lq.riccati(state, H), lq.least_squares(state, H, lq.FREE), atol=1e-9)
    bounded = lq.least_squares(state, H, lq.TIGHT)
    assert bool((bounded == -0.5).any() | (bounded > 0.8 - 1e-9).any()), "no bound matters"


@each
def test_the_lqr_plan_is_found(k: int) -> None:
    planner, tolerance = planners(H)[k]
    state = lq.starts(3)
    best = lq.riccati(state, H)
    plan = planner.plan(lq.step, lq.cost, state, lq.FREE, seeds=[1, 2, 3])
    assert float((plan.actions - best).abs().max()) < tolerance
    assert bool((plan.cost < lq.total_cost(state, best) * 1.001).all())


@each
def test_the_best_plan_within_bounds_is_found(k: int) -> None:
    planner, tolerance = planners(H)[k]
    state = lq.starts(3)
    best = lq.least_squares(state, H, lq.TIGHT)
    plan = planner.plan(lq.step, lq.cost, state, lq.TIGHT, seeds=[1, 2, 3])
    assert float((plan.actions - best).abs().max()) < tolerance
    assert bool((plan.cost < lq.total_cost(state, best) * 1.02).all())


@each
def test_numbers_of_different_size_are_found_alike(k: int) -> None:
    planner, tolerance = planners(2)[k]
    plan = planner.plan(still, quadratic, lq.starts(2), UNITS)
    assert float(((plan.actions - TARGET) / UNITS.scale).abs().max()) < tolerance
    assert torch.allclose(plan.cost, torch.tensor(6.0, dtype=torch.float64), atol=0.01)


GRID = torch.linspace(-0.5, 0.8, 27, dtype=torch.float64)[:, None, None]  # of the bounds, 0.05 apart
GEARS = torch.tensor([[-0.35], [0.15], [0.65]], dtype=torch.float64)  # with 0.15 of gas, all that is allowed
GEAR_AND_GAS = Box.of([0, 0, 0, -0.15], [1, 1, 1, 0.15], [1, 1, 1, 0.15], dtype=torch.float64)
CHOOSING: dict[str, tuple[Planner[Any], float]] = {
    "random shooting": (
        RandomShooting(RandomShootingConfig(horizon=2, num_samples=10_000, num_iterations=4)),
        0.06,
    ),
    "beam": (BeamSearch(BeamConfig(horizon=H, width=1000), Table(GRID)), 0.03),  # half a step of the grid
    "mixed": (
        Mixed(MixedConfig(horizon=H, num_choices=3, num_samples=16, num_iterations=60, held_iterations=60)),
        0.1,
    ),
    "corrected": (
        Corrected(
            MixedConfig(horizon=H, num_choices=3, num_samples=16, num_iterations=60, held_iterations=60),
            GEARS,
            [0.15],
        ),
        0.1,
    ),
}


@pytest.mark.parametrize("name", CHOOSING)
def test_the_best_plan_within_bounds_is_found_by_who_shoots_or_chooses(name: str) -> None:
    planner, tolerance = CHOOSING[name]
    state = lq.starts(3)
    best = lq.least_squares(state, planner.config.horizon, lq.TIGHT)

    def acceleration(actions: Tensor) -> Tensor:
        return actions[..., :3] @ GEARS + actions[..., 3:] if name == "mixed" else actions

    plan = planner.plan(
        lambda s, a: lq.step(s, acceleration(a)), lambda s, a: lq.cost(s, acceleration(a)), state,
        GEAR_AND_GAS if name == "mixed" else lq.TIGHT, seeds=[1, 2, 3],
    )  # fmt: skip
    assert float((acceleration(plan.actions) - best).abs().max()) < tolerance
    assert bool((plan.cost < lq.total_cost(state, best) * 1.002).all())


def test_receding_horizon_with_warm_starts_follows_the_regulator() -> None:
    """Each first action, replanned from the last plan, is close to that of the Riccati equation."""
    state, plan = lq.starts(2), None
    config = CEMConfig(horizon=H, num_samples=200, num_elites=20, num_iterations=8, std=0.4, min_std=1e-3)
    for t in range(10):
        plan = CEM(config).plan(lq.step, lq.cost, state, lq.FREE, previous=plan, seeds=[2 * t, 2 * t + 1])
        wanted = lq.riccati(state, H)[:, 0]
        if t > 2:
            assert float((plan.actions[:, 0] - wanted).abs().max()) < 0.1
        state = lq.step(state, plan.actions[:, 0])
    assert float(state.abs().max()) < 0.3
