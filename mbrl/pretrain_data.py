"""Data by name for methods of pretrain/: points, images, signals, text, and what a car sees or how fast it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from envs.errors import InputError
from envs.formats import read_parquet
from envs.formats.fingerprint import fingerprint
from envs.recording import Split
from envs.speeds import speed_windows
from envs.windows import WindowConfig, WindowSampler
from pretrain.data import (
    ARCHIVE,
    HELD_OUT_IMAGES,
    archive_signals,
    lee,
    mixture_of_gaussians,
    mnist,
    natural_patches,
    parabola,
    speech_windows,
    spiral,
    standardised,
)
from pretrain.methods import Kind

NUM, HELD_OUT, NOISE = 4000, 1000, 0.02
PATCH = 12  # pixels
OCCUPANCY = (60, 12)  # pixels of a picture of 117 x 24, with about half of its resolution
VEHICLES = 1  # the pictures' channel
SPEEDS = "speeds:"  # before a recording's name
STEPS = 64  # of speeds, 0.1 s apart
TOYS: Mapping[str, Callable[[int, torch.Generator], Tensor]] = {
    "parabola": lambda num, generator: parabola(num, generator, NOISE),
    "spiral": lambda num, generator: spiral(num, generator, NOISE),
    "ring": mixture_of_gaussians,
}


class PretrainData(NamedTuple):
    """Samples of a kind to learn from and others to judge by; the words of text; the fingerprint of a recording."""

    kind: Kind
    y: Tensor
    held_out: Tensor
    words: tuple[str, ...] = ()
    fingerprint: str | None = None


def pretrain_data(name: str, seed: int) -> PretrainData:
    """Data of a name, or the surroundings of cars of a recording or their speeds.

    Raises:
        InputError: there is no such name or file, or the package that holds the data is not installed.
    """
    generator = torch.Generator().manual_seed(seed)
    if name in SHIPPED:
        try:
            return SHIPPED[name](generator)
        except (ModuleNotFoundError, FileNotFoundError) as error:
            raise InputError(str(error)) from error
    path = Path(name.removeprefix(SPEEDS))
    if path.suffix != ".parquet":
        raise InputError(
            f"unknown data {name!r}; there is: {', '.join(SHIPPED)}, a recording FILE.parquet or {SPEEDS}FILE.parquet"
            " (`headway import` makes one of other formats)"
        )
    if not path.exists():
        raise InputError("no such file", path=path)
    return speeds(path, seed) if name.startswith(SPEEDS) else occupancy(path, seed)


def _toy(draw: Callable[[int, torch.Generator], Tensor]) -> Callable[[torch.Generator], PretrainData]:
    return lambda generator: PretrainData("plane", draw(NUM, generator), draw(HELD_OUT, generator))


def _mnist(generator: torch.Generator) -> PretrainData:
    return PretrainData("images", mnist("train").images, mnist("test").images)


def _patches(generator: torch.Generator) -> PretrainData:
    y = natural_patches(5 * NUM, PATCH, generator)
    held_out = natural_patches(HELD_OUT, PATCH, generator, HELD_OUT_IMAGES)
    shape = (-1, 1, PATCH, PATCH)
    return PretrainData("patches", y.view(shape), held_out.view(shape))


def _archive(name: str) -> Callable[[torch.Generator], PretrainData]:
    """The held-out signals are shuffled, so that the first, which are shown, are of all classes."""

    def read(generator: torch.Generator) -> PretrainData:
        y, held_out = standardised(archive_signals(name, "train"), archive_signals(name, "test"))
        return PretrainData("signals", y, held_out[torch.randperm(len(held_out), generator=generator)])

    return read


def _speech(generator: torch.Generator) -> PretrainData:
    parts = speech_windows(5 * NUM, generator), speech_windows(HELD_OUT, generator, "test")
    return PretrainData("signals", *standardised(*parts))


def _lee(generator: torch.Generator) -> PretrainData:
    train, test = lee("train"), lee("test")
    return PretrainData("text", train.sentences, test.sentences, train.words)


SHIPPED: Mapping[str, Callable[[torch.Generator], PretrainData]] = {
    "mnist": _mnist,
    "patches": _patches,
    **{name: _toy(draw) for name, draw in TOYS.items()},
    **{name: _archive(name) for name in ARCHIVE},
    "speech": _speech,
    "lee": _lee,
}


def occupancy(path: Path, seed: int) -> PretrainData:
    """Where other vehicles are around cars of the train and of the test split: images (N, 1, 60, 12) in [0, 1]."""
    recording = read_parquet(path)
    config = WindowConfig(context=(0,), targets=())

    def drawn(num: int, split: Split) -> Tensor:
        windows = WindowSampler([recording], config, batch_size=num, split=split, seed=seed).batch(0)
        images = torch.from_numpy(windows.images[:, -1, VEHICLES : VEHICLES + 1]).float() / 255
        return F.interpolate(images, OCCUPANCY, mode="area")

    return PretrainData(
        "images", drawn(NUM, "train"), drawn(HELD_OUT, "test"), fingerprint=fingerprint(recording)
    )


def speeds(path: Path, seed: int) -> PretrainData:
    """How fast cars of the train and of the test split go: signals (N, 1, 64), 0.1 s apart, standardised.

    Raises:
        InputError: no car of a split is recorded for so long.
    """
    recording, rng = read_parquet(path), np.random.default_rng(seed)

    def drawn(num: int, split: Split) -> Tensor:
        return torch.from_numpy(speed_windows(recording, split, num, STEPS, rng))[:, None]

    parts = drawn(NUM, "train"), drawn(HELD_OUT, "test")
    return PretrainData("signals", *standardised(*parts), fingerprint=fingerprint(recording))
