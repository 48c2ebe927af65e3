"""Bytes per row, which repeat exactly, against pyarrow's defaults on the same rows."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overround.storage.bucket import FileMeta, write_table
from overround.storage.buffer import SnapshotBuffer, rows_of
from overround.storage.schema import SNAPSHOT_TABLE
from overround.testing.evolving_books import evolving_books, market_ids

META = FileMeta(table="orderbook_snapshots", schema_version=1, writer="test", origin="synthetic")


@pytest.fixture(scope="module")
def five_minutes() -> pa.Table:
    """10,800 rows in the order of their arrival: 100 markets at the default intervals."""
    buffer = SnapshotBuffer()
    keys = [buffer.register(*ids) for ids in market_ids(100)]  # type: ignore[arg-type]
    for book in evolving_books(100):
        buffer.append(
            keys[book.market],
            book.ts_recv_ms,
            book.bids,
            book.asks,
            seq=book.seq,
            source_ts=book.source_ts,
            stale=False,
            err=None,
            integrity="verified",
        )
        if buffer.rows >= 10_800:
            break
    rows = pa.Table.from_batches([rows_of(buffer.cut(), venue="polymarket", top_k=50)])
    return rows.take(pa.array(np.argsort(rows["ts_recv"].to_numpy(), kind="stable")))


def test_a_five_minute_file_takes_at_most_0_40_of_pyarrows_defaults(five_minutes: pa.Table) -> None:
    plain, ours = io.BytesIO(), io.BytesIO()
    pq.write_table(five_minutes, plain)
    written = write_table(ours, five_minutes, SNAPSHOT_TABLE, level=9, meta=META)
    assert written.n_bytes == len(ours.getvalue())
    assert written.n_bytes / plain.tell() <= 0.40
    assert written.n_bytes / plain.tell() == pytest.approx(0.31, abs=0.01)  # what it measures; a rise is a loss


def test_the_file_holds_the_same_rows_sorted(five_minutes: pa.Table) -> None:
    ours = io.BytesIO()
    write_table(ours, five_minutes, SNAPSHOT_TABLE, level=1, meta=META)
    key = [(name, "ascending") for name in ("market_id", "outcome_id", "ts_recv")]
    held = pq.ParquetFile(io.BytesIO(ours.getvalue())).read()
    assert held.equals(five_minutes.sort_by(key).cast(held.schema))
    assert held.schema.equals(five_minutes.schema)
