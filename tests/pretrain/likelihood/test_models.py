"""Energies against loops and enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from pretrain.likelihood import RBM, IsingConfig, RBMConfig
from tests.pretrain.likelihood.toys import generator, ising, states


def test_the_ising_energy_is_a_sum_over_pairs() -> None:
    model = ising(4)
    J, b = iter(model.couplings.tolist()), model.biases.tolist()
    pairs = [(i, j, next(J)) for i, j in itertools.combinations(range(4), 2)]
    for y, energy in zip(states(4).tolist(), model(states(4)).tolist(), strict=True):
        s = [2 * v - 1 for v in y]
        want = -sum(c * s[i] * s[j] for i, j, c in pairs) - sum(k * v for k, v in zip(b, s, strict=True))
        assert energy == pytest.approx(want)


def test_the_coupling_matrix_is_symmetric_without_a_diagonal() -> None:
    J = ising(5).matrix().detach()
    assert torch.equal(J, J.T)
    assert (J.diagonal() == 0).all()
    np.testing.assert_array_equal(J[np.triu_indices(5, 1)], ising(5).couplings.detach())


def machine() -> RBM:
    model = RBM(RBMConfig(units=3, hidden=2, scale=1.0), generator()).double()
    for bias in (model.b, model.c):
        bias.data.normal_(generator=generator(1))
    return model


def test_the_machine_s_free_energy_and_conditionals_are_those_of_its_joint_energy() -> None:
    model = machine()
    joint = torch.stack(
        [torch.stack([-(y @ model.W @ h) - model.b @ y - model.c @ h for h in states(2)]) for y in states(3)]
    )  # (8, 4)
    np.testing.assert_allclose(model(states(3)).detach(), -torch.logsumexp(-joint, 1).detach())
    p = torch.softmax(-joint.flatten(), 0).view(8, 4).detach()
    given_y = p / p.sum(1, keepdim=True) @ states(2)  # E[h | y]
    given_h = (p / p.sum(0)).T @ states(3)
    np.testing.assert_allclose(torch.sigmoid(model.hidden_logits(states(3))).detach(), given_y)
    np.testing.assert_allclose(torch.sigmoid(model.visible_logits(states(2))).detach(), given_h)


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="units=1"):
        IsingConfig(units=1)
    with pytest.raises(ValueError, match="hidden=0"):
        RBMConfig(units=2, hidden=0)
    with pytest.raises(ValueError, match="scale=0"):
        RBMConfig(units=2, hidden=2, scale=0)
