"""What a forward model is trained on: recorded windows, and the error of unrolling it along them.

    loss = 1/T sum_t || s_t+1 - f(s_t, a_t, z_t) ||^2 + beta KL(q(z_t | s_t, a_t, s_t+1) || p(z_t | s_t))

unrolled on its own predictions. With z-dropout a step's z comes from the prior instead of the posterior with some
probability, so that the model also learns to make sense of z it was not told (where z encodes errors, it is 0 then, and
f(s, a, 0) learns to predict without). Source: Henaff, Canziani, LeCun, arXiv:1901.02705, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from envs.context import Recorded, context_of_windows
from envs.recording import Recording, Split
from envs.windows import WindowConfig, Windows, WindowSampler
from mbrl import data_parallel
from mbrl.forward_models.base import ForwardModel, reparameterise
from mbrl.forward_models.layers import shared_weights
from mbrl.imagination import stepwise, unroll


def model_windows(
    model: ForwardModel[Any],
    recordings: Sequence[Recording],
    steps: int,
    batch_size: int,
    seed: int | tuple[int, ...],
    *,
    split: Split = "train",
    share: float = 1.0,
    perturbed: float = 0.0,
    varied: float = 0.0,
) -> WindowSampler:
    """The windows a model learns from, or is examined on; varied only where its observer sees what an ego sees."""
    windows = WindowConfig(
        context=model.timing.context,
        targets=model.timing.targets(steps),
        observer=model.observer,
        perturbed=perturbed,
        varied=varied if model.observer == "ego" else 0.0,
        view=model.config.view,
    )
    return WindowSampler(recordings, windows, batch_size=batch_size, split=split, share=share, seed=seed)


def rollout_error(
    model: ForwardModel[Any],
    windows: Windows,
    steps: int,
    device: str,
    noise: torch.Generator | None,
    z_dropout: float,
    mixed_precision: bool = False,
) -> tuple[Tensor, Tensor]:
    """Squared error (B, T) of an unroll on recorded actions, and the mean KL per step.

    z is from the posterior, or from the prior with probability z_dropout, independently for each example and step.
    """
    context = context_of_windows(windows, device)
    after = Recorded.of(windows, device)
    divergences: list[Tensor] = []

    def shared(draw: Callable[[int], Tensor]) -> Tensor:
        return data_parallel.shared(draw, context.batch_size)

    def normal(num: int) -> Tensor:
        return model.noise(num, 1, like=after.actions, generator=noise)[:, 0]

    def latent(t: int, h: Any) -> Tensor:
        prior = model.latent(h, shared(normal))
        if model.z_dim == 0 or z_dropout == 1:
            return prior
        mu, log_var = model.posterior(h, after.actions[:, t], after.images[:, t], after.poses[:, t])
        divergences.append(model.divergence(h, mu, log_var).mean())
        dropped = shared(lambda num: torch.rand(num, 1, generator=noise)).to(device) < z_dropout
        return torch.where(dropped, prior, reparameterise(mu, log_var, shared(normal)))

    precision = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mixed_precision)
    with precision, shared_weights(model):
        errors = [
            model.error(h, after.images[:, t], after.poses[:, t])
            for t, (_, _, h) in enumerate(
                unroll(model, model.encode(context, along=after), stepwise(after.actions), latent, steps)
            )
        ]
    kl = torch.stack(divergences).mean() if divergences else errors[0].new_zeros(())
    return torch.stack(errors, 1), kl
