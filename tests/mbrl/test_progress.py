"""Progress says what, how fast and how long; few lines where nobody watches."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from mbrl import progress
from mbrl.progress import Progress, Stages


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


def test_plain_lines_are_rare_and_complete(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("counting sheep", 100, unit="sheep") as bar:
        for _ in range(100):
            clock.now += 0.25
            bar.advance(loss=0.5)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "counting sheep: 0 of 100 sheep",
        "counting sheep: 40 of 100 sheep (40 %), 4 sheep/s, 15 s left, loss 0.5",
        "counting sheep: 80 of 100 sheep (80 %), 4 sheep/s, 5 s left, loss 0.5",
        "counting sheep: done after 25 s, loss 0.5",
    ]


def test_a_share_is_told_once(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Progress("driving", 100, unit="%") as bar:  # noqa: PT012
        clock.now += 20
        bar.reach(40)
        raise KeyboardInterrupt
    assert capsys.readouterr().err.splitlines() == [
        "driving: 0 %",
        "driving: 40 %, 2 %/s, 30 s left",
        "driving: stopped at 40 % after 20 s",
    ]


def test_what_was_done_before_does_not_speed_up_the_estimate(clock: SimpleNamespace) -> None:
    with Progress("resuming", 100, done=90) as bar:
        assert bar.seconds_left() is None
        clock.now += 10
        bar.advance(5)
        assert bar.seconds_left() == pytest.approx(10)


def test_interruption_says_where(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Progress("counting", 10) as bar:  # noqa: PT012
        bar.advance(3)
        raise KeyboardInterrupt
    assert capsys.readouterr().err.splitlines()[-1] == "counting: stopped at 3 of 10 steps after 0 s"


def test_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with Progress("counting", 4) as bar:
        for _ in range(4):
            bar.advance(loss=0.25)
    assert "100%" in terminal.getvalue()
    assert "loss 0.25" in terminal.getvalue()


def test_each_stage_has_its_own_lines(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with Stages("cars") as report:
        for what in ("human", "policy"):
            for done in (0, 30, 60):
                report(what, done, 60)
                clock.now += 6
    assert capsys.readouterr().err.splitlines() == [
        "human: 0 of 60 cars",
        "human: 60 of 60 cars (100 %), 5 cars/s, 0 s left",
        "human: done after 18 s",
        "policy: 0 of 60 cars",
        "policy: 60 of 60 cars (100 %), 5 cars/s, 0 s left",
        "policy: done after 18 s",
    ]
