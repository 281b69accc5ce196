"""iLQR: derivatives against torch's own, quadratic programs against scipy, LQR in one iteration, pendulums to rest."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from planners import ILQR, Box, ILQRConfig
from planners.box_qp import box_qp
from planners.dynamics import Stepwise
from planners.expansion import linearised, quadratic, quadratic_terminal
from tests.planners import linear_quadratic as lq

T, B, S, A = 3, 2, 2, 1


def pendulum(state: Tensor, action: Tensor) -> Tensor:
    """Angle from upright and its rate; 0.1 s."""
    angle, rate = state.unbind(-1)
    rate = rate + 0.1 * (6 * torch.sin(angle) + 3 * action[..., 0])
    return torch.stack([angle + 0.1 * rate, rate], -1)


def swing_cost(states: Tensor, actions: Tensor) -> Tensor:
    return (1 - torch.cos(states[..., 0])) + 0.05 * states[..., 1].square() + 0.02 * actions[..., 0].square()


def random_points() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    states, actions = (torch.randn(T, B, n, generator=generator, dtype=torch.float64) for n in (S, A))
    return states, actions


def test_jacobians_are_those_of_autograd_point_by_point() -> None:
    states, actions = random_points()
    found = linearised(Stepwise(pendulum), states, actions)
    for t in range(T):
        for b in range(B):
            by_state, by_action = torch.autograd.functional.jacobian(pendulum, (states[t, b], actions[t, b]))
            assert torch.allclose(found.by_state[t, b], by_state)
            assert torch.allclose(found.by_action[t, b], by_action)


def test_curvatures_are_those_of_autograd_made_positive() -> None:
    states, actions = random_points()
    found = quadratic(swing_cost, states, actions)
    lifted = 0
    for t in range(T):
        for b in range(B):
            at = torch.cat([states[t, b], actions[t, b]])

            def cost(x: Tensor) -> Tensor:
                return swing_cost(x[:S], x[S:])

            hessian = torch.autograd.functional.hessian(cost, at)
            values, vectors = torch.linalg.eigh(hessian)
            lifted += int((values < 0).any())
            expected = vectors @ torch.diag(values.clamp(min=0)) @ vectors.T
            assert torch.allclose(found.curvature[t, b], expected)
            assert torch.allclose(found.slope[t, b], torch.autograd.functional.jacobian(cost, at))
    assert lifted, "the test asks for nothing"
    slope, curvature = quadratic_terminal(lambda s: (s * s).sum(-1), states[0])
    assert torch.allclose(slope, 2 * states[0])
    assert torch.allclose(curvature, 2 * torch.eye(S, dtype=torch.float64).expand(B, S, S))
    flat, none = quadratic_terminal(lambda s: s[:, 0], states[0])
    assert torch.equal(flat, torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(B, S))
    assert torch.equal(none, torch.zeros(B, S, S, dtype=torch.float64))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_quadratic_program_is_solved_as_by_scipy(dim: int) -> None:
    generator = torch.Generator().manual_seed(dim)
    num = 40
    m = torch.randn(num, dim, dim, generator=generator, dtype=torch.float64)
    q, c = (
        m @ m.mT + 0.1 * torch.eye(dim),
        2 * torch.randn(num, dim, generator=generator, dtype=torch.float64),
    )
    low, high = (side * 3 * torch.rand(num, dim, generator=generator).double() for side in (-1, 1))
    low[:10, 0] = -torch.inf
    by = torch.randn(num, dim, 4, generator=generator, dtype=torch.float64)
    x, gain = box_qp(q, c, low, high, by)
    at_bound = 0
    for p in range(num):
        found = minimize(
            lambda v, p=p: (0.5 * v @ q[p].numpy() @ v + c[p].numpy() @ v, q[p].numpy() @ v + c[p].numpy()),
            [0.0] * dim, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-12},
            bounds=list(zip(low[p].tolist(), high[p].tolist(), strict=True)),
        )  # fmt: skip
        assert torch.allclose(x[p], torch.from_numpy(found.x), atol=1e-6)
        held = (x[p] <= low[p]) | (x[p] >= high[p])
        at_bound += int(held.any())
        assert torch.equal(gain[p][held], torch.zeros(int(held.sum()), 4, dtype=torch.float64))
    assert 0 < at_bound < num
    step = 1e-7 * torch.randn(num, 4, 1, generator=generator, dtype=torch.float64)
    moved = box_qp(q, c + (by @ step)[..., 0], low, high, by).x
    assert torch.allclose(moved - x, (gain @ step)[..., 0], atol=1e-12)


def test_a_program_without_a_solution_says_nan() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    x, gain = box_qp(0 * one[None], one, -torch.inf * one, torch.inf * one, one[None])
    assert x.isnan().all()
    assert gain.isnan().all()


def test_lqr_takes_one_iteration() -> None:
    state = lq.starts(6)
    plan = ILQR(ILQRConfig(horizon=12, num_iterations=1)).plan(lq.step, lq.cost, state, lq.FREE)
    assert torch.allclose(plan.actions, lq.riccati(state, 12), atol=1e-6)


def test_any_quadratic_takes_one_iteration() -> None:
    """Costs of states, actions and both together, discounted, and at the end: a = -(d2J/da2)^-1 dJ/da at 0."""
    horizon, gamma, state = 6, 0.7, lq.starts(3)
    wanted = torch.tensor([0.5, -0.3], dtype=torch.float64)

    def cost(states: Tensor, actions: Tensor) -> Tensor:
        together = (states * torch.tensor([0.2, -0.2], dtype=torch.float64)).sum(-1) * actions[..., 0]
        return lq.cost(states - wanted, actions) + together + 0.1 * actions[..., 0]

    def terminal(s: Tensor) -> Tensor:
        return 2 * (s - wanted).square().sum(-1) + s[:, 1]

    def j(actions: Tensor, start: Tensor) -> Tensor:
        s, total = start[None], torch.zeros((), dtype=torch.float64)
        for t, action in enumerate(actions):
            s = lq.step(s, action[None, None])
            total = total + gamma**t * cost(s, action[None, None])[0]
        return total + gamma**horizon * terminal(s)[0]

    plan = ILQR(ILQRConfig(horizon=horizon, num_iterations=1, gamma=gamma)).plan(
        lq.step, cost, state, lq.FREE, terminal=terminal
    )
    at = torch.zeros(horizon, dtype=torch.float64)
    for b in range(3):
        hessian = torch.autograd.functional.hessian(lambda a, b=b: j(a, state[b]), at)
        slope = torch.autograd.functional.jacobian(lambda a, b=b: j(a, state[b]), at)
        best = -torch.linalg.solve(hessian, slope)
        assert torch.allclose(plan.actions[b, :, 0], best, atol=1e-6)
        assert torch.allclose(plan.cost[b], j(best, state[b]))


def test_where_full_steps_lead_up_smaller_ones_are_found() -> None:
    """With alpha = 1 alone, only mu can shorten a step."""
    state = torch.tensor([[1.5, 0.0], [-0.4, 1.0], [3.0, 0.5]], dtype=torch.float64)
    space = Box.unbounded([2.0], dtype=torch.float64)

    def plan(num_iterations: int, num_trials: int) -> Tensor:
        config = ILQRConfig(horizon=15, num_iterations=num_iterations, num_trials=num_trials)
        return ILQR(config).plan(pendulum, swing_cost, state, space).cost

    assert bool((plan(1, 1) == plan(2, 20)).sum() == 0)
    assert torch.allclose(plan(30, 1), plan(20, 10), rtol=1e-3)


@pytest.mark.parametrize("limit", [torch.inf, 1.5])
def test_a_pendulum_is_planned_to_a_point_where_no_allowed_change_helps(limit: float) -> None:
    """Hanging down or lying to the side; J is not convex, so the test is that of a local minimum."""
    space = Box.of([-limit], [limit], [2.0], dtype=torch.float64)
    state = torch.tensor([[1.5, 0.0], [-0.4, 1.0], [3.0, 0.5]], dtype=torch.float64)
    plan = ILQR(ILQRConfig(horizon=15, num_iterations=40)).plan(pendulum, swing_cost, state, space)

    def j(actions: Tensor) -> Tensor:
        s, total = state, torch.zeros(3, dtype=torch.float64)
        for action in actions.unbind(1):
            s = pendulum(s, action)
            total = total + swing_cost(s, action)
        return total

    actions = plan.actions.clone().requires_grad_()
    assert torch.allclose(plan.cost, j(actions))
    (slope,) = torch.autograd.grad(j(actions).sum(), actions)
    inward = torch.clamp(plan.actions - slope, -limit, limit) - plan.actions
    assert float(inward.abs().max()) < 1e-4
    assert bool((plan.cost < j(torch.zeros_like(actions))).all())
    if limit < 2:
        assert bool((plan.actions.abs() == limit).any()), "no bound matters"


def test_a_state_that_is_no_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match="one tensor"):
        ILQR(ILQRConfig(horizon=2)).plan(lambda s, a: s, lq.cost, (lq.starts(2),), lq.FREE)
