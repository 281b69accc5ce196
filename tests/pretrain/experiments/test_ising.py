"""The experiment of the spins: what it draws and says, quickly; its yardstick in full."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.binary import all_states
from pretrain.experiments import ising
from pretrain.likelihood import ExactLikelihood, Ising, IsingConfig
from pretrain.likelihood.exact import draw, probabilities


def test_it_runs_and_every_method_finds_more_than_nothing() -> None:
    outcome = ising.EXPERIMENT.run(0, True)
    size = ising.SIZES[0]
    for method in ising.METHODS:
        assert outcome.numbers[f"{method} truth {size}"] < outcome.numbers["none truth"]
    assert outcome.numbers[f"exact exact {size}"] == 0
    for picture in outcome.pictures.values():
        assert picture.dtype == np.uint8
        assert picture.std() > 5


def test_the_yardstick_has_the_moments_of_its_samples() -> None:
    """At the maximum of the likelihood the model's moments are the data's."""
    generator = torch.Generator().manual_seed(0)
    truth, answers = ising.true_model(generator), all_states(ising.UNITS, torch.float64)
    y = draw(truth, answers, 1000, generator)
    found = ising.fit("exact", y, answers, ising.Training(), generator)
    model = ising.true_model(generator)
    model.couplings.data, model.biases.data = found[:-12], found[-12:]
    p = probabilities(model, answers).detach()
    s, data = 2 * answers - 1, 2 * y - 1
    np.testing.assert_allclose(s.T @ (p[:, None] * s), data.T @ data / len(y), atol=1e-3)
    np.testing.assert_allclose(p @ s, data.mean(0), atol=1e-3)


def test_training_by_samples_finds_the_flattest_direction() -> None:
    """With the exact gradient in place of the chains', what is left of the error is the optimiser's; seed 1 is flat."""
    generator = torch.Generator().manual_seed(1)
    truth, answers = ising.true_model(generator), all_states(ising.UNITS, torch.float64)
    y = draw(truth, answers, 4000, generator)
    want = ising.fit("exact", y, answers, ising.Training(), generator)
    model = Ising(IsingConfig(units=ising.UNITS)).double()
    found = ising.descend(ExactLikelihood(model, answers), model, y, ising.Training(), generator)
    assert ising.rmse(found, want) < 0.25 * ising.rmse(want, ising.weights(truth))


def test_every_claim_names_numbers_that_there_are() -> None:
    numbers = {f"{m} {to} {n}" for m in ising.METHODS for to in ("truth", "exact") for n in ising.SIZES}
    for claim in ising.EXPERIMENT.claims:
        assert {claim.better, claim.control} <= numbers | {"none truth"}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["MPF", "NCE", "ratio matching", "CD-1"])
def test_more_samples_bring_a_method_nearer_to_the_truth(method: str) -> None:
    generator = torch.Generator().manual_seed(1)
    truth, answers = ising.true_model(generator), all_states(ising.UNITS, torch.float64)
    y = draw(truth, answers, 8000, generator)
    few, many = (
        ising.rmse(
            ising.fit(method, y[:num], answers, ising.Training(steps=300), generator), ising.weights(truth)
        )
        for num in (250, 8000)
    )
    assert many < 0.5 * few
