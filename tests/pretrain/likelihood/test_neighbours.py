"""Minimum probability flow and ratio matching: least at the model that made the data, in expectation."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.binary import number
from pretrain.likelihood import Ising, MinimumProbabilityFlow, RatioMatching
from pretrain.likelihood.exact import probabilities
from pretrain.likelihood.mpf import flow
from pretrain.likelihood.ratio_matching import mismatch
from tests.pretrain.likelihood.toys import generator, gradient, ising, minimise, states

LOSSES: dict[str, Callable[[Ising, Tensor], Tensor]] = {"mpf": flow, "ratio matching": mismatch}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_zero_at_the_model_that_made_the_data_only(name: str) -> None:
    truth, other = ising(seed=1), ising(seed=2)
    p = probabilities(truth, states()).detach()
    at_truth = gradient((p * LOSSES[name](truth, states())).sum(), truth)
    elsewhere = gradient((p * LOSSES[name](other, states())).sum(), other)
    np.testing.assert_allclose(at_truth, 0, atol=1e-12)
    assert elsewhere.abs().max() > 0.1


@pytest.mark.parametrize("name", LOSSES)
def test_the_least_expected_loss_is_at_the_truth(name: str) -> None:
    truth, model = ising(seed=1), ising(seed=None)
    p = probabilities(truth, states()).detach()
    minimise(lambda: (p * LOSSES[name](model, states())).sum(), model)
    np.testing.assert_allclose(model.couplings.detach(), truth.couplings.detach(), atol=1e-4)
    np.testing.assert_allclose(model.biases.detach(), truth.biases.detach(), atol=1e-4)


def flows(model: Ising) -> Tensor:
    """Rates (to, from) of dp/dt = rates p, written out state by state."""
    y, energy = states(), model(states()).detach()
    rates = torch.zeros(16, 16, dtype=torch.float64)
    for a, b in itertools.product(range(16), repeat=2):
        if (y[a] != y[b]).sum() == 1:
            rates[b, a] = torch.exp((energy[a] - energy[b]) / 2)
    return rates - torch.diag(rates.sum(0))


def test_no_probability_flows_at_the_model_and_the_loss_is_the_rate_of_leaving() -> None:
    model = ising()
    rates = flows(model)
    p = probabilities(model, states()).detach()
    np.testing.assert_allclose(rates @ p, 0, atol=1e-12)
    y = states()[[4, 4, 9]]
    np.testing.assert_allclose(flow(model, y).detach(), -rates.diagonal()[number(y)])


def test_mismatch_is_the_square_of_g_of_ratios_of_probability() -> None:
    model = ising()
    p = probabilities(model, states()).detach()
    for k, y in enumerate(states()):
        want = 0.0
        for unit in range(4):
            flipped = y.clone()
            flipped[unit] = 1 - flipped[unit]
            want += float(1 / (1 + p[k] / p[number(flipped[None])[0]])) ** 2
        assert float(mismatch(model, y[None]).detach()) == pytest.approx(want)


@pytest.mark.parametrize("learner", [MinimumProbabilityFlow, RatioMatching])
def test_from_samples_the_couplings_are_near(learner: type[MinimumProbabilityFlow | RatioMatching]) -> None:
    truth, found = ising(seed=1), learner(ising(seed=None))
    p = probabilities(truth, states()).detach()
    data = states()[torch.multinomial(p, 20_000, replacement=True, generator=generator(1))]
    minimise(lambda: torch.stack(list(found.terms(data, generator()).values())).sum(0).mean(), found, 40)
    np.testing.assert_allclose(found.model.couplings.detach(), truth.couplings.detach(), atol=0.06)
    assert (found.energy(states()) == found.model(states())).all()
