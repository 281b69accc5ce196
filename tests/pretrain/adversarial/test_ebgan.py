"""EBGAN's losses against their equations, the pulling-away term, and a ring of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pretrain.adversarial.ebgan import EBGAN, AutoEncoderEnergy, EBGANConfig, pulling_away
from pretrain.adversarial.players import play
from pretrain.learner import step
from pretrain.networks import mlp
from tests.pretrain.adversarial.rings import modes_before_and_after


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(margin: float = 1.0, pull_away: float = 0.0) -> EBGAN:
    torch.manual_seed(0)
    critic = AutoEncoderEnergy(mlp((3, 8, 2)), mlp((2, 8, 3)))
    config = EBGANConfig(num_latent=2, margin=margin, pull_away=pull_away)
    return EBGAN(config, critic, mlp((2, 8, 3))).double()


def data() -> Tensor:
    return torch.randn(6, 3, generator=seeded(1), dtype=torch.float64)


@pytest.mark.parametrize("margin", [0.2, 1.0, 50.0])
def test_losses_are_the_equations(margin: float) -> None:
    learner, y = small(margin, pull_away=0.1), data()
    made = learner.sample(6, seeded())

    def error(y: Tensor) -> Tensor:
        return torch.stack(
            [(learner.critic.decoder(learner.critic.encoder(row)) - row).square().mean() for row in y]
        )

    critic = learner.terms(y, seeded(), "critic")
    torch.testing.assert_close(critic["real"], error(y))
    torch.testing.assert_close(critic["fake"], (margin - error(made)).clamp(min=0))
    generator = learner.terms(y, seeded(), "generator")
    torch.testing.assert_close(generator["energy"], error(made))
    torch.testing.assert_close(generator["pull-away"], 0.1 * pulling_away(learner.critic.encoder(made)))
    assert set(small().terms(y, seeded(), "generator")) == {"energy"}


def test_each_player_moves_its_own_weights_alone() -> None:
    for player, other in (("critic", "generator"), ("generator", "critic")):
        learner = small(pull_away=0.1)
        optimiser = torch.optim.SGD(learner.parameters_of(player), lr=0.1)
        before = {name: weight.clone() for name, weight in learner.named_parameters()}
        step(learner, optimiser, data(), seeded(), player)
        for name, weight in learner.named_parameters():
            assert torch.equal(weight, before[name]) == name.startswith(other)
    with pytest.raises(ValueError, match="player='judge'"):
        small().parameters_of("judge")


def test_a_critic_s_step_leaves_the_generator_without_gradients() -> None:
    learner = small()
    learner.terms(data(), seeded(), "critic")["fake"].sum().backward()
    assert all(weight.grad is None for weight in learner.generator.parameters())


def test_pulling_away_is_the_mean_squared_cosine_of_others() -> None:
    codes = torch.randn(5, 4, generator=seeded(), dtype=torch.float64)
    cosine = torch.nn.functional.cosine_similarity(codes[:, None], codes[None], dim=2)
    want = sum(float(cosine[i, j]) ** 2 for i in range(5) for j in range(5) if i != j) / (5 * 4)
    assert float(pulling_away(codes).mean()) == pytest.approx(want)
    assert torch.autograd.gradcheck(pulling_away, codes.requires_grad_())
    np.testing.assert_allclose(pulling_away(torch.eye(3)), 0, atol=1e-7)
    np.testing.assert_allclose(
        pulling_away(torch.ones(3, 2) * torch.tensor([[1.0], [-2.0], [3.0]])), 1, rtol=1e-6
    )


def test_codes_alone_or_at_zero_pull_nothing() -> None:
    codes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    pull = pulling_away(codes)
    np.testing.assert_allclose(pull.detach(), [0, 0.5, 0.5])
    (slope,) = torch.autograd.grad(pull.sum(), codes)
    assert slope.isfinite().all()
    assert pulling_away(codes[1:2]).tolist() == [0]


class Constant(nn.Module):
    """Makes one answer, whatever z is."""

    def __init__(self, where: float) -> None:
        super().__init__()
        self.where = nn.Parameter(torch.full((1,), where, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return self.where.expand(len(z), 1)


def test_the_generator_comes_to_the_data() -> None:
    """Data at 1; a linear auto-encoder of one dimension, and a generator that starts at -1."""
    torch.manual_seed(0)
    critic = AutoEncoderEnergy(nn.Linear(1, 1), nn.Linear(1, 1))
    learner = EBGAN(EBGANConfig(num_latent=1, margin=0.5), critic, Constant(-1.0)).double()
    optimisers = {p: torch.optim.SGD(learner.parameters_of(p), lr=0.1) for p in learner.players}
    y = torch.ones(16, 1, dtype=torch.float64)
    places = []
    for _ in range(300):
        play(learner, optimisers, lambda: y, seeded())
        places.append(float(learner.generator.where.detach()))  # type: ignore[arg-type, operator, union-attr]
    assert np.mean(places[-100:]) == pytest.approx(1, abs=0.3)


@pytest.mark.slow
def test_the_modes_of_a_ring_are_found() -> None:
    torch.manual_seed(0)
    critic = AutoEncoderEnergy(mlp((2, 64, 16), "relu"), mlp((16, 64, 2), "relu"))
    config = EBGANConfig(num_latent=2, margin=0.1, pull_away=0.02)
    assert modes_before_and_after(EBGAN(config, critic, mlp((2, 64, 64, 2), "relu")), 600, 1) == (0, 4)


@pytest.mark.parametrize("wrong", [{"num_latent": 0}, {"margin": 0.0}, {"pull_away": -1.0}])
def test_configs_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))}="):
        EBGANConfig(**({"num_latent": 2} | wrong))  # type: ignore[arg-type]
