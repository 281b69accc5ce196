"""Losses of one right answer among a group of contrasts at once: InfoNCE, the loss of contrastive predictive coding.

    L = -log exp(-F+ / tau) / (exp(-F+ / tau) + sum_k exp(-F-_k / tau))

Source: van den Oord, Li, Vinyals, arXiv:1807.03748, equation 4, with the score log f = -F / tau. It is 1/tau times the
NLL loss over the group. With K contrasts drawn from p(y), log(K + 1) minus the mean of L is a lower bound of the mutual
information of x and y, which can never exceed log(K + 1) and is best at F = -log p(y | x) / p(y).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pretrain.energies import Energy
from pretrain.losses.per_answer import nll


def info_nce(positive: Tensor, negatives: Tensor, temperature: float = 1.0) -> Tensor:
    """L (N,) of F+ (N,) and F- (N, K).

    A contrast of energy +inf is absent: mask so those that equal the right answer. Without contrasts (K = 0) L = 0.

    Raises:
        ValueError: the temperature is not above 0 and finite.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature} must be above 0 and finite")
    group = torch.cat([positive[:, None], negatives], 1)
    first = torch.zeros(len(group), dtype=torch.int64, device=group.device)
    return nll(group, first, 1 / temperature) / temperature


def info_nce_in_batch(energies: Tensor, temperature: float = 1.0) -> Tensor:
    """L (N,) of the energies F(x_i, y_j), (N, N): each x_i's answer is y_i, and the other y_j are its contrasts."""
    num = len(energies)
    others = ~torch.eye(num, dtype=torch.bool, device=energies.device)
    return info_nce(energies.diagonal(), energies[others].view(num, num - 1), temperature)


def all_pairs(energy: Energy, x: Tensor, y: Tensor) -> Tensor:
    """F(x_i, y_j), (N, M), of x (N, ...) and y (M, ...), by one call on N M pairs."""
    n, m = len(x), len(y)
    return energy(x.repeat_interleave(m, 0), y.repeat(n, *[1] * (y.dim() - 1))).view(n, m)


class BilinearEnergy(nn.Module):
    """F(x, y) = -y . W x: of contrastive predictive coding (its equation 3), x a context and y a code some steps ahead.

    One per number of steps ahead. W starts at 0, where every answer is as good.
    """

    def __init__(self, size_x: int, size_y: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size_y, size_x))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N,) of x (N, size_x) and y (N, size_y)."""
        return -((x @ self.weight.T) * y).sum(-1)
