"""Everybody is trained once, drives the same cars once in each kind of traffic, and is written down with its cost."""

from __future__ import annotations

import json
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents import Human, NoAction
from agents.evaluate import evaluate
from agents.metrics import Outcomes
from agents.outcome_files import load_outcomes, save_outcomes
from agents.results import results, row_of
from agents.rules import RuleDriver, RulesConfig
from envs.errors import InputError
from envs.formats import write_parquet
from mbrl import benchmark as module
from mbrl.agents_by_name import PRETRAINED, agent_by_name
from mbrl.benchmark import Setting, benchmark, latency, training_frames
from mbrl.benchmark_page import cells, kinds, markdown, write_benchmark
from mbrl.entrants import chosen_entrants, entrants, trainings
from mbrl.log_replay import LogReplay, Moment
from mbrl.named import choose
from mbrl.plots import front_chart
from mbrl.presets import policy_training
from mbrl.progress import Counter
from mbrl.side_by_side import Job
from mbrl.train_policy import train_policy
from tests.agents.scenes import Track, along, clean_traffic, recording_of, still, without_goal
from tests.mbrl.runs import Notebook, notebook

__all__ = ["notebook"]  # a fixture

SOME = ("no-action", "idm", "imitation", "mpur", "gradient", "gradient from mpur", "ppo")


def in_this_process(jobs: list[Job]) -> None:
    for job in jobs:
        job.function(*job.arguments, progress=Counter)


def outcomes() -> Outcomes:
    return evaluate([NoAction()], [clean_traffic(num_cars=24)], split="all", max_cars=5).runs[0].outcomes


