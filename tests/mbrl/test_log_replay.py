"""Policies learn among what was recorded: that is the replay itself, and drives go on where the policy has got to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.policies import Policy, PolicyConfig
from envs.context import Context, context_of_windows
from envs.costs import Costs
from envs.drives import Drives
from envs.kinematics import within_limits
from envs.recording import Recording
from envs.replay import Replay
from envs.windows import WindowConfig, WindowSampler
from mbrl.imagination import Trajectory, imagine
from mbrl.log_replay import LogReplay, Moment, Replayed
from tests.agents.scenes import Track, along, clean_traffic, recording_of, still, without_goal
from tests.mbrl.policies import SMALL, ids, train, training
from tests.mbrl.runs import Notebook, notebook
from tests.mbrl.small import TIMING, VIEW, random_actions
from tests.toys import lane_centre, straight_site

__all__ = ["notebook"]  # a fixture


def begun(recording: Recording, num: int = 6, perturbed: float = 0.0) -> tuple[LogReplay, Moment]:
    """Egos somewhere in a recording."""
    windows = WindowConfig(
        context=TIMING.context, targets=(20,), observer="straight", perturbed=perturbed, view=VIEW
    )
    sampler = WindowSampler([recording], windows, batch_size=num, split="all")
    batch = sampler.batch(0)
    replay = LogReplay(sampler.world, batch.vehicle, VIEW, TIMING.stride)
    return replay, Moment(batch.frame, context_of_windows(batch))


def test_it_is_the_replay_that_agents_drive_in() -> None:
    """The same cars under the same actions: what is seen, and where it leads."""
    recording = clean_traffic()
    log, h = begun(recording)
    replay = Replay([recording], 6, history=(TIMING.frames - 1) * TIMING.stride + 1, view=VIEW)
    drives = Drives(
        vehicle=log.vehicle, start_frame=h.frame, limit_frame=h.frame + 100, human_frame=h.frame + 20
    )
    replay.reset(drives)
    actions = within_limits(4 * random_actions(6, 8), h.ego.size[:, None])
    assert float(actions[..., 0].abs().max()) > 5
    z = torch.zeros(6, 0)
    for t in range(8):
        (image, pose), h = log.step(h, actions[:, t], z)
        for _ in range(TIMING.stride):
            seen, _ = replay.step(actions[:, t].numpy())
        np.testing.assert_array_equal(h.frame, replay.frame)
        np.testing.assert_allclose(pose, replay.state, atol=2e-3)
        assert np.abs(image.numpy() * 255 - seen.images[:, -1]).mean() < 0.05
        assert torch.equal(h.ego.frames[-1], image)


def test_a_drive_is_differentiable_in_what_the_ego_does() -> None:
    log, h = begun(clean_traffic(), num=2)
    action = torch.zeros(2, 2, requires_grad=True)
    (image, pose), after = log.step(h, action, torch.zeros(2, 0))
    _, pose = log.step(after, action, torch.zeros(2, 0))[0]
    (slope,) = torch.autograd.grad(pose[:, 3].sum(), action)
    np.testing.assert_allclose(slope[:, 0], 4 * 0.1, rtol=1e-5)  # two steps of two frames
    assert not image.requires_grad


def test_nobody_drives_past_the_end_of_a_recording() -> None:
    recording = clean_traffic()
    log, h = begun(recording)
    last = np.full(6, recording.num_frames - 1)
    assert log.lasts(Moment(last - TIMING.stride, h.ego), 1).all()
    assert not log.lasts(Moment(last - TIMING.stride, h.ego), 2).any()
    with pytest.raises(ValueError, match="no next frame"):
        log.step(Moment(last, h.ego), torch.zeros(6, 2), torch.zeros(6, 0))


def replayed(recording: Recording, **changes: object) -> Replayed:
    torch.manual_seed(0)
    config = training("log-replay", perturbed=0.0, urgent=0.0, **changes)
    return Replayed(config, Policy(config.policy), [recording])


def test_drives_go_on_but_for_those_that_failed_arrived_or_ended() -> None:
    log, begin = begun(clean_traffic())
    learner = replayed(clean_traffic())
    fine = torch.zeros(6, 3)
    worst = Costs(fine.clone(), fine, fine.clone())
    worst.proximity[1, 2] = 0.995
    worst.proximity[0, 1] = 0.98  # close, but no collision
    driven = begin.ego.now()[:, None].repeat(1, 3, 1)
    driven[2, 0, 1] += 40  # off the road, and back on it
    drive = Trajectory(torch.zeros(6, 3, 3, 2, 2), driven, torch.zeros(6, 3, 2), worst)
    poses = begin.ego.poses.clone()
    poses[:, -1, 0] += 1
    poses[:, -1, 0].clamp_(max=259.0)
    poses[3, -1, 0] = 260.5
    seen = Context(tuple(frame + 1 for frame in begin.ego.frames), poses, begin.ego.size)
    end = Moment(begin.frame + 6, seen)
    end.frame[4] = log.world.end_frame[0] - 5  # three more steps are six frames
    now = learner._next(log, drive, end, begin)
    for row, goes_on in enumerate([True, False, False, False, False, True]):
        from_where = end if goes_on else begin
        assert now.frame[row] == from_where.frame[row]
        assert torch.equal(now.ego.poses[row], from_where.ego.poses[row])
        assert all(
            torch.equal(a[row], b[row]) for a, b in zip(now.ego.frames, from_where.ego.frames, strict=True)
        )


def test_who_leaves_the_road_begins_anew() -> None:
    """By the rule of the replay: no picture is off the road so far that its cost tells."""
    learner = replayed(clean_traffic(), horizon=10)
    log, begin = begun(clean_traffic())
    replay = Replay([clean_traffic()], 6, history=(TIMING.frames - 1) * TIMING.stride + 1, view=VIEW)
    replay.reset(Drives(log.vehicle, begin.frame, begin.frame + 20, begin.frame + 100))
    left, ever = torch.tensor([0.0, 0.02]).expand(6, 2), np.zeros(6, np.bool_)
    for _ in range(20):
        _, step = replay.step(left.numpy())
        ever |= step.off_road
    driven = imagine(log, lambda seen: left, begin, torch.zeros(6, 10, 0), 10, cost=learner.cost)
    assert 0 < ever.sum() < 6
    np.testing.assert_array_equal(log.left_road(driven.poses), ever)


def test_each_epoch_begins_where_the_last_one_ended() -> None:
    """Three calls of a batch's loss are one drive of three times the length, as long as nobody fails."""
    recording = without_goal(clean_traffic())
    short, long = replayed(recording, horizon=3), replayed(recording, horizon=9)
    batch = long.sampler.batch(0)
    replay = LogReplay(long.sampler.world, batch.vehicle, VIEW, SMALL.stride)
    whole, _ = long.drive(replay, Moment(batch.frame, context_of_windows(batch)))
    assert float(whole.costs.proximity.detach().max()) < 0.99
    loss = short.prepare(batch)
    numbers = [loss()[1]["predicted_cost"] for _ in range(3)]
    config = short.config
    want = whole.costs.total(config.lane_weight, config.off_road_weight).detach().unflatten(1, (3, 3))
    np.testing.assert_allclose(numbers, want.mean((0, 2)), rtol=1e-5)
    assert want.mean((0, 2)).std() > 1e-4


