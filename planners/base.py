"""The one face of every planner.

    plan = CEM(CEMConfig(horizon=20)).plan(dynamics, cost, state, space)      # B start states in one call
    plan.actions  (B, H, A)      plan.cost  (B,)      plan.info

What a start gets does not depend on which others are planned with it. Each planner is a search that improves its
answer, iteration by iteration; time may end it after any of them.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from planners.dynamics import Dynamics, State, States, Step, as_dynamics, batch_size, repeated
from planners.objective import Cost, Terminal
from planners.problem import Answer, Problem
from planners.sampling import cheapest
from planners.space import Box

Clock = Callable[[], float]  # s
Policy = Callable[[States], Tensor]  # actions (R, A) of what is seen of R rows


@dataclass(frozen=True)
class Info:
    """How a plan came about."""

    iterations: int
    evaluations: int  # candidates per start that were driven through; of a beam, its beginnings
    seconds: float
    failed: Tensor  # (B,): no candidate had a finite cost; the actions are the start's, or the default
    kept: Mapping[str, Tensor] = field(default_factory=dict)  # (..., B, H, A), for the next call


@dataclass(frozen=True)
class Plan:
    """What to do."""

    actions: Tensor  # (B, H, A), in the units of the dynamics
    cost: Tensor  # (B,): J of these actions; +inf where planning failed
    info: Info

    def shifted(self, steps: int = 1) -> Tensor:
        """The actions (B, H, A) some steps later; the last one is repeated."""
        return _shifted(self.actions, steps)

    def take(self, starts: Tensor) -> Plan:
        """The plans of some starts, chosen by an index or a mask."""
        kept = {name: actions[..., starts, :, :] for name, actions in self.info.kept.items()}
        info = replace(self.info, failed=self.info.failed[starts], kept=kept)
        return Plan(self.actions[starts], self.cost[starts], info)


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """What every planner wants to know. A field that makes no search raises ValueError."""

    horizon: int = 20  # H, steps of the dynamics
    gamma: float = 1.0  # discount per step

    def __post_init__(self) -> None:
        self._require("horizon", self.horizon >= 1, "positive")
        self._require("gamma", 0 < self.gamma <= 1, "within (0, 1]")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"{name}={getattr(self, name)!r} must be {rule}")


@dataclass(frozen=True, kw_only=True)
class IterativeConfig(PlannerConfig):
    """Of a search that could go on for ever."""

    num_iterations: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_iterations", self.num_iterations >= 1, "positive")


C = TypeVar("C", bound=PlannerConfig)


class Planner(ABC, Generic[C]):
    """Finds actions that cost little.

    Args:
        clock: tells seconds.

    Attributes:
        growth: how much longer an iteration can take than the longest before it; a time budget counts on it.
    """

    growth: float = 1.0

    def __init__(self, config: C, *, clock: Clock = time.perf_counter) -> None:
        self.config, self._clock = config, clock

    @torch.no_grad()
    def plan(
        self,
        dynamics: Dynamics | Step,
        cost: Cost,
        state: State,
        space: Box,
        *,
        terminal: Terminal | None = None,
        previous: Plan | None = None,
        shift: int = 1,
        init: Tensor | Policy | None = None,
        seeds: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> Plan:
        """Actions for each of B start states.

        Args:
            dynamics: (state, action (R, A)) -> state, or `Dynamics`; R = M N B rows, see planners.dynamics.
            cost: of each step (R, H), and optionally where a row ends, see planners.objective.
            state: of B rows.
            space: what may be done.
            terminal: V (R,) of what is seen after the horizon.
            previous: the last plan, whose actions `shift` steps later are where the search begins (warm start); a start
                for which any of them is not finite begins anew.
            init: actions (B, H, A) to begin with, or a policy, which is driven through the dynamics. With `previous`
                too, each start begins with the cheaper.
            seeds: of the noise of each start; give others in the next call. None: 0 for all.
            budget: seconds for this call, however many starts. No iteration is begun that would exceed it if it took as
                long as the longest so far; the first always runs.
        Returns:
            Finite actions within bounds, whose cost is finite, unless no candidate's was: see Info.failed.
        """
        begun = self._clock()
        dynamics = as_dynamics(dynamics)
        num = batch_size(state)
        if seeds is not None and len(seeds) != num:
            raise ValueError(f"{len(seeds)} seeds for {num} starts")
        config = self.config
        problem = Problem(
            dynamics, cost, state, space, horizon=config.horizon, batch_size=num, gamma=config.gamma,
            terminal=terminal, seeds=seeds, hurried=budget is not None,
        )  # fmt: skip
        _warm_start(problem, previous, shift, init)
        answer, iterations = problem.best, 0
        deadline = None if budget is None else _Deadline(begun, budget, self.growth, self._clock)
        for answer in self.search(problem):
            iterations += 1
            if deadline is not None and deadline.near(answer.cost):
                break
        failed = ~answer.cost.isfinite()
        info = Info(iterations, problem.evaluations, self._clock() - begun, failed, self.keep(problem))
        return Plan(answer.actions, answer.cost, info)

    @abstractmethod
    def search(self, problem: Problem) -> Iterator[Answer]:
        """Yield the answer after each iteration; where its cost is +inf, its actions are the start's."""

    def keep(self, problem: Problem) -> Mapping[str, Tensor]:
        """What the next call should find in `Problem.kept`, besides the plan."""
        return {}


