"""How near a predicted code comes to the optimal one, and how many steps of inference it saves.

The gap of a code is how far its mean energy lies above the least, as a part of that.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pretrain.sparse.energy import Problem
from pretrain.sparse.fista import fista


def gap(problem: Problem, z: Tensor, best: float) -> float:
    """(mean E(y, z) - best) / best."""
    return float(problem.energy(z).mean()) / best - 1


def steps_to(problem: Problem, z: Tensor, best: float, wanted: float, most: int = 64) -> int:
    """Steps of FISTA from the code z to the wanted gap; `most` if it takes as many or more."""
    begun = problem._replace(start=z)
    return next((k for k in range(most) if gap(problem, fista(begun, k), best) <= wanted), most)


def predictions(
    problem: Problem, codes: Mapping[str, Tensor], best: float, wanted: float
) -> dict[str, float]:
    """Of each code by name: "gap of NAME", and "steps from NAME" of FISTA to the wanted gap."""
    gaps = {f"gap of {name}": gap(problem, z, best) for name, z in codes.items()}
    return gaps | {
        f"steps from {name}": float(steps_to(problem, z, best, wanted)) for name, z in codes.items()
    }
