"""numba's compiler, with a cache that no change to the sources outlives.

numba keeps machine code on disk and compiles again when the file of that very function has changed. A kernel that calls
another module, or took a constant from it, would go on with what that module said when the kernel was compiled.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar

import numba as nb

PACKAGES = ("envs", "planners", "pretrain", "agents", "mbrl")
P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function to code that runs without the GIL, cached until a source it rests on changes."""
    kernel = nb.njit(nogil=True, cache=True)(function)
    if hasattr(kernel, "_cache"):  # not under NUMBA_DISABLE_JIT
        # There is no public way to say so. numba takes code from the disk if this equals what was stored beside it.
        kernel._cache._cache_file._source_stamp = sources_stamp(function.__module__)
    return kernel


@cache
def sources_stamp(module: str) -> str:
    """SHA-256 of all that a module rests on."""
    digest = hashlib.sha256()
    for file in sources(module):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def sources(module: str) -> list[Path]:
    """The files of a module and of all it imports, itself or through others, of its own package and headway's."""
    package = module.partition(".")[0]
    folder = Path(sys.modules[package].__file__ or "").parent.parent
    found, seen, waiting = [], {module}, [module]
    while waiting:
        path = folder.joinpath(*waiting.pop().split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                found.append(file)
                imported = _imports(file.read_bytes())
                new = sorted(
                    name for name in imported - seen if name.partition(".")[0] in (package, *PACKAGES)
                )
                seen.update(new)
                waiting += new
    return found


def _imports(source: bytes) -> set[str]:
    """Full names a source imports; for `from a import b` both a and a.b, since b may be a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return names
