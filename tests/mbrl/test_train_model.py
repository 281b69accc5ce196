"""Training a forward model: what it minimises, that it learns, and that nothing stops it from finishing exactly."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from envs.errors import InputError
from envs.recording import Recording
from envs.units import View
from mbrl import train_model as trainer
from mbrl.checkpoint import load, save
from mbrl.forward_models import PaperModel, SeparatedConfig, build
from mbrl.loop import TRAINING_FILE, NotFinite
from mbrl.model_losses import model_windows, rollout_error
from mbrl.model_training import Stage, training_from_dict, training_to_dict
from mbrl.model_uncertainty import fit_uncertainty, met_in_training
from mbrl.progress import Counter
from mbrl.train_model import WITHOUT_Z, _batches, begin_with, train_model
from mbrl.trained_model import MODEL_FILE, TrainedModel, load_model
from tests.agents.scenes import Track, along, recording_of
from tests.mbrl.models import lanes, training
from tests.mbrl.runs import (
    Notebook,
    Untrained,
    assert_same_checkpoint,
    interrupted_and_resumed,
    interrupting,
    notebook,
)
from tests.mbrl.small import VARIANTS, small_model
from tests.toys import lane_centre

__all__ = ["notebook"]  # a fixture


class Run(NamedTuple):
    """A training that ran through: its folder, what it gave, what it logged."""

    out: Path
    trained: TrainedModel
    notebook: Notebook


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The training of a variant, done once for all tests that only look at it."""

    @cache
    def run(variant: str) -> Run:
        out, book = tmp_path_factory.mktemp("run"), Notebook()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mbrl.loop.Tracker", book.tracker)
            return Run(out, train_model(training(variant), [lanes()], out, progress=Counter), book)

    return run


# --- what it does -----------------------------------------------------------------------------------------------------


def test_what_is_minimised_is_the_error_and_beta_times_the_kl(tmp_path: Path, notebook: Notebook) -> None:
    train_model(training("vae", beta=3.0), [lanes()], tmp_path, progress=Counter)
    want = np.array(notebook.of("error")) + 3 * np.array(notebook.of("kl"))
    np.testing.assert_allclose(notebook.of("loss"), want, rtol=1e-5)
    assert min(notebook.of("kl")) > 1e-3


@pytest.mark.parametrize("variant", ["vae", "vae, learned prior", "error encoding", "separated"])
def test_a_warm_start_begins_with_what_was_learned_without_z(
    variant: str, tmp_path: Path, notebook: Notebook
) -> None:
    short = (Stage(steps=1, updates=2, batch_size=2),)
    warm = training(variant, learning_rate=0.0, stages=short, warm_start=short)
    learnt = train_model(
        replace(warm, warm_start=(), learning_rate=1e-2, z_dropout=0.0,
                model=replace(warm.model, z_dim=0, latent="normal")),
        [lanes()], tmp_path / "learnt", progress=Counter,
    )  # fmt: skip
    model = build(warm.model)
    begin_with(model, learnt.model)
    for name, value in learnt.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    trained = train_model(warm, [lanes()], tmp_path / "warm", progress=Counter)
    alone = load_model(tmp_path / "warm" / WITHOUT_Z)
    assert alone.model.z_dim == 0
    for name, value in alone.model.state_dict().items():
        assert torch.equal(trained.model.state_dict()[name], value)  # nothing was learned at rate 0
    again = train_model(warm, [lanes()], tmp_path / "warm", progress=Untrained)
    assert again.model.z_dim == 3
    rate = replace(warm, learning_rate=1e-2)
    own = train_model(rate, [lanes()], tmp_path / "own", progress=Counter)
    given = train_model(rate, [lanes()], tmp_path / "given", start_from=learnt, progress=Counter)
    assert not (tmp_path / "given" / WITHOUT_Z).exists()
    for name, value in own.model.state_dict().items():
        assert torch.equal(given.model.state_dict()[name], value)
    assert training_from_dict(training_to_dict(warm)) == warm
    with pytest.raises(ValueError, match="not the same model without z"):
        begin_with(model, model)


def test_a_warm_start_sees_other_windows(tmp_path: Path) -> None:
    short = (Stage(steps=1, updates=2, batch_size=2),)
    warm = training("vae", stages=short, warm_start=short)
    alone = replace(warm, stages=short, warm_start=())
    model = build(warm.model)
    for (_, one), (_, other) in zip(
        _batches(warm, model, [lanes()], 0), _batches(alone, model, [lanes()], 0), strict=True
    ):
        assert not np.array_equal(one.vectors, other.vectors)


@pytest.mark.parametrize("variant", VARIANTS)
def test_mixed_precision_changes_little(variant: str, tmp_path: Path, notebook: Notebook) -> None:
    short = (Stage(steps=2, updates=2, batch_size=2),)
    exact, mixed = (
        train_model(
            training(variant, stages=short, mixed_precision=on),
            [lanes()],
            tmp_path / str(on),
            progress=Counter,
        )
        for on in (False, True)
    )
    half = len(notebook.steps) // 2
    np.testing.assert_allclose(notebook.of("error")[half:], notebook.of("error")[:half], rtol=0.05)
    for name, value in exact.model.state_dict().items():
        other = mixed.model.state_dict()[name]
        assert other.dtype == value.dtype == torch.float32
        assert (other - value).abs().max() < 0.05


# --- learning --------------------------------------------------------------------------------------------------------


@cache
def braking() -> Recording:
    """Every car but those of lane 1 brakes at 2.4 m/s^2 for five seconds, again and again."""
    time = 0.1 * np.arange(150) % 5.0
    tracks = []
    for lane in range(4):
        speed = np.full(150, 8.0) if lane == 1 else 14.0 - 2.4 * time
        way = np.cumsum(speed) * 0.1
        for k in range(8):
            tracks.append(Track(len(tracks) + 1, -60.0 + 40 * k + way, lane_centre(lane)))
    return recording_of(*tracks)


@pytest.mark.slow
def test_it_learns_how_cars_change_their_speed(tmp_path: Path, notebook: Notebook) -> None:
    """The untrained model lets all go on as they did; the lanes beside the ego brake, and the model learns it."""
    config = training(
        model=SeparatedConfig(
            timing=VARIANTS["separated"].timing, view=View(height=48, width=16), channels=(8, 16, 16), back=(0, 1, 2),
            z_dim=0, dropout=0.0,
        ),
        stages=(Stage(steps=6, updates=90, batch_size=16),),
        learning_rate=5e-3, perturbed=0.0, horizon=6,
    )  # fmt: skip
    trained = train_model(config, [braking()], tmp_path, progress=Counter).model
    windows = model_windows(trained, [braking()], 6, 60, seed=9, split="test").batch(0)
    with torch.no_grad():
        learned, _ = rollout_error(trained, windows, 6, "cpu", None, 1.0)
        as_before, _ = rollout_error(build(config.model).eval(), windows, 6, "cpu", None, 1.0)
    assert learned.mean() < 0.6 * as_before.mean()
    losses = notebook.of("loss")
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_to_a_model_that_loads(variant: str, ran: Callable[[str], Run]) -> None:
    out, trained, notebook = ran(variant)
    assert len(notebook.of("loss")) == 6
    assert set(notebook.steps[0][1]) == {"loss", "error", "kl", "gradient_norm", "error_last_step"}
    fresh = build(VARIANTS[variant]).state_dict()
    assert any(not torch.equal(fresh[name], value) for name, value in trained.model.state_dict().items())
    assert not trained.model.training
    again = load_model(out)
    assert again.model.config == VARIANTS[variant]
    for one, other in ((again.model, trained.model), (again.uncertainty, trained.uncertainty)):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value)


@pytest.mark.parametrize("variant", ["vae", "separated"])
@pytest.mark.parametrize("after", [(2, 5), (3,), (6,)], ids=["mid-stages", "between stages", "at the end"])
def test_an_interrupted_training_ends_bit_for_bit_like_one_that_was_not(
    variant: str, after: tuple[int, ...], ran: Callable[[str], Run], tmp_path: Path, notebook: Notebook
) -> None:
    def run(out: Path, progress: type[Counter]) -> None:
        train_model(training(variant), [lanes()], out, progress=progress)

    interrupted_and_resumed(run, tmp_path, *after)
    for name in (TRAINING_FILE, MODEL_FILE):
        assert_same_checkpoint(ran(variant).out / name, tmp_path / name)


def test_a_run_killed_before_its_model_was_written_only_writes_it(
    ran: Callable[[str], Run], tmp_path: Path, notebook: Notebook
) -> None:
    out = shutil.copytree(ran("separated").out, tmp_path / "run")
    whole = load(out / MODEL_FILE)
    (out / MODEL_FILE).unlink()
    torch.rand(5)
    train_model(training(), [lanes()], out, progress=Untrained)
    again = load(out / MODEL_FILE)
    assert all(torch.equal(again.tensors[name], value) for name, value in whole.tensors.items())


