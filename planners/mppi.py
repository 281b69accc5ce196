"""MPPI, model predictive path integral control: the average of sampled plans, the cheap ones weighing more.

    v_k = u + e_k,   e_k ~ N(0, Sigma)
    w_k = exp(-S_k / lambda) / sum_i exp(-S_i / lambda),   S_k = J(v_k) + lambda (1 - alpha) sum_t u_t' Sigma^-1 e_k,t
    u  <- sum_k w_k v_k

Source: Williams, Drews, Goldfain, Rehg, Theodorou, arXiv:1707.02342, algorithm 2. alpha = 1 leaves out the cost of
control, which pulls u to 0; alpha = 0 counts it in full. With several iterations Sigma may shrink from one to the
next, so that the last average is a fine one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from planners.base import IterativeConfig, Planner
from planners.noise import Coloured, White
from planners.objective import rejected
from planners.problem import Answer, Problem
from planners.sampling import cheapest


@dataclass(frozen=True, kw_only=True)
class MPPIConfig(IterativeConfig):
    """As in the paper, one iteration per action."""

    num_iterations: int = 1
    num_samples: int = 256  # N
    temperature: float = 1.0  # lambda, in the unit of J
    std: float = 0.5  # of the noise, of the space's scale
    std_decay: float = 1.0  # of it from one iteration to the next
    alpha: float = 1.0
    noise_beta: float = 0.0  # above 0 the noise is coloured; Sigma is still that of white noise
    score: bool = True  # drive through u too; else its cost is said to be sum w_k J_k, a bound for convex J

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_samples", self.num_samples >= 2, "at least 2: u is one of them")
        self._require("temperature", self.temperature > 0, "positive")
        self._require("std", self.std > 0, "positive")
        self._require("std_decay", 0 < self.std_decay <= 1, "within (0, 1]")
        self._require("alpha", 0 <= self.alpha <= 1, "within [0, 1]")
        self._require("noise_beta", self.noise_beta >= 0, "at least 0")


def plan_weights(cost: Tensor, temperature: float) -> Tensor:
    """Weight of each sampled plan: the cheaper the plan, the larger its weight.

        w_k = exp(-S_k / lambda) / sum_i exp(-S_i / lambda)

    Args:
        cost: S of shape (N, B). A non-finite entry rejects that plan.
        temperature: lambda > 0, in the unit of the cost. Towards 0 the best plan takes all.
    Returns:
        w of shape (N, B); each column sums to 1. No finite cost in a column gives NaN there.
    """
    return torch.softmax(rejected(cost) / -temperature, dim=0)


class MPPI(Planner[MPPIConfig]):
    """See the module's docstring. One of the N plans is u itself. Where the average has no finite cost, or costs more
    than what it averages by over lambda (it lies between two valleys), the cheapest plan takes its place. The answer is
    the cheapest so far."""

    def search(self, problem: Problem) -> Iterator[Answer]:
        config = self.config
        shape = Coloured(config.noise_beta) if config.noise_beta else White()
        u, std = problem.start, config.std * problem.scale
        for i in range(config.num_iterations):
            now = std * config.std_decay**i
            plans = problem.around(u, now, config.num_samples, shape)
            cost = problem.price(plans)
            weight = plan_weights(cost + self._control_cost(u, plans - u, now), config.temperature)
            mean = (weight[:, :, None, None] * plans).sum(0)
            bound = torch.where(weight == 0, 0, weight * cost).sum(0)
            mean_cost = problem.price(mean[None])[0] if config.score else bound
            fine = mean_cost.isfinite() & (mean_cost <= bound + config.temperature)
            if not bool(fine.all()):
                best, least = cheapest(plans, cost)
                mean = torch.where(fine[:, None, None], mean, best)
                mean_cost = torch.where(fine, mean_cost, least)
            problem.offer(mean[None], mean_cost[None])
            u = mean
            yield problem.best

    def _control_cost(self, u: Tensor, noise: Tensor, std: Tensor) -> Tensor | float:
        """lambda (1 - alpha) u' Sigma^-1 e (N, B)."""
        weight = self.config.temperature * (1 - self.config.alpha)
        return weight * (u / std.square() * noise).sum((-2, -1)) if weight else 0.0
