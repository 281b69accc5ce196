"""How much a run of chains is worth: the number of independent samples that would estimate a mean as well.

    ESS = S B / (1 + 2 sum_t rho_t),    rho_t = 1 - (W - c_t) / V

W: mean variance within chains, V: variance of all, with that between chains; c_t: mean autocovariance within chains.
The sum ends where a pair rho_2k + rho_2k+1 first is negative, and pairs never grow. Sources: Gelman et al., "Bayesian
Data Analysis" (3rd ed., section 11.5); Geyer, "Practical Markov chain Monte Carlo" (1992), for the end of the sum.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def effective_sample_size(samples: Tensor) -> Tensor:
    """ESS (...) of each coordinate's mean, of samples (S, B, ...) of B chains; NaN for one that never moved.

    Raises:
        ValueError: there are fewer than 4 samples per chain, or fewer than 2 chains.
    """
    num, chains = samples.shape[:2]
    if num < 4 or chains < 2:
        raise ValueError(f"{num} samples of {chains} chains are too few: at least 4 of 2")
    covariance = autocovariance(samples).mean(1)  # (S, ...)
    within = covariance[0]
    total = within * (num - 1) / num + samples.mean(0).var(0)
    rho = 1 - (within - covariance) / total
    pairs = rho[: num // 2 * 2].unflatten(0, (-1, 2)).sum(1)
    positive = (pairs > 0).int().cumprod(0).bool()
    summed = torch.where(positive, pairs.cummin(0).values, 0).sum(0)
    least = 1 / math.log10(
        num * chains
    )  # as Stan does: chains that swing to and fro would be worth any number
    correlation = (2 * summed - 1).clamp(min=least)  # rho_0 = 1 is in the sum, and counts once
    return torch.where(total > 0, num * chains / correlation, torch.nan)


def autocovariance(samples: Tensor) -> Tensor:
    """Of each chain, at each lag: sum_s (y_s - m)(y_(s+t) - m) / (S - 1), the shape of samples (S, ...)."""
    num = len(samples)
    spectrum = torch.fft.rfft(samples - samples.mean(0), 2 * num, dim=0)
    return torch.fft.irfft(spectrum.abs() ** 2, 2 * num, dim=0)[:num] / (num - 1)
