"""The check whether every file of the lake is what it should be."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from overround.market import BUY, SELL, BookStatus, ErrCode, Integrity
from overround.storage.bucket import file_meta_of, refused_by_system, sort_order
from overround.storage.manifest import ManifestLine, read_manifests
from overround.storage.paths import LakePaths
from overround.storage.schema import LEVEL_COLUMNS, SNAPSHOT_TABLE, TableSpec
from overround.storage.trades import TRADE_TABLE
from overround.storage.wal import read_wal
from overround.timebucket import parse_bucket_name

__all__ = ["CheckedDay", "Problem", "ProblemKind", "check_day"]


class ProblemKind(StrEnum):
    """What can be wrong."""

    UNREADABLE = "unreadable"
    """Not a Parquet file, or damaged."""
    MISSING = "missing"
    """In the manifest, not on disk."""
    UNLISTED = "unlisted"
    """On disk, not in the manifest."""
    CHECKSUM = "checksum"
    """Other content than the manifest says."""
    MANIFEST = "manifest"
    """The manifest's other figures disagree with the file."""
    SCHEMA = "schema"
    """A column is absent, of another type, out of place, or null where it may not be."""
    BUCKET = "bucket"
    """A row's time or venue does not belong into this file."""
    ORDER = "order"
    """Rows are not sorted by the table's key."""
    LEVELS = "levels"
    """A ladder is not best first, is of unequal lengths, too long, or has impossible numbers."""
    ROW = "row"
    """A row's columns contradict each other, or a word is none of the documented ones."""
    HALF_FILE = "half_file"
    """A temporary file that nobody is writing."""
    LEFT_WAL = "left_wal"
    """Rows of a write-ahead file that nobody is writing."""
    DAMAGED_ASIDE = "damaged_aside"
    """A file that was moved aside because it could not be read."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    path : Path
    kind : ProblemKind
    detail : str
        What was found, with the value.
    """

    path: Path
    kind: ProblemKind
    detail: str


@dataclass(frozen=True, kw_only=True)
class CheckedDay:
    """What the check of one day saw.

    Attributes
    ----------
    files, rows : int
        Parquet files and their rows.
    open_rows : int
        Rows in write-ahead files.
    problems : tuple of Problem
    """

    files: int
    rows: int
    open_rows: int
    problems: tuple[Problem, ...]


def check_day(
    paths: LakePaths,
    venue: str,
    date: str,
    *,
    table: TableSpec = SNAPSHOT_TABLE,
    writing: bool,
    top_k: int | None = None,
    on_file: Callable[[Path], None] | None = None,
) -> CheckedDay:
    """Check every file of one table, venue and UTC day.

    Parameters
    ----------
    paths : LakePaths
    venue, date : str
    table : TableSpec
    writing : bool
        A collector is at work: its write-ahead and temporary files are in order.
    top_k : int, optional
        Most levels a side may have; not checked when None.
    on_file : callable, optional
        Told of every finished file that was checked.
    """
    problems: list[Problem] = []
    day = paths.day(table.place, venue, date)
    listed = read_manifests(paths.manifests(table.place, venue, date))
    n_files = n_rows = open_rows = 0
    seen: set[str] = set()
    for hour in paths.hours(table.place, venue, date):
        for path in paths.bucket_files(table.place, venue, date, hour):
            n_files += 1
            name = path.relative_to(day).as_posix()
            seen.add(name)
            rows, found = _check_file(path, table, venue, listed.get(name), top_k)
            n_rows += rows
            problems += found
            if on_file is not None:
                on_file(path)
        for wal in paths.wal_files(table.place, venue, date, hour):
            try:
                content = read_wal(wal.path)
            except FileNotFoundError:
                continue  # finished since it was listed
            open_rows += content.n_rows
            if not writing:
                problems.append(
                    Problem(
                        path=wal.path,
                        kind=ProblemKind.LEFT_WAL,
                        detail=f"{content.n_rows} rows wait; the next `overround collect` takes them in",
                    )
                )
        folder = paths.hour(table.place, venue, date, hour)
        if not writing:
            problems += [
                Problem(
                    path=path,
                    kind=ProblemKind.HALF_FILE,
                    detail="left by a crash; the next `overround collect` removes it",
                )
                for path in sorted(folder.glob(f".{table.place.prefix}_*.tmp"))
            ]
        problems += [
            Problem(
                path=path, kind=ProblemKind.DAMAGED_ASIDE, detail=f"{path.stat().st_size} bytes that could not be read"
            )
            for pattern in (f"{table.place.prefix}_*.damaged", f".{table.place.prefix}_*.damaged")
            for path in sorted(folder.glob(pattern))
        ]
    problems += [
        Problem(path=day / name, kind=ProblemKind.MISSING, detail=f"the manifest lists {line.rows} rows")
        for name, line in sorted(listed.items())
        if name not in seen and not (day / name).exists()
    ]
    return CheckedDay(files=n_files, rows=n_rows, open_rows=open_rows, problems=tuple(problems))


