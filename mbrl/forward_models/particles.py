"""What is seen of vehicles as particles that move over the picture: nothing is resampled twice, so nothing blurs.

Every pixel q of a picture s_0 that shows a vehicle is a particle of that intensity; moved to x(q), they draw

    s(p) = min(1, sum_q s_0(q) k(p - x(q)))        k(d) = max(0, 1 - |d_r|) max(0, 1 - |d_c|)

Gradients reach the places and velocities. Where nobody asks for one, on a processor, compiled loops do the same sums in
the same order, to the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.compiled import compiled

FAINT = 0.05  # intensity below which a pixel shows nothing
ONE = np.float32(1)  # an integer's difference to a float32 is a float64 in compiled code


@dataclass(frozen=True)
class Particles:
    """N particles in all B examples."""

    example: Tensor  # (N,)
    mass: Tensor  # (N,) their intensity
    place: Tensor  # (N, 2) px, down and to the right
    velocity: Tensor  # (N, 2) px per step

    @staticmethod
    def of(picture: Tensor, velocity: Tensor) -> Particles:
        """Those of pictures (B, H, W) that move with (B, H, W) px per step down."""
        where = torch.nonzero(picture > FAINT)
        example, rows, columns = where.unbind(1)
        down = velocity[example, rows, columns]
        return Particles(
            example,
            picture[example, rows, columns],
            where[:, 1:].to(picture.dtype),
            torch.stack([down, torch.zeros_like(down)], 1),
        )

    def repeat(self, times: int, batch_size: int) -> Particles:
        """Those of that many copies of all examples, one after the other."""
        copies = batch_size * torch.arange(times, device=self.example.device)
        return Particles(
            (self.example + copies[:, None]).flatten(),
            self.mass.repeat(times),
            self.place.repeat(times, 1),
            self.velocity.repeat(times, 1),
        )

    def moved(self, acceleration: Tensor) -> Particles:
        """One step later, v' = v + a, x' = x + v', given (N, 2) px per step per step."""
        velocity = self.velocity + acceleration
        return replace(self, place=self.place + velocity, velocity=velocity)

    def drawn(self, batch_size: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The picture (B, 1, H, W) they draw, and the mean velocity (B, 2, H, W) of what it shows, 0 elsewhere."""
        flat = self.mass.new_zeros(batch_size * height * width, 3)
        if _compiles(self.example, self.mass, self.place, self.velocity):
            _draw(
                self.example.numpy(), self.mass.numpy(), self.place.detach().numpy(),
                self.velocity.detach().numpy(), height, width, flat.numpy(),
            )  # fmt: skip
        else:
            index, weight = _corners(self.place, height, width)
            values = torch.cat([self.mass[:, None], self.mass[:, None] * self.velocity], 1)
            cells = (index + self.example * (height * width)).reshape(-1)
            flat = flat.index_add(0, cells, (values * weight[..., None]).reshape(-1, 3))
        mass, momentum = flat.view(batch_size, height, width, 3).permute(0, 3, 1, 2).split((1, 2), 1)
        return mass.clamp(max=1), momentum / (mass + FAINT)

    def at(self, field: Tensor, px_per_cell: float = 1.0) -> Tensor:
        """A field (B, k, h, w), of cells `px_per_cell` wide, where they are: (N, k), bilinear, its edge continued."""
        _, k, height, width = field.shape
        limit = field.new_tensor([height - 1, width - 1])
        place = (self.place.detach() + 0.5) / px_per_cell - 0.5
        place = place.clamp(min=torch.zeros_like(limit), max=limit)
        if _compiles(self.example, place, field):
            read = field.new_zeros(len(place), k)
            _read(self.example.numpy(), place.numpy(), field.detach().numpy(), read.numpy())
            return read
        index, weight = _corners(place, height, width)
        flat = field.permute(0, 2, 3, 1).reshape(-1, k)
        cells = (index + self.example * (height * width)).reshape(-1)
        return (flat.index_select(0, cells).view(4, -1, k) * weight[..., None]).sum(0)


def _corners(place: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The four pixels around places (N, 2), indices (4, N) into a flat picture, and their weights k, 0 outside."""
    first = place.detach().floor()
    part = place - first
    indices, weights = [], []
    for down in (0, 1):
        for right in (0, 1):
            row, column = first[:, 0].long() + down, first[:, 1].long() + right
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = (part[:, 0] if down else 1 - part[:, 0]) * (part[:, 1] if right else 1 - part[:, 1])
            indices.append(row.clamp(0, height - 1) * width + column.clamp(0, width - 1))
            weights.append(weight * inside)
    return torch.stack(indices), torch.stack(weights)


def _compiles(*parts: Tensor) -> bool:
    """Whether compiled loops may stand in for torch."""
    wanted = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
    return not wanted and all(
        part.device.type == "cpu" and part.dtype in (torch.float32, torch.float64, torch.int64)
        for part in parts
    )


@compiled
def _corner(
    place: NDArray[np.floating[Any]], down: int, right: int, height: int, width: int
) -> tuple[int, int, Any]:
    """Row, column and weight of one of the four pixels around a place (2,), as `_corners` has them."""
    row, column = np.floor(place[0]), np.floor(place[1])
    ahead, aside = place[0] - row, place[1] - column
    weight = (ahead if down else ONE - ahead) * (aside if right else ONE - aside)
    r, c = int(row) + down, int(column) + right
    inside = r >= 0 and r < height and c >= 0 and c < width
    return min(max(r, 0), height - 1), min(max(c, 0), width - 1), weight * np.float32(inside)


@compiled
def _draw(
    example: NDArray[np.int64],
    mass: NDArray[np.floating[Any]],
    place: NDArray[np.floating[Any]],
    velocity: NDArray[np.floating[Any]],
    height: int,
    width: int,
    out: NDArray[np.floating[Any]],
) -> None:
    """Add mass and momentum of all particles to pictures (B * H * W, 3)."""
    for down in range(2):
        for right in range(2):
            for n in range(len(mass)):
                row, column, weight = _corner(place[n], down, right, height, width)
                cell = (example[n] * height + row) * width + column
                out[cell, 0] += mass[n] * weight
                for k in range(2):
                    out[cell, 1 + k] += mass[n] * velocity[n, k] * weight


@compiled
def _read(
    example: NDArray[np.int64],
    place: NDArray[np.floating[Any]],
    field: NDArray[np.floating[Any]],
    out: NDArray[np.floating[Any]],
) -> None:
    """Fields (B, K, h, w) at places (N, 2), added to (N, K)."""
    _, num, height, width = field.shape
    for n in range(len(place)):
        for down in range(2):
            for right in range(2):
                row, column, weight = _corner(place[n], down, right, height, width)
                for k in range(num):
                    out[n, k] += field[example[n], k, row, column] * weight
