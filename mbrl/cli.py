"""The command `headway`: its subcommands (mbrl.commands), how they are parsed and run, and how they fail.

Help stays fast because nothing heavy is imported here. An error that is the user's to mend is one line on standard
error and exit code 2; work that failed (a loss that is no number, an experiment whose claims do not hold) is one and
exit code 1; an interrupted command exits with 130, a terminated one with 143; both clean up behind themselves.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import tyro

from mbrl.commands.arguments import leaving_no_empty_folders, require_sensible
from mbrl.commands.judging import bench, benchmark, diagnose, evaluate, failures, imagine
from mbrl.commands.learning import (
    demo,
    distill,
    experiment,
    pretrain,
    reproduce,
    train_model,
    train_policy,
    train_rl,
)
from mbrl.commands.recordings import export_minari, generate, import_, info, view

RESUMABLE = (
    "demo",
    "train-model",
    "train-policy",
    "train-rl",
    "distill",
    "pretrain",
    "experiment",
    "reproduce",
    "benchmark",
)
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "generate": generate,
    "import": import_,
    "export-minari": export_minari,
    "info": info,
    "view": view,
    "train-model": train_model,
    "train-policy": train_policy,
    "train-rl": train_rl,
    "distill": distill,
    "pretrain": pretrain,
    "experiment": experiment,
    "evaluate": evaluate,
    "benchmark": benchmark,
    "diagnose": diagnose,
    "failures": failures,
    "reproduce": reproduce,
    "imagine": imagine,
    "bench": bench,
}
SPINS = "1000"  # turns of a waiting loop
DESCRIPTION = """Learn to drive from recorded traffic without touching it.

headway learns how traffic moves, trains a policy in the futures it imagines, and then drives an invisible car among
the recorded ones to see whether it holds. Start with `headway demo`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `headway ARGUMENTS...` and return its exit code."""
    # Two torch threads that spin on shared cores make each other many times slower, and two that go to sleep at once
    # are little faster than one: they wait for a short while. Read when torch is imported.
    if os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE").upper() == "PASSIVE":
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        import importlib.metadata

        print(importlib.metadata.version("headway"))
        return 0
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        _complain(f"no command {arguments[0]!r}; there are: {', '.join(COMMANDS)}")
        return 2
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


class _Terminated(SystemExit):
    """SIGTERM: whatever is open is closed on the way out, as after Ctrl-C."""


@contextlib.contextmanager
def _raised_when_terminated() -> Iterator[None]:
    """SIGTERM raises _Terminated, where signals can be caught at all."""

    def terminate(*_: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(command: Callable[[], None], *, can_resume: bool) -> int:
    try:
        with _raised_when_terminated(), leaving_no_empty_folders():
            command()
        sys.stdout.flush()
    except (KeyboardInterrupt, _Terminated) as error:
        how, code = ("terminated", 143) if isinstance(error, _Terminated) else ("interrupted", 130)
        print(f"headway: {how}" + ("; the same command continues" if can_resume else ""), file=sys.stderr)
        return code
    except BrokenPipeError:  # `headway info F | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        return 2
    except (ValueError, RuntimeError) as error:
        from envs.errors import Failed, InputError

        if not isinstance(error, InputError | Failed):
            raise
        _complain(str(error))
        return 2 if isinstance(error, InputError) else 1
    return 0


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The same signature and help, but calling it only remembers the arguments."""

    def checked(*args: object, **kwargs: object) -> None:
        require_sensible(kwargs)
        command(*args, **kwargs)

    @functools.wraps(command)
    def remember(*args: object, **kwargs: object) -> Callable[[], None]:
        return functools.partial(checked, *args, **kwargs)

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


if __name__ == "__main__":
    sys.exit(main())
