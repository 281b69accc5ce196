"""Drives as a Minari data set, for learners that only read, and back.

    write_minari(episodes(Human(), "i80.parquet"), Path("data/i80-human-v0"), algorithm="human")
    for episode in read_minari(Path("data/i80-human-v0")): ...

The folder is the data set: its name is the set's id, which has to end in a version. Minari itself opens it by

    minari.MinariDataset("data/i80-human-v0/data")
    minari.load_dataset("i80-human-v0")                  with MINARI_DATASETS_PATH=data

Pictures are stored without loss, in Parquet. An episode's `options` say which car it was.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from agents.episodes import Episode
from envs.errors import InputError
from envs.vector_environment import ACTION_LIMIT

if TYPE_CHECKING:
    from minari import MinariDataset

DATA_FOLDER = "data"  # in the data set's, as Minari has it


def write_minari(
    drives: Iterable[Episode], out: Path, *, algorithm: str, description: str = ""
) -> MinariDataset:
    """Write drives, one after the other, as the data set `out`.

    Args:
        algorithm: who drove.
    Raises:
        InputError: Minari is not installed; `out` is no name of a data set, or one is there; there are no drives.
    """
    minari = _minari()
    if not re.fullmatch(r"[\w-]+-v\d+", out.name):
        raise InputError("the name of a data set ends in a version, such as i80-human-v0", path=out)
    if out.exists() and not out.is_dir():
        raise InputError("this is a file; choose another name", path=out)
    if (out / DATA_FOLDER).exists():
        raise InputError("there is a data set already; choose another name", path=out)
    drives = iter(drives)
    first = next(drives, None)
    if first is None:
        raise InputError("no drives to write", path=out)
    out = out.resolve()  # Minari 0.5.4 joins a relative path to itself
    out.parent.mkdir(parents=True, exist_ok=True)
    from minari.dataset.minari_storage import MinariStorage

    with tempfile.TemporaryDirectory(
        dir=out.parent, prefix=f".{out.name}."
    ) as folder:  # all of it, or nothing
        unfinished = Path(folder) / DATA_FOLDER
        storage = MinariStorage.new(
            unfinished, observation_space=_space_of(first), action_space=gym.spaces.Box(-ACTION_LIMIT, ACTION_LIMIT),
            data_format="parquet", jpeg_encoding=False,
        )  # fmt: skip
        facts = {"dataset_id": out.name, "algorithm_name": algorithm, "minari_version": minari.__version__}
        storage.update_metadata({**facts, **({"description": description} if description else {})})
        storage.update_episodes(_buffer(episode) for episode in _all(first, drives))
        out.mkdir(exist_ok=True)
        unfinished.rename(out / DATA_FOLDER)
    return minari.MinariDataset(out / DATA_FOLDER)


def read_minari(folder: Path) -> Iterator[Episode]:
    """The drives of a data set, as they were written.

    Raises:
        InputError: Minari is not installed, or there is no data set.
    """
    minari = _minari()
    if not (folder / DATA_FOLDER).is_dir():
        raise InputError("no Minari data set here", path=folder)
    data = minari.MinariDataset(folder / DATA_FOLDER)
    for episode in data:
        [about] = data.storage.get_episode_metadata([episode.id])
        yield Episode(
            observations=episode.observations,
            actions=episode.actions,
            rewards=episode.rewards,
            terminations=episode.terminations,
            truncations=episode.truncations,
            where=about["options"],
        )


def _minari() -> Any:
    try:
        import minari
    except ImportError as error:
        raise InputError("Minari data sets need Minari: pip install headway[offline]") from error
    return minari


def _all(first: Episode, others: Iterator[Episode]) -> Iterator[Episode]:
    yield first
    yield from others


def _buffer(episode: Episode) -> Any:
    from minari.data_collector import EpisodeBuffer

    return EpisodeBuffer(
        observations=episode.observations,
        actions=episode.actions,
        rewards=episode.rewards,
        terminations=episode.terminations,
        truncations=episode.truncations,
        options=episode.where,
    )


def _space_of(episode: Episode) -> gym.spaces.Dict:
    """Of what one sees; bounds differ between recordings, so there are none but those of a byte."""

    def box(array: np.ndarray) -> gym.spaces.Box:
        if array.dtype == np.uint8:
            return gym.spaces.Box(0, 255, array.shape[1:], np.uint8)
        return gym.spaces.Box(-np.inf, np.inf, array.shape[1:], array.dtype.type)

    return gym.spaces.Dict({name: box(array) for name, array in episode.observations.items()})
