"""Whether torch.compile pays: updates through the paper's model with its step compiled, and as they are.

    python benchmarks/compiled.py [--size quick] [--device cpu] [--turns 5]

The two take turns, so that what else the machine does befalls both; the best turn of each counts. Prints Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import get_args

import torch

from benchmarks.who_fails import table
from mbrl.bench_imagination import STEPS, Size, prepare, seconds_of

HEADER = ("update of the", "as it is, s", "compiled, s", "ratio", "first update when compiled, s")
UPDATES = {"forward model": "model", "policy": "policy"}  # the steps of mbrl.bench_imagination


def compiled(size: Size, what: str, device: str) -> Callable[[], object]:
    """A step whose model's step is compiled when it is first taken, for the shapes it then has."""
    torch.compiler.reset()
    setting = prepare(size, device)
    setting.model.step = torch.compile(setting.model.step, dynamic=False)  # type: ignore[method-assign]
    return STEPS[what](setting)


def compare(size: Size, what: str, device: str, turns: int) -> tuple[float, float, float]:
    """Seconds of an update as it is and compiled, and of the first one when compiled."""
    plain, other = STEPS[what](prepare(size, device)), compiled(size, what, device)
    seconds_of(plain, device)
    first = seconds_of(other, device)
    times = [(seconds_of(plain, device), seconds_of(other, device)) for _ in range(turns)]
    return min(of_plain for of_plain, _ in times), min(of_other for _, of_other in times), first


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--size", default="quick", choices=get_args(Size))
    arguments.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments.add_argument("--turns", type=int, default=5)
    args = arguments.parse_args(given)
    if args.turns < 1:
        arguments.error(f"--turns {args.turns}: give 1 or more")
    rows = []
    for name, what in UPDATES.items():
        plain, other, first = compare(args.size, what, args.device, args.turns)
        rows.append((name, f"{plain:.2f}", f"{other:.2f}", f"{plain / other:.2f}", f"{first:.0f}"))
    print(*table(HEADER, rows), sep="\n")


if __name__ == "__main__":
    main()
