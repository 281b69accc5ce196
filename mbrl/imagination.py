"""Unrolling a forward model: the one place where futures are imagined.

    h_0 = encode(context);   a_t = actor(context_t);   (i_t+1, u_t+1), h_t+1 = step(h_t, a_t, z_t)

Anything with a `step(h, action, z)` and a `context(h)` can be unrolled: a forward model, or futures it has already
drawn (mbrl.futures). Costs are those of envs.costs on the imagined pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from envs.context import Context
from envs.costs import Costs, costs, pixel_grid
from envs.units import View
from mbrl.forward_models.base import Prediction
from mbrl.warp import pixel_coordinates

Actor = Callable[[Context], Tensor]
Gradient = Literal["position", "pixels"]


class Dynamics(Protocol):
    """What can be unrolled."""

    def step(self, h: Any, action: Tensor, z: Tensor) -> tuple[Prediction, Any]: ...

    def context(self, h: Any) -> Context: ...


@dataclass(frozen=True)
class Trajectory:
    """An imagined future of B (or K masks times B) examples and T steps; index t holds what step t led to."""

    images: Tensor  # (B, T, 3, H, W)
    poses: Tensor  # (B, T, 4): x, y, heading, speed
    actions: Tensor  # (B, T, 2), that led there
    costs: Costs  # (B, T) each


def unroll(
    dynamics: Dynamics, h: Any, act: Callable[[int, Any], Tensor], z: Callable[[int, Any], Tensor], steps: int
) -> Iterator[tuple[Tensor, Prediction, Any]]:
    """Yield (action, prediction, state) of each step; act(t, h) and z(t, h) choose them from the state before it."""
    for t in range(steps):
        action = act(t, h)
        prediction, h = dynamics.step(h, action, z(t, h))
        yield action, prediction, h


def imagine(
    dynamics: Dynamics,
    actor: Actor,
    h: Any,
    z: Tensor,
    horizon: int,
    *,
    gradient: Gradient,
    view: View,
    num_masks: int = 1,
) -> Trajectory:
    """Let an actor drive through a model's future.

    Args:
        h: the model's state now, see ForwardModel.encode; for K masks that of a context repeated K times (mask-major,
            see Context.repeat). The actor sees mask 0, and its actions are taken under every mask.
        z: (K * B, >= horizon, z_dim).
        gradient: what moves a cost: "position" of the ego's mask over fixed pictures, for pictures that do not depend
            on the action, or "pixels" under a fixed mask, for those that do (the paper's). Speed inside the proximity
            mask is always cut off: with it, crawling wins.
    """
    size = dynamics.context(h).size
    num_examples = len(size) // num_masks

    def act(t: int, state: Any) -> Tensor:
        return actor(dynamics.context(state).take(slice(num_examples))).repeat(num_masks, 1)

    steps = list(unroll(dynamics, h, act, lambda t, _: z[:, t], horizon))
    images = torch.stack([prediction.image for _, prediction, _ in steps], 1)
    poses = torch.stack([prediction.pose for _, prediction, _ in steps], 1)
    actions = torch.stack([action for action, _, _ in steps], 1)
    return Trajectory(images, poses, actions, costs_along(images, poses, size, gradient=gradient, view=view))


def costs_along(images: Tensor, poses: Tensor, size: Tensor, *, gradient: Gradient, view: View) -> Costs:
    """Costs (B, T) of pictures (B, T, 3, H, W) seen from poses (B, T, 4) by egos of size (B, 2); see `imagine`."""
    if gradient == "position":
        ahead, left = pixel_coordinates(view, poses.detach(), poses)
        images = images.detach()
    else:
        ahead, left = pixel_grid(view, poses)
    return costs(images, poses[..., 3].detach(), size[:, None].expand(-1, images.shape[1], -1), ahead, left)
