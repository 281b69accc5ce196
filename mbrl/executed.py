"""Imagination against the replay: the same actions, driven in the model's futures and among the recorded cars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.metrics import CONFIDENCE, NUM_RESAMPLES
from envs.context import Context, context_of_observation
from envs.costs import Costs
from envs.drives import Drives, find_drives
from envs.errors import InputError
from envs.recording import Recording, Split
from envs.replay import Replay
from envs.world import build_world
from mbrl.forward_models.base import ForwardModel
from mbrl.forward_models.ensemble import num_members
from mbrl.imagination import Actor, exact_costs, from_prior, imagine
from mbrl.trained_model import TrainedModel

BATCH = 32  # examples imagined at once
Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Executed:
    """The same actions of E examples, imagined and executed; T steps of the model."""

    vehicle: NDArray[np.int64]  # (E,) whose car was taken over
    imagined_cost: Numbers  # (E, T): C_proximity + 0.2 C_lane + 0.2 C_off_road
    executed_cost: Numbers  # (E, T)
    imagined_way: Numbers  # (E, T) m from where it began
    executed_way: Numbers  # (E, T)

    @property
    def correlation(self) -> float:
        """Pearson's, between the examples' mean costs; NaN if either never varies."""
        return correlation(self.imagined_cost.mean(1), self.executed_cost.mean(1))

    def correlation_interval(self, seed: int = 0) -> tuple[float, float]:
        """95 % percentile bootstrap interval of it over cars: examples of one car are alike."""
        _, car = np.unique(self.vehicle, return_inverse=True)
        num = int(car.max()) + 1
        drawn = np.random.default_rng(seed).multinomial(num, np.full(num, 1 / num), size=NUM_RESAMPLES)
        a, b = self.imagined_cost.mean(1), self.executed_cost.mean(1)
        found = np.array([correlation(np.repeat(a, times), np.repeat(b, times)) for times in drawn[:, car]])
        tail = (1 - CONFIDENCE) / 2
        low, high = np.nanquantile(found, [tail, 1 - tail]) if np.isfinite(found).any() else (np.nan, np.nan)
        return float(low), float(high)


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pearson's; NaN where one of them is constant.

    >>> correlation(np.array([1, 2, 3]), np.array([5, 3, 1])), correlation(np.array([1, 2]), np.array([3, 3]))
    (-1.0, nan)
    """
    a, b = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 0 else float("nan")


@torch.no_grad()
def imagined_against_executed(
    actor: Actor,
    trained: TrainedModel,
    recordings: Sequence[Recording],
    *,
    split: Split = "validation",
    num_examples: int = 256,
    seed: int = 0,
) -> Executed:
    """Let an actor drive through the model from recorded situations, then drive the same actions in the replay.

    Raises:
        InputError: no car of the split is recorded for long enough.
    """
    model, horizon = trained.model, trained.uncertainty.mean.shape[1]
    timing, view = model.timing, model.config.view
    history = (timing.frames - 1) * timing.stride + 1
    drives = _anywhere(recordings, split, history, horizon * timing.stride, num_examples, seed)
    device = next(model.parameters()).device
    replay = Replay(recordings, len(drives), history=history, view=view)
    context = context_of_observation(replay.reset(drives), timing.frames, timing.stride, device)
    noise = model.noise(
        len(drives), horizon, like=context.size, generator=torch.Generator().manual_seed(seed)
    )
    parts = [slice(first, first + BATCH) for first in range(0, len(drives), BATCH)]
    imagined = [_driven(actor, model, context.take(part), noise[part], horizon) for part in parts]
    cost, way, actions = (torch.cat(of_part).cpu().numpy() for of_part in zip(*imagined, strict=True))
    start = replay.state[:, :2].copy()
    costs, ways = [], []
    for t in range(horizon):
        for _ in range(timing.stride):
            _, step = replay.step(actions[:, t])
        costs.append(_total(step.costs))
        ways.append(np.hypot(*(replay.state[:, :2] - start).T))
    executed = (np.stack(columns, 1).astype(np.float32) for columns in (costs, ways))
    executed_cost, executed_way = executed
    return Executed(drives.vehicle, cost, executed_cost, way, executed_way)


def _driven(
    actor: Actor, model: ForwardModel[Any], context: Context, noise: Tensor, horizon: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Cost and way (B, T), the mean over members, and actions (B, T, 2) of an imagined drive."""
    members = num_members(model)
    many = context.repeat(members)
    z = from_prior(model, noise.repeat(members, 1, 1))
    cost = exact_costs(model.gradient, model.config.view)
    found = imagine(model, actor, model.encode(many), z, horizon, cost=cost, num_masks=members)
    way = (found.poses[..., :2] - many.now()[:, None, :2]).norm(dim=-1)
    mean_cost, mean_way = (x.view(members, -1, horizon).mean(0) for x in (found.costs.total(), way))
    return mean_cost, mean_way, found.actions[: context.batch_size]


def _total(costs: Numbers) -> Numbers:
    return Costs(*torch.from_numpy(costs).unbind(-1)).total().numpy()


def _anywhere(
    recordings: Sequence[Recording], split: Split, history: int, ahead: int, num: int, seed: int
) -> Drives:
    """`num` drives of a split's cars, each from a random frame on, `ahead` frames before its human arrives."""
    drives = find_drives(build_world(recordings), recordings, split, history=history)
    drives = drives.take(np.flatnonzero(drives.human_frame - drives.start_frame >= ahead))
    if len(drives) == 0:
        raise InputError(
            f"no car of the {split} split drives the scored stretch for {ahead} frames;"
            " use a longer recording or another split"
        )
    rng = np.random.default_rng(seed)
    drives = drives.take(rng.integers(len(drives), size=num))
    begin = rng.integers(drives.start_frame, drives.human_frame - ahead + 1)
    return Drives(drives.vehicle, begin, drives.human_frame, drives.limit_frame)
