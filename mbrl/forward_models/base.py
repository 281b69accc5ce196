"""The face every forward model has.

    h = model.encode(context)
    mu, log_var = model.posterior(h, next_image, next_pose)      q(z | s, s')
    prediction, h' = model.step(h, action, z)                    f(s, a, z)

Source: Henaff, Canziani, LeCun, arXiv:1901.02705, section 3.1. `mbrl.imagination` is what unrolls it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from envs.context import Context

H = TypeVar("H")


class Prediction(NamedTuple):
    """One step ahead."""

    image: Tensor  # (B, 3, H, W) in [0, 1], from the ego's new pose
    pose: Tensor  # (B, 4): x, y, heading, speed


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How a model samples time."""

    frames: int = 20  # C, of the context
    stride: int = 1  # recorded frames (0.1 s) per step
    dt: float = 0.1  # s per recorded frame

    @property
    def step_seconds(self) -> float:
        return self.stride * self.dt

    @property
    def context(self) -> tuple[int, ...]:
        """Recorded frames back of each context frame, oldest first."""
        return tuple(self.stride * k for k in range(self.frames - 1, -1, -1))

    def targets(self, steps: int) -> tuple[int, ...]:
        """Recorded frames ahead of each of the next steps."""
        return tuple(self.stride * k for k in range(1, steps + 1))


class ForwardModel(nn.Module, ABC, Generic[H]):
    """A stochastic model of how the scene around the ego goes on; z_dim 0 makes it deterministic."""

    timing: Timing
    z_dim: int
    observer: Literal["ego", "straight"]  # whose view its training targets are (envs.windows.WindowConfig)
    gradient: Literal["position", "pixels"]  # how a cost reaches the actions (see mbrl.imagination.imagine)

    @property
    @abstractmethod
    def config(self) -> Any:
        """The frozen dataclass it was built from."""

    @abstractmethod
    def encode(self, context: Context) -> H:
        """What is known now, from (B, C, ...) of context."""

    @abstractmethod
    def posterior(self, h: H, image: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, z_dim) of q(z | s, s'), given what the training observer saw next."""

    @abstractmethod
    def step(self, h: H, action: Tensor, z: Tensor) -> tuple[Prediction, H]:
        """Go on by one step with action (B, 2) in m/s^2 and 1/m and z (B, z_dim)."""

    @abstractmethod
    def context(self, h: H) -> Context:
        """What an actor would see in this state."""

    @abstractmethod
    def error(self, h: H, image: Tensor, pose: Tensor) -> Tensor:
        """(B,): squared error of the step that led to h, against what the training observer saw next."""

    def prior(
        self, batch_size: int, steps: int, *, like: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """(B, steps, z_dim) of z ~ N(0, I), like `like`, whatever device the generator is on."""
        device = generator.device if generator is not None else like.device
        z = torch.randn(batch_size, steps, self.z_dim, generator=generator, device=device)
        return z.to(like)


def reparameterise(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z = mu + exp(log_var / 2) eps, eps ~ N(0, I) (Kingma, Welling, arXiv:1312.6114)."""
    device = generator.device if generator is not None else mu.device
    eps = torch.randn(mu.shape, generator=generator, device=device).to(mu)
    return mu + torch.exp(log_var / 2) * eps


def kl_to_standard_normal(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mu, diag exp log_var) || N(0, I)) = 1/2 sum (exp log_var + mu^2 - 1 - log_var), over the last axis."""
    return 0.5 * (log_var.exp() + mu.square() - 1 - log_var).sum(-1)
