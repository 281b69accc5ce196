"""Small networks that several methods are tried with; a method takes any others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn


def mlp(sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of the given sizes, an activation between them and none after the last.

    Raises:
        ValueError: fewer than two sizes.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes={tuple(sizes)} must name an input and an output")
    layers: list[nn.Module] = []
    for k in range(len(sizes) - 1):
        layers += [nn.Linear(sizes[k], sizes[k + 1]), activation()]
    return nn.Sequential(*layers[:-1])
