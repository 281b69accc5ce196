"""Drives are kept in files of their own, and only put together if they are of the same cars."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from agents import NoAction
from envs.errors import InputError
from envs.formats import write_parquet
from mbrl.driven import Driver, gathered, still_to_drive
from mbrl.progress import Counter
from tests.agents.scenes import clean_traffic


def test_kept_drives_are_of_the_same_cars(tmp_path: Path) -> None:
    file = tmp_path / "traffic.parquet"
    write_parquet(clean_traffic(num_cars=30), file)
    driver = Driver("no-action", None, tmp_path / "drives" / "no-action.npz", partial(NoAction, "no-action"))
    (job,) = still_to_drive([driver], [file], split="all", max_cars=6)
    job.function(*job.arguments, progress=Counter)
    assert [path.name for path in driver.file.parent.iterdir()] == ["no-action.npz"]
    assert still_to_drive([driver], [file], split="all", max_cars=6) == []
    together = gathered([driver], [file], split="all", max_cars=6)
    assert [len(run.outcomes) for run in together.runs] == [len(together.drives)] == [6]
    for others in ({"max_cars": 5}, {"max_cars": 6, "seed": 1}):
        with pytest.raises(InputError, match=r"no-action\.npz: these are drives of other cars; delete it"):
            gathered([driver], [file], split="all", **others)
