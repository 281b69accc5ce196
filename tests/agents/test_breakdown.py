"""Who fails is counted where it is known who must."""

from __future__ import annotations

import numpy as np
import pytest

from agents import Human, NoAction
from agents.breakdown import Ending, Part, breakdown, endings, failures, human_left_lane, start_lanes
from agents.evaluate import Evaluation, evaluate
from benchmarks import who_fails
from envs.formats import write_parquet
from envs.sites import I80
from tests.agents import scenes
from tests.agents.scenes import Track, along, smooth_step


def in_lane(lane: int) -> np.ndarray:
    return np.array(-(lane - 0.5) * I80.lane_width)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """On I-80: car 1 is free, 2 steers around a parked one, 4 is caught up with from behind.

    Car 6 comes from the ramp, car 7 begins with a sway to the right, which takes who keeps its heading off the road.
    """
    x = along(8.0, num=400, x0=60.0)
    around = in_lane(5) + I80.lane_width * smooth_step(x, 130, 170)
    slow = along(np.clip(5 + np.maximum(np.arange(599) - 130, 0) * 0.1, 5, 15), num=600, x0=60.0)
    follower = along(10.0, num=290, x0=-40.0)
    ramp = I80.place(x, np.full(len(x), -6.5 * I80.lane_width))
    slope = 0.1 * smooth_step(x, 98, 104) * (1 - smooth_step(x, 112, 128))
    sway = in_lane(6) + 1 - np.cumsum(slope) * 0.8
    recording = scenes.recording_of(
        Track(1, x, in_lane(2)),
        Track(2, x, around),
        Track(3, 215 + np.zeros(600), in_lane(5)),
        Track(4, slow, in_lane(1)),
        Track(5, follower, in_lane(1)),
        Track(6, x, ramp),
        Track(7, x, sway, first=100),
        site=I80.site(),
    )
    return evaluate([NoAction(), Human()], [recording], split="all", threads=1)


def ends(evaluation: Evaluation) -> dict[int, str]:
    numbers = evaluation.vehicle_id[evaluation.drives.vehicle].tolist()
    return dict(zip(numbers, evaluation.runs[0].outcomes.ending().tolist(), strict=True))


def test_every_drive_is_counted_where_it_belongs(evaluation: Evaluation) -> None:
    assert ends(evaluation) == {1: "arrived", 2: "collision", 4: "collision", 6: "arrived", 7: "off road"}, (
        "the scene"
    )
    parts = {part.name: part for part in breakdown(evaluation, evaluation.runs[:1])}
    assert parts["all"] == Part("all", 5, collisions=2, hit_from_behind=1, off_road=1, out_of_time=0)
    assert parts["all"].failed == 3
    lanes = {name: part for name, part in parts.items() if name.startswith("began in lane")}
    assert list(lanes) == [f"began in lane {k}" for k in (1, 2, 5, 6, 7)], "without those where nobody began"
    assert lanes["began in lane 1"][1:] == (1, 1, 1, 0, 0)
    assert lanes["began in lane 2"][1:] == (1, 0, 0, 0, 0)
    assert lanes["began in lane 5"][1:] == (1, 1, 0, 0, 0)
    assert lanes["began in lane 6"][1:] == (1, 0, 0, 1, 0)
    assert lanes["began in lane 7"][1:] == (1, 0, 0, 0, 0)
    assert parts["began on the ramp or in the lane beside it"][1:] == (2, 0, 0, 1, 0)
    assert parts["began in another lane"][1:] == (3, 2, 1, 0, 0)
    assert parts["their human had left its lane by then"][1:] == (2, 1, 0, 0, 0), (
        "2, and 6 where its lane ends"
    )
    assert parts["their human had not"][1:] == (3, 1, 1, 1, 0)


def test_a_lane_counts_as_left_only_once_it_is(evaluation: Evaluation) -> None:
    """The ego drives into the parked car at x = 210 m, its human is half a lane aside from x = 150 m on."""
    out = evaluation.runs[0].outcomes
    car = int(np.flatnonzero(evaluation.vehicle_id[evaluation.drives.vehicle] == 2)[0])
    x = out.human_states[car, :, 0]
    for step, left in ((np.argmax(x > 145), False), (np.argmax(x > 155), True)):
        out.contacts["paper"].step[car], before = step, out.contacts["paper"].step[car]
        assert human_left_lane(evaluation, out)[car] == left
        out.contacts["paper"].step[car] = before


