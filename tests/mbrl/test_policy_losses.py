"""What the losses of policies are, written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from agents.policies import Policy
from envs.costs import Costs
from mbrl import policy_losses
from mbrl.critics import ValueFunction
from mbrl.imagination import Trajectory
from mbrl.normaliser import Normaliser
from mbrl.policy_losses import Recorded, imitation_loss, mper_loss, mpur_loss, step_cost
from mbrl.uncertainty import Uncertainty, disagreement
from tests.mbrl.policies import SMALL, training
from tests.mbrl.small import random_context


def random_trajectory(num: int, steps: int) -> Trajectory:
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(num, steps, *shape, generator=rng)

    return Trajectory(draw(3, 4, 5), draw(4), draw(2), Costs(draw(), draw(), draw()))


def test_the_loss_is_the_discounted_cost_plus_u() -> None:
    """Written out: the mean over masks, examples and steps of gamma^t C_t, and lambda times that of U_t."""
    config = training(gamma=0.9, lane_weight=0.3, off_road_weight=0.7, uncertainty_weight=0.25)
    trajectory = random_trajectory(6, 4)
    uncertainty = Uncertainty(4)
    loss, metrics = mpur_loss(trajectory, uncertainty, config)
    want, u = 0.0, uncertainty(disagreement(trajectory, 2))
    for b in range(6):
        for t in range(4):
            c = [float(cost[b, t]) for cost in trajectory.costs]
            want += 0.9**t * (c[0] + 0.3 * c[1] + 0.7 * c[2]) / 24
    want += 0.25 * float(u.sum()) / 12
    assert float(loss) == pytest.approx(want, rel=1e-5)
    assert metrics["loss"] == pytest.approx(want, rel=1e-5)
    assert metrics["uncertainty"] == pytest.approx(float(u.mean()), rel=1e-5)
    assert metrics["cost_lane"] == pytest.approx(float(trajectory.costs.lane.mean()), rel=1e-5)
    without, fewer = mpur_loss(trajectory, None, config)
    assert float(without) == pytest.approx(want - 0.25 * metrics["uncertainty"], rel=1e-5)
    assert "uncertainty" not in fewer


def test_closeness_effort_and_progress_count_where_they_are_asked_for() -> None:
    """C + w_d proximity^4 + w_e [(a / 1.5)^2 + (k / .005)^2] - w_p v, written out."""
    plain = training(lane_weight=0.3, off_road_weight=0.7)
    config = replace(plain, danger_weight=2.0, effort_weight=0.1, progress_weight=0.5)
    trajectory = random_trajectory(2, 3)
    near, lane, off_road = (cost.numpy() for cost in trajectory.costs)
    a, k = np.moveaxis(trajectory.actions.numpy(), -1, 0)
    want = near + 0.3 * lane + 0.7 * off_road
    np.testing.assert_allclose(step_cost(trajectory, plain), want, rtol=1e-5)
    want += 2 * near**4 + 0.1 * ((a / 1.5) ** 2 + (k / 0.005) ** 2) - 0.5 * trajectory.poses.numpy()[..., 3]
    np.testing.assert_allclose(step_cost(trajectory, config), want, rtol=1e-5)


def test_mper_is_the_cost_and_the_distance_to_what_was_recorded() -> None:
    config, trajectory = training("mper", expert_weight=0.3), random_trajectory(6, 4)
    rng = torch.Generator().manual_seed(1)
    recorded = Recorded(
        torch.rand(6, 4, 3, 4, 5, generator=rng), torch.rand(6, 4, 4, generator=rng), torch.zeros(6, 4, 2)
    )
    normaliser = Normaliser(4)
    normaliser.std.copy_(torch.tensor([2.0, 4.0, 0.5, 1.0]))
    loss, metrics = mper_loss(trajectory, recorded, normaliser, config)
    image = np.mean((trajectory.images - recorded.images).numpy() ** 2)
    u, want = ([], [])
    for poses, out in ((trajectory.poses.numpy(), u), (recorded.poses.numpy(), want)):
        x, y, heading, speed = np.moveaxis(poses, -1, 0)
        out.append(np.stack([x / 2, y / 4, speed * np.cos(heading) / 0.5, speed * np.sin(heading)], -1))
    distance = image + np.mean((u[0] - want[0]) ** 2)
    cost = float(policy_losses.imagined_cost(trajectory, config)[0])
    assert float(loss) == pytest.approx(cost + 0.3 * distance, rel=1e-5)
    assert metrics["expert_distance"] == pytest.approx(distance, rel=1e-5)
    perfect = replace(trajectory, images=recorded.images, poses=recorded.poses)
    assert mper_loss(perfect, recorded, normaliser, config)[1]["expert_distance"] == 0


def test_the_value_is_of_the_end_for_the_policy_and_of_the_beginning_for_itself() -> None:
    """The target is sum_t gamma^t C_t + gamma^T V(s_T); the policy's term is w gamma^T V(s_T) / T."""
    config = training(gamma=0.9, value_weight=0.5)
    value = ValueFunction(SMALL)
    start, end = random_context(2), random_context(2, seed=7)
    end.poses.requires_grad_()
    trajectory = replace(random_trajectory(2, 3), last=end)
    loss, metrics = policy_losses.value_loss(value, trajectory, start, config)
    cost = trajectory.costs.total(config.lane_weight, config.off_road_weight)
    with torch.no_grad():
        after = 0.9**3 * value(end)
        target = cost[:, 0] + 0.9 * cost[:, 1] + 0.81 * cost[:, 2] + after
        error = (value(start) - target).square().mean()
    assert metrics["value_error"] == pytest.approx(float(error), rel=1e-5)
    assert float(loss.detach()) == pytest.approx(float(0.5 * after.mean() / 3 + error), rel=1e-5)
    (slope,) = torch.autograd.grad(loss, end.poses, retain_graph=True)
    (want,) = torch.autograd.grad(0.5 * 0.9**3 * value(end).mean() / 3, end.poses)
    np.testing.assert_allclose(slope, want, rtol=1e-4, atol=1e-9)
    moved = torch.autograd.grad(loss, list(value.parameters()))
    only_error = torch.autograd.grad((value(start) - target).square().mean(), list(value.parameters()))
    for one, other in zip(moved, only_error, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-8)


def test_imitation_is_the_likelihood_of_the_recorded_action() -> None:
    torch.manual_seed(0)
    policy = Policy(replace(SMALL, acceleration=2.0, curvature=0.01))
    with torch.no_grad():
        policy.log_std.copy_(torch.tensor([-0.5, 0.3]))
    context, action = random_context(5), torch.randn(5, 2) * torch.tensor([2.0, 0.01])
    loss, metrics = imitation_loss(policy, context, action)
    units = action / torch.tensor([2.0, 0.01])
    mean = policy(context) / torch.tensor([2.0, 0.01])
    want = -Normal(mean, policy.log_std.exp()).log_prob(units).sum(-1).mean()
    assert float(loss.detach()) == pytest.approx(float(want.detach()), rel=1e-5)
    assert metrics["squared_error"] == pytest.approx(float((mean - units).detach().square().mean()), rel=1e-5)


def test_an_absurd_recorded_action_counts_as_twice_the_bound() -> None:
    policy, context = Policy(SMALL), random_context(1)
    one, other = (
        imitation_loss(policy, context, torch.tensor([[a, k]]))[0] for a, k in ((12.0, -0.06), (90.0, -5.0))
    )
    assert torch.equal(one, other)
