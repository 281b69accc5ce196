"""Who fails: a policy's drives by the lane in which they began, what their human did, and how they ended.

    python benchmarks/who_fails.py POLICY... [--split train] [--recording FILE...]

POLICY is what `headway evaluate --agent` takes: pretrained, or the folder of a trained policy; several (the seeds
of one method) are added up. The recording is the one that ships with headway. Prints Markdown; see agents/breakdown.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from agents.breakdown import HEADER, Part, breakdown, cells
from envs import SAMPLE
from envs.formats import read
from mbrl.agents_by_name import agent_by_name
from mbrl.demo import evaluate_with_bars


def markdown(parts: Sequence[Part]) -> str:
    """A table, and whose fault the collisions are."""
    rows = [HEADER, ["---"] * len(HEADER), *map(cells, parts)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    everything = parts[0]
    if everything.collisions:
        behind = 100 * everything.hit_from_behind / everything.collisions
        lines += ["", f"Not the car's fault (hit from behind): {behind:.0f} % of the collisions."]
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> None:
    """Drive and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("policy", nargs="+")
    arguments.add_argument("--split", default="train", choices=("train", "validation", "test", "all"))
    arguments.add_argument("--recording", type=Path, nargs="+", default=[SAMPLE])
    args = arguments.parse_args(given)
    recordings = [read([path]) for path in args.recording]
    agents = [agent_by_name(name) for name in args.policy]
    names = [path.name for path in args.recording]
    evaluation = evaluate_with_bars(agents, recordings, names=names, split=args.split)
    print(f"{len(evaluation.drives)} cars of split {args.split} of {', '.join(names)}\n")
    print(markdown(breakdown(evaluation, evaluation.runs)))


if __name__ == "__main__":
    main()
