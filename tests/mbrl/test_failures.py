"""The page about failures shows the cars that failed, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agents import NoAction
from agents.evaluate import evaluate
from envs.errors import InputError
from envs.formats import write_parquet
from envs.recording import Recording
from mbrl.failures import PAGE_FILE, explain_failures
from tests.agents.scenes import clean_traffic


@pytest.fixture(scope="module")
def traffic() -> Recording:
    return clean_traffic(num_cars=40)


@pytest.fixture(scope="module")
def file(traffic: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traffic") / "traffic.parquet"
    write_parquet(traffic, path)
    return path


def shown(folder: Path) -> list[int]:
    """The vehicles with pictures of their last moments."""
    text = (folder / PAGE_FILE).read_text()
    return [int(number) for number in re.findall(r"<br>vehicle (\d+),", text)]


def test_every_failed_car_can_be_seen(traffic: Recording, file: Path, tmp_path: Path) -> None:
    evaluation = evaluate([NoAction()], [traffic], split="all", threads=1)
    failed = ~evaluation.runs[0].outcomes.succeeded()
    numbers = evaluation.vehicle_id[evaluation.drives.vehicle[failed]].tolist()
    assert 6 < len(numbers) < len(evaluation.drives)
    said = explain_failures(tmp_path, [file], "no-action", split="all")
    assert said.startswith(f"no-action failed on {len(numbers)} of {len(evaluation.drives)} all cars; ")
    assert len(shown(tmp_path)) == 6
    assert set(shown(tmp_path)) < set(numbers)
    explain_failures(tmp_path, [file], "no-action", split="all", vehicles=numbers[1:3])
    assert shown(tmp_path) == numbers[1:3]
    text = (tmp_path / PAGE_FILE).read_text()
    assert text.count('alt="imagined frames"') == text.count('alt="real frames"') > 0
    with pytest.raises(InputError, match=r"vehicle 999 is none of the \d+ that failed: \d+"):
        explain_failures(tmp_path, [file], "no-action", split="all", vehicles=[999])


def test_who_never_fails_has_nothing_to_explain(file: Path, tmp_path: Path) -> None:
    explain_failures(tmp_path, [file], "human", split="all")
    assert shown(tmp_path) == []
    assert "human has none" in (tmp_path / PAGE_FILE).read_text()
