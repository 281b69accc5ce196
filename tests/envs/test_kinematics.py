"""The unicycle, its inverse, and the limits of a car."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from envs import kinematics
from envs.world import build_world
from tests import reference
from tests.toys import random_traffic

DT = 0.1


def roll_out(start: torch.Tensor, actions: torch.Tensor, dt: float) -> torch.Tensor:
    """(..., T + 1, 4) from a start (..., 4) and actions (..., T, 2)."""
    states = [start]
    for action in actions.unbind(-2):
        states.append(kinematics.step(states[-1], action, dt))
    return torch.stack(states, -2)


def random_start_and_actions(seed: int, num: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    start = np.stack([*rng.uniform(-50, 50, (2, num)), rng.uniform(-4, 4, num), rng.uniform(0, 30, num)], 1)
    actions = np.stack([rng.uniform(-6.2, 6.2, (num, steps)), rng.uniform(-0.065, 0.065, (num, steps))], -1)
    return torch.tensor(start), torch.tensor(actions)


def test_step_equals_the_paper_s_equations() -> None:
    start, actions = random_start_and_actions(0, 200, 1)
    start[:20, 3] = 0.0
    actions[:40] *= 30  # beyond every limit
    got = kinematics.step(start, actions[:, 0], DT).numpy()
    for k in range(len(start)):
        want = reference.step(start[k].numpy(), actions[k, 0].numpy(), DT)
        turn = (got[k, 2] - want[2] + math.pi) % (2 * math.pi) - math.pi
        assert abs(turn) < 1e-12
        np.testing.assert_allclose(got[k, [0, 1, 3]], want[[0, 1, 3]], atol=1e-12)


def test_inverse_undoes_step() -> None:
    start, actions = random_start_and_actions(1, 100, 50)
    start[:20, 3] /= 10
    states = roll_out(start, actions, DT).numpy()
    a, kappa = kinematics.inverse(states[..., 2], states[..., 3], DT)
    stopped = states[:, 1:, 3] == 0
    assert stopped.sum() > 50
    np.testing.assert_allclose(a[~stopped], actions[..., 0].numpy()[~stopped], atol=1e-9)
    assert (
        a[stopped] >= actions[..., 0].numpy()[stopped] - 1e-9
    ).all()  # it braked no harder than it stood still
    moving = states[:, :-1, 3] > kinematics.MIN_TURNING_SPEED
    np.testing.assert_allclose(kappa[moving], actions[..., 1].numpy()[moving], atol=1e-9)
    assert (kappa[~moving] == 0).all()


def test_step_undoes_inverse_across_the_seam_of_angles() -> None:
    rng = np.random.default_rng(2)
    turns = np.cumsum(rng.normal(0, 0.2, (30, 60)), 1) + 3.0
    wrapped = (turns + np.pi) % (2 * np.pi) - np.pi
    speed = rng.uniform(0.5, 25, (30, 60))
    a, kappa = kinematics.inverse(wrapped, speed, DT)
    start = torch.tensor(np.stack([0 * speed[:, 0], 0 * speed[:, 0], turns[:, 0], speed[:, 0]], 1))
    states = roll_out(start, torch.tensor(np.stack([a, kappa], -1)), DT)
    np.testing.assert_allclose(states[..., 2], turns, atol=1e-9)
    np.testing.assert_allclose(states[..., 3], speed, atol=1e-9)


def test_recorded_actions_lead_along_the_recorded_trajectory() -> None:
    recording = random_traffic(3, num_vehicles=40, num_frames=400)
    world = build_world([recording])
    for vehicle in range(len(recording.vehicles)):
        rows = recording.track(vehicle)
        start = torch.tensor(world.state[rows[0]], dtype=torch.float64)
        states = roll_out(start, torch.tensor(world.action[rows[:-1]], dtype=torch.float64), recording.dt)
        np.testing.assert_allclose(states[:, 0], recording.x[rows], atol=2e-3)
        np.testing.assert_allclose(states[:, 1], recording.y[rows], atol=2e-3)
        np.testing.assert_allclose(states[:, 3], recording.speed[rows], atol=1e-4)
        assert (world.action[rows[-1]] == 0).all()


def test_the_error_is_of_first_order_on_a_circle() -> None:
    speed, kappa, seconds = 12.0, 0.05, 4.0
    angle = speed * kappa * seconds
    exact = torch.tensor([math.sin(angle), 1 - math.cos(angle)], dtype=torch.float64) / kappa
    errors = []
    for dt in (0.1, 0.05, 0.025, 0.0125):
        start = torch.tensor([0.0, 0.0, 0.0, speed], dtype=torch.float64)
        actions = torch.tensor([[0.0, kappa]], dtype=torch.float64).expand(round(seconds / dt), 2)
        errors.append(float((roll_out(start, actions, dt)[-1, :2] - exact).norm()))
    ratios = np.array(errors[:-1]) / errors[1:]
    assert errors[0] < speed * 0.1  # less than one step
    assert ((ratios > 1.8) & (ratios < 2.2)).all(), (errors, ratios)


def test_a_car_stops_and_does_not_reverse() -> None:
    start = torch.tensor([1.0, 2.0, 0.3, 0.4], dtype=torch.float64)
    brake = torch.tensor([[-6.0, 0.05]], dtype=torch.float64).expand(5, 2)
    states = roll_out(start, brake, DT)
    assert (states[1:, 3] == 0).all()
    assert (states[1:] == states[1]).all()  # it stands, and does not turn on the spot


@pytest.mark.parametrize(
    ("length", "scale"), [(3.9, 1.0), (2.0, 1.0), (7.8, 0.25), (39.0, 0.01), (4.5, (3.9 / 4.5) ** 2)]
)
def test_limits_shrink_with_the_square_of_the_length(length: float, scale: float) -> None:
    assert kinematics.limit_scale(np.array([length])) == pytest.approx(scale)
    size = torch.tensor([[length, 2.0], [length, 2.0]])
    most = scale * torch.tensor([6.2, 0.065])
    torch.testing.assert_close(kinematics.action_limit(size), most.expand(2, 2))
    asked = torch.tensor([[-100.0, 0.001 * scale], [1.0 * scale, 100.0]])
    want = torch.stack([torch.stack([-most[0], asked[0, 1]]), torch.stack([asked[1, 0], most[1]])])
    torch.testing.assert_close(kinematics.within_limits(asked, size), want)


def test_gradients_agree_with_finite_differences() -> None:
    start, actions = random_start_and_actions(4, 5, 6)
    start[:, 3] += 10  # off the kink at standstill
    start.requires_grad_()
    actions.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, a: roll_out(s, a, DT), (start, actions))


def test_gradients_are_finite_at_standstill() -> None:
    start = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    actions = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    roll_out(start, actions, DT).sum().backward()
    assert start.grad is not None
    assert actions.grad is not None
    assert start.grad.isfinite().all()
    assert actions.grad.isfinite().all()


def test_step_keeps_dtype_and_leading_shape() -> None:
    state, action = torch.zeros(2, 3, 4), torch.zeros(2, 3, 2)
    out = kinematics.step(state, action, DT)
    assert (out.shape, out.dtype) == (state.shape, torch.float32)


def test_a_path_is_its_steps_one_after_the_other() -> None:
    """Also where it brakes to a standstill, waits, and goes on; and so are its gradients."""
    rng = torch.Generator().manual_seed(0)
    state = torch.tensor([[0.0, 0.0, 0.1, 3.0], [5.0, -2.0, -0.2, 12.0], [1.0, 1.0, 0.0, 0.0]]).double()
    actions = torch.randn(3, 30, 2, generator=rng).double() * torch.tensor([4.0, 0.02])
    actions[0, :12, 0] = -5.0
    actions.requires_grad_()
    found = kinematics.path(state, actions, 0.1)
    states, now = [], state
    for action in actions.unbind(1):
        now = kinematics.step(now, action, 0.1)
        states.append(now)
    want = torch.stack(states, 1)
    np.testing.assert_allclose(found.detach(), want.detach(), atol=1e-9)
    assert (found[0, :, 3] == 0).sum() > 5
    towards = torch.randn(want.shape, generator=rng).double()
    slopes = [torch.autograd.grad((poses * towards).sum(), actions)[0] for poses in (found, want)]
    standing = (want[..., 3] == 0).any(1)  # where a minimum is attained twice, any of its gradients will do
    np.testing.assert_allclose(slopes[0][~standing], slopes[1][~standing], atol=1e-9)
