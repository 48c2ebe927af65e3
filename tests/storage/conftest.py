"""A small lake to write into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from overround.config import StorageSettings
from overround.market import MarketId, Origin, OutcomeId
from overround.storage import LakePaths, SnapshotBuffer, SnapshotWriter
from overround.testing.clock import ManualClock

START_MS = 1_768_392_301_000  # 2026-01-14T12:05:01Z: one second into a bucket

Append = Callable[..., None]


@pytest.fixture
def paths(tmp_path: Path) -> LakePaths:
    return LakePaths(tmp_path / "data")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_MS)


@pytest.fixture
def append() -> Append:
    """Append one book whose ``seq`` tells it from all others."""

    def put(buffer: SnapshotBuffer, ts_ms: int, seq: int, market: str = "KX-1") -> None:
        key = buffer.register(MarketId(market), (OutcomeId("yes"), OutcomeId("no")))
        bids = {5000 - 100 * step: (seq + step + 1) * 1_000_000 for step in range(5)}
        asks = {5100 + 100 * step: (seq + step + 2) * 1_000_000 for step in range(4)}
        buffer.append(
            key, ts_ms, bids, asks, seq=seq, source_ts=ts_ms - 20, stale=False, err=None, integrity="verified"
        )

    return put


@pytest.fixture
def open_writer(paths: LakePaths, clock: ManualClock) -> Iterator[Callable[..., SnapshotWriter]]:
    """Make started writers; those that a test does not stop are abandoned as by a crash, their locks freed."""
    made: list[SnapshotWriter] = []

    def make(**options: Any) -> SnapshotWriter:
        writer = SnapshotWriter(
            options.pop("paths", paths),
            options.pop("venue", "kalshi"),
            settings=StorageSettings(**options.pop("settings", {})),
            top_k=50,
            origin=options.pop("origin", Origin.LIVE),
            clock=clock,
            **options,
        )
        writer.start()
        made.append(writer)
        return writer

    yield make
    for writer in made:
        writer.abandon()
