"""Models of stable-baselines3 in its own file format, with what headway needs to know to drive by them.

SB3 saves a model as a zip; the facts are one more entry among its data, plain JSON. Loading such a file runs code from
it, as SB3's format has pickles inside: load none from people you would not run a program of.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.sb3_interface import Interface
from envs.errors import InputError
from envs.formats.atomic import atomic_path

Algorithm = Literal["ppo", "a2c", "sac", "td3", "dqn", "tqc", "recurrent-ppo"]
OURS = "headway"  # the attribute, and entry of the zip, that holds the facts
_CLASSES: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "a2c": A2C, "sac": SAC, "td3": TD3, "dqn": DQN}


def algorithm_class(name: Algorithm) -> type[BaseAlgorithm]:
    """Of stable-baselines3 or, for tqc and recurrent-ppo, of sb3-contrib.

    Raises:
        InputError: sb3-contrib is not installed.
    """
    if name in _CLASSES:
        return _CLASSES[name]
    try:
        from sb3_contrib import TQC, RecurrentPPO
    except ImportError as error:
        raise InputError(f"{name} needs sb3-contrib: pip install headway[rl-extra]") from error
    return TQC if name == "tqc" else RecurrentPPO


def save_model(
    model: BaseAlgorithm, path: Path, algorithm: Algorithm, interface: Interface, **facts: Any
) -> None:
    """Write a model with its facts (plain JSON values); what stood at `path` stays whole until the file is complete."""
    setattr(model, OURS, {"algorithm": algorithm, "interface": asdict(interface), **facts})
    with atomic_path(path) as temporary:
        model.save(temporary)


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a saved model, without loading it; "interface" is an `Interface`.

    Raises:
        InputError: there is no such file, or it was not written by `save_model`.
    """
    try:
        with zipfile.ZipFile(path) as file:
            facts: dict[str, Any] = json.loads(file.read("data"))[OURS]
        interface: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in facts["interface"].items()
        }
        return {**facts, "interface": Interface(**interface)}
    except FileNotFoundError as error:
        raise InputError("no such model", path=path) from error
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise InputError("not a model saved by `headway train-rl`, or cut short", path=path) from error


def load_model(path: Path, device: str = "cpu", **options: Any) -> tuple[BaseAlgorithm, dict[str, Any]]:
    """A saved model and its facts; `options` go to SB3's `load`. Raises InputError as `read_facts` does."""
    facts = read_facts(path)
    return algorithm_class(facts["algorithm"]).load(path, device=device, **options), facts
