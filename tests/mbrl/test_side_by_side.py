"""Jobs in processes of their own: they run at the same time, report here, and fail loudly."""

from __future__ import annotations

import atexit
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from envs.errors import InputError
from mbrl import side_by_side
from mbrl.side_by_side import Job, run_together


def write_pid(path: Path, progress: Any) -> None:
    with progress("writing", 2, unit="lines") as bar:
        path.write_text(str(os.getpid()))
        bar.advance(1, loss=2.5)
        bar.reach(2, loss=1.5)


def refuse(path: Path, progress: Any) -> None:
    """Once the other job has written."""
    while not (path.parent / "a").exists():
        time.sleep(0.01)
    path.write_text(str(os.getpid()))
    raise InputError("does not fit", path=path)


def die(path: Path, progress: Any) -> None:
    os._exit(3)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "available_threads", lambda: 2)


@pytest.mark.slow
def test_each_job_has_a_process_and_an_error_is_raised_here_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="b: does not fit"):
        run_together([Job(write_pid, (tmp_path / "a",)), Job(refuse, (tmp_path / "b",))])
    pids = {(tmp_path / name).read_text() for name in "ab"}
    assert len(pids | {str(os.getpid())}) == 3


@pytest.mark.slow
def test_each_job_has_a_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_together([Job(write_pid, (tmp_path / name,)) for name in "ab"])
    err = capfd.readouterr().err
    assert err.count("writing: done") == err.count(", loss 1.5") == 2


def exit_slowly(path: Path, progress: Any) -> None:
    """As libraries do that still have something to send."""

    def send() -> None:
        (path.parent / "leaving").touch()
        time.sleep(1.0)
        path.touch()

    atexit.register(send)


def wait_until_the_other_leaves(path: Path, progress: Any) -> None:
    while not (path.parent / "leaving").exists():
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [5.0, 0.0])
def test_a_process_whose_job_is_done_may_exit_in_its_time_and_is_ended_without_a_word(
    seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(side_by_side, "LEAVING", seconds)
    run_together([Job(exit_slowly, (tmp_path / "a",)), Job(wait_until_the_other_leaves, (tmp_path / "b",))])
    assert (tmp_path / "a").exists() == (seconds > 0)
    assert capfd.readouterr().err == ""


def test_one_job_runs_here(tmp_path: Path) -> None:
    run_together([Job(write_pid, (tmp_path / "a",))])
    assert (tmp_path / "a").read_text() == str(os.getpid())


@pytest.mark.slow
def test_a_killed_worker_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="code 3; the same command continues"):
        run_together([Job(die, (tmp_path / "a",)), Job(write_pid, (tmp_path / "b",))])


def die_at_once(path: Path, progress: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def chat(path: Path, progress: Any) -> None:
    """Report often, for longer than anybody should wait."""
    with progress("chatting", 600, unit="words") as bar:
        for _ in range(600):
            time.sleep(0.1)
            bar.advance()
    path.touch()


@pytest.mark.slow
def test_a_killed_worker_is_noticed_while_another_reports(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="code -9; the same command continues"):
        run_together([Job(die_at_once, (tmp_path / "a",)), Job(chat, (tmp_path / "b",))])
    assert not (tmp_path / "b").exists()


def close_when_ended(path: Path, progress: Any) -> None:
    """What trainings do: note something in `finally`."""
    (path.parent / "began").touch()
    try:
        while True:
            time.sleep(0.01)
    finally:
        path.write_text("closed")


def refuse_once_the_other_began(path: Path, progress: Any) -> None:
    while not (path.parent / "began").exists():
        time.sleep(0.01)
    raise InputError("does not fit", path=path)


@pytest.mark.slow
def test_who_is_ended_closes_what_it_began(tmp_path: Path) -> None:
    jobs = [Job(close_when_ended, (tmp_path / "a",)), Job(refuse_once_the_other_began, (tmp_path / "b",))]
    with pytest.raises(InputError, match="b: does not fit"):
        run_together(jobs)
    assert (tmp_path / "a").read_text() == "closed"
