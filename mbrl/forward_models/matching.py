"""How fast what is seen in a few frames moves, by block matching: the initial velocities of a forward model.

    v*(p) = argmin over v of  mean over k and a block b of  (s_0(p + b) - s_-k(p + b - k v))^2  +  PENALTY |v|

along the rows of the picture (the direction of travel), in steps of half a pixel and then by the parabola through the
least three; where nothing tells, as on an empty road, v* is 0. Blocks are as large as a car, so that they show an end
of it. The velocity of a pixel is the mean of v* over its block, weighted by intensity: cars do not fall apart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_SPEED = 25.0  # m/s, relative to the observer
PER_PX = 2  # candidates
BLOCK = (5.5, 1.8)  # m, along and across
PENALTY = 0.002  # of a px per step, in squared intensity
CHUNK = 32  # examples at a time, which suit a processor's cache


@torch.no_grad()
def matched_velocity(frames: Tensor, px_per_m: float, step_seconds: float) -> Tensor:
    """px per step down the picture, (B, H, W), of what the last of frames (B, C, H, W), C at least 2, shows.

    The frames are a step apart, oldest first, and seen by an observer that goes straight on.
    """
    reach = PER_PX * max(round(MAX_SPEED * step_seconds * px_per_m), 1)
    along, across = (2 * round((metres * px_per_m - 1) / 2) + 1 for metres in BLOCK)
    return torch.cat([_matched(few, reach, (along, across)) for few in frames.split(CHUNK)])


def _matched(frames: Tensor, reach: int, block: tuple[int, int]) -> Tensor:
    """The candidates are -reach ... reach parts of a pixel."""
    batch_size, num_frames, height, width = frames.shape
    now, before = frames[:, -1], frames[:, :-1].flip(1)  # nearest first
    num_rows = (height - 1) * PER_PX + 1
    margin = reach * (num_frames - 1)
    fine = F.interpolate(before, size=(num_rows, width), mode="bilinear", align_corners=True)
    fine = F.pad(fine, (0, 0, margin, margin))
    known = F.pad(frames.new_ones(num_rows, 1), (0, 0, margin, margin))
    around = [n // 2 for n in block]
    padded = frames.new_zeros(batch_size + 1, height + 2 * around[0], width + 2 * around[1])
    inside = padded[:, around[0] : around[0] + height, around[1] : around[1] + width]
    difference = torch.empty_like(now)
    errors = []
    for candidate in range(-reach, reach + 1):
        inside.zero_()
        for k in range(1, num_frames):
            first = margin - k * candidate
            rows = slice(first, first + num_rows, PER_PX)
            torch.sub(now, fine[:, k - 1, rows], out=difference).mul_(known[rows])
            inside[:-1].addcmul_(difference, difference)
            inside[-1] += known[rows]  # counted along
        sums = _window_sums(_window_sums(padded, 1, block[0]), 2, block[1])
        cost = abs(candidate) / PER_PX * PENALTY
        errors.append(torch.where(sums[-1] > 0, sums[:-1] / sums[-1].clamp(min=1), 1.0) + cost)
    error = torch.stack(errors, 1)
    best = error[:, 1:-1].argmin(1, keepdim=True) + 1
    left, least, right = (error.gather(1, best + k)[:, 0] for k in (-1, 0, 1))
    curvature, tilt = (left - 2 * least + right).clamp(min=1e-9), (left - right) / 2
    depth = tilt.square() / (2 * curvature)  # of the parabola's minimum, which cannot lie below 0
    beyond = tilt / curvature * (least / depth.clamp(min=1e-12)).clamp(max=1)
    velocity = (best[:, 0] - reach + beyond.clamp(-0.5, 0.5)) / PER_PX
    both = F.pad(torch.stack([now * velocity, now]), (around[1], around[1], around[0], around[0]))
    momentum, mass = _window_sums(_window_sums(both, 2, block[0]), 3, block[1])
    return momentum / mass.clamp(min=1e-6)


def _window_sums(x: Tensor, dim: int, size: int) -> Tensor:
    """Sums of `size` neighbours along a dimension, which loses size - 1."""
    length = x.shape[dim] - size + 1
    out = x.narrow(dim, 0, length).clone()
    for k in range(1, size):
        out += x.narrow(dim, k, length)
    return out
