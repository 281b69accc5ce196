"""How fast pretrain/ infers and samples: benchmarks/fista.py and benchmarks/chains.py."""

from __future__ import annotations

from typing import Any

from mbrl.in_checkout import benchmark_module


def bench_pretrain() -> dict[str, Any]:
    """Everything `headway bench pretrain` prints, but for the machine."""
    return {
        "fista_vs_sklearn": benchmark_module("fista").fista_vs_sklearn(),
        "chains_ratio": benchmark_module("chains").chains_ratio(),
    }
