"""Training any method: it learns, goes on exactly where it was stopped, and is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from envs.errors import InputError
from envs.formats import write_parquet
from mbrl import loop
from mbrl.checkpoint import load
from mbrl.pretrain_data import OCCUPANCY, pretrain_data
from mbrl.tracking import Untracked
from mbrl.train_method import MethodTraining, train_method
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


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    images = pretrain_data("ring", 0)._replace(kind="images")
    with pytest.raises(InputError, match="ica takes plane, and --data mnist is images"):
        train_method(MethodTraining(method="ica", data="mnist"), images, tmp_path)
    with pytest.raises(InputError, match="unknown data 'cats'; there is: mnist"):
        pretrain_data("cats", 0)
    with pytest.raises(ValueError, match="unknown method 'nothing'; there is: pca"):
        MethodTraining(method="nothing", data="ring")
    with pytest.raises(ValueError, match="updates=0"):
        MethodTraining(method="pca", data="ring", updates=0)
