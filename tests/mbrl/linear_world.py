"""A world in which the optimum of every loss is known in closed form:

    x' = A x + B a + C z,  z ~ N(0, I)            cost = |H x'|^2 + w_lane |J a|^2 + w_off (q x')^2

The best gains a_t = G_t x_t of such a world are those of the Riccati recursion, noise or not. Signs stand for the
noise: all combinations of z = +-1 have the moments of N(0, I) up to the second, and no quadratic cost asks for more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agents.policies import PolicyConfig
from envs.context import Context, Recorded
from envs.costs import Costs
from envs.units import View
from mbrl.forward_models import ForwardModel, Prediction, Timing
from mbrl.imagination import Trajectory, given, imagine
from mbrl.policy_training import Method, PolicyTraining

T = 3  # steps
VIEW = View(height=1, width=3)
A = torch.tensor([[0.9, 0.2, 0.0], [-0.1, 0.8, 0.3], [0.1, 0.0, 0.7]], dtype=torch.float64)
B = torch.tensor([[0.0, 0.3], [0.5, 0.1], [0.8, -0.4]], dtype=torch.float64)
C = torch.tensor([[0.5, 0.2], [0.0, 0.6], [-0.4, 0.3]], dtype=torch.float64)
D = torch.tensor(
    [[0.4, -0.3, 0.8, 0.5, 0.0], [0.2, 0.7, 0.1, -0.6, 0.9], [0.0, 0.5, 0.3, 0.2, -0.7]]
).double()
H = torch.tensor([[1.0, 0.3, 0.0], [0.0, 0.8, 0.2], [0.0, 0.0, 0.5]], dtype=torch.float64)
J = torch.tensor([[1.2, 0.0], [0.3, 0.9]], dtype=torch.float64)
q = torch.tensor([0.5, -0.7, 0.4], dtype=torch.float64)
STARTS = torch.tensor(
    [[1.0, -0.5, 2.0], [0.3, 1.5, -1.0], [-2.0, 0.7, 0.2], [0.1, 0.9, 1.4]], dtype=torch.float64
)
Loss = Callable[[Tensor], Tensor]


class Linear(ForwardModel[Context]):
    """x' = [A B C] inside([x, a, z]); a picture's channels show x', a and D beside([x', a]), its pose has x' as motion.

    `inside` and `beside` are nothing, dropout, or `AllMasks`.
    """

    bank = None
    observer: Literal["ego", "straight"] = "ego"

    def __init__(self, inside: nn.Module | None = None, beside: nn.Module | None = None) -> None:
        super().__init__()
        self.timing, self.z_dim, self.gradient = Timing(frames=1), 2, "pixels"
        self.inside, self.beside = inside or nn.Identity(), beside or nn.Identity()
        self.eval()

    @property
    def config(self) -> Any:
        return SimpleNamespace(view=VIEW)

    def encode(self, context: Context, num_masks: int = 1, along: Recorded | None = None) -> Context:
        return context.repeat(num_masks)

    def step(self, h: Context, action: Tensor, z: Tensor) -> tuple[Prediction, Context]:
        x = self.inside(torch.cat([state(h), action, z], 1)) @ torch.cat([A, B, C], 1).T.to(z)
        beside = self.beside(torch.cat([x, action], 1)) @ D.T.to(z)
        image = torch.stack([x, F.pad(action, (0, 1)), beside], 1)[:, :, None]
        pose = torch.stack([x[:, 0], x[:, 1], torch.zeros_like(x[:, 0]), x[:, 2]], 1)
        return Prediction(image, pose), h.push(image, pose)

    def posterior(self, h: Context, action: Tensor, image: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """The z that leads there."""
        mu = self.surprise(h, action, image) @ torch.linalg.pinv(C).T.to(image)
        return mu, torch.full_like(mu, -torch.inf)

    def surprise(self, h: Context, action: Tensor, image: Tensor) -> Tensor:
        return image[:, 0, 0] - state(h) @ A.T.to(image) - action @ B.T.to(image)

    def context(self, h: Context) -> Context:
        return h

    def error(self, h: Context, image: Tensor, pose: Tensor) -> Tensor:
        return (state(h) - image[:, 0, 0]).square().mean(-1)


class AllMasks(nn.Module):
    """Dropout with probability 1/2, whose 2^n masks of n inputs are the masks of a mask-major batch, one each."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.masks = 2 * torch.tensor(list(itertools.product((0.0, 1.0), repeat=num)), dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return (x.view(len(self.masks), -1, x.shape[1]) * self.masks[:, None]).view_as(x)


def state(context: Context) -> Tensor:
    """x (B, 3)."""
    return context.frames[-1][:, 0, 0]


def context_of(x: Tensor) -> Context:
    images = torch.zeros(len(x), 1, 3, 1, 3).to(x)
    images[:, 0, 0, 0] = x
    return Context.of(images, x.new_zeros(len(x), 1, 4), x.new_ones(len(x), 2))


