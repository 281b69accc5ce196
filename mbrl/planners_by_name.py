"""The planners a user can name: `gradient:MODEL` on the command line, and entrants of the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from envs.costs import ORDINARY_ACTION
from planners import (
    CEM,
    ICEM,
    ILQR,
    MPPI,
    BeamConfig,
    BeamSearch,
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
    MixedConfig,
    MPPIConfig,
    PredictiveSampling,
    PredictiveSamplingConfig,
    RandomShooting,
    RandomShootingConfig,
    Table,
)
from planners.base import Planner

GAMMA = 0.98  # as policies are trained (mbrl.policy_training)
# Brake, slow down, keep speed or speed up, straight on or turning to a side.
TOLD = torch.cartesian_prod(
    torch.tensor([-4.0, -ORDINARY_ACTION[0], 0.0, ORDINARY_ACTION[0]]),
    torch.tensor([-ORDINARY_ACTION[1], 0.0, ORDINARY_ACTION[1]]),
)
Make = Callable[[int, float], Planner[Any]]  # of a horizon, steps of the model, and a discount


def gradient(horizon: int, gamma: float = GAMMA, num_iterations: int = 10) -> Planner[Any]:
    """Adam, each search beginning with the last plan."""
    return GradientPlanner(
        GradientConfig(horizon=horizon, gamma=gamma, num_iterations=num_iterations, learning_rate=0.3)
    )


def cem(horizon: int, gamma: float = GAMMA) -> Planner[Any]:
    """64 candidates, four times."""
    return CEM(CEMConfig(horizon=horizon, gamma=gamma, num_samples=64, num_elites=8, num_iterations=4))


def mixed(horizon: int, gamma: float = GAMMA) -> Planner[Any]:
    """One of what `beam` may choose at every step, and up to half an ordinary action more or less."""
    config = MixedConfig(
        horizon=horizon,
        gamma=gamma,
        num_choices=len(TOLD),
        num_samples=4,
        num_iterations=10,
        held_iterations=5,
    )
    return Corrected(config, TOLD, [size / 2 for size in ORDINARY_ACTION])


def beam(horizon: int, gamma: float = GAMMA) -> Planner[Any]:
    """One of the same choices for at most five steps, and then the next."""
    steps = max(d for d in range(1, 6) if horizon % d == 0)
    return BeamSearch(
        BeamConfig(horizon=horizon, gamma=gamma, width=16), Table(TOLD[:, None].expand(-1, steps, -1))
    )


PLANNERS: dict[str, Make] = {
    "gradient": gradient,
    "lbfgs": lambda horizon, gamma: LBFGSPlanner(LBFGSConfig(horizon=horizon, gamma=gamma)),
    "cem": cem,
    "icem": lambda horizon, gamma: ICEM(ICEMConfig(horizon=horizon, gamma=gamma)),
    "gradient-cem": lambda horizon, gamma: GradientCEM(GradientCEMConfig(horizon=horizon, gamma=gamma)),
    "ilqr": lambda horizon, gamma: ILQR(ILQRConfig(horizon=horizon, gamma=gamma)),
    "mppi": lambda horizon, gamma: MPPI(MPPIConfig(horizon=horizon, gamma=gamma)),
    "predictive-sampling": lambda horizon, gamma: PredictiveSampling(
        PredictiveSamplingConfig(horizon=horizon, gamma=gamma, knots=min(5, horizon))
    ),
    "random-shooting": lambda horizon, gamma: RandomShooting(
        RandomShootingConfig(horizon=horizon, gamma=gamma)
    ),
    "beam": beam,
    "mixed": mixed,
}
