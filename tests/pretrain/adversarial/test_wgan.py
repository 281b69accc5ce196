"""WGAN's penalty in closed form, its optimum for a linear critic, clipping, and a ring of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pretrain.adversarial.players import play
from pretrain.adversarial.wgan import WGAN, WGANConfig, slope_penalty
from pretrain.energies import MLPEnergy, MLPEnergyConfig
from pretrain.learner import step
from pretrain.networks import mlp
from tests.pretrain.adversarial.rings import modes_before_and_after


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """E(y) = w . y."""

    def __init__(self, *w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, y: Tensor) -> Tensor:
        return y @ self.w


class Zero(nn.Module):
    """Makes 0, or where it has moved to."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.where = nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return self.where.expand(len(z), -1)


def test_the_penalty_of_a_linear_critic_is_known_everywhere() -> None:
    energy, y = Linear(3.0, 4.0), torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    penalty = slope_penalty(energy, y)
    np.testing.assert_allclose(penalty.detach(), 16)
    (slope,) = torch.autograd.grad(penalty.mean(), energy.w)
    np.testing.assert_allclose(slope, [2 * 4 * 0.6, 2 * 4 * 0.8])  # 2 (|w| - 1) w / |w|


def test_the_penalty_reaches_the_weights_of_a_curved_critic() -> None:
    torch.manual_seed(0)
    energy = MLPEnergy(MLPEnergyConfig(num_inputs=2, hidden=(4,))).double()
    y = torch.randn(3, 2, generator=seeded(), dtype=torch.float64)
    first = energy.net[0].weight

    def penalty(weight: Tensor) -> Tensor:
        def changed(y: Tensor) -> Tensor:
            return torch.func.functional_call(energy, {"net.0.weight": weight}, (y,))

        return slope_penalty(changed, y)

    assert torch.autograd.gradcheck(penalty, first.detach().clone().requires_grad_())  # type: ignore[union-attr]


def test_a_flat_critic_pays_one_and_has_a_finite_gradient() -> None:
    energy = Linear(0.0, 0.0)
    penalty = slope_penalty(energy, torch.ones(2, 2, dtype=torch.float64))
    assert penalty.tolist() == [1, 1]
    (slope,) = torch.autograd.grad(penalty.sum(), energy.w)
    assert slope.isfinite().all()


def test_the_penalty_is_taken_between_the_data_and_what_is_made() -> None:
    class Recorder(Linear):
        def forward(self, y: Tensor) -> Tensor:
            seen.append(y.detach())
            return super().forward(y)

    seen: list[Tensor] = []
    learner = WGAN(WGANConfig(num_latent=1), Recorder(1.0, 0.0), Zero(2))
    learner.terms(torch.tensor([[2.0, -4.0]], dtype=torch.float64).expand(200, 2), seeded(), "critic")
    between = seen[-1]
    e = between[:, 0] / 2
    np.testing.assert_allclose(between[:, 1], -4 * e)
    assert float(e.min()) < 0.05
    assert float(e.max()) > 0.95
    assert float(e.mean()) == pytest.approx(0.5, abs=0.1)


def test_a_linear_critic_learns_the_distance_to_the_data() -> None:
    """Data at distance d: -w d + lambda (w - 1)^2 along it is least at w = 1 + d / (2 lambda); E is low on the data."""
    learner = WGAN(WGANConfig(num_latent=1, penalty=5.0), Linear(0.1, 0.1), Zero(2))
    optimiser = torch.optim.SGD(learner.parameters_of("critic"), lr=0.02)
    y = torch.tensor([[0.0, 2.0]], dtype=torch.float64).expand(4, 2)
    for _ in range(300):
        found = step(learner, optimiser, y, seeded(), "critic")
    np.testing.assert_allclose(learner.critic.w.detach(), [0, -1.2], atol=1e-3)  # type: ignore[arg-type, operator, union-attr]
    assert found["real"] + found["fake"] == pytest.approx(-2 * 1.2, abs=1e-2)


def test_the_generator_follows_the_energy_down() -> None:
    learner = WGAN(WGANConfig(num_latent=1), Linear(0.0, -1.0), Zero(2))
    step(
        learner,
        torch.optim.SGD(learner.parameters_of("generator"), lr=0.5),
        torch.zeros(3, 2),
        seeded(),
        "generator",
    )
    np.testing.assert_allclose(learner.generator.where.detach(), [0, 0.5])  # type: ignore[arg-type, operator, union-attr]


def test_clipping_bounds_the_critic_alone_and_takes_the_penalty_s_place() -> None:
    torch.manual_seed(0)
    critic = MLPEnergy(MLPEnergyConfig(num_inputs=2, hidden=(8,)))
    learner = WGAN(WGANConfig(num_latent=2, constraint="clip", clip=0.0625), critic, mlp((2, 8, 2)))
    optimisers = {p: torch.optim.RMSprop(learner.parameters_of(p), lr=0.01) for p in learner.players}
    assert set(learner.terms(torch.zeros(4, 2), seeded(), "critic")) == {"real", "fake"}
    play(learner, optimisers, lambda: torch.ones(16, 2), seeded())
    assert max(float(w.detach().abs().max()) for w in learner.critic.parameters()) <= 0.0625
    assert max(float(w.detach().abs().max()) for w in learner.generator.parameters()) > 0.0625


def test_the_same_seed_plays_the_same_game() -> None:
    def game() -> dict[str, float]:
        torch.manual_seed(0)
        critic = MLPEnergy(MLPEnergyConfig(num_inputs=2, hidden=(8,)))
        learner = WGAN(WGANConfig(num_latent=2), critic, mlp((2, 8, 2)))
        optimisers = {p: torch.optim.Adam(learner.parameters_of(p)) for p in learner.players}
        generator = seeded(3)
        return play(learner, optimisers, lambda: torch.ones(4, 2), generator, critic_steps=3)

    assert game() == game()


@pytest.mark.slow
def test_the_modes_of_a_ring_are_found() -> None:
    torch.manual_seed(0)
    critic = MLPEnergy(MLPEnergyConfig(num_inputs=2, hidden=(64, 64)))
    learner = WGAN(WGANConfig(num_latent=2, penalty=1.0), critic, mlp((2, 64, 64, 2)))
    assert modes_before_and_after(learner, 400, 3) == (0, 4)


@pytest.mark.parametrize(
    "wrong", [{"num_latent": 0}, {"constraint": "none"}, {"penalty": 0.0}, {"clip": -1.0}]
)
def test_configs_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))}="):
        WGANConfig(**({"num_latent": 2} | wrong))
