"""Seeded noise of action sequences.

    noise = C e,   e ~ N(0, I) of P numbers, C (H, P): every action dimension on its own

C is the identity (white), gives a power spectrum 1/f^beta (coloured), or interpolates P knots (splines). Normal numbers
are slow to draw and each start needs its own, so a table of sequences is made once and a start looks up N rows that
follow each other, from an offset which a hash of its seed and of the number of the draw decides: a start draws the
same alone and in any batch, and what two seeds draw may overlap. The table is that of Salimans et al.,
arXiv:1703.03864, section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

Interpolation = Literal["hold", "linear", "cubic"]
TABLE_ROWS = 2**14


@dataclass(frozen=True)
class White:
    """Each step on its own."""

    def matrix(self, horizon: int) -> Tensor:
        """C (H, H)."""
        return torch.eye(horizon, dtype=torch.float64)


@dataclass(frozen=True)
class Coloured:
    """Noise whose power falls with its frequency, and whose variance is 1 at every step.

        E |sum_t y_t exp(-2 pi i f t)|^2  ~  max(f, 1/H)^-beta,   f = 0, 1/H, ..., 1/2

    beta 0 is white, 1 pink, 2 a random walk's. Source: Pinneri et al., arXiv:2008.06389, section 3.1, by the sampling
    of Timmer, Koenig, Astron. Astrophys. 300, 707 (1995). The authors' package leaves the mean out where it
    normalises, so its noise is a little larger.
    """

    beta: float

    def matrix(self, horizon: int) -> Tensor:
        """C (H, H): a cosine and a sine of each frequency; each pair has one power."""
        t = torch.arange(horizon, dtype=torch.float64)
        columns = []
        for k in range(horizon // 2 + 1):
            amplitude = max(k, 1) ** (-self.beta / 2)
            alone = k == 0 or 2 * k == horizon  # whose sine is 0
            columns.append(
                amplitude * torch.cos(2 * math.pi * k * t / horizon) * (1 if alone else math.sqrt(2))
            )
            if not alone:
                columns.append(amplitude * torch.sin(2 * math.pi * k * t / horizon) * math.sqrt(2))
        c = torch.stack(columns, 1)
        return c / c.square().sum(1, keepdim=True).sqrt()


@dataclass(frozen=True)
class Spline:
    """P knots, evenly spaced from the first step to the last, each N(0, 1)."""

    knots: int
    interpolation: Interpolation = "cubic"

    def __post_init__(self) -> None:
        if self.knots < 1 or self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"knots={self.knots} must be positive, {self.interpolation!r} one of hold, linear, cubic"
            )

    def matrix(self, horizon: int) -> Tensor:
        """C (H, P); cubic: Hermite, slopes by central differences, one-sided at the ends."""
        p = self.knots
        eye = torch.eye(p, dtype=torch.float64)
        if p == 1:
            return eye.expand(horizon, 1)
        t = torch.linspace(0, p - 1, horizon, dtype=torch.float64)
        if self.interpolation == "hold":
            held = (torch.arange(horizon) * p) // horizon  # each knot as long
            return eye[held]
        left = t.floor().long().clamp(max=p - 2)
        s = (t - left)[:, None]
        if self.interpolation == "linear":
            return (1 - s) * eye[left] + s * eye[left + 1]
        slope = (torch.cat([eye[1:], eye[-1:]]) - torch.cat([eye[:1], eye[:-1]])) / 2
        slope[0], slope[-1] = eye[1] - eye[0], eye[-1] - eye[-2]
        s2, s3 = s**2, s**3
        return (
            (2 * s3 - 3 * s2 + 1) * eye[left] + (s3 - 2 * s2 + s) * slope[left]
            + (3 * s2 - 2 * s3) * eye[left + 1] + (s3 - s2) * slope[left + 1]
        )  # fmt: skip


Shape = White | Coloured | Spline


@lru_cache(maxsize=8)
def table(
    shape: Shape, rows: int, horizon: int, dim: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(rows, H, A) of C e; the same on every device and, rounded, in every dtype."""
    c = shape.matrix(horizon)
    e = torch.randn(rows, c.shape[1], dim, generator=torch.Generator().manual_seed(0), dtype=c.dtype)
    return torch.einsum("hp,npa->nha", c, e).contiguous().to(device, dtype)


class Noise:
    """Noise of B starts; what the n-th draw gives depends on a start's seed and on n alone.

    Args:
        seeds: of each start; None is 0 for all. Starts of one seed share their noise, which is fastest.
    """

    def __init__(self, seeds: Sequence[int] | None) -> None:
        seeds = [0] if seeds is None else [int(seed) for seed in seeds]
        self._seeds = seeds[:1] if len(set(seeds)) == 1 else seeds
        self._draws = 0

    def draw(self, shape: Shape, num: int, horizon: int, like: Tensor) -> Tensor:
        """(N, B, H, A) like the scale `like` (..., A); (N, 1, H, A) where starts share it."""
        rows = max(TABLE_ROWS, 2 ** math.ceil(math.log2(16 * num)))
        noise = table(shape, rows, horizon, like.shape[-1], like.dtype, like.device)
        offsets = [_hash(seed, self._draws) % (rows - num + 1) for seed in self._seeds]
        self._draws += 1
        if len(offsets) == 1:
            return noise[offsets[0] : offsets[0] + num, None]
        return torch.stack([noise[o : o + num] for o in offsets], 1)


def _hash(seed: int, draw: int) -> int:
    """64 well-mixed bits (splitmix64: Steele, Lea, Flood, OOPSLA 2014)."""
    x = (seed * 0xD1342543DE82EF95 + (draw + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFFFFFFFFFF
    return x ^ (x >> 31)
