"""What effort and progress are worth to a planner: the oracle on validation cars, with and without them.

    python benchmarks/planner_cost.py [--recording FILE]... [--max-cars 120]

The oracle is the gradient planner that knows what the others will do (mbrl/entrants.py), so that only its cost matters.
Prints Markdown; `docs/planning.md` quotes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agents.breakdown import breakdown
from agents.planning import AT_THE_WHEEL
from benchmarks.who_fails import table
from envs import SAMPLE
from envs.formats import read
from mbrl.demo import evaluate_with_bars
from mbrl.entrants import oracle

HEADER = ("effort weight", "progress weight", "success %", "hit from behind", "off road", "out of time")


def main(given: Sequence[str] | None = None) -> None:
    """Drive and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--recording", type=Path, action="append")
    arguments.add_argument("--max-cars", type=int, default=120)
    args = arguments.parse_args(given)
    recordings = [read([path]) for path in args.recording or [SAMPLE]]
    both = AT_THE_WHEEL
    tried = [
        replace(both, effort=effort, progress=progress)
        for progress in (0.0, both.progress)
        for effort in (0.0, both.effort)
    ]
    evaluation = evaluate_with_bars(
        [oracle("quick", weights=weights) for weights in tried],
        recordings, split="validation", max_cars=args.max_cars, num_egos=64, stop_at_failure=True,
    )  # fmt: skip
    rows = []
    for weights, run in zip(tried, evaluation.runs, strict=True):
        everything = breakdown(evaluation, [run])[0]
        success = 100 * run.outcomes.succeeded().mean()
        rows.append(
            (
                weights.effort, weights.progress, f"{success:.1f}", everything.hit_from_behind,
                everything.off_road, everything.out_of_time,
            )
        )  # fmt: skip
    print(f"{len(evaluation.drives)} validation cars\n")
    print(*table(HEADER, rows), sep="\n")


if __name__ == "__main__":
    main()
