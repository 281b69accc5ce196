"""Every number of a run goes to MLflow, without slowing the run and without ever stopping it.

    with Tracker("train-model", "quick", asdict(config), root=out, run_id=meta.get("mlflow_run")) as tracker:
        tracker.log({"loss": loss, "gradient_norm": norm}, step=step)

Numbers are handed to a thread that writes them about once a second. The store is `ROOT/mlflow.db` (look at it with
`mlflow ui --backend-store-uri sqlite:///ROOT/mlflow.db`) unless MLFLOW_TRACKING_URI names another one. A store that
fails, such as a server that cannot be reached, costs one line of warning and at most a few seconds.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self, SupportsFloat

from mbrl.checkpoint import flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

WRITE_SECONDS = 1.0  # between two writes
REMOTE_PATIENCE = 5.0  # s that a run ever waits for a server
LOCAL_PATIENCE = 60.0  # s; making the tables of a new SQLite store takes 2 s, more on a busy machine
MAX_METRICS, MAX_PARAMS, MAX_VALUE_LENGTH = 1000, 100, 6000  # per request, as MLflow documents

_failed_stores: set[str] = set()  # one warning for each store, however many runs this process makes


class _Numbers(NamedTuple):
    values: Mapping[str, SupportsFloat]
    step: int
    time_ms: int


class Tracker:
    """One MLflow run, as a context manager.

    Args:
        experiment: groups runs of one kind, such as `train-model`.
        run_name: a nickname; nothing is read back from it.
        config: everything the run was asked to do, nested; logged as parameters with dotted names.
        root: folder of the local store, used unless MLFLOW_TRACKING_URI is set.
        run_id: continue this run (`Tracker.run_id` of the interrupted one). Numbers it already has are not written
            again, so steps that are repeated after a resume appear once.
        data_fingerprint: what identifies the recordings that the run reads.
    """

    def __init__(
        self,
        experiment: str,
        run_name: str,
        config: Mapping[str, object],
        root: str | Path,
        *,
        run_id: str | None = None,
        data_fingerprint: str | None = None,
    ) -> None:
        self._experiment, self._run_name, self._config = experiment, run_name, dict(config)
        self._data_fingerprint = data_fingerprint
        self._root = Path(root).resolve()
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self._root / 'mlflow.db'}"
        self._is_local = self.uri.startswith(("sqlite:", "file:", "/", "."))
        self._patience = LOCAL_PATIENCE if self._is_local else REMOTE_PATIENCE
        self._run_id: str | None = run_id
        self._last_steps: dict[str, int] | None = None if run_id is None else {}
        self._condition = threading.Condition()  # guards all that follows
        self._pending: list[_Numbers | Path] = []
        self._num_submitted = self._num_written = 0
        self._is_open = self._hurry = False
        self._is_dead = self.uri in _failed_stores
        self._final_status: str | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)

    def __enter__(self) -> Self:
        if not self._is_dead:
            _import_mlflow(
                self._is_local
            )  # here rather than in the thread: two threads importing can get in a knot
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit)
        with self._condition:
            self._final_status = "FINISHED" if kind is None else "KILLED" if interrupted else "FAILED"
            self._hurry = True
            self._condition.notify_all()
        if self._thread.ident is not None:
            self._thread.join(0 if self._is_dead else self._patience)
            if self._thread.is_alive():
                self._give_up(f"no answer in {self._patience:.0f} s")

    def log(self, metrics: Mapping[str, SupportsFloat], step: int) -> None:
        """Numbers of one step; returns at once."""
        self._submit(_Numbers(metrics, int(step), int(time.time() * 1000)))

    def log_artifact(self, path: str | Path) -> None:
        """A file or folder to copy to the store; returns at once, so leave it in place until `flush`."""
        self._submit(Path(path).resolve(strict=True))

    def flush(self) -> None:
        """Wait until everything logged so far is stored.

        Call it before saving a checkpoint: then no number before the checkpoint is lost if the run is killed.
        """
        with self._condition:
            target = self._num_submitted
            self._hurry = True
            self._condition.notify_all()
            done = self._condition.wait_for(
                lambda: self._is_dead or self._num_written >= target, self._patience
            )
        if not done:
            self._give_up(f"no answer in {self._patience:.0f} s")

    @property
    def run_id(self) -> str | None:
        """MLflow's id of this run, to keep in the checkpoint's meta; None once the store has failed."""
        with self._condition:
            answered = self._condition.wait_for(lambda: self._is_open or self._is_dead, self._patience)
        if not answered:
            self._give_up(f"no answer in {self._patience:.0f} s")
        return None if self._is_dead else self._run_id

    # ---- the thread ----

    def _submit(self, item: _Numbers | Path) -> None:
        with self._condition:
            if not self._is_dead:
                self._pending.append(item)
                self._num_submitted += 1

    def _work(self) -> None:
        try:
            client, run_id = self._open()
            with self._condition:
                self._run_id, self._is_open = run_id, True
                self._condition.notify_all()
            status = None
            while status is None and not self._is_dead:
                with self._condition:
                    self._condition.wait_for(lambda: self._hurry, WRITE_SECONDS)
                    self._hurry = False
                    items, self._pending = self._pending, []
                    status = self._final_status
                self._write(client, run_id, items)
                with self._condition:
                    self._num_written += len(items)
                    self._condition.notify_all()
            if status is not None:
                client.set_terminated(run_id, status)
        except Exception as error:  # whatever a store can raise, the run goes on
            self._give_up(f"{type(error).__name__}: {error}")

    def _open(self) -> tuple[MlflowClient, str]:
        """The run to write to: the one to be continued if the store has it, else a new one."""
        from mlflow import MlflowClient
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        if self._is_local:
            self._root.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(self._root / "mlflow.lock") if self._is_local else nullcontext():
            client = MlflowClient(self.uri)
        if self._run_id is not None:
            try:
                client.update_run(self._run_id, status="RUNNING")
                return client, self._run_id
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                self._last_steps = None  # the store is another one: begin a run there
        run_id: str = client.create_run(
            self._experiment_id(client), run_name=self._run_name, tags=_provenance()
        ).info.run_id
        values = flatten(self._config) | {"data_fingerprint": self._data_fingerprint}
        params = [
            Param(key, str(value)[:MAX_VALUE_LENGTH]) for key, value in values.items() if value is not None
        ]
        for start in range(0, len(params), MAX_PARAMS):
            client.log_batch(run_id, params=params[start : start + MAX_PARAMS])
        return client, run_id

    def _experiment_id(self, client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        artifacts = (self._root / "mlartifacts").as_uri() if "MLFLOW_TRACKING_URI" not in os.environ else None
        experiment = client.get_experiment_by_name(self._experiment)
        if experiment is None:
            try:
                return str(client.create_experiment(self._experiment, artifact_location=artifacts))
            except MlflowException:  # another process was faster
                experiment = client.get_experiment_by_name(self._experiment)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

    def _write(self, client: MlflowClient, run_id: str, items: list[_Numbers | Path]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(key, float(value), item.time_ms, item.step)
            for item in items
            if isinstance(item, _Numbers)
            for key, value in item.values.items()
        ]
        if self._last_steps is not None:
            metrics = [metric for metric in metrics if metric.step > self._last_step(client, run_id, metric)]
        for start in range(0, len(metrics), MAX_METRICS):
            client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS])
        for item in items:
            if isinstance(item, Path):
                log = client.log_artifacts if item.is_dir() else client.log_artifact
                log(run_id, str(item), item.name if item.is_dir() else None)

    def _last_step(self, client: MlflowClient, run_id: str, metric: Metric) -> int:
        """The last step that a continued run had of this number before it was interrupted."""
        assert self._last_steps is not None
        if metric.key not in self._last_steps:
            history = client.get_metric_history(run_id, metric.key)
            self._last_steps[metric.key] = max((entry.step for entry in history), default=-1)
        return self._last_steps[metric.key]

    def _give_up(self, reason: str) -> None:
        with self._condition:  # held while printing, so that whoever waits goes on after the warning
            if not self._is_dead and self.uri not in _failed_stores:
                _failed_stores.add(self.uri)
                reason = " ".join(reason.split())
                reason = reason if len(reason) <= 200 else reason[:200] + "..."
                with suppress(OSError, ValueError):  # standard error may be closed by now
                    print(
                        f"headway: warning: MLflow at {self.uri} failed, going on without it ({reason})",
                        file=sys.stderr,
                    )
            self._is_dead = True
            self._pending = []
            self._condition.notify_all()


class Untracked:
    """Looks like a Tracker, and keeps nothing."""

    run_id = None

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> Self:
        return self

    def log(self, metrics: Mapping[str, SupportsFloat], step: int) -> None: ...

    def flush(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _import_mlflow(is_local: bool) -> None:
    """Import MLflow (seconds, hence late) with its telemetry, its chatter and its patience turned down."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if not is_local:  # the defaults wait for minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Processes wait for each other here: MLflow fails if two make the tables of a new store at once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
        yield


def _provenance() -> dict[str, str]:
    """Tags that say which code ran: the package version and, in a checkout, the commit."""
    try:
        tags = {"headway.version": importlib.metadata.version("headway")}
    except importlib.metadata.PackageNotFoundError:
        tags = {}
    # An installed copy may lie inside some other project's repository: only a tracked file tells our own commit.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is not None:
        if commit := _git("rev-parse", "HEAD"):
            tags["mlflow.source.git.commit"] = commit
        tags["headway.uncommitted_changes"] = str(bool(_git("status", "--porcelain", "--untracked-files=no")))
    return tags


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
