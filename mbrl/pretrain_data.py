"""Data by name for methods of pretrain/: points in the plane, digits, natural patches, and what a car sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from envs.errors import InputError
from envs.formats import read_parquet
from envs.formats.fingerprint import fingerprint
from envs.recording import Split
from envs.windows import WindowConfig, WindowSampler
from pretrain.data import HELD_OUT_IMAGES, mixture_of_gaussians, mnist, natural_patches, parabola, spiral
from pretrain.methods import Kind

NUM, HELD_OUT, NOISE = 4000, 1000, 0.02
PATCH = 12  # pixels
OCCUPANCY = (60, 12)  # pixels of a picture of 117 x 24, with about half of its resolution
VEHICLES = 1  # the pictures' channel
TOYS: Mapping[str, Callable[[int, torch.Generator], Tensor]] = {
    "parabola": lambda num, generator: parabola(num, generator, NOISE),
    "spiral": lambda num, generator: spiral(num, generator, NOISE),
    "ring": mixture_of_gaussians,
}
NAMES = ("mnist", "patches", *TOYS)


class PretrainData(NamedTuple):
    """Samples of a kind to learn from and others to judge by; the fingerprint of a recording."""

    kind: Kind
    y: Tensor
    held_out: Tensor
    fingerprint: str | None = None


def pretrain_data(name: str, seed: int) -> PretrainData:
    """Data of a name, or the surroundings of cars of a recording.

    Raises:
        InputError: there is no such name or file, or the package that holds the data is not installed.
    """
    generator = torch.Generator().manual_seed(seed)
    if name in TOYS:
        return PretrainData("plane", TOYS[name](NUM, generator), TOYS[name](HELD_OUT, generator))
    if Path(name).suffix == ".parquet":
        return occupancy(Path(name), seed)
    try:
        if name == "mnist":
            return PretrainData("images", mnist("train").images, mnist("test").images)
        if name == "patches":
            y = natural_patches(5 * NUM, PATCH, generator)
            held_out = natural_patches(HELD_OUT, PATCH, generator, HELD_OUT_IMAGES)
            shape = (-1, 1, PATCH, PATCH)
            return PretrainData("patches", y.view(shape), held_out.view(shape))
    except ModuleNotFoundError as error:
        raise InputError(str(error)) from error
    raise InputError(f"unknown data {name!r}; there is: {', '.join(NAMES)}, or a recording FILE.parquet")


def occupancy(path: Path, seed: int) -> PretrainData:
    """Where other vehicles are around cars of the train and of the test split: images (N, 1, 60, 12) in [0, 1]."""
    recording = read_parquet(path)
    config = WindowConfig(context=(0,), targets=())

    def drawn(num: int, split: Split) -> Tensor:
        windows = WindowSampler([recording], config, batch_size=num, split=split, seed=seed).batch(0)
        images = torch.from_numpy(windows.images[:, -1, VEHICLES : VEHICLES + 1]).float() / 255
        return F.interpolate(images, OCCUPANCY, mode="area")

    return PretrainData("images", drawn(NUM, "train"), drawn(HELD_OUT, "test"), fingerprint(recording))
