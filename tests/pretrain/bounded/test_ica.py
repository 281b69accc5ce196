"""ICA finds the mixing of peaked and of flat sources, at a stationary point of a normalised density."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.bounded import ICA, ICAConfig, amari_distance
from tests.pretrain.toys import generator, mass


def mixed(num: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples (N, 4) of two Laplace and two uniform sources, and their mixing (4, 4)."""
    u = 2 * torch.rand(num, 4, generator=generator(seed), dtype=torch.float64) - 1
    laplace = -u.sign() * torch.log1p(-u.abs())
    sources = torch.cat([laplace[:, :2], u[:, 2:]], 1)
    mixing = torch.randn(4, 4, generator=generator(seed + 1), dtype=torch.float64)
    return sources @ mixing.T + 3, mixing


def fitted(y: torch.Tensor) -> ICA:
    ica = ICA(ICAConfig(dim=y.shape[1])).to(y)
    ica.fit(y)
    return ica


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_the_mixing_and_the_kind_of_each_source(seed: int) -> None:
    y, mixing = mixed(4000, 2 * seed)
    ica = fitted(y)
    assert amari_distance(ica.unmixing, mixing) < 0.05
    assert int(ica.flat.sum()) == 2
    whitening = torch.linalg.inv(torch.linalg.cholesky(torch.cov(y.T)))
    assert amari_distance(whitening, mixing) > 0.15  # what second moments alone know


def test_it_ends_where_the_likelihood_is_stationary() -> None:
    y, _ = mixed(2000)
    ica = fitted(y)
    ica.unmixing.requires_grad_()
    (gradient,) = torch.autograd.grad(ica.energy(y).mean(), ica.unmixing)
    np.testing.assert_allclose(gradient @ ica.unmixing.detach().T, 0, atol=2e-4)


def test_its_density_integrates_to_one() -> None:
    y, _ = mixed(500)
    ica = fitted(y[:, :2] / 4)
    assert mass(ica.energy, 16, 600) == pytest.approx(1, abs=2e-3)
    ica.flat.copy_(torch.tensor([True, False]))
    assert mass(ica.energy, 16, 600) == pytest.approx(1, abs=2e-3)


def test_the_energy_is_finite_far_away_and_its_gradient_at_the_mean() -> None:
    ica = ICA(ICAConfig(dim=2))
    assert ica.energy(torch.tensor([[1e4, -1e4]])).isfinite().all()
    y = torch.zeros(1, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(ica.energy(y).sum(), y)
    assert (gradient == 0).all()


def test_samples_in_a_plane_are_refused() -> None:
    y = torch.randn(50, 2, generator=generator()) @ torch.randn(2, 3, generator=generator())
    with pytest.raises(torch.linalg.LinAlgError, match="in a plane"):
        fitted(y)


@pytest.mark.parametrize("num", [1, 3])
def test_as_few_samples_as_dimensions_are_refused(num: int) -> None:
    with pytest.raises(torch.linalg.LinAlgError, match=f"{num} samples lie in a plane of 3"):
        ICA(ICAConfig(dim=3)).fit(torch.randn(num, 3, generator=torch.Generator().manual_seed(0)))


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)), st.lists(st.floats(0.1, 10), min_size=4, max_size=4), st.integers(0, 99))
def test_amari_s_distance_ignores_order_and_scale(order: list[int], scale: list[float], seed: int) -> None:
    mixing = torch.randn(4, 4, generator=generator(seed), dtype=torch.float64)
    unmixing = torch.linalg.inv(mixing)
    changed = torch.tensor(scale, dtype=torch.float64)[:, None] * unmixing[list(order)]
    assert amari_distance(changed, mixing) < 1e-6
    assert amari_distance(torch.ones(4, 4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)) == 1
