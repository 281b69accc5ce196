"""The command `headway`: one small function for each subcommand, which imports what it needs when it runs.

Help stays fast because nothing heavy is imported here. An error that is the user's to mend is one line on standard
error and exit code 2; an interrupted command exits with 130.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json as json_format
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional, UseAppendAction, arg

if TYPE_CHECKING:
    from envs.recording import Recording

# The parser would accept none of these; the commands do not, which the hint says in its place.
Files = Annotated[tuple[Path, ...], arg(metavar="FILE...", help_behavior_hint="(required)")]
Recordings = Annotated[
    UseAppendAction[tuple[tuple[Path, ...], ...]],
    arg(metavar="FILE...", help_behavior_hint="(required, repeatable)"),
]
OwnRecordings = Annotated[UseAppendAction[tuple[tuple[Path, ...], ...]], arg(metavar="FILE...")]
Agents = Annotated[
    UseAppendAction[tuple[str, ...]], arg(metavar="AGENT", help_behavior_hint="(required, repeatable)")
]
Device = Annotated[str, arg(metavar="cpu|cuda")]
RESUMABLE = ("demo", "train-model", "train-policy", "reproduce")


def demo(
    out: Path = Path("runs/demo"),
    seed: int = 0,
    preset: Literal["quick", "debug"] = "quick",
    device: Device = "cpu",
) -> None:
    """See the whole of headway on the recording that ships with it, in about 15 minutes on two cores.

    Args:
        out: folder for results.json, report.html, the video, the trained model and policy.
        seed: of everything random.
        preset: quick, or debug (seconds of training, to see that everything runs).
        device: where networks are trained.
    """
    _require_folder(out)
    _require_device(device)
    from mbrl.demo import run_demo

    run_demo(out, device=device, preset=preset, seed=seed)


def generate(
    out: Annotated[Path, arg(metavar="FILE.parquet")],
    site: str = "i80",
    seed: int = 0,
    minutes: float = 15.0,
    congestion: Literal[0, 1, 2] = 1,
    ngsim: Annotated[Path | None, arg(metavar="FILE.txt")] = None,
) -> None:
    """Let SUMO drive traffic on a road like a recorded one, and record it (needs `pip install headway[traffic]`).

    Args:
        out: the recording to write.
        site: the road: i80 (six lanes, on-ramp) or us101 (five lanes, on-ramp, auxiliary lane, off-ramp).
        seed: the same seed gives the same recording.
        minutes: how long to record, after a warm-up that is not recorded.
        congestion: 0 dense, 1 denser, 2 the most stop-and-go.
        ngsim: also write the recording as NGSIM's 18-column text.
    """
    _require_file(out, ngsim)
    from envs.formats import write_parquet
    from envs.formats.ngsim_export import write_ngsim
    from envs.traffic import TrafficConfig, generate
    from mbrl.progress import Progress

    with _naming_bad_arguments():
        config = TrafficConfig(site=site, seed=seed, minutes=minutes, congestion=congestion)
    with Progress("simulating traffic", 100, unit="percent") as progress:
        recording = generate(config, lambda share: progress.reach(round(100 * share)))
    write_parquet(recording, out)
    if ngsim is not None:
        write_ngsim(recording, ngsim)


def import_(
    files: Positional[Files],
    out: Annotated[Path, arg(metavar="FILE.parquet")],
    format: Annotated[str | None, arg(metavar="FORMAT")] = None,
    site: Annotated[str | None, arg(metavar="SITE")] = None,
    location: Annotated[str | None, arg(metavar="LOCATION")] = None,
    units: Annotated[str, arg(metavar="feet|metres")] = "feet",
) -> None:
    """Turn recordings of other programs into one headway recording.

    Args:
        files: what to read; several NGSIM files are periods of one recording.
        out: the recording to write.
        format: ngsim (18-column text or the portal's CSV), ngsim-portal (the CSV only), commonroad (XML); by default
            what the first file looks like.
        site: the road of an NGSIM file, i80 or us101; by default told from its location or day, or drawn from its
            traffic.
        location: the rows to take of a portal file that holds several: i-80, us-101, lankershim or peachtree.
        units: of an NGSIM file.
    """
    _require_some(files, "FILE")
    _require_readable(*files)
    _require_file(out)
    from envs.formats import read, write_parquet

    write_parquet(read(files, format, site=site, location=location, units=units), out)


def info(file: Positional[Annotated[Path, arg(metavar="FILE.parquet")]], json: bool = False) -> None:
    """Say what is in a recording.

    Args:
        file: the recording.
        json: print one JSON object instead of lines.
    """
    _require_readable(file)
    from envs.describe import as_text, describe
    from envs.formats import read_parquet

    description = describe(read_parquet(file))
    print(json_format.dumps(description) if json else as_text(description))


def view(
    file: Positional[Annotated[Path | None, arg(metavar="[FILE.parquet]")]] = None,
    agent: Annotated[str | None, arg(metavar="AGENT")] = None,
    mp4: Annotated[Path | None, arg(metavar="FILE.mp4")] = None,
) -> None:
    """Watch a recording, or an agent that drives in it, in a window or as a video.

    Args:
        file: the recording; without it, the one that ships with headway.
        agent: human, no-action, pretrained, or the folder of a trained policy; without it, the traffic alone.
        mp4: write a video instead of opening a window.
    """
    if file is not None:
        _require_readable(file)
    _require_file(mp4)
    from envs import SAMPLE
    from envs.formats import read_parquet
    from envs.viewer import view as show

    recording = read_parquet(file or SAMPLE)
    if agent is None:
        show(recording, mp4=mp4)
        return
    from mbrl.agents_by_name import agent_by_name

    show(recording, agent_by_name(agent), mp4=mp4)


def train_model(
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    preset: Literal["quick", "paper", "debug"] = "quick",
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """Train a forward model: what the traffic around a car will do next, and how sure that is.

    Args:
        recording: recordings to learn from.
        out: folder for the model; if it holds an interrupted run, that run goes on.
        preset: quick (minutes on two cores), paper (a day on one GPU), debug (seconds).
        seed: of everything random.
        device: where the network is trained.
    """
    files = _all_files(recording)
    _require_folder(out)
    from mbrl.data_parallel import joined

    with joined(device) as own_device:
        _require_device(own_device)
        from envs.formats import read_parquet
        from mbrl.presets import model_training
        from mbrl.train_model import train_model

        recordings = [read_parquet(path) for path in files]
        train_model(model_training(preset, seed), recordings, out, device=own_device)


def train_policy(
    model: Annotated[Path, arg(metavar="DIR")],
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    preset: Literal["quick", "paper", "debug"] = "quick",
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """Train a policy in the futures that a forward model imagines, starting from an imitation of the humans.

    Args:
        model: folder of a trained forward model (from `headway train-model`).
        recording: recordings whose situations the imagination starts from.
        out: folder for the policy; if it holds an interrupted run, that run goes on.
        preset: quick (minutes on two cores), paper (one GPU), debug (seconds).
        seed: of everything random.
        device: where the networks are trained.
    """
    _require_readable(model)
    files = _all_files(recording)
    _require_folder(out)
    from mbrl.data_parallel import check_parts, joined

    with joined(device) as own_device:
        _require_device(own_device)
        from envs.formats import read_parquet
        from mbrl.presets import policy_training
        from mbrl.train_model import load_model
        from mbrl.train_policy import train_policy

        imitation, config = policy_training(preset, "imitation", seed), policy_training(preset, seed=seed)
        check_parts(imitation.batch_size, config.batch_size)
        trained = load_model(model, own_device)
        recordings = [read_parquet(path) for path in files]
        start = train_policy(imitation, recordings, out / "imitation", tracking_root=out, device=own_device)
        train_policy(config, recordings, out, trained=trained, start_from=start, device=own_device)


def evaluate(
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    agent: Agents,
    split: Literal["test", "validation", "train", "all"] = "test",
    traffic: Literal["blind", "reactive"] = "blind",
    history: int = 20,
    min_seconds: float = 5.0,
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """Let agents drive the same cars among the recorded ones and score them, into DIR/results.json.

    Args:
        recording: recordings to drive in.
        out: folder for results.json.
        agent: human, no-action, pretrained, or the folder of a trained policy. Give the option once for each agent;
            they are listed in that order.
        split: which of the recorded cars are taken over.
        traffic: blind (the others follow the recording) or reactive (they brake for the ego).
        history: recorded frames (0.1 s) a car must have before it is taken over.
        min_seconds: the shortest drive that is scored.
        seed: of everything random.
        device: where networks run.
    """
    _require_some(agent, "--agent")
    files = _all_files(recording)
    _require_folder(out)
    _require_device(device)
    from rich.console import Console

    from agents.results import table, write_results
    from mbrl.agents_by_name import agent_by_name
    from mbrl.demo import evaluate_with_bars

    drivers = [agent_by_name(name, device) for name in agent]
    names = [path.name for path in files]
    with _naming_bad_arguments():
        evaluation = evaluate_with_bars(
            drivers, _read_all(files), names=names, split=split, traffic=traffic, history=history,
            min_seconds=min_seconds, seed=seed,
        )  # fmt: skip
    console = Console()
    console.print(table(write_results(evaluation, out), console.width))


def diagnose(
    out: Annotated[Path, arg(metavar="DIR")],
    model: Annotated[Path | None, arg(metavar="DIR")] = None,
    policy: Annotated[Path | None, arg(metavar="DIR")] = None,
    recording: OwnRecordings = (),
    split: Literal["test", "validation", "train", "all"] = "validation",
    situations: int = 256,
    masks: int = 8,
    seed: int = 0,
    device: Device = "cpu",
) -> None:
    """See how far a forward model can be trusted: DIR/diagnosis.html and DIR/diagnosis.json.

    Args:
        out: folder for both files.
        model: folder of a trained forward model; by default the one that ships with headway.
        policy: folder of the policy that drives in its futures; by default the one that ships with headway.
        recording: recordings to examine it on; by default the one that ships with headway.
        split: which of the recorded cars are taken over.
        situations: how many recorded situations each measurement takes.
        masks: how many dropout masks may disagree; an ensemble has its members instead.
        seed: of everything random.
        device: where networks run.
    """
    _require_readable(*(folder for folder in (model, policy) if folder is not None))
    from envs import SAMPLE

    files = _all_files(recording or ((SAMPLE,),))
    _require_folder(out)
    _require_device(device)
    from mbrl.diagnose import as_text, diagnose

    data = diagnose(
        out, files, model=model, policy=policy, split=split, situations=situations, masks=masks, seed=seed,
        device=device,
    )  # fmt: skip
    print(as_text(data))


def reproduce(
    recording: Recordings,
    out: Annotated[Path, arg(metavar="DIR")],
    preset: Literal["quick", "paper", "debug"] = "quick",
    seeds: tuple[int, ...] = (0, 1),
    rows: tuple[str, ...] = (),
    ray: bool = False,
    device: Device = "cpu",
) -> None:
    """Train and drive every row of the paper's table, and those headway adds: results.md, report.html in DIR.

    Args:
        recording: recordings to learn from and to drive in.
        out: folder for everything; if it holds an interrupted run, that run goes on.
        preset: quick (two cores, hours), paper (one GPU, days), debug (minutes).
        seeds: each row is trained once for each.
        rows: names of the rows to run; all by default.
        ray: run rows and seeds as Ray tasks (needs `pip install headway[ray]`), on the cluster RAY_ADDRESS names if it
            is set, whose machines must share the folders.
        device: where the networks are trained.
    """
    files = _all_files(recording)
    if not seeds:
        _refuse("--seeds needs at least one")
    _require_folder(out)
    _require_device(device)
    from mbrl.reproduce import reproduce as run_all
    from mbrl.side_by_side import run_together

    run = run_together
    if ray:
        from mbrl.on_ray import run_on_ray as run
    run_all(out, files, preset=preset, seeds=seeds, only=rows, device=device, run=run)
    print((out / "results.md").read_text())


def bench(name: Positional[Annotated[str, arg(metavar="NAME")]], json: bool = False) -> None:
    """Measure how fast headway is on this machine.

    Args:
        name: what to measure: replay, imagination.
        json: print one JSON object and nothing else on standard output.
    """
    from mbrl.bench import as_text, run_bench

    results = run_bench(name)
    print(json_format.dumps(results) if json else as_text(results))


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "generate": generate,
    "import": import_,
    "info": info,
    "view": view,
    "train-model": train_model,
    "train-policy": train_policy,
    "evaluate": evaluate,
    "diagnose": diagnose,
    "reproduce": reproduce,
    "bench": bench,
}
DESCRIPTION = """Learn to drive from recorded traffic without touching it.

headway learns how traffic moves, trains a policy in the futures it imagines, and then drives an invisible car among
the recorded ones to see whether it holds. Start with `headway demo`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `headway ARGUMENTS...` and return its exit code."""
    # Two torch threads that spin on shared cores make each other many times slower; read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        import importlib.metadata

        print(importlib.metadata.version("headway"))
        return 0
    parsed = _parse(arguments)
    return parsed if isinstance(parsed, int) else _run(parsed, can_resume=arguments[0] in RESUMABLE)


def _parse(arguments: list[str]) -> Callable[[], None] | int:
    """The command with its arguments filled in; an exit code if there is nothing to run."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            command: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(
                {name: _deferred(command) for name, command in COMMANDS.items()},
                prog="headway",
                description=DESCRIPTION,
                args=arguments,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
            return command
    except SystemExit as exit_:
        if exit_.code in (None, 0):
            return 0
        _complain(_one_line(said.getvalue()))
        return 2


def _run(command: Callable[[], None], *, can_resume: bool) -> int:
    try:
        command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(
            "headway: interrupted" + ("; the same command continues" if can_resume else ""), file=sys.stderr
        )
        return 130
    except BrokenPipeError:  # `headway info F | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        return 2
    except ValueError as error:
        from envs.errors import InputError

        if not isinstance(error, InputError):
            raise
        _complain(str(error))
        return 2
    return 0


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The same signature and help, but calling it only remembers the arguments."""

    @functools.wraps(command)
    def remember(*args: object, **kwargs: object) -> Callable[[], None]:
        return functools.partial(command, *args, **kwargs)

    return remember


def _complain(message: str) -> None:
    print(f"headway: error: {' '.join(message.split())}", file=sys.stderr)


def _one_line(box: str) -> str:
    """The framed error of the argument parser as one line."""
    lines = [
        re.sub(r"[─│╭╮╰╯]", " ", re.sub(r"\x1b\[[0-9;]*m", "", line)).strip() for line in box.splitlines()
    ]
    words = " ".join(line for line in lines[1:] if line)
    words = re.sub(r"Argument helptext:.*(?=For full helptext)", "", words)
    return re.sub(r"For full helptext,? (?:run|see):? +(.*)$", r"(help: \1)", words)


def _refuse(what: str, path: Path | None = None) -> None:
    from envs.errors import InputError

    raise InputError(what, path=path)


@contextlib.contextmanager
def _naming_bad_arguments() -> Iterator[None]:
    """A config that refuses its values answers whoever typed them."""
    try:
        yield
    except ValueError as error:
        _refuse(str(error))


def _require_some(items: Sequence[object], option: str) -> None:
    if not items:
        _refuse(f"{option} is missing: name at least one")


def _all_files(recording: tuple[tuple[Path, ...], ...]) -> list[Path]:
    """The files of every --recording, in order: `--recording A B --recording C` is A, B, C."""
    files = [path for group in recording for path in group]
    _require_some(files, "--recording")
    _require_readable(*files)
    return files


def _read_all(files: Sequence[Path]) -> list[Recording]:
    from envs.formats import read

    return [read([path]) for path in files]


def _require_readable(*paths: Path) -> None:
    for path in paths:
        if not path.exists():
            _refuse("no such file or folder", path)
        if not os.access(path, os.R_OK):
            _refuse("cannot be read: permission denied", path)


def _require_folder(folder: Path) -> None:
    """Make the output folder, and refuse before any work if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _refuse(f"cannot be written to: {error.strerror or error}; choose another folder", folder)


def _require_file(*paths: Path | None) -> None:
    """Make the folder of an output file, and refuse before any work if the file cannot be written."""
    for path in paths:
        if path is not None:
            if path.is_dir():
                _refuse("is a folder, expected the name of a file to write", path)
            _require_folder(path.parent)


def _require_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        _refuse(
            f"--device {device} is not available ({str(error).splitlines()[0]}); leave the option out for the CPU"
        )


if __name__ == "__main__":
    sys.exit(main())
