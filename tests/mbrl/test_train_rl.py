"""Training by stable-baselines3: it learns, it resumes, it says what it cannot do."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from agents.sb3_models import Algorithm, algorithm_class, load_model, read_facts
from agents.sb3_vec_env import SB3VecEnv
from envs.errors import InputError
from envs.formats.fingerprint import fingerprint_of_all
from envs.recording import Recording
from envs.reward import Reward
from mbrl import train_rl as module
from mbrl.agents_by_name import agent_by_name
from mbrl.progress import Counter
from mbrl.rl_training import RLTraining
from mbrl.train_rl import BUFFER_FILE, MODEL_FILE, TRAINING_FILE, train_rl
from tests.agents.scenes import clean_traffic
from tests.mbrl.policies import of_split

TINY = RLTraining(
    steps=64,
    num_envs=4,
    hidden=(8,),
    batch_size=16,
    rollout=8,
    buffer=64,
    updates=1,
    validations=2,
    validation_cars=2,
)


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return clean_traffic(num_cars=60)


def train(config: RLTraining, traffic: Recording, out: Path) -> Any:
    return train_rl(config, [traffic], out, progress=Counter)


class Killed(BaseException):
    """In the middle of a run."""


def kill_after(monkeypatch: pytest.MonkeyPatch, saves: int) -> None:
    """Saves between every two rollouts, and dies after so many of them."""
    save, done = module._Keeper.save, []
    monkeypatch.setattr(module, "SAVE_SECONDS", -1.0)

    def once_more(self: Any, done_: bool = False) -> None:
        save(self, done_)
        done.append(self.model.num_timesteps)
        if len(done) == saves:
            raise Killed

    monkeypatch.setattr(module._Keeper, "save", once_more)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_a_killed_run_goes_on_where_it_was_saved(
    algorithm: Algorithm, traffic: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, algorithm=algorithm)
    with monkeypatch.context() as patched:
        kill_after(patched, saves=2 if algorithm == "ppo" else 8)
        with pytest.raises(Killed):
            train(config, traffic, tmp_path)
    saved = read_facts(tmp_path / TRAINING_FILE)
    assert 0 < saved["steps"] < 64
    assert not saved["done"]
    before = load_model(tmp_path / TRAINING_FILE)[0].get_parameters()["policy"]
    begun: list[tuple[int, int, dict[str, Any]]] = []
    resumed = module._resumed

    def note(*arguments: Any) -> Any:
        model = resumed(*arguments)
        size = model.replay_buffer.size() * 4 if algorithm == "sac" else 0  # type: ignore[attr-defined]
        weights = {name: tensor.clone() for name, tensor in model.get_parameters()["policy"].items()}
        begun.append((model.num_timesteps, size, weights))
        return model

    monkeypatch.setattr(module, "_resumed", note)
    train(config, traffic, tmp_path)
    [(steps, kept, weights)] = begun
    assert steps == saved["steps"]
    assert kept == (steps if algorithm == "sac" else 0)
    assert all((before[name] == weights[name]).all() for name in before)
    finished = read_facts(tmp_path / TRAINING_FILE)
    assert finished["done"]
    assert finished["steps"] == 64
    assert finished["validated"] == 2
    assert finished["mlflow_run"] == saved["mlflow_run"] is not None
    assert not (tmp_path / BUFFER_FILE).exists()


def test_a_finished_run_is_loaded_and_another_one_refused(traffic: Recording, tmp_path: Path) -> None:
    train(TINY, traffic, tmp_path)
    written = (tmp_path / MODEL_FILE).stat().st_mtime_ns
    agent = train(TINY, traffic, tmp_path)
    assert (tmp_path / MODEL_FILE).stat().st_mtime_ns == written
    assert (
        agent.name
        == agent_by_name(str(tmp_path)).name
        == agent_by_name(str(tmp_path / MODEL_FILE)).name
        == "ppo"
    )
    with pytest.raises(InputError, match=r"holds a run with gamma = 0\.98, not 0\.5"):
        train(replace(TINY, gamma=0.5), traffic, tmp_path)
    with pytest.raises(InputError, match="learned from other recordings"):
        train(TINY, replace(traffic, x=traffic.x + 1), tmp_path)


def test_the_best_model_is_not_replaced_by_a_worse_one_after_a_kill(
    traffic: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best model is written at once, its score with the rest only at the next saving."""
    validate = module._Keeper._validate

    def once(keeper: Any) -> None:
        validate(keeper)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module._Keeper, "_validate", once)
        with pytest.raises(Killed):
            train(TINY, traffic, tmp_path)
    assert read_facts(tmp_path / TRAINING_FILE)["best"] == [-1.0, -1.0]
    best = read_facts(tmp_path / MODEL_FILE)["best"]
    assert module._facts_of(tmp_path, TINY, fingerprint_of_all([traffic]))["best"] == best > [-1.0, -1.0]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_is_saved_and_no_agent_before_it_is_over(
    interruption: type[BaseException], traffic: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its first minute too."""
    with monkeypatch.context() as patched:
        rollouts = iter([False, False, True])

        def begin(keeper: Any, own: Any = module._Keeper._on_rollout_start) -> None:
            own(keeper)
            if next(rollouts):
                raise interruption

        patched.setattr(module._Keeper, "_on_rollout_start", begin)
        with pytest.raises(interruption):
            train(replace(TINY, steps=128), traffic, tmp_path)
    assert (tmp_path / MODEL_FILE).exists()
    assert read_facts(tmp_path / TRAINING_FILE)["steps"] == 64
    with pytest.raises(
        InputError, match=r"at step 64 of 128: the same `headway train-rl` goes on; model\.zip is"
    ):
        agent_by_name(str(tmp_path))
    assert agent_by_name(str(tmp_path / MODEL_FILE)).name == "ppo"
    train(replace(TINY, steps=128), traffic, tmp_path)
    assert agent_by_name(str(tmp_path)).name == "ppo"


def test_a_model_is_chosen_in_the_traffic_it_learns_in_and_says_how_far_frames_are_apart(
    traffic: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    evaluate = module.evaluate

    def noted(*arguments: Any, **options: Any) -> Any:
        asked.append(options["traffic"])
        return evaluate(*arguments, **options)

    monkeypatch.setattr(module, "evaluate", noted)
    agent = train(replace(TINY, traffic="reactive"), traffic, tmp_path)
    assert set(asked) == {"reactive"}
    assert agent.dt == traffic.dt
    agent.dt = 0.2
    with pytest.raises(InputError, match=r"ppo learned from frames 0\.2 s apart"):
        evaluate([agent], [traffic], split="all")


def test_without_validation_cars_nothing_begins(traffic: Recording, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no car of the validation split"):
        train(TINY, of_split(traffic, "train"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_cars_are_paid_as_the_config_says(
    traffic: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid: list[float] = []

    class Noted(SB3VecEnv):
        def step_wait(self) -> Any:
            step = super().step_wait()
            paid.extend(step[1])
            return step

    monkeypatch.setattr(module, "SB3VecEnv", Noted)
    nothing = Reward(progress=0, proximity=0, lane=0, off_road=0, collision=0, arrival=0)
    train(replace(TINY, reward=nothing), traffic, tmp_path / "unpaid")
    assert len(paid) == 64
    assert not any(paid)
    train(replace(TINY, reward=replace(nothing, progress=1.0)), traffic, tmp_path / "paid")
    assert all(metres >= 0 for metres in paid[64:])
    assert max(paid) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", get_args(Algorithm))
@pytest.mark.parametrize("sees", ["cells", "pictures"])
def test_every_algorithm_trains_and_drives(
    algorithm: Algorithm, sees: Any, traffic: Recording, tmp_path: Path
) -> None:
    if algorithm in ("tqc", "recurrent-ppo"):
        pytest.importorskip("sb3_contrib")
    agent = train(replace(TINY, algorithm=algorithm, sees=sees), traffic, tmp_path)
    facts = read_facts(tmp_path / MODEL_FILE)
    assert facts["best"][1] > 0
    assert agent.model.num_timesteps > 0
    fresh, trained = (
        load_model(tmp_path / name)[0].get_parameters()["policy"] for name in (MODEL_FILE, TRAINING_FILE)
    )
    assert fresh.keys() == trained.keys()


@pytest.mark.slow
def test_ppo_learns_not_to_stand_still(traffic: Recording, tmp_path: Path) -> None:
    """On an orderly road a few thousand steps are enough to get further than at first."""
    config = replace(
        TINY, steps=16_384, num_envs=32, hidden=(32,), batch_size=256, rollout=32, validation_cars=20
    )
    agent = train(config, traffic, tmp_path)
    first, last = train(replace(config, steps=1), traffic, tmp_path / "first"), agent
    assert first is not last
    assert read_facts(tmp_path / MODEL_FILE)["best"] > read_facts(tmp_path / "first" / MODEL_FILE)["best"]


def test_without_sb3_contrib_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(InputError, match=r"tqc needs sb3-contrib: pip install headway\[rl-extra\]"):
        algorithm_class("tqc")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "reinforce"}, "algorithm="),
        ({"steps": 0}, "steps=0"),
        ({"gamma": 1.5}, "gamma=1.5"),
        ({"seed": 2**32}, "seed=4294967296"),
        ({"algorithm": "recurrent-ppo", "hidden": ()}, "at least one size"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RLTraining(**settings)


@pytest.mark.slow
def test_numbers_reach_mlflow(traffic: Recording, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    train(TINY, traffic, tmp_path)
    run = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").get_run(
        read_facts(tmp_path / TRAINING_FILE)["mlflow_run"]
    )
    assert run.data.params["algorithm"] == "ppo"
    assert run.data.metrics["validation_distance_m"] > 0
    assert np.isfinite(run.data.metrics["validation_success"])
