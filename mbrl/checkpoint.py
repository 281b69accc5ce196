"""Checkpoints: one safetensors file with the config and a few facts as JSON in its header.

Reading one runs no code from it. Writing one replaces the old file in a single step, so a run killed at any moment
leaves either the old checkpoint or the new one. `training_state` turns everything that decides the next step (weights,
optimiser, schedules, generators, counters) into what such a file holds, `restore_training_state` puts it back:

    tensors, state = training_state(model=model, adam=adam, noise=generator, counters={"step": step})
    save(path, tensors=tensors, config=asdict(config), meta={"training": state})

    checkpoint = load(path, config=asdict(config))  # refuses a checkpoint of another config
    counters = restore_training_state(
        checkpoint.tensors, checkpoint.meta["training"], model=model, adam=adam, noise=generator
    )
"""

from __future__ import annotations

import glob
import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from envs.errors import InputError
from envs.formats.atomic import atomic_path

HEADER_KEY = "headway"  # the entry of the safetensors metadata that holds our JSON
FORMAT = 1  # raised when an old reader could misread a new file


class Checkpoint(NamedTuple):
    """What a checkpoint file holds."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]  # what the run was asked to do; two runs are the same run only if these agree
    meta: dict[str, Any]  # what happened: counters, validation numbers, the MLflow run, provenance


class Stateful(Protocol):
    """A module, an optimiser, a learning-rate schedule, a gradient scaler, a sampler."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


Part = Stateful | torch.Generator | np.random.Generator


def save(
    path: str | Path, *, tensors: Mapping[str, Tensor], config: Mapping[str, Any], meta: Mapping[str, Any]
) -> None:
    """Write a checkpoint; whatever stood at `path` stays whole until the new file is complete.

    Args:
        tensors: any shapes, dtypes and devices; shared storage (tied weights) is written out twice.
        config, meta: plain JSON values, tuples and paths. Tuples come back as lists, paths as strings.
    Raises:
        InputError: the folder is read-only, the disk is full, ...; no part of the new file stays behind.
    """
    path = Path(path)
    header = json.dumps({"format": FORMAT, "config": config, "meta": meta}, default=_path_as_text)
    own_copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    data = to_bytes(own_copies, metadata={HEADER_KEY: header})
    try:
        _make_folder(path.parent)
        _remove_leftovers(path)
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
    except InputError as error:
        raise InputError(
            f"{error}; make room or choose another folder (an earlier checkpoint there is unharmed)"
        ) from error


def load(
    path: str | Path, *, config: Mapping[str, Any] | None = None, ignore: Collection[str] = ()
) -> Checkpoint:
    """Read a checkpoint; its tensors arrive on the CPU, each with memory of its own.

    Args:
        config: when given, the checkpoint must have been written with the same one.
        ignore: dotted keys of the config that may differ, such as `device`.
    Raises:
        InputError: no such file, not a headway checkpoint, cut short, or of another config.
    """
    path = Path(path)
    found, meta = read_header(path)
    if config is not None:
        _check_same_config(path, expected=_plain(config), found=found, ignore=ignore)
    try:
        with safe_open(path, framework="pt") as file:
            # Clones, because the tensors of safe_open are views of the file itself.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"cannot be read as a checkpoint: {error}", path=path) from error
    return Checkpoint(tensors, found, meta)