def every_noise(steps: int = T, starts: Tensor = STARTS) -> tuple[Context, Tensor]:
    """Every start with every combination of signs: contexts, and z (B, steps, 2)."""
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=2 * steps)), dtype=torch.float64)
    x = starts.repeat_interleave(len(signs), 0)
    return context_of(x), signs.repeat(len(starts), 1).view(-1, steps, 2)


def quadratic(images: Tensor, poses: Tensor, size: Tensor) -> Costs:
    """|H x|^2, |J a|^2, (q x)^2."""
    x, a = images[:, :, 0, 0], images[:, :, 1, 0, :2]
    return Costs((x @ H.T).square().sum(-1), (a @ J.T).square().sum(-1), (x @ q).square())


def nothing(images: Tensor, poses: Tensor, size: Tensor) -> Costs:
    return Costs(*(images.new_zeros(3, *images.shape[:2])))


def training(method: Method = "mpur", **changes: Any) -> PolicyTraining:
    return PolicyTraining(
        **{
            "method": method, "gamma": 0.8, "lane_weight": 0.3, "off_road_weight": 0.7, "horizon": T,
            "uncertainty_weight": 0.25, "expert_weight": 0.6, "value_weight": 1.0, "masks": 2, **changes,
        }
    )  # fmt: skip


class LinearPolicy(nn.Module):
    """mean = weight [x, 1] in units of 2 m/s^2 and 0.01 / m."""

    config = PolicyConfig(acceleration=2.0, curvature=0.01, bound=1e6)

    def __init__(self, weight: Tensor, log_std: Tensor) -> None:
        super().__init__()
        self.weight, self.log_std = weight, log_std

    def units(self, context: Context) -> Tensor:
        return features(state(context)) @ self.weight.T

    def forward(self, context: Context) -> Tensor:
        return self.units(context) * self.scale(context.size)

    def scale(self, like: Tensor) -> Tensor:
        return like.new_tensor([2.0, 0.01])


def features(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


def driven_by(gains: Tensor, model: Linear, start: Context, z: Tensor, num_masks: int = 1) -> Trajectory:
    """a_t = G_t x_t, gains (steps, 2, 3)."""
    steps = iter(gains)
    return imagine(
        model, lambda c: state(c) @ next(steps).T, start.repeat(num_masks), z.repeat(num_masks, 1, 1), len(gains),
        cost=quadratic, num_masks=num_masks,
    )  # fmt: skip


def driven_along(actions: Tensor, start: Context, z: Tensor, cost: Any = quadratic) -> Trajectory:
    """Actions (B, steps, 2), decided beforehand."""
    return imagine(Linear(), given(actions), start, z, actions.shape[1], cost=cost)


def riccati(of_state: Sequence[Tensor], of_action: Sequence[Tensor]) -> Tensor:
    """Gains (steps, 2, 3) that minimise sum_t x_t+1' Q_t x_t+1 + a_t' R_t a_t."""
    p, gains = torch.zeros_like(A), []
    for to_come, now in zip(reversed(of_state), reversed(of_action), strict=True):
        s = to_come + p
        gain = -torch.linalg.solve(now + B.T @ s @ B, B.T @ s @ A)
        p = A.T @ s @ A + A.T @ s @ B @ gain
        gains.append(gain)
    return torch.stack(gains[::-1])


def stage_costs(config: PolicyTraining) -> tuple[Tensor, Tensor]:
    """Q and R of a step."""
    return H.T @ H + config.off_road_weight * torch.outer(q, q), config.lane_weight * J.T @ J


def assert_optimum(loss: Loss, optimum: Tensor) -> None:
    """No gradient there, gradients around that point there, and a descent from anywhere near ends there."""

    def slope(at: Tensor) -> Tensor:
        at = at.detach().clone().requires_grad_()
        return torch.autograd.grad(loss(at), at)[0]

    rng, level = torch.Generator().manual_seed(0), slope(optimum).norm()
    for _ in range(2):
        away = 0.1 * torch.randn(optimum.shape, generator=rng, dtype=torch.float64)
        uphill = slope(optimum + away)
        assert level < 1e-6 * uphill.norm()
        assert float((uphill * away).sum()) > 0
    np.testing.assert_allclose(lowest(loss, optimum + away), optimum, rtol=1e-4, atol=1e-5)


def lowest(loss: Loss, begin: Tensor) -> Tensor:
    """Where a descent from a point ends."""
    found = begin.clone().requires_grad_()
    descent = torch.optim.LBFGS([found], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe",
                                tolerance_change=1e-12)  # fmt: skip

    def closure() -> float:
        descent.zero_grad()
        value = loss(found)
        value.backward()
        return float(value.detach())

    descent.step(closure)
    return found.detach()
