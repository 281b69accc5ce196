"""A double integrator with a quadratic cost, whose best plan is known: the Riccati equation, and a linear system.

position += dt velocity;  velocity += dt a;      c(s', a) = s' Q s' + a R a
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from planners import Box

DT = 0.4  # s
A = torch.tensor([[1.0, DT], [0.0, 1.0]], dtype=torch.float64)
B = torch.tensor([[0.0], [DT]], dtype=torch.float64)
Q = torch.tensor([1.0, 0.1], dtype=torch.float64)
R = 0.2
FREE = Box.unbounded([2.0], dtype=torch.float64)
TIGHT = Box.of([-0.5], [0.8], dtype=torch.float64)


def step(state: Tensor, action: Tensor) -> Tensor:
    return state @ A.T.to(state) + action @ B.T.to(state)


def cost(states: Tensor, actions: Tensor) -> Tensor:
    return (Q.to(states) * states.square()).sum(-1) + R * actions.square().sum(-1)


def starts(num: int, seed: int = 0) -> Tensor:
    """(B, 2): up to 1 m off and 1 m/s fast, which takes up to 3 m/s^2."""
    return 2 * torch.rand(num, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def total_cost(state: Tensor, actions: Tensor) -> Tensor:
    """J of plans (B, H, 1), by a plain loop."""
    j = torch.zeros(len(state), dtype=state.dtype)
    for action in actions.unbind(1):
        state = step(state, action)
        j = j + cost(state, action)
    return j


def riccati(state: Tensor, horizon: int) -> Tensor:
    """The best plan (B, H, 1) without bounds.

    P_H = 0;  M = P + Q;  K = (R + B' M B)^-1 B' M A;  P <- A' M A - A' M B K;  a = -K s
    """
    p, gains = torch.zeros(2, 2, dtype=torch.float64), []
    for _ in range(horizon):
        m = p + torch.diag(Q)
        k = torch.linalg.solve(R * torch.eye(1, dtype=torch.float64) + B.T @ m @ B, B.T @ m @ A)
        p = A.T @ m @ A - A.T @ m @ B @ k
        gains.append(k)
    actions = []
    for k in reversed(gains):
        actions.append(-state @ k.T)
        state = step(state, actions[-1])
    return torch.stack(actions, 1)


def least_squares(state: Tensor, horizon: int, box: Box, basis: Tensor | None = None) -> Tensor:
    """The best plan (B, H, 1) within bounds, as |G a - d|^2 over the box (scipy); of plans `basis` x, if given."""
    columns = []
    for t in range(horizon):
        unit = torch.zeros(1, horizon, 1, dtype=torch.float64)
        unit[0, t] = 1
        columns.append(_residuals(torch.zeros(1, 2, dtype=torch.float64), unit)[0])
    g = torch.stack(columns, 1).numpy()
    if basis is not None:
        g = g @ basis.numpy()
    found = []
    for s in state:
        d = -_residuals(s[None], torch.zeros(1, horizon, 1, dtype=torch.float64))[0].numpy()
        bounds = (-np.inf, np.inf) if basis is not None else (float(box.low), float(box.high))
        x = torch.from_numpy(lsq_linear(g, d, bounds, tol=1e-14).x)
        found.append(x if basis is None else basis @ x)
    return torch.stack(found)[..., None]


def _residuals(state: Tensor, actions: Tensor) -> Tensor:
    """Numbers (B, 3 H) whose squares sum to J."""
    parts = []
    for action in actions.unbind(1):
        state = step(state, action)
        parts += [Q.sqrt() * state, R**0.5 * action]
    return torch.cat(parts, 1)
