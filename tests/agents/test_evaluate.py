"""Drives whose outcome can be computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agents import Agent, Human, NoAction
from agents.evaluate import Evaluation, evaluate
from agents.metrics import NEVER, RULES, Outcomes
from agents.outcome_files import load_outcomes, save_outcomes
from envs.errors import InputError
from envs.recording import Recording
from envs.replay import Observation, Replay
from tests.agents import scenes


def drive_one(recording: Recording, agent: Agent, **kwargs: object) -> Outcomes:
    """The outcomes of the only car that can be scored."""
    evaluation = evaluate([agent], [recording], split="all", threads=1, **kwargs)  # type: ignore[arg-type]
    assert [int(i) for i in evaluation.vehicle_id[evaluation.drives.vehicle]] == [1]
    assert not evaluation.dropped
    return evaluation.runs[0].outcomes


def assert_same(a: Outcomes, b: Outcomes) -> None:
    np.testing.assert_array_equal(a.states, b.states)
    np.testing.assert_array_equal(a.num_steps, b.num_steps)
    np.testing.assert_array_equal(a.arrived, b.arrived)
    np.testing.assert_array_equal(a.off_road, b.off_road)
    np.testing.assert_array_equal(a.min_ttc, b.min_ttc)
    for rule in RULES:
        for one, other in zip(a.contacts[rule], b.contacts[rule], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def clean() -> Recording:
    return scenes.clean_traffic()


def test_no_action_hits_a_parked_car_in_the_frame_geometry_says():
    out = drive_one(scenes.parked_car_ahead(), NoAction())
    # 0.5 m a step from x = 60; boxes of 4 m overlap when their centres, 160 - x apart, are closer than 4 m; with the
    # ego 1 m shorter, than 3.5 m. By the paper's rule the parked car's rear at 158 must cover a pixel (1 / 1.62 m
    # long) centred within (4 - 1) / 2 + 0.01 * (1.5 * 5 + 1) m ahead: the second one is whole from x = 157.08 on.
    assert out.contacts["box"].step == (156.5 - 60) / 0.5
    assert out.contacts["box_less_1m"].step == (157.0 - 60) / 0.5
    assert out.contacts["paper"].step == (157.5 - 60) / 0.5
    assert [out.distance(rule)[0] for rule in RULES] == [97.5, 96.5, 97.0]
    for rule in RULES:
        assert out.ending(rule)[0] == "collision"
        assert out.contacts[rule].at_fault[0]
        assert out.contacts[rule].vehicle[0] == 1  # the second vehicle of the world
    assert out.min_ttc[0] == 0
    assert out.arrived[0] == 400, "the drive goes on through the parked car and arrives 200 m later"
    assert not out.succeeded()[0]


def test_the_human_steers_around_the_parked_car_and_arrives_in_its_recorded_frame():
    out = drive_one(scenes.parked_car_ahead(), Human())
    human_steps = np.isfinite(out.human_states[0, :, 0]).sum() - 1
    for rule in RULES:
        assert out.ending(rule)[0] == "arrived"
        assert out.failed(rule)[0] == NEVER
    assert abs(int(out.arrived[0]) - human_steps) <= 1
    assert out.num_steps[0] == out.arrived[0]
    np.testing.assert_allclose(out.states[0, :human_steps], out.human_states[0, :human_steps], atol=0.02)


def test_being_hit_from_behind_is_a_failure_but_not_a_fault():
    out = drive_one(scenes.faster_car_behind(), NoAction())
    # The other starts 90 m behind and gains 0.5 m a frame; the ego is taken over in frame 60. Boxes overlap below 4 m.
    assert out.contacts["box"].step == (90 - 3.5) / 0.5 - 60
    for rule in RULES:  # the paper's comes later, when the follower is deep inside the ego
        assert out.ending(rule)[0] == "collision"
        assert not out.contacts[rule].at_fault[0]
        assert out.contacts[rule].vehicle[0] == 1


def test_the_fault_is_judged_when_the_contact_begins():
    """When an overtaker that touches has moved in deep enough for the other rules, it is ahead of the ego."""
    out = drive_one(scenes.overtaker_that_cuts_in(), NoAction())
    assert out.contacts["box"].step == (90 - 3.5) / 0.5 - 60
    for rule in ("paper", "box_less_1m"):
        assert out.contacts[rule].step > (90 + 1) / 0.5 - 60, "a metre ahead"
        assert not out.contacts[rule].at_fault[0]


def test_leaving_the_road_fails_where_the_edge_is():
    out = drive_one(scenes.drifting_car(), NoAction())
    y_start = out.states[0, 0, 1]
    expected = (14.8 + y_start) * 10  # it loses a metre in ten
    assert out.ending()[0] == "off road"
    assert out.distance()[0] == pytest.approx(expected, abs=1.25 + 0.5)  # the raster's cells are 1/8 m wide
    assert out.contacts["paper"].step[0] == NEVER
    assert out.num_steps[0] > out.off_road[0], "the drive goes on"


def test_a_car_that_stops_is_out_of_time_at_the_limit():
    out = drive_one(scenes.parked_car_ahead(), scenes.constant(-1.0))
    assert out.ending()[0] == "out of time"
    assert out.arrived[0] == NEVER
    assert out.num_steps[0] == 499 - 60, "2 * 40 s + 5 s, or the recording's end if that is earlier"
    assert out.distance()[0] == pytest.approx(
        5.0**2 / 2 + 0.25
    )  # Euler: v dt once more than the parabola's half step


def test_a_time_limit_within_the_recording():
    longer = scenes.recording_of(
        scenes.Track(1, scenes.along(10.0, 300), np.array(scenes.lane_centre(1))),
        scenes.Track(2, 400 + scenes.still(900), np.array(scenes.lane_centre(3))),
    )
    out = drive_one(longer, scenes.constant(-6.0))
    assert out.num_steps[0] == 2 * 200 + 50


def test_an_arrival_counts_only_before_a_failure():
    recording = scenes.parked_car_ahead()
    fast = drive_one(recording, scenes.constant(0.0))
    assert fast.arrived[0] < NEVER
    assert fast.ended()[0] == fast.failed()[0] < fast.arrived[0]


def test_humans_succeed_on_clean_traffic_by_every_rule(clean):
    evaluation = evaluate([Human(), NoAction()], [clean], split="all", threads=1)
    human, nothing = (run.outcomes for run in evaluation.runs)
    assert len(human) >= 40
    assert not evaluation.dropped
    for rule in RULES:
        assert human.succeeded(rule).all()
    assert nothing.succeeded().mean() < 0.5, "or the traffic tests nothing"


def test_results_do_not_depend_on_batch_size_threads_or_company(clean):
    some = {"split": "all", "max_cars": 20}
    base = evaluate([Human(), NoAction(), scenes.cautious()], [clean], threads=1, num_egos=256, **some)
    assert len(set(base.runs[2].outcomes.ending())) > 1
    for kwargs in ({"num_egos": 7, "threads": 1}, {"num_egos": 19, "threads": 2}):
        company = scenes.constant(0.1, history=6)  # looks further back than the others, who must not notice
        other = evaluate([scenes.cautious(), NoAction(), company], [clean], **some, **kwargs)
        assert_same(other.runs[0].outcomes, base.runs[2].outcomes)
        assert_same(other.runs[1].outcomes, base.runs[1].outcomes)


def test_an_agent_sees_exactly_its_history_and_begins_with_every_batch(clean):
    agent, longer = (
        scenes.cautious(),
        scenes.Scripted(lambda o: np.zeros((len(o.size), 2)), "longer", history=5),
    )
    evaluation = evaluate([agent, longer], [clean], split="all", threads=1, num_egos=10, max_cars=20)
    assert len(evaluation.drives) == 20
    for one in (agent, longer):
        assert one.seen.count(()) == 2
        assert {shape for shape in one.seen if shape} == {(10, one.history, 3, 117, 24)}


def test_interrupted_drives_go_on_with_the_batch_after_the_last(clean, tmp_path):
    file = tmp_path / "drives.npz"

    def driven(agent: Agent, kept: list[Path] | None = None, **options: Any) -> Outcomes:
        evaluation = evaluate([agent], [clean], split="all", num_egos=2, threads=1, kept=kept, **options)
        return evaluation.runs[0].outcomes

    class Killed(NoAction):
        """In the first step of its third batch."""

        batch = 0

        def begin(self, replay: Replay) -> None:
            self.batch += 1

        def act(self, observation: Observation) -> NDArray[np.float32]:
            if self.batch == 3:
                raise KeyboardInterrupt
            return super().act(observation)

    whole = driven(NoAction())
    assert len(whole) > 4
    with pytest.raises(KeyboardInterrupt):
        driven(Killed(), [file])
    before = load_outcomes(file)
    assert len(before) == 4
    save_outcomes(file, replace(before, seconds_per_action=3.0))
    rest = Killed()
    rest.batch = 10
    resumed = driven(rest, [file])
    assert rest.batch == 10 + math.ceil((len(whole) - 4) / 2)
    for outcomes in (resumed, load_outcomes(file)):
        assert_same(outcomes, whole)
        np.testing.assert_array_equal(outcomes.human_states, whole.human_states)
    time_before = 3.0 * before.num_steps.sum() / whole.num_steps.sum()  # doing nothing takes none
    assert resumed.seconds_per_action == pytest.approx(time_before, abs=0.03)
    with pytest.raises(
        InputError, match=r"drives\.npz: these are drives of other cars; delete it to drive again"
    ):
        driven(NoAction(), [file], max_cars=5)


def test_cars_whose_human_fails_are_dropped_and_listed():
    """Car 3's recording leads through the parked car 2."""
    clear, blocked = scenes.lane_centre(0), scenes.lane_centre(2)
    recording = scenes.recording_of(
        scenes.Track(11, scenes.along(5.0), np.array(clear)),
        scenes.Track(12, 160 + scenes.still(), np.array(blocked)),
        scenes.Track(13, scenes.along(5.0), np.array(blocked), first=7),
    )
    evaluation = evaluate([NoAction()], [recording], names=["tunnel"], split="all", threads=1)
    assert list(evaluation.vehicle_id[evaluation.drives.vehicle]) == [11]
    (car,) = evaluation.dropped
    assert (car.recording, car.vehicle, car.start_frame, car.reason) == ("tunnel", 13, 7 + 60, "collision")
    assert car.distance_m == 97.5
    assert car.seconds == pytest.approx(19.5)


