"""Signals of the UCR and UEA archives of time series, from files inside aeon's wheel.

aeon itself is never imported: it asks for older versions of numba and pandas than headway has, and its files are all
that is wanted. Source: Dau et al., arXiv:1810.07758 (UCR); Bagnall et al., arXiv:1811.00075 (UEA).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.data.packages import folder_of

ARCHIVE: Mapping[str, str] = {  # our names, and the archive's
    "gunpoint": "GunPoint",  # the height of a hand that draws a gun, or points: 50 and 150 of 1 x 150
    "basic-motions": "BasicMotions",  # accelerometer and gyroscope on a wrist: 40 and 40 of 6 x 100
    "japanese-vowels": "JapaneseVowels",  # cepstra of /ae/ by nine speakers: 270 and 370 of 12 x 7 to 29
}
STRETCHED = 28  # steps of signals that were of several lengths
INSTALL = "pip install --no-deps aeon (only its data files are read)"


def archive_signals(name: str, part: str = "train") -> Tensor:
    """Signals (N, C, T) of a key of ARCHIVE, in the archive's units and its own split, "train" or "test".

    Those of several lengths are stretched to one of 28 steps, linearly.

    Raises:
        ModuleNotFoundError: aeon is not installed.
    """
    folder, known = folder_of("aeon", INSTALL), ARCHIVE[name]
    series = read_ts(folder / "datasets" / "data" / known / f"{known}_{part.upper()}.ts")
    if len({one.shape[1] for one in series}) > 1:
        series = [stretched(one, STRETCHED) for one in series]
    return torch.stack(series)


def read_ts(path: Path) -> list[Tensor]:
    """The signals (C, T) of a file in the archive's format; its header, comments and labels are left out.

    After a line `@data` there is a line for each signal: channels with a colon behind each, commas between numbers,
    and the label.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    begin = 1 + next(k for k, line in enumerate(lines) if line.lower().startswith("@data"))
    return [
        torch.tensor(np.array([channel.split(",") for channel in line.split(":")[:-1]], np.float32))
        for line in lines[begin:]
        if line
    ]


def stretched(signal: Tensor, steps: int) -> Tensor:
    """A signal (C, T) as (C, steps), linear between its samples; the ends stay."""
    return F.interpolate(signal[None], steps, mode="linear", align_corners=True)[0]
