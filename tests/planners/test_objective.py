"""J against plain loops, endings included; what is not finite is rejected."""

from __future__ import annotations

import torch
from torch import Tensor

from planners.objective import or_rejected, step_costs, total

R, H, GAMMA = 40, 7, 0.9


def brute_force(c: Tensor, ends: Tensor, beyond: Tensor) -> list[float]:
    found = []
    for row in range(R):
        j, t = 0.0, 0
        for t in range(H):
            j += GAMMA**t * float(c[row, t])
            if ends[row, t]:
                break
        else:
            j += GAMMA**H * float(beyond[row])
        found.append(j)
    return found


def test_j_adds_up_to_the_first_ending() -> None:
    generator = torch.Generator().manual_seed(0)
    c, beyond = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((R, H), (R,)))
    ends = torch.rand(R, H, generator=generator) < 0.15
    assert 0 < ends.any(1).sum() < R
    actions = torch.zeros(R, H, 2)
    after = torch.cat([torch.zeros(R, 1), ends.cumsum(1)[:, :-1]], 1) > 0
    c[after] = torch.nan
    discounts = GAMMA ** torch.arange(H + 1, dtype=torch.float64)
    j = total(*step_costs(lambda s, a: (c, ends), None, actions), discounts, beyond)
    assert torch.allclose(j, torch.tensor(brute_force(c, ends, beyond), dtype=torch.float64))


def test_without_endings_everything_counts() -> None:
    c = torch.ones(2, H)
    j = total(
        *step_costs(lambda s, a: c, None, torch.zeros(2, H, 1)), torch.ones(H + 1), torch.tensor([3.0, 4])
    )
    assert j.tolist() == [H + 3, H + 4]


def test_what_is_not_finite_is_rejected() -> None:
    j = torch.tensor([1.0, torch.nan, torch.inf, -torch.inf, -5, 2])
    actions = torch.zeros(6, 3, 2)
    actions[5, 1, 0] = torch.inf
    assert or_rejected(j, actions).tolist() == [1, torch.inf, torch.inf, torch.inf, -5, torch.inf]
