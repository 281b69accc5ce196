"""Training any method: it learns, goes on exactly where it was stopped, and is drawn."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from functools import partial
from pathlib import Path

import pytest
import torch

import mbrl.pretrain_data
from envs.errors import InputError
from envs.formats import write_parquet
from mbrl import loop
from mbrl.checkpoint import load
from mbrl.cli import main
from mbrl.pretrain_data import OCCUPANCY, STEPS, PretrainData, pretrain_data
from mbrl.tracking import Untracked
from mbrl.train_method import MethodTraining, train_method
from pretrain.bounded import PCA
from pretrain.data import SPECIAL, speech_windows
from pretrain.data.text import documents as lee_documents
from tests.pretrain.data.installed import needs_aeon, needs_gensim
from tests.toys import random_traffic


@pytest.fixture(autouse=True)
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "Tracker", type("Tracker", (Untracked,), {"run_id": None}))


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("method", ["denoising", "wgan-gp", "contrastive-divergence"])
def test_a_stopped_run_ends_where_an_unbroken_one_does(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = MethodTraining(method=method, data="ring", updates=6, batch_size=16)
    data = pretrain_data("ring", 0)
    train_method(config, data, tmp_path)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)

    class Stops(loop.Progress):
        def advance(self, count: int = 1, **numbers: float) -> None:
            super().advance(count, **numbers)
            if self.done == 4:
                raise Stopped

    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(Stopped):
        train_method(config, data, other, progress=Stops)
    train_method(config, data, other)
    ours, theirs = (load(folder / loop.TRAINING_FILE).tensors for folder in (tmp_path, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_training_lowers_the_energy_of_what_was_held_out_and_fitting_is_done_once(tmp_path: Path) -> None:
    data = pretrain_data("spiral", 0)
    found = {}
    for method, updates in (("denoising", 1), ("denoising", 150), ("k-means", 1)):
        out = tmp_path / f"{method}-{updates}"
        out.mkdir()
        train_method(MethodTraining(method=method, data="spiral", updates=updates), data, out)
        result = json.loads((out / "result.json").read_text())
        assert all((out / picture).stat().st_size > 5000 for picture in result["pictures"])
        found[method, updates] = result["energy"]["held_out"]
    assert found["denoising", 150] < 0.1 * found["denoising", 1]
    assert found["k-means", 1] < 0.1


def test_what_cars_see_is_occupancy(tmp_path: Path) -> None:
    write_parquet(random_traffic(num_vehicles=40, num_frames=60), tmp_path / "traffic.parquet")
    data = pretrain_data(str(tmp_path / "traffic.parquet"), 0)
    assert data.y.shape[1:] == (1, *OCCUPANCY)
    assert data.y.min() == 0
    assert 0.5 < data.y.max() <= 1
    assert 0 < data.y.mean() < 0.5
    assert data.fingerprint is not None
    again = pretrain_data(str(tmp_path / "traffic.parquet"), 0)
    assert torch.equal(data.y, again.y)


def test_speeds_are_of_other_cars_than_those_that_were_learned_from(tmp_path: Path) -> None:
    write_parquet(random_traffic(num_vehicles=40, num_frames=120), tmp_path / "traffic.parquet")
    data = pretrain_data(f"speeds:{tmp_path / 'traffic.parquet'}", 0)
    assert data.kind == "signals"
    assert data.y.shape[1:] == data.held_out.shape[1:] == (1, STEPS)
    assert abs(float(data.y.mean())) < 1e-4
    assert float(data.y.std()) == pytest.approx(1, abs=1e-3)
    assert data.fingerprint is not None
    seen = {tuple(one) for one in data.y[:, 0].tolist()}
    assert not any(tuple(one) in seen for one in data.held_out[:, 0].tolist())
    assert torch.equal(data.y, pretrain_data(f"speeds:{tmp_path / 'traffic.parquet'}", 0).y)


@needs_aeon
def test_principal_components_of_signals_hold_of_others_what_random_directions_do_not(tmp_path: Path) -> None:
    data = pretrain_data("gunpoint", 0)
    built = train_method(MethodTraining(method="pca", data="gunpoint"), data, tmp_path)
    held_out = data.held_out.flatten(1)
    centred = held_out - data.y.flatten(1).mean(0)
    random = torch.linalg.qr(torch.randn(150, 32, generator=torch.Generator().manual_seed(0)))[0]
    missed = (centred - centred @ random @ random.T).square().sum(1).mean()
    assert isinstance(built, PCA)
    assert float(built.energy(held_out).mean()) < 0.02 * float(missed)
    assert {path.name for path in tmp_path.glob("*.png")} == {"atoms.png", "reconstructions.png"}


def counting_text(num: int, seed: int) -> torch.Tensor:
    """Sentences that count on from any of 20 words, the first behind the last, and end early with padding."""
    rng = torch.Generator().manual_seed(seed)
    start, length = torch.randint(20, (num, 1), generator=rng), torch.randint(8, 13, (num, 1), generator=rng)
    place = torch.arange(12)
    return torch.where(place < length, 3 + (start + place) % 20, 0)


@pytest.mark.slow
def test_hidden_words_are_guessed_from_their_neighbours_and_shown(tmp_path: Path) -> None:
    words = (*SPECIAL, *(f"w{k}" for k in range(20)))
    data = PretrainData("text", counting_text(400, 0), counting_text(100, 1), words)
    train_method(
        MethodTraining(method="masked-tokens", data="lee", updates=200, batch_size=64), data, tmp_path
    )
    found = json.loads((tmp_path / "result.json").read_text())["hidden_words"]
    assert found["by_frequency"] == pytest.approx(math.log(20), abs=0.1)
    assert found["surprise"] < 0.5 * found["by_frequency"]
    assert found["right"] > 0.5  # by chance .05
    page = (tmp_path / "hidden_words.md").read_text()
    pairs = re.findall(r"\*\*(w\d+)\*\* \((w\d+)\)", page)
    assert sum(truth == guess for truth, guess in pairs) > 0.5 * len(pairs) > 10
    assert "[PAD]" not in page


@pytest.mark.slow
@needs_gensim
def test_hidden_words_of_the_news_are_less_surprising_than_their_frequency(tmp_path: Path) -> None:
    data = pretrain_data("lee", 0)
    config = MethodTraining(method="masked-tokens", data="lee", updates=400, batch_size=64)
    train_method(config, data, tmp_path)
    found = json.loads((tmp_path / "result.json").read_text())["hidden_words"]
    assert found["surprise"] < found["by_frequency"] - 0.08


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gunpoint", "aeon is not installed: pip install --no-deps aeon"),
        ("lee", "gensim is not installed: pip install 'headway[pretrain]'"),
        ("speech", "apt-get install asterisk-core-sounds-en-wav"),
    ],
)
def test_data_that_are_not_installed_say_in_one_line_what_to_install(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    monkeypatch.setattr(
        mbrl.pretrain_data, "speech_windows", partial(speech_windows, folder=tmp_path / "none")
    )
    lee_documents.cache_clear()
    assert main(["pretrain", "pca", "--data", name, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    images = pretrain_data("ring", 0)._replace(kind="images")
    with pytest.raises(InputError, match="ica takes plane or patches, and --data mnist is images"):
        train_method(MethodTraining(method="ica", data="mnist"), images, tmp_path)
    with pytest.raises(InputError, match="unknown data 'cats'; there is: mnist"):
        pretrain_data("cats", 0)
    with pytest.raises(InputError, match=r"unknown data 'speeds:cats'; .* or speeds:FILE.parquet"):
        pretrain_data("speeds:cats", 0)
    with pytest.raises(InputError, match="masked-tokens takes images or text, and --data ring is plane"):
        train_method(MethodTraining(method="masked-tokens", data="ring"), pretrain_data("ring", 0), tmp_path)
    with pytest.raises(ValueError, match="unknown method 'nothing'; there is: pca"):
        MethodTraining(method="nothing", data="ring")
    with pytest.raises(ValueError, match="updates=0"):
        MethodTraining(method="pca", data="ring", updates=0)


def test_what_a_method_cannot_take_or_finish_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "pretrain",
        "denoising",
        "--data",
        "ring",
        "--updates",
        "3",
        "--out",
        str(tmp_path / "denoising"),
    ]

    def broken(*_: object) -> dict[str, float]:
        raise FloatingPointError("Denoising: the term 'error' is not finite")

    monkeypatch.setattr("mbrl.train_method.step", broken)
    assert main(command) == 1
    assert "the term 'error' is not finite (update 0 of denoising)" in capsys.readouterr().err
    data = pretrain_data("mnist", 0)
    config = MethodTraining(
        method="persistent-contrastive-divergence", data="mnist", updates=1, batch_size=300
    )
    with pytest.raises(InputError, match="takes batches of at most 256, not 300"):
        train_method(config, data, tmp_path / "pcd")
