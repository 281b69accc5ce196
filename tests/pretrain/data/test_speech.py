"""Windows of speech are of the prompts of their part, loud enough, and never overlap."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain.data import speech_windows
from pretrain.data.speech import WINDOW, prompts, read_prompt
from tests.pretrain.data.installed import needs_prompts
from tests.pretrain.toys import generator


def say(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten prompts, each a tone of its own frequency and loudness for ten windows, then a pause of ten."""
    for k in range(10):
        tone = 100 * (k + 1) * np.sin(2 * np.pi * (4 + k) / WINDOW * np.arange(10 * WINDOW))
        say(tmp_path / f"{k}.wav", np.concatenate([tone, np.zeros(10 * WINDOW)]))
    say(tmp_path / "beep.wav", 10_000 * np.sin(np.arange(20 * WINDOW)))
    say(tmp_path / "silence" / "1.wav", np.arange(20 * WINDOW) % 2)
    return tmp_path


def frequencies(windows: torch.Tensor) -> set[int]:
    return set(torch.fft.rfft(windows[:, 0]).abs().argmax(1).tolist())


def test_parts_are_of_different_prompts_without_pauses_and_tones(folder: Path) -> None:
    train = speech_windows(1000, generator(), "train", folder)
    test = speech_windows(1000, generator(), "test", folder)
    assert train.shape == (80, 1, WINDOW)  # eight prompts of ten windows
    assert frequencies(train) == {5, 6, 7, 8, 10, 11, 12, 13}
    assert frequencies(test) == {4, 9}
    loudness = torch.cat([train, test]).std((1, 2))  # half of a prompt is silent, and its variance 1
    torch.testing.assert_close(loudness, torch.full_like(loudness, 2**0.5), rtol=2e-2, atol=0)


def test_a_seed_repeats_the_windows_and_another_draws_others(folder: Path) -> None:
    first = speech_windows(20, generator(), "train", folder)
    assert first.shape == (20, 1, WINDOW)
    assert torch.equal(first, speech_windows(20, generator(), "train", folder))
    assert not torch.equal(first, speech_windows(20, generator(1), "train", folder))


def test_a_folder_without_speech_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="apt-get install asterisk-core-sounds-en-wav"):
        speech_windows(1, generator(), folder=tmp_path / "none")


@needs_prompts
def test_the_prompts_are_551_in_english() -> None:
    train, test = prompts("train"), prompts("test")
    assert (len(train), len(test)) == (440, 111)
    assert not {path.read_bytes() for path in train} & {path.read_bytes() for path in test}
    spoken = {path.stem for path in [*train, *test]}
    assert {"hundred", *map(str, range(10))} <= spoken
    assert not {"beep", "tt-monkeys"} & spoken


@needs_prompts
def test_a_voice_has_most_of_its_power_below_1000_hertz() -> None:
    signal = read_prompt(next(path for path in prompts("train") if path.stem == "auth-thankyou"))
    power = torch.fft.rfft(signal).abs().square()
    hertz = torch.fft.rfftfreq(len(signal), 1 / 8000)
    assert 0.6 < float(power[hertz < 1000].sum() / power.sum()) < 0.99
