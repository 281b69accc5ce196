"""How fast the planners are, alone and against pytorch-mppi: python benchmarks/planning.py

A kinematic car (x, y, heading, speed; acceleration and curvature) is to come back to its lane and to its speed: a few
lines of torch, so that what is timed is the planners' own work and torch's overhead. A learned model takes longer, and
then it is the model that is timed. Seconds are processor time, of one thread, so that little else that runs matters.
Prints one JSON object.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mbrl.machine import machine_facts
from planners import (
    CEM,
    ICEM,
    ILQR,
    MPPI,
    BeamConfig,
    BeamSearch,
    Box,
    CEMConfig,
    GradientCEM,
    GradientCEMConfig,
    GradientConfig,
    GradientPlanner,
    ICEMConfig,
    ILQRConfig,
    LBFGSConfig,
    LBFGSPlanner,
    Mixed,
    MixedConfig,
    MPPIConfig,
    Plan,
    Planner,
    PredictiveSampling,
    PredictiveSamplingConfig,
    RandomShooting,
    RandomShootingConfig,
    Table,
)

DT = 0.2  # s
SPEED = 15.0  # m/s, wanted
SPACE = Box.of([-4.0, -0.05], [4.0, 0.05])  # m/s^2, 1/m
# Three things to do, and a correction of acceleration and curvature.
TOLD = torch.tensor([[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
MIXED_SPACE = Box.of([0, 0, 0, -1, -0.05], [1, 1, 1, 1, 0.05], [1, 1, 1, 1, 0.05])


@dataclass(frozen=True, kw_only=True)
class PlanningBench:
    """How much is measured."""

    horizon: int = 20
    num_samples: int = 64
    batch_size: int = 64
    repetitions: int = 7  # after a warm-up; the best counts
    loops: int = 20  # calls in a repetition with one start
    threads: int = 1


@dataclass(frozen=True)
class Contestant:
    """A planner and how its actions move the car."""

    planner: Planner[Any]
    space: Box = SPACE
    driven: Callable[[Tensor], Tensor] | None = None

    def plan(self, state: Tensor, seeds: list[int]) -> Plan:
        if (driven := self.driven) is None:
            return self.planner.plan(step, cost, state, self.space, seeds=seeds)
        return self.planner.plan(
            lambda s, a: step(s, driven(a)), lambda s, a: cost(s, driven(a)), state, self.space, seeds=seeds
        )


def step(state: Tensor, action: Tensor) -> Tensor:
    """A car (..., 4) one step later."""
    x, y, heading, speed = state.unbind(-1)
    acceleration, curvature = action.unbind(-1)
    ahead = DT * speed
    moved = x + ahead * torch.cos(heading), y + ahead * torch.sin(heading), heading + ahead * curvature
    return torch.stack([*moved, speed + DT * acceleration], -1)


def cost(states: Tensor, actions: Tensor) -> Tensor:
    """Off its lane, off its speed, and how hard it drives (...)."""
    _, y, heading, speed = states.unbind(-1)
    acceleration, curvature = actions.unbind(-1)
    off = y.square() + 10 * heading.square() + 0.1 * (speed - SPEED).square()
    return off + 0.1 * acceleration.square() + 100 * curvature.square()


def starts(num: int) -> Tensor:
    """(B, 4): cars a few metres and metres per second away from what they want."""
    noise = torch.randn(num, 4, generator=torch.Generator().manual_seed(0))
    return noise * torch.tensor([5.0, 1.0, 0.05, 3.0]) + torch.tensor([0.0, 0.0, 0.0, 12.0])


def contestants(config: PlanningBench) -> dict[str, Contestant]:
    """Every planner, with N candidates where it has any."""
    h, n = config.horizon, config.num_samples
    told = Table(TOLD[:, None].expand(-1, h // 4, -1))
    return {
        "random shooting": Contestant(RandomShooting(RandomShootingConfig(horizon=h, num_samples=n))),
        "predictive sampling": Contestant(
            PredictiveSampling(PredictiveSamplingConfig(horizon=h, num_samples=n))
        ),
        "cem": Contestant(CEM(CEMConfig(horizon=h, num_samples=n, num_elites=n // 8))),
        "icem": Contestant(ICEM(ICEMConfig(horizon=h, num_samples=n, num_elites=n // 8))),
        "mppi, not scored": Contestant(unscored_mppi(config)),
        "mppi": Contestant(MPPI(MPPIConfig(horizon=h, num_samples=n))),
        "gradient": Contestant(GradientPlanner(GradientConfig(horizon=h, num_samples=max(1, n // 8)))),
        "lbfgs": Contestant(LBFGSPlanner(LBFGSConfig(horizon=h, num_samples=max(1, n // 8)))),
        "gradient cem": Contestant(GradientCEM(GradientCEMConfig(horizon=h, num_samples=n))),
        "ilqr": Contestant(ILQR(ILQRConfig(horizon=h, num_iterations=5))),
        "beam": Contestant(BeamSearch(BeamConfig(horizon=h, width=n // 4), told)),
        "mixed": Contestant(
            Mixed(MixedConfig(horizon=h, num_choices=3, num_samples=max(1, n // 8))),
            MIXED_SPACE,
            lambda actions: actions[..., :3] @ TOLD + actions[..., 3:],
        ),
    }


def unscored_mppi(config: PlanningBench) -> MPPI:
    """What pytorch-mppi does: one iteration, whose average is not driven through again."""
    return MPPI(MPPIConfig(horizon=config.horizon, num_samples=config.num_samples, score=False))


def theirs(config: PlanningBench) -> Any:
    """The same planner of the pytorch-mppi package, nothing planned yet; raises ImportError where it is missing."""
    import pytorch_mppi

    ours = unscored_mppi(config).config
    return pytorch_mppi.MPPI(
        step, cost, 4, torch.diag((ours.std * SPACE.scale) ** 2), num_samples=config.num_samples,
        horizon=config.horizon, lambda_=ours.temperature, u_min=SPACE.low, u_max=SPACE.high,
        U_init=torch.zeros(config.horizon, 2),
    )  # fmt: skip


def fastest(config: PlanningBench, **things: Callable[[], Any]) -> dict[str, float]:
    """Least processor seconds of each of some things, taken in turns, so that a slow moment meets all of them."""
    least = dict.fromkeys(things, float("inf"))
    for repetition in range(config.repetitions + 1):
        for name, thing in things.items():
            begin = time.process_time()
            thing()
            if repetition:
                least[name] = min(least[name], time.process_time() - begin)
    return least


def bench_planning(config: PlanningBench | None = None) -> dict[str, Any]:
    """Rates of every planner for one start and for B, `batch64_ratio` and `mppi_vs_pytorch_mppi`.

    Returns:
        planners: by name, milliseconds of a call, and millions of candidates x steps x starts per second: of one start
            (`one`) and of B (`batch`); `ratio`, B calls of one start over one call of B starts.
        batch64_ratio: that of MPPI as it comes.
        mppi_vs_pytorch_mppi: seconds of pytorch-mppi over ours, which does not score its average either, one start;
            None where the package is missing.
    """
    config = config or PlanningBench()
    machine, before = machine_facts(config.threads), torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        rates = {name: _rates(config, contestant) for name, contestant in contestants(config).items()}
        versus = _versus(config)
    finally:
        torch.set_num_threads(before)
    return {
        "mppi_vs_pytorch_mppi": versus,
        f"batch{config.batch_size}_ratio": rates["mppi"]["ratio"],
        "planners": rates,
        "horizon": config.horizon,
        "samples": config.num_samples,
        "batch_size": config.batch_size,
        "machine": machine,
    }


def _rates(config: PlanningBench, contestant: Contestant) -> dict[str, float]:
    state, size = starts(config.batch_size), config.batch_size

    def one_by_one() -> None:
        for b in range(size):
            contestant.plan(state[b : b + 1], [b])

    seconds = fastest(config, loop=one_by_one, batch=lambda: contestant.plan(state, list(range(size))))
    work = contestant.plan(state[:1], [0]).info.evaluations * config.horizon / 1e6
    one = seconds["loop"] / size
    return {
        "one_ms": round(1e3 * one, 3),
        "batch_ms": round(1e3 * seconds["batch"], 3),
        "one_million_steps_per_s": round(work / one, 3),
        "batch_million_steps_per_s": round(work * size / seconds["batch"], 3),
        "ratio": round(seconds["loop"] / seconds["batch"], 2),
    }


def _versus(config: PlanningBench) -> float | None:
    try:
        their = theirs(config)
    except ImportError:
        return None
    ours, state, previous = unscored_mppi(config), starts(1), None

    def again() -> None:
        nonlocal previous
        for k in range(config.loops):
            previous = ours.plan(step, cost, state, SPACE, previous=previous, seeds=[k])

    def their_again() -> None:
        for _ in range(config.loops):
            their.command(state[0])

    seconds = fastest(config, ours=again, theirs=their_again)
    return round(seconds["theirs"] / seconds["ours"], 2)


if __name__ == "__main__":
    print(json.dumps(bench_planning(), indent=1))
