"""What is said of a method, sizes that methods share, and what they make of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from pretrain.autoencoders.masked_tokens import Filled
from pretrain.data import SPECIAL, resized
from pretrain.learner import Fitted, Learner
from pretrain.sparse import TopographicConfig, unit_norm

# plane: (N, 2). patches: (N, 1, H, W) of mean 0 and variance 1. images: (N, 1, H, W) in [0, 1].
# signals: (N, C, T), each channel of mean 0 and variance 1.
# text: (N, T), int64 numbers of words, of which `pretrain.data.SPECIAL` are the first.
Kind = Literal["plane", "patches", "images", "signals", "text"]
PICTURES: tuple[Kind, ...] = ("patches", "images")
SENSED: tuple[Kind, ...] = (*PICTURES, "signals")
ANY: tuple[Kind, ...] = ("plane", *SENSED)

HIDDEN, CODES = 256, 32  # units of a hidden layer, and of a code
ATOMS, ALPHA, POOL = 144, 0.5, 4
GREYS = 8  # of images as sequences of words
COARSE = 7  # pixels along an image whose pixels are binary units or words,
TINY = 4  # and along one whose every state can be listed
MAP = TopographicConfig(side=12, width=1.2, alpha=0.5, epsilon=0.05, steps=20)

Built = Learner | Fitted


class Restored(NamedTuple):
    """Samples, what is left of them, and what was made of that, (N, ...) each."""

    true: Tensor
    left: Tensor
    made: Tensor


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method.

    build: of samples and a generator.
    takes: kinds of data.
    prepare: what it makes of such data, (N, ...).
    rate: of Adam.
    turns: the players of one round of training, in order.
    energy: (built, y) -> (N,).
    atoms: what it composes samples of, or each unit's couplings, (K, D) or (K, C, h, w), in an order that means
        something (a map) or not.
    reconstruct: (built, y) -> like y.
    codes: (built, y) -> how much each code is used, (K,).
    sample: (built, num, generator) -> like y.
    restore: (built, y, generator) -> samples that lost something, and what it makes of them.
    fill: (built, y, generator) -> what it says of some tokens that are hidden from it.
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
    restore: Callable[[Any, Tensor, torch.Generator], Restored] | None = None
    fill: Callable[[Any, Tensor, torch.Generator], Filled] | None = None


def as_pictures(y: Tensor) -> Tensor:
    """Images (N, C, H, W) as they are; signals (N, C, T) as images of one row, (N, C, 1, T)."""
    return y if y.dim() == 4 else y[:, :, None]


def in_quarters(y: Tensor) -> Tensor:
    """Images or signals, cut at their ends to sides of a multiple of four that can be halved twice."""
    for dim in range(2, y.dim()):
        y = y.narrow(dim, 0, y.shape[dim] // 4 * 4)
    return y


def binary(images: Tensor, size: int = COARSE) -> Tensor:
    """(N, size * size): whether a quarter of a coarse pixel of images (N, 1, H, W) is bright."""
    return (resized(images, size).flatten(1) > 0.25).to(images)


def words(y: Tensor) -> Tensor:
    """Text (N, T) as it is; grey levels of coarse images (N, 1, H, W) as words behind the special ones, (N, T)."""
    if not y.is_floating_point():
        return y
    return len(SPECIAL) + (resized(y, COARSE).flatten(1).clamp(0, 1) * (GREYS - 1)).round().long()


def grey_levels(tokens: Tensor) -> Tensor:
    """In [0, 1], of the words of images, (N, T): the inverse of `words`."""
    return (tokens - len(SPECIAL)) / (GREYS - 1)


def samples(y: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Atoms of unit norm (D, num): samples, and a little noise, so that none is 0 and none twice."""
    chosen = y[torch.randint(len(y), (num,), generator=generator)].T
    return unit_norm(chosen + 1e-2 * torch.randn(chosen.shape, generator=generator))


def at_most(y: Tensor, num: int) -> int:
    """`num`, or the entries of a row where they are fewer."""
    return min(num, y.shape[1])
