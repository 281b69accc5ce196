"""How fast pretrain/ infers and samples: benchmarks/fista.py and benchmarks/chains.py."""

from __future__ import annotations

from typing import Any

from mbrl.in_checkout import benchmark_module


def bench_pretrain() -> dict[str, Any]:
    """Everything `headway bench pretrain` prints, but for the machine.

    `fista_vs_sklearn` is the fastest of scikit-learn's times over ours at equal energy, `chains_ratio` the lesser of
    HMC's and Langevin's: a loop over chains over one batch of them.
    """
    fista, chains = benchmark_module("fista").fista_vs_sklearn(), benchmark_module("chains").chains_ratio()
    return {
        "fista_vs_sklearn": fista["ratio"],
        "chains_ratio": min(value for name, value in chains.items() if name.endswith("_chains_ratio")),
        "fista": fista,
        "chains": chains,
    }
