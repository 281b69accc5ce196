"""Gradient descent on the actions through the dynamics, by Adam.

    a <- clip(a - eta Adam(dJ/da)),     in units of the space's scale

Source: planning as in Henaff, Canziani, LeCun, arXiv:1901.02705 (their MPC: 5 steps, 10 sampled futures,
the last plan shifted); Adam: Kingma, Ba, arXiv:1412.6980; clipped to the bounds after each step. For several sampled
futures see planners.futures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from planners.adam import Adam
from planners.base import IterativeConfig, Planner
from planners.noise import Spline
from planners.problem import Answer, Problem


@dataclass(frozen=True, kw_only=True)
class DescentConfig(IterativeConfig):
    """Where a descent begins: at the start, and at N - 1 smoothly disturbed copies of it."""

    num_samples: int = 1  # N
    std: float = 0.3  # of the copies, of the space's scale
    knots: int = 4  # of the splines that disturb them

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_samples", self.num_samples >= 1, "positive")
        self._require("std", self.std > 0, "positive")
        self._require("knots", self.knots >= 1, "positive")

    def candidates(self, problem: Problem) -> Tensor:
        """(N, B, H, A)."""
        return problem.around(problem.start, self.std * problem.scale, self.num_samples, Spline(self.knots))


@dataclass(frozen=True, kw_only=True)
class GradientConfig(DescentConfig):
    """Iterations are steps of Adam, and a look at where the last one led."""

    learning_rate: float = 0.1  # eta, of the space's scale
    decay: float = 1.0  # of eta from one iteration to the next

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("learning_rate", self.learning_rate > 0, "positive")
        self._require("decay", 0 < self.decay <= 1, "within (0, 1]")


class Descent:
    """Candidates (N, B, H, A) that go down, each on its own.

    Args:
        unit: of actions, (B, H, A): a step of Adam is about this times the learning rate; 0 holds an action.
    """

    def __init__(self, problem: Problem, candidates: Tensor, unit: Tensor, adam: Adam) -> None:
        self.candidates, self._problem, self._unit, self._adam = candidates, problem, unit, adam

    def step(self) -> None:
        """Go on from where J is evaluated to where it is not yet."""
        cost, slope = self._problem.gradient(self.candidates)
        self._problem.offer(self.candidates, cost)
        step = self._unit * self._adam.step(slope * self._unit)
        self.candidates = self._problem.clip(self.candidates + step)


class GradientPlanner(Planner[GradientConfig]):
    """See the module's docstring."""

    def search(self, problem: Problem) -> Iterator[Answer]:
        """Raises ValueError where J is not differentiable in the actions."""
        config = self.config
        adam = Adam(config.learning_rate, config.decay)
        descent = Descent(problem, config.candidates(problem), problem.scale, adam)
        for _ in range(config.num_iterations):
            descent.step()
            yield problem.best
        problem.evaluate(descent.candidates)
        yield problem.best
