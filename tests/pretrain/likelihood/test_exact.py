"""The likelihood's gradient is a difference of moments; the likelihood is one of a distribution."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from pretrain.likelihood import ExactLikelihood
from pretrain.likelihood.exact import draw, log_partition, probabilities
from tests.pretrain.likelihood.toys import generator, gradient, ising, minimise, states

DATA = states()[torch.randint(16, (30,), generator=generator(5))]


def test_the_partition_function_is_the_sum_over_states() -> None:
    model = ising()
    z = sum(math.exp(-energy) for energy in model(states()).tolist())
    np.testing.assert_allclose(float(log_partition(model, states()).detach()), math.log(z))
    np.testing.assert_allclose(float(log_partition(ising(seed=None), states()).detach()), 4 * math.log(2))


def test_terms_sum_to_minus_the_log_probability() -> None:
    model = ising()
    terms = ExactLikelihood(model, states()).terms(states(), generator())
    log_p = -(terms["data"] + terms["log_partition"])
    np.testing.assert_allclose(log_p.exp().sum().detach(), 1)
    np.testing.assert_allclose(log_p.exp().detach(), probabilities(model, states()).detach())


def test_the_gradient_is_the_difference_of_moments() -> None:
    model = ising()
    terms = ExactLikelihood(model, states()).terms(DATA, generator())
    got = gradient((terms["data"] + terms["log_partition"]).mean(), model)
    p = probabilities(model, states()).detach()
    s, data = 2 * states() - 1, 2 * DATA - 1
    pairs = [
        float((p * s[:, i] * s[:, j]).sum() - (data[:, i] * data[:, j]).mean())
        for i, j in itertools.combinations(range(4), 2)
    ]
    ones = [float((p * s[:, i]).sum() - data[:, i].mean()) for i in range(4)]
    np.testing.assert_allclose(got, pairs + ones, atol=1e-12)


def test_the_most_likely_model_has_the_moments_of_data() -> None:
    model = ising(seed=None)
    learner = ExactLikelihood(model, states())
    minimise(lambda: sum(t.mean() for t in learner.terms(DATA, generator()).values()), model)  # type: ignore[arg-type,return-value]
    p = probabilities(model, states()).detach()
    s, data = 2 * states() - 1, 2 * DATA - 1
    np.testing.assert_allclose(s.T @ (p[:, None] * s), data.T @ data / 30, atol=1e-6)
    np.testing.assert_allclose(p @ s, data.mean(0), atol=1e-6)


def test_draws_are_as_frequent_as_probable() -> None:
    model = ising(2)
    y = draw(model, states(2), 40_000, generator())
    frequency = (y[:, None] == states(2)).all(2).double().mean(0)
    np.testing.assert_allclose(frequency, probabilities(model, states(2)).detach(), atol=4 * 0.5 / 200)
