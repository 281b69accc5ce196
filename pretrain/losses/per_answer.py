"""Losses from the energies of all answers, (N, Y), and the index of the right one, (N,): the tutorial's table.

With E the right answer's energy, E' = min over the other answers (the most offending incorrect one):

    energy         E                                      margin: none
    perceptron     E - min_y E(y)                         0
    hinge          [m + E - E']+                          m
    log            log(1 + exp(E - E'))                   above 0
    LVQ2           min(M, [E - E']+)                      0
    MCE            1 / (1 + exp(E' - E))                  above 0
    square-square  E^2 + ([m - E']+)^2                    m
    square-exp     E^2 + gamma exp(-E')                   above 0
    NLL / MMI      E + 1/beta log sum_y exp(-beta E(y))   above 0
    MEE            1 - P(right), P = Gibbs at beta        above 0

Source: LeCun et al., "A tutorial on energy-based learning" (2006), table 1, whose minus in square-square is read as a
plus: with a minus the incorrect answer would be pulled down. The margin is by how much E lies below E' where the loss
is least. "None": a flat energy is as good. "0": E may equal E', so a machine that can make energies flat may collapse;
look at `energy_gap` too. "Above 0": the loss falls as the gap grows, without end. Only finite sets of answers.

Edges. Answers that tie for the most offending share its gradient. At E = E' the right answer is one of those that tie
for the perceptron's minimum, so its gradient is (1/2, -1/2); LVQ2's is (0, 0), and the hinge's where E' - E = m. One
answer alone (Y = 1): there is no E', which counts as +inf: hinge, log, LVQ2, MCE, perceptron, NLL and MEE are 0. A
wrong answer at +inf is absent. The right one at +inf: the loss is +inf, or 1 (MCE, MEE), or M (LVQ2). LVQ2 beyond M,
and MCE and MEE far from right, have no gradient: such samples are given up. -inf is no energy: a loss that meets it is
NaN or infinite, which `learner.step` refuses, unless it is flat there, and then has no gradient: hinge, log, LVQ2 and
MCE are 0 for a right answer at -inf, LVQ2 and MCE at their bound for a wrong one; for both at -inf they are NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.energies import free_energy, gibbs
from pretrain.learner import Terms
from pretrain.losses import pairwise
from pretrain.losses.loss import summed
from pretrain.losses.pairwise import difference


class Pair(NamedTuple):
    """E and E', (N,) each."""

    right: Tensor
    offending: Tensor


def most_offending(energies: Tensor, right: Tensor) -> Pair:
    """The right answer's energy and the lowest of the others', +inf where there are none."""
    where = right[:, None]
    others = energies.scatter(1, where, torch.inf)
    return Pair(energies.gather(1, where).squeeze(1), free_energy(others))


def energy_gap(energies: Tensor, right: Tensor) -> Tensor:
    """E' - E (N,): above 0 where inference finds the right answer, 0 everywhere for a collapsed energy."""
    return -difference(*most_offending(energies, right))


def energy(energies: Tensor, right: Tensor) -> Tensor:
    """E. Pulls down and never up: content with an energy that is low everywhere."""
    return most_offending(energies, right).right


def perceptron(energies: Tensor, right: Tensor) -> Tensor:
    """E - min_y E(y), the minimum over all answers, the right one among them. 0 for a flat energy."""
    return difference(energy(energies, right), free_energy(energies))


def hinge(energies: Tensor, right: Tensor, margin: float = 1.0) -> Tensor:
    """[m + E - E']+."""
    return pairwise.hinge(*most_offending(energies, right), margin)


def log(energies: Tensor, right: Tensor) -> Tensor:
    """log(1 + exp(E - E')), a soft hinge."""
    return F.softplus(difference(*most_offending(energies, right)))


def lvq2(energies: Tensor, right: Tensor, bound: float = 1.0) -> Tensor:
    """min(M, [E - E']+)."""
    return torch.relu(difference(*most_offending(energies, right))).clamp(max=bound)


def mce(energies: Tensor, right: Tensor) -> Tensor:
    """1 / (1 + exp(E' - E)): minimum classification error, a smooth count of mistakes."""
    return torch.sigmoid(difference(*most_offending(energies, right)))


@summed
def square_square(energies: Tensor, right: Tensor, margin: float = 1.0) -> Terms:
    """E^2 + ([m - E']+)^2, for energies whose floor is 0."""
    pair = most_offending(energies, right)
    return {"right": pair.right.square(), "offending": torch.relu(margin - pair.offending).square()}


@summed
def square_exp(energies: Tensor, right: Tensor, gamma: float = 1.0) -> Terms:
    """E^2 + gamma exp(-E'), for energies whose floor is 0."""
    pair = most_offending(energies, right)
    return {"right": pair.right.square(), "offending": gamma * torch.exp(-pair.offending)}


def nll(energies: Tensor, right: Tensor, beta: float = 1.0) -> Tensor:
    """E + 1/beta log sum_y exp(-beta E(y)) = -1/beta log P(right); dL/dE(y) = [y is right] - P(y).

    Also maximum mutual information. The only one that pushes every wrong answer up, in proportion to its probability.
    """
    return difference(energy(energies, right), free_energy(energies, beta))


def mee(energies: Tensor, right: Tensor, beta: float = 1.0) -> Tensor:
    """1 - P(right): minimum empirical error."""
    return 1 - gibbs(energies, beta).gather(1, right[:, None]).squeeze(1)


class AnswerLoss(NamedTuple):
    """A loss of (energies, right) at its default settings, and the margin it asks for."""

    loss: Callable[[Tensor, Tensor], Tensor]
    margin: str  # "none", "0", "above 0" or "m"


LOSSES: Mapping[str, AnswerLoss] = {
    "energy": AnswerLoss(energy, "none"),
    "perceptron": AnswerLoss(perceptron, "0"),
    "hinge": AnswerLoss(hinge, "m"),
    "log": AnswerLoss(log, "above 0"),
    "lvq2": AnswerLoss(lvq2, "0"),
    "mce": AnswerLoss(mce, "above 0"),
    "square-square": AnswerLoss(square_square, "m"),
    "square-exp": AnswerLoss(square_exp, "above 0"),
    "nll": AnswerLoss(nll, "above 0"),
    "mee": AnswerLoss(mee, "above 0"),
}
