"""Langevin dynamics on a Gaussian: its bias without correction, its acceptance with it, and moments."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.samplers import Langevin, LangevinConfig
from tests.pretrain.samplers.toys import BEND, COVARIANCE, MEAN, banana, gaussian, generator


def standard(y: Tensor) -> Tensor:
    return (y**2).sum(1) / 2


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0])
def test_without_correction_the_variance_is_the_known_one(step: float) -> None:
    """y' = (1 - e) y + sqrt(2 e) n settles at 2 e / (1 - (1 - e)^2) = 1 / (1 - e / 2)."""
    start = torch.randn(20_000, 1, generator=generator(1), dtype=torch.float64)
    last = Langevin(LangevinConfig(step=step, adjust=False)).sample(standard, start, 60, generator()).last
    want = 1 / (1 - step / 2)
    assert float(last.var()) == pytest.approx(want, rel=4 * math.sqrt(2 / 20_000))


@pytest.mark.parametrize("step", [0.1, 0.7])
def test_acceptance_is_the_closed_form_of_a_normal(step: float) -> None:
    """On N(0, I) all but the lengths cancels: log ratio = -(e / 4) (|y'|^2 - |y|^2)."""
    sampler = Langevin(LangevinConfig(step=step))
    y = torch.randn(50, 3, generator=generator(1), dtype=torch.float64)
    noise = sampler.noise(standard, y, generator())
    move = sampler.move(standard, sampler.begin(standard, y), noise)
    proposal = (1 - step) * y + math.sqrt(2 * step) * noise[0]
    want = torch.exp(-step / 4 * ((proposal**2).sum(1) - (y**2).sum(1))).clamp(max=1)
    np.testing.assert_allclose(move.acceptance, want, rtol=1e-9)
    taken = noise[1] < want
    assert 0 < taken.sum() < 50
    np.testing.assert_allclose(move.point.y, torch.where(taken[:, None], proposal, y), rtol=1e-12)


def test_the_corrected_chain_has_the_moments_of_a_gaussian() -> None:
    start = torch.zeros(8000, 2, dtype=torch.float64)
    last = Langevin(LangevinConfig(step=0.1)).sample(gaussian, start, 200, generator()).last
    np.testing.assert_allclose(last.mean(0), MEAN, atol=4 / math.sqrt(8000))
    np.testing.assert_allclose(last.T.cov(), COVARIANCE, atol=4 * math.sqrt(2 / 8000))


def test_the_corrected_chain_has_the_moments_of_a_banana() -> None:
    start = torch.zeros(8000, 2, dtype=torch.float64)
    y1, y2 = Langevin(LangevinConfig(step=0.3)).sample(banana, start, 150, generator()).last.T
    tolerance = 4 / math.sqrt(8000)
    assert float(y1.mean()) == pytest.approx(0, abs=tolerance)
    assert float(y1.var()) == pytest.approx(1, abs=1.5 * tolerance)
    assert float(y2.mean()) == pytest.approx(BEND, abs=1.3 * tolerance)
    assert float(y2.var()) == pytest.approx(1 + 2 * BEND**2, abs=4 * tolerance)
    assert float((y1**2 * y2).mean()) == pytest.approx(3 * BEND, abs=6 * tolerance)


def test_a_step_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"step=0\.0"):
        LangevinConfig(step=0.0)
