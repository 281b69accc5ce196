"""Generated traffic: what SUMO drove is recorded without jumps, on the road, and the same again for the same seed."""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.constant import NoAction
from agents.evaluate import evaluate
from envs.compiled import compiled
from envs.errors import Failed, InputError
from envs.formats import read_parquet, write_parquet
from envs.formats.fingerprint import fingerprint
from envs.formats.ngsim import read_ngsim
from envs.formats.ngsim_export import write_ngsim
from envs.geometry import boxes_overlap
from envs.kinematics import MAX_CURVATURE, limit_scale
from envs.recording import Recording
from envs.sites import LAYOUTS, site
from envs.traffic import LEVELS, Congestion, TrafficConfig, generate
from envs.traffic.drivers import CAR, TRUCK, population
from envs.traffic.network import EXIT, RAMP, edges
from envs.traffic.path import smooth_path, steering_distance
from envs.traffic.simulate import sumo_tool
from envs.traffic.wander import LARGEST, limit, wander
from envs.units import FOOT

needs_sumo = pytest.mark.skipif(
    importlib.util.find_spec("sumo") is None, reason="SUMO is not installed (pip install 'headway[traffic]')"
)
SHORT = TrafficConfig(minutes=0.5, warmup=45.0, queue_building=0.0)


@pytest.fixture(scope="module", params=["i80", pytest.param("us101", marks=pytest.mark.slow)])
def short(request: pytest.FixtureRequest) -> Recording:
    """Half a minute of light traffic on each site."""
    return generate(replace(SHORT, site=request.param))


def corners(recording: Recording) -> NDArray[np.float64]:
    """(N, 4, 2): the corners of every box."""
    v, h = recording.vehicle, recording.heading.astype(np.float64)
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2
    ahead = signs[:, 0] * recording.vehicles.length[v][:, None]
    left = signs[:, 1] * recording.vehicles.width[v][:, None]
    c, s = np.cos(h)[:, None], np.sin(h)[:, None]
    return np.stack(
        [recording.x[:, None] + ahead * c - left * s, recording.y[:, None] + ahead * s + left * c], axis=-1
    )


@compiled
def overlapping(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    heading: NDArray[np.float64],
    length: NDArray[np.float64],
    width: NDArray[np.float64],
    frame_offsets: NDArray[np.int64],
) -> list[tuple[int, int]]:
    """Pairs of rows of one frame whose boxes share area."""
    pairs = [(0, 0) for _ in range(0)]
    for f in range(len(frame_offsets) - 1):
        for i in range(frame_offsets[f], frame_offsets[f + 1]):
            for j in range(i + 1, frame_offsets[f + 1]):
                near = abs(x[i] - x[j]) < 20 and abs(y[i] - y[j]) < 4
                if near and boxes_overlap(
                    x[i], y[i], heading[i], length[i], width[i], x[j], y[j], heading[j], length[j], width[j]
                ):
                    pairs.append((i, j))
    return pairs


def overlapping_vehicles(recording: Recording) -> set[tuple[int, int]]:
    v = recording.vehicle
    length, width = (
        size[v].astype(np.float64) for size in (recording.vehicles.length, recording.vehicles.width)
    )
    heading = recording.heading.astype(np.float64)
    pairs = overlapping(recording.x, recording.y, heading, length, width, recording.frame_offsets)
    return {(int(v[i]), int(v[j])) for i, j in pairs}


# -- what can be asked for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"minutes": 0},
        {"minutes": float("nan")},
        {"warmup": -1.0},
        {"warmup": 20.05},
        {"seed": -1},
        {"demand": (-1.0, 0.0)},
        {"seed": 2**31},
        {"warmup": float("inf")},
        {"queue_building": -5.0},
        {"queue_speed": float("nan")},
    ],
    ids=str,
)
def test_impossible_config_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrafficConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"main": -1.0}, {"mean": 0.0}, {"leaving": 2.0}, {"mean": float("nan")}], ids=str
)
def test_impossible_congestion_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Congestion(**{"main": 1.0, "ramp": 1.0, "mean": 1.0, "amplitude": 1.0, **wrong})