def read_header(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config and the meta of a checkpoint, without reading its tensors. Raises InputError as `load` does."""
    path = Path(path)
    if not path.exists():
        raise InputError("no such checkpoint; train one first or check the path", path=path)
    if path.is_dir():
        raise InputError("is a folder, expected a checkpoint file", path=path)
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER_KEY])
        version, config, meta = header["format"], header["config"], header["meta"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            "not a headway checkpoint, or cut short while it was copied; train again or copy it again",
            path=path,
        ) from error
    if version != FORMAT:
        raise InputError(f"checkpoint format {version!r}, expected {FORMAT}; update headway", path=path)
    if not isinstance(config, dict) or not isinstance(meta, dict):
        raise InputError("not a headway checkpoint: config and meta must be objects", path=path)
    return config, meta


def first_difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first key (dotted) at which two nested configs differ, with both values; None if they agree.

    A key that one of them lacks counts as different, with the value `absent`.

    >>> first_difference({"lr": 0.1, "model": {"width": 64}}, {"lr": 0.1, "model": {"width": 32}})
    ('model.width', 64, 32)
    """
    expected_flat, found_flat = flatten(expected), flatten(found)
    for key in [*expected_flat, *(key for key in found_flat if key not in expected_flat)]:
        pair = expected_flat.get(key, _ABSENT), found_flat.get(key, _ABSENT)
        if pair[0] != pair[1]:
            return key, *pair
    return None


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys.

    >>> flatten({"seed": 0, "model": {"width": 64, "layers": [1, 2]}})
    {'seed': 0, 'model.width': 64, 'model.layers': [1, 2]}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def training_state(
    *, counters: Mapping[str, Any] | None = None, **parts: Part
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything that decides the next training step, as tensors and JSON.

    A run is exact only if every source of randomness is a part. Dropout draws from torch's global generator: pass
    `torch.default_generator` (and `torch.cuda.default_generators[i]`) when a module uses it.

    Args:
        counters: plain JSON values such as the step and the best validation number so far.
        parts: modules, optimiser, schedules, gradient scaler, torch and numpy generators, under names of your choice.
    Returns:
        tensors named `part.path.to.it` (live ones; `save` copies them), and a JSON object to keep in `meta`.
    """
    tensors: dict[str, Tensor] = {}
    state = {name: _pack(_state_of(part), name, tensors) for name, part in parts.items()}
    return tensors, {"parts": state, "counters": _plain(counters or {})}


def restore_training_state(
    tensors: Mapping[str, Tensor], state: Mapping[str, Any], **parts: Part
) -> dict[str, Any]:
    """Put the state back into fresh parts of the same names, in place; returns the counters.

    Parts that are not named stay in the file: `restore_training_state(tensors, state, model=model)` is how a trained
    model is loaded to be used.

    Raises:
        InputError: a part is missing from the checkpoint or does not fit.
    """
    for name, part in parts.items():
        try:
            _restore(part, _unpack(state["parts"][name], tensors))
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            reason = f"has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
            raise InputError(f"the checkpoint does not fit {name!r}: {reason}") from error
    return dict(state["counters"])


def _state_of(part: Part) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    return _uncompiled(part).state_dict()


def _restore(part: Part, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state)
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    else:
        _uncompiled(part).load_state_dict(state)


def _uncompiled(part: Stateful) -> Stateful:
    """The module inside a torch.compile wrapper: names in the file do not depend on whether it was compiled."""
    original = getattr(part, "_orig_mod", None)
    return original if isinstance(original, nn.Module) else part


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """JSON for a nested state; tensors are put aside under their path, what JSON cannot say is tagged with `$`."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"$tensor": name}
    if isinstance(value, np.ndarray):  # the word array of some numpy bit generators
        return {"$array": value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, Mapping):
        # Pairs, because keys can be integers (an optimiser numbers its parameters) and JSON would make them strings.
        return {"$dict": [[key, _pack(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_pack(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}, which a checkpoint cannot hold")


def _unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_pack`."""
    if isinstance(packed, list):
        return [_unpack(item, tensors) for item in packed]
    if not isinstance(packed, dict):
        return packed
    if "$tensor" in packed:
        return tensors[
            packed["$tensor"]
        ].clone()  # or two optimisers restored from one checkpoint would share it
    if "$array" in packed:
        return np.array(packed["$array"], dtype=packed["dtype"])
    if "$tuple" in packed:
        return tuple(_unpack(item, tensors) for item in packed["$tuple"])
    return {key: _unpack(item, tensors) for key, item in packed["$dict"]}


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def _check_same_config(
    path: Path, *, expected: Mapping[str, Any], found: Mapping[str, Any], ignore: Collection[str]
) -> None:
    expected_flat = {key: value for key, value in flatten(expected).items() if key not in ignore}
    found_flat = {key: value for key, value in flatten(found).items() if key not in ignore}
    if difference := first_difference(expected_flat, found_flat):
        key, wanted, got = difference
        raise InputError(
            f"checkpoint of another config: {key} expected {wanted!r}, found {got!r};"
            " give the same options or another output folder",
            path=path,
        )


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value as it comes back from a file: tuples as lists, paths as text, keys as strings."""
    plain: dict[str, Any] = json.loads(json.dumps(value, default=_path_as_text))
    return plain


def _path_as_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a checkpoint's config and meta are plain values, not {type(value).__name__}: {value!r}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror or error}", path=folder) from error


def _remove_leftovers(path: Path) -> None:
    """Delete the temporary files (named by `atomic_path`) of earlier writers of `path` that were killed mid-way."""
    with suppress(OSError):
        for leftover in path.parent.glob(f".{glob.escape(path.name[:64])}.*.tmp"):
            leftover.unlink(missing_ok=True)
