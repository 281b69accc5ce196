"""Energies over the plane: how well they rank data below noise, where they lead, and how they look."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pretrain.energies import Energy, gradient

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REACH = 1.3  # the part of the plane that counts: [-REACH, REACH]^2


def noise(num: int, generator: torch.Generator) -> Tensor:
    """Points (N, 2), uniform over the plane's part."""
    return REACH * (2 * torch.rand(num, 2, generator=generator) - 1)


def ranked_below(energy: Energy, data: Tensor, contrast: Tensor) -> float:
    """The probability that a point of data has a lower energy than one of contrast (the area under the ROC curve).

    A tie counts half, so a flat energy has 1/2.
    """
    with torch.no_grad():
        low, high = energy(data), energy(contrast)
    difference = high[None, :] - low[:, None]
    return float(((difference > 0).double() + (difference == 0).double() / 2).mean())


def followed(energy: Energy, y: Tensor, num_steps: int = 200, length: float = 0.01) -> Tensor:
    """Where y (N, 2) comes in steps of one length against dF/dy, the last half of them ever shorter; flat: nowhere."""
    for k in range(num_steps):
        direction = torch.nn.functional.normalize(gradient(energy, y), dim=1)
        y = y - length * min(1, 2 * (num_steps - k) / num_steps) * direction
    return y


def top_of(energy: Energy, data: Tensor) -> float:
    """Four times as far above the lowest energy of data as nearly all of them: a log density may fall by 10,000."""
    with torch.no_grad():
        low = energy(data)
    return float(low.min() + 4 * (low.quantile(0.99) - low.min()))


def draw(
    axes: Axes,
    energy: Energy,
    data: Tensor,
    title: str,
    made: Tensor | None = None,
    reach: tuple[float, float] = (-REACH, REACH),
    top: float = math.inf,
) -> None:
    """The root of the surface, its field -dF/dy (arrows of one length), data in white, what was made in orange.

    Energies above `top` are of one colour, see `top_of`.
    """
    side = torch.linspace(*reach, 121)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        surface = energy(grid).view(121, 121).T.numpy()
    relief = np.sqrt(surface.clip(max=top) - surface.min())  # the root shows the bottom better
    levels = np.linspace(0, max(np.quantile(relief, 0.97), 0.03), 25)
    axes.contourf(side.numpy(), side.numpy(), relief, levels=levels, extend="max", cmap="viridis")
    coarse = torch.linspace(*reach, 19)[1:-1]
    points = torch.cartesian_prod(coarse, coarse)
    field = -gradient(energy, points)
    field = torch.where(
        field.norm(dim=1, keepdim=True) > 1e-4, torch.nn.functional.normalize(field, dim=1), math.nan
    )
    axes.quiver(*points.T.numpy(), *field.T.numpy(), color="white", alpha=0.45, scale=28, width=0.004)
    shown = data[:400]
    axes.scatter(shown[:, 0], shown[:, 1], s=2.5, color="white", linewidths=0)
    if made is not None:
        axes.scatter(made[:400, 0], made[:400, 1], s=3.5, color="orange", linewidths=0)
    axes.set(title=title, xlim=reach, ylim=reach, xticks=[], yticks=[], aspect="equal")
