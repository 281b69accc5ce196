"""Densities draw what they say they draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.likelihood import Coins, Gaussian
from tests.pretrain.likelihood.toys import generator, states


def test_coins_sum_to_one_and_fall_as_said() -> None:
    p = torch.tensor([0.1, 0.5, 0.7], dtype=torch.float64)
    assert float(Coins(p).log_prob(states(3)).exp().sum()) == pytest.approx(1)
    assert float(Coins(p).log_prob(states(3))[5]) == pytest.approx(np.log(0.1 * 0.5 * 0.7))
    y = Coins(p).sample(20_000, generator())
    np.testing.assert_allclose(y.mean(0), p, atol=0.015)
    np.testing.assert_allclose(Coins.like(y).p, y.mean(0), atol=1e-4)


def test_no_coin_is_certain() -> None:
    assert Coins.like(torch.ones(8, 2)).p.tolist() == pytest.approx([0.9, 0.9])
    with pytest.raises(ValueError, match="within"):
        Coins(torch.tensor([0.5, 1.0]))


def test_a_gaussian_is_torch_s() -> None:
    root = torch.tensor([[1.0, 0.0], [0.8, 0.5]], dtype=torch.float64)
    mean = torch.tensor([3.0, -1.0], dtype=torch.float64)
    density = Gaussian(mean, root @ root.T)
    y = density.sample(20_000, generator())
    want = torch.distributions.MultivariateNormal(mean, root @ root.T).log_prob(y)
    np.testing.assert_allclose(density.log_prob(y), want, rtol=1e-9)
    np.testing.assert_allclose(y.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(y.T.cov(), root @ root.T, atol=0.05)
    np.testing.assert_allclose(Gaussian.like(y).root @ Gaussian.like(y).root.T, y.T.cov(), rtol=1e-9)


@pytest.mark.parametrize("num", [1, 2, 3])
def test_as_few_samples_as_dimensions_are_refused(num: int) -> None:
    with pytest.raises(torch.linalg.LinAlgError, match=f"^{num} samples lie in a plane of 3 .*; more than 3"):
        Gaussian.like(torch.randn(num, 3, generator=generator()))


def test_one_more_sample_is_enough_and_so_is_one_dimension() -> None:
    y = torch.randn(4, 3, generator=generator(), dtype=torch.float64)
    assert Gaussian.like(y).log_prob(y).isfinite().all()
    line = y[:, :1]
    want = torch.distributions.Normal(line.mean(), line.std()).log_prob(line)[:, 0]
    np.testing.assert_allclose(Gaussian.like(line).log_prob(line), want)


def test_samples_in_a_plane_are_refused() -> None:
    y = torch.randn(50, 2, generator=generator()) @ torch.randn(2, 3, generator=generator())
    with pytest.raises(torch.linalg.LinAlgError, match="in a plane; project"):
        Gaussian.like(y)
