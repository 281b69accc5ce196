"""The shapes of `headway`'s command line, and how it says no."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from envs.errors import InputError
from envs.formats import read_parquet, write_parquet
from envs.formats.fingerprint import fingerprint
from envs.recording import Recording
from mbrl.cli import COMMANDS, SPINS, main
from mbrl.commands.arguments import all_agents
from mbrl.loop import NotFinite
from tests.agents.scenes import clean_traffic
from tests.toys import random_traffic

PROJECT = Path(__file__).parents[2]

# Each command, as scripts may rely on it, and the function that does its work.
SHAPES = {
    "demo": "demo --out {tmp}/out",
    "generate": "generate --site i80 --seed 0 --minutes 15 --out {tmp}/F.parquet --ngsim {tmp}/F.txt",
    "import": "import {file} {file} --format ngsim --out {tmp}/F.parquet",
    "export-minari": "export-minari --recording {file} --agent idm --split all --cars 3 --out {tmp}/toy-idm-v0",
    "info": "info {file} --json",
    "view": "view {file} --agent human --mp4 {tmp}/F.mp4 --seconds 2",
    "train-model": "train-model --recording {file} {file} --preset quick --out {tmp}/out",
    "train-policy": "train-policy --model {tmp} --recording {file} --out {tmp}/out",
    "train-rl": "train-rl --recording {file} --algorithm sac --steps 9 --hidden 64 64 --out {tmp}/out",
    "distill": "distill --model {tmp} --recording {file} --preset debug --out {tmp}/out",
    "pretrain": "pretrain sparse-coding --data patches --out {tmp}/out --updates 9 --batch-size 64 --seed 1",
    "experiment": "experiment losses bounded --out {tmp}/out --seeds 0 1 2 --quick",
    "evaluate": "evaluate --recording {file} --agent human --agent no-action --agent {tmp} --perturbed --out {tmp}/out",
    "benchmark": "benchmark --recording {file} --out {tmp}/out --entrants mpur ppo --traffic blind --rl-steps 9",
    "failures": "failures --model {tmp} --agent idm --vehicle 3 5 --recording {file} --out {tmp}/out",
    "diagnose": "diagnose --model {tmp} --policy {tmp} --recording {file} --split test --out {tmp}/out",
    "reproduce": "reproduce --recording {file} --out {tmp}/out --seeds 0 1 2 --rows imitation mpur-vae --ray",
    "imagine": "imagine --model {tmp} --recording {file} --agent human --steps 9 --futures 2 --out {tmp}/F.mp4",
    "bench": "bench replay --json",
}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Replaces the commands by ones that note their arguments, the same way `main` finds the real ones."""
    import functools

    calls: list[tuple[str, dict[str, Any]]] = []

    def noting(name: str, command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def note(**arguments: Any) -> None:
            calls.append((name, arguments))

        return note

    for name, command in list(COMMANDS.items()):
        monkeypatch.setitem(COMMANDS, name, noting(name, command))
    return calls


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, BaseException], None]:
    """Makes a command raise."""

    def install(name: str, error: BaseException) -> None:
        def command() -> None:
            raise error

        monkeypatch.setitem(COMMANDS, name, command)

    return install


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recording.parquet"
    write_parquet(random_traffic(num_vehicles=10, num_frames=100), path)
    return path


def only_line(text: str) -> str:
    assert text.endswith("\n")
    assert text.count("\n") == 1, text
    return text[:-1]


# ---- shapes ----


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_understood(name: str, recorded: list[Any], tmp_path: Path) -> None:
    assert main(SHAPES[name].format(tmp=tmp_path, file=tmp_path / "recording.parquet").split()) == 0
    assert [call[0] for call in recorded] == [name]


def test_no_command_is_without_a_tested_shape() -> None:
    assert set(SHAPES) == set(COMMANDS)


def test_values_arrive(recorded: list[Any], tmp_path: Path) -> None:
    assert main("generate --site us101 --seed 3 --minutes 2.5 --out a.parquet".split()) == 0
    arguments = recorded[0][1]
    assert arguments["site"] == "us101"
    assert arguments["seed"] == 3
    assert arguments["minutes"] == 2.5
    assert arguments["out"] == Path("a.parquet")


def test_agents_keep_their_order(recorded: list[Any]) -> None:
    assert main("evaluate --recording r --agent no-action runs/p --agent human --out o".split()) == 0
    assert all_agents(recorded[0][1]["agent"]) == ("no-action", "runs/p", "human")


