"""Training policies: which policy is kept, exact resumes, what is refused, and files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.policies import Policy
from envs.errors import InputError
from envs.units import View
from mbrl.checkpoint import load, save
from mbrl.loop import TRAINING_FILE, NotFinite
from mbrl.policy_training import Method, policy_training_from_dict, policy_training_to_dict
from mbrl.progress import Counter
from mbrl.train_policy import POLICY_FILE, check_fit, load_policy
from mbrl.trained_model import TrainedModel
from mbrl.uncertainty import Terms, Uncertainty
from tests.mbrl.policies import (
    IMAGINED,
    SMALL,
    TEACHING,
    driven_as,
    of_split,
    traffic,
    train,
    trained,
    training,
)
from tests.mbrl.runs import (
    Notebook,
    Untrained,
    assert_same_checkpoint,
    interrupted_and_resumed,
    interrupting,
    notebook,
)
from tests.mbrl.small import TIMING, VARIANTS, VIEW, small_ensemble, small_model

__all__ = ["notebook"]  # a fixture

# --- which policy is kept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.2, 50), (0.7, 90), (0.6, 200), (0.5, 10)], 1),  # success first
        ([(0.7, 100), (0.7, 90), (0.7, 110), (0.7, 110)], 2),  # then distance; of equals the first
        ([(0.0, 0), (0.0, 0), (0.0, 0), (0.0, 0)], 0),
    ],
)
def test_the_policy_that_drives_best_is_kept(
    scores: list[tuple[float, float]], best: int, tmp_path: Path, notebook: Notebook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    weights = driven_as(scores, monkeypatch)
    policy = train(training("imitation", validations=4), tmp_path)
    assert len(weights) == 4
    for name, value in policy.state_dict().items():
        assert torch.equal(value, weights[best][name])
    assert load(tmp_path / POLICY_FILE).meta["validation"] == {
        "success": scores[best][0], "distance_m": scores[best][1]
    }  # fmt: skip
    assert notebook.of("validation_success") == [success for success, _ in scores]
    assert [step for step, m in notebook.steps if "validation_success" in m] == [4, 5, 6, 7]


def test_the_best_so_far_survives_an_interruption(
    tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = driven_as([(0.7, 100), (0.7, 90)], monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(training("imitation"), tmp_path, interrupting(7))
    policy = train(training("imitation"), tmp_path)
    assert len(weights) == 2
    for name, value in policy.state_dict().items():
        assert torch.equal(value, weights[0][name])


# --- runs ------------------------------------------------------------------------------------------------------------


METHODS: list[tuple[Method, str]] = [
    ("imitation", "separated"), ("mpur", "separated"), ("mpur-no-uncertainty", "separated"), ("mpur", "vae")
]  # fmt: skip


@pytest.mark.parametrize(("method", "variant"), METHODS)
def test_an_interrupted_training_ends_bit_for_bit_like_one_that_was_not(
    method: Method, variant: str, tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the first block (which begins again), and in the second, after a validation."""
    scores = [(0.5, 10.0), (0.5, 20.0)]
    model = trained(variant)

    def run(out: Path, progress: type[Counter]) -> None:
        options = {} if method == "imitation" else {"trained": model}
        train(training(method, uncertainty_weight=0.5), out, progress, **options)

    driven_as(scores, monkeypatch)
    run(tmp_path / "straight", Counter)
    driven_as([*scores[:1], *scores], monkeypatch)
    interrupted_and_resumed(run, tmp_path / "halting", 2, 6)
    for name in (TRAINING_FILE, POLICY_FILE):
        assert_same_checkpoint(tmp_path / "straight" / name, tmp_path / "halting" / name)


@pytest.mark.parametrize("method", ["imitation", "log-replay", *IMAGINED])
def test_every_method_drives_validation_cars_and_finishes(
    method: Method, tmp_path: Path, notebook: Notebook
) -> None:
    policy = train(training(method), tmp_path)
    assert len(notebook.of("loss")) == 8
    assert len(notebook.of("validation_distance_m")) == 2
    assert min(notebook.of("validation_distance_m")) > 0
    assert ("uncertainty" in notebook.steps[0][1]) == (method == "mpur")
    again, config = load_policy(tmp_path)
    assert config == training(method)
    for name, value in policy.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    train(training(method), tmp_path, Untrained)  # finished: loaded


