"""Samples that lost something, and what a method makes of what is left."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.autoencoders import MaskedAutoEncoder, MaskedTokens
from pretrain.autoencoders.masked_images import images_of, patches_of
from pretrain.methods.method import Restored, grey_levels
from pretrain.samplers.chain import normal
from pretrain.score_matching import DenoisingScoreMatching


def predicted_patches(model: MaskedAutoEncoder, images: Tensor, generator: torch.Generator) -> Restored:
    """Images (N, C, H, W), most of whose patches are hidden, black.

    What is predicted has its true patch's mean and deviation, which the model does not predict.
    """
    config, patches = model.config, patches_of(images, model.config.patch)
    visible = model.draw(len(images), generator)[:, : config.num_visible].to(images.device)
    seen = torch.zeros_like(patches[..., :1]).scatter(1, visible[..., None], 1.0) > 0
    mean, std = patches.mean(-1, keepdim=True), patches.std(-1, keepdim=True, correction=0)
    black = -patches.abs().amax((1, 2), keepdim=True)
    rows = (
        torch.where(seen, patches, black),
        torch.where(seen, patches, mean + std * model.predict(images, visible)),
    )
    return Restored(images, *(images_of(row, config.patch, config.height, config.width) for row in rows))


def guessed_pixels(model: MaskedTokens, y: Tensor, generator: torch.Generator) -> Restored:
    """Grey levels (N, T) of tokens (N, T), some of which are hidden, black."""
    filled, true = model.fill(y, generator), grey_levels(y)
    return Restored(
        true,
        torch.where(filled.hidden, -1.0, true),
        torch.where(filled.hidden, grey_levels(filled.guess), true),
    )


def denoised(model: DenoisingScoreMatching, y: Tensor, generator: torch.Generator) -> Restored:
    """Samples with the noise they were learned with, x = y + sigma n, and E[y | x] = x + sigma^2 s(x).

    Source: Robbins, "An empirical Bayes approach to statistics" (1956), Tweedie's formula.
    """
    sigma = model.config.sigma
    noisy = y + sigma * normal(y, generator)
    return Restored(y, noisy, noisy + sigma**2 * model.score(noisy))
