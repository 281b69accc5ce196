"""Traffic that goes on whatever the ego does, and what any plan of an ego costs in it.

The others are points: the pixels that show them in pictures from the poses of an observer. For an ego at a pose, with
(f, l) a point's metres ahead and to the left of it and i its intensity, as in envs.costs

    proximity = max over points of  i m_f(f) m_l(l)

so no picture is drawn for a plan, and many plans are read at once. Which point attains the maximum is found without a
graph, on a processor by a compiled loop; the gradient is that of this point alone. What stands is read around each pose
from the picture at the start, with the gradient of the place where it costs most.

M futures under K masks, N plans, B starts, T poses of each plan, P points. A pose is in one of the S steps that the
scenes go on for: (N, B, T) numbers from 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from envs.compiled import compiled
from envs.costs import (
    LANE_WIDTH,
    Costs,
    across_at,
    across_mask,
    along_at,
    along_mask,
    beside_mask,
    lane_mask,
    pixel_grid,
    reaches,
)
from envs.parallel import for_ranges
from envs.units import View
from envs.warp import pixel_place, read_bilinear, relative_points, sampling_grid

FAINT = 0.02  # intensity below which a pixel shows nobody


@dataclass(frozen=True)
class Scenes:
    """How the traffic around B starts goes on."""

    points: Tensor  # (M, B, S, P, 2): metres ahead and to the left of the observer
    intensity: Tensor  # (K, M, B, S, P), 0 after ...
    num_points: Tensor  # (M, B, S): ... as many points
    observer: Tensor  # (B, S, 4): its poses
    static: Tensor  # (B, 2, H, W): lane markings and off-road area, ...
    start: Tensor  # (B, 4): ... from the ego's pose at the start
    size: Tensor  # (B, 2): length and width of the ego
    view: View

    @staticmethod
    def of(
        vehicles: Tensor, observer: Tensor, static: Tensor, start: Tensor, size: Tensor, view: View
    ) -> Scenes:
        """From pictures of the others (K, M, B, S, H, W), as the observer sees them."""
        flat = vehicles.detach().flatten(-2)
        shown = flat.amax(0) > FAINT
        num_points = shown.sum(-1)
        index, is_point = _packed(shown.flatten(0, -2), num_points.flatten())
        index, is_point = index.view(*num_points.shape, -1), is_point.view(*num_points.shape, -1)
        intensity = flat.gather(-1, index.expand(len(flat), *index.shape)) * is_point
        ahead, left = (x.expand(view.height, view.width).flatten() for x in pixel_grid(view, vehicles))
        return Scenes(
            torch.stack([ahead[index], left[index]], -1), intensity, num_points, observer, static, start, size, view,
        )  # fmt: skip

    def costs(self, poses: Tensor, step: Tensor) -> Costs:
        """Of egos at poses (N, B, T, 4) in steps (N, B, T): proximity (K, M, N, B, T), lane and off-road (N, B, T).

        The gradient is that of the ego's pose; its speed inside the proximity mask is held fixed (see envs.costs).

        Raises:
            ValueError: steps that the scenes do not have.
        """
        steps = self.points.shape[2]
        if bool(((step < 0) | (step >= steps)).any()):
            raise ValueError(f"these scenes go on for {steps} steps, the plan for {int(step.max()) + 1}")
        return Costs(self._proximity(poses, step, self.nearest(poses, step)), *self.standing(poses))

    @torch.no_grad()
    def nearest(self, poses: Tensor, step: Tensor) -> Tensor:
        """The points (K, M, N, B, T) that attain the proximity cost, see `costs`."""
        return (self._found_by_loops if poses.device.type == "cpu" else self._found_at_once)(poses, step)

    def _found_by_loops(self, poses: Tensor, step: Tensor) -> Tensor:
        (masks, futures), (num, starts, steps) = self.intensity.shape[:2], poses.shape[:3]
        nearest = torch.empty(masks, futures, num, starts, steps, dtype=torch.int64)
        for_ranges(
            _look, num * starts * steps, torch.get_num_threads(), poses.detach().reshape(-1, 4).numpy(),
            step.reshape(num, starts, steps).numpy(), self.observer.contiguous().numpy(), self.size.numpy(),
            self.points.numpy(), self.intensity.numpy(), self.num_points.numpy(), nearest.flatten(2).numpy(),
        )  # fmt: skip
        return nearest

    def _found_at_once(self, poses: Tensor, step: Tensor) -> Tensor:
        start = self._starts()
        ahead, left = self._from(poses, step, self.points[:, start, step])
        near = along_mask(ahead, poses[..., 3, None], self.size[:, None, None])
        near *= across_mask(left, self.size[:, None, None])
        return torch.stack([(near * intensity[:, start, step]).argmax(-1) for intensity in self.intensity])

    def _starts(self) -> Tensor:
        return torch.arange(len(self.size), device=self.size.device)[:, None]

    def _from(self, poses: Tensor, step: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (..., N, B, T, P, 2) from egos at poses (N, B, T, 4)."""
        seen_from = self.observer[self._starts(), step][..., None, :]
        return relative_points(points[..., 0], points[..., 1], seen_from, poses[..., None, :])

    def _proximity(self, poses: Tensor, step: Tensor, nearest: Tensor) -> Tensor:
        masks, futures = self.intensity.shape[:2]
        future = torch.arange(futures, device=step.device)[:, None, None, None]
        mask = torch.arange(masks, device=step.device)[:, None, None, None, None]
        at = future, self._starts(), step, nearest  # (K, M, N, B, T)
        ahead, left = self._from(poses, step, self.points[at][..., None, :])
        size = self.size[:, None]
        near = along_mask(ahead[..., 0], poses.detach()[..., 3], size) * across_mask(left[..., 0], size)
        return self.intensity[mask, *at] * near

    def standing(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Lane and off-road cost (N, B, T): what stands, on a grid around each pose that is as fine as the picture.

        The grid has a column in the middle, where a picture of an even width has none: between its pixels, standing on
        a thin line would cost less than beside it.
        """
        rows, columns = (
            int(reach * self.view.px_per_m) for reach in (float(self.size[:, 0].max()) / 2, LANE_WIDTH / 2)
        )
        ahead = (torch.arange(-rows, rows + 1) / self.view.px_per_m).to(poses)[:, None]
        left = (torch.arange(-columns, columns + 1) / self.view.px_per_m).to(poses)[None, :]
        mask = beside_mask(ahead, self.size[:, None, None]) * lane_mask(left)
        mask = mask.flatten(1)  # (B, rows * columns)
        index = self._most(poses.detach(), ahead, left, mask)
        row, column = index // left.shape[1], index % left.shape[1]
        at = relative_points(ahead[row, 0], left[0, column], poses, self.start[:, None])
        channel = torch.arange(2, device=index.device)[:, None, None, None]
        which = channel + 2 * self._starts()
        # grid_sample has no second derivative
        read = read_bilinear(self.static.flatten(0, 1), which, *pixel_place(self.view, *at))
        lane, off_road = read * mask[self._starts(), index]
        return lane, off_road

    def _most(self, poses: Tensor, ahead: Tensor, left: Tensor, mask: Tensor) -> Tensor:
        """Of lane markings and off-road area, where on the grid they cost most: (2, N, B, T)."""
        num, starts, steps = poses.shape[:3]
        at = relative_points(ahead, left, poses[..., None, None, :], self.start[:, None, None, None])
        grid = sampling_grid(self.view, *at).transpose(0, 1).reshape(starts, num * steps, -1, 2)
        read = F.grid_sample(self.static, grid, padding_mode="border", align_corners=True)
        read = read.view(starts, 2, num, steps, -1) * mask[:, None, None, None]
        return read.argmax(-1).permute(1, 2, 0, 3)


def _packed(chosen: Tensor, num: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of what is chosen in rows (R, Q), `num` in each, from the left, and where there is one: (R, P) each."""
    row, index = chosen.nonzero(as_tuple=True)
    place = torch.arange(len(row), device=row.device) - (num.cumsum(0) - num)[row]
    found = index.new_zeros(len(num), max(int(num.max()), 1))
    found[row, place] = index
    return found, torch.arange(found.shape[1], device=row.device) < num[:, None]


@compiled
def _look(
    poses: NDArray[np.floating[Any]],
    when: NDArray[np.int64],
    observer: NDArray[np.floating[Any]],
    size: NDArray[np.floating[Any]],
    points: NDArray[np.floating[Any]],
    intensity: NDArray[np.floating[Any]],
    num_points: NDArray[np.int64],
    nearest: NDArray[np.int64],
    begin: int,
    end: int,
) -> None:
    """`Scenes.nearest` (K, M, N * B * T) of rows of poses from begin to end."""
    num_masks, num_futures = intensity.shape[:2]
    num_starts, num_steps = when.shape[1:]
    near = np.empty(intensity.shape[-1])
    for row in range(begin, end):
        n, b, k = row // (num_starts * num_steps), row // num_steps % num_starts, row % num_steps
        t = when[n, b, k]
        heading, turned = poses[row, 2], observer[b, t, 2] - poses[row, 2]
        dx, dy = observer[b, t, 0] - poses[row, 0], observer[b, t, 1] - poses[row, 1]
        c, s, cos, sin = math.cos(heading), math.sin(heading), math.cos(turned), math.sin(turned)
        first_ahead, first_left = dx * c + dy * s, dy * c - dx * s
        width = size[b, 1]
        half_length, safe, half_width = reaches(poses[row, 3], size[b, 0], width)
        for m in range(num_futures):
            place, num = points[m, b, t], num_points[m, b, t]
            for p in range(num):  # no branches, which took longer
                f, a = place[p, 0], place[p, 1]
                ahead, left = abs(first_ahead + f * cos - a * sin), abs(first_left + f * sin + a * cos)
                near[p] = along_at(ahead, half_length, safe) * across_at(left, width, half_width)
            for k in range(num_masks):
                bright, best = intensity[k, m, b, t], 0.0
                nearest[k, m, row] = 0
                for p in range(num):
                    cost = near[p] * bright[p]
                    if cost > best:
                        best, nearest[k, m, row] = cost, p
