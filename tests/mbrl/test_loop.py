"""The loop that every trainer shares: it counts, saves, resumes exactly, and stops at the first broken number."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from envs.errors import InputError
from mbrl import loop
from mbrl.checkpoint import load, read_header
from mbrl.loop import TRAINING_FILE, NotFinite, read_curves, train
from mbrl.progress import Counter
from mbrl.schedule import cosine, warm_restarts
from tests.mbrl.runs import (
    Notebook,
    Untrained,
    assert_same_checkpoint,
    interrupted_and_resumed,
    interrupting,
    notebook,
)

__all__ = ["notebook"]  # a fixture


class Toy:
    """Regression with dropout, noise of its own and Adam; remembers which updates it was asked for."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.4), nn.Linear(8, 1))
        self.adam = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.noise = torch.Generator().manual_seed(0)
        self.asked: list[int] = []

    def update(self, step: int) -> dict[str, float]:
        self.asked.append(step)
        x = torch.randn(4, 3, generator=self.noise)
        loss = (self.model(x) - x.sum(1, keepdim=True) * math.sin(step)).square().mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return {"loss": loss.item(), "step_twice": 2.0 * step}


def run(out: Path, progress: type[Counter] = Counter, *, toy: Toy | None = None, num_updates: int = 7,
        config: dict[str, Any] | None = None, **options: Any) -> Toy:  # fmt: skip
    toy = toy or Toy()
    parts = {"model": toy.model, "adam": toy.adam, "noise": toy.noise, "dropout": torch.default_generator}
    train(
        options.pop("update", toy.update), name="toy", what="playing", out=out, config=config or {"lr": 0.01},
        num_updates=num_updates, parts=parts, progress=progress, **options,  # type: ignore[arg-type]
    )  # fmt: skip
    return toy


def test_it_does_every_update_once_and_logs_it(tmp_path: Path, notebook: Notebook) -> None:
    toy = run(tmp_path)
    assert toy.asked == list(range(7))
    assert [step for step, _ in notebook.steps] == list(range(7))
    assert notebook.of("step_twice") == [0, 2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("after", [(1,), (6,), (7,), (2, 3, 5)])
def test_an_interrupted_run_ends_like_one_that_was_not(
    tmp_path: Path, notebook: Notebook, after: tuple[int, ...]
) -> None:
    run(tmp_path / "straight")
    interrupted_and_resumed(lambda out, progress: run(out, progress), tmp_path / "halting", *after)
    assert_same_checkpoint(tmp_path / "straight" / TRAINING_FILE, tmp_path / "halting" / TRAINING_FILE)


def test_it_goes_on_from_the_last_saving_and_says_so(tmp_path: Path, notebook: Notebook) -> None:
    """Interrupted after 5 updates; the last state was saved before the fifth, and that update is done again."""
    begun: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupting(5), begin=begun.append)
    done: list[int] = []

    class Watching(Counter):
        def __enter__(self) -> Any:
            done.append(self.done)
            return self

    toy = run(tmp_path, Watching, begin=begun.append)
    assert toy.asked == [4, 5, 6]
    assert begun == [0, 4]
    assert done == [4]


def test_states_that_are_not_all_in_the_parts_are_not_saved(tmp_path: Path, notebook: Notebook) -> None:
    def at_threes(step: int) -> bool:
        return step % 3 == 0

    run(tmp_path / "straight", may_save=at_threes)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "halting", interrupting(6), may_save=at_threes)
    assert run(tmp_path / "halting", may_save=at_threes).asked == [3, 4, 5, 6]
    assert_same_checkpoint(tmp_path / "straight" / TRAINING_FILE, tmp_path / "halting" / TRAINING_FILE)


def test_a_finished_run_trains_no_more(tmp_path: Path, notebook: Notebook) -> None:
    run(tmp_path)
    before = (tmp_path / TRAINING_FILE).read_bytes()
    assert run(tmp_path, Untrained).asked == []
    assert (tmp_path / TRAINING_FILE).read_bytes() == before


def test_saving_waits_for_its_time(
    tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 1e9)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupting(6))
    assert not (tmp_path / TRAINING_FILE).exists()
    run(tmp_path)
    assert load(tmp_path / TRAINING_FILE).meta["training"]["counters"] == {"step": 7}


def test_a_folder_of_another_config_is_refused_by_the_key(tmp_path: Path, notebook: Notebook) -> None:
    run(tmp_path, num_updates=1)
    before = (tmp_path / TRAINING_FILE).read_bytes()
    with pytest.raises(InputError, match=r"lr expected 0.02, found 0.01"):
        run(tmp_path, config={"lr": 0.02})
    assert (tmp_path / TRAINING_FILE).read_bytes() == before


