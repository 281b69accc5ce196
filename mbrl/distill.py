"""A planner teaches a policy: find the actions by optimisation, use them as the target.

    a*_0 ... a*_H-1 = argmin J,  from what the policy would do        loss = -log N(a*_t | pi(s*_t)),   t = 0, 1, ...

where s* are the imagined states along the plan. Batches begin where recorded cars were, and where the policy itself
drove on from there in imagination, so that it is taught how to mend its own mistakes; as it changes, the next block of
batches is drawn from where it drives then. Source: learning from a planner as in guided policy search (Levine, Koltun,
ICML 2013), on the learner's own states as in DAgger (Ross, Gordon, Bagnell, arXiv:1011.0686).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from agents.planning import Situation, action_space
from agents.policies import Policy
from envs.context import Context, context_of_windows
from envs.recording import Recording
from envs.windows import Windows
from mbrl.foresight import Imagining, SeparatedForesight, intended
from mbrl.futures import follow
from mbrl.imagination import given
from mbrl.policy_losses import Loss, discounts, imitation_loss
from mbrl.policy_rollouts import Blockwise, starts
from mbrl.policy_training import PolicyTraining
from mbrl.trained_model import TrainedModel
from planners.gradient import GradientConfig, GradientPlanner


class Distilled(Blockwise):
    """The losses of a policy that is taught by a planner through a trained separated model."""

    def __init__(
        self,
        config: PolicyTraining,
        policy: Policy,
        trained: TrainedModel,
        recordings: Sequence[Recording],
        device: str = "cpu",
    ) -> None:
        self.config, self.policy, self.device = config, policy, device
        teaching = config.teaching
        imagining = Imagining(
            futures=teaching.futures,
            masks=config.masks if config.counts_uncertainty else 1,
            uncertainty_weight=config.uncertainty_weight if config.counts_uncertainty else 0.0,
            weights=config.weights,
        )
        self.foresight = SeparatedForesight(trained, config.horizon, imagining)
        self.driving_on = SeparatedForesight(trained, teaching.driven, Imagining(futures=1))
        self.planner = GradientPlanner(
            GradientConfig(
                horizon=config.horizon, gamma=config.gamma, num_iterations=teaching.iterations,
                learning_rate=teaching.learning_rate,
            )
        )  # fmt: skip
        self.sampler = starts(config, recordings)

    def prepare(self, windows: Windows) -> Callable[[], Loss]:
        """Plans from here or, every other time, from where the policy has driven on."""
        context = context_of_windows(windows, self.device)
        driven = max(self._integer(2 * self.config.teaching.driven + 1) - self.config.teaching.driven, 0)
        if driven:
            context = self._driven_on(context, driven)[-1]
        states, actions, saved = self.taught(context)
        return partial(self._loss, states, actions, saved)

    @torch.no_grad()
    def taught(self, context: Context) -> tuple[Context, Tensor, float]:
        """Imagined states along the plans (followed * B), their actions, and how much a plan saves per step."""
        seed = self._integer(1 << 31)
        futures = self.foresight.draw(context, seed)
        situation = self.foresight.situation(context, futures)
        first = futures.of_mask(0)
        begin = intended(futures, self.policy, self.config.horizon)
        plan = self.planner.plan(
            situation.dynamics, situation.cost, situation.state, action_space(context.size), init=begin
        )
        saved = float((self._price(situation, begin) - plan.cost).mean()) / self.config.horizon
        seen = follow(first, given(plan.actions), self.config.teaching.followed)
        states = [context, *(state for _, state in seen[:-1])]
        actions = torch.cat([action for action, _ in seen])
        return Context.joined(states), actions, saved

    def _price(self, situation: Situation, actions: Tensor) -> Tensor:
        """J (B,) of actions (B, H, 2)."""
        states, _ = situation.dynamics.rollout(situation.state, actions)
        cost = situation.cost(states, actions)
        assert isinstance(cost, Tensor)
        return cost @ discounts(cost, self.config.gamma)

    def _driven_on(self, context: Context, steps: int) -> list[Context]:
        """Where the policy drives in one future."""
        futures = self.driving_on.draw(context, self._integer(1 << 31))
        with torch.no_grad():
            return [state for _, state in follow(futures, self.policy, steps)]

    def _integer(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self.generator, device=self.device))

    def _loss(self, states: Context, actions: Tensor, saved: float) -> Loss:
        loss, metrics = imitation_loss(self.policy, states, actions)
        return loss, metrics | {"saved_by_planning": saved}
