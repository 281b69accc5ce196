"""What an experiment gives: numbers, pictures, and claims that the numbers must keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from numpy.typing import NDArray


class Outcome(NamedTuple):
    """Of one seed."""

    numbers: Mapping[str, float]
    pictures: Mapping[str, NDArray]  # uint8 (H, W, 3); seed 0's are kept


class Claim(NamedTuple):
    """The number `better` is at least (or at most) `factor` times the number `control`, for every seed.

    better, control: names of numbers; a control may also be a constant.
    """

    better: str
    is_: str  # "above" or "below"
    control: str | float
    factor: float = 1.0

    def holds(self, numbers: Mapping[str, float]) -> bool:
        """Of one seed's numbers."""
        control = numbers[self.control] if isinstance(self.control, str) else self.control
        left, right = numbers[self.better], self.factor * control
        return left > right if self.is_ == "above" else left < right


class Experiment(NamedTuple):
    """A question, the function that answers it for a seed, and what must come out."""

    name: str
    question: str
    run: Callable[[int, bool], Outcome]  # (seed, quick): quick takes seconds and promises nothing
    claims: tuple[Claim, ...]
