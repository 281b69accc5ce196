"""The face every forward model has.

    h = model.encode(context)
    mu, log_var = model.posterior(h, action, next_image, next_pose)   q(z | s, a, s')
    z = model.latent(h, noise)                                        z ~ p(z | s), noise ~ N(0, I)
    prediction, h' = model.step(h, action, z)                         f(s, a, z)

What z is differs by model:

    normal    p(z | s) = N(0, I)                            (Kingma, Welling, arXiv:1312.6114)
    learned   p(z | s) = N(mu_p(s), diag sigma_p(s)^2)      (Denton, Fergus, arXiv:1802.07687)
    error     z = phi(s' - f(s, a, 0)) encodes what could not be told from s and a, and is drawn from a bank of those
              met in training                               (Henaff, Zhao, LeCun, arXiv:1711.04994; the paper's TEN)

Source: Henaff, Canziani, LeCun, arXiv:1901.02705, section 3.1. `mbrl.imagination` is what unrolls it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar, get_args

import torch
from torch import Tensor, nn

from envs.context import Context, Recorded
from envs.windows import Observer, frames_back

H = TypeVar("H")
Latent = Literal["normal", "learned", "error"]


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
        return frames_back(self.frames, self.stride)

    def targets(self, steps: int) -> tuple[int, ...]:
        """Recorded frames ahead of each of the next steps."""
        return tuple(self.stride * k for k in range(1, steps + 1))


def check_latent(z_dim: int, latent: Latent, dropout: float) -> None:
    """Raise ValueError for sizes that make no model."""
    if z_dim < 0 or not 0 <= dropout < 1:
        raise ValueError(f"z_dim={z_dim} must be at least 0 and dropout={dropout} within [0, 1)")
    if latent not in get_args(Latent) or (z_dim == 0 and latent != "normal"):
        raise ValueError(
            f"latent={latent!r} must be one of {', '.join(get_args(Latent))}, and z_dim positive"
        )


class ForwardModel(nn.Module, ABC, Generic[H]):
    """A stochastic model of how the scene around the ego goes on; z_dim 0 makes it deterministic."""

    timing: Timing
    z_dim: int
    bank: Bank | None  # of z met in training, where z is "error"
    observer: Observer  # whose view its training targets are (envs.windows.WindowConfig)
    gradient: Literal[
        "position", "pixels"
    ]  # how a cost reaches the actions (see mbrl.imagination.exact_costs)

    @property
    @abstractmethod
    def config(self) -> Any:
        """The frozen dataclass it was built from."""

    @abstractmethod
    def encode(self, context: Context, num_masks: int = 1, along: Recorded | None = None) -> H:
        """What is known now, from (B, C, ...) of context.

        Args:
            num_masks: K, for the state of K * B examples, mask-major (see Context.repeat).
            along: if the state is to go along what was recorded next, it may be encoded here for all steps at once;
                its actions, and what came next, must then be those that `step` and `posterior` are given.
        """

    @abstractmethod
    def posterior(self, h: H, action: Tensor, image: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, z_dim) of q(z | s, a, s'), given what the training observer saw next."""

    @abstractmethod
    def step(self, h: H, action: Tensor, z: Tensor) -> tuple[Prediction, H]:
        """Go on by one step with action (B, 2) in m/s^2 and 1/m and z (B, z_dim)."""

    @abstractmethod
    def context(self, h: H) -> Context:
        """What an actor would see in this state."""

    @abstractmethod
    def error(self, h: H, image: Tensor, pose: Tensor) -> Tensor:
        """(B,): squared error of the step that led to h, against what the training observer saw next."""

    def with_gradient(self, gradient: Literal["position", "pixels"] | None) -> Self:
        """The same model, weights shared, with another way for costs to reach the actions; None: its own."""
        model = copy.copy(self)
        model.gradient = gradient or self.gradient
        return model

    def prior(self, h: H) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, z_dim) of p(z | s); zeros, which is N(0, I), unless the model learned others."""
        zeros = self.context(h).size.new_zeros(self.context(h).batch_size, self.z_dim)
        return zeros, zeros

    def latent(self, h: H, noise: Tensor) -> Tensor:
        """z (B, z_dim) of p(z | s), chosen by noise (B, z_dim) of N(0, I)."""
        if self.bank is not None:
            return self.bank(noise)
        mu, log_var = self.prior(h)
        return mu + torch.exp(log_var / 2) * noise

    def divergence(self, h: H, mu: Tensor, log_var: Tensor) -> Tensor:
        """KL(q || p) (B,); 0 where z has no prior but a bank."""
        if self.bank is not None:
            return mu.new_zeros(len(mu))
        return kl_between_normals(mu, log_var, *self.prior(h))

    def noise(
        self, batch_size: int, steps: int, *, like: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """(B, steps, z_dim) of N(0, I), like `like`, whatever device the generator is on."""
        device = generator.device if generator is not None else like.device
        return torch.randn(batch_size, steps, self.z_dim, generator=generator, device=device).to(like)


class Bank(nn.Module):
    """z met in training, to be drawn from: buffer z (N, z_dim)."""

    z: Tensor

    def __init__(self, z_dim: int, size: int = 4096) -> None:
        super().__init__()
        self.register_buffer("z", torch.zeros(size, z_dim))

    def fill(self, z: Tensor) -> None:
        """Keep N of the z (M, z_dim), evenly spaced; each several times if there are fewer."""
        kept = torch.arange(len(self.z), device=z.device) * len(z) // len(self.z)
        self.z.copy_(z[kept])

    def forward(self, noise: Tensor) -> Tensor:
        """The z (B, z_dim) at row Phi(noise_0) N, so that each is as likely: noise (B, z_dim) of N(0, I)."""
        share = torch.special.ndtr(noise[:, 0])
        return self.z[(share * len(self.z)).long().clamp(max=len(self.z) - 1)]


def reparameterise(mu: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """z = mu + exp(log_var / 2) noise, noise ~ N(0, I) (Kingma, Welling, arXiv:1312.6114)."""
    return mu + torch.exp(log_var / 2) * noise.to(mu)


def kl_between_normals(mu: Tensor, log_var: Tensor, mu_p: Tensor, log_var_p: Tensor) -> Tensor:
    """KL(N(mu, diag exp log_var) || N(mu_p, diag exp log_var_p)), over the last axis:

    1/2 sum (log_var_p - log_var + (exp log_var + (mu - mu_p)^2) / exp log_var_p - 1).
    """
    ratio = (log_var.exp() + (mu - mu_p).square()) * torch.exp(-log_var_p)
    return 0.5 * (log_var_p - log_var + ratio - 1).sum(-1)
