"""Learning rates over a run."""

from __future__ import annotations

import math


def cosine(progress: float) -> float:
    """Factor from 1 (progress 0) to 0 (progress 1): (1 + cos(pi p)) / 2 (Loshchilov, Hutter, arXiv:1608.03983)."""
    return (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


def warm_restarts(progress: float, num_cycles: int) -> float:
    """`cosine` run num_cycles times, each cycle as long as the others."""
    return cosine(progress * num_cycles % 1.0 if progress < 1 else 1.0)
