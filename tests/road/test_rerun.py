"""What a collector stored comes out of its journal again, row by row and bit by bit."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from overround.collector import recorder, runs
from overround.collector.checkpoint import thaw
from overround.collector.runs import JournalRun, Replayed, find_runs, replay_run
from overround.config import Settings
from overround.errors import FileDamaged
from overround.exchange import Fault, FaultScript
from overround.market import Venue
from overround.storage import JOURNAL, LakePaths, scan_snapshots
from overround.storage.buffer import rows_of

from .road import travel

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(120)]

KEY = ("market_id", "outcome_id", "ts_recv")
FAULTS: list[dict[str, object]] = [
    {"kind": "sequence_gap", "at_ms": 2_000},
    {"kind": "close", "at_ms": 4_000, "params": {"mode": "abort"}},
    {"kind": "drop", "at_ms": 6_000, "params": {"count": 3, "every": 5}},
    {"kind": "reorder", "at_ms": 8_000},
    {"kind": "duplicate", "at_ms": 9_000, "params": {"count": 5}},
    {"kind": "stall", "at_ms": 10_000, "duration_ms": 500},
]


def rotating(settings: Settings) -> Settings:
    """Markets come and go within the test."""
    venues = settings.venues
    quick = {"rotation_period_secs": 5, "subscription_churn_limit_per_minute": 200}
    return settings.model_copy(
        update={
            "venues": venues.model_copy(
                update={
                    "polymarket": venues.polymarket.model_copy(update=quick),
                    "kalshi": venues.kalshi.model_copy(update=quick),
                }
            )
        }
    )


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> LakePaths:
    script = FaultScript(tuple(Fault(venue=venue, **fault) for venue in Venue for fault in FAULTS))  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("faulty")
    trip = travel(folder, duration_s=12, faults=script, change=rotating)
    assert all(trip.faults[venue] for venue in Venue)
    return LakePaths(folder)


def again(run: JournalRun, venue: Venue) -> tuple[pl.DataFrame, Replayed]:
    result = Replayed(run_id=run.run_id)
    batches = [rows_of(cut, venue=venue, top_k=50) for cut in replay_run(run, result, until_ms=1 << 60)]
    rows = pl.from_arrow(pa.Table.from_batches(batches))
    assert isinstance(rows, pl.DataFrame)
    return rows.sort(KEY), result


def the_run(paths: LakePaths, venue: Venue) -> JournalRun:
    (run,) = find_runs(paths, venue, paths.days(JOURNAL, venue), from_ms=0, to_ms=1 << 60)
    return run


@pytest.mark.parametrize("venue", list(Venue))
def test_a_recording_with_faults_comes_out_again_exactly(faulty: LakePaths, venue: Venue) -> None:
    made, result = again(the_run(faulty, venue), venue)
    stored = scan_snapshots(faulty, venue).sort(KEY).collect()
    assert len(stored) > 500
    assert made.equals(stored)
    assert set(stored["status"]) >= {"ok", "stale"}
    assert (result.stopped, result.holes, result.diverged, result.dropped) == (True, [], "", 0)


def test_books_polled_without_a_key_come_out_again_exactly(tmp_path: Path) -> None:
    travel(tmp_path, duration_s=5, venues=[Venue.KALSHI], keyless=True)
    paths = LakePaths(tmp_path)
    made, _ = again(the_run(paths, Venue.KALSHI), Venue.KALSHI)
    stored = scan_snapshots(paths, Venue.KALSHI).sort(KEY).collect()
    assert len(stored) > 100
    assert made.equals(stored)


@pytest.mark.parametrize("venue", list(Venue))
def test_a_replay_may_begin_at_a_checkpoint(tmp_path: Path, venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    # Late enough that even a slow start has left rows before the first of them.
    monkeypatch.setattr(recorder, "STATE_MS", 4_000)
    monkeypatch.setattr(recorder, "STATE_COST", 0)
    travel(tmp_path, duration_s=9, venues=[venue])
    paths = LakePaths(tmp_path)
    run = the_run(paths, venue)
    stored = scan_snapshots(paths, venue).sort(KEY).collect()
    # The beginning is taken for that of a file whose predecessors are gone.
    monkeypatch.setattr(runs, "_BEGINNINGS", frozenset({"state"}))
    made, result = again(run, venue)
    (known,), (hole,) = result.known, result.holes
    # From the checkpoint on it is known; the first rows after it say from when.
    assert hole.to_ms <= known.from_ms
    assert stored.filter(pl.col("ts_recv").is_between(hole.to_ms, known.from_ms, closed="none")).is_empty()
    after = stored.filter(pl.col("ts_recv") >= known.from_ms)
    assert 100 < len(after) < len(stored)
    assert made.equals(after)


def test_what_is_no_state_is_refused() -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("true",)

    for data in (b"", b"rubbish", pickle.dumps({"a": 1}), pickle.dumps(Harm()), pickle.dumps(len)):
        with pytest.raises(FileDamaged, match="no state of a recording"):
            thaw(data)
