"""Seeing a picture from another pose: the rigid motion between two ego-centred views.

Pixel coordinates are metres ahead and to the left of a pose (x, y, heading, ...), as in envs.units.View. With
D = theta_b - theta_a and (da, dl) the origin of b in the frame of a, a point (a, l) of frame b is in frame a at

    a' = da + a cos D - l sin D        l' = dl + a sin D + l cos D
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from envs.costs import pixel_grid
from envs.units import View


def relative_points(
    ahead: Tensor, left: Tensor, seen_from: Tensor, relative_to: Tensor
) -> tuple[Tensor, Tensor]:
    """Points given as metres ahead and to the left (...) of poses `seen_from` (..., >= 3), measured from others.

    Returns:
        Metres ahead and to the left of `relative_to` (..., >= 3), (...) each; differentiable in all arguments.
    """
    turned = seen_from[..., 2] - relative_to[..., 2]
    dx, dy = seen_from[..., 0] - relative_to[..., 0], seen_from[..., 1] - relative_to[..., 1]
    c, s = torch.cos(relative_to[..., 2]), torch.sin(relative_to[..., 2])
    cos, sin = torch.cos(turned), torch.sin(turned)
    return dx * c + dy * s + ahead * cos - left * sin, dy * c - dx * s + ahead * sin + left * cos


def pixel_coordinates(view: View, seen_from: Tensor, relative_to: Tensor) -> tuple[Tensor, Tensor]:
    """Where the pixels of a picture lie, relative to another pose.

    Args:
        seen_from: (..., >= 3) pose the picture is drawn from.
        relative_to: (..., >= 3) pose to measure from; differentiable.
    Returns:
        Metres ahead and to the left, (..., H, W) each.
    """
    ahead, left = pixel_grid(view, seen_from)
    return relative_points(ahead, left, seen_from[..., None, None, :], relative_to[..., None, None, :])


def sampling_grid(view: View, ahead: Tensor, left: Tensor) -> Tensor:
    """(..., H, W, 2) for grid_sample (align_corners=True) from metres ahead and to the left in the source picture."""
    return torch.stack([-left / max(view.left, 1e-9), -ahead / max(view.top, 1e-9)], -1)


def pixel_place(view: View, ahead: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column (...), between pixels too, of metres ahead and to the left in a picture; its edges continue."""
    row = (view.height - 1) / 2 - ahead * view.px_per_m
    column = (view.width - 1) / 2 - left * view.px_per_m
    return row.clamp(0, view.height - 1), column.clamp(0, view.width - 1)


def read_bilinear(images: Tensor, index: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Pictures (B, H, W), number `index` at a place each, see `pixel_place`; unlike grid_sample, differentiable twice.

    Args:
        index, row, column: broadcastable to (...).
    """
    (top, below), (first, second) = (
        _between(x, size) for x, size in zip((row, column), images.shape[1:], strict=True)
    )
    down, right = row - top, column - first
    upper = images[index, top, first] * (1 - right) + images[index, top, second] * right
    lower = images[index, below, first] * (1 - right) + images[index, below, second] * right
    return upper * (1 - down) + lower * down


def _between(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The pixels on either side of places within [0, size - 1]."""
    before = x.detach().long()
    return before, (before + 1).clamp(max=size - 1)


def resample(images: Tensor, view: View, source: Tensor, target: Tensor, *, padding: str = "zeros") -> Tensor:
    """Pictures (N, c, H, W) drawn from poses `source` (N, >= 3), as seen from `target` (N, >= 3).

    Bilinear; what the source picture does not show is 0 ("zeros") or continues its edge ("border").
    """
    grid = sampling_grid(view, *pixel_coordinates(view, target, source))
    return F.grid_sample(
        images, grid.to(images.dtype), mode="bilinear", padding_mode=padding, align_corners=True
    )
