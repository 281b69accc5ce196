"""First and second derivatives of dynamics and costs along B trajectories of H steps, all of them in one call.

Rows do not depend on each other, so D copies of them, each pulled back by another unit vector, give all D rows of
every Jacobian at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from planners.dynamics import Dynamics
from planners.objective import Cost, step_costs


class Linear(NamedTuple):
    """s' = f(s, a): (H, B, S, S) and (H, B, S, A)."""

    by_state: Tensor
    by_action: Tensor


class Quadratic(NamedTuple):
    """c(s', a), of both together: D = S + A numbers, S first."""

    slope: Tensor  # (H, B, D)
    curvature: Tensor  # (H, B, D, D), the nearest that is positive semi-definite


def linearised(dynamics: Dynamics, states: Tensor, actions: Tensor) -> Linear:
    """Of states (H, B, S) and actions (H, B, A)."""
    dim = states.shape[-1]
    with torch.enable_grad():
        s, a = (_copies(x, dim).requires_grad_() for x in (states, actions))
        after = dynamics.step(s.flatten(0, 2), a.flatten(0, 2))
        picked = (after.view(dim, -1, dim) * torch.eye(dim).to(after)[:, None]).sum()
        by_state, by_action = _grad(picked, s, a)
    return Linear(by_state.movedim(0, 2), by_action.movedim(0, 2))


def quadratic(cost: Cost, states: Tensor, actions: Tensor) -> Quadratic:
    """Of the states (H, B, S) that actions (H, B, A) led to."""
    dim = states.shape[-1]

    def step_cost(x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)[:, None]
        return step_costs(cost, rows[..., :dim], rows[..., dim:])[0]

    return _quadratic(step_cost, torch.cat([states, actions], -1))


def quadratic_terminal(terminal: Callable[[Tensor], Tensor], states: Tensor) -> tuple[Tensor, Tensor]:
    """Slope (B, S) and curvature (B, S, S) of V(s), states (B, S)."""
    return _quadratic(lambda x: terminal(x.flatten(0, -2)), states)


def _quadratic(function: Callable[[Tensor], Tensor], x: Tensor) -> Quadratic:
    dim = x.shape[-1]
    with torch.enable_grad():
        copies = _copies(x, dim).requires_grad_()
        (slope,) = _grad(function(copies).sum(), copies, create_graph=True)
        unit = torch.eye(dim).to(x).view(dim, *[1] * (x.dim() - 1), dim)
        (curvature,) = _grad((slope * unit).sum(), copies)
    curvature = curvature.movedim(0, -2)
    symmetric = ((curvature + curvature.mT) / 2).nan_to_num(0.0, 0.0, 0.0)  # eigh refuses anything else
    values, vectors = torch.linalg.eigh(symmetric)
    return Quadratic(slope[0].detach(), (vectors * values.clamp(min=0)[..., None, :]) @ vectors.mT)


def _copies(x: Tensor, num: int) -> Tensor:
    return x.detach().expand(num, *x.shape).clone()


def _grad(y: Tensor, *inputs: Tensor, create_graph: bool = False) -> tuple[Tensor, ...]:
    """Zeros where y does not depend on an input."""
    if not y.requires_grad:
        return tuple(torch.zeros_like(x) for x in inputs)
    found = torch.autograd.grad(y, inputs, create_graph=create_graph, allow_unused=True)
    return tuple(torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True))
