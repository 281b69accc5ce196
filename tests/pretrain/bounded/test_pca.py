"""PCA against scikit-learn, and its energy as the least over codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as Reference

from pretrain.bounded import PCA, PCAConfig
from tests.pretrain.toys import gaussian, generator


def fitted(num_components: int, y: torch.Tensor) -> PCA:
    pca = PCA(PCAConfig(dim=y.shape[1], num_components=num_components)).double()
    pca.fit(y)
    return pca


@pytest.mark.parametrize("num_components", [1, 3, 6])
def test_it_is_scikit_learn_s(num_components: int) -> None:
    y, _ = gaussian(200, 6)
    other, _ = gaussian(50, 6, seed=7)
    pca, reference = fitted(num_components, y), Reference(num_components).fit(y.numpy())
    error = other.numpy() - reference.inverse_transform(reference.transform(other.numpy()))
    np.testing.assert_allclose(pca.energy(other), (error**2).sum(1), atol=1e-9)
    np.testing.assert_allclose(pca.variances, reference.explained_variance_, rtol=1e-9)


def test_the_energy_is_the_least_over_codes_and_least_where_it_is_decoded() -> None:
    y, _ = gaussian(100, 5)
    pca = fitted(2, y)
    z = pca.encode(y)
    for seed in range(20):
        other = z + 0.1 * torch.randn(z.shape, generator=generator(seed), dtype=z.dtype)
        assert ((y - pca.decode(other)).square().sum(1) > pca.energy(y)).all()
    np.testing.assert_allclose(pca.energy(pca.decode(z)), 0, atol=1e-20)


def test_directions_do_not_depend_on_the_order_or_sign_of_samples() -> None:
    y, _ = gaussian(100, 4)
    pca, turned = fitted(2, y), fitted(2, (2 - y).flip(0))
    np.testing.assert_allclose(pca.components, turned.components, atol=1e-9)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_components=5"):
        PCAConfig(dim=4, num_components=5)
    with pytest.raises(ValueError, match="2 samples do not span num_components=3"):
        fitted(3, torch.eye(4, dtype=torch.float64)[:2])
