"""Effective sample size of chains whose autocorrelation is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.samplers import effective_sample_size
from pretrain.samplers.diagnostics import autocovariance
from tests.pretrain.samplers.toys import generator


def autoregressive(phi: float, num: int = 4000, chains: int = 20) -> Tensor:
    noise = torch.randn(num, chains, generator=generator(), dtype=torch.float64)
    y, samples = noise[0] / math.sqrt(1 - phi**2), []
    for n in noise:
        y = phi * y + n
        samples.append(y)
    return torch.stack(samples)


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9])
def test_of_an_autoregressive_chain(phi: float) -> None:
    """1 + 2 sum_t phi^t = (1 + phi) / (1 - phi)."""
    samples = autoregressive(phi)
    want = samples.numel() * (1 - phi) / (1 + phi)
    assert float(effective_sample_size(samples)) == pytest.approx(want, rel=0.1)


def test_chains_that_disagree_are_worth_little() -> None:
    samples = autoregressive(0.0) + 3 * torch.arange(20.0)
    assert float(effective_sample_size(samples)) < 50


def test_chains_that_stand_still_or_swing_are_worth_nothing_definite() -> None:
    still = torch.full((10, 2), 3.0)
    swing = (torch.arange(100) % 2 * 2.0 - 1)[:, None].repeat(1, 2)
    assert effective_sample_size(still).isnan()
    assert float(effective_sample_size(swing)) == pytest.approx(200 * math.log10(200), rel=1e-3)


def test_coordinates_are_judged_one_by_one() -> None:
    samples = torch.stack([autoregressive(0.0), 5 + 100 * autoregressive(0.9)], 2)
    each = [effective_sample_size(samples[..., k]) for k in range(2)]
    np.testing.assert_allclose(effective_sample_size(samples), torch.stack(each), rtol=1e-9)


def test_autocovariance_is_the_sum_it_is_said_to_be() -> None:
    y = torch.randn(9, 3, generator=generator(), dtype=torch.float64)
    away = y - y.mean(0)
    want = torch.stack([(away[: 9 - t] * away[t:]).sum(0) / 8 for t in range(9)])
    np.testing.assert_allclose(autocovariance(y), want, atol=1e-12)


def test_one_chain_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="10 samples of 1 chains"):
        effective_sample_size(torch.zeros(10, 1))
