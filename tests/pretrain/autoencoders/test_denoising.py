"""What a denoising auto-encoder learns on a Gaussian is its score, known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.autoencoders import DenoisingAutoEncoder, DenoisingConfig
from pretrain.autoencoders.autoencoder import AutoEncoder, squared_distance
from tests.pretrain.toys import generator


def test_on_a_gaussian_it_learns_the_score_of_the_blurred_density() -> None:
    """grad log p = -(C + sigma^2 I)^-1 (y - m)"""
    mixing = torch.tensor([[1.0, 0.0], [0.8, 0.3]])
    mean = torch.tensor([0.5, -1.0])
    torch.manual_seed(0)
    learner = DenoisingAutoEncoder(nn.Linear(2, 2), nn.Linear(2, 2), DenoisingConfig(noise=0.4))
    y = mean + torch.randn(20_000, 2, generator=generator()) @ mixing.T
    optimiser = torch.optim.LBFGS(learner.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        mean_loss = learner.terms(y, generator(1))["denoising"].mean()
        mean_loss.backward()
        return float(mean_loss.detach())

    optimiser.step(loss)
    y = mean + torch.randn(100, 2, generator=generator(2))
    blurred = mixing @ mixing.T + 0.4**2 * torch.eye(2)
    want = -(y - mean) @ torch.linalg.inv(blurred)
    np.testing.assert_allclose(learner.score(y).detach(), want, atol=0.15, rtol=0.05)
    sharp = -(y - mean) @ torch.linalg.inv(mixing @ mixing.T)
    assert float((want - sharp).abs().mean()) > 1.5  # the density without the noise would not pass


def test_the_target_is_the_clean_sample_and_the_input_the_noisy_one() -> None:
    learner = DenoisingAutoEncoder(nn.Identity(), nn.Identity(), DenoisingConfig(noise=0.5))
    y = torch.randn(4000, 3, generator=generator())
    loss = learner.terms(y, generator(1))["denoising"]
    assert float(loss.mean()) == pytest.approx(3 * 0.25, rel=0.05)
    assert (learner.energy(y) == 0).all()  # the identity's energy is flat: what the noise is against


def test_the_energy_sums_over_all_entries_of_a_sample() -> None:
    y = torch.randn(2, 3, 4, generator=generator())
    energy = AutoEncoder(nn.Identity(), nn.ReLU()).energy(y)
    np.testing.assert_allclose(energy, [float(one.clamp(max=0).square().sum()) for one in y], rtol=1e-6)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(AssertionError, match=r"\(2, 3\) against \(2, 1\)"):
        squared_distance(torch.zeros(2, 3), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="noise=0"):
        DenoisingConfig(noise=0.0)