def test_scenes_without_a_goal_last_until_the_recording_ends():
    scene = scenes.without_goal(scenes.parked_car_ahead())
    other = scenes.without_goal(scenes.clean_traffic(num_cars=8))
    evaluation = evaluate([Human(), NoAction()], [scene, other], names=["a", "b"], split="all", threads=1)
    recording = evaluation.recording_of
    assert np.bincount(recording).tolist() == [1, 8]  # nobody is scored on the parked car
    human, nothing = (run.outcomes for run in evaluation.runs)
    assert human.succeeded().all()
    first = int(np.flatnonzero(evaluation.drives.vehicle == 0)[0])
    assert human.num_steps[first] == 499 - 19
    assert nothing.ending()[first] == "collision"


def same_cars(a: Evaluation, b: Evaluation) -> bool:
    return a.drives.vehicle.tolist() == b.drives.vehicle.tolist()


def test_max_cars_takes_a_seeded_sample(clean):
    def sample(seed: int) -> Evaluation:
        return evaluate([NoAction()], [clean], split="all", threads=1, max_cars=9, seed=seed)

    one, same, other = sample(0), sample(0), sample(1)
    assert len(one.drives) == 9
    assert same_cars(one, same)
    assert not same_cars(one, other)


def test_a_split_without_cars_is_refused():
    parked_only = scenes.recording_of(scenes.Track(1, 160 + scenes.still(), np.array(scenes.lane_centre(1))))
    with pytest.raises(InputError, match="no car of the test split"):
        evaluate([NoAction()], [parked_only], split="test", threads=1)


