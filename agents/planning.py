"""A planner at the wheel: it looks, imagines, plans, does the first action, and plans again (receding horizon)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.base import check_made_for
from envs.context import Context, context_of_observation, scaled
from envs.costs import ORDINARY_ACTION, Costs, Weights
from envs.kinematics import action_limit, drive, path, straight_on
from envs.raster import render
from envs.replay import Observation, Replay
from envs.scenes import Scenes
from envs.units import View
from planners.base import Plan, Planner, Policy
from planners.dynamics import Dynamics
from planners.objective import Cost
from planners.space import Box

AT_THE_WHEEL = Weights(off_road=1.0, effort=0.01, progress=0.005)  # off_road as policies are trained


class Situation(NamedTuple):
    """What a planner plans in."""

    dynamics: Dynamics
    cost: Cost
    state: Any
    init: Tensor | Policy | None = None  # (B, H, 2), or who would do it: where a search may begin


# What B egos see, where they drive (for who is allowed to look: see `RecordedFuture`), which they are, and a seed.
Foresight = Callable[[Context, Replay, NDArray[np.int64], int], Situation]


class Driving(Dynamics):
    """The ego's exact kinematics, actions (R, 2), `stride` steps of dt each.

    A state is a pose and how many steps ahead it is (R, 5), see `at_start`: what a step costs depends on when it is.
    """

    def __init__(self, dt: float, stride: int) -> None:
        self._dt, self._stride = dt, stride

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        pose, time = state[:, :4], state[:, 4:]
        return torch.cat([drive(pose, action, self._dt, self._stride), time + 1], -1)

    def rollout(self, state: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        poses = path(state[:, :4], actions.repeat_interleave(self._stride, 1), self._dt)[
            :, self._stride - 1 :: self._stride
        ]
        later = torch.arange(1, actions.shape[1] + 1).to(poses)[:, None]
        states = torch.cat([poses, state[:, None, 4:] + later], -1)
        return states, states[:, -1]


def at_start(poses: Tensor) -> Tensor:
    """States (B, 5) of `Driving`, of poses (B, 4)."""
    return torch.cat([poses, torch.zeros_like(poses[:, :1])], -1)


@dataclass(frozen=True)
class SceneCost:
    """The cost of states (R, T, 5) of `Driving` and actions (R, T, 2) among scenes.

    mean over masks and futures of what the scene costs  +  what driving costs        (envs.costs.Weights)
    """

    scenes: Scenes
    weights: Weights = Weights()  # noqa: RUF009 (frozen)

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """(R, T)."""
        by_start = states.unflatten(0, (-1, len(self.scenes.size)))
        step = by_start[..., 4].detach().round().long() - 1  # that led there
        judged = self.judged(self.scenes.costs(by_start[..., :4], step), step)
        return judged.flatten(0, 1) + self.weights.of_driving(actions, states[..., 3])

    def judged(self, costs: Costs, step: Tensor) -> Tensor:
        """(N, B, T) of what scenes cost, (K, M, N, B, T), in their steps (N, B, T)."""
        return self.weights.of_scene(costs).mean((0, 1))


def action_space(size: Tensor) -> Box:
    """What vehicles of sizes (B, 2) can do: accelerations in m/s^2 and curvatures in 1/m, (B, 1, 2)."""
    high = action_limit(size)[:, None]
    return Box(-high, high, torch.minimum(size.new_tensor(ORDINARY_ACTION).expand_as(high), high))


@dataclass(frozen=True)
class RecordedFuture:
    """A foresight that cheats: it looks up in the recording what the others will do (they do not react to the ego).

    An upper bound for what planners can do with a perfect model, and no agent that could drive.
    """

    horizon: int
    stride: int
    weights: Weights = AT_THE_WHEEL

    def __call__(self, context: Context, replay: Replay, egos: NDArray[np.int64], seed: int) -> Situation:
        world, vehicle, now = replay.world, replay.vehicle[egos], context.now()
        steps = np.arange(1, self.horizon + 1) * self.stride
        frames = np.minimum(
            replay.frame[egos, None] + steps, world.end_frame[world.recording[vehicle]][:, None]
        )
        seconds = torch.from_numpy(steps * world.dt).to(now)
        poses = straight_on(now[:, None], seconds)  # of an observer; beyond its view, nobody is known
        pictures = render(world, frames, poses.cpu().numpy(), vehicle, replay.view, replay.threads)
        others = scaled(np.ascontiguousarray(pictures[:, :, 1]), now.device)[None, None]
        scenes = Scenes.of(others, poses, context.frames[-1][:, ::2], now, context.size, replay.view)

        return Situation(Driving(world.dt, self.stride), SceneCost(scenes, self.weights), at_start(now))


class PlanningAgent:
    """Plans every `stride` frames, as far as a step of its foresight goes, and holds the action in between.

    Args:
        budget: seconds for new plans of all egos, and for what is imagined for them; the first iteration always runs.
        made_for: s between frames, and the view, that its foresight learned from; None if any will do.
    """

    def __init__(
        self,
        planner: Planner[Any],
        foresight: Foresight,
        name: str,
        *,
        frames: int,
        stride: int,
        seed: int | None = None,
        budget: float | None = None,
        made_for: tuple[float, View] | None = None,
        device: str = "cpu",
    ) -> None:
        self.made_for = made_for
        self.planner, self.foresight, self.name = planner, foresight, name
        self.seed: int | None = seed
        self.frames, self.stride, self.budget, self.device = frames, stride, budget, device
        self.history = (frames - 1) * stride + 1
        self._replay: Replay | None = None
        self._calls = 0
        self._plan: Plan | None = None
        self._planned = np.zeros(0, np.int64)  # egos
        self._actions = np.zeros((0, 2), np.float32)
        self._frame = np.zeros(0, np.int64)

    def begin(self, replay: Replay) -> None:
        """Forget the last plans. Raises InputError if it is made for other frames or pictures than these."""
        if self.made_for is not None:
            check_made_for(replay, self.name, *self.made_for)
        self._replay, self._calls, self._plan = replay, 0, None
        self._actions = np.zeros((replay.num_egos, 2), np.float32)
        self._frame = np.full(replay.num_egos, -1, np.int64)

    def act(self, observation: Observation) -> NDArray[np.floating[Any]]:
        """Raises RuntimeError before the first `begin`."""
        replay = self._replay
        if replay is None:
            raise RuntimeError("begin(replay) comes before act")
        if self._calls % self.stride == 0:
            going = replay.frame != self._frame  # a drive that has ended stands still in time
            self._frame = replay.frame.copy()
            self._decide(observation, replay, np.flatnonzero(going))
        self._calls += 1
        return self._actions.copy()

    def _decide(self, observation: Observation, replay: Replay, egos: NDArray[np.int64]) -> None:
        """New plans, and their first actions, of some egos."""
        if len(egos) == 0:
            return
        begun = time.perf_counter()
        seen = np.isin(np.arange(replay.num_egos), egos)
        context = context_of_observation(observation, self.frames, self.stride, self.device, seen)
        seed = int(np.random.SeedSequence((self.seed or 0, self._calls)).generate_state(1)[0])
        situation = self.foresight(context, replay, egos, seed)
        previous = None
        if self._plan is not None and np.isin(egos, self._planned).all():  # who paused begins anew, with all
            previous = self._plan.take(torch.from_numpy(np.isin(self._planned, egos)))
        spent = time.perf_counter() - begun
        self._plan = self.planner.plan(
            situation.dynamics, situation.cost, situation.state, action_space(context.size),
            previous=previous, init=situation.init, seeds=[seed] * len(egos),
            budget=None if self.budget is None else max(self.budget - spent, 0.0),
        )  # fmt: skip
        self._planned = egos
        self._actions[egos] = self._plan.actions[:, 0].cpu().numpy()
