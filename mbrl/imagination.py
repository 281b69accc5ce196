"""Unrolling a forward model: the one place where futures are imagined.

    h_0 = encode(context);   a_t = actor(context_t);   (i_t+1, u_t+1), h_t+1 = step(h_t, a_t, z_t)

Anything with a `step(h, action, z)` and a `context(h)` can be unrolled: a forward model, or futures it has already
drawn (mbrl.futures). Costs are those of envs.costs on the imagined pictures (`exact_costs`), or a network's
(mbrl.critics).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from envs.context import Context
from envs.costs import (
    LANE_WIDTH,
    Costs,
    across_mask,
    along_mask,
    beside_mask,
    costs,
    lane_mask,
    pixel_grid,
)
from envs.units import View
from envs.warp import relative_points
from mbrl.forward_models.base import ForwardModel, Prediction

TIE = 1e-4  # pixels whose products differ by less attain a maximum together
Actor = Callable[[Context], Tensor]
Latents = Tensor | Callable[[int, Any], Tensor]  # (B, T, z_dim), or of step t and the state before it
Gradient = Literal["position", "pixels"]
CostsOf = Callable[
    [Tensor, Tensor, Tensor], Costs
]  # of pictures (B, T, 3, H, W), poses (B, T, 4), sizes (B, 2)


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
    last: Context | None = None  # what an actor sees at the end


def unroll(
    dynamics: Dynamics, h: Any, act: Callable[[int, Any], Tensor], z: Callable[[int, Any], Tensor], steps: int
) -> Iterator[tuple[Tensor, Prediction, Any]]:
    """Yield (action, prediction, state) of each step; act(t, h) and z(t, h) choose them from the state before it."""
    for t in range(steps):
        action = act(t, h)
        prediction, h = dynamics.step(h, action, z(t, h))
        yield action, prediction, h


def stepwise(x: Tensor | Callable[[int, Any], Tensor]) -> Callable[[int, Any], Tensor]:
    """x[:, t] of step t, or what a function says of it and the state before it."""
    return (lambda t, _: x[:, t]) if isinstance(x, Tensor) else x


def from_prior(model: ForwardModel[Any], noise: Tensor) -> Callable[[int, Any], Tensor]:
    """z ~ p(z | s) of each step, chosen by noise (B, >= T, z_dim) of N(0, I)."""
    return lambda t, h: model.latent(h, noise[:, t])


def imagine(
    dynamics: Dynamics,
    actor: Actor,
    h: Any,
    z: Latents,
    horizon: int,
    *,
    cost: CostsOf,
    num_masks: int = 1,
) -> Trajectory:
    """Let an actor drive through a model's future.

    Args:
        h: the model's state now, see ForwardModel.encode; for K masks that of a context repeated K times (mask-major,
            see Context.repeat). The actor sees mask 0, and its actions are taken under every mask.
        z: (K * B, >= horizon, z_dim), or from the prior, see `from_prior`.
        cost: of the imagined pictures, see `exact_costs`.
    """
    size = dynamics.context(h).size
    num_examples = len(size) // num_masks

    def act(t: int, state: Any) -> Tensor:
        return actor(dynamics.context(state).take(slice(num_examples))).repeat(num_masks, 1)

    taken, state = [], h
    for action, prediction, state in unroll(dynamics, h, act, stepwise(z), horizon):  # noqa: B007 (the last is kept)
        taken.append((action, *prediction))
    actions, images, poses = (torch.stack(part, 1) for part in zip(*taken, strict=True))
    return Trajectory(images, poses, actions, cost(images, poses, size), dynamics.context(state))


def along(
    model: ForwardModel[Any], context: Context, actions: Tensor, z: Latents, num_masks: int
) -> Trajectory:
    """The trajectory of given actions (B, T, 2) under K masks (mask-major), z of K * B examples."""
    return imagine(
        model, given(actions), model.encode(context, num_masks), z, actions.shape[1],
        cost=exact_costs(model.gradient, model.config.view), num_masks=num_masks,
    )  # fmt: skip


def given(actions: Tensor) -> Actor:
    """Takes actions (B, T, 2) one after the other, whatever it sees."""
    steps = iter(actions.unbind(1))
    return lambda _: next(steps)


def exact_costs(gradient: Gradient, view: View, *, detach_speed: bool = True) -> CostsOf:
    """envs.costs of imagined pictures.

    Args:
        gradient: what moves a cost: "position" of the ego's mask over fixed pictures, or the "pixels" under a fixed
            mask, which must then depend on the actions: through the network that drew them (the paper's), or through
            the view cut out of what it drew (mbrl.forward_models.separated).
        detach_speed: cut the gradient of the speed inside the proximity mask: with it, crawling wins.
    """

    def costs_of(images: Tensor, poses: Tensor, size: Tensor) -> Costs:
        if gradient == "position":
            return _costs_by_position(images, poses, size, view, detach_speed)
        size = size[:, None].expand(-1, images.shape[1], -1)
        speed = poses[..., 3].detach() if detach_speed else poses[..., 3]
        return costs(images, speed, size, *pixel_grid(view, poses))

    return costs_of


def at_fixed_speed(cost: CostsOf) -> CostsOf:
    """The same costs, whose gradient does not go through the speed."""

    def costs_of(images: Tensor, poses: Tensor, size: Tensor) -> Costs:
        return cost(images, torch.cat([poses[..., :3], poses[..., 3:].detach()], -1), size)

    return costs_of


def proximity_along(
    vehicles: Tensor, poses: Tensor, size: Tensor, view: View, detach_speed: bool = True
) -> Tensor:
    """The proximity cost alone, (B, T), of vehicle channels (B, T, H, W); its gradient is by position."""
    speed = (poses[..., 3].detach() if detach_speed else poses[..., 3]).reshape(-1, 1)
    size = size[:, None].expand(-1, vehicles.shape[1], -1).reshape(-1, 1, 2)
    along, across = partial(along_mask, speed=speed, size=size), partial(across_mask, size=size)
    return _under_moving_mask(vehicles, poses, along, across, float(size[..., 1].max()), view)


def _costs_by_position(images: Tensor, poses: Tensor, size: Tensor, view: View, detach_speed: bool) -> Costs:
    """Costs whose gradient is that of the ego's masks moving over fixed pictures."""
    beside = partial(beside_mask, size=size[:, None].expand(-1, images.shape[1], -1).reshape(-1, 1, 2))
    lanes, vehicles, off_road = images.unbind(2)
    return Costs(
        proximity_along(vehicles, poses, size, view, detach_speed),
        _under_moving_mask(lanes, poses, beside, lane_mask, LANE_WIDTH / 2, view),
        _under_moving_mask(off_road, poses, beside, lane_mask, LANE_WIDTH / 2, view),
    )


def _under_moving_mask(
    image: Tensor,
    poses: Tensor,
    along: Callable[[Tensor], Tensor],
    across: Callable[[Tensor], Tensor],
    reach: float,
    view: View,
) -> Tensor:
    """The maximum over pixels of i m(f) n(l), intensity i fixed, m and n moving with the ego; (B, T).

    Moving the ego ahead by df, to the left by dl and turning it by dh moves a pixel by (-df + l dh, -dl - f dh), so
    that at the pixels that attain the maximum (averaged, if several do) the cost changes by

        i m'(f) n(l) (-df + l dh) + i m(f) n'(l) (-dl - f dh)

    which is all that is kept of the pictures: no graph over pixels.

    Args:
        image: (B, T, H, W).
        along, across: m and n at points (B * T, pixels); n is 0 further than `reach` metres to either side.
    """
    n = poses.shape[0] * poses.shape[1]
    rows, columns = pixel_grid(view, poses)
    within = torch.nonzero(columns[0].abs() <= reach)[:, 0]
    near = slice(int(within[0]), int(within[-1]) + 1)
    image = image.detach()[..., near].reshape(n, view.height, -1)
    ahead, left = rows[:, 0].expand(n, -1), columns[0, near].expand(n, -1)
    fixed = poses.detach()
    df, dl = (-shift for shift in relative_points(fixed.new_zeros(()), fixed.new_zeros(()), fixed, poses))
    dh = poses[..., 2] - fixed[..., 2]
    (mf, slope_f), (ml, slope_l) = _with_slope(along, ahead), _with_slope(across, left)
    values = (
        image * along(ahead)[:, :, None] * ml[:, None, :]
    )  # whose graph is that of the speed, if attached
    top = values.amax((1, 2))
    tied = values >= top[:, None, None] - TIE
    weight = image * tied / tied.sum((1, 2), keepdim=True)

    def total(by_row: Tensor, by_column: Tensor) -> Tensor:
        return torch.einsum("nhw,nh,nw->n", weight, by_row, by_column).view(poses.shape[:2])

    change_f, change_l = total(slope_f, ml), total(mf, slope_l)
    turning = total(slope_f, ml * left) - total(mf * ahead, slope_l)
    return top.view(poses.shape[:2]) - change_f * df - change_l * dl + turning * dh


def _with_slope(profile: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Values and derivatives of a function of each element."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        value = profile(x)
        if not value.requires_grad:
            return value, torch.zeros_like(value)
        (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope
