"""iCEM: the cross-entropy method with coloured noise and a memory, for real time.

    a_k = mu + sigma * y_k,   y_k with power spectrum 1/f^beta,   N_i = max(N decay^-i, 2 K) in iteration i

A share xi of the elites is kept for the next iteration, and, shifted by a step with a new last action, for the next
call. Source: Pinneri et al., arXiv:2008.06389, algorithm 1 (there decay is called gamma), and its authors' code,
https://github.com/martius-lab/iCEM. Where theirs adds mu to the last iteration's candidates, ours is in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from planners.base import Planner
from planners.cem import CEMConfig
from planners.noise import Coloured
from planners.problem import Answer, Problem
from planners.sampling import elites, refit


@dataclass(frozen=True, kw_only=True)
class ICEMConfig(CEMConfig):
    """The paper's defaults, but for beta, which it chooses by task (0.25 ... 4)."""

    num_samples: int = 128  # N, of the first iteration
    num_elites: int = 10  # K
    noise_beta: float = 2.0
    decay: float = 1.25
    keep: float = 0.3  # xi

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("noise_beta", self.noise_beta >= 0, "at least 0")
        self._require("decay", self.decay >= 1, "at least 1")
        self._require("keep", 0 <= self.keep <= 1, "within [0, 1]")


class ICEM(Planner[ICEMConfig]):
    """See the module's docstring."""

    def search(self, problem: Problem) -> Iterator[Answer]:
        config, noise = self.config, Coloured(self.config.noise_beta)
        mean, std = problem.start, config.std * problem.scale
        kept, num_kept = problem.kept.get("elites"), round(config.keep * config.num_elites)
        if kept is not None and len(kept):
            fresh = problem.around(mean, std, len(kept) + 1, noise)[1:]
            kept = problem.clip(torch.cat([kept[:, :, :-1], fresh[:, :, -1:]], 2))
        for i in range(config.num_iterations):
            num = max(int(config.num_samples * config.decay**-i), 2 * config.num_elites)
            candidates = problem.around(mean, std, num, noise)
            if kept is not None:
                candidates = torch.cat([candidates, kept])
            cost = problem.evaluate(candidates)
            best, best_cost = elites(candidates, cost, config.num_elites)
            kept = best[:num_kept]
            problem.kept = {"elites": kept}
            yield problem.best
            mean, std = refit(best, best_cost, mean, std, config.alpha)
            std = std.clamp(min=config.min_std * problem.scale)

    def keep(self, problem: Problem) -> Mapping[str, Tensor]:
        """The cheapest xi K of the last iteration."""
        return problem.kept
