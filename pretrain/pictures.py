"""Pictures of what a method learned, as its data allow: surfaces over the plane; atoms, reconstructions, samples."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.experiments import planes
from pretrain.experiments.figures import pixels
from pretrain.experiments.patches import tiled
from pretrain.learner import Fitted, Learner
from pretrain.methods import Kind, Method

SHOWN = 16  # samples and their reconstructions


class Shown(NamedTuple):
    """Data that are shown.

    kind: of data.  y: (N, ...), prepared by the method.  height, width: of images before that.
    """

    kind: Kind
    y: Tensor
    height: int = 0
    width: int = 0


@torch.no_grad()
def pictures(
    method: Method, built: Learner | Fitted, shown: Shown, generator: torch.Generator
) -> dict[str, NDArray]:
    """uint8 (H, W, 3) by name."""
    y = shown.y
    found: dict[str, NDArray] = {}
    if shown.kind == "plane":
        made = None if method.sample is None else method.sample(built, 400, generator)
        found["surface"] = surface(method, built, y, made)
    else:
        if method.atoms is not None:
            found["atoms"] = grid(method.atoms(built), shown)
        if method.reconstruct is not None:
            few = y[:SHOWN]
            found["reconstructions"] = grid(torch.cat([few, method.reconstruct(built, few)]), shown, SHOWN)
        if method.sample is not None:
            found["samples"] = grid(method.sample(built, SHOWN * SHOWN // 4, generator), shown, SHOWN)
    if method.codes is not None:
        found["code_usage"] = usage(method.codes(built, y))
    return found


def surface(method: Method, built: Learner | Fitted, y: Tensor, made: Tensor | None) -> NDArray:
    """The energy over the plane, with its field."""
    from matplotlib.figure import Figure

    figure = Figure((5, 5), dpi=120, layout="constrained")
    planes.draw(figure.add_subplot(), lambda at: method.energy(built, at), y, "", made)
    return pixels(figure)


def grid(images: Tensor, shown: Shown, columns: int | None = None) -> NDArray:
    """Rows (K, D) or images (K, h, w) or (K, 1, h, w) in rows of so many; by default about a square of them."""
    flat = images.flatten(1)
    if images.dim() > 2:
        height, width = images.shape[-2:]
    elif flat.shape[1] == shown.height * shown.width:
        height, width = shown.height, shown.width
    else:  # coarse images are squares
        height = width = math.isqrt(flat.shape[1])
    return tiled(flat.unflatten(1, (height, width)), columns or math.ceil(math.sqrt(len(flat))))


def usage(amount: Tensor) -> NDArray:
    """How much each code is used, the most used first."""
    from matplotlib.figure import Figure

    share = amount.sort(descending=True).values / amount.sum().clamp(min=1e-12)
    figure = Figure((6, 2.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(share)), share.numpy(), width=1.0)
    axes.axhline(1 / len(share), color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="code, most used first", ylabel="share of use")
    return pixels(figure)