@pytest.mark.parametrize(
    ("options", "variant"),
    [
        ({"value_weight": 0.5}, "separated"),
        ({"stochastic": True}, "separated"),
        ({"method": "log-replay"}, None),
        ({"method": "distill", "teaching": TEACHING}, "separated"),
        ({"method": "mper"}, "vae"),
        ({"z": "posterior"}, "vae"),
        ({"z": "adversarial"}, "vae"),
        ({"mixed_precision": True}, "vae"),
    ],
    ids=str,
)
def test_options_resume_bit_for_bit(
    options: dict[str, Any],
    variant: str | None,
    tmp_path: Path,
    notebook: Notebook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = [(0.5, 10.0), (0.5, 20.0)]
    model = {"trained": trained(variant)} if variant else {}

    def run(out: Path, progress: type[Counter] = Counter) -> None:
        train(training(**options), out, progress, **model)

    driven_as(scores, monkeypatch)
    run(tmp_path / "straight")
    driven_as(scores, monkeypatch)
    interrupted_and_resumed(run, tmp_path / "halting", 5)
    for name in (TRAINING_FILE, POLICY_FILE):
        assert_same_checkpoint(tmp_path / "straight" / name, tmp_path / "halting" / name)


@pytest.mark.parametrize("horizon", [1, 40])
@pytest.mark.parametrize("variant", ["separated", "vae"])
def test_it_looks_one_step_ahead_or_forty(
    variant: str, horizon: int, tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven_as([(0.5, 10.0), (0.5, 20.0)], monkeypatch)
    start = Policy(SMALL)
    policy = train(training(horizon=horizon), tmp_path, trained=trained(variant, horizon), start_from=start)
    assert len(notebook.of("loss")) == 8
    assert all(map(math.isfinite, notebook.of("loss")))
    assert not torch.equal(policy.head[-1].weight, start.head[-1].weight)


def test_what_does_not_go_together_is_refused(tmp_path: Path, notebook: Notebook) -> None:
    with pytest.raises(InputError, match="mper compares what the ego sees"):
        train(training("mper"), tmp_path)
    for needy in ({"z": "adversarial"}, {"learned_cost": True}):
        with pytest.raises(InputError, match="go through the pixels"):
            train(training(**needy), tmp_path)
    with pytest.raises(InputError, match="this one is deterministic"):
        train(
            training(z="adversarial"),
            tmp_path,
            trained=TrainedModel(small_model("deterministic"), Uncertainty(3)),
        )
    with pytest.raises(ValueError, match="learned cost go together"):
        train(training(learned_cost=True, gradient="pixels"), tmp_path)
    with pytest.raises(ValueError, match="z='no' must be one of prior"):
        training(z="no")


def test_it_begins_with_the_policy_it_is_given(tmp_path: Path, notebook: Notebook) -> None:
    torch.manual_seed(5)
    start = Policy(SMALL)
    policy = train(training(learning_rate=0.0), tmp_path, start_from=start)
    for name, value in start.state_dict().items():
        assert torch.equal(policy.state_dict()[name], value)


def test_a_policy_that_sees_the_world_unlike_the_model_is_refused(tmp_path: Path, notebook: Notebook) -> None:
    for unlike in ({"stride": 1}, {"frames": 4}, {"view": View(height=48, width=18)}):
        config = training(policy=replace(SMALL, **unlike))
        with pytest.raises(InputError, match="train both with one preset"):
            train(config, tmp_path)
    with pytest.raises(InputError, match="known for 3 steps, the policy imagines 4"):
        train(training(horizon=4), tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_frames_further_apart_than_the_model_s_are_refused(tmp_path: Path, notebook: Notebook) -> None:
    with pytest.raises(InputError, match=r"a frame every 0\.2 s"):
        train(training(), tmp_path, recordings=[replace(traffic(), dt=0.2)])


@pytest.mark.parametrize("method", IMAGINED)
def test_imagining_needs_a_model(method: Method, tmp_path: Path, notebook: Notebook) -> None:
    with pytest.raises(ValueError, match=f"{method} needs a trained forward model"):
        train(training(method), tmp_path, trained=None)


@pytest.mark.parametrize("state", ["finished", "half done"])
def test_another_config_is_refused_by_the_key(state: str, tmp_path: Path, notebook: Notebook) -> None:
    if state == "finished":
        train(training("imitation"), tmp_path)
    else:
        with pytest.raises(KeyboardInterrupt):
            train(training("imitation"), tmp_path, interrupting(3))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"policy\.hidden expected 16, found 8"):
        train(training("imitation", policy=replace(SMALL, hidden=16)), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_broken_term_is_named_and_the_last_state_stays_sound(
    tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))

    def breaking(terms: Terms) -> Tensor:
        return terms.cost * (math.nan if next(calls) >= 6 else 0.0)

    model = trained()
    monkeypatch.setattr(model.uncertainty, "forward", breaking)
    with pytest.raises(NotFinite, match=r"^uncertainty is nan at update 6 of training the policy \(mpur\)"):
        train(training(), tmp_path, trained=model)
    assert not (tmp_path / POLICY_FILE).exists()
    checkpoint = load(tmp_path / TRAINING_FILE)
    assert checkpoint.meta["training"]["counters"] == {"step": 4}
    assert all(value.isfinite().all() for value in checkpoint.tensors.values() if value.is_floating_point())


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_config_survives_its_file(tmp_path: Path, notebook: Notebook) -> None:
    save(tmp_path / "f", tensors={}, config=policy_training_to_dict(training()), meta={})
    assert policy_training_from_dict(load(tmp_path / "f").config) == training()


@pytest.mark.parametrize(
    "change",
    [{"updates": 0}, {"horizon": 0}, {"gamma": 1.1}, {"masks": 0}, {"masks": 1}, {"block": 0}, {"validations": 0}],
)  # fmt: skip
def test_impossible_trainings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        training(**change)


def test_one_mask_will_do_where_u_does_not_count() -> None:
    assert not training(masks=1, uncertainty_weight=0.0).counts_uncertainty
    assert not training("mpur-no-uncertainty", masks=1).counts_uncertainty
    assert training().counts_uncertainty


def test_a_folder_without_a_policy_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="no trained policy here"):
            load_policy(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished policy."""
    out = tmp_path_factory.mktemp("policy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mbrl.loop.Tracker", Notebook().tracker)
        train(training("imitation", updates=2, validations=1), out)
    return out


@pytest.mark.parametrize(
    "damage", ["empty", "text", "cut", "a training state", "another architecture", "a model"]
)
def test_a_file_that_is_no_policy_is_refused(damage: str, finished: Path, tmp_path: Path) -> None:
    path = tmp_path / POLICY_FILE
    good = load(finished / POLICY_FILE)
    whole = (finished / POLICY_FILE).read_bytes()
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("a policy, honestly\n" * 100)
        case "cut":
            path.write_bytes(whole[: len(whole) - 100])
        case "a training state":
            path.write_bytes((finished / TRAINING_FILE).read_bytes())
        case "another architecture":
            wider = policy_training_to_dict(training("imitation", policy=replace(SMALL, hidden=9)))
            save(path, tensors=good.tensors, config=wider, meta=good.meta)
        case "a model":
            save(path, tensors={}, config={"stages": [], "model": {"kind": "paper"}}, meta={})
    with pytest.raises(InputError, match=POLICY_FILE) as refusal:
        load_policy(tmp_path)
    assert "\n" not in str(refusal.value)


def test_what_is_shared_agrees() -> None:
    """The small policy looks back like the small models do, or these tests would test nothing."""
    assert (SMALL.frames, SMALL.stride, SMALL.view) == (TIMING.frames, TIMING.stride, VIEW)
    assert all(config.view == VIEW for config in VARIANTS.values())


def test_other_frames_and_no_validation_cars_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    for method in ("imitation", "log-replay", "mpur"):
        with pytest.raises(InputError, match=r"has a frame every 0\.2 s, expected is one every 0\.1 s"):
            train(training(method), tmp_path, recordings=[replace(traffic(), dt=0.2)])  # type: ignore[arg-type]
        with pytest.raises(InputError, match="no car of the validation split"):
            train(training(method), tmp_path, recordings=[of_split(traffic(), "train")])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("method", "change", "said"),
    [
        ("distill", {"value_weight": 1.0, "teaching": TEACHING}, "distill does not unroll a model"),
        ("imitation", {"stochastic": True}, "imitation does not unroll a model"),
        ("mper", {"z": "adversarial"}, "mper infers z"),
        ("mpur", {"gradient": "nonsense"}, "gradient='nonsense' must be one of None, position, pixels"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(
    method: Method, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        training(method, **change)


def test_an_ensemble_infers_no_z() -> None:
    model = TrainedModel(small_ensemble("vae"), Uncertainty(3))
    for change in ({"method": "mper"}, {"z": "posterior"}):
        with pytest.raises(InputError, match="members of an ensemble agree on no z"):
            check_fit(training(masks=3, **change), model)  # type: ignore[arg-type]
