"""The main job, end to end, on the recording that ships with the package."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

import envs
from agents import Agent, Human, NoAction
from agents.evaluate import Evaluation, evaluate
from agents.learned import LearnedAgent
from agents.results import print_table, write_results
from envs.formats import read_parquet
from envs.recording import Recording
from envs.viewer import view
from mbrl.compare import Promise, imagined_futures, promises
from mbrl.loop import read_curves
from mbrl.model_training import training_to_dict
from mbrl.policy_training import Method, policy_training_to_dict
from mbrl.presets import Preset, model_training, policy_training
from mbrl.progress import Progress, Stages, duration
from mbrl.report import ExtraTable, Imagined, write_report
from mbrl.side_by_side import run_together
from mbrl.tracking import Tracker
from mbrl.train_policy import load_policy
from mbrl.trained_model import load_model
from mbrl.trainings import Training, keep_setting, train_all

FOLDERS: dict[Method, str] = {
    "imitation": "policy-imitation",
    "mpur": "policy",
    "mpur-no-uncertainty": "policy-no-uncertainty",
}
VIDEO_SECONDS = 40.0
VIDEO_FILE, REPORT_FILE = "drive.mp4", "report.html"


def run_demo(
    out: Path, *, device: str = "cpu", preset: Preset = "quick", seed: int = 0, recording: Path | None = None
) -> None:
    """Train a model, policies in its imagination and by imitation; drive, score and report them in folder `out`.

    Every part that is finished is kept, and one that was interrupted goes on, so the same command continues.
    """
    began = time.monotonic()
    path = recording or envs.SAMPLE
    traffic = read_parquet(path)
    say = Console(stderr=True, highlight=False).print
    minutes = traffic.num_frames * traffic.dt / 60
    say(f"headway demo: {len(traffic.vehicles):,} cars in {minutes:.0f} minutes of traffic")
    say(f"everything goes to {out}; if you interrupt it, the same command continues")
    keep_setting(out, [traffic], preset=preset, seed=seed)
    train_all({out: trainings(preset, seed)}, [path], run=run_together, device=device, tracking_root=out)
    evaluation = score(out, traffic, path.name, device)
    data = write_results(evaluation, out)
    with Progress("making the video and the report", 3, unit="parts") as progress:
        chosen = LearnedAgent(load_policy(out / FOLDERS["mpur"])[0], "mpur", seed, device)
        view(traffic, chosen, mp4=out / VIDEO_FILE, seconds=VIDEO_SECONDS)
        progress.advance()
        promised = promises(
            {m: load_policy(out / FOLDERS[m], device)[0] for m in FOLDERS}, load_model(out / "model", device), [traffic]
        )  # fmt: skip
        progress.advance()
        _report(out, evaluation, promised, traffic, preset, seed, time.monotonic() - began)
        progress.advance()
    with Tracker("demo", out.name, {"preset": preset, "seed": seed}, out) as tracker:
        for row in data["agents"]:
            numbers = {f"{row['name']}/{k}": v for k, v in row.items() if isinstance(v, int | float)}
            tracker.log(numbers, 0)
        for name in (REPORT_FILE, VIDEO_FILE, "results.json"):
            tracker.log_artifact(out / name)
    print_table(data)
    say(f"done in {duration(time.monotonic() - began)}; open {out / REPORT_FILE}")


def trainings(preset: Preset, seed: int) -> list[Training]:
    """A forward model and, beside it, an imitation; from there, a policy with and one without U."""
    imagined: tuple[Method, ...] = ("mpur", "mpur-no-uncertainty")
    imitation = FOLDERS["imitation"]
    return [
        Training("model", model_training(preset, seed)),
        Training(imitation, policy_training(preset, "imitation", seed)),
        *(Training(FOLDERS[m], policy_training(preset, m, seed), "model", imitation) for m in imagined),
    ]


def score(out: Path, traffic: Recording, name: str, device: str) -> Evaluation:
    """All agents of the demo on the test cars."""
    agents: list[Agent] = [Human(), NoAction()]
    for folder in FOLDERS.values():
        policy, config = load_policy(out / folder, device)
        agents.append(LearnedAgent(policy, config.method, config.seed, device))
    return evaluate_with_bars(agents, [traffic], names=[name])


def evaluate_with_bars(
    agents: Sequence[Agent], recordings: Sequence[Recording], **options: Any
) -> Evaluation:
    """`agents.evaluate` under a progress bar for each agent."""
    with Stages("cars") as report:
        return evaluate(
            agents,
            recordings,
            progress=lambda what, done, total: report(f"driving: {what}", done, total),
            **options,
        )


def _report(
    out: Path,
    evaluation: Evaluation,
    promised: dict[str, Promise],
    traffic: Recording,
    preset: Preset,
    seed: int,
    seconds: float,
) -> None:
    trained = load_model(out / "model")
    step = trained.model.timing.step_seconds
    success = {run.name: float(run.outcomes.succeeded().mean()) for run in evaluation.runs}
    rows = [
        (
            name,
            f"{p.predicted_cost:.3f}",
            f"{p.uncertainty:.2f}",
            f"{p.cost_deviation:.3f}",
            f"{success[name]:.0%}",
        )
        for name, p in promised.items()
    ]
    write_report(
        out / REPORT_FILE,
        evaluation,
        curves={folder: read_curves(out / folder) for folder in ("model", *FOLDERS.values())},
        imagined=[
            Imagined(f"test car {k + 1}, its own recorded actions", future.imagined, future.real, step)
            for k, future in enumerate(imagined_futures(trained, [traffic], 3, seed=seed))
        ],
        tables=[
            ExtraTable(
                "What the policies promise themselves",
                ("policy", "predicted cost", "U", "cost's deviation over masks", "success when driven"),
                rows,
                "In the same imagined futures of validation cars. U is the model's disagreement with itself under"
                " dropout, normalised on recorded driving and hinged at 0.",
            )
        ],
        facts={
            "command": "headway demo",
            "preset": preset,
            "seed": seed,
            "this run took": duration(seconds),
            "model": training_to_dict(model_training(preset, seed)),
            "policy": policy_training_to_dict(policy_training(preset, "mpur", seed)),
            "traffic": traffic.provenance,
        },
        video_path=out / VIDEO_FILE,
        trained=trained,
    )
