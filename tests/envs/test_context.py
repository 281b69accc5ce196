"""Contexts hold what the recording says, whichever way they are made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs.context import Context, context_of_observation, context_of_windows
from envs.drives import Drives
from envs.recording import Recording
from envs.replay import Replay
from envs.units import View
from envs.windows import WindowConfig, WindowSampler
from tests.agents.scenes import clean_traffic

VIEW = View(height=20, width=8)
VEHICLE, FRAME = np.array([3, 9]), np.array([80, 95])


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return clean_traffic(num_cars=16)


@pytest.fixture
def replay(traffic: Recording) -> Replay:
    replay = Replay([traffic], 2, history=8, view=VIEW, threads=1)
    replay.reset(Drives(VEHICLE, FRAME, FRAME, FRAME + 100))
    return replay


def some_context(batch: int = 2, frames: int = 3) -> Context:
    rng = torch.Generator().manual_seed(0)
    return Context.of(
        torch.rand(batch, frames, 3, 5, 4, generator=rng),
        torch.rand(batch, frames, 4, generator=rng),
        torch.rand(batch, 2, generator=rng),
    )


def test_windows_and_observations_of_the_same_moment_agree(traffic: Recording, replay: Replay) -> None:
    config = WindowConfig(context=(6, 3, 0), targets=(), view=VIEW)
    sampler = WindowSampler([traffic], config, batch_size=2, split="all", threads=1)
    windows = sampler.render(sampler.world.row(VEHICLE, FRAME), np.random.default_rng(0))
    one, other = context_of_windows(windows), context_of_observation(replay.observe(), frames=3, stride=3)
    for a, b in ((one.images, other.images), (one.poses, other.poses), (one.size, other.size)):
        assert torch.equal(a, b)
        assert a.dtype == torch.float32
    assert one.images.max() == 1
    assert one.images.unique().numel() > 10  # edges are drawn in grey


def test_poses_are_the_recorded_states(traffic: Recording, replay: Replay) -> None:
    poses = context_of_observation(replay.observe(), frames=4, stride=2).poses
    for b in range(2):
        rows = traffic.track(VEHICLE[b])[
            FRAME[b] - traffic.vehicles.first_frame[VEHICLE[b]] - np.arange(6, -1, -2)
        ]
        columns = (traffic.x, traffic.y, traffic.heading, traffic.speed)
        np.testing.assert_allclose(poses[b], np.stack([c[rows] for c in columns], 1), rtol=1e-6, atol=1e-5)


def test_a_context_outlives_its_observation(replay: Replay) -> None:
    """Observations are views that the replay writes over; a context that is kept must not change with them."""
    context = context_of_observation(replay.observe(), frames=8, stride=1)
    kept = [t.clone() for t in (context.images, context.poses, context.size)]
    for _ in range(9):
        replay.step(np.ones((2, 2)))
    replay.size[:] = 9.0
    for now, before in zip((context.images, context.poses, context.size), kept, strict=True):
        assert torch.equal(now, before)


def test_a_history_that_is_too_short_is_refused(replay: Replay) -> None:
    observation = replay.observe()
    assert context_of_observation(observation, frames=8, stride=1).images.shape[1] == 8
    for frames, stride, needed in ((9, 1, 9), (3, 4, 9), (2, 20, 21)):
        with pytest.raises(ValueError, match=f"history of {needed}, not 8"):
            context_of_observation(observation, frames, stride)


def test_push_lets_the_oldest_frame_go() -> None:
    context = some_context()
    image, pose = torch.rand(2, 3, 5, 4), torch.rand(2, 4)
    after = context.push(image, pose)
    assert torch.equal(after.images[:, :2], context.images[:, 1:])
    assert torch.equal(after.poses[:, :2], context.poses[:, 1:])
    assert torch.equal(after.images[:, 2], image)
    assert torch.equal(after.now(), pose)
    assert torch.equal(after.size, context.size)


def test_repeat_puts_whole_batches_one_after_the_other() -> None:
    context = some_context(batch=2)
    many = context.repeat(3)
    assert many.batch_size == 6
    for copy in range(3):
        part = many.take(slice(2 * copy, 2 * copy + 2))
        for a, b in ((part.images, context.images), (part.poses, context.poses), (part.size, context.size)):
            assert torch.equal(a, b)
    swapped = context.take(torch.tensor([1, 0]))
    assert torch.equal(swapped.poses[0], context.poses[1])
