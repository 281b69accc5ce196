"""Reading and writing recordings: each format is converted to metres, seconds and box centres at the door."""

from envs.formats.parquet import read_parquet, write_parquet

__all__ = ["read_parquet", "write_parquet"]
