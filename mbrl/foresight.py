"""What planners need of a forward model: dynamics, and a cost with the uncertainty of policy training.

    J = sum_t  gamma^t [ 1/(K M) sum_k,m C(s_t^k,m)  +  lambda 1/M sum_m U_t^m  +  w_e effort(a_t)  -  w_p v_t ]

C and U are those of mbrl.policy_losses and mbrl.uncertainty, effort and progress those of envs.costs.Weights. Here for
the separated model, whose scenes do not depend on the plan: they are drawn once and read by all candidates
(envs.scenes). Other models are unrolled for each candidate: mbrl.unrolled_foresight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.planning import AT_THE_WHEEL, Driving, SceneCost, Situation, at_start
from agents.policies import Policy
from envs.context import Context
from envs.costs import Costs, Weights
from envs.replay import Replay
from envs.scenes import Scenes
from mbrl.forward_models import SeparatedModel
from mbrl.futures import Futures, follow, foresee
from mbrl.imagination import from_prior
from mbrl.thinning import thinned
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Terms, Uncertainty


@dataclass(frozen=True, kw_only=True)
class Imagining:
    """What a planner imagines, and what it minds. A field that makes no sense raises ValueError."""

    futures: int = 10  # M
    masks: int = 1  # K; at least 2 where U counts
    uncertainty_weight: float = 0.0  # lambda
    weights: Weights = AT_THE_WHEEL
    mixed_precision: bool = False  # draw futures with networks in bfloat16

    def __post_init__(self) -> None:
        if self.futures < 1 or self.masks < 1:
            raise ValueError(f"futures={self.futures} and masks={self.masks} must be positive")
        if self.uncertainty_weight and self.masks == 1:
            raise ValueError(
                "a single mask never disagrees with itself: masks must be at least 2, or lambda 0"
            )


@dataclass(frozen=True, kw_only=True)
class UncertainSceneCost(SceneCost):
    """As `SceneCost`, and lambda times what masks disagree about."""

    uncertainty: Uncertainty
    uncertainty_weight: float

    def judged(self, costs: Costs, step: Tensor) -> Tensor:
        """As there. What pictures disagree about counts nothing: no plan changes what will be seen."""
        variance = costs.total().var(0)  # (M, N, B, T)
        nothing = torch.zeros_like(variance)
        u = self.uncertainty(Terms(nothing, nothing, variance), step)
        return super().judged(costs, step) + self.uncertainty_weight * u.mean(0)


class SeparatedForesight:
    """Situations (agents.planning.Foresight) as a trained separated model imagines them.

    Args:
        policy: what it would do in the first future is where a search may begin.
    Raises:
        ValueError: of another model.
    """

    def __init__(
        self, trained: TrainedModel, horizon: int, config: Imagining, policy: Policy | None = None
    ) -> None:
        if not isinstance(trained.model, SeparatedModel):
            raise ValueError("only the separated model draws its scenes before a plan is known")
        model = trained.model.in_bfloat16() if config.mixed_precision else trained.model
        self.model, self.horizon, self.config = model.eval(), horizon, config
        self.uncertainty, self.policy = trained.uncertainty, policy

    def __call__(self, context: Context, replay: Replay, egos: NDArray[np.int64], seed: int) -> Situation:
        """Of the egos' context alone; where they drive is not looked at."""
        futures = self.draw(context, seed)
        situation = self.situation(context, futures)
        if self.policy is None:
            return situation
        return situation._replace(init=intended(futures, self.policy, self.horizon))

    def situation(self, context: Context, futures: Futures) -> Situation:
        """What B egos plan in, given their futures, see `draw`."""
        timing = self.model.timing
        scenes = Scenes.of(
            futures.vehicles.unflatten(0, (self.config.masks, self.config.futures)), futures.observer,
            context.frames[-1][:, ::2], context.now(), context.size, self.model.config.view,
        )  # fmt: skip
        cost = SceneCost(scenes, self.config.weights)
        if self.config.uncertainty_weight:
            cost = UncertainSceneCost(
                **vars(cost), uncertainty=self.uncertainty, uncertainty_weight=self.config.uncertainty_weight
            )
        return Situation(Driving(timing.dt, timing.stride), cost, at_start(context.now()))

    @torch.no_grad()
    def draw(self, context: Context, seed: int) -> Futures:
        """M futures of each of B egos under K masks: K M copies, future m under mask k being number k M + m.

        Each ego, and each mask, gets the same z, and each ego the same thinned networks, so that it does not matter who
        else is there; what is seen is encoded once.
        """
        model, config = self.model, self.config
        of_z, of_masks = seeds_of(seed)
        generator = torch.Generator().manual_seed(of_z)
        noise = model.noise(config.futures, self.horizon, like=context.size, generator=generator)
        noise = noise.repeat_interleave(context.batch_size, 0).repeat(config.masks, 1, 1)
        copies = config.masks * config.futures
        with thinned(model, copies, of_masks):
            return foresee(model, context, from_prior(model, noise), self.horizon, copies)


def seeds_of(seed: int) -> tuple[int, int]:
    """Of z and of masks: one stream for both would decide them by the same numbers."""
    of_z, of_masks = np.random.SeedSequence(seed).generate_state(2)
    return int(of_z), int(of_masks)


@torch.no_grad()
def intended(futures: Futures, policy: Policy, steps: int) -> Tensor:
    """What a policy would do (B, steps, 2) in the first of each start's futures."""
    return torch.stack([action for action, _ in follow(futures.of_mask(0), policy, steps)], 1)
