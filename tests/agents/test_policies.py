"""The policy network: what it looks at, what it must not look at, and what its numbers mean."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agents.policies import Policy, PolicyConfig
from envs.context import Context
from envs.units import View

CONFIG = PolicyConfig(
    frames=5, stride=2, back=(0, 1, 4), view=View(height=20, width=16), channels=(3, 4, 5), hidden=6
)


def policy(config: PolicyConfig = CONFIG, seed: int = 0) -> Policy:
    torch.manual_seed(seed)
    return Policy(config)


def context(batch: int = 3, config: PolicyConfig = CONFIG) -> Context:
    rng = torch.Generator().manual_seed(1)
    poses = torch.rand(batch, config.frames, 4, generator=rng) * torch.tensor([400.0, -15.0, 0.1, 12.0])
    images = torch.rand(batch, config.frames, 3, config.view.height, config.view.width, generator=rng)
    return Context.of(images, poses, torch.tensor([4.0, 1.8]) + torch.rand(batch, 2, generator=rng))


def changed(before: Context, part: str, index: tuple[object, ...], value: float = 0.7) -> Context:
    """The same but for one entry."""
    tensors = dict(zip(("images", "poses", "size"), parts(before), strict=True))
    tensors[part] = tensors[part].clone()
    tensors[part][index] += value
    return Context.of(**tensors)


def says_otherwise(one: Context, other: Context) -> bool:
    pilot = policy()
    return not torch.equal(pilot(one), pilot(other))


def loud(pilot: Policy, factor: float = 1e4) -> Policy:
    """The same with a last layer that shouts."""
    last = pilot.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(factor)
    return pilot


def deciding(pilot: Policy, outputs: Tensor) -> Policy:
    """The same, with the network's output o fixed."""
    last = pilot.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(outputs)
    return pilot


def test_outputs_never_leave_their_bounds() -> None:
    config = replace(CONFIG, acceleration=1.5, curvature=0.01, bound=3.0)
    actions = loud(policy(config))(context(200, config)).abs()
    limits = torch.tensor([4.5, 0.03])
    assert (actions <= limits * 1.0001).all()
    assert (actions > 0.99 * limits).any(0).all()  # and they use the room


def test_an_output_means_so_many_units() -> None:
    """mean = bound tanh(o / bound), in m/s^2 and 1/m per unit."""
    config = replace(CONFIG, acceleration=1.5, curvature=0.01, bound=3.0)
    o = torch.tensor([1.2, -6.0])
    pilot = deciding(policy(config), o)
    units = [3 * math.tanh(0.4), 3 * math.tanh(-2.0)]
    np.testing.assert_allclose(pilot.units(context(2, config)).detach(), [units] * 2, rtol=1e-6)
    want = [1.5 * units[0], 0.01 * units[1]]
    np.testing.assert_allclose(pilot(context(2, config)).detach(), [want] * 2, rtol=1e-6)
    small = deciding(policy(config), torch.tensor([0.01, 0.01])).units(context(1, config))
    np.testing.assert_allclose(small.detach(), [[0.01, 0.01]], rtol=1e-4)  # near 0 a unit is a unit


def test_nothing_is_asked_of_a_long_vehicle_that_it_cannot_do() -> None:
    pilot = deciding(policy(), torch.tensor([-20.0, 0.5]))
    cars = context(2)
    cars = replace(cars, size=torch.tensor([[3.9, 1.8], [7.8, 2.5]]))
    wanted = (pilot.units(cars) * pilot.scale(cars.poses)).detach()
    assert float(wanted[0, 0]) > -6.2
    noise = torch.tensor([-5.0, 50.0]).expand(2, 2)
    limit = torch.tensor([[6.2, 0.065], [1.55, 0.01625]])
    assert torch.equal(pilot(cars)[0], wanted[0])
    torch.testing.assert_close(pilot(cars)[1], torch.stack([-limit[1, 0], wanted[1, 1]]))
    torch.testing.assert_close(pilot.sample(cars, noise), limit * torch.tensor([-1.0, 1.0]))


def parts(seen: Context) -> tuple[Tensor, Tensor, Tensor]:
    return seen.images, seen.poses, seen.size


def test_where_it_is_does_not_matter() -> None:
    seen = context()
    for axis in (0, 1):
        assert not says_otherwise(seen, changed(seen, "poses", (..., axis), 137.0))


def test_past_motion_does_not_matter_but_the_present_does() -> None:
    seen = context()
    for part in (2, 3):  # heading, speed
        assert not says_otherwise(seen, changed(seen, "poses", (slice(None), slice(0, -1), part)))
        assert says_otherwise(seen, changed(seen, "poses", (slice(None), -1, part)))
    for part in (0, 1):  # length, width
        assert says_otherwise(seen, changed(seen, "size", (slice(None), part)))


@pytest.mark.parametrize("frame", range(5))
def test_it_sees_vehicles_of_chosen_frames_and_the_road_as_it_is(frame: int) -> None:
    seen = context()
    looks_at_vehicles = 4 - frame in CONFIG.back
    assert says_otherwise(seen, changed(seen, "images", (slice(None), frame, 1))) == looks_at_vehicles
    for channel in (0, 2):
        assert says_otherwise(seen, changed(seen, "images", (slice(None), frame, channel))) == (frame == 4)


def test_the_frames_it_looks_back_on_are_told_apart() -> None:
    seen = context()
    images = seen.images[:, [4, 1, 2, 3, 0]]
    images[:, -1, [0, 2]] = seen.images[:, -1, [0, 2]]
    assert says_otherwise(seen, Context.of(images, seen.poses, seen.size))


def test_one_alone_does_as_in_a_batch() -> None:
    pilot, seen = policy(), context(4)
    together = pilot(seen).detach()
    for b in range(4):
        np.testing.assert_allclose(pilot(seen.take(slice(b, b + 1)))[0].detach(), together[b], rtol=1e-4)


def test_its_inputs_are_left_alone() -> None:
    """In-place activations must not reach what comes in."""
    pilot, seen = policy(), context()
    before = [t.clone() for t in parts(seen)]
    pilot(seen).sum().backward()
    for t, b in zip(parts(seen), before, strict=True):
        assert torch.equal(t, b)


def test_gradients_reach_every_weight_and_every_input_that_counts() -> None:
    pilot, seen = policy(), context(20)
    poses = seen.poses.clone().requires_grad_()
    pilot(replace(seen, poses=poses)).square().sum().backward()
    for name, p in pilot.named_parameters():
        assert name == "log_std" or (p.grad is not None and p.grad.abs().max() > 0), name
    assert poses.grad is not None
    assert (poses.grad[..., :2] == 0).all()
    assert (poses.grad[:, -1, 2:].abs().sum(0) > 0).all()


@pytest.mark.parametrize("view", [View(), View(height=17, width=9), View(height=8, width=8)])
def test_any_view_will_do(view: View) -> None:
    config = replace(CONFIG, view=view)
    actions = policy(config)(context(2, config))
    assert actions.shape == (2, 2)
    assert actions.isfinite().all()


@pytest.mark.parametrize("back", [(0, 5), (-1, 0)])
def test_looking_back_further_than_it_remembers_is_refused(back: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="back"):
        PolicyConfig(frames=5, back=back)
