"""Planning through a model whose pictures depend on the plan: each candidate is unrolled, under every mask.

    s_t+1^k,m = f_k(s_t^k,m, a_t, z_t^m),     J as in mbrl.foresight

K masks are K thinned networks and M futures M draws of z, the same for all candidates of all starts, so that none is
better than another by luck. So the model can be driven to where it knows nothing, and U counts what its pictures and
motions disagree about too. Source: Henaff, Canziani, LeCun, arXiv:1901.02705.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.planning import Situation
from agents.policies import Policy
from envs.context import Context
from envs.costs import Weights
from envs.replay import Replay
from mbrl.foresight import Imagining, seeds_of
from mbrl.forward_models.base import ForwardModel
from mbrl.forward_models.ensemble import num_members
from mbrl.forward_models.layers import in_bfloat16
from mbrl.imagination import Trajectory, exact_costs, from_prior, given, imagine
from mbrl.thinning import thinned
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Uncertainty, disagreement
from planners.dynamics import Dynamics


@dataclass(frozen=True)
class UnderMasks:
    """R rows as each mask has imagined them, and how many steps ahead they are (a planners.dynamics.Batch)."""

    context: Context  # masks * R rows, mask-major
    masks: int = 1  # 1 for all, until something is imagined
    time: int = 0

    @property
    def batch_size(self) -> int:
        return self.context.batch_size // self.masks

    def repeat(self, times: int) -> UnderMasks:
        """times R rows: copy n of row r is row n R + r."""
        return self.take(torch.arange(self.batch_size).repeat(times))

    def take(self, index: Tensor) -> UnderMasks:
        """Some of the rows."""
        rows = torch.arange(self.context.batch_size, device=index.device).view(self.masks, -1)
        return UnderMasks(self.context.take(rows[:, index].flatten()), self.masks, self.time)

    def of_first(self) -> Context:
        """The rows under the first mask: what an actor sees, as in policy training."""
        return self.context.take(slice(self.batch_size))


class Piece(NamedTuple):
    """Part of a rollout, of K R rows, from step `first` on."""

    trajectory: Trajectory
    first: int


class Unrolled(Dynamics):
    """A frozen forward model. A state is `UnderMasks`, of B contexts at first; costs read a `Piece`.

    Args:
        noise: (M, T, z_dim) of N(0, I), that chooses z; T is at least the horizon.
        seed: of the masks.
    """

    def __init__(self, model: ForwardModel[Any], noise: Tensor, num_masks: int, seed: int) -> None:
        self.num_futures = len(noise)
        self._model, self._noise, self._masks, self._seed = model, noise, num_masks, seed
        self._cost = exact_costs(model.gradient, model.config.view)

    def begin(self, state: Context) -> UnderMasks:
        return UnderMasks(state)

    def seen(self, state: UnderMasks) -> Context:
        return state.of_first()

    def step(self, state: UnderMasks, action: Tensor) -> UnderMasks:
        return self.rollout(state, action[:, None])[1]

    def rollout(self, state: UnderMasks, actions: Tensor) -> tuple[Piece, UnderMasks]:
        model, masks, steps = self._model, self._masks, actions.shape[1]
        until = state.time + steps
        if until > self._noise.shape[1]:
            raise ValueError(f"z is of {self._noise.shape[1]} steps; the horizon is longer")
        noise = self._noise[:, state.time : until].repeat_interleave(len(actions) // self.num_futures, 0)
        with thinned(model, masks, seed=self._seed + state.time):
            trajectory = imagine(
                model, given(actions), model.encode(state.context, masks // state.masks),
                from_prior(model, noise.repeat(masks, 1, 1)), steps, cost=self._cost, num_masks=masks,
            )  # fmt: skip
        assert trajectory.last is not None
        return Piece(trajectory, state.time), UnderMasks(trajectory.last, masks, until)


@dataclass(frozen=True, kw_only=True)
class UnrolledCost:
    """C + lambda U + what driving costs (R, T)."""

    weights: Weights
    masks: int
    uncertainty: Uncertainty
    uncertainty_weight: float

    def __call__(self, piece: Piece, actions: Tensor) -> Tensor:
        trajectory = piece.trajectory
        speed = self._mean(trajectory.poses[..., 3])
        total = self._mean(self.weights.of_scene(trajectory.costs)) + self.weights.of_driving(actions, speed)
        if self.uncertainty_weight:
            step = piece.first + torch.arange(actions.shape[1], device=actions.device)
            u = self.uncertainty(disagreement(trajectory, self.masks), step)
            total = total + self.uncertainty_weight * u
        return total

    def _mean(self, x: Tensor) -> Tensor:
        """Over masks."""
        return x.unflatten(0, (self.masks, -1)).mean(0)


class UnrolledForesight:
    """Situations (agents.planning.Foresight) as any trained model imagines them; it is frozen.

    Args:
        policy: searches may begin with what it would do in the first future.
    Raises:
        ValueError: as many masks as an ensemble has members are needed.
    """

    def __init__(
        self, trained: TrainedModel, horizon: int, config: Imagining, policy: Policy | None = None
    ) -> None:
        if num_members(trained.model) not in (1, config.masks):
            raise ValueError(
                f"masks={config.masks} must be the {num_members(trained.model)} members of the ensemble"
            )
        model = in_bfloat16(trained.model) if config.mixed_precision else trained.model
        self.model = model.eval().requires_grad_(False)
        self.horizon, self.config, self.policy = horizon, config, policy
        self.cost = UnrolledCost(
            weights=config.weights, masks=config.masks, uncertainty=trained.uncertainty,
            uncertainty_weight=config.uncertainty_weight,
        )  # fmt: skip

    def __call__(self, context: Context, replay: Replay, egos: NDArray[np.int64], seed: int) -> Situation:
        """Of the egos' context alone; where they drive is not looked at."""
        of_z, of_masks = seeds_of(seed)
        generator = torch.Generator().manual_seed(of_z)
        noise = self.model.noise(self.config.futures, self.horizon, like=context.size, generator=generator)
        dynamics = Unrolled(self.model, noise, self.config.masks, of_masks)
        return Situation(dynamics, self.cost, context, self.policy)
