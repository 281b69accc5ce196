"""What is being done, how fast, and how long it will take: a bar in a terminal, a line now and then elsewhere.

    with Progress("training the forward model", total=config.num_updates, done=step, unit="updates") as progress:
        ...
        progress.advance(loss=loss)

Everything goes to standard error, so that standard output stays free for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import rich.progress

LINE_SECONDS = 10.0  # between two lines where there is no terminal


class Counter:
    """Counts one task towards its end, and says nothing.

    Args:
        what: what is being done, as a newcomer would say it.
        total: how many units the whole task has.
        done: how many of them an interrupted run had finished; they do not count for the rate.
        unit: plural of what is counted; "%" where only a share is known, of a total of 100.
    """

    def __init__(self, what: str, total: int, *, done: int = 0, unit: str = "steps") -> None:
        self.what, self.total, self.done, self.unit = what, total, done, unit

    def __enter__(self) -> Self:
        return self

    def advance(self, count: int = 1, **numbers: float) -> None:
        """Count `count` more units done; `numbers` are shown beside the rate until the next ones come."""
        self.done += count

    def reach(self, done: int, **numbers: float) -> None:
        """Say how many units are done in all."""
        self.advance(done - self.done, **numbers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


MakeCounter = Callable[..., Counter]  # Counter itself, or anything that is made like one


class Progress(Counter):
    """Shows how far a task is."""

    def __init__(self, what: str, total: int, *, done: int = 0, unit: str = "steps") -> None:
        super().__init__(what, total, done=done, unit=unit)
        self._first_done, self._numbers = done, ""
        self._bar: rich.progress.Progress | None = None

    def __enter__(self) -> Self:
        self._start = self._last_line = time.monotonic()
        if sys.stderr.isatty():
            self._bar = _bars.take()
            self._task = self._bar.add_task(self.what, total=self.total, completed=self.done, text="")
        else:
            self._print(f"{self.what}: {self._done()}")
        return self

    def advance(self, count: int = 1, **numbers: float) -> None:
        super().advance(count)
        if numbers:
            self._numbers = "".join(f", {name} {value:.4g}" for name, value in numbers.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, text=self._text())
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            percent = "" if self.unit == "%" else f" ({100 * self.done / max(self.total, 1):.0f} %)"
            self._print(f"{self.what}: {self._done()}{percent}, {self._text()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop_task(self._task)
            _bars.give_back()
        else:
            end = "done" if kind is None else f"stopped at {self._done()}"
            self._print(f"{self.what}: {end} after {duration(time.monotonic() - self._start)}{self._numbers}")

    def seconds_left(self) -> float | None:
        """At the rate so far; None before anything is done."""
        newly_done = self.done - self._first_done
        if newly_done <= 0:
            return None
        return (time.monotonic() - self._start) / newly_done * max(self.total - self.done, 0)

    def _done(self) -> str:
        return f"{self.done} %" if self.unit == "%" else f"{self.done} of {self.total} {self.unit}"

    def _text(self) -> str:
        left = self.seconds_left()
        if left is None:
            return "no estimate yet" + self._numbers
        rate = (self.done - self._first_done) / max(time.monotonic() - self._start, 1e-9)
        return f"{rate:.3g} {self.unit}/s, {duration(left)} left{self._numbers}"

    def _print(self, line: str) -> None:
        self._last_line = time.monotonic()
        print(line, file=sys.stderr, flush=True)


class Stages:
    """A callback report(what, done, total) for work in stages: each `what` gets a progress of its own."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._stage: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._stage is None or self._stage.what != what:
            self.__exit__(None, None, None)
            self._stage = Progress(what, total, unit=self.unit).__enter__()
        self._stage.reach(done)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stage is not None:
            self._stage.__exit__(kind, error, trace)
        self._stage = None


def duration(seconds: float) -> str:
    """
    >>> [duration(s) for s in (0.4, 59.7, 125, 7300)]
    ['0 s', '1 min 0 s', '2 min 5 s', '2 h 1 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class _Bars:
    """The one live display of this process: tasks that run at the same time are bars below each other."""

    def __init__(self) -> None:
        self._display: rich.progress.Progress | None = None
        self._num_users = 0

    def take(self) -> rich.progress.Progress:
        if self._display is None:
            self._display = _make_bar()
            self._display.start()
        self._num_users += 1
        return self._display

    def give_back(self) -> None:
        self._num_users -= 1
        if self._num_users == 0 and self._display is not None:
            self._display.stop()
            self._display = None


_bars = _Bars()


def _make_bar() -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(stderr=True),
    )
