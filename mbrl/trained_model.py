"""A forward model that has been trained, and its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.base import DT_TOLERANCE
from agents.policies import PolicyConfig
from envs.errors import InputError
from envs.recording import Recording
from mbrl.checkpoint import Checkpoint, load, restore_training_state
from mbrl.forward_models import Timing, build
from mbrl.forward_models.base import ForwardModel
from mbrl.model_training import training_from_dict
from mbrl.uncertainty import Uncertainty

MODEL_FILE = "model.safetensors"


@dataclass(frozen=True)
class TrainedModel:
    """A forward model and the scale of its disagreement with itself."""

    model: ForwardModel[Any]
    uncertainty: Uncertainty


def load_model(folder: Path, device: str = "cpu") -> TrainedModel:
    """A finished model. Raises InputError if there is none, or if it is damaged or foreign."""
    path = folder / MODEL_FILE
    if not path.exists():
        raise InputError(
            "no trained model here; train one with `headway train-model --out` this folder", path=folder
        )
    return trained_of(load(path), path, device)


def trained_of(checkpoint: Checkpoint, path: Path, device: str) -> TrainedModel:
    """The model of a checkpoint that was read from a path. Raises InputError if it is another thing's."""
    try:
        config = training_from_dict(checkpoint.config)
        model, uncertainty = build(config.model), Uncertainty(config.horizon)
        state = checkpoint.meta["state"]
        restore_training_state(checkpoint.tensors, state, model=model, uncertainty=uncertainty)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a forward model's checkpoint ({error})", path=path) from error
    return TrainedModel(model.to(device).eval(), uncertainty.to(device))


def check_dt(recordings: Sequence[Recording], timing: Timing | PolicyConfig) -> None:
    """Raise InputError if a recording's frames are not as far apart as a model or a policy takes them to be."""
    for recording in recordings:
        if abs(recording.dt - timing.dt) > DT_TOLERANCE:
            raise InputError(
                f"a recording of {recording.site.name} has a frame every {recording.dt:g} s, expected is one every"
                f" {timing.dt:g} s"
            )