def test_drives_come_back_from_their_file(tmp_path: Path) -> None:
    before = outcomes()
    save_outcomes(tmp_path / "drives.npz", before)
    after = load_outcomes(tmp_path / "drives.npz")
    assert (after.dt, after.seconds_per_action) == (before.dt, before.seconds_per_action)
    for name in ("num_steps", "arrived", "off_road", "min_ttc", "states", "human_states"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    for rule, contact in before.contacts.items():
        for one, other in zip(after.contacts[rule], contact, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("damage", ["foreign", "empty", "cut", "flipped"])
def test_a_damaged_file_of_drives_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "drives.npz"
    traffic = clean_traffic(num_cars=8)
    save_outcomes(path, evaluate([NoAction()], [traffic], split="all", threads=1).runs[0].outcomes)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(
        {"foreign": b"nonsense", "empty": b"", "cut": whole[:-100], "flipped": bytes(flipped)}[damage]
    )
    with pytest.raises(InputError, match=r"drives\.npz: not a file of drives"):
        load_outcomes(path)


def test_who_drives_in_the_replay_while_learning_is_charged_for_it(
    tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames, counted where they are driven."""
    driven, step = 0, LogReplay.step

    def counted(replay: LogReplay, h: Moment, action: Tensor, z: Tensor) -> Any:
        nonlocal driven
        driven += len(h.frame) * replay.stride
        return step(replay, h, action, z)

    monkeypatch.setattr(LogReplay, "step", counted)
    train_policy(policy_training("debug", "log-replay"), [clean_traffic()], tmp_path, progress=Counter)
    (entrant,) = choose(entrants("debug", 9), ["log-replay"], "entrant")
    assert entrant.interaction == driven > 0


def test_everything_needed_is_trained_after_what_it_needs() -> None:
    for preset in ("quick", "debug"):
        known = trainings(preset, 3, 1000)  # type: ignore[arg-type]
        names = [training.name for training in known]
        assert len(set(names)) == len(names)
        for k, training in enumerate(known):
            assert set(training.needs) <= set(names[:k])
            assert training.config.seed == 3
        assert {e.trained for e in entrants(preset, 1000) if e.trained} <= set(names)  # type: ignore[arg-type]
    chosen = choose(entrants("quick", 9), ["distilled", "idm"], "entrant")
    needed = module._trainings(Setting(Path(), ()), 0, chosen)
    assert [training.name for training in needed] == ["model", "imitation", "distilled"]


def test_further_entrants_take_part_where_they_are_named() -> None:
    known = entrants("quick", 9)
    assert not {"icem", "td3", "ilqr"} & {e.name for e in chosen_entrants(known, ())}
    assert [e.name for e in chosen_entrants(known, ["td3", "icem"])] == ["icem", "td3"]
    needed = module._trainings(Setting(Path(), ()), 0, chosen_entrants(known, ["icem", "td3"]))
    assert [training.name for training in needed] == ["model", "td3"]


def test_who_is_given_drives_beside_the_entrants_and_again_when_trained_anew(tmp_path: Path) -> None:
    traffic, mine = tmp_path / "traffic.parquet", tmp_path / "mine"
    write_parquet(clean_traffic(num_cars=60), traffic)
    shutil.copytree(PRETRAINED / "policy", mine)
    setting = Setting(
        tmp_path / "out", (traffic,), "debug", max_cars=3, agents=(str(mine), "gradient:pretrained")
    )
    run = partial(benchmark, setting, only=["idm"], conditions=("blind",), run_jobs=in_this_process)
    found = run()
    assert [e["name"] for e in found["entrants"]] == ["human", "idm", str(mine), "gradient:pretrained"]
    alone = results(evaluate([Human(), agent_by_name(str(mine))], [clean_traffic(num_cars=60)], max_cars=3))
    ours = row_of(found["conditions"]["blind"], str(mine))
    assert {k: ours[k] for k in ("success", "jerk")} == {
        k: row_of(alone, "mpur")[k] for k in ("success", "jerk")
    }
    before = set(tmp_path.rglob("*.npz"))
    run()
    assert set(tmp_path.rglob("*.npz")) == before
    tensors = (mine / "policy.safetensors").read_bytes()
    (mine / "policy.safetensors").write_bytes(tensors[:-4] + bytes(4))
    run()
    assert len(set(tmp_path.rglob("*.npz")) - before) == 1


def test_agents_that_cannot_take_part_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.parquet"
    write_parquet(clean_traffic(num_cars=60), traffic)
    setting = Setting(tmp_path / "out", (traffic,), "debug")
    for agents, said in (
        (("idm",), "--agent idm: takes part already"),
        (("pretrained", "pretrained"), "--agent pretrained: takes part already"),
        (("nobody",), "no agent 'nobody'"),
    ):
        with pytest.raises(InputError, match=said):
            benchmark(setting._replace(agents=agents), only=["mpur"])
    assert not (tmp_path / "out").exists()


def test_the_page_shows_what_was_learned_from_and_all_measures(tmp_path: Path) -> None:
    """Who plans or learns from recordings had frames of the training cars, who drives had its steps, rules nothing."""
    traffic = clean_traffic(num_cars=60)
    names = ["human", "no-action", "mpur", "mpur-data-5", "gradient", "ppo"]
    evaluation = evaluate([NoAction(name) for name in names], [traffic], max_cars=3)
    frames = training_frames([traffic])
    assert frames == int(traffic.in_split("train")[traffic.vehicle].sum()) > 0
    costs = {name: {"training_s": 1.0, "latency_s": 0.01} for name in names}
    chosen = choose(entrants("debug", 512), names, "entrant")
    data = write_benchmark(tmp_path, {"blind": evaluation}, chosen, costs, frames)
    had = {e["name"]: (e["recorded_frames"], e["environment_steps"]) for e in data["entrants"]}
    assert had == {
        "human": (0, 0), "no-action": (0, 0), "mpur": (frames, 0), "mpur-data-5": (round(0.05 * frames), 0),
        "gradient": (frames, 0), "ppo": (0, 512),
    }  # fmt: skip
    page = (tmp_path / "benchmark.html").read_text()
    chart = page[page.index("Success against data used") : page.index("All measures")]
    assert [f">{name}</text>" in chart for name in names] == [False, False, True, True, True, True]
    measures = page[page.index("All measures") :]
    for said in ("distance m", "off road", "min TTC s", "jerk m/s³", "box less 1 m %"):
        assert f">{said}</th>" in measures
    row = row_of(data["conditions"]["blind"], "mpur")
    assert f">{row['jerk']:.1f}</td>" in measures
    low, high = row["success_ci_box_less_1m"]
    assert f"[{100 * low:.0f}, {100 * high:.0f}]" in cells(data, data["entrants"][2])[2]


def test_an_unknown_entrant_is_refused_with_all_names() -> None:
    with pytest.raises(InputError, match=r"unknown entrant 'mpu'.*'mpur', 'distilled'"):
        benchmark(Setting(Path(), ()), only=["mpu"])


class Slow:
    """Takes a while in every other frame, as one who holds his actions."""

    name, history, seed = "slow", 1, None

    def begin(self, replay: Any) -> None:
        self.calls = 0

    def act(self, observation: Any) -> np.ndarray:
        self.calls += 1
        time.sleep(0.01 * (self.calls % 2))
        return np.zeros((1, 2))


def test_latency_is_that_of_a_decision() -> None:
    assert 0.01 < latency(Slow(), [clean_traffic(num_cars=24)]) < 0.1


def test_the_chart_of_a_front_leaves_out_what_it_cannot_place() -> None:
    chart = front_chart(
        {"a": (1.0, 50.0), "b": (100.0, 90.0), "c": (10.0, 20.0), "d": (0.0, 99.0)}, x_label="ms", y_label="%"
    )
    assert [f">{name}<" in chart for name in "abcd"] == [True, True, True, False]
    assert chart.count("font-weight") == 2, "a and b are the front"
    assert "no finite value" in front_chart({"d": (0.0, 1.0)}, x_label="", y_label="")


def test_scenes_are_driven_from_their_first_frame(tmp_path: Path) -> None:
    """Also those that are named when all else was driven."""
    traffic, out = tmp_path / "traffic.parquet", tmp_path / "out"
    write_parquet(clean_traffic(num_cars=60), traffic)
    setting = Setting(out, (traffic,), "debug", max_cars=3)
    run = partial(benchmark, only=["idm"], conditions=("blind",), run_jobs=in_this_process)
    without = run(setting)
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    elsewhere = [without_goal(clean_traffic(num_cars=num, seed=num)) for num in (20, 30)]
    scenes = tuple(tmp_path / f"{k}.parquet" for k in range(2))
    for scene, path in zip(elsewhere, scenes, strict=True):
        write_parquet(scene, path)
    found = run(setting._replace(scenes=scenes))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert found["conditions"]["blind"] == without["conditions"]["blind"]
    assert list(found["conditions"]) == ["blind", "scenes"]
    names = [path.name for path in scenes]
    idm = RuleDriver(RulesConfig(rules="idm"))
    alone = results(evaluate([Human(), idm], elsewhere, names=names, split="all", history=1, max_cars=3))
    there = found["conditions"]["scenes"]
    assert [there[key] for key in ("recordings", "dropped")] == [
        alone[key] for key in ("recordings", "dropped")
    ]
    for name in ("human", "idm"):
        timed = {"seconds_per_action": 0.0}
        assert row_of(there, name) | timed == row_of(alone, name) | timed
    text = (out / "benchmark.md").read_text()
    assert text.startswith("3 test cars of traffic.parquet, and 3 of 2 scenes; 95 % intervals")
    assert "| success %, blind | success %, scenes | box less 1 m %, blind | box less 1 m %, scenes |" in text
    assert "As blind, with all cars" in (out / "benchmark.html").read_text()


def test_scenes_that_cannot_be_driven_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.parquet" for name in ("traffic", "slower", "brief")]
    slower = recording_of(Track(1, along(10.0), still() + 4), dt=0.2)
    brief = recording_of(Track(1, along(10.0, num=20), still(20) + 4))
    for path, recording in zip(files, (clean_traffic(), slower, brief), strict=True):
        write_parquet(recording, path)
    setting = Setting(tmp_path / "out", (files[0],), "debug")
    for path, said in (
        (files[1], "frames are 0.2 s apart, those of the recordings 0.1"),
        (files[2], "no car of"),
    ):
        with pytest.raises(InputError, match=said):
            benchmark(setting._replace(scenes=(path,)), only=["mpur"])


@pytest.mark.slow
def test_a_few_entrants_go_from_a_recording_to_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic, out = tmp_path / "traffic.parquet", tmp_path / "out"
    write_parquet(clean_traffic(num_cars=60), traffic)
    setting = Setting(out, (traffic,), "debug", rl_steps=256, max_cars=3)
    first = benchmark(setting, seeds=(0, 1), only=SOME, run_jobs=in_this_process)
    files = {path: path.read_bytes() for path in out.glob("*/drives/*")}
    assert len(files) == (5 * 2 + 3) * 4, "three kinds of traffic and a latency"

    def nothing(*_: Any, **__: Any) -> None:
        raise AssertionError("all of it was done")

    monkeypatch.setattr(torch.optim.Optimizer, "step", nothing)
    again = benchmark(setting, seeds=(0, 1), only=SOME, run_jobs=in_this_process)
    assert again == first
    assert {path: path.read_bytes() for path in out.glob("*/drives/*")} == files
    assert json.loads((out / "benchmark.json").read_text()) == first
    for condition in ("blind", "reactive", "perturbed"):
        assert row_of(first["conditions"][condition], "mpur")["seeds"] == [0, 1]
        assert row_of(first["conditions"][condition], "idm")["seed"] is None
    assert row_of(first["conditions"]["blind"], "human")["success"] == 1
    by_name = {e["name"]: e for e in first["entrants"]}
    assert list(by_name) == ["human", *SOME]
    assert (by_name["ppo"]["environment_steps"], by_name["mpur"]["environment_steps"]) == (256, 0)
    assert by_name["mpur"]["training_s"] > by_name["imitation"]["training_s"] > 0
    assert by_name["idm"]["training_s"] == 0
    text = (out / "benchmark.md").read_text()
    assert text == markdown(first)
    assert "| mpur |" in text
    assert "planned through the model" in kinds(first)
    assert cells(first, by_name["ppo"])[-3] == "256"
    page = (out / "benchmark.html").read_text()
    assert "Success against time per decision" in page
    with pytest.raises(InputError, match="has max_cars 3, not 2"):
        benchmark(setting._replace(max_cars=2), seeds=(0, 1), only=SOME, run_jobs=in_this_process)
