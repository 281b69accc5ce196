"""The leapfrog goes back where it came from, to second order; the chain has known moments."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pretrain.samplers import HMC, DualAveragingConfig, HMCConfig, Langevin, LangevinConfig, adapted
from pretrain.samplers.hmc import leapfrog
from pretrain.samplers.metropolis import evaluated
from tests.pretrain.samplers.toys import BEND, COVARIANCE, MEAN, banana, gaussian, generator


def thrown(num: int = 4, seed: int = 1) -> tuple[Tensor, Tensor]:
    draws = torch.randn(2, num, 2, generator=generator(seed), dtype=torch.float64)
    return draws[0], draws[1]


def hamiltonian(y: Tensor, momentum: Tensor) -> Tensor:
    return banana(y) + (momentum**2).sum(1) / 2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), leaps=st.integers(1, 20), step=st.floats(0.01, 0.2))
def test_a_flight_is_reversible(seed: int, leaps: int, step: float) -> None:
    y, momentum = thrown(seed=seed)
    steps = torch.full((4,), step, dtype=torch.float64)
    there, landed = leapfrog(banana, evaluated(banana, y), momentum, steps, leaps)
    back, returned = leapfrog(banana, there, -landed, steps, leaps)
    np.testing.assert_allclose(back.y, y, atol=1e-7)
    np.testing.assert_allclose(returned, -momentum, atol=1e-7)
    assert (there.y - y).abs().max() > 1e-3


def test_energy_is_kept_to_second_order() -> None:
    """At the same time of flight, half the step leaves a quarter of the error."""
    y, momentum = thrown(50)
    errors = []
    for leaps in (20, 40, 80):
        steps = torch.full((50,), 1 / leaps, dtype=torch.float64)
        there, landed = leapfrog(banana, evaluated(banana, y), momentum, steps, leaps)
        errors.append(float((hamiltonian(there.y, landed) - hamiltonian(y, momentum)).abs().mean()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


def test_a_flight_keeps_volumes() -> None:
    y, momentum = thrown(1)
    steps = torch.full((1,), 0.2, dtype=torch.float64)

    def flight(both: Tensor) -> Tensor:
        there, landed = leapfrog(banana, evaluated(banana, both[None, :2]), both[None, 2:], steps, 5)
        return torch.cat([there.y[0], landed[0]])

    at, eye = torch.cat([y[0], momentum[0]]), 1e-5 * torch.eye(4, dtype=torch.float64)
    jacobian = torch.stack([(flight(at + d) - flight(at - d)) / 2e-5 for d in eye], 1)
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-6)


def test_acceptance_is_that_of_the_energy_gained() -> None:
    sampler = HMC(HMCConfig(step=0.9, leaps=3, jitter=0.2))
    y, _ = thrown(60)
    noise = sampler.noise(banana, y, generator())
    move = sampler.move(banana, sampler.begin(banana, y), noise)
    steps = 0.9 * (0.8 + 0.4 * noise[2])
    there, landed = leapfrog(banana, evaluated(banana, y), noise[0], steps, 3)
    want = torch.exp(hamiltonian(y, noise[0]) - hamiltonian(there.y, landed)).clamp(max=1)
    np.testing.assert_allclose(move.acceptance, want.nan_to_num(nan=0), rtol=1e-9)
    taken = (move.point.y - there.y).abs().amax(1) < 1e-9
    assert torch.equal(taken, noise[1] < want)
    assert 5 < taken.sum() < 55


def test_the_chain_has_the_moments_of_a_gaussian() -> None:
    start = torch.zeros(8000, 2, dtype=torch.float64)
    last = HMC(HMCConfig(step=0.3, leaps=6)).sample(gaussian, start, 30, generator()).last
    np.testing.assert_allclose(last.mean(0), MEAN, atol=4 / math.sqrt(8000))
    np.testing.assert_allclose(last.T.cov(), COVARIANCE, atol=4 * math.sqrt(2 / 8000))


def test_the_chain_has_the_moments_of_a_banana() -> None:
    start = torch.zeros(8000, 2, dtype=torch.float64)
    y1, y2 = HMC(HMCConfig(step=0.5, leaps=6)).sample(banana, start, 30, generator()).last.T
    tolerance = 4 / math.sqrt(8000)
    assert float(y1.mean()) == pytest.approx(0, abs=tolerance)
    assert float(y2.mean()) == pytest.approx(BEND, abs=1.3 * tolerance)
    assert float(y2.var()) == pytest.approx(1 + 2 * BEND**2, abs=4 * tolerance)
    assert float((y1**2 * y2).mean()) == pytest.approx(3 * BEND, abs=6 * tolerance)


@pytest.mark.parametrize("first", [0.002, 20.0])
@pytest.mark.parametrize("target", [0.6, 0.9])
def test_the_step_that_is_found_leads_to_the_acceptance_wanted(first: float, target: float) -> None:
    start = torch.randn(100, 2, generator=generator(1), dtype=torch.float64) * 0.1 + MEAN
    config = DualAveragingConfig(target=target)
    found = adapted(HMC(HMCConfig(step=first, leaps=1)), gaussian, start, 300, generator(), config)
    chain = found.sampler.sample(gaussian, found.last, 100, generator(2))
    assert float(chain.acceptance.mean()) == pytest.approx(target, abs=0.03)


def test_a_step_is_found_for_langevin_too() -> None:
    start = torch.randn(100, 2, generator=generator(1), dtype=torch.float64) * 0.1 + MEAN
    config = DualAveragingConfig(target=0.57)
    found = adapted(Langevin(LangevinConfig(step=1e-4)), gaussian, start, 300, generator(), config)
    chain = found.sampler.sample(gaussian, found.last, 200, generator(2))
    assert float(chain.acceptance.mean()) == pytest.approx(0.57, abs=0.06)


@pytest.mark.parametrize("wrong", [{"step": -1.0}, {"leaps": 0}, {"jitter": 1.0}])
def test_a_wrong_config_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        HMCConfig(**wrong)  # type: ignore[arg-type]


def test_a_search_for_a_step_is_checked() -> None:
    with pytest.raises(ValueError, match="target=1"):
        DualAveragingConfig(target=1.0)
    with pytest.raises(ValueError, match="steps=0"):
        adapted(HMC(HMCConfig()), gaussian, torch.zeros(1, 2), 0, generator())
