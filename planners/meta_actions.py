"""Meta-actions: a few things to do, each for several steps, such as "brake" or "one lane to the left"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from planners.dynamics import Dynamics, State, States, repeated


class MetaActions(ABC):
    """M things to do, each for D steps.

    Attributes:
        num: M.
        steps: D.
    """

    num: int
    steps: int

    @abstractmethod
    def actions(self, dynamics: Dynamics, state: State, index: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """(R, D, A): what row r does from its state when it is told number index[r] of M, within bounds.

        Args:
            state: of R rows, in each future if the dynamics have several.
            low, high: (B, D, A), of B starts; the start of a row is its number modulo B.
        """


class Table(MetaActions):
    """Fixed sequences (M, D, A), in the units of the dynamics."""

    def __init__(self, table: Tensor) -> None:
        if table.dim() != 3:
            raise ValueError("a table of meta-actions must be (M, D, A)")
        self.table = table
        self.num, self.steps = table.shape[0], table.shape[1]

    def actions(self, dynamics: Dynamics, state: State, index: Tensor, low: Tensor, high: Tensor) -> Tensor:
        told = self.table.to(low)[index]
        return torch.clamp(told.unflatten(0, (-1, len(low))), low, high).flatten(0, 1)


class ByPolicy(MetaActions):
    """Closed loops: each of M policies, such as a lane keeper, drives for D steps, within bounds.

    Args:
        policies: actions (R, A) of what is seen of R rows; what they do in the first future is done in all.
    """

    def __init__(self, policies: Sequence[Callable[[States], Tensor]], steps: int) -> None:
        self._policies = list(policies)
        self.num, self.steps = len(self._policies), steps

    def actions(self, dynamics: Dynamics, state: State, index: Tensor, low: Tensor, high: Tensor) -> Tensor:
        rows, actions = torch.arange(len(index), device=index.device), []
        for t in range(self.steps):
            seen = dynamics.seen(state)
            wanted = torch.stack([policy(seen) for policy in self._policies])[index, rows]
            by_start = wanted.to(low).unflatten(0, (-1, len(low)))
            actions.append(torch.clamp(by_start, low[:, t], high[:, t]).flatten(0, 1))
            if t < self.steps - 1:
                state = dynamics.step(state, repeated(actions[-1], dynamics.num_futures))
        return torch.stack(actions, 1)
