"""Training windows against the replay, the recording and closed forms; where they come from and what decides them."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from envs.drives import Drives
from envs.errors import InputError
from envs.kinematics import MAX_ACCELERATION, MAX_CURVATURE, limit_scale, step
from envs.raster import render
from envs.recording import Recording, Split
from envs.replay import Replay
from envs.units import View
from envs.windows import (
    EXPLORATION,
    EXPLORATION_TIME,
    WindowConfig,
    Windows,
    WindowSampler,
    exploration,
    state_vectors,
)
from tests import reference
from tests.agents.scenes import Track, along, clean_traffic, recording_of
from tests.toys import LANE, lane_centre, straight_site

TINY = View(height=3, width=2)  # for tests that do not look at pictures
SMALL = View(height=40, width=16)
CONTEXT = (6, 4, 2, 0)
TARGETS = (2, 4, 8)


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return clean_traffic(num_cars=40)


def sampler_of(recording: Recording, *, batch_size: int = 16, split: Split = "all", share: float = 1.0,
               seed: int = 0, threads: int = 1, **config: object) -> WindowSampler:  # fmt: skip
    values: dict[str, object] = {"context": CONTEXT, "targets": TARGETS, "view": TINY, **config}
    return WindowSampler(
        [recording], WindowConfig(**values), batch_size=batch_size, split=split, share=share, seed=seed, threads=threads  # type: ignore[arg-type]
    )  # fmt: skip


def presents(windows: Windows, recording: Recording) -> list[tuple[int, int]]:
    """(vehicle, frame) of each unperturbed window's present, looked up by position."""
    at = {
        (float(np.float32(x)), float(np.float32(y))): (int(v), frame)
        for frame, (a, b) in enumerate(pairwise(recording.frame_offsets))
        for x, y, v in zip(recording.x[a:b], recording.y[a:b], recording.vehicle[a:b], strict=True)
    }
    assert len(at) == recording.num_rows, "positions must tell windows apart"
    return [at[float(x), float(y)] for x, y in windows.vectors[:, -1, :2]]


def assert_same(one: Windows, other: Windows) -> None:
    for field in dataclasses.fields(Windows):
        np.testing.assert_array_equal(
            getattr(one, field.name), getattr(other, field.name), err_msg=field.name
        )


# --- which windows -------------------------------------------------------------------------------------------------


def test_a_batch_depends_on_the_seed_and_its_index_alone(traffic: Recording) -> None:
    config = {"observer": "straight", "perturbed": 0.5, "batch_size": 32}
    forth, back = sampler_of(traffic, **config), sampler_of(traffic, threads=2, **config)  # type: ignore[arg-type]
    batches = {i: forth.batch(i) for i in (0, 1, 5)}
    for i in (5, 0, 1):  # in another order, by two threads
        assert_same(back.batch(i), batches[i])
    assert not np.array_equal(batches[0].vectors, batches[1].vectors)
    other = sampler_of(traffic, seed=1, **config)  # type: ignore[arg-type]
    assert not np.array_equal(other.batch(0).vectors, batches[0].vectors)


def test_a_part_of_a_batch_is_those_windows_of_it(traffic: Recording) -> None:
    sampler = sampler_of(traffic, observer="straight", perturbed=0.5, urgent=0.5)
    whole, part = sampler.batch(3), slice(4, 9)
    want = Windows(**{f.name: getattr(whole, f.name)[part] for f in dataclasses.fields(Windows)})
    assert_same(sampler.batch(3, part), want)
    assert_same(next(sampler.stream(3, 5, part=part)), want)


@pytest.mark.parametrize("prefetch", [1, 2, 5])
def test_a_stream_goes_on_where_it_is_told(traffic: Recording, prefetch: int) -> None:
    sampler = sampler_of(traffic, batch_size=4)
    streamed = list(sampler.stream(3, 6, prefetch=prefetch))
    assert len(streamed) == 3
    for i, windows in enumerate(streamed):
        assert_same(windows, sampler.batch(3 + i))
    assert list(sampler.stream(6, 6)) == []