def test_progress_ends_with_all_cars(clean):
    calls: list[tuple[str, int, int]] = []
    evaluate(
        [NoAction()],
        [clean],
        split="all",
        threads=1,
        num_egos=16,
        max_cars=24,
        progress=lambda *c: calls.append(c),
    )
    done = [n for what, n, _ in calls if what == "no-action"]
    assert done[0] == 0
    assert done == sorted(done)
    assert calls[-1] == ("no-action", 24, 24)


def test_only_the_time_of_act_after_warm_up_is_counted(monkeypatch):
    """A clock that jumps by 100 s in the first call and by 0.5 s in every later one."""
    ticks = iter(np.cumsum([0, 100, 0, 100] + [0, 0.5] * 10_000))
    monkeypatch.setattr("agents.driving.time.perf_counter", lambda: float(next(ticks)))
    recording = scenes.parked_car_ahead()
    evaluation = evaluate([NoAction()], [recording], split="all", threads=1)
    assert evaluation.runs[0].outcomes.seconds_per_action == pytest.approx(0.5)


def test_perturbed_starts_are_the_same_for_all_agents_and_others_with_another_seed() -> None:
    traffic = scenes.clean_traffic(num_cars=16)
    recorded, moved, again, other = (
        evaluate(
            [NoAction(), Human()],
            [traffic],
            split="all",
            perturbed=perturbed,
            seed=seed,
            stop_at_failure=True,
        )
        for perturbed, seed in ((False, 0), (True, 0), (True, 0), (True, 1))
    )
    starts = [[run.outcomes.states[:, 0] for run in e.runs] for e in (recorded, moved, again, other)]
    np.testing.assert_array_equal(starts[1][0], starts[1][1])
    np.testing.assert_array_equal(starts[1][0], starts[2][0])
    assert (starts[0][0] != starts[1][0]).any(1).mean() > 0.5
    assert (starts[1][0] != starts[3][0]).any()
    assert moved.perturbed
    np.testing.assert_array_equal(moved.drives.vehicle, recorded.drives.vehicle, err_msg="the same cars")
    assert recorded.runs[1].outcomes.succeeded().all()
    assert not moved.runs[1].outcomes.succeeded().all(), "recorded actions do not mend a start"
