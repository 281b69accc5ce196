"""Masked auto-encoder of images: most patches are hidden, the encoder sees the rest, and the hidden are predicted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.learner import Learner, Terms
from pretrain.networks import transformer

# N images, P patches, V of them visible, p pixels along a patch, C channels


@dataclass(frozen=True, kw_only=True)
class MaskedAutoEncoderConfig:
    """height, width: of images, multiples of patch. hidden: share of patches that the encoder does not see.

    encoder_width, decoder_width: of tokens. heads: of attention, in both.
    """

    height: int
    width: int
    channels: int = 1
    patch: int = 4
    hidden: float = 0.75
    encoder_width: int = 64
    encoder_depth: int = 3
    decoder_width: int = 32
    decoder_depth: int = 1
    heads: int = 4

    def __post_init__(self) -> None:
        if self.height % self.patch or self.width % self.patch:
            raise ValueError(f"patch={self.patch} must divide height={self.height} and width={self.width}")
        if not 1 <= self.num_visible < self.num_patches:
            raise ValueError(f"hidden={self.hidden} leaves {self.num_visible} of {self.num_patches} patches")
        for name in ("encoder_width", "decoder_width"):
            if getattr(self, name) % 4 or getattr(self, name) % self.heads:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be a multiple of 4 and heads={self.heads}"
                )

    @property
    def num_patches(self) -> int:
        return (self.height // self.patch) * (self.width // self.patch)

    @property
    def num_visible(self) -> int:
        return round((1 - self.hidden) * self.num_patches)


class PatchEncoder(nn.Module):
    """A transformer of the patches it is given; the others do not exist for it."""

    positions: Tensor

    def __init__(self, config: MaskedAutoEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.encoder_width
        self.embed = nn.Linear(config.channels * config.patch**2, width)
        self.register_buffer("positions", grid_positions(config, width))
        self.blocks = transformer(width, config.encoder_depth, config.heads)

    def forward(self, images: Tensor, visible: Tensor | None = None) -> Tensor:
        """Tokens (N, V, width) of the visible patches (N, V), indices, of images (N, C, H, W); of all by default."""
        patches = patches_of(images, self.config.patch)
        positions = self.positions.expand(len(images), -1, -1)
        if visible is not None:
            patches, positions = picked(patches, visible), picked(positions, visible)
        return self.blocks(self.embed(patches) + positions)


class MaskedAutoEncoder(Learner):
    """Predicts hidden patches from visible ones.

        loss = mean over hidden patches and their pixels of (prediction - patch)^2,
        each patch at mean 0 and variance 1

    Source: He, Chen, Xie, Li, Dollar and Girshick, arXiv:2111.06377. Its encoder, on all patches, is what is kept.
    """

    positions: Tensor

    def __init__(self, config: MaskedAutoEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.decoder_width
        self.encoder = PatchEncoder(config)
        self.narrow = nn.Linear(config.encoder_width, width)
        self.hidden_token = nn.Parameter(torch.zeros(width))
        self.register_buffer("positions", grid_positions(config, width))
        self.decoder = transformer(width, config.decoder_depth, config.heads)
        self.pixels = nn.Linear(width, config.channels * config.patch**2)

    def encode(self, images: Tensor) -> Tensor:
        """Features (N, encoder_width) of images (N, C, H, W): the mean of all tokens."""
        return self.encoder(images).mean(1)

    def draw(self, num: int, generator: torch.Generator) -> Tensor:
        """An order (N, P) of patches, drawn for each image; the first V are visible."""
        return torch.rand(num, self.config.num_patches, generator=generator).argsort(1)

    def predict(self, images: Tensor, visible: Tensor) -> Tensor:
        """Patches (N, P, C p p), as predicted from those in visible (N, V), indices."""
        seen = self.narrow(self.encoder(images, visible))
        tokens = self.hidden_token.expand(len(images), self.config.num_patches, -1)
        tokens = tokens.scatter(1, visible[..., None].expand_as(seen), seen)
        return self.pixels(self.decoder(tokens + self.positions))

    def terms(self, y: Tensor, generator: torch.Generator, player: str = "model") -> Terms:
        order = self.draw(len(y), generator).to(y.device)
        return {"hidden": self.error(y, order)}

    def energy(self, y: Tensor) -> Tensor:
        """The mean loss (N,) of images (N, C, H, W) over fixed masks, by which every patch is visible once or more."""
        p, v = self.config.num_patches, self.config.num_visible
        order = torch.randperm(p, generator=torch.Generator().manual_seed(0)).to(y.device)
        shifts = range(0, p, v)
        errors = [self.error(y, order.roll(-shift).expand(len(y), -1)) for shift in shifts]
        return torch.stack(errors).mean(0)

    def error(self, y: Tensor, order: Tensor) -> Tensor:
        """The loss (N,) of images whose first V patches in order (N, P) are visible."""
        visible, hidden = order.split([self.config.num_visible, order.shape[1] - self.config.num_visible], 1)
        target = picked(normalised(patches_of(y, self.config.patch)), hidden)
        return (picked(self.predict(y, visible), hidden) - target).square().flatten(1).mean(1)


def patches_of(images: Tensor, patch: int) -> Tensor:
    """(N, P, C p p), row by row, of images (N, C, H, W)."""
    return nn.functional.unfold(images, patch, stride=patch).mT


def images_of(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    """Images (N, C, H, W) of patches (N, P, C p p): the inverse of `patches_of`."""
    return nn.functional.fold(patches.mT, (height, width), patch, stride=patch)


def normalised(patches: Tensor) -> Tensor:
    """Every patch at mean 0 and variance 1; a patch of one colour at 0."""
    away = patches - patches.mean(-1, keepdim=True)
    return away / torch.sqrt(away.square().mean(-1, keepdim=True) + 1e-6)


def picked(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (N, V, ...) at index (N, V) of tokens (N, P, D)."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def grid_positions(config: MaskedAutoEncoderConfig, width: int) -> Tensor:
    """Sines and cosines (P, width) of the row and of the column: a quarter of the width each."""
    rows, columns = config.height // config.patch, config.width // config.patch
    at = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    frequency = torch.exp(-math.log(10_000) * torch.arange(width // 4) / (width // 4))
    angle = at[:, :, None] * frequency  # (P, 2, width / 4)
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(1)
