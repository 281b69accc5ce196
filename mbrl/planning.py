"""A planner at the wheel, that imagines by a trained forward model."""

from __future__ import annotations

from typing import Any

from agents.planning import Foresight, PlanningAgent
from agents.policies import Policy
from mbrl.foresight import Imagining, SeparatedForesight
from mbrl.forward_models import SeparatedModel
from mbrl.trained_model import TrainedModel
from mbrl.unrolled_foresight import UnrolledForesight
from planners.base import Planner

TWO_DRAWS = Imagining(futures=1, masks=2)  # of a model's future, as with U, so that both cost the same


def planning_agent(
    trained: TrainedModel,
    planner: Planner[Any],
    name: str,
    config: Imagining,
    *,
    policy: Policy | None = None,
    **options: Any,
) -> PlanningAgent:
    """Through the separated model's scenes, drawn once for a plan, or any other model, unrolled for each candidate.

    Args:
        policy: searches may begin with what it would do.
        options: PlanningAgent's.
    """
    timing = trained.model.timing
    of_model = SeparatedForesight if isinstance(trained.model, SeparatedModel) else UnrolledForesight
    foresight: Foresight = of_model(trained, planner.config.horizon, config, policy)
    made_for = timing.dt, trained.model.config.view
    return PlanningAgent(
        planner, foresight, name, frames=timing.frames, stride=timing.stride, made_for=made_for, **options
    )
