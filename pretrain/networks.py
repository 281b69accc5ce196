"""Small networks that several methods are tried with; a method takes any others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


def mlp(sizes: Sequence[int], activation: str = "silu") -> nn.Sequential:
    """Linear layers from sizes[0] to sizes[-1], with an activation, a key of ACTIVATIONS, between two of them.

    Raises:
        ValueError: fewer than two sizes.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes={tuple(sizes)} must name an input and an output")
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])
