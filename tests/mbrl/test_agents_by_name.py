"""Agents as the command line names them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import planners
from agents import NoAction
from agents.evaluate import evaluate
from envs.drives import find_drives
from envs.errors import InputError
from envs.replay import Replay
from envs.sources import load_recordings
from mbrl.agents_by_name import PRETRAINED, agent_by_name, agents_by_name
from mbrl.planners_by_name import PLANNERS
from mbrl.train_policy import load_policy
from mbrl.trained_model import TrainedModel, load_model
from mbrl.uncertainty import Uncertainty
from tests.agents.scenes import clean_traffic
from tests.mbrl.small import small_model


@pytest.mark.parametrize(
    "name", ["human", "no-action", "constant-velocity", "lane-keeper", "idm", "idm+mobil"]
)
def test_built_in_agents_keep_their_names(name: str) -> None:
    assert agent_by_name(name).name == name


def test_an_unknown_agent_is_refused_with_what_there_is() -> None:
    with pytest.raises(
        InputError,
        match="no agent 'robot': expected human, no-action, lane-keeper, idm, idm\\+mobil, pretrained",
    ):
        agent_by_name("robot")


def test_a_folder_without_a_policy_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trained policy here; train one"):
        agent_by_name(str(tmp_path))


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.safetensors").write_bytes(b"not a checkpoint at all")
    with pytest.raises(InputError, match="not a headway checkpoint"):
        agent_by_name(str(tmp_path))


def test_who_would_be_called_alike_is_called_as_it_was_named(tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(PRETRAINED / "policy", copy)
    names = ["no-action", "pretrained", str(copy)]
    assert [agent.name for agent in agents_by_name(names)] == ["no-action", "pretrained", "mpur"]
    again = tmp_path / "again"
    shutil.copytree(copy, again)
    assert [agent.name for agent in agents_by_name([str(copy), str(again)])] == [str(copy), str(again)]
    with pytest.raises(InputError, match="'idm' is named twice"):
        agents_by_name(["idm", "human", "idm"])


@pytest.mark.parametrize("horizon", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("name", PLANNERS)
def test_a_planner_is_made_for_any_horizon(name: str, horizon: int) -> None:
    planner = PLANNERS[name](horizon, 0.9)
    assert (planner.config.horizon, planner.config.gamma) == (horizon, 0.9)


@pytest.mark.parametrize("name", PLANNERS)
def test_a_planner_drives_through_a_model(name: str) -> None:
    """Through the one that ships; the same each time."""
    traffic, taken = clean_traffic(num_cars=24), []
    for _ in range(2):
        agent = agent_by_name(f"{name}:pretrained")
        assert agent.name == name
        replay = Replay([traffic], 2, history=agent.history, threads=1)
        observation = replay.reset(find_drives(replay.world, [traffic], "all").take(np.arange(2)))
        agent.begin(replay)
        taken.append(agent.act(observation))
    assert np.isfinite(taken[0]).all()
    # of all that a car can do, evenly drawn, nothing is as cheap as nothing here
    if name != "random-shooting":
        assert (taken[0] != 0).any()
    np.testing.assert_array_equal(*taken)


def test_every_planner_of_continuous_actions_has_a_name() -> None:
    made = {type(make(12, 0.98)) for make in PLANNERS.values()}
    known = {
        one for one in vars(planners).values() if isinstance(one, type) and issubclass(one, planners.Planner)
    }
    assert known - made == {planners.Planner, planners.Mixed}, "whose actions are choices"


def test_ilqr_is_refused_where_pictures_are_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = TrainedModel(small_model("vae"), Uncertainty(3))
    monkeypatch.setattr("mbrl.agents_by_name.load_model", lambda *_: trained)
    assert agent_by_name("beam:anywhere").name == "beam"
    with pytest.raises(InputError, match="anywhere: ilqr differentiates twice"):
        agent_by_name("ilqr:anywhere")


def test_a_planner_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no trained model here"):
        agent_by_name(f"gradient:{tmp_path}")
    with pytest.raises(InputError, match="random-shooting, beam, mixed; as in gradient:runs/model"):
        agent_by_name(f"gradients:{tmp_path}")


def test_a_model_is_no_policy() -> None:
    with pytest.raises(InputError, match="holds a forward model, not a policy"):
        agent_by_name(str(PRETRAINED / "model"))


@pytest.mark.slow
def test_the_policy_that_ships_drives_where_doing_nothing_fails() -> None:
    pretrained = agent_by_name("pretrained")
    evaluation = evaluate([pretrained, NoAction()], load_recordings(None), split="validation", max_cars=40)
    ours, nothing = (run.outcomes.succeeded().mean() for run in evaluation.runs)
    assert ours > 0.75
    assert ours > nothing + 0.4


def test_what_ships_is_small_and_belongs_together() -> None:
    assert sum(path.stat().st_size for path in PRETRAINED.glob("*/*.safetensors")) < 20e6
    model = load_model(PRETRAINED / "model").model
    _, config = load_policy(PRETRAINED / "policy")
    assert model.config.view == config.policy.view
