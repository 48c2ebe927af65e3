"""The tables of the lake: columns, order, and how they are written.

A table is described once, by a :class:`TableSpec`; the write-ahead file, the bucket's Parquet file, the
manifest and the checks work on any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from overround.storage.paths import SNAPSHOTS, TablePlace

__all__ = ["LEVEL_COLUMNS", "ROW_SCHEMA", "SNAPSHOT_TABLE", "TableSpec"]

_LEVELS = pa.list_(pa.float64())

LEVEL_COLUMNS = ("bid_px", "bid_sz", "ask_px", "ask_sz")

_ROW_FIELDS: list[pa.Field[Any]] = [
    pa.field("ts_recv", pa.int64(), nullable=False),
    pa.field("venue", pa.string(), nullable=False),
    pa.field("market_id", pa.string(), nullable=False),
    pa.field("outcome_id", pa.string(), nullable=False),
    pa.field("seq", pa.int64(), nullable=False),
    pa.field("best_bid_px", pa.float64(), nullable=False),
    pa.field("best_bid_sz", pa.float64(), nullable=False),
    pa.field("best_ask_px", pa.float64(), nullable=False),
    pa.field("best_ask_sz", pa.float64(), nullable=False),
    pa.field("mid", pa.float64(), nullable=False),
    pa.field("spread", pa.float64(), nullable=False),
    *(pa.field(name, _LEVELS, nullable=False) for name in LEVEL_COLUMNS),
    pa.field("status", pa.string(), nullable=False),
    pa.field("err", pa.string()),
    pa.field("source_ts", pa.int64()),
    # After the fixed columns: only new, nullable ones.
    pa.field("integrity", pa.string()),
]
ROW_SCHEMA = pa.schema(_ROW_FIELDS)


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """One bucketed table.

    Attributes
    ----------
    place : TablePlace
        Folder and file prefix.
    schema : pyarrow.Schema
        Columns in order; later versions only append nullable ones.
    version : int
        Number of the schema; grows when a column is added.
    time_column : str
        Milliseconds that decide a row's bucket.
    sort_key : tuple of str
        Columns by which a finished file is sorted, most significant first; strings or integers.
    row_group_rows : int
        Rows per row group: the unit that a reader of one market skips or reads.
    dictionary : tuple of str
        Columns written as a dictionary and codes; all others are plain.
    compact : callable, optional
        Makes one row of the rows that belong together (parts of a minute, an open gap and its end) when a
        bucket's rows become Parquet; called with rows in the order in which they were written.
    summed : bool
        Whether the writer leaves sums of each file beside the manifest.
    """

    place: TablePlace
    schema: pa.Schema
    version: int
    time_column: str
    sort_key: tuple[str, ...]
    row_group_rows: int = 5_000
    dictionary: tuple[str, ...] = ()
    compact: Callable[[pa.Table], pa.Table] | None = None
    summed: bool = False

    @property
    def name(self) -> str:
        """The table's name, as ``lake ls`` shows it."""
        return self.place.name


SNAPSHOT_TABLE = TableSpec(
    place=SNAPSHOTS,
    schema=ROW_SCHEMA,
    version=1,
    time_column="ts_recv",
    sort_key=("market_id", "outcome_id", "ts_recv"),
    # Level lists stay plain: consecutive rows of one outcome differ in a few levels, and only whole
    # 8-byte values let zstd find the previous row as one long match (dictionary indices are bit-packed).
    # Times and counters stay plain too: the second outcome's run repeats the first's, byte for byte.
    dictionary=("venue", "market_id", "outcome_id", "status", "err", "integrity"),
    summed=True,
)
