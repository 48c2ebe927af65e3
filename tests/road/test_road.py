from __future__ import annotations

from pathlib import Path

import pytest

from overround.exchange import Fault, FaultScript
from overround.market import Venue

from .road import Trip, travel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Trip:
    return travel(tmp_path_factory.mktemp("calm"), duration_s=8)


@pytest.mark.parametrize("venue", list(Venue))
def test_every_stored_row_equals_the_truth(calm: Trip, venue: Venue) -> None:
    check = calm.checks[venue]
    assert check.books_checked > 200
    assert check.books_equal == check.books_checked, check.first_differences


@pytest.mark.parametrize("venue", list(Venue))
def test_without_faults_there_is_no_gap_and_every_row_is_verified(calm: Trip, venue: Venue) -> None:
    recorder = calm.recorders[venue]
    counters = recorder.counters()
    assert (counters.gaps, counters.negative_levels, counters.rejected, recorder.gaps.episodes) == (0, 0, 0, 0)
    shares = recorder.snapshotter.by_integrity
    assert shares["verified"] == recorder.snapshotter.rows > 0


@pytest.mark.parametrize("venue", list(Venue))
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "sequence_gap"},
        {"kind": "drop"},
        {"kind": "close", "params": {"mode": "abort"}},
        {"kind": "reorder"},
        {"kind": "duplicate", "params": {"count": 5}},
        {"kind": "stall", "duration_ms": 500},
    ],
    ids=lambda fault: fault["kind"],
)
def test_a_fault_ends_in_right_books(tmp_path: Path, venue: Venue, fault: dict[str, object]) -> None:
    script = FaultScript((Fault(venue=venue, at_ms=3_000, **fault),))  # type: ignore[arg-type]
    trip = travel(tmp_path, duration_s=8, venues=[venue], faults=script, markets=200)
    check, recorder = trip.checks[venue], trip.recorders[venue]
    assert trip.faults[venue], "the fault was injected"
    assert check.books_checked > 100
    assert check.books_equal == check.books_checked, check.first_differences
    assert recorder.gaps.n_open == 0
    assert sum(book.live for connection in recorder.connections for book in connection.feed.books.values()) >= 50
