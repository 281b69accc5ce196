"""Every number reaches MLflow once; a store that fails costs a line and moments, never the run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from mbrl import tracking
from mbrl.tracking import Tracker

PROJECT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def fresh_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(tracking, "_failed_stores", set())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests, because making its tables takes seconds."""
    return tmp_path_factory.mktemp("run root")  # with a space, as in many a home folder


def client_of(root: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def history(root: Path, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in client_of(root).get_metric_history(run_id, key))


# ---- what is stored ----


@pytest.mark.slow
def test_everything_reaches_the_local_store(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (root / "report.txt").write_text("all well")
    config = {"model": {"kind": "vae", "sizes": [64, 128]}, "lr": 1e-4}
    with Tracker("train", "nick", config, root, data_fingerprint="f00d") as tracker:
        for step in range(2500):
            tracker.log({"loss": 1.0 / (step + 1), "val/success": torch.tensor(0.5)}, step)
        tracker.log({"diverged": float("nan")}, 7)
        tracker.log_artifact(root / "report.txt")
        run_id = tracker.run_id
    assert run_id is not None
    client = client_of(root)
    run = client.get_run(run_id)
    assert history(root, run_id, "loss") == [(step, 1.0 / (step + 1)) for step in range(2500)]
    assert len(history(root, run_id, "val/success")) == 2500
    assert len(history(root, run_id, "diverged")) == 1
    assert run.data.params == {
        "model.kind": "vae",
        "model.sizes": "[64, 128]",
        "lr": "0.0001",
        "data_fingerprint": "f00d",
    }
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "nick"
    assert client.get_experiment(run.info.experiment_id).name == "train"
    assert run.data.tags["headway.version"]
    assert [path.read_text() for path in (root / "mlartifacts").rglob("report.txt")] == ["all well"]
    assert list(tmp_path.iterdir()) == []  # nothing lands in the working directory
    assert capfd.readouterr() == ("", "")  # and MLflow says nothing


def test_commit_is_recorded_in_a_checkout(root: Path) -> None:
    command = ["git", "-C", str(PROJECT), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    with Tracker("train", "commit", {}, root) as tracker:
        run_id = tracker.run_id
    assert client_of(root).get_run(run_id).data.tags["mlflow.source.git.commit"] == commit


def test_another_repository_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "site-packages" / "tracking.py"
    copy.parent.mkdir()
    copy.write_text("")
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        identity = ["-c", "user.name=them", "-c", "user.email=them@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *command], check=True)
    monkeypatch.setattr(tracking, "__file__", str(copy))
    assert "mlflow.source.git.commit" not in tracking._provenance()


def test_flush_stores_what_was_logged(root: Path) -> None:
    with Tracker("train", "flush", {}, root) as tracker:
        tracker.log({"loss": 3.0}, 0)
        tracker.flush()
        assert history(root, str(tracker.run_id), "loss") == [(0, 3.0)]


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_status_says_how_it_ended(root: Path, error: type[BaseException], status: str) -> None:
    run_id = None
    with pytest.raises(error), Tracker("train", "ends", {}, root) as tracker:  # noqa: PT012
        run_id = tracker.run_id
        tracker.log({"loss": 1.0}, 0)
        raise error
    assert client_of(root).get_run(run_id).info.status == status
    assert history(root, str(run_id), "loss") == [(0, 1.0)]


# ---- resume ----


def test_repeated_steps_appear_once(root: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Tracker("train", "first", {"lr": 1}, root) as tracker:  # noqa: PT012
        for step in range(8):
            tracker.log({"loss": float(step)}, step)
        run_id = tracker.run_id
        raise KeyboardInterrupt
    with Tracker("train", "again", {"lr": 1}, root, run_id=run_id) as tracker:
        assert tracker.run_id == run_id
        for step in range(5, 12):  # the checkpoint was older than the last number
            tracker.log({"loss": float(step), "new": 1.0}, step)
    assert history(root, str(run_id), "loss") == [(step, float(step)) for step in range(12)]
    assert len(history(root, str(run_id), "new")) == 7
    assert client_of(root).get_run(run_id).info.status == "FINISHED"


def test_run_of_a_lost_store_begins_anew(root: Path) -> None:
    lost = "0" * 32
    with Tracker("train", "lost", {"lr": 1}, root, run_id=lost) as tracker:
        tracker.log({"loss": 1.0}, 3)
        run_id = tracker.run_id
    assert run_id not in (None, lost)
    assert history(root, str(run_id), "loss") == [(3, 1.0)]
    assert client_of(root).get_run(run_id).data.params == {"lr": "1"}


# ---- the run is never slowed nor stopped ----


def test_logging_does_not_wait_for_the_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    real, calls = mlflow.MlflowClient.log_batch, []

    def slow(*args: Any, **kwargs: Any) -> Any:
        calls.append(len(kwargs["metrics"]))
        time.sleep(0.3)
        return real(*args, **kwargs)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", slow)
    with Tracker("train", "slow", {}, root) as tracker:
        assert tracker.run_id
        start = time.perf_counter()
        for step in range(1000):
            tracker.log({"loss": 1.0}, step)
        seconds = time.perf_counter() - start
    assert seconds < 0.2
    assert sum(calls) == 1000
    assert len(calls) <= 3  # batched, not one request for each number


def run_against(uri: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """A run that logs, flushes, asks for its id and ends; returns the seconds it took beside importing MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking._import_mlflow(is_local=False)
    start = time.perf_counter()
    with Tracker("train", "remote", {}, root) as tracker:
        tracker.log({"loss": 1.0}, 0)
        tracker.flush()
        assert tracker.run_id is None
        tracker.log({"loss": 1.0}, 1)
    return time.perf_counter() - start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_unreachable_server_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    assert run_against(uri, tmp_path, monkeypatch) < 8
    assert run_against(uri, tmp_path, monkeypatch) < 0.5  # the second run of the process knows
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"headway: warning: MLflow at {uri} failed, going on without it (")
    assert list(tmp_path.iterdir()) == []


def test_server_that_never_answers_costs_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "REMOTE_PATIENCE", 1.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert run_against(uri, tmp_path, monkeypatch) < 3
    assert capfd.readouterr().err.count("\n") == 1


class FakeServer(BaseHTTPRequestHandler):
    """As much of MLflow's REST interface as one run needs; counts the numbers it was sent."""

    received: list[dict[str, Any]]

    def do_GET(self) -> None:
        self._answer({"experiment": {"experiment_id": "1", "name": "train", "artifact_location": "/nowhere"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.received.extend(body.get("metrics", []))
        self._answer({"run": {"info": {"run_id": "abc", "run_uuid": "abc", "experiment_id": "1"}}})

    def _answer(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    FakeServer.received = []
    server = HTTPServer(("127.0.0.1", 0), FakeServer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_named_server_is_used_and_may_die(
    server: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    with Tracker("train", "remote", {"lr": 1}, tmp_path) as tracker:
        tracker.log({"loss": 1.5}, 0)
        tracker.flush()
        assert tracker.run_id == "abc"
        assert [(m["key"], m["value"], m["step"]) for m in FakeServer.received] == [("loss", 1.5, 0)]
        server.shutdown()
        server.server_close()
        for step in range(1, 5):
            tracker.log({"loss": 1.5}, step)
            tracker.flush()
        assert tracker.run_id is None
    assert capfd.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_broken_local_store_costs_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all" * 100)
    with Tracker("train", "broken", {}, tmp_path) as tracker:
        tracker.log({"loss": 1.0}, 0)
        assert tracker.run_id is None
    assert capfd.readouterr().err.count("\n") == 1


def test_missing_artifact_is_a_programming_error(root: Path) -> None:
    with pytest.raises(FileNotFoundError), Tracker("train", "artifact", {}, root) as tracker:
        tracker.log_artifact(root / "never written")


@pytest.mark.slow
def test_nothing_is_imported_until_a_run_begins() -> None:
    code = "import sys, mbrl.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, timeout=60, check=False).returncode == 0


@pytest.mark.slow
def test_two_first_runs_at_once(tmp_path: Path) -> None:
    """Both find no store and make its tables at the same moment."""
    code = (
        "import sys; from mbrl.tracking import Tracker\n"
        "with Tracker('train', sys.argv[1], {}, sys.argv[2]) as tracker:\n"
        "    tracker.log({'loss': 1.0}, 0)\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, name, str(tmp_path)], cwd=PROJECT, stderr=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    assert [run.communicate(timeout=120)[1] for run in runs] == ["", ""]
    experiment = client_of(tmp_path).get_experiment_by_name("train")
    assert len(client_of(tmp_path).search_runs([experiment.experiment_id])) == 2
