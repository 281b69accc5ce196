"""A checkpoint is whole or absent, says no in one line, and resumes on the exact next step."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from envs.errors import InputError
from mbrl.checkpoint import (
    first_difference,
    load,
    read_header,
    restore_training_state,
    save,
    training_state,
)
from tests.mbrl.toy_run import ToyRun

PROJECT = Path(__file__).parents[2]


def small(path: Path, value: float = 1.0, **config: Any) -> Path:
    save(path, tensors={"w": torch.full((4, 4), value)}, config=config or {"lr": 0.1}, meta={"step": 3})
    return path


# ---- round trip ----


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    tensors = {
        "float": torch.randn(2, 3),
        "half": torch.randn(4).to(torch.bfloat16),
        "count": torch.tensor(5),
        "empty": torch.empty(0, 3),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
    }
    tensors["tied"] = tensors["float"]  # safetensors itself refuses shared memory
    save(
        tmp_path / "new" / "folder" / "c.safetensors",
        tensors=tensors,
        config={"sizes": (1, 2)},
        meta={"best": 0.1 + 0.2},
    )
    found = load(tmp_path / "new" / "folder" / "c.safetensors")
    assert found.config == {"sizes": [1, 2]}
    assert found.meta == {"best": 0.1 + 0.2}
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_loaded_tensors_outlive_the_file(tmp_path: Path) -> None:
    path = small(tmp_path / "c.safetensors", 1.0)
    loaded = load(path).tensors["w"]
    path.write_bytes(b"\0" * path.stat().st_size)  # in place, as a careless copy does
    assert torch.equal(loaded, torch.ones(4, 4))


def test_any_torch_reader_can_open_it(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    assert torch.equal(load_file(small(tmp_path / "c.safetensors", 2.0))["w"], torch.full((4, 4), 2.0))


def test_config_that_json_cannot_hold_is_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="plain values"):
        save(tmp_path / "c.safetensors", tensors={}, config={"f": print}, meta={})
    assert list(tmp_path.iterdir()) == []


# ---- exact resume ----


def trained(num_steps: int) -> ToyRun:
    run = ToyRun()
    for _ in range(num_steps):
        run.step()
    return run


def test_resumed_run_equals_uninterrupted_run(tmp_path: Path) -> None:
    straight = trained(10)
    trained(5).save(tmp_path / "run.safetensors")
    second = ToyRun(seed=999)  # nothing in the fresh objects may matter
    second.resume(tmp_path / "run.safetensors")
    for _ in range(5):
        second.step()

    assert second.losses == straight.losses
    assert all(torch.equal(a, b) for a, b in zip(second.weights(), straight.weights(), strict=True))


@pytest.mark.parametrize("left_out", ["model", "adam", "schedule", "noise", "sampling", "dropout"])
def test_each_part_matters(tmp_path: Path, left_out: str) -> None:
    """Shows that the exact-resume test would notice if any one part were not restored."""
    straight = trained(10)
    trained(5).save(tmp_path / "run.safetensors")
    checkpoint = load(tmp_path / "run.safetensors")

    second = ToyRun(seed=999)
    parts = {name: part for name, part in second.parts().items() if name != left_out}
    second.losses = restore_training_state(checkpoint.tensors, checkpoint.meta["training"], **parts)["losses"]
    for _ in range(5):
        second.step()
    assert second.losses[:5] == straight.losses[:5]
    assert second.losses != straight.losses


def test_saving_changes_nothing(tmp_path: Path) -> None:
    saving = ToyRun()
    for _ in range(6):
        saving.save(tmp_path / "run.safetensors")
        saving.step()
    assert saving.losses == trained(6).losses


def test_two_runs_from_one_checkpoint_do_not_share_memory(tmp_path: Path) -> None:
    trained(3).save(tmp_path / "run.safetensors")
    checkpoint = load(tmp_path / "run.safetensors")
    continued = []
    for _ in range(2):
        again = ToyRun(seed=1)
        restore_training_state(checkpoint.tensors, checkpoint.meta["training"], **again.parts())
        again.step()
        continued.append(again.losses)
    assert continued[0] == continued[1]


@pytest.mark.parametrize(
    "bit_generator", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64]
)
def test_numpy_generators_continue(bit_generator: Any, tmp_path: Path) -> None:
    generator = np.random.Generator(bit_generator(1))
    generator.integers(10, size=3, dtype=np.int32)  # leaves half a word in the buffer
    tensors, state = training_state(g=generator)
    save(tmp_path / "c.safetensors", tensors=tensors, config={}, meta=state)
    found = load(tmp_path / "c.safetensors")
    fresh = np.random.Generator(bit_generator(2))
    restore_training_state(found.tensors, found.meta, g=fresh)
    assert np.array_equal(
        fresh.integers(10, size=9, dtype=np.int32), generator.integers(10, size=9, dtype=np.int32)
    )


def test_compiled_and_plain_modules_share_checkpoints() -> None:
    plain, other = nn.Linear(2, 2), nn.Linear(2, 2)
    tensors, state = training_state(model=torch.compile(plain, backend="eager"))
    assert set(tensors) == {"model.weight", "model.bias"}
    restore_training_state(tensors, state, model=other)
    assert torch.equal(plain.weight, other.weight)


def test_state_that_cannot_be_kept_is_refused_when_saving() -> None:
    class Odd:
        def state_dict(self) -> dict[str, Any]:
            return {"callback": print}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...

    with pytest.raises(TypeError, match=r"odd\.callback"):
        training_state(odd=Odd())


# ---- a crash while writing ----


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes half of each file."""

    def half_written(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half_written)


