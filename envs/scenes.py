"""Traffic that goes on whatever the ego does, and what any plan of an ego costs in it.

The others are points: the pixels that show them in pictures from the poses of an observer. For an ego at a pose, with
(f, l) a point's metres ahead and to the left of it and i its intensity, as in envs.costs

    proximity = max over points of  i m_f(f) m_l(l)

so no picture is drawn for a plan, and many plans are read at once. What stands is read around each pose from the
picture at the start. M futures under K masks, N plans, B starts, T steps, P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from envs.costs import LANE_WIDTH, Costs, across_mask, along_mask, beside_mask, lane_mask, pixel_grid
from envs.units import View
from envs.warp import relative_points, sampling_grid

FAINT = 0.02  # intensity below which a pixel shows nobody


@dataclass(frozen=True)
class Scenes:
    """How the traffic around B starts goes on."""

    points: Tensor  # (M, B, T, P, 2): metres ahead and to the left of the observer
    intensity: Tensor  # (K, M, B, T, P), 0 where there is no point
    observer: Tensor  # (B, T, 4): its poses
    static: Tensor  # (B, 2, H, W): lane markings and off-road area, ...
    start: Tensor  # (B, 4): ... from the ego's pose at the start
    size: Tensor  # (B, 2): length and width of the ego
    view: View

    @staticmethod
    def of(
        vehicles: Tensor, observer: Tensor, static: Tensor, start: Tensor, size: Tensor, view: View
    ) -> Scenes:
        """From pictures of the others (K, M, B, T, H, W), as the observer sees them."""
        flat = vehicles.flatten(-2)
        shown = flat.amax(0)
        shown = torch.where(shown > FAINT, shown, 0)
        num = max(int((shown > 0).sum(-1).max()), 1)
        index = shown.topk(num, sorted=False).indices
        inside = shown.gather(-1, index) > 0
        intensity = flat.gather(-1, index.expand(len(flat), *index.shape)) * inside
        ahead, left = (x.expand(view.height, view.width).flatten() for x in pixel_grid(view, vehicles))
        return Scenes(
            torch.stack([ahead[index], left[index]], -1), intensity, observer, static, start, size, view
        )

    @torch.no_grad()
    def seen_by(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Metres (M, N, B, T, P) ahead and to the left of egos at poses (N, B, T, 4) of the points.

        Raises:
            ValueError: poses of another number of steps than the scenes have.
        """
        steps = self.points.shape[2]
        if poses.shape[2] != steps:
            raise ValueError(
                f"these scenes go on for {steps} steps, the plan for {poses.shape[2]}: what a step costs depends on"
                " when it is, so they are planned in as a whole"
            )
        return self._seen(poses, self.points[:, None])

    def _seen(self, poses: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """The same of any points (..., N, B, T, P, 2)."""
        return relative_points(points[..., 0], points[..., 1], self.observer[:, :, None], poses[..., None, :])

    def costs(self, poses: Tensor, seen: tuple[Tensor, Tensor] | None = None) -> Costs:
        """Of egos at poses (N, B, T, 4): proximity (K, M, N, B, T), lane and off-road cost (N, B, T).

        The gradient is that of the ego's pose; its speed inside the proximity mask is held fixed (see envs.costs).

        Args:
            seen: what `seen_by` says of the poses, where it is known already.
        """
        return Costs(self._proximity(poses, *(seen or self.seen_by(poses))), *self.standing(poses))

    def _proximity(self, poses: Tensor, ahead: Tensor, left: Tensor) -> Tensor:
        """The point that attains the maximum is found without a graph; the gradient is that of this point alone."""
        speed, size = poses.detach()[..., 3], self.size[:, None]
        with torch.no_grad():
            near = along_mask(ahead, speed[..., None], size[:, None]) * across_mask(left, size[:, None])
        found = []
        for intensity in self.intensity[:, :, None]:
            attains = (near * intensity).argmax(-1, keepdim=True)
            shape = attains.shape  # (M, N, B, T, 1)
            points = self.points[:, None].expand(*shape[:-1], -1, 2)
            f, aside = self._seen(poses, points.gather(-2, attains[..., None].expand(*shape, 2)))
            there = intensity.expand(*shape[:-1], -1).gather(-1, attains)[..., 0]
            found.append(there * along_mask(f[..., 0], speed, size) * across_mask(aside[..., 0], size))
        return torch.stack(found)

    def standing(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Lane and off-road cost (N, B, T): what stands, on a grid around each pose that is as fine as the picture."""
        half = float(self.size[:, 0].max()) / 2
        rows, columns = (round(2 * reach * self.view.px_per_m) + 1 for reach in (half, LANE_WIDTH / 2))
        ahead = torch.linspace(-half, half, rows).to(poses)[:, None]
        left = torch.linspace(-LANE_WIDTH / 2, LANE_WIDTH / 2, columns).to(poses)[None, :]
        mask = beside_mask(ahead, self.size[:, None, None]) * lane_mask(left)  # (B, rows, columns)
        num, starts, steps = poses.shape[:3]
        at = relative_points(ahead, left, poses[..., None, None, :], self.start[:, None, None, None])
        grid = sampling_grid(self.view, *at).transpose(0, 1).reshape(starts, num * steps, -1, 2)
        read = F.grid_sample(self.static, grid, padding_mode="border", align_corners=True)
        read = read.view(starts, 2, num, steps, -1) * mask.flatten(1)[:, None, None, None]
        lane, off_road = read.amax(-1).permute(1, 2, 0, 3)
        return lane, off_road

    def spread(self, ahead: Tensor, left: Tensor) -> Tensor:
        """Variance over masks of what egos see of the others, summed over points in view: (M, N, B, T)."""
        k = len(self.intensity)
        if k == 1:
            return ahead.new_zeros(ahead.shape[:-1])
        variance = self.intensity.var(0)[:, None]
        margin = 0.5 / self.view.px_per_m
        inside = (ahead.abs() <= self.view.top + margin) & (left.abs() <= self.view.left + margin)
        return (variance * inside).sum(-1)