def test_a_finished_run_is_loaded(ran: Callable[[str], Run], tmp_path: Path, notebook: Notebook) -> None:
    out = shutil.copytree(ran("separated").out, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    train_model(training(), [lanes()], out, progress=Untrained)
    (out / TRAINING_FILE).unlink()  # as when only the model was copied
    train_model(training(), [lanes()], out, progress=Untrained)
    assert (out / MODEL_FILE).read_bytes() == before[MODEL_FILE]


@pytest.mark.parametrize("state", ["finished", "half done", "without its training state"])
def test_another_config_is_refused_by_the_key(
    state: str, ran: Callable[[str], Run], tmp_path: Path, notebook: Notebook
) -> None:
    if state == "half done":
        with pytest.raises(KeyboardInterrupt):
            train_model(training(), [lanes()], tmp_path, progress=interrupting(3))
    else:
        shutil.copytree(ran("separated").out, tmp_path, dirs_exist_ok=True)
    if state == "without its training state":
        (tmp_path / TRAINING_FILE).unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = training(model=replace(VARIANTS["separated"], dropout=0.2))
    with pytest.raises(InputError, match=r"model\.dropout expected 0\.2, found 0\.1"):
        train_model(other, [lanes()], tmp_path, progress=Counter)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("term", ["kl", "error"])
def test_a_broken_term_is_named_and_the_last_state_stays_sound(
    term: str,
    ran: Callable[[str], Run],
    tmp_path: Path,
    notebook: Notebook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original, calls = rollout_error, iter(range(100))

    def breaking(*args: Any) -> tuple[Tensor, Tensor]:
        error, kl = original(*args)
        if next(calls) < 4:
            return error, kl
        return (error * math.nan, kl) if term == "error" else (error, kl * math.nan)

    monkeypatch.setattr(trainer, "rollout_error", breaking)
    with pytest.raises(NotFinite, match=rf"^{term} is nan at update 4 of training the forward model"):
        train_model(training(), [lanes()], tmp_path, progress=Counter)
    assert not (tmp_path / MODEL_FILE).exists()
    tensors = load(tmp_path / TRAINING_FILE).tensors
    assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())
    monkeypatch.setattr(trainer, "rollout_error", original)
    train_model(training(), [lanes()], tmp_path, progress=Counter)
    assert_same_checkpoint(tmp_path / MODEL_FILE, ran("separated").out / MODEL_FILE)


def test_no_window_is_refused_before_anything_is_written(tmp_path: Path, notebook: Notebook) -> None:
    short = recording_of(Track(1, along(8.0, num=6, x0=100.0), lane_centre(0)))
    with pytest.raises(ValueError, match="train split"):
        train_model(training(), [short], tmp_path / "out", progress=Counter)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_frames_further_apart_than_the_model_s_are_refused(tmp_path: Path, notebook: Notebook) -> None:
    slower = replace(lanes(), dt=0.2)
    with pytest.raises(InputError, match=r"a frame every 0\.2 s, expected is one every 0\.1 s"):
        train_model(training(), [lanes(), slower], tmp_path, progress=Counter)


@pytest.mark.gpu
def test_dropout_goes_on_after_an_interruption_on_a_gpu(tmp_path: Path, notebook: Notebook) -> None:
    """Not bit for bit, for sums on a GPU depend on their order; other dropout masks would differ by far more."""
    config = training(model=replace(VARIANTS["separated"], dropout=0.5))

    def run(out: Path, progress: type[Counter]) -> None:
        train_model(config, [lanes()], out, device="cuda", progress=progress)

    run(tmp_path / "straight", Counter)
    interrupted_and_resumed(run, tmp_path / "halting", 3)
    one, other = (load(tmp_path / name / MODEL_FILE).tensors for name in ("straight", "halting"))
    for name, value in one.items():
        if name.startswith("model."):
            np.testing.assert_allclose(other[name], value, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("varied", [0.0, 1.0])
def test_the_paper_s_model_is_normalised_to_what_it_learns_from(varied: float, tmp_path: Path) -> None:
    """Nobody is recorded driving sideways here, while egos that drive otherwise do."""
    config = training(
        "vae", stages=(Stage(steps=4, updates=1, batch_size=2),), perturbed=varied / 2, varied=varied
    )
    model = train_model(config, [lanes()], tmp_path).model
    assert isinstance(model, PaperModel)
    windows = model_windows(model, [lanes()], 4, 1500, seed=5, perturbed=varied / 2, varied=varied).batch(0)
    u = model.vector_normaliser(torch.from_numpy(windows.target_vectors)).flatten(0, 1)
    a = model.action_normaliser(torch.from_numpy(windows.actions)).flatten(0, 1)
    some = slice(4 if varied else 3)
    np.testing.assert_allclose(u[:, some].mean(0), 0, atol=0.15)
    np.testing.assert_allclose(u[:, some].std(0), 1, atol=0.1)
    if varied:
        np.testing.assert_allclose(a.mean(0), 0, atol=0.1)
        np.testing.assert_allclose(a.std(0), 1, atol=0.1)
    else:
        assert u[:, 3].abs().max() < 1e-4


def test_a_bank_is_filled_along_windows_that_are_learned_from() -> None:
    """Egos that drive otherwise meet other errors."""
    model, stages = small_model("error encoding"), (Stage(steps=3, updates=1, batch_size=4),)
    recorded, varied = (
        met_in_training(
            training("error encoding", stages=stages, perturbed=0.0, varied=share), model, [lanes()]
        )
        for share in (0.0, 1.0)
    )
    assert recorded.shape == varied.shape == (12, model.z_dim)
    assert (recorded - varied).abs().amax(1).min() > 1e-5


# --- its uncertainty -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_uncertainty_is_scaled_on_rollouts_along_recorded_actions(variant: str) -> None:
    model = small_model(variant)
    torch.manual_seed(0)
    uncertainty = fit_uncertainty(training(variant), model, [lanes()])
    assert uncertainty.mean.shape == uncertainty.std.shape == (3, 3)
    assert (uncertainty.mean[0] > 0).all()
    assert (uncertainty.std[0] > 0).all()
    moves_exactly = not isinstance(model, PaperModel)
    assert (uncertainty.std[1] == 0).all() == moves_exactly
    assert not model.training


@pytest.mark.parametrize("variant", ["vae", "separated"])
def test_uncertainty_is_scaled_along_the_actions_that_are_learned_from(variant: str) -> None:
    """Varied ones, where the model learns from these; the separated one sees nothing of actions."""
    model, found = small_model(variant), []
    for share in (0.0, 1.0):
        torch.manual_seed(0)
        found.append(fit_uncertainty(training(variant, varied=share), model, [lanes()]).mean)
    assert bool((found[0] == found[1]).all()) == (variant == "separated")


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_config_survives_its_file() -> None:
    for variant in VARIANTS:
        assert training_from_dict(training_to_dict(training(variant))) == training(variant)


@pytest.mark.parametrize("change", [{"stages": ()}, {"z_dropout": 1.5}, {"z_dropout": -0.1}, {"masks": 1}])
def test_impossible_trainings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a training needs"):
        training(**change)


@pytest.mark.parametrize("name", ["steps", "updates", "batch_size"])
def test_impossible_stages_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0"):
        Stage(**{"steps": 2, "updates": 2, "batch_size": 2, name: 0})


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trained model here"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="no trained model here"):
        load_model(tmp_path / "missing")


@pytest.mark.parametrize(
    "damage", ["empty", "text", "cut", "a training state", "another architecture", "a policy"]
)
def test_a_file_that_is_no_model_is_refused(damage: str, ran: Callable[[str], Run], tmp_path: Path) -> None:
    path, finished = tmp_path / MODEL_FILE, ran("separated").out
    good = load(finished / MODEL_FILE)
    whole = (finished / MODEL_FILE).read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("a model, honestly\n" * 100)
        case "cut":
            path.write_bytes(whole[: len(whole) - 100])
        case "a training state":
            path.write_bytes((finished / TRAINING_FILE).read_bytes())
        case "another architecture":
            wider = training_to_dict(training(model=replace(VARIANTS["separated"], z_dim=5)))
            save(path, tensors=good.tensors, config=wider, meta=good.meta)
        case "a policy":
            save(path, tensors={}, config={"method": "mpur"}, meta={})
    with pytest.raises(InputError, match=MODEL_FILE) as refusal:
        load_model(tmp_path)
    assert "\n" not in str(refusal.value)


# --- the whole thing -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_numbers_of_an_interrupted_run_are_in_mlflow_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("mbrl.loop.SAVE_SECONDS", -1.0)
    interrupted_and_resumed(
        lambda out, progress: train_model(training(), [lanes()], out, progress=progress), tmp_path / "run", 4
    )
    client = MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (experiment,) = (e for e in client.search_experiments() if e.name == "train-model")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.kind"] == "separated"
    for name in ("loss", "error", "kl", "gradient_norm", "error_last_step"):
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted(metric.step for metric in history) == list(range(6))