LONG = replace(VIEW, height=81, width=12)  # 25 m ahead


def parked_car() -> Recording:
    """Cars that pass one that is parked at x = 150 m in their lane: their humans leave it in time."""
    coming = []
    for i, k in enumerate(ids("train")[:5]):
        x = along(8.0, num=340, x0=60.0 - 45 * i)
        coming.append(Track(k, x, lane_centre(1) - 3.7 * np.clip((x - 100) / 20, 0, 1)))
    parked = Track(ids("test")[0], 150 + still(340), lane_centre(1))
    free = [Track(k, along(7.0, num=300, x0=60.0 - 20 * i), lane_centre(3))
            for i, k in enumerate(ids("validation")[:2])]  # fmt: skip
    return recording_of(*coming, parked, *free, site=straight_site(start=60.0, goal=170.0))


def test_it_learns_without_a_model_to_spare_a_parked_car(tmp_path: Path, notebook: Notebook) -> None:
    config = training(
        "log-replay",
        policy=PolicyConfig(frames=2, stride=2, back=(0,), view=LONG, channels=(4, 4, 4), hidden=16),
        updates=40, batch_size=6, learning_rate=1e-2, cycles=1, horizon=8, perturbed=0.0, urgent=0.5, block=5, epochs=4,
        validations=1,
    )  # fmt: skip
    train(config, tmp_path, recordings=[parked_car()])
    proximity = notebook.of("cost_proximity")
    assert np.mean(proximity[-10:]) < 0.7 * np.mean(proximity[:10])


@pytest.mark.parametrize(
    "change", [{"z": "posterior"}, {"gradient": "pixels"}, {"value_weight": 0.5}, {"stochastic": True}]
)
def test_what_only_a_model_could_do_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="log-replay does not unroll a model"):
        training("log-replay", **change)
