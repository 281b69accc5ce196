"""The benchmark of what a model knows of actions: that it runs, and what it prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import interventions
from envs.formats import write_parquet
from mbrl.forward_models import PaperConfig
from mbrl.rows import models
from tests.mbrl.small import random_context
from tests.toys import orderly_traffic


@pytest.mark.slow
def test_every_model_is_trained_and_asked_about_every_acceleration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "orderly.parquet"
    write_parquet(orderly_traffic(), path)
    interventions.main(["--out", str(tmp_path / "out"), "--recording", str(path), "--preset", "debug"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(interventions.VARIANTS) * len(interventions.ACCELERATIONS)
    numbers = np.array([row.strip("| ").split(" | ")[2:] for row in rows], float)
    assert numbers.shape == (len(rows), 9)
    imagined, met, r = np.split(numbers, 3, axis=1)
    assert np.isfinite(imagined).all()
    assert (imagined >= 0).all()
    for k in range(len(interventions.ACCELERATIONS)):  # the same drives, whatever the model
        assert (met[k :: len(interventions.ACCELERATIONS)] == met[k]).all()
    assert (abs(r[np.isfinite(r)]) <= 1).all()
    last = len(interventions.VARIANTS) - 1
    model = tmp_path / "out" / f"model-{last}"
    interventions.main(["--model", str(model), "--recording", str(path), "--preset", "debug"])
    again = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"| model-{last} ")]
    assert [row.split("|")[2:] for row in again] == [row.split("|")[2:] for row in rows[-len(again) :]]
    assert len(again) == len(interventions.ACCELERATIONS)


def test_a_share_of_no_updates_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        interventions.main(["--out", str(tmp_path), "--shorter", "0"])
    assert "--shorter 0: give 1 or more" in capsys.readouterr().err


def test_variants_lead_from_the_paper_to_the_row() -> None:
    row = models("quick")["vae-z-dropout"]
    published, by_logits, by_chance, last = (
        interventions.variant(row, as_in_row) for as_in_row in interventions.VARIANTS.values()
    )
    paper = PaperConfig()
    assert isinstance(published.model, PaperConfig)
    assert (published.model.residual, published.model.dropout) == (paper.residual, paper.dropout)
    assert published.perturbed == published.varied == 0
    assert by_logits == replace(published, model=replace(published.model, residual="logit"))
    assert by_chance == replace(by_logits, perturbed=row.perturbed, varied=row.varied) != by_logits
    assert last == row != by_chance
    short = interventions.variant(row, tuple(interventions.AS_PUBLISHED), shorter=5)
    assert [stage.updates * 5 for stage in short.stages] == [stage.updates for stage in row.stages]


def test_a_constant_acceleration_is_the_same_for_everybody() -> None:
    actions = interventions.constantly(-1.5, random_context())
    assert torch.equal(actions, torch.tensor([[-1.5, 0.0]]).expand(len(actions), 2))
