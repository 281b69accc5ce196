"""Several sampled futures: dynamics with a latent variable, drawn beforehand.

    J(a) = 1/M sum_m J(a, z^m),     s_t+1 = f(s_t, a_t, z^m_t)

The same draws serve all candidates of a start, so that one is not better than another by luck (common random numbers).
Source: Henaff, Canziani, LeCun, arXiv:1901.02705, whose planner averages over 10 futures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from planners.dynamics import Dynamics, State, batch_size, repeated, taken


@dataclass(frozen=True)
class Timed:
    """R rows and how many steps they have been driven: which z comes next."""

    inside: State
    time: int

    @property
    def batch_size(self) -> int:
        return batch_size(self.inside)

    def repeat(self, times: int) -> Timed:
        return Timed(repeated(self.inside, times), self.time)

    def take(self, index: Tensor) -> Timed:
        return Timed(taken(self.inside, index), self.time)


class SampledFutures(Dynamics):
    """Dynamics of a function (state, action (R, A), z (R, Z)) -> state; costs see its states.

    Args:
        z: (M, B, T, Z), of B starts and T >= H steps.
    """

    def __init__(self, function: Callable[[State, Tensor, Tensor], State], z: Tensor) -> None:
        if z.dim() != 4:
            raise ValueError(f"z must be (futures, starts, steps, Z), not {tuple(z.shape)}")
        self.num_futures = len(z)
        self._function, self._z = function, z

    def begin(self, state: State) -> Timed:
        """Raises ValueError where the starts are not those of z."""
        if batch_size(state) != self._z.shape[1]:
            raise ValueError(f"z is of {self._z.shape[1]} starts, not of {batch_size(state)}")
        return Timed(state, 0)

    def seen(self, state: Timed) -> State:
        return state.inside

    def step(self, state: Timed, action: Tensor) -> Timed:
        """Raises ValueError beyond the last z."""
        futures, starts, steps, _ = self._z.shape
        if state.time >= steps:
            raise ValueError(f"z is of {steps} steps; the horizon is longer")
        candidates = len(action) // (futures * starts)
        z = self._z[:, None, :, state.time].expand(-1, candidates, -1, -1).flatten(0, 2)
        return Timed(self._function(state.inside, action, z), state.time + 1)
