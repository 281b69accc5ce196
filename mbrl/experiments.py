"""Experiments of pretrain/: run for some seeds, kept seed by seed, and told as JSON, pictures and a page.

DIR/NAME/seed-K.json    one seed's numbers; a seed that is there is not run again
DIR/NAME/*.png          pictures of the first seed
DIR/NAME.json, NAME.md  all seeds: mean and spread of each number, and which claims hold
DIR/quick/...           the same of quick runs, whose numbers mean nothing
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.formats.atomic import atomic_path
from mbrl.train_method import write_png
from pretrain import experiments
from pretrain.experiments.outcome import Claim, Experiment


def find_experiments() -> list[Experiment]:
    """Every module's EXPERIMENT."""
    modules = [
        importlib.import_module(f"{experiments.__name__}.{module.name}")
        for module in pkgutil.iter_modules(experiments.__path__)
    ]
    return [vars(module)["EXPERIMENT"] for module in modules if "EXPERIMENT" in vars(module)]


@dataclass(frozen=True)
class Found:
    """What came out of an experiment, seed by seed.

    numbers: of each seed.  pictures: file names, beside NAME.md.  seconds: of each seed's run.
    """

    experiment: Experiment
    seeds: tuple[int, ...]
    quick: bool
    numbers: tuple[Mapping[str, float], ...]
    pictures: tuple[str, ...]
    seconds: tuple[float, ...]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Those that are judged: a quick run's numbers mean nothing."""
        return () if self.quick else tuple(self.experiment.claims)

    def holds(self, claim: Claim) -> list[bool]:
        """Of each seed."""
        return [claim.holds(numbers) for numbers in self.numbers]

    def broken(self) -> list[str]:
        """The claims that do not hold for every seed."""
        return [as_words(claim) for claim in self.claims if not all(self.holds(claim))]

    def values(self) -> dict[str, list[float]]:
        """Of each number, over the seeds."""
        return {name: [numbers[name] for numbers in self.numbers] for name in self.numbers[0]}

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.experiment.name,
            "question": self.experiment.question,
            "quick": self.quick,
            "seeds": list(self.seeds),
            "seconds": list(self.seconds),
            "numbers": {
                name: {
                    "mean": _or_none(statistics.fmean(values)),
                    "std": _or_none(spread(values)),
                    "seeds": [_or_none(value) for value in values],
                }
                for name, values in self.values().items()
            },
            "claims": [{"claim": as_words(claim), "holds": self.holds(claim)} for claim in self.claims],
            "pictures": list(self.pictures),
        }

    def as_markdown(self) -> str:
        """The page NAME.md."""
        name = self.experiment.name
        seeds = " ".join(map(str, self.seeds))
        command = f"headway experiment {name} --seeds {seeds}{' --quick' if self.quick else ''} --out DIR"
        lines = [f"# {name}", "", self.experiment.question, "", f"`{command}`", ""]
        if self.quick:
            lines += ["A quick run, which only shows that everything works: its numbers mean nothing.", ""]
        if self.claims:
            lines += ["| claim | " + " | ".join(f"seed {seed}" for seed in self.seeds) + " |"]
            lines += ["|---" * (1 + len(self.seeds)) + "|"]
            for claim in self.claims:
                held = ["holds" if held else "**does not hold**" for held in self.holds(claim)]
                lines += [f"| {as_words(claim)} | " + " | ".join(held) + " |"]
            lines += [""]
        lines += [
            "| number | mean | deviation over seeds | "
            + " | ".join(f"seed {seed}" for seed in self.seeds)
            + " |"
        ]
        lines += ["|---" * (3 + len(self.seeds)) + "|"]
        for number, values in self.values().items():
            columns = [number, shown(statistics.fmean(values)), shown(spread(values)), *map(shown, values)]
            lines += ["| " + " | ".join(columns) + " |"]
        lines += [""]
        for picture in self.pictures:
            lines += [f"![{Path(picture).stem}]({picture})", ""]
        return "\n".join(lines)


def run_experiment(experiment: Experiment, seeds: Sequence[int], out: Path, *, quick: bool = False) -> Found:
    """Run it for the seeds that a folder does not hold yet, and write what came out of all of them."""
    out = out / "quick" if quick else out
    folder = out / experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    ran = [_seed(experiment, seed, folder, quick=quick, draw=seed == seeds[0]) for seed in seeds]
    found = Found(
        experiment,
        tuple(seeds),
        quick,
        tuple(one["numbers"] for one in ran),
        tuple(f"{experiment.name}/{name}" for name in ran[0]["pictures"]),
        tuple(one["seconds"] for one in ran),
    )
    _write(out / f"{experiment.name}.json", json.dumps(found.as_json(), indent=1, allow_nan=False) + "\n")
    _write(out / f"{experiment.name}.md", found.as_markdown())
    return found


def _seed(experiment: Experiment, seed: int, folder: Path, *, quick: bool, draw: bool) -> dict[str, Any]:
    """What a seed's file says; it is run if there is none, or not drawn where it should be."""
    path = folder / f"seed-{seed}.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text())
        if kept["pictures"] or not draw:
            return kept
    begin = time.perf_counter()
    outcome = experiment.run(seed, quick)
    seconds = round(time.perf_counter() - begin, 1)
    pictures: list[str] = []
    if draw:
        _forget_pictures(folder)
        for name, picture in outcome.pictures.items():
            pictures.append(f"{name.replace(' ', '_')}.png")
            write_png(folder / pictures[-1], picture)
    told = {
        "seed": seed,
        "seconds": seconds,
        "numbers": {name: float(value) for name, value in outcome.numbers.items()},
        "pictures": pictures,
    }
    _write(path, json.dumps(told, indent=1) + "\n")
    return told


def _forget_pictures(folder: Path) -> None:
    """Those of another first seed, which are written over."""
    for path in folder.glob("seed-*.json"):
        told = json.loads(path.read_text())
        if told["pictures"]:
            _write(path, json.dumps({**told, "pictures": []}, indent=1) + "\n")


def _or_none(value: float) -> float | None:
    """For JSON, which knows no NaN."""
    return value if math.isfinite(value) else None


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def as_words(claim: Claim) -> str:
    """`a below 0.5 x b`."""
    control = claim.control if isinstance(claim.control, str) else shown(claim.control)
    return f"{claim.better} {claim.is_} {'' if claim.factor == 1 else f'{claim.factor:g} x '}{control}"


def spread(values: Sequence[float]) -> float:
    """The sample's standard deviation; NaN of one value."""
    return statistics.stdev(values) if len(values) > 1 else float("nan")


def shown(value: float) -> str:
    """Four digits; a dash for what is not a number."""
    return "-" if value != value else f"{value:.4g}"


def as_table(found: Found) -> str:
    """Lines for a terminal: each number with its spread, then each claim."""
    values = found.values()
    width = max(map(len, values))
    lines = [f"{found.experiment.name}: {found.experiment.question}"]
    lines += [
        f"  {name:{width}}  {shown(statistics.fmean(v)):>10} +- {shown(spread(v))}"
        for name, v in values.items()
    ]
    for claim in found.claims:
        held = found.holds(claim)
        lines += [
            f"  {'holds' if all(held) else 'DOES NOT HOLD'}: {as_words(claim)} ({sum(held)} of {len(held)} seeds)"
        ]
    return "\n".join(lines)
