"""FISTA for many samples at once, each with a step length of its own: the fast way to exact sparse codes.

1 / L is safe for every direction, while the atoms that a sample uses curve the energy far less. The step taken from w
to z shows the curvature along it, and the next step is as long as that allows:

    c = (z - w) . W^T W (z - w) / ||z - w||^2        L <- min(max(1.1 c, 0.7 L), largest eigenvalue of W^T W)

FISTA with restarts does the rest (see `fista`). Gradients are linear, so the one at an extrapolated point is
extrapolated and a step costs one multiplication with W^T W. Samples are computed in a block that fits a processor's
cache; those that are done leave it and others take their places. Source: Beck and Teboulle 2009, with backtracking
forward instead of back.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.sparse.energy import lipschitz

CAUTION, FORGET = (
    1.1,
    0.7,
)  # L is so much above the curvature that was seen, and falls so fast where less is seen
CHECK = 4  # steps between looking for samples that are done


class _Block(NamedTuple):
    """Samples under way, one a row."""

    row: Tensor  # (B,) of y
    begun: Tensor  # (B,) the step at which it came in
    start: Tensor  # gradient at 0
    z: Tensor
    slope_z: Tensor  # gradient at z
    w: Tensor  # extrapolated
    slope_w: Tensor
    t: Tensor  # (B, 1)
    constant: Tensor  # (B, 1) L


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
        max_steps: after which a sample is returned as it is; rounded up to a multiple of 4.
        block: samples computed together.
    """
    if not alpha > 0:
        raise ValueError(f"alpha={alpha} must be above 0")
    gram, largest = dictionary.T @ dictionary, lipschitz(dictionary)
    codes = y.new_empty(len(y), dictionary.shape[1])
    waiting = torch.arange(len(y), device=y.device)

    def enter(num: int, step: int) -> _Block:
        nonlocal waiting
        row, waiting = waiting[:num].clone(), waiting[num:]
        start = -(y[row] @ dictionary)
        zero, t = torch.zeros_like(start), torch.ones_like(start[:, :1])
        begun = torch.full_like(row, step)
        return _Block(row, begun, start, zero, start, zero, start, t, torch.full_like(t, largest))

    now, step = enter(block, 0), 0
    while len(now.row):
        for _ in range(CHECK):
            now, done = _step(now, gram, largest, alpha, tolerance)
        step += CHECK
        done |= step - now.begun >= max_steps
        if done.any():
            codes[now.row[done]] = now.z[done]
            now = _replaced(now, done, enter(int(done.sum()), step))
    return codes


def _replaced(b: _Block, done: Tensor, fresh: _Block) -> _Block:
    """Fresh samples in the places of some that are done; places that stay empty are closed."""
    places = done.nonzero()[:, 0]
    for old, new in zip(b, fresh, strict=True):
        old[places[: len(new)]] = new
    done[places[: len(fresh.row)]] = False
    return _Block(*(old[~done] for old in b)) if done.any() else b


def _step(b: _Block, gram: Tensor, largest: float, alpha: float, tolerance: float) -> tuple[_Block, Tensor]:
    """The block one step on, and which samples (B,) are done."""
    x = torch.addcmul(b.w, b.slope_w, 1 / b.constant, value=-1)
    threshold = alpha / b.constant
    z = x - torch.minimum(torch.maximum(x, -threshold), threshold)
    slope_z = torch.addmm(b.start, z, gram)
    moved = z - b.w
    squared = torch.linalg.vecdot(moved, moved)[:, None]
    curvature = torch.linalg.vecdot(moved, slope_z - b.slope_w)[:, None] / squared.clamp(min=1e-30)
    overshot = torch.linalg.vecdot(moved, z - b.z)[:, None] < 0
    t = torch.where(overshot, 1.0, b.t)
    longer = (1 + torch.sqrt(1 + 4 * t.square())) / 2
    ahead = 1 + (t - 1) / longer
    w, slope_w = torch.lerp(b.z, z, ahead), torch.lerp(b.slope_z, slope_z, ahead)
    constant = torch.maximum(CAUTION * curvature, FORGET * b.constant).clamp(max=largest)
    done = squared.sqrt() * b.constant <= tolerance * alpha
    return b._replace(z=z, slope_z=slope_z, w=w, slope_w=slope_w, t=longer, constant=constant), done[:, 0]