def test_other_data_is_refused(tmp_path: Path, notebook: Notebook) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupting(3), fingerprint="one")
    with pytest.raises(InputError, match=r"training\.safetensors: learned from other data until here"):
        run(tmp_path, fingerprint="another")
    assert run(tmp_path, fingerprint="one").asked[-1] == 6


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_a_damaged_training_file_is_refused(tmp_path: Path, notebook: Notebook, damage: str) -> None:
    run(tmp_path, num_updates=2)
    path = tmp_path / TRAINING_FILE
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "foreign": b"x" * 500}[damage])
    with pytest.raises(InputError, match="checkpoint"):
        run(tmp_path, num_updates=2)


# --- broken numbers --------------------------------------------------------------------------------------------------


def breaking(
    toy: Toy, metrics: Callable[[], dict[str, float]], at: int = 3
) -> Callable[[int], dict[str, float]]:
    def update(step: int) -> dict[str, float]:
        numbers = toy.update(step)
        if step < at:
            return numbers
        with torch.no_grad():
            toy.model[0].weight.fill_(math.nan)  # type: ignore[union-attr]
        return metrics()

    return update


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_broken_number_stops_the_run_and_is_named(
    tmp_path: Path, notebook: Notebook, value: float
) -> None:
    toy = Toy()
    with pytest.raises(NotFinite, match=f"gradient_norm is {value} at update 3 of playing"):
        run(tmp_path, toy=toy, update=breaking(toy, lambda: {"loss": 1.0, "gradient_norm": value}))
    assert [step for step, _ in notebook.steps] == [0, 1, 2]  # the broken one is not logged


def test_the_term_is_named_rather_than_the_loss_it_broke(tmp_path: Path, notebook: Notebook) -> None:
    toy, nan = Toy(), math.nan
    with pytest.raises(NotFinite, match=r"^kl is nan"):
        run(tmp_path, toy=toy, update=breaking(toy, lambda: {"loss": nan, "error": 1.0, "kl": nan}))
    toy = Toy()
    with pytest.raises(NotFinite, match=r"^loss is nan"):
        run(tmp_path, toy=toy, update=breaking(toy, lambda: {"loss": nan, "error": 1.0}))


def test_the_last_state_before_a_broken_number_is_sound(tmp_path: Path, notebook: Notebook) -> None:
    toy = Toy()
    with pytest.raises(NotFinite):
        run(tmp_path / "broken", toy=toy, update=breaking(toy, lambda: {"loss": math.nan}))
    checkpoint = load(tmp_path / "broken" / TRAINING_FILE)
    assert checkpoint.meta["training"]["counters"] == {"step": 3}
    assert all(t.isfinite().all() for t in checkpoint.tensors.values() if t.is_floating_point())
    run(tmp_path / "broken")
    run(tmp_path / "straight")
    assert_same_checkpoint(tmp_path / "straight" / TRAINING_FILE, tmp_path / "broken" / TRAINING_FILE)


# --- what reports read -----------------------------------------------------------------------------------------------


def test_curves_are_kept_thinned_but_for_validation(
    tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CURVE_POINTS", 5)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 1e9)

    def update(step: int) -> dict[str, float]:
        return {"loss": 1.0 / (step + 1), **({"validation_success": 0.5} if step == 13 else {})}

    run(tmp_path, update=update, num_updates=20)
    curves = read_curves(tmp_path)
    assert curves["loss"] == [(step, 1.0 / (step + 1)) for step in (0, 4, 8, 12, 16)]
    assert curves["validation_success"] == [(13, 0.5)]
    assert read_curves(tmp_path / "nothing here") == {}


def test_curves_go_on_after_an_interruption(tmp_path: Path, notebook: Notebook) -> None:
    interrupted_and_resumed(lambda out, progress: run(out, progress), tmp_path, 2, 5)
    assert read_curves(tmp_path)["step_twice"] == [(step, 2.0 * step) for step in range(7)]
    json.dumps(read_header(tmp_path / TRAINING_FILE)[1])


# --- learning rates --------------------------------------------------------------------------------------------------


def test_cosine_falls_from_one_to_zero() -> None:
    assert [cosine(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.5, 0], abs=1e-12)
    assert cosine(0.25) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert (cosine(-1), cosine(2)) == (1, pytest.approx(0, abs=1e-12))


@pytest.mark.parametrize("num_cycles", [1, 2, 5])
def test_every_cycle_is_a_cosine_of_its_own(num_cycles: int) -> None:
    for cycle in range(num_cycles):
        for p in (0.0, 0.3, 0.99):
            assert warm_restarts((cycle + p) / num_cycles, num_cycles) == pytest.approx(cosine(p), abs=1e-9)
    assert warm_restarts(1.0, num_cycles) == pytest.approx(0, abs=1e-12)
