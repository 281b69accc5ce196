"""Pictures of what a method learned, as its data allow: surfaces over the plane; atoms, reconstructions, samples.

Images are tiles, signals are lines.
"""

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
from pretrain.methods import Kind, Method, Restored
from pretrain.panels import panels

SHOWN = 16  # samples and their reconstructions


class Shown(NamedTuple):
    """Data that are shown.

    kind: of data.  y: (N, ...), prepared by the method.  shape: of one sample before that.
    """

    kind: Kind
    y: Tensor
    shape: tuple[int, ...]


@torch.no_grad()
def pictures(
    method: Method, built: Learner | Fitted, shown: Shown, generator: torch.Generator
) -> dict[str, NDArray]:
    """uint8 (H, W, 3) by name."""
    y, signals = shown.y, shown.kind == "signals"
    found: dict[str, NDArray] = {}
    if shown.kind == "plane":
        made = None if method.sample is None else method.sample(built, 400, generator)
        found["surface"] = surface(method, built, y, made)
    else:
        if method.atoms is not None:
            atoms = method.atoms(built)
            found["atoms"] = panels(as_signals(atoms, shown)) if signals else grid(atoms, shown)
        if method.reconstruct is not None:
            few = y[:SHOWN]
            found["reconstructions"] = reconstructions(few, method.reconstruct(built, few), shown)
        if method.sample is not None:
            made = method.sample(built, SHOWN * SHOWN // 4, generator)
            found["samples"] = panels(as_signals(made, shown)) if signals else grid(made, shown, SHOWN)
        if method.restore is not None and shown.kind != "text":
            found["restored"] = restored(method.restore(built, y[:SHOWN], generator), shown)
    if method.codes is not None:
        found["code_usage"] = usage(method.codes(built, y))
    return found


def surface(method: Method, built: Learner | Fitted, y: Tensor, made: Tensor | None) -> NDArray:
    """The energy over the plane, with its field."""
    from matplotlib.figure import Figure

    figure = Figure((5, 5), dpi=120, layout="constrained")
    planes.draw(figure.add_subplot(), lambda at: method.energy(built, at), y, "", made)
    return pixels(figure)


def reconstructions(y: Tensor, again: Tensor, shown: Shown) -> NDArray:
    """Images above what was made of them; signals behind it, in grey."""
    if shown.kind == "signals":
        return panels(as_signals(again, shown), as_signals(y, shown))
    return grid(torch.cat([y, again]), shown, SHOWN)


def restored(found: Restored, shown: Shown) -> NDArray:
    """Images, what is left of them, and what was made of that, row by row.

    Signals: what is left beside what was made of it, the true ones behind both, in grey.
    """
    if shown.kind != "signals":
        return grid(torch.cat(found), shown, SHOWN)
    pairs = torch.stack([found.left, found.made], 1).flatten(0, 1)
    return panels(as_signals(pairs, shown), as_signals(found.true.repeat_interleave(2, 0), shown))


def as_signals(y: Tensor, shown: Shown) -> Tensor:
    """Rows (K, C T), signals (K, C, T) or images of one row (K, C, 1, T), as signals (K, C, T)."""
    return y.flatten(1).unflatten(1, (shown.shape[0], -1))


def grid(images: Tensor, shown: Shown, columns: int | None = None) -> NDArray:
    """Rows (K, D) or images (K, 1, h, w) in rows of so many; by default about a square of them."""
    flat = images.flatten(1)
    if images.dim() > 2:
        height, width = images.shape[-2:]
    elif flat.shape[1] == math.prod(shown.shape):
        height, width = shown.shape[1:]
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
