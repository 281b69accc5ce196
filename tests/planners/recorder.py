"""What a planner tries."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.planners import linear_quadratic as lq


class Recorder:
    """Dynamics of the double integrator that remember the candidates (N, B, H, 1) of each rollout."""

    def __init__(self, num_starts: int, horizon: int) -> None:
        self.rounds: list[Tensor] = []
        self._steps: list[Tensor] = []
        self._num_starts, self._horizon = num_starts, horizon

    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        self._steps.append(action.view(-1, self._num_starts, 1))
        if len(self._steps) == self._horizon:
            self.rounds.append(torch.stack(self._steps, 2))
            self._steps = []
        return lq.step(state, action)


def costs_of(candidates: Tensor, state: Tensor) -> Tensor:
    return torch.stack([lq.total_cost(state, plans) for plans in candidates])