def test_recordings_may_follow_one_option_or_several(recorded: list[Any]) -> None:
    assert main("train-model --recording a b --recording c --out o".split()) == 0
    assert recorded[0][1]["recording"] == ((Path("a"), Path("b")), (Path("c"),))


@pytest.mark.parametrize(
    "command", ["demo", "train-model --recording r", "evaluate --recording r --agent human"]
)
def test_device_can_be_named(command: str, recorded: list[Any]) -> None:
    assert main([*command.split(), "--out", "o", "--device", "cuda"]) == 0
    assert recorded[0][1]["device"] == "cuda"


def test_demo_needs_no_arguments(recorded: list[Any]) -> None:
    assert main(["demo"]) == 0


def stub(monkeypatch: pytest.MonkeyPatch, module: str, function: str) -> list[tuple[Any, ...]]:
    """Puts a module in place whose function notes its positional arguments."""
    calls: list[tuple[Any, ...]] = []
    fake = ModuleType(module)
    setattr(fake, function, lambda *arguments, **options: calls.append(arguments))
    monkeypatch.setitem(sys.modules, module, fake)
    return calls


def test_recordings_are_handed_on_as_one_list(
    monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path
) -> None:
    calls: list[list[float]] = []

    def note(config: Any, recordings: list[Recording], out: Path, **options: Any) -> None:
        calls.append([recording.site.length for recording in recordings])

    monkeypatch.setattr("mbrl.train_model.train_model", note)
    other = tmp_path / "other.parquet"
    write_parquet(random_traffic(num_vehicles=5, num_frames=100, length=300.0), other)
    third = tmp_path / "third.parquet"
    shutil.copy(file, third)
    arguments = [
        "--recording",
        str(file),
        str(other),
        "--recording",
        str(third),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(["train-model", *arguments]) == 0
    assert calls == [[500.0, 300.0, 500.0]]


@pytest.mark.parametrize("command", ["train-model", "train-rl", "train-policy --method log-replay"])
def test_a_folder_is_of_one_training_on_the_same_recordings(
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:

    def begun(config: object, recordings: object, out: Path, **_: object) -> None:
        (out / "begun").mkdir(parents=True, exist_ok=True)

    for name in ("train_model", "train_rl", "train_policy"):
        monkeypatch.setattr(f"mbrl.{name}.{name}", begun)
    other = tmp_path / "other.parquet"
    write_parquet(random_traffic(num_vehicles=5, num_frames=100, length=300.0), other)
    out = ["--out", str(tmp_path / "o")]
    for _ in range(2):
        assert main([*command.split(), "--recording", str(file), *out]) == 0
    assert main([*command.split(), "--recording", str(other), *out]) == 2
    assert "has other recordings" in only_line(capsys.readouterr().err)
    assert main([*command.split(), "--recording", str(file), *out, "--seed", "3"]) == 2
    assert "has seed 0, not 3" in only_line(capsys.readouterr().err)
    if command != "train-rl":
        assert main([*command.split(), "--recording", str(file), *out, "--preset", "debug"]) == 2
        assert "has preset quick, not debug" in only_line(capsys.readouterr().err)
    another = "train-model" if command != "train-model" else "train-rl"
    assert main([another, "--recording", str(file), *out]) == 2
    assert "has training" in only_line(capsys.readouterr().err)


# ---- help ----


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert all(f"• {name} " in out for name in COMMANDS)
    assert err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    import inspect

    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out
    documentation = inspect.getdoc(COMMANDS[name]) or ""
    for option in inspect.signature(COMMANDS[name]).parameters:
        assert f"{option}: " in documentation


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mbrl.cli import main; main(['--help'])\n"
        "heavy = {'torch', 'numpy', 'numba', 'mlflow', 'pandas', 'pyarrow', 'matplotlib', 'gymnasium'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("policy", "spins"), [(None, SPINS), ("passive", SPINS), ("ACTIVE", None)])
def test_threads_wait_for_a_short_while_unless_told(
    policy: str | None, spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("OMP_WAIT_POLICY", policy), ("GOMP_SPINCOUNT", None)):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == spins
    assert os.environ["OMP_WAIT_POLICY"] == (policy or "PASSIVE")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.count(".") == 2


# ---- saying no ----


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "nonsense",
        "info",
        "info a b",
        "train-model --out o",
        "train-model --recording r --preset huge --out o",
        "generate --seed many --out o",
        "generate --minutes -1 --out {tmp}/o.parquet",
        "generate --site i90 --out {tmp}/o.parquet",
        "generate --out {tmp}/o.txt",
        "import {file} --out {tmp}/o.csv",
        "evaluate --recording {file} --out {tmp}/o",
        "evaluate --recording {tmp}/none.parquet --agent human --out {tmp}/o",
        "info {tmp}/none.parquet",
        "info {tmp}",
        "info {text}",
        "import --out {tmp}/o.parquet",
        "import {tmp}/none.txt --out {tmp}/o.parquet",
        "train-policy --model {tmp}/none --recording {file} --out {tmp}/o",
        "train-policy --recording {file} --out {tmp}/o",
        "train-policy --method log-replay --model {tmp} --recording {file} --out {tmp}/o",
        "demo --unknown",
        "pretrain nonsense --data ring --out {tmp}/o",
        "pretrain ica --data nonsense --out {tmp}/o",
        "pretrain vq-vae --data ring --out {tmp}/o",
        "pretrain vae --data speeds:{tmp}/none.parquet --out {tmp}/o",
        "experiment nonsense --out {tmp}/o",
        "experiment --out {tmp}/o",
        "evaluate --recording {file} --agent idm --agent idm --out {tmp}/o",
        "evaluate --recording {file} --agent idm --history -1 --out {tmp}/o",
        "evaluate --recording {file} --agent idm --min-seconds nan --out {tmp}/o",
        "evaluate --recording {file} --agent idm --max-cars 0 --out {tmp}/o",
        "evaluate --recording {file} --recording {file} --agent idm --out {tmp}/o",
        "evaluate --recording {file} --agent= --out {tmp}/o",
        "evaluate --recording {file} --agent idm --history 100000 --out {tmp}/o/p",
        "evaluate --recording {file} --agent idm nobody --out {tmp}/o/p",
        "export-minari --recording {file} --cars 0 --out {tmp}/toy-v0",
        "train-rl --recording {file} --progress nan --out {tmp}/o",
        "train-model --recording {file} --device meta --out {tmp}/o",
        "train-model --recording {file} --device gpu --out {tmp}/o",
        "train-rl --recording {file} --hidden -3 --out {tmp}/o",
        "train-model --recording {file} --out {tmp}/o --seed -1",
        "reproduce --recording {file} --out {tmp}/o --seeds 0 -1",
        "benchmark --recording {file} --out {tmp}/o --seeds 0 1 0",
        "benchmark --recording {file} --out {tmp}/o --max-cars 0",
        "benchmark --recording {file} --out {tmp}/o --rl-steps 0",
        "benchmark --recording {file} --out {tmp}/o --scenes {tmp}/none.xml",
        "benchmark --recording {file} --out {tmp}/o --scenes {file}",
        "benchmark --recording {file} --out {tmp}/o --scenes {tmp} --entrants idm",
        "benchmark --recording {file} --out {tmp}/o --scenes {empty}",
        "view {file} --mp4 {tmp}/v.gif",
        "view {file} --mp4 {tmp}/v.mp4 --seconds 0",
    ],
)
def test_bad_arguments_get_one_line(
    arguments: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.parquet"
    text.write_text("no recording")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(arguments.format(tmp=tmp_path, file=file, text=text, empty=empty).split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert only_line(err).startswith("headway: error: ")
    assert not (tmp_path / "o").exists(), "a refused command leaves nothing behind"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("two\nlines", path="a.txt", row=3), "a.txt, row 3: two lines"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), "runs/x: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/o"), "/o: Permission denied"),
        (OSError("lost"), "lost"),
    ],
)
def test_errors_of_the_user_and_the_machine_get_one_line(
    fails: Any, error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fails("demo", error)
    assert main(["demo"]) == 2
    assert only_line(capsys.readouterr().err) == f"headway: error: {message}"


def test_our_own_mistakes_keep_their_traceback(fails: Any) -> None:
    fails("demo", ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        main(["demo"])


def test_work_that_failed_is_one_line_and_exit_code_1(fails: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fails("demo", NotFinite("error is nan at update 7"))
    assert main(["demo"]) == 1
    assert only_line(capsys.readouterr().err) == "headway: error: error is nan at update 7"
    fails("demo", RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["demo"])


@pytest.mark.parametrize(("name", "continues"), [("demo", True), ("train-policy", True), ("info", False)])
def test_interruption(name: str, continues: bool, fails: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fails(name, KeyboardInterrupt())
    assert main([name]) == 130
    assert ("the same command continues" in only_line(capsys.readouterr().err)) == continues


def test_what_is_terminated_cleans_up_behind_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work(*_: object, **__: object) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    monkeypatch.setattr("mbrl.demo.run_demo", work)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 143
    assert only_line(capsys.readouterr().err) == "headway: terminated; the same command continues"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert signal.getsignal(signal.SIGTERM) is before


# ---- output paths are checked before the work ----


def test_output_folder_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = stub(monkeypatch, "mbrl.demo", "run_demo")
    assert main(["demo", "--out", str(tmp_path / "a" / "b")]) == 0
    assert len(calls) == 1
    assert (tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_output_folder_that_is_a_file(
    monkeypatch: pytest.MonkeyPatch, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = stub(monkeypatch, "mbrl.demo", "run_demo")
    for out in (file, file / "below"):
        assert main(["demo", "--out", str(out)]) == 2
        assert "cannot be written to" in only_line(capsys.readouterr().err)
    assert calls == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_output_folder_that_takes_no_file(
    code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(code, os.strerror(code))

    calls = stub(monkeypatch, "mbrl.demo", "run_demo")
    monkeypatch.setattr(
        "tempfile.TemporaryFile", refuse
    )  # root may write into a read-only folder, so say it here
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert f"{tmp_path}: cannot be written to: {os.strerror(code)}" in only_line(capsys.readouterr().err)
    assert calls == []


def test_output_file_that_is_a_folder(
    monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "o.parquet").mkdir()
    assert main(["import", str(file), "--out", str(tmp_path / "o.parquet")]) == 2
    assert "is a folder" in only_line(capsys.readouterr().err)


def test_an_unknown_command_is_answered_with_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inof", "recording.parquet"]) == 2
    said = only_line(capsys.readouterr().err)
    assert said.startswith("headway: error: no command 'inof'; there are: demo, ")
    assert "recording.parquet" not in said


def test_a_refused_command_keeps_what_was_there(file: Path, tmp_path: Path) -> None:
    mine, full = tmp_path / "mine", tmp_path / "full"
    mine.mkdir()
    full.mkdir()
    (full / "kept").write_text("mine")
    for out in (mine, full / "new" / "newer"):
        assert main(["evaluate", "--recording", str(file), "--agent", "nobody", "--out", str(out)]) == 2
    assert mine.is_dir()
    assert [path.name for path in full.iterdir()] == ["kept"]


def test_missing_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path), "--device", "cuda:99"]) == 2
    assert only_line(capsys.readouterr().err).startswith("headway: error: --device cuda:99 is not available")


def test_few_cars_may_be_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, found = tmp_path / "traffic.parquet", []
    write_parquet(clean_traffic(num_cars=24), file)
    asked = f"evaluate --recording {file} --agent idm --split all --out {tmp_path}/o"
    for few in ("", " --max-cars 2"):
        assert main((asked + few).split()) == 0
        found.append(json.loads((tmp_path / "o" / "results.json").read_text())["cars"])
    assert found[0] > found[1] == 2


# ---- info ----


def test_info_tells_what_is_in_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = read_parquet(file)
    assert main(["info", str(file), "--json"]) == 0
    told = json.loads(only_line(capsys.readouterr().out))
    assert told["rows"] == recording.num_rows
    assert told["vehicles"] == len(recording.vehicles) == sum(told["vehicles_by_split"].values())
    assert told["vehicles"] == sum(told["vehicles_by_kind"].values())
    assert told["minutes"] == pytest.approx(recording.num_frames * 0.1 / 60, abs=1e-3)
    assert told["speed_mean_kmh"] == pytest.approx(recording.speed.mean() * 3.6, abs=1e-2)
    assert told["fingerprint"] == fingerprint(recording)
    assert main(["info", str(file)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(told)


def test_reader_that_stops_listening_is_no_error() -> None:
    """A command says more than a pipe holds."""
    code = (
        "import sys; from mbrl.cli import COMMANDS, SPINS, main\n"
        "COMMANDS['demo'] = lambda: print('x' * 2**20)\n"
        "sys.exit(main(['demo']))"
    )
    talking = subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert talking.stdout is not None
    assert talking.stderr is not None
    assert talking.stdout.read(1) == b"x"
    talking.stdout.close()
    assert talking.stderr.read() == b""
    talking.stderr.close()
    assert talking.wait() == 0
