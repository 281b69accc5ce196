"""Several models of one architecture, each trained from its own seed: the alternative to dropout masks.

Its examples are K members times B, member-major, as masks are (see Context.repeat): chunk k is imagined by member k, so
what the members disagree about is mbrl.uncertainty's variance over masks. Source: Lakshminarayanan, Pritzel, Blundell,
arXiv:1612.01474; Henaff, Canziani, LeCun, arXiv:1901.02705, name it as the alternative they did not take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from envs.context import Context, Recorded
from envs.units import View
from mbrl.forward_models.base import ForwardModel, Prediction, Timing
from mbrl.forward_models.paper import PaperConfig
from mbrl.forward_models.separated import SeparatedConfig


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig:
    """K members of one config."""

    member: PaperConfig | SeparatedConfig
    members: int = 4

    def __post_init__(self) -> None:
        if self.members < 2:
            raise ValueError(f"members={self.members}: an ensemble needs at least two")

    @property
    def timing(self) -> Timing:
        return self.member.timing

    @property
    def view(self) -> View:
        return self.member.view

    @property
    def z_dim(self) -> int:
        return self.member.z_dim


States = tuple[Any, ...]  # of each member


class Ensemble(ForwardModel[States]):
    """See the module's docstring.

    Raises:
        ValueError: from `encode`, for a batch that is no K chunks.
    """

    def __init__(self, config: EnsembleConfig, members: Sequence[ForwardModel[Any]]) -> None:
        super().__init__()
        self._config = config
        self.members = nn.ModuleList(members)
        first = members[0]
        self.timing, self.z_dim, self.bank = first.timing, first.z_dim, None
        self.observer, self.gradient = first.observer, first.gradient

    @property
    def config(self) -> EnsembleConfig:
        return self._config

    def _each(self) -> Sequence[ForwardModel[Any]]:
        return list(self.members)  # type: ignore[arg-type]

    def _chunks(self, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        return list(zip(*(t.chunk(len(self.members)) for t in tensors), strict=True))

    def with_gradient(self, gradient: Literal["position", "pixels"] | None) -> Ensemble:
        return Ensemble(self._config, [member.with_gradient(gradient) for member in self._each()])

    def encode(self, context: Context, num_masks: int = 1, along: Recorded | None = None) -> States:
        context = context.repeat(num_masks)
        num, members = context.batch_size, self._each()
        if num % len(members):
            raise ValueError(f"{num} examples are no {len(members)} chunks, one for each member")
        size = num // len(members)
        return tuple(
            member.encode(context.take(slice(k * size, (k + 1) * size))) for k, member in enumerate(members)
        )

    def posterior(self, h: States, action: Tensor, image: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        parts = [
            member.posterior(state, *chunk)
            for member, state, chunk in zip(self._each(), h, self._chunks(action, image, pose), strict=True)
        ]
        mu, log_var = (torch.cat(part) for part in zip(*parts, strict=True))
        return mu, log_var

    def prior(self, h: States) -> tuple[Tensor, Tensor]:
        parts = [member.prior(state) for member, state in zip(self._each(), h, strict=True)]
        mu, log_var = (torch.cat(part) for part in zip(*parts, strict=True))
        return mu, log_var

    def latent(self, h: States, noise: Tensor) -> Tensor:
        return torch.cat(
            [m.latent(s, *chunk) for m, s, chunk in zip(self._each(), h, self._chunks(noise), strict=True)]
        )

    def step(self, h: States, action: Tensor, z: Tensor) -> tuple[Prediction, States]:
        parts = [
            m.step(s, *chunk) for m, s, chunk in zip(self._each(), h, self._chunks(action, z), strict=True)
        ]
        image, pose = (torch.cat([p[k] for p, _ in parts]) for k in range(2))
        return Prediction(image, pose), tuple(state for _, state in parts)

    def context(self, h: States) -> Context:
        return Context.joined([member.context(state) for member, state in zip(self._each(), h, strict=True)])

    def error(self, h: States, image: Tensor, pose: Tensor) -> Tensor:
        return torch.cat(
            [
                m.error(s, *chunk)
                for m, s, chunk in zip(self._each(), h, self._chunks(image, pose), strict=True)
            ]
        )


def num_members(model: ForwardModel[Any]) -> int:
    """Of an ensemble, whose examples come in so many chunks (see Context.repeat); 1 for any other model."""
    return len(model.members) if isinstance(model, Ensemble) else 1


def num_disagreeing(model: ForwardModel[Any], num_masks: int) -> int:
    """K of the uncertainty: an ensemble's members, or the dropout masks of any other model."""
    return len(model.members) if isinstance(model, Ensemble) else num_masks
