"""Discrete and continuous actions planned together, by gradient descent through a relaxation.

    a_t = (w_t, u_t),   w_t = softmax(x_t + e_t),   e_t ~ N(0, sigma^2),      x, u <- Adam(dJ/dx, dJ/du)

Dynamics and cost see K weights of the choices, which sum to 1, and the continuous actions; in the answer one weight is
1, that of the largest x_t. Mixtures of choices are in between, where the noise moves w most; near a choice it hardly
does, which is where descent is to end. Then, with the choices held, the continuous actions go on to their minimum.
Source: Henaff, Whitney, LeCun, arXiv:1705.07177: the first version of the paper adds noise where it plans, as here, the
second one where it trains the model.

    N candidates, B starts, H steps, K choices, A = K + the number of continuous actions
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from planners.adam import Adam
from planners.base import Planner
from planners.gradient import Descent, GradientConfig
from planners.noise import Spline, White
from planners.problem import Answer, Problem

LOGIT = 3.0  # an ordinary x: the odds of a choice are then 20 to 1


@dataclass(frozen=True, kw_only=True)
class MixedConfig(GradientConfig):
    """Iterations are steps through the relaxation and a look at the plan they stand for; then come those that hold."""

    num_choices: int  # K, the first of the A actions
    num_samples: int = 8  # N
    num_iterations: int = 30
    held_iterations: int = 10  # of the continuous actions alone
    noise: float = 1.0  # sigma

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_choices", self.num_choices >= 2, "at least 2")
        self._require("held_iterations", self.held_iterations >= 0, "at least 0")
        self._require("noise", self.noise >= 0, "at least 0")


def through_softmax(w: Tensor, slope: Tensor) -> Tensor:
    """dJ/dx_i = w_i (g_i - sum_j w_j g_j) of w = softmax(x) and g = dJ/dw, (..., K) each."""
    return w * (slope - (w * slope).sum(-1, keepdim=True))


class Mixed(Planner[MixedConfig]):
    """See the module's docstring. A choice whose weight is bounded by 0 is never made."""

    def search(self, problem: Problem) -> Iterator[Answer]:
        """Raises ValueError for weights with other bounds, and where J is not differentiable in the actions."""
        config, k = self.config, self.config.num_choices
        allowed = _allowed(problem, k)
        unit = torch.cat([torch.full_like(problem.scale[..., :k], LOGIT), problem.scale[..., k:]], -1)
        y = _beginnings(problem, config, unit)  # (N, B, H, A): x, u
        problem.begin(rounded(y[:1], allowed)[0])
        adam = Adam(config.learning_rate, config.decay)
        for _ in range(config.num_iterations):
            problem.evaluate(rounded(y, allowed))
            w = _weights(y[..., :k] + config.noise * problem.noise(len(y), White())[..., :k], allowed)
            _, slope = problem.gradient(torch.cat([w, y[..., k:]], -1))
            slope = torch.cat([through_softmax(w, slope[..., :k]), slope[..., k:]], -1)
            y = _within(y + unit * adam.step(slope * unit), problem, k)
            yield problem.best
        candidates = torch.cat([problem.best.actions[None], rounded(y, allowed)])
        held = torch.cat([torch.zeros_like(unit[..., :k]), unit[..., k:]], -1)
        descent = Descent(problem, candidates, held, Adam(config.learning_rate, config.decay))
        for _ in range(config.held_iterations):
            descent.step()
            yield problem.best
        problem.evaluate(descent.candidates)
        yield problem.best


def rounded(y: Tensor, allowed: Tensor) -> Tensor:
    """(w, u) of (x, u): the allowed choice of the largest x, the first of equals, has all the weight."""
    k = allowed.shape[-1]
    best = y[..., :k].masked_fill(~allowed, -torch.inf).argmax(-1)
    return torch.cat([F.one_hot(best, k).to(y), y[..., k:]], -1)


def _weights(x: Tensor, allowed: Tensor) -> Tensor:
    return x.masked_fill(~allowed, -torch.inf).softmax(-1)


def _allowed(problem: Problem, k: int) -> Tensor:
    """(B, H, K): which choices there are."""
    low, high = problem.low[..., :k], problem.high[..., :k]
    allowed = high > 0
    if low.shape[-1] < k or bool((low != 0).any() | (allowed & (high != 1)).any() | ~allowed.any(-1).all()):
        raise ValueError(f"the first {k} actions are weights of choices: within [0, 1], or [0, 0] for some")
    return allowed


def _beginnings(problem: Problem, config: MixedConfig, unit: Tensor) -> Tensor:
    """(N, B, H, A) of x and u: the start, whose choices are LOGIT above the others, and disturbed copies of it."""
    k = config.num_choices
    start = torch.cat([LOGIT * problem.start[..., :k], problem.start[..., k:]], -1)
    if config.num_samples == 1:
        return start[None]
    copies = start + config.std * unit * problem.noise(config.num_samples - 1, Spline(config.knots))
    return torch.cat([start[None], _within(copies, problem, k)])


def _within(y: Tensor, problem: Problem, k: int) -> Tensor:
    """(x, u) with u within bounds."""
    return torch.cat([y[..., :k], torch.clamp(y[..., k:], problem.low[..., k:], problem.high[..., k:])], -1)
