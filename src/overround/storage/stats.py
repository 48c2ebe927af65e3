"""``stats.parquet``: what mining found about each outcome; the scheduler reads it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from overround.errors import FileDamaged, NothingStored
from overround.storage.bucket import refused_by_system
from overround.storage.fileops import FileOps
from overround.storage.paths import LakePaths

__all__ = ["STATS_SCHEMA", "STATS_VERSION", "newest_stats", "read_stats", "write_stats"]

STATS_VERSION = 3
"""Grows when a column is added at the end or a column's meaning changes, its formula included: what was kept of an earlier
version is reckoned anew."""

_FIELDS: list[pa.Field[Any]] = [
    pa.field("venue", pa.string(), nullable=False),
    pa.field("market_id", pa.string(), nullable=False),
    pa.field("outcome_id", pa.string(), nullable=False),
    pa.field("n_snapshots", pa.int64(), nullable=False),
    pa.field("n_ok", pa.int64(), nullable=False),
    # Null where no row has both sides: an average over nothing is no number.
    pa.field("avg_depth_top3", pa.float64()),
    pa.field("avg_spread", pa.float64()),
    pa.field("quote_updates", pa.int64(), nullable=False),
    pa.field("first_ts", pa.int64(), nullable=False),
    pa.field("last_ts", pa.int64(), nullable=False),
]
STATS_SCHEMA = pa.schema(_FIELDS)
_VERSION_KEY = b"overround.stats_version"


def write_stats(
    paths: LakePaths, venue: str, date: str, rows: pa.Table, *, level: int = 9, ops: FileOps | None = None
) -> Path:
    """Write one day's statistics, sorted by market and outcome, whole or not at all.

    Parameters
    ----------
    paths : LakePaths
    venue, date : str
    rows : pyarrow.Table
        The columns of ``STATS_SCHEMA`` by name; further columns follow them. NaN averages become null.
    level : int
        zstd level.
    ops : FileOps, optional

    Raises
    ------
    ValueError
        If a column is missing.
    """
    missing = [name for name in STATS_SCHEMA.names if name not in rows.schema.names]
    if missing:
        raise ValueError(f"statistics lack {', '.join(missing)}")
    columns: dict[str, Any] = {}
    for field in STATS_SCHEMA:
        column = rows.column(field.name).cast(field.type)
        columns[field.name] = _without_nan(column) if pa.types.is_floating(field.type) else column
    more = [field for field in rows.schema if field.name not in columns]
    schema = pa.schema([*STATS_SCHEMA, *more], metadata={_VERSION_KEY: str(STATS_VERSION).encode()})
    table = pa.Table.from_arrays([*columns.values(), *(rows.column(field.name) for field in more)], schema=schema)
    table = table.sort_by([("market_id", "ascending"), ("outcome_id", "ascending")])
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=level)
    path = paths.stats(venue, date)
    (ops or FileOps()).write_whole(path, sink.getvalue())
    return path


def _without_nan(column: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    cleaned: pa.ChunkedArray[Any] = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    return cleaned


def read_stats(paths: LakePaths, venue: str, date: str) -> pa.Table:
    """One day's statistics.

    Raises
    ------
    NothingStored
        If that day was not mined.
    FileDamaged
        If the file cannot be read, or was written by a later version.
    """
    path = paths.stats(venue, date)
    if not path.is_file():
        raise NothingStored(
            f"no statistics of {venue} on {date} under {paths.root / 'stats'}",
            hint=f"`overround mine --venue {venue} --date {date}` writes them",
        )
    return _read(path)


def newest_stats(paths: LakePaths, venue: str) -> list[Mapping[str, object]]:
    """Rows of the newest day's statistics; empty when nothing was mined yet."""
    found = paths.all_stats(venue)
    if not found:
        return []
    rows: list[Mapping[str, object]] = [*_read(found[-1]).to_pylist()]
    return rows


def _read(path: Path) -> pa.Table:
    hint = "run `overround mine` again for that day"
    try:
        table = pq.read_table(io.BytesIO(path.read_bytes()))
    except (pa.ArrowException, OSError) as exc:
        if refused_by_system(exc):
            raise
        raise FileDamaged(f"{path} is no readable Parquet file", hint=hint) from exc
    version = int((table.schema.metadata or {}).get(_VERSION_KEY, b"0"))
    missing = [name for name in STATS_SCHEMA.names if name not in table.schema.names]
    if missing:
        raise FileDamaged(f"{path} lacks {', '.join(missing)}", hint=hint)
    if version > STATS_VERSION:
        raise FileDamaged(f"{path} has version {version}; this program reads up to {STATS_VERSION}", hint="update it")
    return table
