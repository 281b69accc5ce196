"""The cross-entropy method: sample, keep the cheapest, sample around them.

    a_k ~ N(mu, diag sigma^2),   k = 1 ... N;      mu, sigma <- fit to the K of least J

Source: Rubinstein, Kroese, "The Cross-Entropy Method" (2004); as a planner: Chua et al., arXiv:1805.12114, section 5.
The answer is the cheapest candidate so far, not mu, whose cost nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from planners.base import IterativeConfig, Planner
from planners.noise import White
from planners.problem import Answer, Problem
from planners.sampling import elites, refit


@dataclass(frozen=True, kw_only=True)
class CEMConfig(IterativeConfig):
    """Sizes of the sample and of the elite."""

    num_samples: int = 256  # N, the mean included
    num_elites: int = 32  # K
    std: float = 0.5  # of the first sample, of the space's scale
    min_std: float = 0.01  # keeps a little search alive after convergence
    alpha: float = 0.1  # how much of the last distribution stays

    def __post_init__(self) -> None:
        super().__post_init__()
        some = 2 <= self.num_elites <= self.num_samples
        self._require("num_elites", some, f"within [2, num_samples={self.num_samples}]")
        self._require("std", self.std > 0, "positive")
        self._require("min_std", self.min_std >= 0, "at least 0")
        self._require("alpha", 0 <= self.alpha < 1, "within [0, 1)")


class CEM(Planner[CEMConfig]):
    """See the module's docstring."""

    def search(self, problem: Problem) -> Iterator[Answer]:
        config = self.config
        mean, std = problem.start, config.std * problem.scale
        for _ in range(config.num_iterations):
            candidates = problem.around(mean, std, config.num_samples, White())
            cost = problem.evaluate(candidates)
            yield problem.best
            mean, std = refit(*elites(candidates, cost, config.num_elites), mean, std, config.alpha)
            std = std.clamp(min=config.min_std * problem.scale)
