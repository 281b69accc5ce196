"""What driving costs, read off the ego-centred picture: proximity, lane and off-road cost.

With (f, l) a pixel's centre in metres ahead and to the left of the ego's centre, and its length L, width b and speed v:

    proximity = max over pixels of  m_f(f) m_l(l) * vehicles       m_f = clip(1 + (L_t / 2 - |f|) / (1.5 v + 1), 0, 1)
                                                                   m_l = clip((b - |l|) / (b - b_t / 2), 0, 1)
    lane      = max over |f| <= L / 2 of  clip(1 - |l| / (LANE_WIDTH / 2), 0, 1) * markings
    off_road  = the same mask * off-road area

where L_t = max(L - 1, 0) and b_t = max(b - 1, 0) allow one metre of overlap. Source: Henaff, Canziani, LeCun,
arXiv:1901.02705, and its public code (1.5 s of headway plus 1 m ahead and behind; to one ego width on either side). The
masks there are cut to whole pixels; here they are the continuous functions above, read at pixel centres.

`costs` is differentiable, both through the image and through where the ego's mask lies; `costs_of_image` is the same
for the compiled replay. A collision by the paper's rule is proximity > COLLISION_THRESHOLD.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.compiled import compiled
from envs.units import View

HEADWAY = 1.5  # s
STANDSTILL_GAP = 1.0  # m
OVERLAP_TOLERANCE = 1.0  # m
LANE_WIDTH = 3.7  # m; the lane mask reaches half of it
COLLISION_THRESHOLD = 0.99
LANE_WEIGHT = 0.2
OFF_ROAD_WEIGHT = 0.2
ORDINARY_ACTION = (1.5, 0.005)  # m/s^2, 1/m: nothing special


class Costs(NamedTuple):
    """Proximity, lane and off-road cost, each of the leading shape, within [0, 1]."""

    proximity: Tensor
    lane: Tensor
    off_road: Tensor

    def total(self, lane_weight: float = LANE_WEIGHT, off_road_weight: float = OFF_ROAD_WEIGHT) -> Tensor:
        """C = proximity + lane_weight * lane + off_road_weight * off_road."""
        return self.proximity + lane_weight * self.lane + off_road_weight * self.off_road


def effort(actions: Tensor) -> Tensor:
    """(a / 1.5 m/s^2)^2 + (k / 0.005 1/m)^2 (...) of accelerations and curvatures (..., 2)."""
    return (actions / actions.new_tensor(ORDINARY_ACTION)).square().sum(-1)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What counts how much in the cost of a step,

        proximity + w_lane lane + w_off off_road + w_danger proximity^4  +  w_effort effort(a) - w_progress v

    The last three are ours, and 0 in the paper. Its cost grows evenly with closeness, so being half as close to two
    cars costs as much as all but touching one; the fourth power minds what is nearly a collision. Without effort the
    faintest cost is worth the hardest braking, and without progress nobody who stands drives on.
    """

    lane: float = LANE_WEIGHT
    off_road: float = OFF_ROAD_WEIGHT
    danger: float = 0.0
    effort: float = 0.0
    progress: float = 0.0  # per m/s

    def of_scene(self, costs: Costs) -> Tensor:
        """The first four terms."""
        total = costs.total(self.lane, self.off_road)
        return total + self.danger * costs.proximity**4 if self.danger else total

    def of_driving(self, actions: Tensor, speed: Tensor) -> Tensor | float:
        """The last two (...), of actions (..., 2) and speeds in m/s (...)."""
        if not (self.effort or self.progress):
            return 0.0
        return self.effort * effort(actions) - self.progress * speed


def pixel_grid(view: View, like: Tensor) -> tuple[Tensor, Tensor]:
    """Metres ahead (H, 1) and to the left (1, W) of each pixel's centre, on the device and in the dtype of `like`."""
    ahead = torch.linspace(view.top, -view.top, view.height, dtype=like.dtype, device=like.device)
    left = torch.linspace(view.left, -view.left, view.width, dtype=like.dtype, device=like.device)
    return ahead[:, None], left[None, :]


