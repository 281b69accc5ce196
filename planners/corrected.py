"""One of a few actions, and a correction of it, at every step: mixed planning where dynamics take plain actions.

    a_t = T' w_t + u_t,     w_t one of K choices,  |u_t| <= reach          (w, u) as planners.mixed finds them

T is the table of choices. While w is a mixture, so is the action: the relaxation needs nothing of the dynamics but a
slope. For each start T and the reach are narrowed until whatever is chosen, mixed and corrected keeps to its bounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from planners.base import Clock, Plan, Policy
from planners.dynamics import Dynamics, State, States, Step, as_dynamics, batch_size
from planners.mixed import Mixed, MixedConfig
from planners.objective import Cost
from planners.space import Box

TIE = 1e-6  # of two choices that come equally close to an action, the one that needs less correction


class Corrected(Mixed):
    """See the module's docstring. Plans are of plain actions (B, H, A), as of any other planner.

    Args:
        table: T (K, A), in the units of the dynamics.
        reach: of A numbers, how far a correction goes.
    """

    def __init__(
        self, config: MixedConfig, table: Tensor, reach: Sequence[float], *, clock: Clock = time.perf_counter
    ) -> None:
        super().__init__(config, clock=clock)
        self.table, self.reach = table, torch.tensor(list(reach)).to(table)
        if table.shape != (config.num_choices, len(reach)):
            raise ValueError(
                f"a table {tuple(table.shape)} is not of {config.num_choices} choices, {len(reach)} numbers each"
            )

    def plan(
        self,
        dynamics: Dynamics | Step,
        cost: Cost,
        state: State,
        space: Box,
        *,
        previous: Plan | None = None,
        init: Tensor | Policy | None = None,
        **others: Any,
    ) -> Plan:
        """As planners.base says."""
        choices = _Choices.within(space, batch_size(state), self.table, self.reach)
        if previous is not None:
            previous = replace(previous, actions=choices.of(previous.actions))
        plan = super().plan(
            _Told(as_dynamics(dynamics), choices.actions),
            lambda states, actions: cost(states, choices.actions(actions)),
            state,
            choices.space(),
            previous=previous,
            init=choices.start(init, self.config.horizon) if init is not None or previous is None else None,
            **others,
        )
        actions = choices.actions(plan.actions)
        return replace(plan, actions=torch.clamp(actions, space.low, space.high))  # rounding may exceed them


class _Told(Dynamics):
    """Dynamics that are told (w, u)."""

    def __init__(self, inside: Dynamics, actions: Callable[[Tensor], Tensor]) -> None:
        self.num_futures = inside.num_futures
        self._inside, self._actions = inside, actions

    def begin(self, state: State) -> State:
        return self._inside.begin(state)

    def seen(self, state: State) -> States:
        return self._inside.seen(state)

    def step(self, state: State, action: Tensor) -> State:
        return self._inside.step(state, self._actions(action))

    def rollout(self, state: State, actions: Tensor) -> tuple[States, State]:
        return self._inside.rollout(state, self._actions(actions))


@dataclass(frozen=True)
class _Choices:
    """What B starts may choose and correct. Rows (R, A) or (R, H, A) are of starts as in planners.dynamics."""

    table: Tensor  # (B, 1, K, A)
    reach: Tensor  # (B, 1, 1, A)
    least: Tensor  # (B, 1, A): nothing done, or what is nearest to it
    unit: Tensor  # (B, 1, 1, A)

    @staticmethod
    def within(space: Box, batch_size: int, table: Tensor, reach: Tensor) -> _Choices:
        low, high, unit = (x[:, None] for x in space.over(batch_size, 1))
        reach = torch.minimum(reach.to(low), (high - low) / 2)
        nothing = torch.clamp(torch.zeros_like(low), low, high)[:, 0]
        return _Choices(torch.clamp(table.to(low), low + reach, high - reach), reach, nothing, unit)

    def space(self) -> Box:
        """Of (w, u)."""
        ones, reach = torch.ones_like(self.table[..., 0]), self.reach[:, 0]
        size = torch.where(reach > 0, reach, 1.0)
        return Box(*(torch.cat(x, -1) for x in ((0 * ones, -reach), (ones, reach), (ones, size))))

    def actions(self, mixed: Tensor) -> Tensor:
        """a of (w, u)."""
        w, u = mixed.split(self.table.shape[-2:], -1)
        return (self._by_start(w) @ self.table[:, 0]).reshape(u.shape) + u

    def of(self, actions: Tensor) -> Tensor:
        """(w, u) that come closest to a; of rows that are not finite, to nothing."""
        told = self._by_start(actions.to(self.table))
        told = torch.where(told.isfinite().all(-1, True).all(-2, True), told, self.least)
        away = told[..., None, :] - self.table
        u = torch.clamp(away, -self.reach, self.reach)
        missed, size = (((x / self.unit).square()).sum(-1) for x in (away - u, u))
        w = F.one_hot((missed + TIE * size).argmin(-1), self.table.shape[-2]).to(u)
        mixed = torch.cat([w, (w[..., None] * u).sum(-2)], -1)
        return mixed.view(*actions.shape[:-1], -1)

    def start(self, init: Tensor | Policy | None, horizon: int) -> Tensor | Policy:
        """Where a search begins."""
        if init is None:
            return self.of(self.least.expand(-1, horizon, -1))
        return self.of(init) if isinstance(init, Tensor) else lambda seen: self.of(init(seen))

    def _by_start(self, x: Tensor) -> Tensor:
        """(n, B, H or 1, ...) of rows."""
        return x.reshape(-1, len(self.table), x[0].numel() // x.shape[-1], x.shape[-1])
