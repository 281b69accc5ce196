"""Presets fit together, say what the paper says, and the smallest one runs from a recording to a car that drives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from agents.evaluate import evaluate
from agents.learned import LearnedAgent
from envs.recording import Recording
from mbrl.forward_models import PaperConfig, build
from mbrl.model_training import training_from_dict, training_to_dict
from mbrl.policy_training import Method, policy_training_from_dict, policy_training_to_dict
from mbrl.presets import Preset, model_training, policy_training
from mbrl.progress import Counter
from mbrl.train_model import train_model
from mbrl.train_policy import load_policy, train_policy
from mbrl.trained_model import load_model
from tests.agents.scenes import clean_traffic
from tests.mbrl.runs import Untrained

PRESETS: tuple[Preset, ...] = get_args(Preset)
METHODS: tuple[Method, ...] = get_args(Method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_s_model_and_policies_fit_together(preset: Preset, method: Method) -> None:
    model, policy = model_training(preset), policy_training(preset, method)
    timing, sees = model.model.timing, policy.policy
    assert (sees.frames, sees.stride, sees.view) == (timing.frames, timing.stride, model.model.view)
    assert policy.horizon <= model.horizon  # U is scaled for that many steps
    assert policy.masks == model.masks  # and for that many masks
    assert policy.method == method
    if model.perturbed:
        assert build(model.model).observer == "straight"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_survives_its_file_and_takes_a_seed(preset: Preset) -> None:
    model, policy = model_training(preset, 7), policy_training(preset, "mpur", 7)
    assert model.seed == policy.seed == 7
    assert training_from_dict(training_to_dict(model)) == model
    assert policy_training_from_dict(policy_training_to_dict(policy)) == policy


def test_paper_is_the_paper_s() -> None:
    """arXiv:1901.02705, appendix, and the sizes of the public code."""
    model, policy = model_training("paper"), policy_training("paper")
    assert isinstance(model.model, PaperConfig)
    (stage,) = model.stages
    assert (model.model.z_dim, model.model.dropout, model.model.timing.frames) == (32, 0.1, 20)
    assert (model.learning_rate, stage.batch_size, stage.steps) == (1e-4, 64, 20)
    assert (model.beta, model.z_dropout, model.clip) == (1e-6, 0.5, 5)
    assert (policy.masks, policy.gamma, policy.uncertainty_weight, policy.lane_weight) == (10, 0.99, 0.5, 0.2)
    assert (policy.learning_rate, policy.batch_size, policy.horizon) == (1e-4, 6, 30)
    assert policy.policy.channels == (64, 128, 256)


@pytest.mark.slow
def test_the_debug_preset_goes_from_a_recording_to_a_car_that_drives(tmp_path: Path) -> None:
    """Twice: the second time everything is finished and only read."""
    recording: Recording = clean_traffic(num_cars=40)
    for progress in (Counter, Untrained):
        quietly: dict[str, Any] = {"tracking_root": tmp_path, "progress": progress}
        train_model(model_training("debug"), [recording], tmp_path / "model", **quietly)
        start = train_policy(
            policy_training("debug", "imitation"), [recording], tmp_path / "imitation", **quietly
        )
        for method in METHODS[:2]:
            train_policy(
                policy_training("debug", method), [recording], tmp_path / method,
                trained=load_model(tmp_path / "model"), start_from=start, **quietly,
            )  # fmt: skip
    trained = (*METHODS[:2], "imitation")
    agents = [LearnedAgent(load_policy(tmp_path / folder)[0], folder) for folder in trained]
    evaluation = evaluate(agents, [recording], split="all", max_cars=4)
    assert [run.name for run in evaluation.runs] == ["mpur", "mpur-no-uncertainty", "imitation"]
    assert all((run.outcomes.distance() > 0).all() for run in evaluation.runs)
