"""One call of a planner, as its search sees it: candidates in, J out, and the best so far kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from planners.dynamics import Dynamics, State, States, batch_size, repeated, taken
from planners.noise import Noise, Shape
from planners.objective import Cost, Terminal, or_rejected, step_costs, total
from planners.sampling import cheapest
from planners.space import Box


class Answer(NamedTuple):
    """A plan for each start."""

    actions: Tensor  # (B, H, A)
    cost: Tensor  # (B,): J; +inf while there is none


class Problem:
    """Candidates are (N, B, H, A), their costs J (N, B), the mean of M futures; what they share is computed once.

    Attributes:
        low, high, scale: (B, H, A), of the space.
        state: M B rows, the start states in each future.
        start: (B, H, A) to begin with: the last plan shifted, an initial one, or nothing done.
        kept: what this planner kept of the last call (Info.kept), shifted; empty at first.
        best: the cheapest so far; `start` while nothing finite was found.
        hurried: whether time may end the search before it is over.
        evaluations: candidates per start whose J was asked for.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        cost: Cost,
        state: State,
        space: Box,
        *,
        horizon: int,
        batch_size: int,
        gamma: float = 1.0,
        terminal: Terminal | None = None,
        seeds: Sequence[int] | None = None,
        hurried: bool = False,
    ) -> None:
        self.dynamics, self.cost, self.terminal = dynamics, cost, terminal
        self.state = repeated(dynamics.begin(state), dynamics.num_futures)
        self.low, self.high, self.scale = space.over(batch_size, horizon)
        self.horizon, self.batch_size, self.hurried = horizon, batch_size, hurried
        self.discounts = self.scale.new_tensor([gamma**t for t in range(horizon + 1)])
        self.evaluations = 0
        self.kept: Mapping[str, Tensor] = {}
        self._noise = Noise(seeds)
        self._states: dict[int, State] = {}
        self.begin(self.clip(torch.zeros_like(self.low)))

    def begin(self, start: Tensor, cost: Tensor | None = None) -> None:
        """Search from these actions (B, H, A); J (B,) if it is known."""
        self.start = start
        self.best = Answer(start, start.new_full((self.batch_size,), torch.inf) if cost is None else cost)

    def evaluate(self, actions: Tensor) -> Tensor:
        """J of candidates, without a gradient; +inf rejects one. The cheapest becomes the best so far, if it is."""
        cost = self.price(actions)
        self.offer(actions, cost)
        return cost

    @torch.no_grad()
    def price(self, actions: Tensor) -> Tensor:
        """J of candidates as `evaluate` says it, none of which is to become the best."""
        return self._cost(actions)

    def gradient(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """J as `price` says it, and dJ/da (N, B, H, A), 0 for a candidate where any of it is not finite.

        Raises:
            ValueError: J does not depend on the actions in a way torch can differentiate.
        """
        actions = actions.detach().requires_grad_()
        with torch.enable_grad():
            cost = self._cost(actions)
            slope = None
            if cost.requires_grad:
                finite = torch.where(cost.isfinite(), cost, 0).sum()
                (slope,) = torch.autograd.grad(finite, actions, allow_unused=True)
        if slope is None:
            raise ValueError("the cost is not differentiable in the actions: use a planner that samples")
        fine = slope.sum((-2, -1), keepdim=True).isfinite()
        return cost.detach(), torch.where(fine, slope, 0)

    def offer(self, actions: Tensor, cost: Tensor) -> None:
        """Keep the cheapest of some candidates whose J is known, where it is cheaper than the best so far."""
        found, least = cheapest(actions, cost)
        better = least < self.best.cost
        self.best = Answer(
            torch.where(better[:, None, None], found, self.best.actions),
            torch.where(better, least, self.best.cost),
        )

    def around(self, mean: Tensor, std: Tensor, num: int, shape: Shape) -> Tensor:
        """N candidates: the mean (B, H, A), and N - 1 samples around it as far as std (B, H, A), all clipped."""
        if num == 1:
            return self.clip(mean[None])
        candidates = mean.new_empty(num, *mean.shape)
        candidates[0] = mean
        torch.addcmul(mean, std, self.noise(num - 1, shape), out=candidates[1:])
        return candidates.clamp_(self.low, self.high)

    def noise(self, num: int, shape: Shape) -> Tensor:
        """(N, B, H, A), or (N, 1, H, A) where all starts have one seed."""
        return self._noise.draw(shape, num, self.horizon, self.scale)

    def clip(self, actions: Tensor) -> Tensor:
        """The nearest allowed candidates (..., B, H, A)."""
        return torch.clamp(actions, self.low, self.high)

    def candidates_of(self, state: State, num: int) -> State:
        """Each row N times: from (M, B) to (M, N, B) rows."""
        if self.dynamics.num_futures == 1:
            return repeated(state, num)
        row = torch.arange(batch_size(state), device=self.scale.device).view(self.dynamics.num_futures, 1, -1)
        return taken(state, row.expand(-1, num, -1).flatten())

    def starts(self, num: int) -> State:
        """The start states, N candidates of each."""
        if num not in self._states:
            self._states[num] = self.candidates_of(self.state, num)
        return self._states[num]

    def rows(self, actions: Tensor) -> Tensor:
        """(R, H, A) of candidates."""
        return repeated(actions.flatten(0, 1), self.dynamics.num_futures)

    def beyond(self, end: State) -> Tensor | None:
        """V (R,) of states at the horizon."""
        return None if self.terminal is None else self.terminal(self.dynamics.seen(end))

    def judged(self, states: States, end: State, actions: Tensor) -> Tensor:
        """J of candidates that have been driven, whose rollout was this."""
        c, ended = step_costs(self.cost, states, self.rows(actions))
        j = total(c, ended, self.discounts, self.beyond(end))
        return or_rejected(j.view(-1, *actions.shape[:2]).mean(0), actions)

    def _cost(self, actions: Tensor) -> Tensor:
        self.evaluations += len(actions)
        rollout = self.dynamics.rollout(self.starts(len(actions)), self.rows(actions))
        return self.judged(*rollout, actions)
