"""Files spoiled at random: every reader answers with a recording or with one line, soon, and with nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envs.errors import InputError
from envs.formats import read, write_parquet
from envs.formats.lanes import LaneStream, read_lane_stream
from envs.formats.parquet import first_difference
from envs.recording import Recording
from tests.envs.format_files import commonroad_xml, ngsim_rows, ngsim_text, portal_csv
from tests.envs.test_formats import lane_file
from tests.toys import random_traffic

SECONDS = 20.0  # for one small file; a reader that takes longer hangs
TOKENS = [b"", b"abc", b"nan", b"-inf", b"-1", b"1e999", b"99999999999999999999", b"2147483648", b"1,156"]
TOKENS += [
    b"\n",
    b"\r",
    b"\0",
    b",",
    b'"',
    b" ",
    b"\t",
    b"\xff\xfe",
    b"</x>",
    b"<!DOCTYPE a>",
    b"&a;",
    b"PAR1",
]

Mutation = Callable[[bytes], bytes]


def at(data: bytes, place: float) -> int:
    return int(place * len(data))


def lines_moved(data: bytes, seed: int, twice: bool) -> bytes:
    """The file's lines in another order, one of them there twice or gone."""
    lines = data.split(b"\n")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lines))
    spare = [order[0]] if twice else []
    return b"\n".join(lines[k] for k in [*order[int(not twice) :], *spare])


PLACE = st.floats(0, 1, exclude_max=True)
MUTATIONS: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(
        lambda place, byte: (
            lambda data: data[: at(data, place)] + bytes([byte]) + data[at(data, place) + 1 :]
        ),
        PLACE,
        st.integers(0, 255),
    ),
    st.builds(
        lambda place, token: lambda data: data[: at(data, place)] + token + data[at(data, place) :],
        PLACE,
        st.sampled_from(TOKENS),
    ),
    st.builds(
        lambda place, count: lambda data: data[: at(data, place)] + data[at(data, place) + count :],
        PLACE,
        st.integers(1, 40),
    ),
    st.builds(lambda place: lambda data: data[: at(data, place)], PLACE),
    st.builds(lambda place, more: lambda data: data[: at(data, place)] + more, PLACE, st.binary(max_size=40)),
    st.builds(
        lambda seed, twice: lambda data: lines_moved(data, seed, twice), st.integers(0, 9), st.booleans()
    ),
    st.builds(
        lambda old, new: lambda data: data.replace(old, new),
        st.sampled_from([b"0", b"1", b".", b"7", b" ", b",", b"exact", b"point"]),
        st.sampled_from([b"", b"9", b"-", b"e", b"00", b" ", b"x"]),
    ),
)


def parquet_bytes(folder: Path) -> bytes:
    write_parquet(random_traffic(4, num_vehicles=8, num_frames=120), folder / "seed.parquet")
    return (folder / "seed.parquet").read_bytes()


FILES: dict[str, Callable[[Path], bytes]] = {
    "ngsim": lambda _: ngsim_text(ngsim_rows()).encode(),
    "ngsim-portal": lambda _: portal_csv(ngsim_rows()).encode(),
    "commonroad": lambda _: commonroad_xml("2018b").encode(),
    "commonroad 2020a": lambda _: commonroad_xml("2020a").encode(),
    "parquet": parquet_bytes,
    "lanes": lambda folder: lane_file(folder / "lane.parquet").read_bytes(),
}


def answer(path: Path, name: str) -> Recording | LaneStream | None:
    """What a reader makes of a file: a recording, or None after a refusal in one line that names the file."""
    begin = time.process_time()
    try:
        return read_lane_stream(path) if name == "lanes" else read(path, name.split()[0])
    except InputError as error:
        refusal = str(error)
    finally:
        assert time.process_time() - begin < SECONDS
    assert refusal.startswith(str(path)), refusal
    assert "\n" not in refusal
    return None


def check(recording: Recording) -> None:
    """That a recording is one, whatever it was made of."""
    for name in ("x", "y", "heading", "speed"):
        assert np.isfinite(getattr(recording, name)).all()
    assert (recording.speed >= 0).all()
    assert recording.frame_offsets[-1] == recording.num_rows == len(recording.track_rows) > 0
    assert (np.diff(recording.frame_offsets) >= 0).all()
    assert (recording.vehicles.length > 0).all()
    assert (recording.vehicles.width > 0).all()


@pytest.mark.parametrize("name", FILES)
def test_spoiled_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    seed = FILES[name](tmp_path)
    path = tmp_path / "spoiled"
    path.write_bytes(seed)
    whole: Any = answer(path, name)
    assert whole is not None

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)
    @given(mutations=st.lists(MUTATIONS, min_size=1, max_size=3))
    def spoil(mutations: list[Mutation]) -> None:
        data = seed
        for mutate in mutations:
            data = mutate(data)
        path.write_bytes(data)
        got = answer(path, name)
        if isinstance(got, Recording):
            check(got)
        if name == "parquet" and got is not None:  # its hashes let nothing else through
            assert first_difference(whole, got) is None  # type: ignore[arg-type]

    spoil()


@settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(data)
    for name in FILES:
        assert answer(path, name) is None
    with pytest.raises(InputError):
        read(path)
