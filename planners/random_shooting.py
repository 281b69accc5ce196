"""Random shooting: draw plans, take the cheapest.

    a_k ~ U(low, high),   k = 1 ... N;      a = a_k of the least J

Each iteration draws N more. Source: Rao, "A survey of numerical methods for optimal control" (2009), section on
shooting; as a planner with learned models: Nagabandi et al., arXiv:1708.02596, section IV.C.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from planners.base import IterativeConfig, Planner
from planners.noise import White
from planners.problem import Answer, Problem


@dataclass(frozen=True, kw_only=True)
class RandomShootingConfig(IterativeConfig):
    """N candidates in each of a few rounds."""

    num_iterations: int = 1
    num_samples: int = 256  # N

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_samples", self.num_samples >= 2, "at least 2: the start is one of them")


class RandomShooting(Planner[RandomShootingConfig]):
    """See the module's docstring. One of the first N is where the search begins."""

    def search(self, problem: Problem) -> Iterator[Answer]:
        """Raises ValueError for a space without bounds."""
        low, width = problem.low, problem.high - problem.low
        if not bool(width.isfinite().all()):
            raise ValueError("random shooting draws within bounds: every action needs both")
        for _ in range(self.config.num_iterations):
            uniform = torch.special.ndtr(problem.noise(self.config.num_samples - 1, White()))
            problem.evaluate(torch.cat([problem.best.actions[None], low + width * uniform]))
            yield problem.best
