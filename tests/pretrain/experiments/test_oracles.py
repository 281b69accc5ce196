"""What judges fitted methods and flows: right where closed forms are known, and wrong where something is broken."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pretrain.bounded import PCA, KMeansConfig, PCAConfig
from pretrain.data import spiral
from pretrain.experiments.oracles import (
    inverse_error,
    kmeans_off_sklearn,
    mass,
    pca_off_sklearn,
    sampled_mass,
)
from pretrain.flows import Flow, RealNVP, RealNVPConfig, SplineFlow, SplineFlowConfig
from tests.pretrain.toys import gaussian, generator

WITHIN_ONE = math.erf(0.5**0.5) ** 2  # of N(0, I) in [-1, 1]^2
FLOWS = {
    "realnvp": RealNVP(RealNVPConfig(dim=2, num_layers=4)),  # untrained: N(0, I)
    "spline": SplineFlow(SplineFlowConfig(dim=2, num_layers=4)),
}


class Halved(RealNVP):
    """Its inverse is that of z / 2, its density's volume is forgotten."""

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y / 2, torch.zeros(len(y))


def ridge(log_scale: float) -> Flow:
    """y2 = exp(-2 log_scale) z2, a Gaussian that is narrow one way."""
    flow = RealNVP(RealNVPConfig(dim=2, num_layers=4))
    for layer in (flow.layers[0], flow.layers[2]):  # which change y2
        layer.net[-1].bias.data[0] = 2 * math.atanh(log_scale / 2)
    return flow


@pytest.mark.parametrize("name", FLOWS)
def test_a_gaussian_has_its_mass_on_the_grid_and_among_samples(name: str) -> None:
    flow = FLOWS[name]
    assert mass(flow, side=100) == pytest.approx(1, abs=1e-5)
    assert mass(flow, reach=1.0, side=100) == pytest.approx(WITHIN_ONE, abs=1e-4)
    assert sampled_mass(flow, generator()) == 1
    assert sampled_mass(flow, generator(), reach=1.0) == pytest.approx(WITHIN_ONE, abs=0.006)


def test_cells_of_half_a_deviation_are_enough_and_twice_that_is_not() -> None:
    flow = ridge(math.log(5))  # 0.04 wide
    assert float(flow.sample(2000, generator())[:, 1].std()) == pytest.approx(0.04, rel=0.05)
    assert mass(flow, side=600) == pytest.approx(1, abs=1e-5)
    assert abs(mass(flow, side=60) - 1) > 0.1


def test_a_density_whose_volume_is_forgotten_has_another_mass_than_its_samples() -> None:
    flow = Halved(RealNVPConfig(dim=2))
    assert mass(flow, side=100) > 3.5
    assert sampled_mass(flow, generator()) == 1


@pytest.mark.parametrize("name", FLOWS)
def test_the_inverse_error_is_rounding_and_large_of_a_broken_inverse(name: str) -> None:
    y = torch.randn(50, 2, generator=generator())
    flow = FLOWS[name]
    assert inverse_error(flow, y) < 1e-12
    assert next(flow.parameters()).dtype == torch.float32  # left as it was
    broken = Halved(RealNVPConfig(dim=2))
    assert inverse_error(broken, y) == pytest.approx(float(y.abs().max()) / 2, rel=1e-5)


def test_kmeans_is_scikit_learn_s_unless_it_stops_too_soon() -> None:
    y = spiral(400, generator(), 0.02)
    config = KMeansConfig(dim=2, num_codes=12, num_restarts=3)
    assert kmeans_off_sklearn(y, config, generator(1)) < 1e-6
    hasty = KMeansConfig(dim=2, num_codes=12, num_restarts=3, num_iterations=1)
    assert kmeans_off_sklearn(y, hasty, generator(1)) > 0.01


def test_pca_is_scikit_learn_s_unless_it_was_fitted_to_others() -> None:
    y, _ = gaussian(300, 6)
    pca = PCA(PCAConfig(dim=6, num_components=2)).double()
    pca.fit(y)
    assert pca_off_sklearn(pca, y) < 1e-9
    pca.fit(y[:20])
    assert pca_off_sklearn(pca, y) > 1e-3