def test_unknown_site_and_level_are_named() -> None:
    with pytest.raises(InputError, match=r"unknown site 'm25'; known sites: i80, us101"):
        TrafficConfig(site="m25")
    with pytest.raises(InputError, match=r"congestion 3 is not one of 0 to 2"):
        generate(TrafficConfig(congestion=3))


def test_missing_sumo_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^[^\n]*pip install 'headway\[traffic\]'[^\n]*$"):
        generate(SHORT)


def test_every_site_has_three_periods_of_rising_congestion() -> None:
    for name in LAYOUTS:
        means = [level.mean for level in LEVELS[name]]
        assert len(means) == 3
        assert means == sorted(means, reverse=True)


# -- parts, without SUMO -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", LAYOUTS.values(), ids=list(LAYOUTS))
def test_edges_join_end_to_end(where) -> None:  # type: ignore[no-untyped-def]
    road = edges(where)
    through = [e for e in road if e.name not in (RAMP, EXIT)]
    assert all(a.end == b.begin for a, b in pairwise(through))
    assert through[0].begin < 0 < where.length < through[-1].end
    ramps = {e.name: e for e in road if e.name in (RAMP, EXIT)}
    assert ramps[RAMP].end == where.side.entry_nose
    if where.side.exit_nose is not None:
        assert ramps[EXIT].begin == where.side.exit_nose


def test_population_has_the_demand_and_the_mix() -> None:
    level = LEVELS["i80"][1]
    people = population(LAYOUTS["i80"], level, 3600.0, np.random.default_rng(0))
    entries = [v.entry for v in people]
    assert entries.count("main") == pytest.approx(level.main, rel=0.05)
    assert entries.count("ramp") == pytest.approx(level.ramp, rel=0.15)
    assert entries.count("carpool") == pytest.approx(level.carpool, rel=0.1)
    assert {v.kind for v in people if v.entry == "ramp"} == {CAR}
    assert np.mean([v.kind == TRUCK for v in people if v.entry == "main"]) == pytest.approx(0.04, abs=0.01)
    assert [v.depart for v in people] == sorted(v.depart for v in people)
    assert [v.id for v in people] == list(range(1, len(people) + 1))


@pytest.mark.parametrize("length", [4.0, 5.0, 12.0])
def test_sidestep_at_a_standstill_becomes_a_path_the_vehicle_can_steer(length: float) -> None:
    x = np.concatenate([np.linspace(0, 150, 300), np.full(40, 150.0), np.linspace(150, 300, 300)])
    y = np.concatenate([np.zeros(320), np.full(320, 3.658)])  # jumps a lane while it stands
    path = smooth_path(x, y, np.array([0, len(x)]), steering_distance(np.array([length])))
    assert np.ptp(path[301:339]) < 0.01  # stands still while it stands
    assert path[0] == pytest.approx(0, abs=0.01)
    assert path[-1] == pytest.approx(3.658, abs=0.01)
    s = np.arange(0, 300, 2.0)
    bend = np.abs(np.diff(np.interp(s, *np.unique(np.stack([x, path]), axis=1)), 2)).max() / 2.0**2
    assert bend < MAX_CURVATURE * limit_scale(np.array([length]))[0]


def test_smoothing_keeps_a_straight_path_and_the_tracks_apart() -> None:
    x = np.tile(np.linspace(0, 200, 400), 2)
    y = np.repeat([0.0, -7.0], 400)
    np.testing.assert_allclose(smooth_path(x, y, np.array([0, 400, 800]), np.array([6.0, 6.0])), y, atol=1e-9)


def test_wander_is_small_and_runs_over_distance_not_time() -> None:
    distance = np.concatenate([np.linspace(0, 300, 300), np.full(100, 300.0)])
    offset = wander(distance, np.array([0, 400]), np.random.default_rng(3))
    assert 0 < np.abs(offset).max() <= LARGEST
    assert np.ptp(offset[300:]) == 0


def test_wander_gives_way_to_a_neighbour_without_a_step() -> None:
    distance = np.linspace(0, 200, 400)
    to_left = np.where(np.abs(distance - 100) < 5, 0.0, 1.0)
    offset = limit(np.full(400, 0.3), distance, to_left, np.ones(400), np.array([0, 400]))
    assert offset[200] == pytest.approx(0, abs=1e-9)
    assert offset[0] == pytest.approx(0.3)
    assert np.abs(np.diff(offset)).max() < 0.02


