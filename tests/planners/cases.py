"""Every planner with a problem it can solve: what holds for all of them is tested in test_base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

H = 6
GEARS = torch.tensor([[-0.5], [0.0], [0.8]], dtype=torch.float64)  # m/s^2
HOLD = Table(GEARS[:, None].expand(-1, 2, -1))  # each for two steps
GEAR_AND_GAS = Box(
    torch.tensor([0.0, 0, 0, -0.3], dtype=torch.float64),
    torch.tensor([1.0, 1, 1, 0.3], dtype=torch.float64),
    torch.tensor([1.0, 1, 1, 0.3], dtype=torch.float64),
)


def acceleration(actions: Tensor) -> Tensor:
    """(..., 1) of (..., 1), or of three weights of gears and some gas (..., 4)."""
    return actions if actions.shape[-1] == 1 else actions[..., :3] @ GEARS + actions[..., 3:]


@dataclass(frozen=True)
class Case:
    """A planner, made anew with a clock of choice, for the double integrator."""

    make: Callable[..., Planner[Any]]
    space: Box = lq.TIGHT
    draws: bool = True  # whether its seed matters
    differentiates: bool = False
    keeps_start: bool = True  # whether the start is one of its candidates
    keeps_best: bool = True  # whether its answer is the cheapest candidate

    @property
    def num_actions(self) -> int:
        return self.space.low.shape[-1]

    @staticmethod
    def step(state: Tensor, action: Tensor) -> Tensor:
        return lq.step(state, acceleration(action))

    @staticmethod
    def cost(states: Tensor, actions: Tensor) -> Tensor:
        return lq.cost(states, acceleration(actions))

    def plan(self, state: Any, planner: Planner[Any] | None = None, **options: Any) -> Any:
        options = {"dynamics": self.step, "cost": self.cost} | options
        return (planner or self.make()).plan(state=state, space=self.space, **options)


def total_cost(state: Tensor, actions: Tensor) -> Tensor:
    return lq.total_cost(state, acceleration(actions))


CASES = {
    "random shooting": Case(
        lambda **k: RandomShooting(RandomShootingConfig(horizon=H, num_samples=40, num_iterations=4), **k)
    ),
    "predictive sampling": Case(
        lambda **k: PredictiveSampling(
            PredictiveSamplingConfig(horizon=H, num_samples=20, num_iterations=6, knots=3), **k
        )
    ),
    "cem": Case(lambda **k: CEM(CEMConfig(horizon=H, num_samples=40, num_elites=8, num_iterations=6), **k)),
    "icem": Case(
        lambda **k: ICEM(ICEMConfig(horizon=H, num_samples=40, num_elites=8, num_iterations=6), **k)
    ),
    "mppi": Case(
        lambda **k: MPPI(MPPIConfig(horizon=H, num_samples=40, temperature=0.1, num_iterations=4), **k),
        keeps_best=False,
    ),
    "gradient": Case(
        lambda **k: GradientPlanner(GradientConfig(horizon=H, num_samples=3, num_iterations=6), **k),
        differentiates=True,
    ),
    "lbfgs": Case(
        lambda **k: LBFGSPlanner(LBFGSConfig(horizon=H, num_samples=3, num_iterations=6), **k),
        differentiates=True,
    ),
    "gradient cem": Case(
        lambda **k: GradientCEM(
            GradientCEMConfig(horizon=H, num_samples=20, gradient_steps=2, num_iterations=4), **k
        ),
        differentiates=True,
    ),
    "ilqr": Case(
        lambda **k: ILQR(ILQRConfig(horizon=H, num_iterations=5), **k), differentiates=True, draws=False
    ),
    "mixed": Case(
        lambda **k: Mixed(MixedConfig(horizon=H, num_choices=3, num_samples=3, num_iterations=8), **k),
        space=GEAR_AND_GAS,
        differentiates=True,
    ),
    "corrected": Case(
        lambda **k: Corrected(
            MixedConfig(horizon=H, num_choices=3, num_samples=3, num_iterations=8), GEARS, [0.3], **k
        ),
        differentiates=True,
    ),
    "beam": Case(
        lambda **k: BeamSearch(BeamConfig(horizon=H, width=8), HOLD, **k),
        draws=False,
        keeps_start=False,
    ),
}
