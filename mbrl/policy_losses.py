"""What a policy is trained to minimise.

    MPUR       1/T sum_t  gamma^t C_t + lambda U_t  [+ w_V gamma^T V(s_T) / T]
               C_t = proximity + w_lane lane + w_off off_road  [+ w_d proximity^4 + w_e effort(a_t) - w_p v_t]
    MPER       1/T sum_t  gamma^t C_t + lambda_E || s_t - s*_t ||^2                  s* what was recorded
    imitation  -log N(a | mu(s), diag sigma^2)

Source: Henaff, Canziani, LeCun, arXiv:1901.02705, sections 3.2 and 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from agents.policies import Policy
from envs.context import Context, Recorded, motion
from mbrl.critics import ValueFunction
from mbrl.imagination import Trajectory
from mbrl.normaliser import Normaliser
from mbrl.policy_training import PolicyTraining
from mbrl.uncertainty import Uncertainty, disagreement

Loss = tuple[Tensor, dict[str, float]]  # and the numbers to log


def step_cost(trajectory: Trajectory, config: PolicyTraining) -> Tensor:
    """C_t (B, T) of the module's docstring."""
    weights = config.weights
    return weights.of_scene(trajectory.costs) + weights.of_driving(
        trajectory.actions, trajectory.poses[..., 3]
    )


def imagined_cost(trajectory: Trajectory, config: PolicyTraining) -> Loss:
    """1/T sum_t gamma^t C_t, the mean over examples (and masks)."""
    cost = step_cost(trajectory, config)
    loss = (discounts(cost, config.gamma) * cost).mean()
    metrics = {f"cost_{k}": float(v.detach().mean()) for k, v in trajectory.costs._asdict().items()}
    metrics["predicted_cost"] = float(cost.detach().mean())
    metrics["loss"] = float(loss.detach())
    metrics["action_acceleration"] = float(trajectory.actions.detach()[..., 0].abs().mean())
    metrics["action_curvature"] = float(trajectory.actions.detach()[..., 1].abs().mean())
    metrics["speed"] = float(trajectory.poses.detach()[..., 3].mean())
    return loss, metrics


def mpur_loss(trajectory: Trajectory, uncertainty: Uncertainty | None, config: PolicyTraining) -> Loss:
    """The cost and lambda U of K masks times B examples (mask-major); without an `uncertainty`, the cost."""
    loss, metrics = imagined_cost(trajectory, config)
    if uncertainty is not None:
        u = uncertainty(disagreement(trajectory, config.masks)).mean()
        loss = loss + config.uncertainty_weight * u
        metrics |= {"uncertainty": float(u.detach()), "loss": float(loss.detach())}
    return loss, metrics


def mper_loss(
    trajectory: Trajectory, recorded: Recorded, normaliser: Normaliser, config: PolicyTraining
) -> Loss:
    """The cost and lambda_E times the squared distance to the recorded future.

    The distance is as in the training of the paper's model: the mean over pixels and over normalised (x, y, vx, vy),
    here normalised over the whole horizon.
    """
    loss, metrics = imagined_cost(trajectory, config)
    image_distance = (trajectory.images - recorded.images).square().mean()
    imagined, real = (normaliser(motion(poses)) for poses in (trajectory.poses, recorded.poses))
    distance = image_distance + (imagined - real).square().mean()
    loss = loss + config.expert_weight * distance
    return loss, metrics | {"expert_distance": float(distance.detach()), "loss": float(loss.detach())}


def value_loss(value: ValueFunction, trajectory: Trajectory, start: Context, config: PolicyTraining) -> Loss:
    """w_V gamma^T V(s_T) / T for the policy, and (V(s_0) - sum_t gamma^t C_t - gamma^T V(s_T))^2 for V.

    The policy's term moves the imagined end, not V; V's moves V, not its target.
    """
    assert trajectory.last is not None
    cost = step_cost(trajectory, config)
    steps = cost.shape[1]
    after = config.gamma**steps * value.fixed(trajectory.last)
    with torch.no_grad():
        target = (discounts(cost, config.gamma) * cost).sum(1) + after
    now = value(start)
    error = (now - target).square().mean()
    promised = config.value_weight * after.mean() / steps
    return promised + error, {"value": float(now.detach().mean()), "value_error": float(error.detach())}


def imitation_loss(policy: Policy, context: Context, action: Tensor) -> Loss:
    """-log N(a | mu, diag sigma^2) in the policy's units, the mean over examples; action (B, 2) in m/s^2, 1/m."""
    wanted = action / policy.scale(action)
    wanted = wanted.clamp(
        -2 * policy.config.bound, 2 * policy.config.bound
    )  # curvature at a crawl is mostly noise
    mu = policy.units(context)
    nll = (
        0.5 * ((wanted - mu) * torch.exp(-policy.log_std)).square()
        + policy.log_std
        + 0.5 * math.log(2 * math.pi)
    )
    loss = nll.sum(-1).mean()
    return loss, {
        "loss": float(loss.detach()),
        "squared_error": float((wanted - mu).detach().square().mean()),
    }


def discounts(cost: Tensor, gamma: float) -> Tensor:
    """gamma^t (T,) of costs (B, T), t = 0 ... T - 1."""
    return gamma ** torch.arange(cost.shape[1], device=cost.device, dtype=cost.dtype)
