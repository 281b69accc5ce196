"""What the commands' arguments have in common: their types, and refusals before any work. Nothing heavy is imported."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from tyro.conf import UseAppendAction, arg

if TYPE_CHECKING:
    from envs.recording import Recording
    from mbrl.trainings import RunJobs

# The parser would accept none of these; the commands do not, which the hint says in its place.
Files = Annotated[tuple[Path, ...], arg(metavar="FILE...", help_behavior_hint="(required)")]
Recordings = Annotated[
    UseAppendAction[tuple[tuple[Path, ...], ...]],
    arg(metavar="FILE...", help_behavior_hint="(required, repeatable)"),
]
OwnRecordings = Annotated[UseAppendAction[tuple[tuple[Path, ...], ...]], arg(metavar="FILE...")]
Agents = Annotated[
    UseAppendAction[tuple[tuple[str, ...], ...]],
    arg(metavar="AGENT...", help_behavior_hint="(required, repeatable)"),
]
OwnAgents = Annotated[
    UseAppendAction[tuple[tuple[str, ...], ...]],
    arg(metavar="AGENT...", help_behavior_hint="(repeatable)"),
]
Scenes = Annotated[tuple[Path, ...], arg(metavar="FILE|DIR...")]
Device = Annotated[str, arg(metavar="cpu|cuda")]
LEAST = {
    "max_cars": 1, "rl_steps": 1, "cars": 1, "history": 1, "min_seconds": 0, "situations": 2, "masks": 2, "steps": 1,
    "futures": 1,
}  # fmt: skip
SCENE_SUFFIXES = ".xml", ".parquet"  # of CommonRoad, and headway's own


def refuse(what: str, path: Path | None = None) -> NoReturn:
    """Raise what becomes one line and exit code 2."""
    from envs.errors import InputError

    raise InputError(what, path=path)


@contextlib.contextmanager
def naming_bad_arguments() -> Iterator[None]:
    """A config that refuses its values answers whoever typed them."""
    try:
        yield
    except ValueError as error:
        refuse(str(error))


def require_sensible(arguments: Mapping[str, Any]) -> None:
    """Refuse, in any command, seeds below 0 or named twice, and counts below 1."""
    for name in ("seed", "seeds"):
        given = arguments.get(name, ())
        seeds = given if isinstance(given, tuple) else (given,)
        if min(seeds, default=0) < 0:
            refuse(f"--{name} {min(seeds)}: a seed is 0 or more")
        if len(set(seeds)) < len(seeds):
            refuse(f"--{name} {' '.join(map(str, seeds))}: name each seed once")
    for name, least in LEAST.items():
        count = arguments.get(name)
        if count is not None and not count >= least:
            refuse(f"--{name.replace('_', '-')} {count}: must be at least {least}")


def require_some(items: Sequence[object], option: str) -> None:
    """Refuse an option that needs at least one."""
    if not items:
        refuse(f"{option} is missing: name at least one")


def all_files(recording: tuple[tuple[Path, ...], ...]) -> list[Path]:
    """The files of every --recording, in order: `--recording A B --recording C` is A, B, C."""
    files = [path for group in recording for path in group]
    require_some(files, "--recording")
    return each_once(files)


def all_agents(agent: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """The names of every --agent, in order: `--agent A B --agent C` is A, B, C."""
    return tuple(name for group in agent for name in group)


def all_scenes(given: Sequence[Path]) -> list[Path]:
    """The files that are named, and those in folders that are named."""
    require_readable(*given)
    return each_once([file for path in given for file in (_held(path) if path.is_dir() else [path])])


def _held(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.suffix in SCENE_SUFFIXES)
    return files or refuse(f"holds no scene: no file of {' or '.join(SCENE_SUFFIXES)}", folder)


def each_once(files: list[Path]) -> list[Path]:
    """The same; refuse what cannot be read, or is there twice."""
    require_readable(*files)
    places = [path.resolve() for path in files]
    for path, place in zip(files, places, strict=True):
        if places.count(place) > 1:
            refuse("is named twice: its cars would count twice", path)
    return files


def read_all(files: Sequence[Path]) -> list[Recording]:
    """The recordings, of any format."""
    from envs.formats import read

    return [read([path]) for path in files]


def runner_of_jobs(ray: bool, device: str) -> RunJobs:
    """What runs independent jobs: side by side on this machine, or as Ray tasks."""
    from mbrl.side_by_side import run_together

    if not ray:
        return run_together
    from mbrl.on_ray import run_on_ray

    return partial(run_on_ray, device=device)


def require_readable(*paths: Path) -> None:
    """Refuse what is not there or may not be read."""
    for path in paths:
        if not path.exists():
            refuse("no such file or folder", path)
        if not os.access(path, os.R_OK):
            refuse("cannot be read: permission denied", path)


_made: list[Path] = []  # output folders of this command, the innermost first


@contextlib.contextmanager
def leaving_no_empty_folders() -> Iterator[None]:
    """Output folders that a refused command made are removed, if nothing is in them."""
    from envs.errors import InputError

    _made.clear()
    try:
        yield
    except InputError:
        for folder in _made:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()
        raise


def require_folder(folder: Path) -> None:
    """Make the output folder, and refuse before any work if nothing can be written there."""
    _made[:0] = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        refuse(f"cannot be written to: {error.strerror or error}; choose another folder", folder)


def require_file(*paths: Path | None) -> None:
    """Make the folder of an output file, and refuse before any work if the file cannot be written."""
    for path in paths:
        if path is not None:
            if path.is_dir():
                refuse("is a folder, expected the name of a file to write", path)
            require_folder(path.parent)


def require_parquet(file: Path) -> None:
    """Refuse a name that says that a recording is something else."""
    if file.suffix != ".parquet":
        refuse("expected the name of a recording (.parquet)", file)


def require_device(device: str) -> None:
    """Refuse a device that torch does not have here."""
    if device == "cpu":
        return
    if not re.fullmatch(r"cuda(:\d+)?", device):
        refuse(f"--device {device}: expected cpu, cuda, or one of several as cuda:1")
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        refuse(
            f"--device {device} is not available ({str(error).splitlines()[0]}); leave the option out for the CPU"
        )
