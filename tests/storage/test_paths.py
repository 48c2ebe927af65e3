"""The lake's paths are those of the design, and are found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from overround.storage import COVERAGE, JOURNAL, SNAPSHOTS, TRADES, LakePaths
from overround.timebucket import bucket_of

BUCKET = bucket_of(1_768_392_301_500, 300)
LAKE = LakePaths(Path("data"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            LAKE.bucket_file(SNAPSHOTS, "polymarket", BUCKET),
            "orderbook_snapshots/venue=polymarket/date=2026-01-14/hour=12/snapshots_2026-01-14T12-05.parquet",
        ),
        (
            LAKE.bucket_file(TRADES, "kalshi", BUCKET, (1, 4)),
            "trades/venue=kalshi/date=2026-01-14/hour=12/trades_2026-01-14T12-05.s1of4.parquet",
        ),
        (
            LAKE.bucket_file(COVERAGE, "kalshi", BUCKET),
            "coverage/venue=kalshi/date=2026-01-14/coverage_2026-01-14T12-05.parquet",
        ),
        (
            LAKE.journal_file("kalshi", BUCKET),
            "raw/venue=kalshi/date=2026-01-14/hour=12/frames_2026-01-14T12-05.jsonl.zst",
        ),
        (LAKE.universe("kalshi", "2026-01-14"), "metadata/venue=kalshi/date=2026-01-14/universe.jsonl"),
        (LAKE.stats("kalshi", "2026-01-14"), "stats/venue=kalshi/date=2026-01-14/stats.parquet"),
        (
            LAKE.mm_viability("kalshi", "2026-01-14"),
            "reports/mm_viability/venue=kalshi/date=2026-01-14/mm_viability.parquet",
        ),
        (LAKE.rules("kalshi", "2026-01-14"), "rules/venue=kalshi/date=2026-01-14/rules.jsonl"),
        (LAKE.logic("kalshi", "2026-01-14", "violations"), "logic/venue=kalshi/date=2026-01-14/violations.parquet"),
        (LAKE.review_queue("kalshi", "2026-01-14"), "review_queue/venue=kalshi/date=2026-01-14/queue.jsonl"),
        (LAKE.origin(), "_origin.json"),
        (LAKE.pipeline_runs(), "_pipelines.json"),
    ],
)
def test_paths_are_those_of_the_design(path: Path, expected: str) -> None:
    assert path.as_posix() == "data/" + expected


def test_what_is_there_is_found_in_order_and_nothing_else(paths: LakePaths) -> None:
    folder = paths.bucket_folder(SNAPSHOTS, "kalshi", BUCKET)
    folder.mkdir(parents=True)
    names = ["snapshots_2026-01-14T12-10.parquet", "snapshots_2026-01-14T12-05.s0of2.parquet"]
    for name in [*names, "snapshots_notes.parquet", "other.parquet", ".snapshots_2026-01-14T12-05.parquet.tmp"]:
        (folder / name).touch()
    wal = paths.wal_file(SNAPSHOTS, "kalshi", BUCKET, (1, 2), "0123456789abcdef")
    wal.touch()
    (folder / ".snapshots_2026-01-14T12-05.zzz.wal").touch()
    (folder.parent / "hour=25").mkdir()
    (folder.parent.parent / "date=today").mkdir()
    assert paths.venues(SNAPSHOTS) == ["kalshi"]
    assert paths.days(SNAPSHOTS, "kalshi") == ["2026-01-14"]
    assert paths.hours(SNAPSHOTS, "kalshi", "2026-01-14") == ["12"]
    assert [path.name for path in paths.bucket_files(SNAPSHOTS, "kalshi", "2026-01-14", "12")] == sorted(names)
    (found,) = paths.wal_files(SNAPSHOTS, "kalshi", "2026-01-14", "12")
    assert (found.path, found.wal_id, found.start_ms, found.shard) == (wal, "0123456789abcdef", BUCKET.start_ms, (1, 2))


def test_journal_files_of_several_runs_come_in_the_order_they_were_written(paths: LakePaths) -> None:
    expected = [paths.journal_file("kalshi", BUCKET, run=run) for run in (0, 1, 2, 10)]
    expected.append(paths.journal_file("kalshi", bucket_of(BUCKET.end_ms, 300)))
    expected[0].parent.mkdir(parents=True)
    for path in reversed(expected):
        path.touch()
    assert paths.journal_files("kalshi", "2026-01-14", "12") == expected
    assert paths.days(JOURNAL, "kalshi") == ["2026-01-14"]


def test_an_absent_lake_has_nothing(paths: LakePaths) -> None:
    assert paths.venues(SNAPSHOTS) == []
    assert paths.days(SNAPSHOTS, "kalshi") == []
    assert paths.hours(SNAPSHOTS, "kalshi", "2026-01-14") == []
    assert paths.universes("kalshi") == []
