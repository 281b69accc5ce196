"""The minimum of a convex quadratic function over a box, for many of them at once."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor


class BoxMinimum(NamedTuple):
    """Of P problems of A variables."""

    x: Tensor  # (P, A)
    gain: Tensor  # (P, A, S): how x moves with a linear term that does


def box_qp(q: Tensor, c: Tensor, low: Tensor, high: Tensor, by: Tensor) -> BoxMinimum:
    """min over low <= x <= high of 1/2 x' Q x + c' x, by looking at all faces of the box.

    On a face some x_i are at a bound and Q_ff x_f = -c_f - Q_fb x_b for the others; the minimum of a convex function
    is the least of these points that are inside the box. There are 3^A faces, 1 without bounds: A is small.

    Args:
        q: (P, A, A), positive definite.
        c, low, high: (P, A).
        by: (P, A, S): where c is c + by s, x is x + gain s as long as the same bounds are met. Gain is 0 at them.
    Returns:
        NaN where no face has a solution.
    """
    dim = c.shape[-1]
    sides = [
        (0, -1, 1) if bool((low[:, i].isfinite() | high[:, i].isfinite()).any()) else (0,) for i in range(dim)
    ]
    face = torch.tensor(list(product(*sides)), device=c.device)[:, None]  # (F, 1, A)
    free = face == 0
    at = torch.where(free, 0, torch.where(face < 0, low, high))  # (F, P, A)
    both = free[..., :, None] & free[..., None, :]
    matrix = torch.where(both, q, 0) + torch.diag_embed((~free).to(q))
    right = torch.where(free, -c - (q @ at[..., None])[..., 0], at)
    right = torch.cat([right[..., None], torch.where(free[..., None], -by, 0)], -1)
    solution = torch.linalg.solve_ex(matrix.expand(*at.shape, -1), right)[0]
    x, gain = solution[..., 0], solution[..., 1:]
    slack = 1e-9 + 1e-6 * (x.abs() + c.abs())
    value = 0.5 * (x * (q @ x[..., None])[..., 0]).sum(-1) + (c * x).sum(-1)
    inside = ((x >= low - slack) & (x <= high + slack)).all(-1) & value.isfinite()
    best = torch.where(inside, value, torch.inf).argmin(0)
    rows = torch.arange(len(c), device=c.device)
    found = inside[best, rows][:, None]
    return BoxMinimum(
        torch.where(found, torch.clamp(x[best, rows], low, high), torch.nan),
        torch.where(found[..., None], gain[best, rows], torch.nan),
    )
