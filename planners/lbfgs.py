"""L-BFGS on the actions through the dynamics, every start and candidate a problem of its own.

    a(alpha) = clip(a - alpha H g),    s = a' - a,   y = g' - g,
    H from the last m pairs (s, y) by two loops, alpha the best of 2, 1, 1/4, 1/16 ...

Source: Nocedal, Wright, "Numerical Optimization", 2nd ed., algorithm 7.4. Actions at a bound towards which the cost
falls are left out of g, s and y (two-metric projection: Bertsekas, SIAM J. Control Optim. 20, 221 (1982)). All alpha
are tried in one batch.

    P problems of n = H A variables, in units of the space's scale; m pairs
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from planners.base import Planner
from planners.gradient import DescentConfig
from planners.problem import Answer, Problem


@dataclass(frozen=True, kw_only=True)
class LBFGSConfig(DescentConfig):
    """Iterations are steps with a new gradient each."""

    history: int = 10  # m
    num_trials: int = 8  # values of alpha

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("history", self.history >= 1, "positive")
        self._require("num_trials", self.num_trials >= 2, "at least 2: alpha = 2 and 1")


def direction(g: Tensor, s: Tensor, y: Tensor) -> Tensor:
    """H g (P, n) of gradients g (P, n), from steps s and changes of the gradient y (m, P, n), the oldest first.

    Pairs without s'y > 0 do not count. H begins as s'y / y'y of the last pair that counts; without any, it is such
    that no variable moves by more than 1.
    """
    sy = (s * y).sum(-1)
    counts = sy > 1e-10 * (s.norm(dim=-1) * y.norm(dim=-1))
    rho = torch.where(counts, 1 / sy, 0)[..., None]
    scale = 1 / g.abs().amax(-1).clamp(min=1e-12)
    q, alphas = g.clone(), []
    for k in reversed(range(len(s))):
        alphas.append(rho[k] * (s[k] * q).sum(-1, keepdim=True))
        q = q - alphas[-1] * y[k]
    for k in range(len(s)):
        scale = torch.where(counts[k], sy[k] / y[k].square().sum(-1), scale)
    q = q * scale[:, None]
    for k in range(len(s)):
        beta = rho[k] * (y[k] * q).sum(-1, keepdim=True)
        q = q + (alphas[-1 - k] - beta) * s[k]
    return q


class LBFGSPlanner(Planner[LBFGSConfig]):
    """See the module's docstring."""

    def search(self, problem: Problem) -> Iterator[Answer]:
        """Raises ValueError where J is not differentiable in the actions."""
        config, scale = self.config, problem.scale
        candidates = config.candidates(problem)
        shape = candidates.shape
        low, high = (
            (bound / scale).expand(shape).reshape(-1, scale[0].numel())
            for bound in (problem.low, problem.high)
        )
        trials = low.new_tensor([2.0, *(4.0**-k for k in range(config.num_trials - 1))])

        def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
            cost, slope = problem.gradient(problem.clip(x.view(shape) * scale))
            return cost.flatten(), (slope * scale).view_as(x)

        x = (candidates / scale).view_as(low)
        cost, g = gradient(x)
        problem.offer(candidates, cost.view(shape[:2]))
        s, y = x.new_zeros(0, *x.shape), x.new_zeros(0, *x.shape)
        for i in range(config.num_iterations):
            free = ~((x <= low) & (g > 0) | (x >= high) & (g < 0))
            d = direction(g * free, s * free, y * free) * free
            moved = torch.clamp(x - trials[:, None, None] * d, low, high)
            tried = moved.view(-1, *shape[1:]) * scale
            costs, best = problem.evaluate(problem.clip(tried)).view(len(trials), -1).min(0)
            better = costs < cost
            new = torch.where(better[:, None], moved[best, torch.arange(len(x), device=x.device)], x)
            if i < config.num_iterations - 1:
                cost, new_g = gradient(new)
                s = s * better[:, None]  # what led nowhere is forgotten
                s = torch.cat([s, (new - x)[None]])[-config.history :]
                y = torch.cat([y, (new_g - g)[None]])[-config.history :]
                x, g = new, new_g
            yield problem.best
