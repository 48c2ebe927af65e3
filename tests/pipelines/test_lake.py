"""Listing and checking a whole lake."""

from __future__ import annotations

from pathlib import Path

import pytest

from overround.config import StorageSettings
from overround.errors import NothingStored
from overround.market import MarketId, Origin, OutcomeId
from overround.pipelines.lake import list_lake, verify_lake
from overround.storage import FrameJournal, LakePaths, SnapshotWriter
from overround.testing.clock import ManualClock


async def recorded(root: Path, venue: str, clock: ManualClock, buckets: int) -> SnapshotWriter:
    """Rows of whole buckets, then one flushed row of an open bucket; the writer still holds its lock."""
    paths = LakePaths(root)
    writer = SnapshotWriter(paths, venue, settings=StorageSettings(), top_k=50, origin=Origin.SYNTHETIC, clock=clock)
    journal = FrameJournal(paths, venue, level=1, bucket_s=300, clock=clock)
    writer.start()
    key = writer.buffer.register(MarketId("m"), [OutcomeId("a"), OutcomeId("b")])
    for number in range(buckets + 1):
        writer.buffer.append(
            key, clock.now_ms(), {1: 1}, {2: 1}, seq=number, source_ts=None, stale=False, err=None, integrity=None
        )
        journal.frame("c", clock.now_ns(), b"{}", True)
        await writer.flush(clock.now_ms())
        clock.skip_ms(300_000 if number < buckets else 0)
    await writer.settle()
    journal.close()
    return writer


async def test_each_table_venue_and_day_is_listed_with_its_figures(tmp_path: Path) -> None:
    clock = ManualClock(1_768_434_301_000)  # 23:45: two buckets of this day, two of the next
    writer = await recorded(tmp_path, "kalshi", clock, buckets=4)
    entries = list_lake(LakePaths(tmp_path))
    assert [(entry.table, entry.date[-2:], entry.files, entry.rows, entry.open_files) for entry in entries] == [
        ("orderbook_snapshots", "14", 3, 6, 0),
        ("orderbook_snapshots", "15", 1, 2, 1),
        ("raw", "14", 3, None, 0),
        ("raw", "15", 2, None, 0),
    ]
    first = entries[0]
    assert (first.first_ts, first.last_ts) == (1_768_434_301_000, 1_768_434_901_000)
    on_disk = sum(path.stat().st_size for path in tmp_path.rglob("*14T*.parquet"))
    assert first.bytes == on_disk
    assert first.bytes_per_row == on_disk / 6
    assert entries[2].bytes_per_row is None
    assert [entry.date[-2:] for entry in list_lake(LakePaths(tmp_path), date="2026-01-15")] == ["15", "15"]
    writer.abandon()


async def test_a_healthy_lake_passes_also_while_it_is_recorded(tmp_path: Path) -> None:
    clock = ManualClock()
    for venue in ("kalshi", "polymarket"):
        writer = await recorded(tmp_path, venue, clock, buckets=2)
        report = verify_lake(LakePaths(tmp_path), venue=venue, top_k=50)
        assert report.ok, report.problems
        assert (report.files, report.rows, report.open_rows, report.journal_entries) == (2, 4, 2, 3)
        await writer.stop()
    report = verify_lake(LakePaths(tmp_path))
    assert (report.ok, report.files, report.rows, report.open_rows) == (True, 6, 12, 0)


async def test_what_a_dead_collector_left_and_a_damaged_journal_are_reported(tmp_path: Path) -> None:
    writer = await recorded(tmp_path, "kalshi", ManualClock(), buckets=1)
    writer.abandon()
    journal = next(tmp_path.rglob("frames_*"))
    journal.write_bytes(journal.read_bytes()[:4] + b"\xff" * 50)
    report = verify_lake(LakePaths(tmp_path))
    assert [problem.kind.value for problem in report.problems] == ["left_wal", "unreadable"]
    assert report.problems[1].path == journal
    assert verify_lake(LakePaths(tmp_path), journal=False).journal_files == 0


async def test_a_file_that_no_manifest_lists_is_counted_apart(tmp_path: Path) -> None:
    writer = await recorded(tmp_path, "kalshi", ManualClock(), buckets=1)
    await writer.stop()
    next(tmp_path.rglob("_manifest.jsonl")).unlink()
    entry = list_lake(LakePaths(tmp_path))[0]
    assert (entry.files, entry.rows, entry.unlisted, entry.bytes_per_row) == (2, 0, 2, None)


@pytest.mark.parametrize("function", [list_lake, verify_lake])
def test_an_empty_lake_is_told_in_one_line(tmp_path: Path, function: type) -> None:
    with pytest.raises(NothingStored, match="nothing is stored of kalshi on 2026-01-14 under") as none:
        function(LakePaths(tmp_path), venue="kalshi", date="2026-01-14")
    assert none.value.hint
