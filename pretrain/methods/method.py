"""What is said of a method, sizes that methods share, and what they make of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pretrain.data import resized
from pretrain.learner import Fitted, Learner
from pretrain.sparse import TopographicConfig, unit_norm

# plane: (N, 2). patches: (N, 1, H, W) of mean 0 and variance 1. images: (N, 1, H, W) in [0, 1].
Kind = Literal["plane", "patches", "images"]
PICTURES: tuple[Kind, ...] = ("patches", "images")
ANY: tuple[Kind, ...] = ("plane", *PICTURES)

HIDDEN, CODES = 256, 32  # units of a hidden layer, and of a code
ATOMS, ALPHA, POOL = 144, 0.5, 4
GREYS = 8  # of images as sequences of words
COARSE = 7  # pixels along an image whose pixels are binary units or words,
TINY = 4  # and along one whose every state can be listed
MAP = TopographicConfig(side=12, width=1.2, alpha=0.5, epsilon=0.05, steps=20)

Built = Learner | Fitted


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method.

    build: of samples and a generator.
    takes: kinds of data.
    prepare: what it makes of such data, (N, ...).
    rate: of Adam.
    turns: the players of one round of training, in order.
    energy: (built, y) -> (N,).
    atoms: what it composes samples of, (K, D) or (K, h, w), in an order that means something (a map) or not.
    reconstruct: (built, y) -> like y.
    codes: (built, y) -> how much each code is used, (K,).
    sample: (built, num, generator) -> like y.
    """

    build: Callable[[Tensor, torch.Generator], Built]
    takes: tuple[Kind, ...] = ANY
    prepare: Callable[[Tensor], Tensor] = lambda y: y.flatten(1)
    rate: float = 2e-3
    turns: tuple[str, ...] = ("model",)
    energy: Callable[[Any, Tensor], Tensor] = lambda m, y: m.energy(y)
    atoms: Callable[[Any], Tensor] | None = None
    reconstruct: Callable[[Any, Tensor], Tensor] | None = None
    codes: Callable[[Any, Tensor], Tensor] | None = None
    sample: Callable[[Any, int, torch.Generator], Tensor] | None = None


def as_pictures(y: Tensor) -> Tensor:
    """As they are."""
    return y


def binary(images: Tensor, size: int = COARSE) -> Tensor:
    """(N, size * size): whether a quarter of a coarse pixel of images (N, 1, H, W) is bright."""
    return (resized(images, size).flatten(1) > 0.25).to(images)


def words(images: Tensor) -> Tensor:
    """Grey levels of coarse images (N, 1, H, W) as words (N, T) behind the two special ones."""
    return 2 + (resized(images, COARSE).flatten(1).clamp(0, 1) * (GREYS - 1)).round().long()


def samples(y: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Atoms of unit norm (D, num): samples, and a little noise, so that none is 0 and none twice."""
    chosen = y[torch.randint(len(y), (num,), generator=generator)].T
    return unit_norm(chosen + 1e-2 * torch.randn(chosen.shape, generator=generator))


def at_most(y: Tensor, num: int) -> int:
    """`num`, or the entries of a row where they are fewer."""
    return min(num, y.shape[1])