# -- recordings --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_sumo
def test_traffic_comes_by_main_road_and_ramp(short: Recording) -> None:
    where = LAYOUTS[short.site.name]
    assert short.num_frames == 300
    assert len(short.vehicles) > 40
    assert short.dt == 0.1
    assert len(np.unique(short.vehicles.id)) == len(short.vehicles)
    on_ramp = short.y < where.right_edge
    assert on_ramp.any()
    assert (short.x >= 0).all()
    assert (short.x <= where.length).all()


@needs_sumo
def test_positions_are_continuous(short: Recording) -> None:
    """No jump where edges join (SUMO's own positions jump by metres there), along the road or across it."""
    rows = short.track_rows
    same = np.diff(short.vehicle[rows]) == 0
    forwards, sideways = np.diff(short.x[rows])[same], np.diff(short.y[rows])[same]
    assert forwards.min() >= 0
    assert forwards.max() < 4.0  # 40 m/s
    assert np.abs(sideways).max() < 0.2
    again = same[1:] & same[:-1]
    change = np.diff(np.diff(short.x[rows]))[again]
    assert np.abs(change).max() < 0.15  # 15 m/s^2: harder than any brake, far less than a jump of a metre


@needs_sumo
def test_every_box_is_on_the_road_for_its_whole_life(short: Recording) -> None:
    points = corners(short)
    off_road = short.site.raster.sample(points[..., 0], points[..., 1])[..., 1] > 0
    assert not off_road.any()


@needs_sumo
def test_vehicles_are_seen_from_end_to_end(short: Recording) -> None:
    where = LAYOUTS[short.site.name]
    first, last = where.side.span()
    for vehicle in range(len(short.vehicles)):
        x = short.x[short.track(vehicle)]
        if short.vehicles.first_frame[vehicle] > 0:
            assert min(abs(x[0]), abs(x[0] - max(first, 0))) < 4
        if short.vehicles.last_frame[vehicle] < short.num_frames - 1:
            assert min(abs(x[-1] - where.length), abs(x[-1] - last)) < 4


@needs_sumo
def test_same_config_gives_the_same_recording_and_another_seed_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = replace(SHORT, minutes=0.05, warmup=25.0)
    told: list[float] = []
    recording = generate(config, progress=told.append)
    assert recording.provenance["site"] == "i80"
    write_parquet(generate(replace(config, demand=(6000.0, 300.0))), tmp_path / "busy.parquet")
    assert read_parquet(tmp_path / "busy.parquet").provenance["demand"] == [6000.0, 300.0]
    (tmp_path / "busy.parquet").unlink()
    first = fingerprint(recording)
    assert told == sorted(told)
    assert 0 <= told[0] < told[-1] <= 1
    assert fingerprint(generate(config)) == first
    assert fingerprint(generate(replace(config, seed=1))) != first
    assert list(tmp_path.iterdir()) == []


