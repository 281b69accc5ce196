"""The cross-entropy method whose elites go downhill before it is refit to them.

    a_k ~ N(mu, diag sigma^2);   the K of least J take G steps of Adam;   mu, sigma <- fit to the K cheapest of all

Source: Bharadhwaj, Xie, Shkurti, arXiv:2004.08763 (steps for all samples) and Huang, Lale, Rosolia, Shi, Anandkumar,
arXiv:2112.07746 (for the best of them only, as here). The samples find the valley, the gradient its floor, in
steps that shrink with sigma.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from planners.adam import Adam
from planners.base import Planner
from planners.cem import CEMConfig
from planners.gradient import Descent
from planners.noise import White
from planners.problem import Answer, Problem
from planners.sampling import elites, refit


@dataclass(frozen=True, kw_only=True)
class GradientCEMConfig(CEMConfig):
    """Smaller samples than CEM's: an elite costs G gradients more."""

    num_iterations: int = 3
    num_samples: int = 64  # N
    num_elites: int = 4  # K
    gradient_steps: int = 3  # G
    learning_rate: float = 0.6  # of sigma
    alpha: float = 0.3  # so few elites would soon agree by chance

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gradient_steps", "learning_rate", "min_std"):
            self._require(name, getattr(self, name) > 0, "positive")


class GradientCEM(Planner[GradientCEMConfig]):
    """See the module's docstring."""

    def search(self, problem: Problem) -> Iterator[Answer]:
        """Raises ValueError where J is not differentiable in the actions."""
        config = self.config
        mean, std = problem.start, config.std * problem.scale
        for _ in range(config.num_iterations):
            candidates = problem.around(mean, std, config.num_samples, White())
            best, best_cost = elites(candidates, problem.evaluate(candidates), config.num_elites)
            descent = Descent(problem, best, std, Adam(config.learning_rate))
            for _ in range(config.gradient_steps):
                descent.step()
            refined = descent.candidates
            pool, costs = torch.cat([refined, best]), torch.cat([problem.evaluate(refined), best_cost])
            yield problem.best
            mean, std = refit(*elites(pool, costs, config.num_elites), mean, std, config.alpha)
            std = std.clamp(min=config.min_std * problem.scale)
