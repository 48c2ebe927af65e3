"""The check finds every kind of damage, and nothing in a healthy lake."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from overround.storage import ROW_SCHEMA, SNAPSHOTS, LakePaths, SnapshotWriter
from overround.storage.bucket import FileMeta, write_table
from overround.storage.schema import SNAPSHOT_TABLE
from overround.storage.verify import ProblemKind, check_day
from overround.testing.clock import ManualClock

Open = Callable[..., SnapshotWriter]
Append = Callable[..., None]
DAY = "2026-01-14"


@pytest.fixture
async def target(paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append) -> Path:
    """The one file of a healthy lake."""
    writer = open_writer()
    for seq in range(30):
        append(writer.buffer, clock.now_ms() + seq, seq, market=f"KX-{seq % 3}")
    await writer.stop()
    return paths.hour(SNAPSHOTS, "kalshi", DAY, "12") / "snapshots_2026-01-14T12-05.parquet"


def kinds(paths: LakePaths, **options: Any) -> list[ProblemKind]:
    return [problem.kind for problem in check_day(paths, "kalshi", DAY, **{"writing": False} | options).problems]


def test_a_healthy_day_has_no_problem(paths: LakePaths, target: Path) -> None:
    checked = check_day(paths, "kalshi", DAY, writing=False, top_k=50)
    assert (checked.files, checked.rows, checked.open_rows, checked.problems) == (1, 60, 0, ())


def test_any_flipped_bit_is_found(paths: LakePaths, target: Path) -> None:
    data = target.read_bytes()
    rng = random.Random(5)
    for _ in range(40):
        at = rng.randrange(len(data))
        target.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        assert ProblemKind.CHECKSUM in kinds(paths)
    target.write_bytes(data)
    assert kinds(paths) == []


def test_a_cut_file_is_unreadable(paths: LakePaths, target: Path) -> None:
    target.write_bytes(target.read_bytes()[:-100])
    assert kinds(paths) == [ProblemKind.CHECKSUM, ProblemKind.UNREADABLE]


def test_missing_unlisted_half_and_left_files_are_told_apart(paths: LakePaths, target: Path) -> None:
    moved = target.with_name("snapshots_2026-01-14T12-10.parquet")
    target.rename(moved)
    (target.parent / ".snapshots_2026-01-14T12-15.parquet.tmp").write_bytes(b"half")
    (target.parent / "snapshots_2026-01-14T12-20.parquet.damaged").write_bytes(b"bad")
    (target.parent / ".snapshots_2026-01-14T12-15.0123456789abcdef.wal").write_bytes(b"")
    expected = {
        ProblemKind.MISSING,
        ProblemKind.UNLISTED,
        ProblemKind.BUCKET,
        ProblemKind.HALF_FILE,
        ProblemKind.LEFT_WAL,
        ProblemKind.DAMAGED_ASIDE,
    }
    assert set(kinds(paths)) == expected
    # While a collector is at work its temporary and write-ahead files are in order.
    assert set(kinds(paths, writing=True)) == expected - {ProblemKind.HALF_FILE, ProblemKind.LEFT_WAL}


def test_wrong_figures_in_the_manifest_are_found(paths: LakePaths, target: Path) -> None:
    manifest = paths.manifest(SNAPSHOTS, "kalshi", DAY)
    line = msgspec.json.decode(manifest.read_bytes())
    manifest.write_bytes(msgspec.json.encode(line | {"rows": 59}) + b"\n")
    assert kinds(paths) == [ProblemKind.MANIFEST]


def column(rows: pa.Table, name: str, change: Callable[[list[Any]], None]) -> pa.Table:
    values = rows[name].to_pylist()
    change(values)
    at = rows.schema.get_field_index(name)
    return rows.set_column(at, rows.schema.field(at), pa.array(values, rows.schema.field(at).type))


def put(at: int, value: Any) -> Callable[[list[Any]], None]:
    def change(values: list[Any]) -> None:
        values[at] = value

    return change


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        (ProblemKind.BUCKET, "ts_recv", put(-1, 1_768_392_300_000 + 300_000)),
        (ProblemKind.BUCKET, "venue", put(4, "polymarket")),
        (ProblemKind.LEVELS, "bid_px", put(3, [0.4, 0.5, 0.3, 0.2, 0.1])),
        (ProblemKind.LEVELS, "bid_px", put(3, [0.5, 0.5, 0.3, 0.2, 0.1])),
        (ProblemKind.LEVELS, "ask_px", put(3, [1.5, 1.6, 1.7, 1.8])),
        (ProblemKind.LEVELS, "ask_sz", put(3, [1.0, 2.0])),
        (ProblemKind.LEVELS, "ask_sz", put(3, [1.0, 2.0, 0.0, 4.0, 5.0])),
        (ProblemKind.ROW, "mid", put(0, 0.9)),
        (ProblemKind.ROW, "spread", put(0, float("nan"))),
        (ProblemKind.ROW, "best_bid_px", put(7, 0.123)),
        (ProblemKind.ROW, "best_ask_sz", put(7, 1e9)),
        (ProblemKind.ROW, "status", put(0, "partial")),
        (ProblemKind.ROW, "status", put(0, "fine")),
        (ProblemKind.ROW, "err", put(0, "whatever")),
        (ProblemKind.ROW, "integrity", put(0, "sure")),
    ],
)
def test_a_row_that_contradicts_itself_is_found_without_the_checksum(
    paths: LakePaths, target: Path, kind: ProblemKind, name: str, change: Callable[[list[Any]], None]
) -> None:
    rows = column(pq.ParquetFile(target).read(), name, change)
    rewrite(paths, target, rows)
    assert kind in kinds(paths)
    assert ProblemKind.CHECKSUM not in kinds(paths)


def rewrite(paths: LakePaths, target: Path, rows: pa.Table) -> None:
    """Write the rows with a fresh checksum and manifest line, as a clever forger would."""
    meta = FileMeta(table="orderbook_snapshots", schema_version=1, writer="x", origin="live", bucket_s=300)
    with target.open("wb") as file:
        written = write_table(file, rows.cast(ROW_SCHEMA), SNAPSHOT_TABLE, level=1, meta=meta)
    manifest = paths.manifest(SNAPSHOTS, "kalshi", DAY)
    line = msgspec.json.decode(manifest.read_bytes())
    new = line | {
        "sha256": written.sha256,
        "bytes": written.n_bytes,
        "rows": rows.num_rows,
        "first_ts": pc.min(rows["ts_recv"]).as_py(),
        "last_ts": pc.max(rows["ts_recv"]).as_py(),
    }
    manifest.write_bytes(msgspec.json.encode(new) + b"\n")


def test_rows_out_of_order_and_too_many_levels_are_found(paths: LakePaths, target: Path) -> None:
    rows = pq.ParquetFile(target).read()
    pq.write_table(rows.take(list(range(59, -1, -1))), target)
    found = kinds(paths, top_k=4)
    assert ProblemKind.ORDER in found
    assert ProblemKind.LEVELS in found
    assert ProblemKind.LEVELS not in kinds(paths, top_k=5)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.drop_columns(["mid"]),
        lambda rows: rows.select([*rows.schema.names[1:], rows.schema.names[0]]),
        lambda rows: rows.set_column(4, "seq", rows["seq"].cast(pa.int32())),
        lambda rows: rows.set_column(2, "market_id", pa.nulls(rows.num_rows, pa.string())),
    ],
    ids=["absent", "moved", "type", "null"],
)
def test_another_schema_is_found(paths: LakePaths, target: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.ParquetFile(target).read()), target)
    assert ProblemKind.SCHEMA in kinds(paths)


def test_a_file_written_before_the_newest_column_is_in_order(paths: LakePaths, target: Path) -> None:
    rows = pq.ParquetFile(target).read().drop_columns(["integrity"])
    pq.write_table(rows, target)
    assert ProblemKind.SCHEMA not in kinds(paths)
