"""The general additive margin loss: every wrong answer is compared with the right one, with a margin of its own.

    L = sum over y' != y of H(F(x, y), F(x, y'), m(y, y'))

With H the hinge and one margin it is the multi-class support vector machine of Weston and Watkins (1999). Unlike the
hinge on the most offending answer, it pushes all that stand within their margins. Margins that grow with the cost of a
mistake keep costly ones further away.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.learner import Terms
from pretrain.losses.loss import summed, terms_of
from pretrain.losses.pairwise import PairLoss, hinge


@summed
def additive(energies: Tensor, right: Tensor, margins: Tensor | float = 1.0, h: PairLoss = hinge) -> Terms:
    """L (N,) of the energies of all answers (N, Y) and the index of the right one (N,). Its terms are those of H.

    Args:
        margins: m(y, y') as (Y, Y), row y of the right answer, or one number; its diagonal is not read.
        h: a pairwise loss; those that act on F(x, y) itself (simple, square-square) do so Y - 1 times.
    Returns:
        0 where there is no other answer, or where all others are forbidden and H is the hinge.
    """
    positive = energies.gather(1, right[:, None])
    m = margins[right] if isinstance(margins, Tensor) else margins
    terms = terms_of(h, positive, energies, m)  # (N, Y) each
    return {name: torch.where(_is(right, energies), 0, term).sum(1) for name, term in terms.items()}


def _is(right: Tensor, energies: Tensor) -> Tensor:
    return torch.arange(energies.shape[1], device=right.device) == right[:, None]
