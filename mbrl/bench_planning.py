"""How fast headway plans and serves: the planners alone (benchmarks/planning.py), a plan through the model that ships
with headway, and stable-baselines3's steps (benchmarks/sb3_steps.py)."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from agents.planning import action_space
from envs import SAMPLE
from envs.context import Context, context_of_windows
from envs.formats import read_parquet
from envs.windows import WindowConfig, WindowSampler
from mbrl.agents_by_name import PRETRAINED
from mbrl.foresight import Imagining, SeparatedForesight
from mbrl.in_checkout import benchmark_module
from mbrl.trained_model import load_model
from planners import GradientConfig, GradientPlanner, Plan

FUTURES, STEPS, ITERATIONS = 10, 20, 5  # of arXiv:1901.02705, whose planner this is
REPETITIONS = 15


def bench_planning() -> dict[str, Any]:
    """Everything `headway bench planning` prints; `machine` is as the first of the measurements found it."""
    served = benchmark_module("sb3_steps").bench_sb3
    planned = benchmark_module("planning").bench_planning()
    return {**gradient_mpc(), **served(), **planned}


def gradient_mpc(repetitions: int = REPETITIONS) -> dict[str, float]:
    """Milliseconds from what one car sees to its action, the best of several, by a gradient planner with a warm start.

    `gradient_mpc_ms` imagines FUTURES futures over STEPS steps and improves the plan ITERATIONS times;
    `gradient_mpc_float32_ms` does so without mixed precision, and `gradient_mpc_with_u_ms` under two dropout masks. The
    futures are drawn anew for every plan.
    """
    certain = Imagining(futures=FUTURES, mixed_precision=True)
    imagining = {
        "gradient_mpc_ms": certain,
        "gradient_mpc_float32_ms": replace(certain, mixed_precision=False),
        "gradient_mpc_with_u_ms": Imagining(
            futures=FUTURES, masks=2, uncertainty_weight=0.05, mixed_precision=True
        ),
    }
    trained = load_model(PRETRAINED / "model")
    windows = WindowConfig(context=trained.model.timing.context, targets=(), view=trained.model.config.view)
    context = context_of_windows(WindowSampler([read_parquet(SAMPLE)], windows, batch_size=1).batch(0))
    return {
        name: round(1e3 * _best(SeparatedForesight(trained, STEPS, how), context, repetitions), 1)
        for name, how in imagining.items()
    }


def _best(foresight: SeparatedForesight, context: Context, repetitions: int) -> float:
    """Seconds of the fastest plan, each of which begins with the last; the first two do not count."""
    planner = GradientPlanner(GradientConfig(horizon=STEPS, num_iterations=ITERATIONS))
    space = action_space(context.size)
    previous: Plan | None = None
    taken = []
    for k in range(repetitions + 2):
        begun = time.perf_counter()
        situation = foresight.situation(context, foresight.draw(context, k))
        previous = planner.plan(
            situation.dynamics, situation.cost, situation.state, space, previous=previous
        )  # fmt: skip
        taken.append(time.perf_counter() - begun)
    return min(taken[2:])