def _check_file(
    path: Path, table: TableSpec, venue: str, line: ManifestLine | None, top_k: int | None
) -> tuple[int, list[Problem]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0, []  # replaced or archived since it was listed
    found: list[tuple[ProblemKind, str]] = []
    if line is None:
        found.append((ProblemKind.UNLISTED, "the manifest does not list it"))
    elif hashlib.sha256(data).hexdigest() != line.sha256:
        found.append(
            (ProblemKind.CHECKSUM, f"{len(data)} bytes on disk, {line.bytes} in the manifest; content differs")
        )
    try:
        meta = file_meta_of(pq.read_metadata(io.BytesIO(data)))
        rows = pq.read_table(io.BytesIO(data), use_threads=False)
        rows.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as exc:
        if refused_by_system(exc):
            raise
        found.append((ProblemKind.UNREADABLE, str(exc).splitlines()[0]))
        return 0, [Problem(path=path, kind=kind, detail=detail) for kind, detail in found]
    wrong = list(_schema_problems(rows, table))
    found += [(ProblemKind.SCHEMA, detail) for detail in wrong]
    if not wrong:
        if line is not None:
            found += _manifest_problems(rows, table, line)
        bucket_s = meta.bucket_s if meta else 0
        found += _bucket_problems(rows, table, venue, path, bucket_s)
        if rows.num_rows and not np.array_equal(sort_order(rows, table.sort_key), np.arange(rows.num_rows)):
            found.append((ProblemKind.ORDER, f"rows are not sorted by {', '.join(table.sort_key)}"))
        if table is SNAPSHOT_TABLE:
            found += _snapshot_problems(rows, top_k)
        elif table is TRADE_TABLE:
            found += [(ProblemKind.ROW, detail) for detail in _trade_problems(rows)]
    return rows.num_rows, [Problem(path=path, kind=kind, detail=detail) for kind, detail in found]


def _schema_problems(rows: pa.Table, table: TableSpec) -> Iterator[str]:
    """Names, order and types; a file of an earlier version may end before the newer, nullable columns."""
    for at, field in enumerate(table.schema):
        if at >= len(rows.schema) or rows.schema.field(at).name != field.name:
            if field.nullable and rows.schema.get_field_index(field.name) < 0:
                continue
            yield f"column {at} is not {field.name}"
            return
        if rows.schema.field(at).type != field.type:
            yield f"column {field.name} is {rows.schema.field(at).type}, not {field.type}"
        elif not field.nullable and rows.column(at).null_count:
            yield f"column {field.name} has {rows.column(at).null_count} nulls"


def _manifest_problems(rows: pa.Table, table: TableSpec, line: ManifestLine) -> list[tuple[ProblemKind, str]]:
    times = rows.column(table.time_column)
    said = (line.rows, line.first_ts, line.last_ts)
    held = (rows.num_rows, pc.min(times).as_py(), pc.max(times).as_py())
    return (
        []
        if said == held
        else [(ProblemKind.MANIFEST, f"rows and time span {said} in the manifest, {held} in the file")]
    )


def _bucket_problems(
    rows: pa.Table, table: TableSpec, venue: str, path: Path, bucket_s: int
) -> list[tuple[ProblemKind, str]]:
    found = []
    named = parse_bucket_name(path.name)
    if named and bucket_s and rows.num_rows:
        times = rows.column(table.time_column).to_numpy()
        outside = int(np.count_nonzero((times < named[0]) | (times >= named[0] + bucket_s * 1000)))
        if outside:
            found.append((ProblemKind.BUCKET, f"{outside} rows lie outside the bucket"))
    if "venue" in rows.schema.names:
        others = sorted(set(map(str, rows.column("venue").unique().to_pylist())) - {venue})
        if others:
            found.append((ProblemKind.BUCKET, f"rows of {', '.join(others)} in the folder of {venue}"))
    return found


Floats = npt.NDArray[np.float64]


def _snapshot_problems(rows: pa.Table, top_k: int | None) -> list[tuple[ProblemKind, str]]:
    found: list[tuple[ProblemKind, str]] = []
    for name, words in (("status", BookStatus), ("err", ErrCode), ("integrity", Integrity)):
        if name in rows.schema.names:
            unknown = sorted(set(map(str, rows.column(name).drop_null().unique().to_pylist())) - set(words))
            found += [(ProblemKind.ROW, f"{name} {word!r} is no documented word") for word in unknown]
    lists = {name: rows.column(name).combine_chunks() for name in LEVEL_COLUMNS}
    bids = _side_problems("bid", lists["bid_px"], lists["bid_sz"], top_k, falling=True)
    asks = _side_problems("ask", lists["ask_px"], lists["ask_sz"], top_k, falling=False)
    found += [(ProblemKind.LEVELS, detail) for detail in (*bids, *asks)]
    if bids or asks or not rows.num_rows:
        return found
    found += [(ProblemKind.ROW, detail) for detail in _row_problems(rows, lists)]
    return found


def _trade_problems(rows: pa.Table) -> list[str]:
    found = []
    words = {str(word) for word in rows.column("taker_side").drop_null().unique().to_pylist()}
    found += [f"taker_side {word!r} is no documented word" for word in sorted(words - {BUY, SELL})]
    px, sz = rows.column("px").to_numpy(), rows.column("sz").to_numpy()
    if not (np.all((px >= 0) & (px <= 1)) and np.all(np.isfinite(sz) & (sz > 0))):
        found.append("a trade has a price outside [0, 1] or a size that is not positive")
    joined = np.nan_to_num(rows.column("book_sz").to_numpy())
    if not np.all((joined >= 0) & (joined <= sz)):
        found.append("a trade's changes of the book took more than was traded")
    return found


def _side_problems(side: str, px: Any, sz: Any, top_k: int | None, *, falling: bool) -> list[str]:
    counts = px.value_lengths().to_numpy(zero_copy_only=False)
    if not np.array_equal(counts, sz.value_lengths().to_numpy(zero_copy_only=False)):
        return [f"{side}_px and {side}_sz differ in length in some row"]
    found = []
    if top_k is not None and len(counts) and counts.max() > top_k:
        found.append(f"{counts.max()} {side} levels, more than {top_k}")
    prices: Floats = px.flatten().to_numpy(zero_copy_only=False)
    sizes: Floats = sz.flatten().to_numpy(zero_copy_only=False)
    if not (np.all((prices >= 0) & (prices <= 1)) and np.all(np.isfinite(sizes) & (sizes > 0))):
        found.append(f"a {side} level has a price outside [0, 1] or a size that is not positive")
    step = np.diff(prices)
    inside = np.ones(len(step), np.bool_)
    ends = np.cumsum(counts)[:-1] - 1
    inside[ends[(ends >= 0) & (ends < len(step))]] = False
    out_of_order = int(np.count_nonzero(inside & ((step >= 0) if falling else (step <= 0))))
    if out_of_order:
        found.append(f"{out_of_order} {side} levels are not best first")
    return found


def _row_problems(rows: pa.Table, lists: dict[str, Any]) -> list[str]:
    """Best prices, mid, spread and status against the levels."""
    found = []
    column = {
        name: rows.column(name).to_numpy()
        for name in ("best_bid_px", "best_bid_sz", "best_ask_px", "best_ask_sz", "mid", "spread")
    }
    there: dict[str, npt.NDArray[np.bool_]] = {}
    for side in ("bid", "ask"):
        px, sz = lists[f"{side}_px"], lists[f"{side}_sz"]
        counts = px.value_lengths().to_numpy(zero_copy_only=False)
        there[side] = counts > 0
        starts = (np.cumsum(counts) - counts)[there[side]]
        best_px, best_sz = np.full(len(counts), np.nan), np.zeros(len(counts))
        best_px[there[side]] = px.flatten().to_numpy(zero_copy_only=False)[starts]
        best_sz[there[side]] = sz.flatten().to_numpy(zero_copy_only=False)[starts]
        if not np.array_equal(best_px, column[f"best_{side}_px"], equal_nan=True):
            found.append(f"best_{side}_px is not the first level's price in some row")
        if not np.array_equal(best_sz, column[f"best_{side}_sz"]):
            found.append(f"best_{side}_sz is not the first level's size in some row")
    bid, ask = column["best_bid_px"], column["best_ask_px"]
    # One unit in the last place: mid and spread are rounded from exact integers, not from the two floats.
    if not np.allclose(column["mid"], (bid + ask) / 2, rtol=0, atol=1e-12, equal_nan=True):
        found.append("mid is not half way between the best prices in some row")
    if not np.allclose(column["spread"], ask - bid, rtol=0, atol=1e-12, equal_nan=True):
        found.append("spread is not the difference of the best prices in some row")
    status = np.array(rows.column("status").to_pylist())
    both, either = there["bid"] & there["ask"], there["bid"] | there["ask"]
    due = np.where(both, BookStatus.OK.value, np.where(either, BookStatus.PARTIAL.value, BookStatus.EMPTY.value))
    wrong = int(np.count_nonzero((status != due) & (status != BookStatus.STALE.value)))
    if wrong:
        found.append(f"{wrong} rows whose status contradicts their levels")
    return found
