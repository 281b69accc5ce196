"""What a user is told in one line: bad input, refused where it enters, and work that failed."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Input that cannot be used: says what is wrong, where, and what was expected.

    The command line prints it as one line and exits with code 2.

    Args:
        what: the fault and what was expected instead, without a full stop.
        path: the file it stands in.
        row: its 1-based line in that file.
        column: its column, field or attribute.
    """

    def __init__(
        self, what: str, *, path: str | Path | None = None, row: int | None = None, column: str | None = None
    ) -> None:
        where = [str(path)] if path is not None else []
        if row is not None:
            where.append(f"row {row}")
        if column is not None:
            where.append(f"column {column}")
        super().__init__((", ".join(where) + ": " if where else "") + " ".join(what.split()))
        self.path, self.row, self.column = path, row, column


class Failed(RuntimeError):
    """Good input, and yet no result: says what happened. The command line prints it as one line, exit code 1."""
