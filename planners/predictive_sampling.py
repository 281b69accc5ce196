"""Predictive sampling: the plan so far and noisy copies of it, the cheapest wins.

    a_k = a + C e_k,   e_k ~ N(0, sigma^2) of P knots,   e_0 = 0;      a <- a_k of the least J

where C interpolates the knots of a spline, so that noise is smooth and there are few numbers to find. Source: Howell,
Gileadi, Tunyasuvunakool, Zakka, Erez, Tassa, arXiv:2212.00541, algorithm 1. There the plan is the spline itself; here
the noise is, so any plan can be the first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from planners.base import IterativeConfig, Planner
from planners.noise import Interpolation, Spline
from planners.problem import Answer, Problem


@dataclass(frozen=True, kw_only=True)
class PredictiveSamplingConfig(IterativeConfig):
    """As in the paper, one iteration per action."""

    num_iterations: int = 1
    num_samples: int = 64  # N, the plan so far included
    std: float = 0.3  # sigma, of the space's scale
    knots: int = 5  # P
    interpolation: Interpolation = "cubic"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_samples", self.num_samples >= 2, "at least 2: the plan so far is one of them")
        self._require("std", self.std > 0, "positive")
        self._require("knots", 1 <= self.knots <= self.horizon, f"within [1, horizon={self.horizon}]")
        Spline(self.knots, self.interpolation)


class PredictiveSampling(Planner[PredictiveSamplingConfig]):
    """See the module's docstring."""

    def search(self, problem: Problem) -> Iterator[Answer]:
        config = self.config
        spline, std = Spline(config.knots, config.interpolation), config.std * problem.scale
        for _ in range(config.num_iterations):
            problem.evaluate(problem.around(problem.best.actions, std, config.num_samples, spline))
            yield problem.best
