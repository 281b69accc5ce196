"""What planners that sample share: choosing the cheap candidates.

N candidates of B starts: actions (N, B, H, A), J (N, B); +inf rejects a candidate.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cheapest(actions: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest of each start, the first of equals: (B, H, A) and (B,)."""
    if len(cost) == 1:
        return actions[0], cost[0]
    least, index = cost.min(0)
    return actions[index, torch.arange(cost.shape[1], device=cost.device)], least
