"""Jobs as Ray tasks: they run in processes of their own, and an error comes back as it was."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envs.errors import InputError
from mbrl.on_ray import run_on_ray
from mbrl.side_by_side import Job

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'headway[ray]'")
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def write(path: Path, progress: Any) -> None:
    with progress("writing", 1, unit="files") as bar:
        path.write_text(str(os.getpid()))
        bar.advance(loss=0.0)


def refuse(path: Path, progress: Any) -> None:
    raise InputError("cannot be read", path=path)


def test_every_job_runs_in_another_process(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.txt" for k in range(5)]
    run_on_ray([Job(write, (path,)) for path in paths])
    assert all(int(path.read_text()) != os.getpid() for path in paths)


def test_an_error_is_raised_here_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^\S*b\.txt: cannot be read$"):
        run_on_ray([Job(write, (tmp_path / "a.txt",)), Job(refuse, (tmp_path / "b.txt",))])
