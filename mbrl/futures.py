"""Futures drawn once and driven through many times.

The separated model's scene does not depend on the ego, so its rollout, without gradients, serves any number of policy
updates, plans and policies. `Futures` is that rollout; it unrolls like the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from envs.context import Context
from mbrl.forward_models.base import Prediction
from mbrl.forward_models.separated import SeparatedModel


@dataclass(frozen=True)
class FuturesState:
    """How many steps have run, and what the ego has seen."""

    time: int
    ego: Context


@dataclass(frozen=True)
class Futures:
    """The scenes of B examples, T steps ahead."""

    model: SeparatedModel
    start: Context  # what was known
    vehicles: Tensor  # (B, T, H, W), each from the observer's pose
    observer: Tensor  # (B, T, 4)

    def encode(self) -> FuturesState:
        """The state at the beginning."""
        return FuturesState(0, self.start)

    def step(self, h: FuturesState, action: Tensor, z: Tensor) -> tuple[Prediction, FuturesState]:
        """Drive on by one step; the future is decided, z does not matter any more."""
        pose = self.model.drive(h.ego.now(), action)
        t = h.time
        image = self.model.look(
            self.vehicles[:, t, None],
            self.observer[:, t],
            self.start.images[:, -1, ::2],
            self.start.now(),
            pose,
        )
        return Prediction(image, pose), FuturesState(t + 1, h.ego.push(image, pose))

    def context(self, h: FuturesState) -> Context:
        """What an actor sees in this state."""
        return h.ego


@torch.no_grad()
def foresee(model: SeparatedModel, context: Context, z: Tensor) -> Futures:
    """Unroll a model's scene over z (B, T, z_dim); dropout is on or off as the model is."""
    h = model.encode(context)
    frames, observers = [], []
    for t in range(z.shape[1]):
        h = model.advance(h, z[:, t])
        frames.append(h.vehicles[:, -1])
        observers.append(h.observer)
    return Futures(model, context, torch.stack(frames, 1), torch.stack(observers, 1))
