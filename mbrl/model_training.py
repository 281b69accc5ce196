"""How a forward model is trained: the one configuration of all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from mbrl.forward_models import EnsembleConfig, ModelConfig, config_from_dict, config_to_dict


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Part of a training: `updates` updates of `batch_size` windows, unrolled over `steps` steps."""

    steps: int
    updates: int
    batch_size: int

    def __post_init__(self) -> None:
        if min(self.steps, self.updates, self.batch_size) < 1:
            raise ValueError(f"{self}: steps, updates and batch_size must be positive")


@dataclass(frozen=True, kw_only=True)
class ModelTraining:
    """How a forward model is trained."""

    model: ModelConfig
    stages: tuple[Stage, ...]
    warm_start: tuple[Stage, ...] = ()  # of the same model without z, with whose weights it begins
    learning_rate: float = 1e-3  # Adam, falling to 0 along a cosine
    clip: float = 5.0  # of the gradient's norm
    beta: float = 1e-6  # weight of the KL
    z_dropout: float = 0.5  # probability that a step's z comes from the prior
    data_share: float = 1.0  # of the training cars, that it learns from
    perturbed: float = 0.0  # share of perturbed contexts, where the training observer allows it
    varied: float = 0.0  # share of windows with varied actions, where it sees what the ego sees
    mixed_precision: bool = False  # networks in bfloat16, weights in float32
    horizon: int = 20  # steps for which the uncertainty is normalised
    masks: int = 2  # K of the uncertainty
    uncertainty_batches: int = 8  # of 32 windows, to normalise it
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages or not 0 <= self.z_dropout <= 1 or self.masks < 2:
            raise ValueError("a training needs at least one stage, z_dropout within [0, 1] and two masks")

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Of all stages."""
        return tuple(stage.batch_size for stage in (*self.warm_start, *self.stages))

    def without_z(self) -> Self | None:
        """The training of the deterministic model that this one begins with; None if it begins with nothing.

        Members of an ensemble each begin with one of their own.
        """
        if not self.warm_start or isinstance(self.model, EnsembleConfig):
            return None
        model = replace(self.model, z_dim=0, latent="normal")
        return replace(self, model=model, stages=self.warm_start, warm_start=(), z_dropout=0.0)

    def shortened(self, times: int) -> Self:
        """The same with so many times fewer updates in each stage, but at least one."""
        stages, warm_start = (
            tuple(replace(stage, updates=max(stage.updates // times, 1)) for stage in part)
            for part in (self.stages, self.warm_start)
        )
        return replace(self, stages=stages, warm_start=warm_start)


def training_to_dict(config: ModelTraining) -> dict[str, Any]:
    """Plain values."""
    return {**asdict(config), "model": config_to_dict(config.model)}


def training_from_dict(data: dict[str, Any]) -> ModelTraining:
    """The inverse of `training_to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
    values = dict(data)
    values["model"] = config_from_dict(values["model"])
    for name in ("stages", "warm_start"):
        values[name] = tuple(Stage(**stage) for stage in values.get(name, ()))
    return ModelTraining(**values)
