"""What a planner drives through, and the states it drives from.

A planner asks about N candidates of B starts in M futures at once: R = M N B rows, row (m N + n) B + b being candidate
n of start b in future m. So the start of a row is its number modulo B, and what belongs to a start (a scene drawn once)
need not be copied for its candidates. Row by row is all that is asked: a learned model, an exact replay or three lines
of torch will do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

# Tensors of R rows: one, or a tuple, list or dict of them, or a `Batch`.
State = Any
# What a cost reads of a rollout: unless the dynamics decide otherwise, what is seen of the states, with (R, H, ...),
# index t being where step t led.
States = Any
Step = Callable[[State, Tensor], State]  # (R rows, action (R, A)) -> R rows


class Batch(Protocol):
    """A state of R rows that a planner cannot see into, as envs.context.Context is one."""

    @property
    def batch_size(self) -> int: ...

    def repeat(self, times: int) -> Self:
        """times R rows: copy n of row r is row n R + r."""

    def take(self, index: Tensor) -> Self:
        """Some of the rows."""


class Dynamics(ABC):
    """How actions move a state, which stays as it was. A function of (state, action) does, see `Stepwise`.

    Gradient planners differentiate through it, the others never do. What is random must be decided beforehand
    (see planners.futures), or candidates are compared by luck.

    Attributes:
        num_futures: M; J is their mean.
    """

    num_futures: int = 1

    def begin(self, state: State) -> State:
        """What to drive from, of the B start states; asked once in a call, so a model encodes them here."""
        return state

    def seen(self, state: State) -> States:
        """What policies, terminal costs and, step by step, costs see of a state."""
        return state

    @abstractmethod
    def step(self, state: State, action: Tensor) -> State:
        """R rows one step later, under actions (R, A)."""

    def rollout(self, state: State, actions: Tensor) -> tuple[States, State]:
        """R rows under actions (R, H, A): what a cost reads of it, and the state at the end.

        Override it where a whole horizon is cheaper than its steps, or where a cost reads something else.
        """
        states = []
        for action in actions.unbind(1):
            state = self.step(state, action)
            states.append(self.seen(state))
        return stacked(states), state


class Stepwise(Dynamics):
    """Dynamics of a function (state, action) -> state."""

    def __init__(self, function: Step) -> None:
        self._function = function

    def step(self, state: State, action: Tensor) -> State:
        return self._function(state, action)


def as_dynamics(dynamics: Dynamics | Step) -> Dynamics:
    """Dynamics as they are, a function as `Stepwise`."""
    return dynamics if isinstance(dynamics, Dynamics) else Stepwise(dynamics)


def batch_size(state: State) -> int:
    """Rows of a state."""
    if isinstance(state, Tensor):
        return state.shape[0]
    if isinstance(state, dict):
        return batch_size(next(iter(state.values())))
    if isinstance(state, tuple | list):
        return batch_size(state[0])
    return int(state.batch_size)


def repeated(state: State, times: int) -> State:
    """times R rows: copy n of row r is row n R + r."""
    if times == 1:
        return state
    return _each(lambda x: x.repeat(times, *[1] * (x.dim() - 1)), lambda x: x.repeat(times), state)


def taken(state: State, index: Tensor) -> State:
    """Some of the rows of a state."""
    return _each(lambda x: x[index], lambda x: x.take(index), state)


def stacked(states: Sequence[State]) -> States:
    """H states of (R, ...) as one of (R, H, ...).

    Raises:
        TypeError: states that a planner cannot see into; their dynamics must override `rollout`.
    """

    def opaque(state: State) -> State:
        raise TypeError(f"states of type {type(state).__name__} cannot be stacked; override Dynamics.rollout")

    return _each(lambda *x: torch.stack(x, 1), opaque, *states)


def _each(of_tensors: Callable[..., Any], of_batch: Callable[[Any], Any], *states: State) -> State:
    """A function of the corresponding tensors of some states."""
    first = states[0]
    if isinstance(first, Tensor):
        return of_tensors(*states)
    if isinstance(first, dict):
        return {key: _each(of_tensors, of_batch, *(state[key] for state in states)) for key in first}
    if isinstance(first, tuple | list):
        parts = [_each(of_tensors, of_batch, *part) for part in zip(*states, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    return of_batch(first)
