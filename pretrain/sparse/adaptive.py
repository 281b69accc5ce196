"""FISTA for many samples at once, each with a step length of its own: the fast way to exact sparse codes.

1 / L is safe for every direction, while the atoms that a sample uses curve the energy far less. The step taken from w
to z shows the curvature along it, and the next step is as long as that allows:

    c = (z - w) . W^T W (z - w) / ||z - w||^2        L <- min(max(c, 0.8 L), largest eigenvalue of W^T W)

FISTA with restarts does the rest (see `fista`). Gradients are linear, so the one at an extrapolated point is
extrapolated and a step costs one multiplication with W^T W. Rows are computed in blocks that fit a processor's cache;
those that are done leave their block. Source: Beck and Teboulle 2009, with backtracking forward instead of back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.sparse.energy import lipschitz

FORGET = 0.8  # of L at a step that shows less curvature
CHECK = 4  # steps between looking for rows that are done


@torch.no_grad()
def sparse_codes(
    y: Tensor,
    dictionary: Tensor,
    alpha: float,
    *,
    tolerance: float = 0.01,
    max_steps: int = 1000,
    block: int = 512,
) -> Tensor:
    """z (N, M), the minimum of 1/2 ||y - W z||^2 + alpha |z|_1 for each sample.

    Args:
        tolerance: a sample is done when L ||z - w|| <= tolerance * alpha, the length of its proximal gradient.
        max_steps: after which a sample is returned as it is.
        block: samples computed together.
    """
    if not alpha > 0:
        raise ValueError(f"alpha={alpha} must be above 0")
    gram, largest = dictionary.T @ dictionary, lipschitz(dictionary)
    codes = y.new_empty(len(y), dictionary.shape[1])
    for rows in torch.arange(len(y), device=y.device).split(block):
        _solve(codes, rows, -(y[rows] @ dictionary), gram, largest, alpha, tolerance * alpha, max_steps)
    return codes


def _solve(
    codes: Tensor,
    rows: Tensor,
    start: Tensor,
    gram: Tensor,
    largest: float,
    alpha: float,
    length: float,
    max_steps: int,
) -> None:
    """Writes the codes of some rows, whose gradient at 0 is `start`."""
    slope = slope_w = start  # gradients at z and w
    z = w = torch.zeros_like(start)
    t = torch.ones_like(start[:, :1])
    constant = torch.full_like(t, largest)
    for k in range(1, max_steps + 1):
        x = torch.addcmul(w, slope_w, 1 / constant, value=-1)
        threshold = alpha / constant
        new = x - torch.minimum(torch.maximum(x, -threshold), threshold)
        slope_new = torch.addmm(start, new, gram)
        moved = new - w
        squared = torch.linalg.vecdot(moved, moved)[:, None]
        curvature = torch.linalg.vecdot(moved, slope_new - slope_w)[:, None] / squared.clamp(min=1e-30)
        overshot = torch.linalg.vecdot(moved, new - z)[:, None] < 0
        t = torch.where(overshot, 1.0, t)
        longer = (1 + torch.sqrt(1 + 4 * t.square())) / 2
        ahead = 1 + (t - 1) / longer
        w, slope_w = torch.lerp(z, new, ahead), torch.lerp(slope, slope_new, ahead)
        z, slope, t = new, slope_new, longer
        done = squared.sqrt() * constant <= length
        constant = torch.maximum(curvature, FORGET * constant).clamp(max=largest)
        if k % CHECK == 0 and done.any():
            done = done[:, 0]
            codes[rows[done]] = z[done]
            rows = rows[~done]
            if len(rows) == 0:
                return
            start, z, slope, w, slope_w, t, constant = (
                part[~done] for part in (start, z, slope, w, slope_w, t, constant)
            )
    codes[rows] = z
