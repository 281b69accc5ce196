"""The world: recordings and sites, batched replay, rasterised observation, costs, environments, generated traffic.

`import envs` registers the gymnasium environments; everything heavier (numba, pygame) is imported with the name that
needs it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import register, registry

if TYPE_CHECKING:
    from envs.drives import Drives, find_drives
    from envs.environment import ReplayEnv, ReplayVectorEnv, Reward
    from envs.errors import InputError
    from envs.formats import read, read_parquet, write_parquet
    from envs.recording import Recording
    from envs.replay import Observation, Replay, Step
    from envs.site import Site
    from envs.units import View
    from envs.viewer import view
    from envs.windows import WindowConfig, Windows, WindowSampler

SAMPLE = Path(__file__).with_name("data") / "i80_sample.parquet"  # the recording that ships with headway

_NAMES = {
    "drives": ("Drives", "find_drives"),
    "environment": ("ReplayEnv", "ReplayVectorEnv", "Reward"),
    "errors": ("InputError",),
    "formats": ("read", "read_parquet", "write_parquet"),
    "recording": ("Recording",),
    "replay": ("Observation", "Replay", "Step"),
    "site": ("Site",),
    "units": ("View",),
    "viewer": ("view",),
    "windows": ("WindowConfig", "WindowSampler", "Windows"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "SAMPLE",
    "Drives",
    "InputError",
    "Observation",
    "Recording",
    "Replay",
    "ReplayEnv",
    "ReplayVectorEnv",
    "Reward",
    "Site",
    "Step",
    "View",
    "WindowConfig",
    "WindowSampler",
    "Windows",
    "find_drives",
    "read",
    "read_parquet",
    "view",
    "write_parquet",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'envs' has no attribute {name!r}")
    return getattr(import_module(f"envs.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


for _id, _traffic in (("headway/Replay-v0", "blind"), ("headway/ReplayReactive-v0", "reactive")):
    if _id not in registry:
        register(
            id=_id,
            entry_point="envs.environment:ReplayEnv",
            vector_entry_point="envs.environment:ReplayVectorEnv",
            kwargs={"traffic": _traffic},
        )
