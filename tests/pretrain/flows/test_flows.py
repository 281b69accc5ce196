"""Both flows: invertible, of the stated volume, normalised, and able to learn a density that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pretrain.data import parabola
from pretrain.flows import Flow, RealNVP, RealNVPConfig, SplineFlow, SplineFlowConfig
from pretrain.learner import step
from tests.pretrain.toys import gaussian, generator, mass

KINDS = ["realnvp", "spline"]


def flow(kind: str, dim: int = 2, num_layers: int = 4) -> Flow:
    if kind == "realnvp":
        return RealNVP(RealNVPConfig(dim=dim, num_layers=num_layers, hidden=(16,)))
    return SplineFlow(SplineFlowConfig(dim=dim, num_layers=num_layers, hidden=(16,), bound=3.0))


def bent(kind: str, dim: int = 2, scale: float = 0.35) -> Flow:
    """A flow of random weights, far from the identity."""
    one = flow(kind, dim).double()
    rng = generator(3)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    return one


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [2, 5])
def test_it_inverts(kind: str, dim: int) -> None:
    y = 2 * torch.randn(500, dim, generator=generator(), dtype=torch.float64)
    for one, by, atol in ((bent(kind, dim), 0.2, 1e-6), (bent(kind, dim, scale=0.15).float(), 0.05, 1e-5)):
        with torch.no_grad():
            given = y.to(next(one.parameters()).dtype)
            z, _ = one(given)
            assert float((z - given).abs().mean()) > by
            np.testing.assert_allclose(one.inverse(z), given, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [2, 5])
def test_its_log_determinant_is_autograd_s(kind: str, dim: int) -> None:
    one = bent(kind, dim)
    y = 2 * torch.randn(20, dim, generator=generator(), dtype=torch.float64)
    log_det = one(y)[1].detach()
    for k in range(len(y)):
        jacobian = torch.autograd.functional.jacobian(lambda v: one(v[None])[0][0], y[k])
        assert float(torch.linalg.slogdet(jacobian).logabsdet) == pytest.approx(float(log_det[k]), abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_its_density_integrates_to_one(kind: str) -> None:
    assert mass(bent(kind, scale=0.25).energy, 16, 400) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_as_the_standard_gaussian(kind: str) -> None:
    y = torch.randn(50, 3, generator=generator())
    want = y.square().sum(1) / 2 + 1.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(flow(kind, 3).energy(y).detach(), want, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_coupling_lets_kept_entries_through_and_depends_on_them_alone(kind: str) -> None:
    layer = bent(kind, 4).layers[0]
    y = torch.randn(1, 4, generator=generator(), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v[None])[0][0], y[0])
    assert torch.equal(jacobian[[0, 2]], torch.eye(4, dtype=torch.float64)[[0, 2]])
    assert jacobian[1, 3] == jacobian[3, 1] == 0
    assert (jacobian[[1, 3]][:, [0, 2]] != 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_a_correlated_gaussian_to_its_entropy(kind: str) -> None:
    y, _ = gaussian(2000, 2)
    y = ((y - y.mean(0)) / y.std(0)).float()
    entropy = float(math.log(2 * math.pi * math.e) + torch.linalg.slogdet(torch.cov(y.T)).logabsdet / 2)
    torch.manual_seed(0)
    one, rng = flow(kind), generator()
    independent = float(one.energy(y).detach().mean())
    optimiser = torch.optim.Adam(one.parameters(), lr=1e-2)
    for _ in range(100):
        step(one, optimiser, y[torch.randint(2000, (128,), generator=rng)], rng)
    assert abs(float(one.energy(y).detach().mean()) - entropy) < 0.1 * (independent - entropy)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_come_from_the_gaussian_behind_it(kind: str) -> None:
    one = bent(kind)
    drawn = one.sample(20_000, generator(1))
    noise = torch.randn(20_000, 2, generator=generator(1), dtype=torch.float64)
    np.testing.assert_allclose(one(drawn)[0].detach(), noise, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_bends_around_the_parabola(kind: str) -> None:
    rng = generator()
    torch.manual_seed(0)
    one = flow(kind, num_layers=4)
    optimiser = torch.optim.Adam(one.parameters(), lr=1e-2)
    for _ in range(400):
        step(one, optimiser, 2 * parabola(256, rng, noise=0.05), rng)
    y = 2 * parabola(1000, rng, noise=0.05)
    shuffled = torch.stack([y[:, 0], y[torch.randperm(1000, generator=rng), 1]], 1)
    assert float((one.energy(shuffled).mean() - one.energy(y).mean()).detach()) > 2


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="dim=1"):
        RealNVPConfig(dim=1)
    with pytest.raises(ValueError, match="num_layers=1"):
        SplineFlowConfig(dim=2, num_layers=1)
    with pytest.raises(ValueError, match="num_bins=1 "):
        SplineFlowConfig(dim=2, num_bins=1)
    with pytest.raises(ValueError, match="bound=0"):
        SplineFlowConfig(dim=2, bound=0.0)
