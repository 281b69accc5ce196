"""A kernel is compiled again when what it rests on has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import envs
from envs.compiled import sources, sources_stamp

FILES = {
    "constants.py": "FACTOR = 10",
    "inner.py": "import numba as nb\nfrom toy import constants\n"
    "@nb.njit\ndef inner(x):\n    return x * constants.FACTOR",
    "outer.py": "from envs.compiled import compiled\nfrom toy.inner import inner\n"
    "@compiled\ndef outer(x):\n    return inner(x) + 1",
}
RUN = "from toy.outer import outer; print(outer(1), sum(outer.stats.cache_hits.values()))"


@pytest.mark.slow
def test_a_change_two_imports_away_compiles_again_and_no_change_does_not(tmp_path: Path) -> None:
    toy = tmp_path / "toy"
    toy.mkdir()
    (toy / "__init__.py").touch()
    for name, source in FILES.items():
        (toy / name).write_text(source + "\n")
    path = os.pathsep.join([str(tmp_path), str(Path(envs.__file__).parent.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert run() == "11 0"
    assert run() == "11 1"
    (toy / "constants.py").write_text("FACTOR = 20\n")
    assert run() == "21 0"


def test_kernels_rest_on_what_they_import_from_other_packages() -> None:
    files = {"/".join(file.parts[-2:]) for file in sources("agents.following")}
    assert {"agents/following.py", "agents/lanes.py", "envs/idm.py", "envs/raster.py"} <= files
    assert not any("numba" in str(file) or "numpy" in str(file) for file in sources("agents.following"))


def test_what_a_kernel_does_not_rest_on_leaves_its_stamp_alone() -> None:
    assert sources_stamp("envs.geometry") != sources_stamp("envs.raster")
    assert sources_stamp("envs.raster") == sources_stamp("envs.raster")
