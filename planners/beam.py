"""Beam search over meta-actions: after each, the W cheapest beginnings of a plan go on.

W at least M^(H / D - 1) makes it a search of the whole tree. Source: Lowerre, "The HARPY speech recognition system"
(1976); with little time the beam is widened, 1, 2, 4 ... W, as Zhang, "Complete anytime beam search" (AAAI 1998) does,
so that there is a complete plan after the first, greedy pass.

    M meta-actions of D steps, W beginnings, B starts, F futures; rows are (future, beginning, start)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from planners.base import Clock, Planner, PlannerConfig
from planners.dynamics import State, taken
from planners.meta_actions import MetaActions
from planners.objective import or_rejected, step_costs
from planners.problem import Answer, Problem


@dataclass(frozen=True, kw_only=True)
class BeamConfig(PlannerConfig):
    """Iterations are passes with a wider beam each, as many as it takes."""

    width: int = 64  # W

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("width", self.width >= 1, "positive")


class _Beginnings(NamedTuple):
    """W beginnings of plans."""

    state: State  # F W B rows
    actions: Tensor  # (W, B, t, A)
    cost: Tensor  # (F, W, B), so far
    ended: Tensor  # (F, W, B)


class BeamSearch(Planner[BeamConfig]):
    """See the module's docstring. A warm start is the answer only where no plan has a finite cost, or, where its cost
    was known, none a lower one."""

    growth = 2.0

    def __init__(self, config: BeamConfig, meta: MetaActions, *, clock: Clock = time.perf_counter) -> None:
        super().__init__(config, clock=clock)
        if config.horizon % meta.steps:
            raise ValueError(
                f"horizon={config.horizon} must be a multiple of a meta-action's {meta.steps} steps"
            )
        self.meta = meta

    def search(self, problem: Problem) -> Iterator[Answer]:
        width = 1 if problem.hurried else self.config.width
        while True:
            self._search(problem, width)
            yield problem.best
            if width >= self.config.width:
                return
            width = min(2 * width, self.config.width)

    def _search(self, problem: Problem, width: int) -> None:
        empty = problem.start[None, :, :0]
        cost = problem.start.new_zeros(problem.dynamics.num_futures, 1, problem.batch_size)
        beam = _Beginnings(problem.state, empty, cost, torch.zeros_like(cost, dtype=torch.bool))
        for t in range(0, problem.horizon, self.meta.steps):
            beam = _cheapest(self._extended(problem, beam, t), width)
        cost, beyond = beam.cost, problem.beyond(beam.state)
        if beyond is not None:
            cost = cost + torch.where(beam.ended, 0, problem.discounts[-1] * beyond.view_as(cost))
        problem.offer(beam.actions, or_rejected(cost.mean(0), beam.actions))

    def _extended(self, problem: Problem, beam: _Beginnings, t: int) -> _Beginnings:
        """Each beginning with each of the M meta-actions at its end: M W of them."""
        num, steps = self.meta.num, self.meta.steps
        _, w, b = beam.cost.shape
        problem.evaluations += num * w
        state = problem.candidates_of(beam.state, num)
        index = torch.arange(num, device=beam.cost.device).repeat_interleave(w * b)
        low, high = problem.low[:, t : t + steps], problem.high[:, t : t + steps]
        new = self.meta.actions(problem.dynamics, state, index, low, high).view(num * w, b, steps, -1)
        rows = problem.rows(new)
        states, end = problem.dynamics.rollout(state, rows)
        c, ends = step_costs(problem.cost, states, rows)
        ended = beam.ended.repeat(1, num, 1)
        more = (c @ problem.discounts[t : t + steps]).view_as(ended)
        cost = beam.cost.repeat(1, num, 1) + torch.where(ended, 0, more)
        again = ended[:, w:].all(0)  # a plan that has ended goes on once, not M times
        cost[:, w:] = torch.where(again, torch.inf, cost[:, w:])
        if ends is not None:
            ended = ended | ends[:, -1].view_as(ended)
        actions = torch.cat([beam.actions.repeat(num, 1, 1, 1), new], 2)
        return _Beginnings(end, actions, or_rejected(cost, actions), ended)


def _cheapest(beam: _Beginnings, width: int) -> _Beginnings:
    futures, w, b = beam.cost.shape
    if w <= width:
        return beam
    starts = torch.arange(b, device=beam.cost.device)
    index = beam.cost.mean(0).topk(width, dim=0, largest=False).indices
    first = w * b * torch.arange(futures, device=index.device)[:, None, None]
    state = taken(beam.state, (first + index * b + starts).flatten())
    return _Beginnings(
        state, beam.actions[index, starts], beam.cost[:, index, starts], beam.ended[:, index, starts]
    )
