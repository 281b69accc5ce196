"""How much a model disagrees with itself: the cost that keeps a policy where the model knows what it says.

    U_t = sum over outputs of Var_k[ s_t^k ],   k = 1 ... K dropout masks, same actions, same z
    U   = sum over terms of max(0, (U_t - mu_t) / sigma_t - hinge)

for the terms image, vector and cost; mu_t, sigma_t are the term's mean and deviation at step t of a rollout along
the actions of the training set, recorded or varied. Source: Henaff, Canziani, LeCun, arXiv:1901.02705, section 3.3
(image and vector terms); the cost term is the public code's. Masks are a batch dimension: nothing is unrolled twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from envs.context import motion
from mbrl.imagination import Trajectory


class Terms(NamedTuple):
    """Variance over masks of each term, (..., T) each, summed over the term's outputs."""

    image: Tensor
    vector: Tensor
    cost: Tensor


def disagreement(trajectory: Trajectory, num_masks: int) -> Terms:
    """The terms of a trajectory whose examples are K masks times B, mask-major (see Context.repeat).

    Variances are unbiased (divided by K - 1). A single mask never disagrees with itself: zeros.
    """

    def variance(x: Tensor) -> Tensor:
        by_mask = x.view(num_masks, -1, *x.shape[1:])
        away = by_mask[1:] - by_mask[0]  # 0 where masks agree, while their mean would be off by its rounding
        spread = away.square().sum(0) - away.sum(0).square() / num_masks
        return spread.clamp(min=0) / max(num_masks - 1, 1)

    return Terms(
        variance(trajectory.images).flatten(2).sum(-1),
        variance(motion(trajectory.poses)).sum(-1),
        variance(trajectory.costs.total()),
    )


class Uncertainty(nn.Module):
    """Normalised, hinged U of up to T steps; fit it once per model, then use it in any loss or planner.

    Buffers mean, std: (3, T) of the terms image, vector, cost.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, horizon: int, hinge: float = 0.0) -> None:
        super().__init__()
        self.hinge = hinge
        self.register_buffer("mean", torch.zeros(3, horizon))
        self.register_buffer("std", torch.ones(3, horizon))

    def fit(self, samples: list[Terms]) -> None:
        """Take each step's mean and deviation over examples."""
        terms = torch.stack([torch.cat([s[k] for s in samples]) for k in range(3)])
        self.mean.copy_(terms.mean(1))
        self.std.copy_(terms.std(1))

    def forward(self, terms: Terms, step: Tensor | None = None) -> Tensor:
        """U (..., T) of terms (..., T). A term that never varied in training counts nothing.

        Args:
            step: which step of a rollout each is, from 0, broadcastable to the terms; one after the other by default.
        Raises:
            ValueError: more steps than were fitted.
        """
        num = terms.cost.shape[-1] if step is None else int(step.max()) + 1
        if num > self.mean.shape[1]:
            raise ValueError(f"U is known for {self.mean.shape[1]} steps, not for {num}")
        if step is None:
            step = torch.arange(num, device=self.mean.device)
        total = torch.zeros_like(terms.cost)
        for term, means, stds in zip(terms, self.mean, self.std, strict=True):
            mean, std = means[step], stds[step]
            normal = (term - mean) / std.clamp(min=1e-12)
            total = total + torch.where(std > 1e-12, torch.relu(normal - self.hinge), 0.0)
        return total


@contextmanager
def dropout_on(model: nn.Module) -> Iterator[None]:
    """Only the dropout layers in training mode; every module's mode is restored at the end."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = isinstance(module, nn.modules.dropout._DropoutNd)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
