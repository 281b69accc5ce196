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


def transformer(width: int, depth: int, heads: int) -> nn.Module:
    """Blocks of attention and two layers, normalised before each, and once at the end; no dropout.

    Each block has weights of its own from the start: torch would copy one block's.
    """
    block = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    blocks = nn.TransformerEncoder(block, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)
    for parameter in blocks.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    return blocks