@needs_sumo
def test_what_fails_leaves_no_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(InputError, match="no vehicle came by"):
        generate(replace(SHORT, minutes=0.05, warmup=0.0))
    with pytest.raises(InputError, match="no vehicle came by"):  # not even elsewhere
        generate(replace(SHORT, minutes=0.05, warmup=0.0, demand=(0, 0), site="us101"))

    def interrupt(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(replace(SHORT, minutes=0.05, warmup=25.0), progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@needs_sumo
def test_sumo_s_own_words_are_the_error(tmp_path: Path) -> None:
    from envs.traffic.simulate import _run

    with pytest.raises(Failed, match=r"netconvert failed: .*nowhere"):
        _run(sumo_tool("netconvert"), "-n nowhere.xml -e nowhere.xml -o out.xml", tmp_path)


@needs_sumo
@pytest.mark.slow
def test_congested_i80_is_as_hard_as_the_paper_s_and_nobody_collides() -> None:
    """No action succeeds on 16.2 % of cars on the real I-80 (Henaff, Canziani, LeCun, arXiv:1901.02705)."""
    recording = generate(TrafficConfig(minutes=4.0, warmup=400.0))
    assert 15 / 3.6 < recording.speed.mean() < 30 / 3.6
    assert len(overlapping_vehicles(recording)) <= len(recording.vehicles) / 200
    result = evaluate([NoAction()], [recording], split="all")
    assert len(result.dropped) < 0.04 * len(result.drives)
    assert 0.05 < result.runs[0].outcomes.succeeded().mean() < 0.3


# -- NGSIM text --------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_cars() -> Recording:
    """One follows the other in lane 2, another stands in lane 3."""
    t = np.arange(20)
    return Recording.from_tracks(
        site=site("i80"),
        vehicle_id=np.repeat([7, 9, 12], 20),
        frame=np.tile(t, 3),
        x=np.concatenate([100 + t, 80 + 0.5 * t, np.full(20, 90.0)]),
        y=np.concatenate([np.full(40, -5.5) + 0.01 * np.tile(t, 2), np.full(20, -9.0)]),
        length=np.repeat([4.5, 12.0, 5.0], 20),
        width=np.repeat([1.8, 2.5, 2.0], 20),
        kind=np.repeat([2, 3, 2], 20),
    )


def test_ngsim_text_has_ngsim_s_columns(two_cars: Recording, tmp_path: Path) -> None:
    write_ngsim(two_cars, tmp_path / "out.txt")
    rows = np.loadtxt(tmp_path / "out.txt")
    assert rows.shape == (60, 18)
    first = rows[0]
    assert first[[0, 1, 2, 3]].tolist() == [7, 1, 20, 1113433135300]
    assert first[4] * FOOT == pytest.approx(5.5, abs=1e-3)  # Local_X to the right
    assert first[5] * FOOT == pytest.approx(100 + 4.5 / 2, abs=1e-3)  # Local_Y of the front
    assert first[[8, 9, 10]] == pytest.approx([4.5 / FOOT, 1.8 / FOOT, 2], abs=1e-3)
    assert first[11] * FOOT == pytest.approx(10, abs=0.01)
    assert first[[13, 14, 15]].tolist() == [2, 0, 9]
    follower = rows[20]
    assert follower[[0, 14, 15]].tolist() == [9, 7, 0]
    gap = 100 + 4.5 / 2 - (80 + 12.0 / 2)
    assert follower[16] * FOOT == pytest.approx(gap, abs=1e-3)
    assert follower[17] == pytest.approx(gap / 5, abs=0.01)
    assert rows[1, 3] - rows[0, 3] == 100  # ms


def test_ngsim_text_has_its_frames_a_tenth_of_a_second_apart_and_one_ramp(
    two_cars: Recording, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"NGSIM has a frame every 0\.1 s, this recording one every 0\.04 s"):
        write_ngsim(replace(two_cars, dt=0.04), tmp_path / "out.txt")
    assert list(tmp_path.iterdir()) == []
    write_ngsim(
        replace(two_cars, y=np.full_like(two_cars.y, -8.2 * two_cars.site.lane_width)), tmp_path / "out.txt"
    )
    assert set(np.loadtxt(tmp_path / "out.txt")[:, 13]) == {7}


def test_ngsim_text_comes_back_as_the_same_traffic(two_cars: Recording, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    write_ngsim(two_cars, path)
    back = read_ngsim(path, smoothing_frames=1)
    assert back.site.name == "i80"
    np.testing.assert_array_equal(back.vehicles.id, two_cars.vehicles.id)
    np.testing.assert_array_equal(back.vehicles.kind, two_cars.vehicles.kind)
    np.testing.assert_array_equal(back.frame_offsets, two_cars.frame_offsets)
    for name in ("x", "y"):
        np.testing.assert_allclose(getattr(back, name), getattr(two_cars, name), atol=5e-4)
    for name in ("length", "width"):
        np.testing.assert_allclose(getattr(back.vehicles, name), getattr(two_cars.vehicles, name), atol=5e-4)


def test_ngsim_text_is_whole_or_not_there(two_cars: Recording, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_ngsim(two_cars, tmp_path / "missing" / "out.txt")
