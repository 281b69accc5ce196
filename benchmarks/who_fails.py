"""Who fails: a policy's drives by the lane in which they began, what their human did, and how they ended.

    python benchmarks/who_fails.py POLICY... [--split train] [--recording FILE]... [--oracle] [--cars]

POLICY is what `headway evaluate --agent` takes: pretrained, or the folder of a trained policy; several (the seeds
of one method) are added up. The recording is the one that ships with headway. With --oracle, a planner that knows what
the others will do (mbrl/entrants.py) drives the cars that failed, to say which failures were avoidable: those of cars
that it, or another of the policies, brings home. --cars lists those drives with that verdict, one by one (`headway
failures --vehicle` shows why one failed). Prints Markdown; see agents/breakdown.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents import Agent
from agents.breakdown import (
    ENDINGS_HEADER,
    FAILURES_HEADER,
    HEADER,
    Part,
    breakdown,
    cells,
    endings,
    failures,
)
from agents.driving import drive
from agents.evaluate import Evaluation
from envs import SAMPLE
from envs.formats import read
from envs.replay import Replay
from mbrl.agents_by_name import agent_by_name
from mbrl.demo import evaluate_with_bars
from mbrl.entrants import oracle

AT_ONCE = 256  # cars


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of Markdown."""
    return [f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows)]


def markdown(parts: Sequence[Part]) -> str:
    """A table, and whose fault the collisions are."""
    lines = table(HEADER, [*map(cells, parts)])
    everything = parts[0]
    if everything.collisions:
        behind = 100 * everything.hit_from_behind / everything.collisions
        lines += ["", f"Not the car's fault (hit from behind): {behind:.0f} % of the collisions."]
    return "\n".join(lines)


def driven_home(evaluation: Evaluation, agent: Agent) -> NDArray[np.bool_]:
    """(D,): the cars on which a run failed and that the agent brings home."""
    failed = np.flatnonzero(~np.all([run.outcomes.succeeded() for run in evaluation.runs], axis=0))
    home = np.zeros(len(evaluation.drives), bool)
    if len(failed):
        replay = Replay(evaluation.recordings, min(len(failed), AT_ONCE), history=max(agent.history, 20))
        home[failed] = drive(agent, replay, evaluation.drives.take(failed)).succeeded()
    return home


def main(given: Sequence[str] | None = None) -> None:
    """Drive and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("policy", nargs="+")
    arguments.add_argument("--split", default="train", choices=("train", "validation", "test", "all"))
    arguments.add_argument("--recording", type=Path, action="append")
    arguments.add_argument("--oracle", action="store_true")
    arguments.add_argument("--cars", action="store_true")
    args = arguments.parse_args(given)
    paths = args.recording or [SAMPLE]
    recordings = [read([path]) for path in paths]
    agents = [agent_by_name(name) for name in args.policy]
    names = [path.name for path in paths]
    evaluation = evaluate_with_bars(agents, recordings, names=names, split=args.split)
    print(f"{len(evaluation.drives)} cars of split {args.split} of {', '.join(names)}\n")
    print(markdown(breakdown(evaluation, evaluation.runs)))
    if args.oracle or args.cars:
        home = driven_home(evaluation, oracle("quick"))
        print("", *table(ENDINGS_HEADER, endings(evaluation.runs, home)), sep="\n")
        if args.cars:
            print("", *table(FAILURES_HEADER, failures(evaluation, evaluation.runs, home)), sep="\n")


if __name__ == "__main__":
    main()
