"""How fast headway plans and serves: the planners alone (benchmarks/planning.py), a plan through the model that ships
with headway, and stable-baselines3's steps (benchmarks/sb3_steps.py)."""

from __future__ import annotations

import time
from typing import Any

import torch

from agents.planning import action_space
from envs import SAMPLE
from envs.context import context_of_windows
from envs.formats import read_parquet
from envs.windows import WindowConfig, WindowSampler
from mbrl.agents_by_name import PRETRAINED
from mbrl.in_checkout import benchmark_module
from mbrl.planning import Imagining, ModelForesight
from mbrl.trained_model import load_model
from planners import GradientConfig, GradientPlanner, Plan

FUTURES, STEPS, ITERATIONS = 10, 20, 5  # of arXiv:1901.02705, whose planner this is
REPETITIONS = 15


def bench_planning() -> dict[str, Any]:
    """Everything `headway bench planning` prints."""
    return {
        **benchmark_module("planning").bench_planning(),
        **gradient_mpc(),
        **benchmark_module("sb3_steps").bench_sb3(),
    }


def gradient_mpc(repetitions: int = REPETITIONS) -> dict[str, float]:
    """Milliseconds from what one car sees to its action, the best of several, by a gradient planner with a warm start.

    `gradient_mpc_ms` imagines FUTURES futures over STEPS steps and improves the plan ITERATIONS times;
    `gradient_mpc_with_u_ms` does so under two dropout masks. The futures are drawn anew for every plan. One thread: two
    that sleep between operations as small as these take longer.
    """
    trained = load_model(PRETRAINED / "model")
    model = trained.model
    windows = WindowConfig(context=model.timing.context, targets=(), view=model.config.view)
    context = context_of_windows(WindowSampler([read_parquet(SAMPLE)], windows, batch_size=1).batch(0))
    planner = GradientPlanner(GradientConfig(horizon=STEPS, num_iterations=ITERATIONS))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = {}
        for name, imagining in (
            ("gradient_mpc_ms", Imagining(futures=FUTURES, masks=1, uncertainty_weight=0.0)),
            ("gradient_mpc_with_u_ms", Imagining(futures=FUTURES, masks=2)),
        ):
            foresight = ModelForesight(trained, STEPS, imagining)
            previous: Plan | None = None
            taken = []
            for k in range(repetitions + 2):
                begun = time.perf_counter()
                situation = foresight.situation(context, foresight.draw(context, k))
                previous = planner.plan(
                    situation.dynamics,
                    situation.cost,
                    situation.state,
                    action_space(context.size),
                    previous=previous,
                )
                taken.append(time.perf_counter() - begun)
            found[name] = round(1e3 * min(taken[2:]), 1)
    finally:
        torch.set_num_threads(threads)
    return found
