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
    def actions(self, dynamics: Dynamics, state: State, index: Tensor) -> Tensor:
        """(R, D, A): what row r does from its state when it is told number index[r] of M.

        Args:
            state: of R rows, in each future if the dynamics have several.
        """


class Table(MetaActions):
    """Fixed sequences (M, D, A), in the units of the dynamics."""

    def __init__(self, table: Tensor) -> None:
        if table.dim() != 3:
            raise ValueError("a table of meta-actions must be (M, D, A)")
        self.table = table
        self.num, self.steps = table.shape[0], table.shape[1]

    def actions(self, dynamics: Dynamics, state: State, index: Tensor) -> Tensor:
        return self.table.to(index.device)[index]


class ByPolicy(MetaActions):
    """Closed loops: each of M policies, such as a lane keeper, drives for D steps, within bounds.

    Args:
        policies: actions (R, A) of what is seen of R rows; what they do in the first future is done in all.
    """

    def __init__(self, policies: Sequence[Callable[[States], Tensor]], steps: int) -> None:
        self._policies = list(policies)
        self.num, self.steps = len(self._policies), steps

    def actions(self, dynamics: Dynamics, state: State, index: Tensor) -> Tensor:
        rows, actions = torch.arange(len(index), device=index.device), []
        for t in range(self.steps):
            seen = dynamics.seen(state)
            actions.append(torch.stack([policy(seen) for policy in self._policies])[index, rows])
            if t < self.steps - 1:
                state = dynamics.step(state, repeated(actions[-1], dynamics.num_futures))
        return torch.stack(actions, 1)
