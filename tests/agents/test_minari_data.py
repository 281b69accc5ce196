"""Drives as arrays, and as a Minari data set: there and back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agents import Human
from agents.episodes import Episode, episodes
from agents.minari_data import read_minari, write_minari
from agents.rules import RuleDriver
from envs.errors import InputError
from envs.recording import Recording
from envs.replay import Replay
from envs.units import View
from envs.vector_environment import ReplayVectorEnv
from tests.agents.scenes import clean_traffic

SMALL = View(height=27, width=8, px_per_m=1.0)
SETTINGS = {"split": "all", "view": SMALL, "threads": 1, "frames": (0, 2)}


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return clean_traffic(num_cars=20)


@pytest.fixture(scope="module")
def driven(traffic: Recording) -> list[Episode]:
    return list(episodes(RuleDriver(), [traffic, traffic], num_envs=3, num_cars=4, **SETTINGS))


def test_every_car_is_driven_once_and_its_actions_lead_there_again(
    traffic: Recording, driven: list[Episode]
) -> None:
    assert len(driven) == 4
    assert len({(e.where["recording"], e.where["vehicle"]) for e in driven}) == 4
    env = ReplayVectorEnv(1, [traffic, traffic], action="physical", autoreset_mode="Disabled", **SETTINGS)
    for k, episode in enumerate(driven):
        seen, _ = env.reset(options={"drive": [k]})
        vehicle = env.replay.vehicle[0]
        assert traffic.vehicles.id[vehicle % 20] == episode.where["vehicle"]
        assert env.replay.frame[0] == episode.where["start_frame"]
        for t, action in enumerate(episode.actions):
            for name, array in seen.items():
                np.testing.assert_array_equal(array[0], episode.observations[name][t])
            seen, reward, terminated, truncated, _ = env.step(action[None])
            assert reward[0] == episode.rewards[t]
            assert (terminated[0], truncated[0]) == (episode.terminations[t], episode.truncations[t])
        assert terminated[0] or truncated[0]
        np.testing.assert_array_equal(seen["images"][0], episode.observations["images"][-1])


def test_the_humans_actions_are_the_inverse_of_what_was_recorded(traffic: Recording) -> None:
    [episode] = episodes(Human(), traffic, num_envs=1, num_cars=1, **SETTINGS)
    replay = Replay([traffic], 1, view=SMALL, threads=1)
    vehicle = int(np.flatnonzero(traffic.vehicles.id == episode.where["vehicle"])[0])
    frames = episode.where["start_frame"] + np.arange(len(episode.actions) + 1)
    rows = replay.world.row(np.array(vehicle), frames)
    np.testing.assert_allclose(episode.actions, replay.world.action[rows[:-1]], atol=1e-6)
    np.testing.assert_allclose(
        episode.observations["vectors"][:, -1, :2], replay.world.state[rows, :2], atol=0.05
    )
    assert episode.terminations[-1]


def test_an_agent_that_looks_further_back_sees_what_it_needs(traffic: Recording) -> None:
    class Elder(Human):
        history = 9
        seen = 0

        def act(self, observation):  # type: ignore[no-untyped-def]
            self.seen = observation.images.shape[1]
            return super().act(observation)

    agent = Elder()
    [episode] = episodes(agent, traffic, num_envs=1, num_cars=1, **SETTINGS)
    assert agent.seen == 9
    assert episode.observations["images"].shape[1] == 2


def test_what_is_written_comes_back_to_the_bit(driven: list[Episode], tmp_path: Path) -> None:
    pytest.importorskip("minari")
    data = write_minari(iter(driven), tmp_path / "toy-rules-v0", algorithm="idm+mobil", description="toy")
    assert data.total_episodes == 4
    assert data.total_steps == sum(len(e.actions) for e in driven)
    back = list(read_minari(tmp_path / "toy-rules-v0"))
    for ours, theirs in zip(driven, back, strict=True):
        assert ours.where == theirs.where
        for name, array in ours.observations.items():
            assert theirs.observations[name].dtype == array.dtype
            np.testing.assert_array_equal(theirs.observations[name], array)
        for name in ("actions", "rewards", "terminations", "truncations"):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_minari_opens_it_by_its_name(
    driven: list[Episode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari")
    write_minari(driven[:1], tmp_path / "toy-rules-v1", algorithm="idm+mobil")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    data = minari.load_dataset("toy-rules-v1")
    assert data.storage.metadata["algorithm_name"] == "idm+mobil"
    assert data.action_space.contains(data[0].actions[0])
    assert data.observation_space.contains({name: array[0] for name, array in data[0].observations.items()})


def test_a_relative_path_will_do_and_what_fails_leaves_nothing(
    driven: list[Episode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_minari(driven[:2], Path("runs/toy-v0"), algorithm="human")
    assert len(list(read_minari(Path("runs/toy-v0")))) == 2

    def breaking() -> Iterator[Episode]:
        yield driven[0]
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_minari(breaking(), Path("runs/broken-v0"), algorithm="human")
    assert [path.name for path in Path("runs").iterdir()] == ["toy-v0"]


def test_what_cannot_be_written_or_read_is_refused(driven: list[Episode], tmp_path: Path) -> None:
    pytest.importorskip("minari")
    with pytest.raises(InputError, match="ends in a version"):
        write_minari(driven, tmp_path / "nameless", algorithm="human")
    (tmp_path / "file-v0").touch()
    with pytest.raises(InputError, match="this is a file"):
        write_minari(driven, tmp_path / "file-v0", algorithm="human")
    with pytest.raises(InputError, match="no drives"):
        write_minari([], tmp_path / "empty-v0", algorithm="human")
    with pytest.raises(InputError, match="no Minari data set"):
        list(read_minari(tmp_path))
    write_minari(driven[:1], tmp_path / "twice-v0", algorithm="human")
    with pytest.raises(InputError, match="already"):
        write_minari(driven[:1], tmp_path / "twice-v0", algorithm="human")


def test_without_minari_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, driven: list[Episode], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(InputError, match=r"pip install headway\[offline\]"):
        write_minari(driven, tmp_path / "toy-v0", algorithm="human")
