"""The optimum of the expected loss is the data's density, its normaliser included."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pretrain.likelihood import Coins, Gaussian, NCEConfig, NoiseContrastive
from pretrain.likelihood.exact import log_partition, probabilities
from pretrain.likelihood.nce import as_data, as_noise, ranked_first
from tests.pretrain.likelihood.toys import generator, ising, minimise, states

NOISE = Coins(torch.tensor([0.3, 0.6, 0.45], dtype=torch.float64))


@pytest.mark.parametrize("nu", [1, 4])
def test_the_optimum_is_the_density_of_data_and_c_is_log_z(nu: int) -> None:
    truth = ising(3, seed=2)
    p = probabilities(truth, states(3)).detach()
    q = NOISE.log_prob(states(3)).exp()
    learner = NoiseContrastive(ising(3, seed=None), NOISE, NCEConfig(nu=nu)).double()

    def expected() -> Tensor:
        G = learner.log_ratio(states(3))
        return (p * as_data(G, nu)).sum() + nu * (q * as_noise(G, nu)).sum()

    minimise(expected, learner)
    np.testing.assert_allclose(learner.model.couplings.detach(), truth.couplings.detach(), atol=1e-5)
    np.testing.assert_allclose(learner.model.biases.detach(), truth.biases.detach(), atol=1e-5)
    log_z = float(log_partition(truth, states(3)).detach())
    assert float(learner.log_z.detach()) == pytest.approx(log_z, abs=1e-5)
    np.testing.assert_allclose((-learner.energy(states(3))).exp().detach(), p, atol=1e-5)


def test_the_ranking_s_optimum_is_the_density_up_to_its_normaliser() -> None:
    """Expected over data and two noise samples: all 8^3 cases."""
    truth = ising(3, seed=2)
    p = probabilities(truth, states(3)).detach()
    q = NOISE.log_prob(states(3)).exp()
    cases = torch.tensor(list(itertools.product(range(8), repeat=3)))
    weight = p[cases[:, 0]] * q[cases[:, 1]] * q[cases[:, 2]]
    learner = NoiseContrastive(ising(3, seed=None), NOISE).double()

    def expected() -> Tensor:
        G = learner.log_ratio(states(3))
        return (weight * ranked_first(G[cases[:, 0]], G[cases[:, 1:]])).sum()

    minimise(expected, learner)
    np.testing.assert_allclose(learner.model.couplings.detach(), truth.couplings.detach(), atol=1e-4)
    assert float(learner.log_z.detach()) == pytest.approx(0, abs=1e-9)


class Listed:
    """Noise of which every sample is known."""

    def sample(self, num: int, generator: torch.Generator) -> Tensor:
        return states(3)[torch.arange(num) % 8]

    def log_prob(self, y: Tensor) -> Tensor:
        return -1 - y.sum(1) / 3


def test_terms_are_the_written_loss() -> None:
    model, data = ising(3), states(3)[[6, 1]]
    learner = NoiseContrastive(model, Listed(), NCEConfig(nu=3)).double()
    learner.log_z.data.fill_(0.7)
    terms = learner.terms(data, generator())

    def h(y: Tensor) -> float:
        p = math.exp(-float(model(y[None]).detach()) - 0.7)
        q = math.exp(-1 - float(y.sum()) / 3)
        return p / (p + 3 * q)

    for n in range(2):
        assert float(terms["data"][n].detach()) == pytest.approx(-math.log(h(data[n])))
        noise = sum(-math.log(1 - h(y)) for y in states(3)[3 * n : 3 * n + 3])
        assert float(terms["noise"][n].detach()) == pytest.approx(noise)
    ranking = NoiseContrastive(model, Listed(), NCEConfig(nu=3, ranking=True)).double()
    for n, loss in enumerate(ranking.terms(data, generator())["ranking"].detach()):
        ratios = [
            math.exp(-float(model(y[None]).detach()) + 1 + float(y.sum()) / 3)
            for y in [data[n], *states(3)[3 * n : 3 * n + 3]]
        ]
        assert float(loss) == pytest.approx(-math.log(ratios[0] / sum(ratios)))


class Bowl(nn.Module):
    """F = k |y|^2 / 2."""

    def __init__(self) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, y: Tensor) -> Tensor:
        return self.k * (y**2).sum(1) / 2


def test_a_gaussian_s_width_and_normaliser_are_learned_from_samples() -> None:
    y = 0.5 * torch.randn(4000, 2, generator=generator(1), dtype=torch.float64)
    learner = NoiseContrastive(Bowl(), Gaussian(torch.zeros(2).double(), torch.eye(2).double() / 2)).double()
    minimise(lambda: torch.stack(list(learner.terms(y, generator()).values())).sum(0).mean(), learner, 50)
    assert float(learner.model.k.detach()) == pytest.approx(4, rel=0.08)
    assert float(learner.log_z.detach()) == pytest.approx(math.log(2 * math.pi / 4), abs=0.1)


def test_there_is_some_noise() -> None:
    with pytest.raises(ValueError, match="nu=0"):
        NCEConfig(nu=0)
