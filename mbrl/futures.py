"""Futures drawn once and driven through many times.

The separated model's scene does not depend on the ego, so its rollout, without gradients, serves any number of policy
updates, plans and policies. `Futures` is that rollout; it unrolls like the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from envs.context import Context
from envs.costs import Costs
from envs.warp import resample
from mbrl.forward_models.base import Prediction
from mbrl.forward_models.separated import SeparatedModel
from mbrl.imagination import Actor, Latents, Trajectory, proximity_along, stepwise, unroll


@dataclass(frozen=True)
class FuturesState:
    """How many steps have run, and what the ego has seen."""

    time: int
    ego: Context


@dataclass(frozen=True)
class Futures:
    """The scenes of B examples, T steps ahead, under K dropout masks; an ego drives through those of mask 0."""

    model: SeparatedModel
    start: Context  # what was known
    vehicles: Tensor  # (K, B, T, H, W), each from the observer's pose
    observer: Tensor  # (B, T, 4)

    @property
    def num_masks(self) -> int:
        return self.vehicles.shape[0]

    def of_mask(self, k: int) -> Futures:
        """Those under one mask."""
        return replace(self, vehicles=self.vehicles[k : k + 1])

    def encode(self) -> FuturesState:
        """The state at the beginning."""
        return FuturesState(0, self.start)

    def step(self, h: FuturesState, action: Tensor, z: Tensor) -> tuple[Prediction, FuturesState]:
        """Drive on by one step; the future is decided, z does not matter any more."""
        pose = self.model.drive(h.ego.now(), action)
        t = h.time
        image = self.model.look(
            self.vehicles[0, :, t, None],
            self.observer[:, t],
            self.start.frames[-1][:, ::2],
            self.start.now(),
            pose,
        )
        return Prediction(image, pose), FuturesState(t + 1, h.ego.push(image, pose))

    def context(self, h: FuturesState) -> Context:
        """What an actor sees in this state."""
        return h.ego

    def under_all_masks(self, driven: Trajectory) -> Trajectory:
        """A drive (B, T) through mask 0 as it would have looked, and what it would have cost, under each mask.

        Returns:
            K * B examples, mask-major; their images are the vehicle channel alone (K * B, T, 1, H, W), since what
            stands is the same under every mask. With a single mask, the drive itself.
        """
        if self.num_masks == 1:
            return driven
        num_masks, num, steps, height, width = self.vehicles.shape
        poses = driven.poses.repeat(num_masks, 1, 1)
        with torch.no_grad():
            others = resample(
                self.vehicles[1:].reshape(-1, 1, height, width),
                self.model.view,
                self.observer.expand(num_masks - 1, -1, -1, -1).reshape(-1, 4),
                poses[num:].reshape(-1, 4),
            )
            seen = torch.cat([driven.images[:, :, 1], others.view(-1, steps, height, width)])
        size = self.start.size.repeat(num_masks - 1, 1)
        near = proximity_along(seen[num:], poses[num:], size, self.model.view)
        lane, off_road = (cost.repeat(num_masks, 1) for cost in driven.costs[1:])
        return Trajectory(
            seen[:, :, None],
            poses,
            driven.actions.repeat(num_masks, 1, 1),
            Costs(torch.cat([driven.costs.proximity, near]), lane, off_road),
            driven.last,
        )


@torch.no_grad()
def foresee(model: SeparatedModel, context: Context, z: Latents, horizon: int, num_masks: int = 1) -> Futures:
    """Unroll a model's scene over z of K * B examples; dropout, if it is on, gives each of the masks its own."""
    h, choose = model.encode(context).repeat(num_masks), stepwise(z)
    frames, observers = [], []
    for t in range(horizon):
        h = model.advance(h, choose(t, h))
        frames.append(h.vehicles[:, -1])
        observers.append(h.observer[: context.batch_size])
    vehicles = torch.stack(frames, 1)
    return Futures(
        model, context, vehicles.view(num_masks, -1, *vehicles.shape[1:]), torch.stack(observers, 1)
    )


def follow(futures: Futures, actor: Actor, steps: int) -> list[tuple[Tensor, Context]]:
    """Let an actor drive through futures: each action, and what is seen after it."""
    z = torch.zeros(len(futures.start.size), steps, 0)  # the futures are drawn
    driving = unroll(
        futures, futures.encode(), lambda _, state: actor(futures.context(state)), stepwise(z), steps
    )
    return [(action, futures.context(state)) for action, _, state in driving]
