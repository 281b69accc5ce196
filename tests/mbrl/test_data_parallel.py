"""Several ranks train what one process does: the same windows, noise, losses, weights; they stop and go on alike."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agents.policies import Policy
from envs.errors import InputError
from envs.formats import write_parquet
from mbrl import data_parallel
from mbrl.checkpoint import load
from mbrl.loop import TRAINING_FILE
from mbrl.model_losses import model_windows, rollout_error
from mbrl.policy_rollouts import Imagined, imitation_losses
from mbrl.train_policy import POLICY_FILE
from mbrl.trained_model import MODEL_FILE
from tests.mbrl import killed_run, parallel_run
from tests.mbrl.parallel_run import (
    CASES,
    HALTED,
    NUMBERS,
    SMALL,
    WITH_DROPOUT,
    policy_training,
    trained_model,
)
from tests.mbrl.runs import Notebook, assert_same_checkpoint, notebook
from tests.mbrl.small import small_model
from tests.mbrl.test_kills import PROJECT, saved
from tests.toys import orderly_traffic

__all__ = ["notebook"]  # a fixture

ENV = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}


def torchrun(*arguments: str | Path, num_ranks: int = 2) -> list[str]:
    """The command."""
    options = ["--standalone", f"--nproc-per-node={num_ranks}"]
    return [sys.executable, "-m", "torch.distributed.run", *options, *map(str, arguments)]


# --- parts and their means -------------------------------------------------------------------------------------------


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes this process look like one of two ranks, until something is averaged."""

    def become(rank: int) -> None:
        monkeypatch.setattr(data_parallel, "num_ranks", lambda: 2)
        monkeypatch.setattr(data_parallel, "rank", lambda: rank)

    return become


def assert_mean_of_parts_is_whole(
    losses: Callable[[], Iterator[Tensor]], learning: nn.Module, as_rank: Callable[[int], None]
) -> None:
    """Of three losses, one after the other, and their gradients."""

    def now() -> list[Tensor]:
        found = []
        for loss in islice(losses(), 3):
            gradients = torch.autograd.grad(loss, list(learning.parameters()), allow_unused=True)
            found += [loss.detach(), *(g for g in gradients if g is not None)]
        return found

    whole = now()
    as_rank(0)
    first = now()
    as_rank(1)
    second = now()
    assert not torch.allclose(first[0], second[0], rtol=1e-4)
    for want, a, b in zip(whole, first, second, strict=True):
        torch.testing.assert_close((a + b) / 2, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("variant", ["vae", "vae, learned prior", "error encoding", "separated"])
def test_a_model_s_loss_is_the_mean_of_its_parts(variant: str, as_rank: Callable[[int], None]) -> None:
    model = small_model(variant)
    sampler = model_windows(model, [orderly_traffic()], 3, 8, 3, perturbed=0.5)

    def losses() -> Iterator[Tensor]:
        noise = torch.Generator().manual_seed(1)
        for i in range(3):
            windows = sampler.batch(i, data_parallel.part(8))
            error, kl = rollout_error(model, windows, 3, "cpu", noise, 0.5)
            yield error.mean() + 0.1 * kl

    assert_mean_of_parts_is_whole(losses, model, as_rank)


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("separated", {}), ("vae", {}), ("ensemble", {}), ("vae", {"method": "mper"}), ("vae", {"z": "adversarial"}),
        ("separated", {"stochastic": True}), ("vae", {"stochastic": True}), ("separated", {"method": "imitation"}),
    ],
)  # fmt: skip
def test_a_policy_s_loss_is_the_mean_of_its_parts(
    variant: str, changes: dict[str, Any], as_rank: Callable[[int], None]
) -> None:
    config, policy, recordings = policy_training(**changes), Policy(SMALL), [orderly_traffic()]
    trained = trained_model(variant)
    trained.model.requires_grad_(False)

    def losses() -> Iterator[Tensor]:
        if config.method == "imitation":
            found = imitation_losses(config, policy, recordings, 0, "cpu")
        else:
            found = Imagined(config, policy, trained, recordings).losses(0)
        return (loss for loss, _ in found)

    assert_mean_of_parts_is_whole(losses, policy, as_rank)


def test_ranks_have_dropout_of_their_own_at_each_step(as_rank: Callable[[int], None]) -> None:
    drawn = []
    for rank in (0, 1):
        as_rank(rank)
        for step in (0, 1, 1):
            data_parallel.seed_dropout(0, step)
            drawn.append(tuple(torch.rand(3).tolist()))
    assert drawn[1] == drawn[2]
    assert drawn[4] == drawn[5]
    assert len(set(drawn)) == 4


def test_a_single_process_draws_as_ever() -> None:
    torch.manual_seed(3)
    want = torch.rand(4)
    generator = data_parallel.seeded(3, "cpu")
    data_parallel.seed_dropout(0, 1)
    assert generator is None
    assert torch.equal(data_parallel.shared(torch.rand, 4), want)
    weight = torch.ones(2, requires_grad=True)
    weight.grad = gradient = torch.ones(2)
    assert data_parallel.average([weight], {"loss": 0.1}) == {"loss": 0.1}
    assert weight.grad is gradient
    assert data_parallel.part(5) == slice(0, 5)
    with data_parallel.joined("cuda") as device:
        assert device == "cuda"


@pytest.mark.parametrize("case", ["separated", "mpur, separated", "imitation", "cost"])
def test_a_batch_without_equal_parts_is_refused_before_anything_is_written(
    case: str, tmp_path: Path, notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_parallel, "num_ranks", lambda: 3)
    monkeypatch.setattr(data_parallel, "rank", lambda: 0)
    monkeypatch.setattr(data_parallel, "agreed", lambda number: number)
    with pytest.raises(InputError, match="a batch of 4 examples has no 3 equal parts"):
        CASES[case](tmp_path, "cpu")
    assert not list(tmp_path.iterdir())


