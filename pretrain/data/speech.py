"""Windows of spoken English: the prompts of a telephone exchange, at 8 kHz, by one speaker.

They are the Debian package asterisk-core-sounds-en-wav: Allison Smith's prompts for Asterisk, CC BY-SA 3.0. They are
read where that package puts them. A window is a piece of the wave itself, as in Lewicki 2002: what is learned of it
can be drawn and heard.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
PACKAGE = "asterisk-core-sounds-en-wav"
NOT_SPEECH = (
    "ascending-2tone", "beep", "beeperr", "confbridge-join", "confbridge-leave", "descending-2tone", "tt-monkeys",
)  # fmt: skip
WINDOW = 128  # samples at 8 kHz: 16 ms, three periods of the voice
QUIET = 0.1  # of a prompt's deviation; windows below it are pauses
EVERY = 5  # which prompt, in the order of their names, is for tests


def speech_windows(
    num: int, generator: torch.Generator, part: str = "train", folder: Path = PROMPTS
) -> Tensor:
    """Windows (N, 1, 128) of the prompts of a part, "train" or "test"; none overlap, and pauses are left out.

    Each prompt is as loud as all others: of mean 0 and variance 1, pauses included.

    Args:
        num: N, or all windows where they are fewer.

    Raises:
        FileNotFoundError: the prompts are not installed.
    """
    waves = [_window(read_prompt(path)) for path in prompts(part, folder)]
    windows = torch.cat([window[window.square().mean(1) > QUIET**2] for window in waves])
    return windows[torch.randperm(len(windows), generator=generator)[:num], None]


def prompts(part: str, folder: Path = PROMPTS) -> list[Path]:
    """The files of a part: every fifth for "test", the others for "train". Tones and silence are in neither.

    Raises:
        FileNotFoundError: there are none.
    """
    paths = [
        path
        for path in sorted(folder.rglob("*.wav"))
        if path.stem not in NOT_SPEECH and path.parent.name != "silence"
    ]
    if not paths:
        raise FileNotFoundError(f"no speech in {folder}: apt-get install {PACKAGE}")
    return [path for k, path in enumerate(paths) if (k % EVERY == 0) == (part == "test")]


def read_prompt(path: Path) -> Tensor:
    """A wave (T,) of mean 0 and variance 1, from a file of 16 bits and one channel."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    signal = torch.tensor(samples, dtype=torch.float32)
    return (signal - signal.mean()) / signal.std()


def _window(signal: Tensor) -> Tensor:
    """(T // 128, 128) of a wave (T,)."""
    return signal.unfold(0, WINDOW, WINDOW)