class _Deadline:
    """Whether there is no time for another iteration."""

    def __init__(self, begun: float, budget: float, growth: float, clock: Clock) -> None:
        self._end, self._growth, self._clock = begun + budget, growth, clock
        self._last, self._longest = begun, 0.0

    def near(self, cost: Tensor) -> bool:
        if cost.is_cuda:
            torch.cuda.synchronize(cost.device)  # or the clock would tell when work was queued, not done
        now = self._clock()
        self._longest, self._last = max(self._longest, now - self._last), now
        return now + self._growth * self._longest > self._end


def _warm_start(problem: Problem, previous: Plan | None, shift: int, init: Tensor | Policy | None) -> None:
    """Decide where the search begins."""
    default, starts = problem.start, []
    if previous is not None:
        starts.append(previous.shifted(shift))
        problem.kept = {name: _shifted(actions, shift) for name, actions in previous.info.kept.items()}
    if init is not None:
        starts.append(init if isinstance(init, Tensor) else _driven(problem, init))
    if not starts:
        return
    for k, actions in enumerate(starts):
        if actions.shape != default.shape:
            raise ValueError(
                f"a start must be (B, H, A) = {tuple(default.shape)}, not {tuple(actions.shape)}"
            )
        finite = actions.flatten(1).isfinite().all(1)[:, None, None]
        starts[k] = torch.where(finite, problem.clip(actions.to(default)), default)
    if len(starts) == 1:
        problem.begin(starts[0])
        return
    candidates = torch.stack(starts)
    problem.begin(*cheapest(candidates, problem.evaluate(candidates)))


def _driven(problem: Problem, policy: Policy) -> Tensor:
    """What a policy does (B, H, A) in the first future, each action clipped to what is allowed."""
    dynamics, state, actions = problem.dynamics, problem.state, []
    for low, high in zip(problem.low.unbind(1), problem.high.unbind(1), strict=True):
        actions.append(torch.clamp(policy(dynamics.seen(state))[: len(low)], low, high))
        state = dynamics.step(state, repeated(actions[-1], dynamics.num_futures))
    return torch.stack(actions, 1)


def _shifted(actions: Tensor, steps: int) -> Tensor:
    """(..., H, A) some steps later; the last action is repeated."""
    last = actions[..., -1:, :]
    return torch.cat([actions[..., steps:, :], *[last] * min(steps, actions.shape[-2])], -2)
