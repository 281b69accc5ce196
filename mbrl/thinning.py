"""Dropout whose masks are networks: every example of a mask goes through the same thinned network.

    y_k = x_k b_k / (1 - p),     b_k ~ Bernoulli(1 - p) of each unit (or channel), k = 1 ... K

torch's dropout draws b for each example. That is right for training, but a planner compares candidates, and of two that
differ in nothing the luckier would be chosen. Source: Srivastava et al., "Dropout" (JMLR 2014), whose thinned networks
these are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mbrl.forward_models import Ensemble

Dropout = nn.modules.dropout._DropoutNd


@contextmanager
def thinned(model: nn.Module, num_masks: int, seed: int) -> Iterator[None]:
    """Inside, an evaluated model's dropout layers give each of K masks a network of its own, decided by the seed.

    Each use of a layer draws anew (the steps of a rollout differ), so the same calls give the same numbers. Examples
    are mask-major, K times whatever there are (see Context.repeat). The members of an ensemble are its masks: nothing
    is drawn for them.

    Raises:
        ValueError: the model is in training mode, where its own dropout draws too.
    """
    if model.training:
        raise ValueError("thin an evaluated model: in training, dropout draws for each example")
    generator = torch.Generator().manual_seed(seed)
    layers = [] if isinstance(model, Ensemble) else [m for m in model.modules() if isinstance(m, Dropout)]
    hook = partial(_thin, num_masks=num_masks, generator=generator)
    handles = [layer.register_forward_hook(hook) for layer in layers if layer.p > 0]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _thin(
    layer: Any, inputs: tuple[Tensor, ...], output: Tensor, *, num_masks: int, generator: torch.Generator
) -> Tensor:
    """What a layer lets through of its output (K * N, ...); Dropout2d drops whole channels."""
    units = (*output.shape[1:2], 1, 1) if isinstance(layer, nn.Dropout2d) else output.shape[1:]
    kept = torch.rand(num_masks, 1, *units, generator=generator) >= layer.p
    scale = kept.to(output) / (1 - layer.p)
    return (output.unflatten(0, (num_masks, -1)) * scale).flatten(0, 1)
