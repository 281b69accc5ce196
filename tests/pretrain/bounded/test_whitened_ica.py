"""ICA after PCA: it finds sources that many entries share, and its energy is of the coordinates in the plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.bounded import PCAConfig, WhitenedICA, amari_distance
from tests.pretrain.toys import generator, mass


def shared(num: int, dim: int) -> tuple[Tensor, Tensor]:
    """Samples (N, D) of four Laplace sources and a little noise, and their mixing (D, 4)."""
    u = 2 * torch.rand(num, 4, generator=generator(), dtype=torch.float64) - 1
    mixing = torch.randn(dim, 4, generator=generator(1), dtype=torch.float64)
    noise = 1e-3 * torch.randn(num, dim, generator=generator(2), dtype=torch.float64)
    return -u.sign() * torch.log1p(-u.abs()) @ mixing.T + noise + 3, mixing


def fitted(y: Tensor, num_components: int) -> WhitenedICA:
    method = WhitenedICA(PCAConfig(dim=y.shape[1], num_components=num_components)).to(y)
    method.fit(y)
    return method


def test_its_atoms_are_what_the_sources_were_mixed_by() -> None:
    y, mixing = shared(4000, 9)
    method = fitted(y, 4)
    assert amari_distance(torch.linalg.pinv(method.atoms().T), mixing) < 0.03
    assert amari_distance(method.pca.components, mixing) > 0.15  # what PCA alone knows
    within = method.pca.decode(method.pca.encode(y))
    np.testing.assert_allclose(method.pca.mean + method.sources(y) @ method.atoms(), within, atol=1e-9)


def test_its_energy_is_a_density_s_over_the_coordinates_in_the_plane() -> None:
    y, _ = shared(500, 2)
    method = fitted((y - 3) / 4, 2)
    scale = float(method.pca.variances.sqrt().prod())  # dy = scale dx
    assert mass(method.energy, 16, 600) == pytest.approx(scale, rel=2e-3)


def test_what_lies_outside_the_plane_costs_nothing() -> None:
    y, _ = shared(500, 6)
    method = fitted(y, 4)
    out = torch.linalg.svd(method.pca.components).Vh[-1]  # at a right angle to all components
    np.testing.assert_allclose(method.energy(y + 5 * out), method.energy(y), rtol=1e-9)
    assert float((method.energy(y + method.pca.components[0]) - method.energy(y)).abs().mean()) > 0.1


def test_samples_of_fewer_dimensions_are_refused() -> None:
    flat = torch.randn(50, 2, generator=generator()) @ torch.randn(2, 5, generator=generator())
    with pytest.raises(torch.linalg.LinAlgError, match="plane of fewer than num_components=3"):
        fitted(flat, 3)
    fitted(flat, 2)
    with pytest.raises(ValueError, match="2 samples do not span num_components=3"):
        fitted(torch.randn(2, 5, generator=generator()), 3)
    with pytest.raises(ValueError, match="num_components=6"):
        PCAConfig(dim=5, num_components=6)