def test_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small(tmp_path / "c.safetensors", 1.0)
    with monkeypatch.context() as patch:
        fill_disk(patch)
        with pytest.raises(
            InputError, match=r"c\.safetensors: cannot be written: No space left on device; "
        ) as error:
            small(path, 2.0)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    assert torch.equal(load(path).tensors["w"], torch.ones(4, 4))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_really_full_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real system call: the temporary name leads to a device that is always full."""
    real = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: real(Path("/dev/full"), data))
    with pytest.raises(InputError, match="No space left on device"):
        small(tmp_path / "c.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(
        folder, os.W_OK
    ):  # root may write anywhere: let the system call say what it would say to others

        def refuse(*args: Any, **kwargs: Any) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(InputError, match=r"c\.safetensors: cannot be written: Permission denied; "):
        small(folder / "c.safetensors")
    assert list(folder.iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be made"):
        small(tmp_path / "file" / "sub" / "c.safetensors")


@pytest.mark.slow
def test_killed_before_the_rename(tmp_path: Path) -> None:
    """The last moment: everything is written, the rename has not happened. What a killed writer left is cleared."""
    path = small(tmp_path / "c.safetensors", 1.0)
    script = (
        "import os, signal, torch; from mbrl.checkpoint import save\n"
        "os.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"save({str(path)!r}, tensors={{'w': torch.zeros(4, 4)}}, config={{}}, meta={{}})"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.equal(load(path).tensors["w"], torch.ones(4, 4))
    small(path, 3.0)
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_leftovers_of_other_files_stay(tmp_path: Path) -> None:
    other = tmp_path / ".d.safetensors.abc.tmp"
    other.write_bytes(b"being written by someone else")
    small(tmp_path / "c.safetensors")
    assert other.exists()


# ---- files that are refused ----


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.safetensors: no such checkpoint"):
        load(tmp_path / "none.safetensors")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        load(tmp_path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = small(tmp_path / "whole.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"cut\.safetensors: not a headway checkpoint, or cut short"):
            load(path)


class Exploit:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_foreign_files_are_refused_and_run_nothing(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    trap = tmp_path / "trap"
    torch.save({"w": Exploit(trap)}, foreign)
    with pytest.raises(InputError, match="not a headway checkpoint"):
        load(foreign)
    foreign.write_bytes(pickle.dumps(Exploit(trap)))
    with pytest.raises(InputError, match="not a headway checkpoint"):
        load(foreign)
    assert not trap.exists()
    save_file(
        {"w": torch.zeros(2)}, foreign, metadata={"format": "pt"}
    )  # a safetensors file of another project
    with pytest.raises(InputError, match="not a headway checkpoint"):
        load(foreign)


@pytest.mark.parametrize(
    "header", ["[]", "{}", "no json", '{"format": 1, "config": 3, "meta": {}}', "[" * 100_000]
)
def test_mangled_headers_are_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "c.safetensors"
    save_file({"w": torch.zeros(2)}, path, metadata={"headway": header})
    with pytest.raises(InputError, match="not a headway checkpoint"):
        load(path)


def test_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_file({}, path, metadata={"headway": '{"format": 99, "config": {}, "meta": {}}'})
    with pytest.raises(InputError, match="format 99, expected 1; update headway"):
        load(path)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_mutated_files_give_an_answer_or_a_clear_refusal(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mutated"
    folder.mkdir(exist_ok=True)
    content = bytearray(small(folder / "good.safetensors").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "bad.safetensors").write_bytes(content)
    try:
        load(folder / "bad.safetensors", config={"lr": 0.1})
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


# ---- another config ----


def test_first_differing_key_is_named(tmp_path: Path) -> None:
    path = small(tmp_path / "c.safetensors", model={"kind": "vae", "width": 64}, lr=0.1)
    load(path, config={"model": {"kind": "vae", "width": 64}, "lr": 0.1})
    with pytest.raises(InputError, match=r"another config: model\.width expected 32, found 64"):
        load(path, config={"model": {"kind": "vae", "width": 32}, "lr": 0.2})
    with pytest.raises(InputError, match=r"z expected 8, found absent"):
        load(path, config={"model": {"kind": "vae", "width": 64}, "lr": 0.1, "z": 8})
    with pytest.raises(InputError, match=r"lr expected absent, found 0\.1"):
        load(path, config={"model": {"kind": "vae", "width": 64}})


def test_config_may_hold_tuples_and_paths(tmp_path: Path) -> None:
    config = {"sizes": (1, 2), "data": Path("a/b.parquet")}
    save(tmp_path / "c.safetensors", tensors={}, config=config, meta={})
    load(tmp_path / "c.safetensors", config=config)


def test_ignored_keys_may_differ(tmp_path: Path) -> None:
    path = small(tmp_path / "c.safetensors", lr=0.1, run={"device": "cpu"})
    load(path, config={"lr": 0.1, "run": {"device": "cuda"}}, ignore={"run.device"})


def test_header_is_read_alone(tmp_path: Path) -> None:
    assert read_header(small(tmp_path / "c.safetensors", lr=0.5)) == ({"lr": 0.5}, {"step": 3})


def test_misfit_names_the_part(tmp_path: Path) -> None:
    tensors, state = training_state(model=nn.Linear(2, 2), adam=torch.optim.Adam([torch.zeros(1)]))
    with pytest.raises(InputError, match=r"does not fit 'model': .*size mismatch for weight"):
        restore_training_state(tensors, state, model=nn.Linear(3, 2))
    with pytest.raises(InputError, match="does not fit 'policy': has no 'policy'"):
        restore_training_state(tensors, state, policy=nn.Linear(2, 2))


def test_equal_configs_have_no_difference() -> None:
    assert first_difference({"a": {"b": [1, 2]}, "c": {}}, {"c": {}, "a": {"b": [1, 2]}}) is None