def test_runs_are_added_up_and_humans_do_not_fail(evaluation: Evaluation) -> None:
    both = breakdown(evaluation, evaluation.runs)
    alone = breakdown(evaluation, evaluation.runs[:1])
    assert both[0] == alone[0]._replace(drives=2 * alone[0].drives)
    assert all(part.failed == 0 for part in breakdown(evaluation, evaluation.runs[1:]))


def test_lanes_of_a_site_that_nobody_knows_are_left_out() -> None:
    unknown = evaluate([NoAction()], [scenes.parked_car_ahead()], split="all", threads=1)
    assert start_lanes(unknown)[0].tolist() == [0]
    names = [part.name for part in breakdown(unknown, unknown.runs)]
    assert names == ["all", "their human had left its lane by then"]


def test_a_failure_was_avoidable_if_somebody_drove_that_car_home(evaluation: Evaluation) -> None:
    numbers = evaluation.vehicle_id[evaluation.drives.vehicle]
    assert endings(evaluation.runs[:1], numbers == 7) == [
        Ending("all", 3, 1),
        Ending("collision, at fault", 1, 0),
        Ending("collision, hit from behind", 1, 0),
        Ending("off road", 1, 1),
    ]
    nobody = np.zeros(len(numbers), bool)
    assert endings(evaluation.runs, nobody)[0] == Ending("all", 3, 3), "the human brings home every car"
    twice = [*evaluation.runs[:1], *evaluation.runs[:1]]
    assert endings(twice, numbers == 7)[0] == Ending("all", 6, 2)


def test_failures_are_what_endings_count_one_by_one(evaluation: Evaluation) -> None:
    numbers, run = evaluation.vehicle_id[evaluation.drives.vehicle], evaluation.runs[0]
    found = failures(evaluation, [run, run], numbers == 7)
    assert [(car.vehicle, car.lane, car.ending, car.avoidable) for car in found[::2]] == [
        (2, 5, "collision, at fault", False),
        (4, 1, "collision, hit from behind", False),
        (7, 6, "off road", True),
    ]
    assert found[::2] == found[1::2], "a row for each run"
    car, at = found[0], int(np.flatnonzero(numbers == 2)[0])
    assert (car.agent, car.recording) == ("no-action", evaluation.names[0])
    assert (car.start_frame, car.seconds) == (
        evaluation.start_frame[at],
        round(float(run.outcomes.ended()[at] / 10), 1),
    )
    assert failures(evaluation, evaluation.runs[1:], numbers < 0) == [], "humans arrive"


@pytest.mark.slow
def test_who_knows_the_future_goes_along_in_a_queue_that_slows_down(tmp_path, capsys) -> None:
    """Three cars, 20 m apart, go over from 10 to 6 m/s; who keeps its speed collides, but for the first.

    The oracle brings home both.
    """
    speed = np.clip(10 - np.maximum(np.arange(449) - 40, 0) * 0.1, 6, 10)
    path = tmp_path / "queue.parquet"
    queue = (Track(k, along(speed, num=450, x0=70.0 - 20 * k), in_lane(2)) for k in (1, 2, 3))
    write_parquet(scenes.recording_of(*queue), path)
    who_fails.main(["no-action", "--split", "all", "--recording", str(path), "--oracle"])
    said = capsys.readouterr().out
    assert "| all | 3 | 66.7 | 2 (0) |" in said, "the scene"
    assert "| failed drives | number | avoidable |\n| --- | --- | --- |\n| all | 2 | 2 |" in said


@pytest.mark.slow
def test_the_script_says_it_in_markdown(evaluation: Evaluation, tmp_path, capsys) -> None:
    path = tmp_path / "scene.parquet"
    write_parquet(evaluation.recordings[0], path)
    who_fails.main(["no-action", "--split", "all", "--recording", str(path)])
    said = capsys.readouterr().out
    assert "| all | 5 | 60.0 | 2 (1) | 1 | 0 |" in said
    assert "| began on the ramp or in the lane beside it | 2 | 50.0 | 0 (0) | 1 | 0 |" in said
    assert "hit from behind): 50 % of the collisions" in said
    assert "avoidable" not in said
    who_fails.main(["no-action", "--split", "all", "--recording", str(path), "--oracle"])
    said = capsys.readouterr().out
    assert "| failed drives | number | avoidable |\n| --- | --- | --- |\n| all | 3 |" in said
    assert "| vehicle |" not in said
    who_fails.main(["no-action", "--split", "all", "--recording", str(path), "--cars"])
    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| no-action |")]
    assert [line.split(" | ")[2] for line in listed] == ["2", "4", "7"]
