"""Reading tables back, lazily, one partition at a time, the open bucket included.

A partition is one venue, day and hour. Its frame joins the finished files and the rows that still stand
in write-ahead files; a row is never seen twice, whatever a collector does meanwhile. Column types come
from the table's description: nothing is inferred from paths or from the first file.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from overround.errors import UNREADABLE, FileDamaged, NothingStored
from overround.storage.bucket import FileMeta, conformed, file_meta_of, refused_by_system
from overround.storage.objects import ObjectPath
from overround.storage.paths import LakePaths
from overround.storage.schema import SNAPSHOT_TABLE, TableSpec
from overround.storage.trades import TRADE_TABLE
from overround.storage.wal import WalContent, read_wal
from overround.timebucket import Bucket

__all__ = ["HIVE_SCHEMA", "Partition", "Piece", "partitions", "polars_schema", "scan_snapshots", "scan_trades"]

HIVE_SCHEMA: dict[str, Any] = {"venue": pl.String, "date": pl.Date, "hour": pl.Int8}
"""Types of the values in folder names, for ``polars.scan_parquet(..., hive_schema=HIVE_SCHEMA)``."""


def polars_schema(table: TableSpec = SNAPSHOT_TABLE) -> dict[str, Any]:
    """A table's columns as polars types, in order."""
    empty = pl.from_arrow(table.schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    return dict(empty.schema)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One file's worth of a partition: a finished file, or an open bucket with what stands beside it.

    Attributes
    ----------
    path : Path
        The finished file, or the one that the bucket will become.
    table : TableSpec
    finished : bool
        Whether the file was there when the pieces were listed.
    waiting : tuple of WalContent
        Rows that were not in it then.
    """

    path: Path
    table: TableSpec
    finished: bool
    waiting: tuple[WalContent, ...] = ()

    def scan(self) -> pl.LazyFrame:
        """The piece's rows: the table's columns, in no particular order.

        Raises
        ------
        FileDamaged
            If the file cannot be read; where nothing is waiting, polars may say so only when it collects.
        """
        if not self.waiting:
            return _scan_files([self.path], self.table)
        # The file is read at once: it may soon be replaced by one that holds the waiting rows too.
        meta, rows = _snapshot_of(self.path, self.table) if self.finished else (None, None)
        taken_in = set(meta.wals) if meta else set()
        new = [content for content in self.waiting if content.n_rows and content.wal_id not in taken_in]
        frames = [_lazy(conformed(pa.Table.from_batches(content.batches), self.table)) for content in new]
        if rows is not None:
            frames.append(_lazy(rows))
        return pl.concat(frames, how="vertical") if frames else pl.LazyFrame(schema=polars_schema(self.table))


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One venue, day and hour of a table.

    Attributes
    ----------
    paths : LakePaths
    table : TableSpec
    venue, date, hour : str
        ``hour`` is ``HH``, or empty where the table is not divided by hours.
    """

    paths: LakePaths
    table: TableSpec
    venue: str
    date: str
    hour: str

    def scan(self, *, open_bucket: bool = True) -> pl.LazyFrame:
        """Rows of the partition as they stand now, in no particular order.

        Parameters
        ----------
        open_bucket : bool
            Include rows of buckets that are not finished (read into memory at once).

        Returns
        -------
        polars.LazyFrame
            The table's columns.

        Raises
        ------
        FileDamaged
            If a file beside an open bucket cannot be read.
        """
        pieces = self.pieces(open_bucket=open_bucket)
        whole = [piece.path for piece in pieces if not piece.waiting]
        frames = [_scan_files(whole, self.table)] if whole else []
        frames += [piece.scan() for piece in pieces if piece.waiting]
        return pl.concat(frames, how="vertical") if frames else pl.LazyFrame(schema=polars_schema(self.table))

    def pieces(self, *, open_bucket: bool = True) -> list[Piece]:
        """The rows of ``scan``, cut by file, so that one damaged file spoils only its own.

        Parameters
        ----------
        open_bucket : bool
            Include rows of buckets that are not finished.
        """
        # Write-ahead rows first: one that is finished in between is then found in its Parquet file, which names it.
        waiting = self._waiting() if open_bucket else []
        files = self.files()
        opened = {
            self.paths.bucket_file(self.table.place, self.venue, Bucket(start_ms, 0), shard): tuple(contents)
            for start_ms, shard, contents in waiting
        }
        return [
            Piece(path=path, table=self.table, finished=path in files, waiting=opened.get(path, ()))
            for path in sorted({*files, *opened})
        ]

    def files(self) -> list[Path]:
        """Finished Parquet files of the partition."""
        return self.paths.bucket_files(self.table.place, self.venue, self.date, self.hour)

    def _waiting(self) -> list[tuple[int, tuple[int, int], list[WalContent]]]:
        found: dict[tuple[int, tuple[int, int]], list[WalContent]] = {}
        for wal in self.paths.wal_files(self.table.place, self.venue, self.date, self.hour):
            try:
                content = read_wal(wal.path)
            except FileNotFoundError:
                continue  # finished since it was listed
            found.setdefault((wal.start_ms, wal.shard), []).append(content)
        return [(start_ms, shard, contents) for (start_ms, shard), contents in found.items()]


def _scan_files(files: Sequence[Path], table: TableSpec) -> pl.LazyFrame:
    sources: list[Any] = list(files)
    options: dict[str, str] = {}
    if any(isinstance(path, ObjectPath) for path in files):
        found = [cast("ObjectPath", path).parquet_source() for path in files]
        # Either all are in hand, or all are read where they lie: one scan takes one sort of source.
        whole = all(isinstance(source, io.BytesIO) for source, _ in found)
        sources = [source if whole else str(path) for path, (source, _) in zip(files, found, strict=True)]
        options = {} if whole else next(given for source, given in found if isinstance(source, str))
    return pl.scan_parquet(
        sources,
        storage_options=options or None,
        schema=polars_schema(table),
        missing_columns="insert",
        extra_columns="ignore",
        hive_partitioning=False,
        glob=False,
    )


def _lazy(rows: pa.Table) -> pl.LazyFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


def _snapshot_of(target: Path, table: TableSpec) -> tuple[FileMeta | None, pa.Table | None]:
    """A file's description and rows from one reading, so that they belong together."""
    try:
        data = target.read_bytes()
        return file_meta_of(pq.read_metadata(io.BytesIO(data))), conformed(pq.read_table(io.BytesIO(data)), table)
    except FileNotFoundError:
        return None, None
    except (pa.ArrowException, OSError, *UNREADABLE) as exc:
        if refused_by_system(exc):
            raise
        raise FileDamaged(f"{target} is no readable Parquet file", hint="`overround lake verify` lists damage") from exc


def partitions(
    paths: LakePaths,
    venue: str,
    *,
    date: str | None = None,
    hours: Iterable[int] | None = None,
    table: TableSpec = SNAPSHOT_TABLE,
) -> Iterator[Partition]:
    """Partitions that exist, oldest first.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    date : str, optional
        One UTC day, ``YYYY-MM-DD``; all days when None.
    hours : iterable of int, optional
        UTC hours, 0 to 23; all when None.
    table : TableSpec
    """
    wanted = None if hours is None else {f"{hour:02d}" for hour in hours}
    days = paths.days(table.place, venue)
    for day in days if date is None else [day for day in days if day == date]:
        for hour in paths.hours(table.place, venue, day):
            if wanted is None or not hour or hour in wanted:
                yield Partition(paths=paths, table=table, venue=venue, date=day, hour=hour)


def scan_snapshots(
    paths: LakePaths,
    venue: str,
    *,
    date: str | None = None,
    hours: Iterable[int] | None = None,
    open_bucket: bool = True,
) -> pl.LazyFrame:
    """Snapshot rows of one venue as one lazy frame.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    date : str, optional
        One UTC day; all days when None.
    hours : iterable of int, optional
        UTC hours; all when None.
    open_bucket : bool
        Include rows that are not in Parquet yet.

    Returns
    -------
    polars.LazyFrame
        The columns of ``ROW_SCHEMA``, in no particular order of rows.

    Raises
    ------
    NothingStored
        If there is no such partition.
    """
    return _scan(paths, venue, SNAPSHOT_TABLE, "snapshots", date, hours, open_bucket=open_bucket)


def scan_trades(
    paths: LakePaths,
    venue: str,
    *,
    date: str | None = None,
    hours: Iterable[int] | None = None,
    open_bucket: bool = True,
) -> pl.LazyFrame:
    """Trades of one venue as one lazy frame; see `scan_snapshots`.

    Returns
    -------
    polars.LazyFrame
        The columns of ``TRADE_SCHEMA``, in no particular order of rows.

    Raises
    ------
    NothingStored
        If there is no such partition.
    """
    return _scan(paths, venue, TRADE_TABLE, "trades", date, hours, open_bucket=open_bucket)


def _scan(
    paths: LakePaths,
    venue: str,
    table: TableSpec,
    what: str,
    date: str | None,
    hours: Iterable[int] | None,
    *,
    open_bucket: bool,
) -> pl.LazyFrame:
    frames = [
        part.scan(open_bucket=open_bucket) for part in partitions(paths, venue, date=date, hours=hours, table=table)
    ]
    if not frames:
        when = f" on {date}" if date else ""
        raise NothingStored(
            f"no {what} for {venue}{when} under {paths.table(table.place)}",
            hint="`overround collect` writes them; `overround lake ls` lists the days on disk",
        )
    return pl.concat(frames, how="vertical")
