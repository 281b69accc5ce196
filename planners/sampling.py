"""What planners that sample share: choosing the cheap candidates, and refitting to them.

N candidates (or K elites) of B starts: actions (N, B, H, A), J (N, B); +inf rejects a candidate.
"""

from __future__ import annotations

import torch
from torch import Tensor


def elites(actions: Tensor, cost: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The K cheapest of each start, cheapest first: actions (K, B, H, A) and J (K, B)."""
    kept, index = cost.topk(num, dim=0, largest=False)
    return actions[index, torch.arange(cost.shape[1], device=cost.device)], kept


def cheapest(actions: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest of each start, the first of equals: (B, H, A) and (B,)."""
    if len(cost) == 1:
        return actions[0], cost[0]
    least, index = cost.min(0)
    return actions[index, torch.arange(cost.shape[1], device=cost.device)], least


def refit(actions: Tensor, cost: Tensor, mean: Tensor, std: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The normal distribution that is likeliest to give the elites, and some of the last one.

        mu    <- (1 - alpha) 1/K sum_k a_k                   + alpha mu
        sigma <- (1 - alpha) (1/K sum_k (a_k - a_mean)^2)^1/2 + alpha sigma

    Source: de Boer, Kroese, Mannor, Rubinstein, Ann. Oper. Res. 134, 19 (2005), section 4; the momentum alpha as in
    Pinneri et al., arXiv:2008.06389. Rejected elites do not count; a start without any other keeps mu and sigma.

    Args:
        actions, cost: elites (K, B, H, A) and (K, B).
        mean, std: (B, H, A) each.
    """
    counts = cost.isfinite()
    num = counts.sum(0).clamp(min=1)[:, None, None]
    counts = counts[:, :, None, None]
    new_mean = torch.where(counts, actions, 0).sum(0) / num
    new_std = (torch.where(counts, actions - new_mean, 0).square().sum(0) / num).sqrt()
    any_counts = counts.any(0)
    return (
        torch.where(any_counts, (1 - alpha) * new_mean + alpha * mean, mean),
        torch.where(any_counts, (1 - alpha) * new_std + alpha * std, std),
    )
