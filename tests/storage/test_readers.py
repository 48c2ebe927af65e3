"""A reader beside a writer sees every durable row once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overround.errors import FileDamaged, NothingStored
from overround.storage import ROW_SCHEMA, SNAPSHOTS, LakePaths, SnapshotWriter, partitions, scan_snapshots
from overround.storage.readers import polars_schema
from overround.testing.clock import ManualClock

Open = Callable[..., SnapshotWriter]
Append = Callable[..., None]


async def fill(writer: SnapshotWriter, clock: ManualClock, append: Append, seqs: range, step_ms: int = 60_000) -> None:
    for seq in seqs:
        append(writer.buffer, clock.now_ms(), seq)
        await writer.flush(clock.now_ms())
        clock.skip_ms(step_ms)
    await writer.settle()


async def test_a_partition_is_a_venue_day_and_hour(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    await fill(writer, clock, append, range(26), step_ms=1_800_000)  # from 12:05 into the next day
    await writer.stop()
    found = [(part.date[-2:], part.hour) for part in partitions(paths, "kalshi")]
    assert found == [("14", f"{hour:02d}") for hour in range(12, 24)] + [("15", "00")]
    assert [part.hour for part in partitions(paths, "kalshi", date="2026-01-14", hours=[23, 13, 5])] == ["13", "23"]
    assert list(partitions(paths, "polymarket")) == []
    rows = [part.scan().collect() for part in partitions(paths, "kalshi")]
    assert sum(map(len, rows)) == 52
    assert dict(rows[0].schema) == polars_schema()
    assert sorted(scan_snapshots(paths, "kalshi", date="2026-01-15").collect()["seq"]) == [24, 24, 25, 25]
    assert scan_snapshots(paths, "kalshi", hours=[13]).collect().height == 4


async def test_the_open_bucket_can_be_left_out(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    await fill(open_writer(), clock, append, range(8))
    with_open = scan_snapshots(paths, "kalshi").collect()
    without = scan_snapshots(paths, "kalshi", open_bucket=False).collect()
    assert len(with_open) == 16
    assert 0 < len(without) < 16


async def test_a_plan_made_before_a_merge_never_sees_a_row_twice(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    append(writer.buffer, clock.now_ms(), 1)
    await writer.stop()
    writer = open_writer()  # inside the same bucket
    append(writer.buffer, clock.now_ms(), 2)
    await writer.flush(clock.now_ms())
    plan = scan_snapshots(paths, "kalshi")
    pieces = [piece.scan() for part in partitions(paths, "kalshi") for piece in part.pieces()]
    await writer.stop()  # merges
    for frame in (plan, pl.concat(pieces), scan_snapshots(paths, "kalshi")):
        assert sorted(frame.filter(outcome_id="yes").collect()["seq"]) == [1, 2]


async def test_reading_all_the_time_beside_a_writer_never_misses_or_repeats(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer(settings={"bucket_secs": 60})
    done = False
    durable = 0

    def read_on() -> int:
        readings = 0
        while not done:
            due = durable
            try:
                held = scan_snapshots(paths, "kalshi").select("seq", "outcome_id").collect()
            except NothingStored:
                continue
            seqs = sorted(held.filter(outcome_id="yes")["seq"].to_list())
            assert seqs == list(range(len(seqs)))
            assert len(seqs) >= due
            readings += 1
        return readings

    reader = asyncio.create_task(asyncio.to_thread(read_on))
    for seq in range(150):
        append(writer.buffer, clock.now_ms(), seq)
        clock.skip_ms(7_000)
        assert await writer.flush(clock.now_ms())
        durable = seq + 1
        await asyncio.sleep(0.003)
    done = True
    assert await reader >= 2


async def test_a_file_of_an_older_version_reads_with_null_in_the_new_column(paths: LakePaths) -> None:
    folder = paths.hour(SNAPSHOTS, "kalshi", "2026-01-14", "12")
    folder.mkdir(parents=True)
    row = {field.name: None for field in ROW_SCHEMA} | {
        "ts_recv": 1,
        "venue": "kalshi",
        "market_id": "m",
        "outcome_id": "yes",
        "seq": 1,
        "status": "empty",
        **dict.fromkeys(["best_bid_px", "best_bid_sz", "best_ask_px", "best_ask_sz", "mid", "spread"], 0.0),
        **{name: [] for name in ("bid_px", "bid_sz", "ask_px", "ask_sz")},
    }
    new = pa.Table.from_pylist([row | {"integrity": "verified"}], schema=ROW_SCHEMA)
    pq.write_table(new.drop_columns(["integrity"]), folder / "snapshots_2026-01-14T12-05.parquet")
    later = new.append_column("later", pa.array(["x"]))
    pq.write_table(later, folder / "snapshots_2026-01-14T12-10.parquet")
    held = scan_snapshots(paths, "kalshi").collect().sort("integrity")
    assert held["integrity"].to_list() == [None, "verified"]
    assert held.columns == ROW_SCHEMA.names


async def test_a_damaged_file_beside_an_open_bucket_is_named(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    append(writer.buffer, clock.now_ms(), 1)
    await writer.flush(clock.now_ms())
    target = paths.hour(SNAPSHOTS, "kalshi", "2026-01-14", "12") / "snapshots_2026-01-14T12-05.parquet"
    target.write_bytes(b"PAR1")
    with pytest.raises(FileDamaged, match=r"snapshots_2026-01-14T12-05.parquet"):
        scan_snapshots(paths, "kalshi").collect()


@pytest.mark.parametrize("root", ["run=3", "with space", "[brackets]"])
async def test_odd_names_of_the_data_folder_do_no_harm(
    tmp_path: Path, clock: ManualClock, open_writer: Open, append: Append, root: str
) -> None:
    paths = LakePaths(tmp_path / root)
    writer = open_writer(paths=paths)
    append(writer.buffer, clock.now_ms(), 1)
    await writer.stop()
    assert scan_snapshots(paths, "kalshi").collect().height == 2


def test_an_empty_lake_is_told_in_one_line_with_a_remedy(paths: LakePaths) -> None:
    with pytest.raises(NothingStored, match="no snapshots for kalshi on 2026-01-14 under") as none:
        scan_snapshots(paths, "kalshi", date="2026-01-14")
    assert "overround collect" in str(none.value.hint)
