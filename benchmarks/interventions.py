"""Does the paper's model know what an action causes? It learns from recorded drives, and from drives that were not.

    python benchmarks/interventions.py --out DIR [--recording FILE]... [--shorter 5] [--preset quick] [--seed 0]
    python benchmarks/interventions.py --model DIR [--recording FILE]...

Trains the model of the row mpur-z-dropout (with --shorter N, with an N-th of its updates): as the paper has it; with
its last picture kept by logits; with windows whose ego was moved and drives by chance (envs/windows.py); and with less
dropout, as in the row. Then takes the same constant accelerations in the same situations of validation cars, imagined
and executed. A model that knows what they cause imagines the costs that are met. Prints Markdown; a finished model in
DIR is kept. With --model, asks a model that is trained already, and nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from envs import SAMPLE
from envs.context import Context
from envs.formats import read
from envs.recording import Recording
from mbrl.executed import correlation, imagined_against_executed
from mbrl.forward_models import PaperConfig
from mbrl.model_training import ModelTraining
from mbrl.rows import models
from mbrl.train_model import train_model
from mbrl.trained_model import TrainedModel, load_model

ACCELERATIONS = (-1.0, 0.0, 1.0)  # m/s^2
SECONDS = (1.0, 2.0, 4.0)
AS_PUBLISHED: dict[str, Any] = {"residual": "intensity", "dropout": 0.1, "perturbed": 0.0, "varied": 0.0}
VARIANTS: dict[str, tuple[str, ...]] = {  # what of AS_PUBLISHED is as in the row
    "as the paper has it": (),
    "pictures kept by logits": ("residual",),
    "and moved egos that drive by chance": ("residual", "perturbed", "varied"),
    "and less dropout": tuple(AS_PUBLISHED),
}


def variant(row: ModelTraining, as_in_row: Sequence[str], shorter: int = 1) -> ModelTraining:
    """The training of a row's model, so many times shorter, and as published but for some settings."""
    changes = {name: value for name, value in AS_PUBLISHED.items() if name not in as_in_row}
    of_model = {name: changes.pop(name) for name in ("residual", "dropout") if name in changes}
    assert isinstance(row.model, PaperConfig)
    return replace(row.shortened(shorter), model=replace(row.model, **of_model), **changes)


def constantly(acceleration: float, context: Context) -> Tensor:
    """(B, 2) in m/s^2 and 1/m: that acceleration, straight on."""
    return context.size.new_tensor([[acceleration, 0.0]]).expand(context.batch_size, 2)


def lines(trained: TrainedModel, recordings: Sequence[Recording], num: int, seed: int) -> list[str]:
    """For each acceleration: mean costs imagined and met, and their correlation over situations."""
    horizon, step = trained.uncertainty.mean.shape[1], trained.model.timing.step_seconds
    at = [min(round(s / step), horizon) - 1 for s in SECONDS]
    found = []
    for a in ACCELERATIONS:
        drives = imagined_against_executed(
            partial(constantly, a), trained, recordings, num_examples=num, seed=seed
        )
        imagined, met = drives.imagined_cost[:, at], drives.executed_cost[:, at]
        r = [correlation(imagined[:, k], met[:, k]) for k in range(len(at))]
        cells = [*imagined.mean(0), *met.mean(0)]
        found.append(f"{a:+.0f} | " + " | ".join(f"{x:.2f}" for x in [*cells, *r]))
    return found


def main(given: Sequence[str] | None = None) -> None:
    """Train and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    source = arguments.add_mutually_exclusive_group(required=True)
    source.add_argument("--out", type=Path)
    source.add_argument("--model", type=Path)
    arguments.add_argument("--recording", type=Path, action="append")
    arguments.add_argument("--shorter", type=int, default=5)
    arguments.add_argument("--preset", default="quick", choices=("quick", "debug"))
    arguments.add_argument("--seed", type=int, default=0)
    args = arguments.parse_args(given)
    if args.shorter < 1:
        arguments.error(f"--shorter {args.shorter}: give 1 or more")
    recordings = [read([path]) for path in args.recording or [SAMPLE]]
    when = ", ".join(f"{s:.0f}" for s in SECONDS)
    columns = [f"{what}, {s:.0f} s" for what in ("imagined", "met", "r") for s in SECONDS]
    print(f"Costs after {when} s of the same acceleration, imagined and met, and how they correlate.\n")
    for row in (["model", "m/s²", *columns], ["---"] * (2 + len(columns))):
        print(f"| {' | '.join(row)} |")
    for name, trained in _asked(args, recordings):
        for line in lines(trained, recordings, 256 if args.preset == "quick" else 8, args.seed):
            print(f"| {name} | {line} |", flush=True)


def _asked(args: argparse.Namespace, recordings: Sequence[Recording]) -> Iterator[tuple[str, TrainedModel]]:
    """The model that is given, or every variant, when it is trained."""
    if args.model:
        yield args.model.name, load_model(args.model)
        return
    row = models(args.preset, args.seed)["vae-z-dropout"]
    for k, (name, as_in_row) in enumerate(VARIANTS.items()):
        yield name, train_model(variant(row, as_in_row, args.shorter), recordings, args.out / f"model-{k}")


if __name__ == "__main__":
    main()
