"""Small recorded lakes, and what is in them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from overround.config import StorageSettings
from overround.market import MarketId, Origin, OutcomeId
from overround.storage import LakePaths, SnapshotWriter, claim_origin
from overround.testing.clock import ManualClock

START_MS = 1_768_392_001_000  # 2026-01-14T12:00:01Z
KEY = ["market_id", "outcome_id", "ts_recv", "seq"]


async def recorded(root: Path, *, bucket_s: int, minutes: int, clean: bool = True) -> LakePaths:
    """A row of both outcomes every 20 seconds; ``clean``: stopped, not killed."""
    clock, paths = ManualClock(START_MS), LakePaths(root)
    settings = StorageSettings(bucket_secs=bucket_s, compression_level=1)
    writer = SnapshotWriter(paths, "kalshi", settings=settings, top_k=50, origin=Origin.SYNTHETIC, clock=clock)
    claim_origin(paths, Origin.SYNTHETIC)
    writer.start()
    key = writer.buffer.register(MarketId("m"), [OutcomeId("yes"), OutcomeId("no")])
    for number in range(3 * minutes):
        writer.buffer.append(
            key, clock.now_ms(), {4000 + number: 1} if number % 3 else {}, {5000: 2},
            seq=number, source_ts=None, stale=False, err=None, integrity=None,
        )  # fmt: skip
        await writer.flush(clock.now_ms())
        clock.skip_ms(20_000)
    if clean:
        await writer.stop()
    else:
        writer.abandon()
    return paths


def rows(paths: LakePaths) -> pl.DataFrame:
    files = sorted(paths.root.glob("orderbook_snapshots/**/*.parquet"))
    return pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in files]).sort(KEY)


def files(paths: LakePaths) -> list[str]:
    """All but the sums, which may be removed at any time."""
    found = (path.name for path in paths.root.glob("orderbook_snapshots/**/*") if path.is_file())
    return sorted(name for name in found if not name.startswith("_sums"))