def test_a_rank_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(InputError, match="rank 3 of this machine finds 2 GPUs"),
        data_parallel.joined("cuda"),
    ):
        pass


# --- two ranks -------------------------------------------------------------------------------------------------------


def run_alone_and_together(folder: Path, device: str) -> Path:
    parallel_run.main(folder / "alone", device)
    command = torchrun(parallel_run.__file__, folder / "together", device)
    subprocess.run(command, env=ENV, check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case, by one process and by two ranks."""
    return run_alone_and_together(tmp_path_factory.mktemp("runs"), "cpu")


def assert_same_numbers(alone: Path, together: Path, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """All that was logged, at every step."""
    (one, two) = (json.loads((folder / NUMBERS).read_text()) for folder in (alone, together))
    assert [step for step, _ in one] == [step for step, _ in two]
    for (step, want), (_, got) in zip(one, two, strict=True):
        assert got == pytest.approx(want, rel=rtol, abs=atol), step


def assert_same_files(alone: Path, together: Path, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Every tensor but the state of dropout's generator, which ranks seed anew."""
    files = sorted(alone.glob("*.safetensors"))
    assert len(files) == 2
    for file in files:
        want, got = load(file).tensors, load(together / file.name).tensors
        want.pop("dropout", None), got.pop("dropout", None)
        torch.testing.assert_close(got, want, rtol=rtol, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_what_one_process_does(case: str, runs: Path) -> None:
    assert_same_numbers(runs / "alone" / case, runs / "together" / case)
    assert_same_files(runs / "alone" / case, runs / "together" / case)


@pytest.mark.slow
@pytest.mark.parametrize("case", WITH_DROPOUT)
def test_two_ranks_resume_bit_for_bit(case: str, runs: Path) -> None:
    straight, resumed = (runs / "together" / how / case for how in ("straight", "resumed"))
    files = list(straight.glob("*.safetensors"))
    assert len(files) == 2
    for file in files:
        assert_same_checkpoint(file, resumed / file.name)


@pytest.mark.slow
@pytest.mark.parametrize("case", HALTED)
def test_one_process_goes_on_where_two_ranks_stopped(case: str, runs: Path, notebook: Notebook) -> None:
    out = runs / "together" / "halted" / case
    assert len(list(out.glob("*.safetensors"))) == 1
    CASES[case](out, "cpu")
    assert 0 < len(notebook.steps) < len(json.loads((runs / "alone" / case / NUMBERS).read_text()))
    assert_same_files(runs / "alone" / case, out)


@pytest.mark.slow
def test_two_ranks_draw_z_alike_and_dropout_apart(runs: Path) -> None:
    first, second = (json.loads((runs / "together" / f"rank-{k}.json").read_text()) for k in (0, 1))
    torch.manual_seed(7)
    torch.testing.assert_close(torch.tensor(first["alike"] + second["alike"]), torch.randn(4))
    assert not set(first["apart"]) & set(second["apart"])


@pytest.mark.gpu
@pytest.mark.slow
def test_two_gpus_train_what_one_does(tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    run_alone_and_together(tmp_path, "cuda")
    for case in CASES:
        assert_same_numbers(tmp_path / "alone" / case, tmp_path / "together" / case, rtol=1e-2, atol=1e-2)


# --- what can go wrong -----------------------------------------------------------------------------------------------


def worker(of: int, rank: int) -> int:
    """The process of a rank of torchrun's."""
    for pid in Path(f"/proc/{of}/task/{of}/children").read_text().split():
        if f"RANK={rank}" in Path(f"/proc/{pid}/environ").read_text().split("\0"):
            return int(pid)
    raise AssertionError(f"no rank {rank}")


@pytest.mark.slow
def test_a_killed_rank_stops_the_others_and_all_go_on_bit_for_bit(tmp_path: Path) -> None:
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    for rank in (1, 0):
        before = saved(rough)
        process = subprocess.Popen(torchrun(killed_run.__file__, rough), env=ENV)
        while saved(rough) == before:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(worker(process.pid, rank), signal.SIGKILL)
        assert process.wait(timeout=300) == 1
    for folder in (calm, rough):
        subprocess.run(torchrun(killed_run.__file__, folder), env=ENV, check=True, timeout=300)
    for file in (f"model/{MODEL_FILE}", f"policy/{POLICY_FILE}", f"policy/{TRAINING_FILE}"):
        assert_same_checkpoint(calm / file, rough / file)


@pytest.mark.slow
def test_the_commands_train_on_two_ranks_and_write_once(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    recording, model, policy = (tmp_path / name for name in ("traffic.parquet", "model", "policy"))
    write_parquet(orderly_traffic(), recording)
    common = ["--recording", recording, "--preset", "debug"]
    commands = {
        model: ["train-model", *common, "--out", model],
        policy: ["train-policy", "--model", model, *common, "--out", policy],
    }
    refused = subprocess.run(
        torchrun("-m", "mbrl.cli", *commands[model], num_ranks=3),
        env=ENV, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "headway: error: a batch of 4 examples has no 3 equal parts" in refused.stderr
    assert not model.exists()
    for out, command in commands.items():
        done = subprocess.run(
            torchrun("-m", "mbrl.cli", *command),
            env=ENV, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
        assert done.stderr.count(": done after") == (1 if out == model else 2)
        client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
        experiments = [e.experiment_id for e in client.search_experiments()]
        for run in client.search_runs(experiments):
            steps = sorted(m.step for m in client.get_metric_history(run.info.run_id, "loss"))
            assert steps == list(range(len(steps))) != []
    assert (model / MODEL_FILE).exists()
    assert (policy / POLICY_FILE).exists()
