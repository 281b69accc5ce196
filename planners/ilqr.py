"""iLQR, the iterative linear-quadratic regulator, within bounds.

    s' = f(s, a) is linearised and c(s', a) expanded to second order along the plan; backwards from the horizon,
    W(s', a) = c(s', a) + V'(s'),   Q(s, a) = W(f(s, a), a)
    Q_a = f_a' W_s + W_a            Q_aa = f_a' W_ss f_a + f_a' W_sa + W_as f_a + W_aa
    k   = argmin over low <= a + k <= high of 1/2 k' (Q_aa + mu I) k + Q_a' k,   K = -(Q_aa + mu I)^-1 Q_as
    V_s = Q_s + K' Q_aa k + K' Q_a + Q_sa k,   V_ss = Q_ss + K' Q_aa K + K' Q_as + Q_sa K
    forwards: a_new = a + alpha k + K (s_new - s),   alpha the best of 1, 1/2, 1/4 ... in one batch

Source: Li, Todorov, "Iterative linear quadratic regulator design" (ICINCO 2004); bounds: Tassa, Mansard, Todorov,
"Control-limited differential dynamic programming" (ICRA 2014), whose quadratic programs planners.box_qp solves; mu
grows where no alpha helps. A step costs what it led to, so c is expanded at (s', a) and not at (s, a).

    B starts, H steps, S numbers per state, A per action; a in units of the space's scale while it is planned
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from planners.base import IterativeConfig, Planner
from planners.box_qp import box_qp
from planners.expansion import linearised, quadratic, quadratic_terminal
from planners.objective import step_costs
from planners.problem import Answer, Problem


@dataclass(frozen=True, kw_only=True)
class ILQRConfig(IterativeConfig):
    """A state must be one tensor (B, S), which costs read as it is, and a step's cost depend on that step alone."""

    num_iterations: int = 10
    num_trials: int = 8  # values of alpha
    regularisation: float = 1e-9  # least mu, in the unit of J
    first_regularisation: float = 1e-3  # mu after the first failure; then ten times as much

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("num_trials", self.num_trials >= 1, "positive")
        most = self.first_regularisation
        self._require(
            "regularisation", 0 <= self.regularisation <= most, f"within [0, first_regularisation={most}]"
        )


@dataclass(frozen=True)
class _Trajectory:
    """A plan that was driven."""

    states: Tensor  # (B, H + 1, S), the start first
    actions: Tensor  # (B, H, A)
    cost: Tensor  # (B,): J


class ILQR(Planner[ILQRConfig]):
    """See the module's docstring."""

    def search(self, problem: Problem) -> Iterator[Answer]:
        """Raises ValueError for a state that is not one tensor (B, S), and for several futures."""
        if not isinstance(problem.state, Tensor) or problem.state.dim() != 2:
            raise ValueError("iLQR differentiates by the state, which must be one tensor (B, S)")
        if problem.dynamics.num_futures > 1:
            raise ValueError(f"iLQR plans in one future, not in {problem.dynamics.num_futures}")
        config = self.config
        alphas = problem.scale.new_tensor([0.5**k for k in range(config.num_trials)])
        mu = problem.scale.new_full((problem.batch_size,), config.regularisation)
        now = _drive(problem, problem.start[None], None)
        for _ in range(config.num_iterations):
            k, gain = _backwards(problem, now, mu)
            tried = now.actions + alphas[:, None, None, None] * k
            new = _drive(problem, tried, (now, gain))
            better = new.cost < now.cost
            pick = better[:, None, None]
            now = _Trajectory(
                torch.where(pick, new.states, now.states),
                torch.where(pick, new.actions, now.actions),
                torch.where(better, new.cost, now.cost),
            )
            mu = torch.where(
                better,
                (mu / 10).clamp(min=config.regularisation),
                (mu * 10).clamp(min=config.first_regularisation),
            )
            yield problem.best


class _Expansion(NamedTuple):
    """Of dynamics and costs along a plan, (H, B, ...) each, with actions in units of the scale; 0 after an end."""

    f_s: Tensor  # (S, S)
    f_a: Tensor  # (S, A)
    slope: Tensor  # (D,), of gamma^t c(s', a), D = S + A
    curvature: Tensor  # (D, D)
    v_s: Tensor  # (B, S), of the terminal cost
    v_ss: Tensor  # (B, S, S)


