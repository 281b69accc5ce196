"""What a trained model is given besides its weights: the z it met, and the scale of its disagreement with itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from envs.context import Recorded, context_of_windows
from envs.recording import Recording
from mbrl.forward_models.base import ForwardModel
from mbrl.imagination import along, from_prior
from mbrl.model_losses import model_windows
from mbrl.model_training import ModelTraining
from mbrl.uncertainty import Terms, Uncertainty, disagreement, dropout_on

BATCH_SIZE = 32  # windows


@torch.no_grad()
def met_in_training(
    config: ModelTraining, model: ForwardModel[Any], recordings: Sequence[Recording], device: str = "cpu"
) -> Tensor:
    """(M, z_dim): the posterior's means along training windows."""
    model.eval()
    steps, batch_size = config.stages[-1].steps, config.stages[-1].batch_size
    sampler = model_windows(
        model, recordings, steps, batch_size, (config.seed, len(config.batch_sizes)),
        share=config.data_share, perturbed=config.perturbed, varied=config.varied,
    )  # fmt: skip
    found: list[Tensor] = []
    for i in range(config.uncertainty_batches):
        windows = sampler.batch(i)
        after = Recorded.of(windows, device)
        h = model.encode(context_of_windows(windows, device))
        for t in range(steps):
            mu, _ = model.posterior(h, after.actions[:, t], after.images[:, t], after.poses[:, t])
            found.append(mu)
            _, h = model.step(h, after.actions[:, t], mu)
    return torch.cat(found)


@torch.no_grad()
def fit_uncertainty(
    config: ModelTraining, model: ForwardModel[Any], recordings: Sequence[Recording], device: str = "cpu"
) -> Uncertainty:
    """Normalise the disagreement of K masks along the actions that the model learns from."""
    sampler = model_windows(
        model, recordings, config.horizon, BATCH_SIZE, config.seed + 1,
        share=config.data_share, varied=config.varied,
    )  # fmt: skip
    noise = torch.Generator().manual_seed(config.seed + 1)
    samples: list[Terms] = []
    with dropout_on(model):
        for i in range(config.uncertainty_batches):
            batch = sampler.batch(i)
            context = context_of_windows(batch, device)
            actions = torch.from_numpy(batch.actions).to(device)
            eps = model.noise(len(actions), config.horizon, like=actions, generator=noise)
            z = from_prior(model, eps.repeat(config.masks, 1, 1))
            samples.append(disagreement(along(model, context, actions, z, config.masks), config.masks))
    uncertainty = Uncertainty(config.horizon).to(device)
    uncertainty.fit(samples)
    return uncertainty