def test_a_stream_can_be_left_early_and_reports_its_errors(
    traffic: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = sampler_of(traffic, batch_size=4)
    stream = sampler.stream(0, 100)
    assert_same(next(stream), sampler.batch(0))
    stream.close()

    def fail(index: int, part: slice) -> Windows:
        raise MemoryError(f"batch {index}")

    monkeypatch.setattr(sampler, "batch", fail)
    with pytest.raises(MemoryError, match="batch 7"):
        next(sampler.stream(7, 9))


def test_every_window_fits_and_every_fitting_window_is_drawn() -> None:
    """Against a list of all cars and frames that have 6 frames before, 8 after, and are between start and goal."""
    drives_by = Track(1, along(9.0, num=60, x0=50.3), lane_centre(0))
    stays_inside = Track(2, along(2.0, num=40, x0=100.1), lane_centre(1), first=11)
    fits_once = Track(3, along(5.0, num=15, x0=80.2), lane_centre(2), first=30)
    too_short = Track(4, along(5.0, num=14, x0=90.4), lane_centre(3), first=30)
    beyond = Track(5, along(5.0, num=40, x0=261.0), lane_centre(3))
    recording = recording_of(drives_by, stays_inside, fits_once, too_short, beyond)
    expected = set()
    for v in range(len(recording.vehicles)):
        rows = recording.track(v)
        for k in range(6, len(rows) - 8):
            if 60 <= recording.x[rows[k]] <= 260:
                expected.add((v, int(recording.vehicles.first_frame[v]) + k))
    assert {v for v, _ in expected} == {0, 1, 2}
    drawn = presents(sampler_of(recording, batch_size=40 * len(expected)).batch(0), recording)
    assert set(drawn) == expected
    share = np.array([drawn.count(window) for window in expected]) / len(drawn) * len(expected)
    assert abs(share - 1).max() < 5 / np.sqrt(40)  # uniform: five standard deviations of a count of 40


@pytest.mark.parametrize(
    ("num", "targets"), [(14, TARGETS), (6, ())], ids=["one frame short", "one frame short of the context"]
)
def test_no_window_fits(num: int, targets: tuple[int, ...]) -> None:
    recording = recording_of(Track(1, along(5.0, num=num, x0=100.0), lane_centre(0)))
    with pytest.raises(InputError, match=f"all split is recorded for {num + 1} frames"):
        sampler_of(recording, targets=targets)
    longer = recording_of(Track(1, along(5.0, num=num + 1, x0=100.0), lane_centre(0)))
    assert len(sampler_of(longer, targets=targets).batch(0).images) == 16


def test_cars_are_those_of_the_split(traffic: Recording) -> None:
    splits: tuple[Split, ...] = ("train", "validation", "test")
    for split in splits:
        windows = sampler_of(traffic, split=split, batch_size=300).batch(0)
        drawn = {v for v, _ in presents(windows, traffic)}
        assert drawn <= set(np.flatnonzero(traffic.in_split(split)))
        assert len(drawn) > 1


def test_a_share_of_the_cars(traffic: Recording) -> None:
    windows = sampler_of(traffic, split="train", share=0.3, batch_size=300).batch(0)
    assert {v for v, _ in presents(windows, traffic)} == set(np.flatnonzero(traffic.in_split("train", 0.3)))


def test_recordings_do_not_mix(traffic: Recording) -> None:
    """Each window of two recordings is a window of one of them, seen as if the other did not exist."""
    wide = straight_site(num_lanes=6)
    other = recording_of(
        *(Track(k, along(7.0 + k, x0=20.0), lane_centre(k + 3)) for k in range(3)), site=wide
    )
    config = WindowConfig(context=CONTEXT, targets=TARGETS, view=SMALL)
    both = WindowSampler([traffic, other], config, batch_size=64, split="all")
    rows = both.world.row(np.array([40, 42]), np.array([30, 45]) + traffic.num_frames)
    got = both.render(rows, np.random.default_rng(0))
    alone = WindowSampler([other], config, batch_size=64, split="all")
    want = alone.render(alone.world.row(np.array([0, 2]), np.array([30, 45])), np.random.default_rng(0))
    assert want.vehicle.tolist() == [0, 2]
    assert want.frame.tolist() == [30, 45]
    in_both = {"vehicle": want.vehicle + 40, "frame": want.frame + traffic.num_frames}  # numbered through
    assert_same(got, dataclasses.replace(want, **in_both))
    y = both.batch(0).vectors[..., 1]
    assert ((y > -4 * LANE).all(1) | (y < -3 * LANE).all(1)).all()
    assert (y > -3 * LANE).any()
    assert (y < -4 * LANE).any()


# --- what they show ------------------------------------------------------------------------------------------------


def test_pictures_and_vectors_equal_those_of_the_replay(traffic: Recording) -> None:
    """A car taken over at the window's present remembers the window's context; later, it has seen its targets."""
    sampler = sampler_of(traffic, view=SMALL)
    vehicle, frame = np.array([3, 10, 17]), np.array([90, 130, 170])
    windows = sampler.render(sampler.world.row(vehicle, frame), np.random.default_rng(0))
    replay = Replay([traffic], 3, history=CONTEXT[0] + 1, view=SMALL, threads=1)

    def seen(at: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        o = replay.reset(Drives(vehicle, at, at, at + 50))
        return o.images.copy(), o.vectors.copy(), o.heading.copy()

    frames = [CONTEXT[0] - back for back in CONTEXT]
    for got, want in zip((windows.images, windows.vectors, windows.heading), seen(frame), strict=True):
        np.testing.assert_array_equal(got, want[:, frames])
    np.testing.assert_array_equal(windows.size, replay.size)
    for k, ahead in enumerate(TARGETS):
        images, vectors, heading = (part[:, -1] for part in seen(frame + ahead))
        np.testing.assert_array_equal(windows.target_images[:, k], images)
        np.testing.assert_array_equal(windows.target_vectors[:, k], vectors)
        np.testing.assert_array_equal(windows.target_heading[:, k], heading)


@pytest.mark.parametrize("perturbed", [0.0, 1.0])
def test_the_straight_observer_goes_straight_on(traffic: Recording, perturbed: float) -> None:
    """x + v cos(heading) t, and what the recording's cars look like from there, whatever the ego did."""
    sampler = sampler_of(traffic, view=SMALL, observer="straight", perturbed=perturbed, batch_size=12)
    rows = sampler.world.row(np.arange(4, 16), np.full(12, 150))
    windows = sampler.render(rows, np.random.default_rng(1))
    x, y, vx, vy = np.moveaxis(windows.vectors[:, -1].astype(np.float64), -1, 0)
    seconds = np.array(TARGETS) * 0.1
    want = np.stack([x[:, None] + vx[:, None] * seconds, y[:, None] + vy[:, None] * seconds], -1)
    np.testing.assert_allclose(windows.target_vectors[..., :2], want, atol=1e-4)
    np.testing.assert_array_equal(
        windows.target_vectors[..., 2:], np.stack([windows.vectors[:, -1, 2:]] * 3, 1)
    )
    np.testing.assert_array_equal(windows.target_heading, np.stack([windows.heading[:, -1]] * 3, 1))

    poses = np.concatenate([want, windows.target_heading[..., None]], -1)
    frames = 150 + np.tile(TARGETS, (12, 1))
    images = render(sampler.world, frames, poses, np.arange(4, 16), SMALL)
    difference = abs(images.astype(int) - windows.target_images)[
        :, :, 1
    ]  # others; marking cells flip at a hair
    assert difference.max() <= 1  # the poses are single precision here


def test_actions_are_means_of_the_recorded_ones(traffic: Recording) -> None:
    sampler = sampler_of(traffic)
    windows = sampler.batch(0)
    world = sampler.world
    for (vehicle, frame), actions in zip(presents(windows, traffic), windows.actions, strict=True):
        for (begin, end), action in zip(pairwise((0, *TARGETS)), actions, strict=True):
            recorded = [
                world.action[world.row(np.array(vehicle), np.array(frame + k))] for k in range(begin, end)
            ]
            np.testing.assert_allclose(action, np.mean(recorded, 0), rtol=1e-5, atol=1e-7)
    assert sampler_of(traffic, targets=()).batch(0).actions.shape == (16, 0, 2)


def test_mean_actions_lead_to_the_recorded_speed(traffic: Recording) -> None:
    windows = sampler_of(traffic).batch(1)
    speed = np.hypot(*np.moveaxis(windows.vectors[:, -1, 2:], -1, 0))
    later = np.hypot(*np.moveaxis(windows.target_vectors[:, -1, 2:], -1, 0))
    seconds = np.diff([0, *TARGETS]) * 0.1
    np.testing.assert_allclose(speed + windows.actions[..., 0] @ seconds, later, atol=1e-4)


# --- perturbed ones ------------------------------------------------------------------------------------------------


def test_on_a_free_road_the_wanted_share_is_moved_as_far_as_promised() -> None:
    speed = 10.0
    field = np.array([[-100.0, 200.0], [800.0, 200.0], [800.0, -200.0], [-100.0, -200.0]])
    free = dataclasses.replace(straight_site(), markings=(), drivable=(field,))
    recording = recording_of(Track(1, along(speed, num=250), 0.0), site=free)
    windows = sampler_of(recording, perturbed=0.7, observer="straight", batch_size=4000).batch(0)
    _, y, vx, vy = np.moveaxis(windows.vectors[:, -1].astype(np.float64), -1, 0)
    moved = y != 0
    assert moved.mean() == pytest.approx(0.7, abs=0.03)
    assert y[moved].std() == pytest.approx(0.5, rel=0.07)
    assert windows.heading[moved, -1].std() == pytest.approx(0.02, rel=0.07)
    assert np.hypot(vx, vy)[moved].std() == pytest.approx(0.3 + 0.12 * speed, rel=0.07)
    for mean, scale in ((y[moved].mean(), 0.5), (np.hypot(vx, vy)[moved].mean() - speed, 1.5)):
        assert abs(mean) < 4 * scale / np.sqrt(moved.sum())


def test_perturbed_cars_touch_nobody_and_stay_on_the_road(traffic: Recording) -> None:
    sampler = sampler_of(traffic, perturbed=1.0, observer="straight", batch_size=100)
    frame = 200
    present = np.flatnonzero(
        (traffic.vehicles.first_frame <= frame - CONTEXT[0])
        & (traffic.vehicles.last_frame >= frame + TARGETS[-1])
    )
    vehicle = np.resize(present, 160)
    windows = sampler.render(sampler.world.row(vehicle, np.full(160, frame)), np.random.default_rng(2))
    moved = 0
    for b, v in enumerate(vehicle):
        x, y = windows.vectors[b, -1, :2]
        ego = reference.Box(x, y, windows.heading[b, -1], 0.0, 4.0, 2.0)
        others = reference.boxes_at(traffic, frame, int(v))
        assert max(reference.overlap_area(ego, other) for other in others) < 1e-4
        assert reference.is_drivable(traffic.site, (x, y))
        row = traffic.track(int(v))[frame - traffic.vehicles.first_frame[v]]
        moved += abs(traffic.y[row] - y) > 1e-6
    assert moved > 150  # four tries find a place almost always


def test_a_hemmed_in_car_is_left_as_recorded() -> None:
    """With 4 cm to the bumpers before and behind it, next to no perturbation fits."""
    queue = [Track(k, along(3.0, x0=30 + 4.04 * k), lane_centre(1)) for k in range(40)]
    recording = recording_of(*queue)
    windows = sampler_of(recording, perturbed=1.0, observer="straight", batch_size=400).batch(0)
    stayed = windows.vectors[:, -1, 1] == np.float32(recording.y[0])
    assert stayed.mean() > 0.8
    np.testing.assert_allclose(np.hypot(*windows.vectors[stayed, -1, 2:].T), 3.0, atol=1e-3)
    np.testing.assert_allclose(windows.heading[stayed], 0, atol=1e-7)


def test_urgent_windows_are_the_nearest_to_a_collision_of_those_drawn() -> None:
    """A car that closes in on another is a third of all windows, and one of eight is it with 1 - (2/3)^8."""
    closing = Track(1, along(12.0, num=100, x0=70.0), lane_centre(1))
    leader = Track(2, along(6.0, num=100, x0=160.0), lane_centre(1))
    alone = Track(3, along(9.0, num=100, x0=80.0), lane_centre(3))
    windows = sampler_of(recording_of(closing, leader, alone), urgent=0.5, batch_size=4000).batch(0)
    speed = windows.vectors[:, -1, 2].round()
    assert (speed[:2000] == 12).mean() == pytest.approx(1 - (2 / 3) ** 8, abs=0.015)
    assert (speed[2000:] == 12).mean() == pytest.approx(1 / 3, abs=0.04)
    x, chosen = windows.vectors[:, -1, 0], np.arange(4000) < 2000
    late = x > np.median(x[~chosen & (speed == 12)])
    assert late[chosen & (speed == 12)].mean() == pytest.approx(
        (1 - (5 / 6) ** 8) / (1 - (2 / 3) ** 8), abs=0.03
    )


def test_urgent_windows_leave_the_others_alone(traffic: Recording) -> None:
    config = {"observer": "straight", "perturbed": 0.5}
    plain, urgent = (sampler_of(traffic, urgent=share, **config).batch(3) for share in (0.0, 0.25))  # type: ignore[arg-type]
    assert not np.array_equal(plain.vectors[:4], urgent.vectors[:4])
    np.testing.assert_array_equal(plain.images[4:], urgent.images[4:])
    np.testing.assert_array_equal(plain.vectors[4:], urgent.vectors[4:])


@pytest.mark.parametrize(
    ("name", "value"),
    [("context", ()), ("context", (2, 1)), ("context", (0, 1)), ("context", (1, 1, 0)), ("targets", (0, 1)),
     ("targets", (2, 1)), ("targets", (1, 1)), ("perturbed", 1.1), ("perturbed", -0.1),
     ("urgent", 1.5)],
)  # fmt: skip
def test_impossible_windows_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        WindowConfig(**{name: value})  # type: ignore[arg-type]


# --- varied actions --------------------------------------------------------------------------------------------------


def test_varied_windows_show_where_their_actions_lead(traffic: Recording) -> None:
    """One action after the other, by the kinematics; the others go on as recorded, seen from there."""
    targets = tuple(range(1, 21))
    sampler = sampler_of(traffic, view=SMALL, targets=targets, varied=1.0)
    vehicle = np.arange(4, 16)
    windows = sampler.render(sampler.world.row(vehicle, np.full(12, 150)), np.random.default_rng(1))
    state = sampler.world.state[sampler.world.row(vehicle, np.full(12, 150))].astype(np.float64)
    states = []
    for action in np.moveaxis(windows.actions.astype(np.float64), 1, 0):
        state = step(torch.from_numpy(state), torch.from_numpy(action), 0.1).numpy()
        states.append(state)
    want = np.stack(states, 1)
    np.testing.assert_allclose(windows.target_vectors, state_vectors(want), atol=1e-4)
    np.testing.assert_allclose(windows.target_heading, want[..., 2], atol=1e-5)
    frames = 150 + np.tile(targets, (12, 1))
    images = render(sampler.world, frames, want, vehicle, SMALL)
    assert (
        abs(images.astype(int) - windows.target_images)[:, :, 1] > 1
    ).mean() < 1e-3  # actions are float32 here
    recorded = sampler_of(traffic, view=SMALL, targets=targets).render(
        sampler.world.row(vehicle, np.full(12, 150)), np.random.default_rng(1)
    )
    np.testing.assert_array_equal(windows.images, recorded.images)
    assert abs(windows.target_vectors[:, -1, 0] - recorded.target_vectors[:, -1, 0]).mean() > 0.5
    limit = limit_scale(windows.size[:, :1]) * np.array([MAX_ACCELERATION, MAX_CURVATURE])
    assert (abs(windows.actions) <= limit[:, None] * (1 + 1e-6)).all()


def test_an_ego_that_was_moved_goes_on_by_the_actions_of_its_human(traffic: Recording) -> None:
    """From where it was moved to, by the kinematics; what it sees is rendered from there."""
    targets = (2, 5, 20)
    sampler = sampler_of(traffic, context=(0,), view=SMALL, targets=targets, perturbed=0.6, batch_size=64)
    windows = sampler.batch(0)
    rows = sampler.world.row(windows.vehicle[:, None], windows.frame[:, None] + np.arange(20))
    recorded = sampler.world.state[rows[:, 0]].astype(np.float64)
    moved = abs(windows.vectors[:, 0, :2] - recorded[:, :2]).max(1) > 1e-3
    assert 0.3 < moved.mean() < 0.9
    start = np.concatenate([windows.vectors[:, 0, :2], windows.heading[:, :1], recorded[:, 3:]], 1).astype(
        np.float64
    )
    start[:, 3] = np.hypot(*windows.vectors[:, 0, 2:].T.astype(np.float64))
    states, state = [], torch.from_numpy(start)
    for action in torch.from_numpy(sampler.world.action[rows].astype(np.float64)).unbind(1):
        state = step(state, action, 0.1)
        states.append(state.numpy())
    want = np.stack(states, 1)[:, np.array(targets) - 1]
    np.testing.assert_allclose(windows.target_vectors[moved], state_vectors(want)[moved], atol=1e-3)
    images = render(sampler.world, windows.frame[:, None] + targets, want, windows.vehicle, SMALL)
    different = abs(images.astype(int) - windows.target_images)[moved][:, :, 1] > 3  # poses are float32 here
    assert different.mean() < 2e-3
    as_recorded = sampler.world.state[
        sampler.world.row(windows.vehicle[:, None], windows.frame[:, None] + targets)
    ]
    np.testing.assert_array_equal(
        windows.target_vectors[~moved], state_vectors(as_recorded.astype(np.float64))[~moved]
    )


def test_a_share_of_windows_is_varied(traffic: Recording) -> None:
    """The others are those that are drawn without."""
    some, none = (sampler_of(traffic, varied=share, batch_size=400).batch(3) for share in (0.3, 0.0))
    np.testing.assert_array_equal(some.images, none.images)
    same = (some.actions == none.actions).all((1, 2))
    assert 1 - same.mean() == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / 400))
    np.testing.assert_array_equal(some.target_images[same], none.target_images[same])
    np.testing.assert_array_equal(some.target_vectors[same], none.target_vectors[same])


def test_what_varied_egos_do_tells_nothing_of_what_their_humans_did(traffic: Recording) -> None:
    targets = tuple(range(1, 6))
    alone, human = (
        sampler_of(traffic, view=SMALL, targets=targets, varied=share, batch_size=1000)
        .batch(0)
        .actions.mean(1)
        for share in (1.0, 0.0)
    )
    for k in range(2):
        assert abs(np.corrcoef(alone[:, k], human[:, k])[0, 1]) < 4 / math.sqrt(1000)


def test_actions_by_chance_are_an_ornstein_uhlenbeck_process() -> None:
    noise = exploration(np.random.default_rng(0).standard_normal((40_000, 31, 2)), 0.1) / EXPLORATION
    np.testing.assert_allclose(noise.std(0), 1, atol=0.02)
    for lag in (1, 10, 30):
        correlation = (noise[:, 0] * noise[:, lag]).mean(0)
        np.testing.assert_allclose(correlation, math.exp(-0.1 * lag / EXPLORATION_TIME), atol=0.02)


def test_a_straight_observer_sees_nothing_of_varied_actions() -> None:
    with pytest.raises(ValueError, match="observer='ego'"):
        WindowConfig(observer="straight", varied=0.5)
