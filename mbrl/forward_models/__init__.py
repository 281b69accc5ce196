"""Forward models behind one face: see `mbrl.forward_models.base`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from envs.units import View
from mbrl.forward_models.base import ForwardModel, Prediction, Timing
from mbrl.forward_models.ensemble import Ensemble, EnsembleConfig
from mbrl.forward_models.paper import PaperConfig, PaperModel
from mbrl.forward_models.separated import SeparatedConfig, SeparatedModel

ModelConfig = PaperConfig | SeparatedConfig | EnsembleConfig
_KINDS: dict[str, type[Any]] = {
    "paper": PaperConfig,
    "separated": SeparatedConfig,
    "ensemble": EnsembleConfig,
}

__all__ = [
    "Ensemble", "EnsembleConfig", "ForwardModel", "ModelConfig", "PaperConfig", "PaperModel", "Prediction",
    "SeparatedConfig", "SeparatedModel", "Timing", "build", "config_from_dict", "config_to_dict",
]  # fmt: skip


def build(config: ModelConfig) -> ForwardModel[Any]:
    """The untrained model of a config."""
    if isinstance(config, EnsembleConfig):
        return Ensemble(config, [build(config.member) for _ in range(config.members)])
    return PaperModel(config) if isinstance(config, PaperConfig) else SeparatedModel(config)


def config_to_dict(config: ModelConfig) -> dict[str, Any]:
    """Plain values, with the architecture's name as "kind"."""
    if isinstance(config, EnsembleConfig):
        return {"kind": "ensemble", "member": config_to_dict(config.member), "members": config.members}
    kind = next(name for name, of in _KINDS.items() if isinstance(config, of))
    return {"kind": kind, **asdict(config)}


def config_from_dict(data: dict[str, Any]) -> ModelConfig:
    """The inverse of `config_to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
    values = dict(data)
    of = _KINDS[values.pop("kind")]
    if of is EnsembleConfig:
        return EnsembleConfig(**{**values, "member": config_from_dict(values["member"])})
    values["timing"], values["view"] = Timing(**values["timing"]), View(**values["view"])
    return of(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