def costs(image: Tensor, speed: Tensor, size: Tensor, ahead: Tensor, left: Tensor) -> Costs:
    """The three costs of images.

    Args:
        image: (..., 3, H, W) in [0, 1].
        speed: (...) m/s. Detach it unless crawling is wanted: its gradient rewards braking.
        size: (..., 2) length and width of the ego, m.
        ahead, left: metres ahead and to the left of the ego's centre of each pixel's centre, broadcastable to
            (..., H, W); constants from `pixel_grid`, or functions of the ego's pose, which carry the gradient.
    Returns:
        Costs of shape (...).
    """
    speed, size = speed[..., None, None], size[..., None, None, :]
    near = along_mask(ahead, speed, size) * across_mask(left, size)
    aside = beside_mask(ahead, size) * lane_mask(left)
    lane, vehicles, off_road = image.unbind(-3)
    return Costs(
        (near * vehicles).flatten(-2).amax(-1),
        (aside * lane).flatten(-2).amax(-1),
        (aside * off_road).flatten(-2).amax(-1),
    )


def along_mask(ahead: Tensor, speed: Tensor, size: Tensor) -> Tensor:
    """m_f at points `ahead`, of egos with `speed` (...) and `size` (..., 2); broadcasts."""
    half_length = (size[..., 0] - OVERLAP_TOLERANCE).clamp(min=0) / 2
    return (1 + (half_length - ahead.abs()) / (HEADWAY * speed + STANDSTILL_GAP)).clamp(0, 1)


def across_mask(left: Tensor, size: Tensor) -> Tensor:
    """m_l at points `left`, of egos with `size` (..., 2); broadcasts."""
    width = size[..., 1]
    half_width = (width - OVERLAP_TOLERANCE).clamp(min=0) / 2
    return ((width - left.abs()) / (width - half_width)).clamp(0, 1)


def beside_mask(ahead: Tensor, size: Tensor) -> Tensor:
    """1 at points `ahead` that are beside an ego with `size` (..., 2), else 0; broadcasts."""
    return (ahead.abs() <= size[..., 0] / 2).to(ahead.dtype)


def lane_mask(left: Tensor) -> Tensor:
    """clip(1 - |l| / (lane_width / 2), 0, 1)."""
    return (1 - left.abs() / (LANE_WIDTH / 2)).clamp(min=0)


@compiled
def reaches(speed: float, length: float, width: float) -> tuple[float, float, float]:
    """Metres: L_t / 2, 1.5 v + 1 and b_t / 2 of the module's docstring."""
    return (
        max(length - OVERLAP_TOLERANCE, 0.0) / 2,
        HEADWAY * speed + STANDSTILL_GAP,
        max(width - OVERLAP_TOLERANCE, 0.0) / 2,
    )


@compiled
def along_at(ahead: float, half_length: float, safe: float) -> float:
    """m_f at a point `ahead` (at least 0) of an ego with these reaches."""
    return min(max(1 + (half_length - ahead) / safe, 0.0), 1.0)


@compiled
def across_at(left: float, width: float, half_width: float) -> float:
    """m_l at a point to the `left` (at least 0) of an ego with this width and reach."""
    return min(max((width - left) / (width - half_width), 0.0), 1.0)


@compiled
def costs_of_image(
    image: NDArray[np.uint8], px_per_m: float, speed: float, length: float, width: float
) -> tuple[float, float, float]:
    """The three costs of one uint8 image (3, H, W); see the module's docstring."""
    rows, columns = image.shape[1], image.shape[2]
    half_length, safe, half_width = reaches(speed, length, width)
    row, column = (rows - 1) / 2, (columns - 1) / 2
    reach = max(half_length + safe, length / 2) * px_per_m
    r0, r1 = max(0, math.ceil(row - reach)), min(rows, math.floor(row + reach) + 1)
    reach = max(width, LANE_WIDTH / 2) * px_per_m
    k0, k1 = max(0, math.ceil(column - reach)), min(columns, math.floor(column + reach) + 1)
    across, aside = np.empty(k1 - k0), np.empty(k1 - k0)
    for k in range(k1 - k0):
        left = abs(column - (k0 + k)) / px_per_m
        across[k] = across_at(left, width, half_width) / 255
        aside[k] = max(1 - left / (LANE_WIDTH / 2), 0.0) / 255
    proximity = lane = off_road = 0.0
    for r in range(r0, r1):
        ahead = abs(row - r) / px_per_m
        along = along_at(ahead, half_length, safe)
        near = 0.0
        for k in range(k1 - k0):
            near = max(near, across[k] * image[1, r, k0 + k])
        proximity = max(proximity, along * near)
        if ahead <= length / 2:
            for k in range(k1 - k0):
                lane = max(lane, aside[k] * image[0, r, k0 + k])
                off_road = max(off_road, aside[k] * image[2, r, k0 + k])
    return proximity, lane, off_road
