"""What is written down: complete, in order, and readable by any JSON parser."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from agents import Human, NoAction
from agents.evaluate import Evaluation, evaluate
from agents.results import results, table, write_results
from envs.errors import InputError
from tests.agents import scenes

PROMISED = {
    "name": str, "cars": int, "success": float, "success_ci": list, "distance_m": float, "distance_ci": list,
    "collisions": int, "collisions_at_fault": int, "off_road": int, "speed_vs_human": float,
    "progress_vs_human": float, "min_ttc_s": float, "jerk": float, "seconds_per_action": float,
}  # fmt: skip


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    agents = [NoAction(), scenes.cautious(seed=1), Human(), scenes.cautious(seed=0, strength=12.0)]
    recordings = [scenes.clean_traffic(num_cars=40), scenes.parked_car_ahead()]
    return evaluate(agents, recordings, names=["clean", "parked"], split="all", threads=1)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_results_json_has_what_was_promised_in_the_order_given(evaluation, tmp_path):
    returned = write_results(evaluation, tmp_path / "deep" / "er")
    text = (tmp_path / "deep" / "er" / "results.json").read_text()
    data = json.loads(text, parse_constant=refuse)
    assert data == returned
    assert [(row["name"], row["seed"]) for row in data["agents"]] == [
        ("no-action", None), ("cautious", 1), ("human", None), ("cautious", 0),
    ]  # fmt: skip
    for row in data["agents"]:
        for key, kind in PROMISED.items():
            assert isinstance(row[key], kind), key
        for suffix in ("", "_box", "_box_less_1m"):
            low, high = row["success_ci" + suffix]
            assert 0 <= low <= row["success" + suffix] <= high <= 1
            low, high = row["distance_ci" + suffix]
            assert low <= row["distance_m" + suffix] <= high
            counted = row["collisions" + suffix] + row["off_road" + suffix] + row["out_of_time" + suffix]
            assert counted == row["cars"] - round(row["success" + suffix] * row["cars"])
    assert data["recording"] == "clean, parked"
    assert data["split"] == "all"
    assert sum(part["cars"] for part in data["recordings"]) == data["cars"] == data["agents"][0]["cars"]
    assert data["agents"][2]["success"] == 1.0


def test_numbers_that_do_not_exist_are_null(evaluation, tmp_path):
    run = evaluation.runs[0]
    nan = replace(run.outcomes, human_states=np.zeros_like(run.outcomes.human_states))
    broken = replace(evaluation, runs=[replace(run, outcomes=nan)])
    write_results(broken, tmp_path)
    data = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert data["agents"][0]["progress_vs_human"] is None
    Console(quiet=True).print(table(data))


def test_seeds_of_one_name_are_pooled(evaluation):
    (row,) = results(evaluation)["pooled"]
    one, other = (r for r in results(evaluation)["agents"] if r["name"] == "cautious")
    assert (row["name"], row["seeds"], row["cars"]) == ("cautious", [1, 0], 2 * one["cars"])
    assert row["success"] == pytest.approx((one["success"] + other["success"]) / 2)
    assert one["success"] != other["success"]


def test_cars_csv_adds_up_to_results_json(evaluation, tmp_path):
    data = write_results(evaluation, tmp_path)
    with (tmp_path / "cars.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == data["cars"] * len(data["agents"])
    for agent in data["agents"]:
        seed = "" if agent["seed"] is None else str(agent["seed"])
        own = [r for r in rows if (r["agent"], r["seed"]) == (agent["name"], seed)]
        assert np.mean([r["ending"] == "arrived" for r in own]) == pytest.approx(agent["success"])
        assert sum(r["ending_box"] == "collision" for r in own) == agent["collisions_box"]
        assert np.mean([float(r["distance_m"]) for r in own]) == pytest.approx(agent["distance_m"], rel=1e-4)
    parked = next(r for r in rows if r["recording"] == "parked" and r["agent"] == "no-action")
    assert (parked["vehicle"], parked["start_frame"], parked["ending"]) == ("1", "60", "collision")
    assert (parked["hit_vehicle_box"], parked["at_fault_box"], parked["seconds_box"]) == ("2", "True", "19.3")


def test_dropped_cars_are_in_the_file():
    lane = np.array(scenes.lane_centre(2))
    recording = scenes.recording_of(
        scenes.Track(11, scenes.along(5.0), np.array(scenes.lane_centre(0))),
        scenes.Track(12, 160 + scenes.still(), lane),
        scenes.Track(13, scenes.along(5.0), lane, first=7),
    )
    data = results(evaluate([NoAction()], [recording], split="all", threads=1))
    assert data["dropped"][0] == {
        "recording": "straight", "recording_index": 0, "vehicle": 13, "start_frame": 67, "reason": "collision",
        "seconds": pytest.approx(19.5), "distance_m": 97.5,
    }  # fmt: skip
    assert data["recordings"] == [{"name": "straight", "cars": 1, "dropped": 1}]


def test_a_folder_that_cannot_be_made_is_refused_and_nothing_is_left(evaluation, tmp_path):
    (tmp_path / "file").write_text("here first")
    with pytest.raises(InputError, match="cannot be made"):
        write_results(evaluation, tmp_path / "file")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_table_names_every_agent(evaluation):
    console = Console(width=160, record=True, quiet=True)
    with console.capture() as text:
        console.quiet = False
        console.print(table(results(evaluation)))
    for label in ("no-action", "human", "cautious (seed 1)", "cautious (seed 0)", "cautious (2 seeds)"):
        assert label in text.get()


@pytest.mark.parametrize("width", [60, 80, 100, 300])
def test_a_table_shows_whole_numbers_of_as_many_measures_as_there_is_room_for(evaluation, width):
    data = results(evaluation)
    shown = table(data, width)
    console = Console(width=width, file=io.StringIO())
    console.print(shown)
    text = console.file.getvalue()
    assert "…" not in text
    assert "cautious (2 seeds)" in text
    num = {60: 1, 80: 2, 100: 3, 300: len(table(data).columns) - 1}[width]
    assert len(shown.columns) - 1 >= num


def test_agents_of_one_name_and_seed_are_not_seeds_of_one_agent():
    again = evaluate([NoAction(), NoAction()], [scenes.clean_traffic(num_cars=24)], split="all", threads=1)
    assert "pooled" not in results(again)