def _expanded(problem: Problem, now: _Trajectory) -> _Expansion:
    before, after, actions = (x.transpose(0, 1) for x in (now.states[:, :-1], now.states[:, 1:], now.actions))
    unit = torch.cat([torch.ones_like(before), problem.scale.transpose(0, 1)], -1)
    f = linearised(problem.dynamics, before, actions)
    f_s, f_a = f.by_state, f.by_action * unit[..., None, before.shape[-1] :]
    w = quadratic(problem.cost, after, actions)
    gamma = problem.discounts[:-1, None, None]
    slope = gamma * w.slope * unit
    curvature = gamma[..., None] * w.curvature * unit[..., :, None] * unit[..., None, :]
    v_s, v_ss = torch.zeros_like(before[0]), torch.zeros_like(f_s[0])
    terminal, seen = problem.terminal, problem.dynamics.seen
    if terminal is not None:
        beyond = quadratic_terminal(lambda state: terminal(seen(state)), after[-1])
        v_s, v_ss = (problem.discounts[-1] * x for x in beyond)
    _, ended = step_costs(problem.cost, now.states[:, 1:], now.actions)
    if ended is not None:
        over = ended.T[..., None]
        v_s, v_ss = torch.where(over[-1], 0, v_s), torch.where(over[-1][..., None], 0, v_ss)
        over = torch.cat([torch.zeros_like(over[:1]), over[:-1]])
        slope, curvature = torch.where(over, 0, slope), torch.where(over[..., None], 0, curvature)
        f_s, f_a = (torch.where(over[..., None], 0, x) for x in (f_s, f_a))
    return _Expansion(f_s, f_a, slope, curvature, v_s, v_ss)


def _backwards(problem: Problem, now: _Trajectory, mu: Tensor) -> tuple[Tensor, Tensor]:
    """k (B, H, A) and K (B, H, A, S), in units of the actions."""
    x, scale = _expanded(problem, now), problem.scale
    low, high = ((bound - now.actions) / scale for bound in (problem.low, problem.high))
    identity = mu[:, None, None] * torch.eye(scale.shape[-1]).to(mu)
    n, v_s, v_ss = x.v_s.shape[-1], x.v_s, x.v_ss
    steps, gains = [], []
    for t in reversed(range(problem.horizon)):
        f_s, f_a = x.f_s[t], x.f_a[t]
        w_s, w_a = x.slope[t, :, :n] + v_s, x.slope[t, :, n:]
        w_ss = x.curvature[t, :, :n, :n] + v_ss
        w_as, w_aa = x.curvature[t, :, n:, :n], x.curvature[t, :, n:, n:]
        q_s, q_a = _times(f_s.mT, w_s), _times(f_a.mT, w_s) + w_a
        q_as = (f_a.mT @ w_ss + w_as) @ f_s
        q_aa = f_a.mT @ w_ss @ f_a + f_a.mT @ w_as.mT + w_as @ f_a + w_aa
        k, gain = box_qp(q_aa + identity, q_a, low[:, t], high[:, t], q_as)
        v_s = q_s + _times(gain.mT, _times(q_aa, k) + q_a) + _times(q_as.mT, k)
        v_ss = f_s.mT @ w_ss @ f_s + gain.mT @ (q_aa @ gain + q_as) + q_as.mT @ gain
        v_ss = (v_ss + v_ss.mT) / 2
        steps.append(k)
        gains.append(gain)
    return torch.stack(steps[::-1], 1) * scale, torch.stack(gains[::-1], 1) * scale[..., None]


def _drive(problem: Problem, tried: Tensor, feedback: tuple[_Trajectory, Tensor] | None) -> _Trajectory:
    """The cheapest of some plans (N, B, H, A), each corrected on the way by K (B, H, A, S) times how far it is off."""
    num, size = tried.shape[:2]
    state = problem.starts(num)
    states, actions = [state], []
    for t in range(problem.horizon):
        action = tried[:, :, t]
        if feedback is not None:
            nominal, gain = feedback
            off = state.view(num, size, -1) - nominal.states[:, t]
            off = torch.where(off.isfinite(), off, 0)  # after an end anything goes, and K is 0
            action = action + _times(gain[:, t], off)
        actions.append(torch.clamp(action, problem.low[:, t], problem.high[:, t]))
        state = problem.dynamics.step(state, actions[-1].flatten(0, 1))
        states.append(state)
    driven, plans = torch.stack(states, 1), torch.stack(actions, 2)
    cost = problem.judged(driven[:, 1:], state, plans)
    problem.evaluations += num
    problem.offer(plans, cost)
    least, index = cost.min(0)
    rows = torch.arange(size, device=index.device)
    return _Trajectory(driven.view(num, size, *driven.shape[1:])[index, rows], plans[index, rows], least)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]
