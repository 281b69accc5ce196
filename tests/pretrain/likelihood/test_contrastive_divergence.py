"""Contrastive divergence's gradient is that of the likelihood once chains are long; and it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.energies import Energy, QuadraticEnergy
from pretrain.learner import Learner, step
from pretrain.likelihood import (
    RBM,
    Coins,
    ContrastiveDivergence,
    ExactLikelihood,
    PersistentContrastiveDivergence,
    RBMConfig,
)
from pretrain.likelihood.exact import draw, log_partition, probabilities
from pretrain.samplers import (
    HMC,
    BlockGibbs,
    Chain,
    Gibbs,
    HMCConfig,
    Langevin,
    LangevinConfig,
    Replay,
    ReplayConfig,
    Sampler,
)
from tests.pretrain.likelihood.toys import generator, gradient, ising, states

FAIR = Coins(torch.full((4,), 0.5, dtype=torch.float64))
DATA = states()[[15, 15, 14, 7]].repeat(5000, 1)  # what the model does not expect


class Fixed(Sampler):
    """Chains that go where they are told."""

    begin = noise = move = None  # type: ignore[assignment]

    def __init__(self, to: Tensor) -> None:
        self.to, self.begun = to, torch.empty(0)

    def sample(
        self, energy: Energy, start: Tensor, steps: int, generator: torch.Generator, keep: int = 0
    ) -> Chain:
        self.begun = start
        return Chain(self.to, *[torch.empty(0)] * 3)


def likelihood_gradient(model: torch.nn.Module, data: Tensor) -> Tensor:
    terms = ExactLikelihood(model, states()).terms(data, generator())
    return gradient(torch.stack(list(terms.values())).sum(0).mean(), model)


def test_the_gradient_is_the_difference_of_the_energies_gradients() -> None:
    model, data, to = ising(), states()[[3, 9, 12]], states()[[1, 8, 8]]
    sampler = Fixed(to)
    terms = ContrastiveDivergence(model, sampler, 3).terms(data, generator())
    assert torch.equal(sampler.begun, data)
    assert {name: len(term) for name, term in terms.items()} == {"data": 3, "chains": 3}
    got = gradient((terms["data"] + terms["chains"]).mean(), model)
    want = gradient(model(data).mean(), model) - gradient(model(to).mean(), model)
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_with_long_chains_the_gradient_is_the_likelihood_s_and_with_short_ones_it_is_not() -> None:
    """Entries are means of 20,000 products of spins: deviations below 0.01 each."""
    model = ising()
    want = likelihood_gradient(model, DATA)

    def error(steps: int) -> float:
        terms = ContrastiveDivergence(model, Gibbs(), steps).terms(DATA, generator())
        return float((gradient((terms["data"] + terms["chains"]).mean(), model) - want).abs().max())

    assert error(30) < 0.04
    assert error(1) > 0.3


def test_persistent_chains_reach_the_likelihood_s_gradient_one_step_at_a_time() -> None:
    model = ising()
    replay = Replay(ReplayConfig(size=20_000), FAIR.sample, generator())
    learner = PersistentContrastiveDivergence(model, Gibbs(), replay)
    want = likelihood_gradient(model, DATA)
    errors = []
    for seed in range(30):
        terms = learner.terms(DATA, generator(seed))
        errors.append(float((gradient((terms["data"] + terms["chains"]).mean(), model) - want).abs().max()))
    assert errors[0] > 0.1
    assert max(errors[25:]) < 0.04


def test_only_drawn_chains_move() -> None:
    replay = Replay(ReplayConfig(size=100), FAIR.sample, generator())
    before = replay.chains.clone()
    learner = PersistentContrastiveDivergence(ising(), Fixed(torch.full((30, 4), 7.0).double()), replay)
    learner.terms(states().repeat(2, 1)[:30], generator())
    moved = (replay.chains == 7).all(1)
    assert moved.sum() == 30
    assert torch.equal(replay.chains[~moved], before[~moved])


@pytest.mark.parametrize("persistent", [False, True])
def test_an_ising_model_is_learned(persistent: bool) -> None:
    truth, model = ising(seed=3), ising(seed=None)
    data = draw(truth, states(), 2000, generator(1))
    replay = Replay(ReplayConfig(size=2000), FAIR.sample, generator(2))
    learner = (
        PersistentContrastiveDivergence(model, Gibbs(), replay)
        if persistent
        else ContrastiveDivergence(model, Gibbs(), 2)
    )
    optimiser, draws = torch.optim.SGD(learner.parameters(), lr=0.3), generator(3)
    for _ in range(80):
        step(learner, optimiser, data, draws)
    p, q = (probabilities(m, states()).detach() for m in (truth, model))
    control = probabilities(ising(seed=None), states()).detach()
    assert float((p - q).abs().sum() / 2) < 0.05
    assert float((p - control).abs().sum() / 2) > 0.3


def test_a_machine_learns_what_independent_coins_cannot() -> None:
    """Data: all on or all off, mostly."""
    data = torch.cat(
        [states()[[0]].repeat(450, 1), states()[[15]].repeat(450, 1), states()[2:12].repeat(10, 1)]
    )
    model = RBM(RBMConfig(units=4, hidden=3, scale=0.1), generator()).double()
    learner = ContrastiveDivergence(model, BlockGibbs(), 3)
    optimiser, draws = torch.optim.SGD(learner.parameters(), lr=0.3), generator(3)
    for _ in range(250):
        step(learner, optimiser, data, draws)
    surprise = float((model(data).mean() + log_partition(model, states())).detach())
    assert surprise < 0.7 * -float(Coins.like(data).log_prob(data).mean())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cd-langevin", "cd-hmc", "pcd-hmc"])
def test_chains_that_follow_the_gradient_teach_a_gaussian_its_precision(how: str) -> None:
    draw = generator()
    mixing = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.5, 0.3, 0.7]])
    data = torch.randn(4000, 3, generator=draw) @ mixing.T
    want = torch.linalg.inv(torch.cov(data.T))
    model = QuadraticEnergy(3)
    sampler = (
        Langevin(LangevinConfig(step=0.3)) if how == "cd-langevin" else HMC(HMCConfig(step=0.2, leaps=5))
    )
    learner: Learner = ContrastiveDivergence(model, sampler, 3)
    if how == "pcd-hmc":
        chains = Replay(ReplayConfig(size=4000), lambda num, g: torch.randn(num, 3, generator=g), draw)
        learner = PersistentContrastiveDivergence(model, sampler, chains)
    adam = torch.optim.Adam(learner.parameters(), 0.02)
    for k in range(400):
        adam.param_groups[0]["lr"] = 0.02 * (1 - k / 400)
        step(learner, adam, data, draw)

    def error(precision: Tensor) -> float:
        return float((precision - want).norm() / want.norm())

    assert error(model.precision().detach()) < 0.05 < error(torch.eye(3))
