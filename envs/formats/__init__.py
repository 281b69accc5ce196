"""Reading and writing recordings: each format is converted to metres, seconds and box centres at the door."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envs.errors import InputError
from envs.formats.parquet import read_parquet, write_parquet
from envs.recording import Recording
from envs.site import Site

__all__ = ["FORMATS", "read", "read_parquet", "write_parquet"]

FORMATS = ("ngsim", "ngsim-portal", "commonroad", "parquet")


def read(
    paths: str | Path | Sequence[str | Path],
    format: str | None = None,
    *,
    site: Site | str | None = None,
    location: str | None = None,
    units: str = "feet",
) -> Recording:
    """Read one recording from one file, or from several that hold its parts (NGSIM).

    Args:
        format: one of FORMATS; None looks into the first file. "ngsim" takes the portal's files as well.
        site, location, units: of NGSIM files, see `envs.formats.ngsim.read_ngsim`; the others bring theirs.
    Raises:
        InputError: names file, row and column of the first fault.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not files:
        raise InputError("no file given, a recording expected")
    if format is None:
        format = _guess(files[0])
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}, one of {', '.join(FORMATS)} expected")
    if format.startswith("ngsim"):
        from envs.formats.ngsim import read_ngsim

        portal = format == "ngsim-portal"
        return read_ngsim(files, site=site, location=location, units=units, portal=portal)
    if len(files) > 1:
        raise InputError(f"{len(files)} files given, but each {format} file is a recording", path=files[1])
    if site is not None or location is not None or units != "feet":
        raise InputError(f"a {format} file brings its site and units, none can be chosen", path=files[0])
    if format == "parquet":
        return read_parquet(files[0])
    from envs.formats.commonroad import read_commonroad

    return read_commonroad(files[0])


def _guess(path: Path) -> str:
    """The format that a file's first bytes speak for."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=path) from error
    if head.startswith(b"PAR1"):
        return "parquet"
    return "commonroad" if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<") else "ngsim"
