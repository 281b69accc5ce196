"""Losses of two energies, F+ of what was observed and F- of a contrast, that stand m apart when the loss is content.

    simple         [F+]+ + [m - F-]+               Bromley et al. 1993
    hinge          [F+ - F- + m]+                  Altun and Hofmann 2003; ranking: Weston et al. 2010
    square-square  ([F+]+)^2 + ([m - F-]+)^2       Chopra et al. 2005, Hadsell et al. 2006
    general        H(F+, F-, m(y, y'))             any H that rises with F+ and falls with F- wherever F- - F+ < m

Simple and square-square fix the level of energies too: F+ at most 0, F- at least m. Hinge fixes their difference alone.
At a kink (F+ = 0, F- = m; for the hinge F- - F+ = m) the gradient is 0.

Shapes: positive and negative broadcast, (N,) and (N,) or (N, 1) and (N, K), a result per pair. m may be a number or a
tensor, which lets a contrast far from y be pushed higher than one beside it. F- = +inf costs nothing, F+ = +inf gives
+inf. -inf is no energy: F- = -inf gives +inf, or NaN for the hinge where F+ is -inf too; else F+ = -inf costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pretrain.energies import Energy
from pretrain.learner import Terms
from pretrain.losses.loss import summed, terms_of

PairLoss = Callable[[Tensor, Tensor, "Tensor | float"], Tensor]  # H(F+, F-, m)


@summed
def simple(positive: Tensor, negative: Tensor, margin: Tensor | float = 1.0) -> Terms:
    """[F+]+ + [m - F-]+."""
    return _terms(torch.relu(positive), torch.relu(margin - negative))


def hinge(positive: Tensor, negative: Tensor, margin: Tensor | float = 1.0) -> Tensor:
    """[F+ - F- + m]+, also called the ranking loss."""
    return torch.relu(difference(positive, negative) + margin)


@summed
def square_square(positive: Tensor, negative: Tensor, margin: Tensor | float = 1.0) -> Terms:
    """([F+]+)^2 + ([m - F-]+)^2: a sum, for with a minus contrasts would be pulled down."""
    return _terms(torch.relu(positive).square(), torch.relu(margin - negative).square())


PAIR_LOSSES: Mapping[str, PairLoss] = {"simple": simple, "hinge": hinge, "square-square": square_square}


@summed
def general(
    h: PairLoss,
    energy: Energy,
    y: Tensor,
    contrast: Tensor,
    margin: Callable[[Tensor, Tensor], Tensor] | float = 1.0,
    x: Tensor | None = None,
) -> Terms:
    """H(F(x, y), F(x, y'), m(y, y')), (N,), of an observed y and a contrast y', both (N, ...); its terms are H's.

    Args:
        margin: m(y, y') -> (N,), as `distance`, or a number.
        x: (N, ...); without it the energy is F(y).
    """
    given = () if x is None else (x,)
    m = margin(y, contrast) if callable(margin) else margin
    return terms_of(h, energy(*given, y), energy(*given, contrast), m)


def distance(y: Tensor, contrast: Tensor) -> Tensor:
    """m(y, y') = |y - y'|, (N,): a contrast that is nearly right is hardly pushed, and y itself not at all."""
    return (y - contrast).flatten(1).norm(dim=1)


def difference(positive: Tensor, negative: Tensor) -> Tensor:
    """F+ - F-, but +inf wherever F+ is, so that a forbidden answer is not excused by another."""
    return torch.where(positive.isposinf(), torch.inf, positive - negative)


def _terms(positive: Tensor, negative: Tensor) -> Terms:
    """One of F+ and one of F-, of one shape."""
    positive, negative = torch.broadcast_tensors(positive, negative)
    return {"positive": positive, "negative": negative}
