"""What a candidate costs.

J(a_0 ... a_H-1) = sum_t gamma^t c(s_t+1, a_t)  +  gamma^H V(s_H),     s_t+1 = f(s_t, a_t)

M futures, N candidates, B starts, R = M N B rows, H steps, A numbers per action
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from planners.dynamics import States

# Reads what a rollout (planners.dynamics) gave of R rows and its actions (R, H, A), and says what each step cost
# (R, H); or that and a mask (R, H) of the steps that end a row: they count, what comes after them does not. A cost
# written for the last axes only, as `states.square().sum(-1)`, serves one step and many.
Cost = Callable[[States, Tensor], Tensor | tuple[Tensor, Tensor]]
Terminal = Callable[
    [States], Tensor
]  # V (R,) of what is seen of the state at the horizon, which no step has cost


def step_costs(cost: Cost, states: States, actions: Tensor) -> tuple[Tensor, Tensor | None]:
    """c (R, H), 0 after the end of a row, and whether a row has ended by each step (R, H); None if none can end.

    Raises:
        ValueError: the cost's shape is another.
    """
    said = cost(states, actions)
    c, ends = said if isinstance(said, tuple) else (said, None)
    if c.shape != actions.shape[:2]:
        raise ValueError(f"a cost must be (rows, steps) = {tuple(actions.shape[:2])}, not {tuple(c.shape)}")
    if ends is None:
        return c, None
    ended = ends.cumsum(1) > 0
    before = torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], 1)
    return torch.where(before, 0, c), ended


def total(c: Tensor, ended: Tensor | None, discounts: Tensor, beyond: Tensor | None) -> Tensor:
    """J (R,) of c (R, H), already 0 after the end, and V (R,), which does not count where a row has ended.

    Args:
        discounts: gamma^0 ... gamma^H (H + 1,).
    """
    j = c @ discounts[:-1]
    if beyond is None:
        return j
    beyond = discounts[-1] * beyond
    return j + (beyond if ended is None else torch.where(ended[:, -1], 0, beyond))


def or_rejected(j: Tensor, actions: Tensor) -> Tensor:
    """J (...) of actions (..., H, A), +inf where it or an action is not finite: never the least."""
    return rejected(j + 0 * actions.detach().sum((-2, -1)))  # 0 x is NaN for an x that is not finite


def rejected(j: Tensor) -> Tensor:
    """J, +inf where it is not finite."""
    return torch.nan_to_num(j, nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
