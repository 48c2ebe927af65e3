from __future__ import annotations

from pathlib import Path

import pytest

from overround.exchange import Fault, FaultScript
from overround.market import Venue

from .road import Trip, travel

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Trip:
    return travel(tmp_path_factory.mktemp("calm"), duration_s=6)


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


FAULTS: list[dict[str, object]] = [
    {"kind": "sequence_gap"},
    {"kind": "drop", "params": {"count": 3, "every": 5}},
    {"kind": "close", "params": {"mode": "abort"}},
    {"kind": "reorder"},
    {"kind": "duplicate", "params": {"count": 5}},
    {"kind": "stall", "duration_ms": 500},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["kind"])
def test_a_fault_on_both_venues_ends_in_right_books(tmp_path: Path, fault: dict[str, object]) -> None:
    script = FaultScript(tuple(Fault(venue=venue, at_ms=3_000, **fault) for venue in Venue))  # type: ignore[arg-type]
    trip = travel(tmp_path, duration_s=7, faults=script)
    for venue in Venue:
        check, recorder = trip.checks[venue], trip.recorders[venue]
        assert trip.faults[venue], "the fault was injected"
        assert check.books_checked > 100
        assert check.books_equal == check.books_checked, check.first_differences
        books = [book for connection in recorder.connections for book in connection.feed.books.values()]
        assert sum(book.live for book in books) >= 55


def test_without_a_key_kalshis_public_books_are_polled_and_unverified(tmp_path: Path) -> None:
    trip = travel(tmp_path, duration_s=6, venues=[Venue.KALSHI], keyless=True)
    recorder = trip.recorders[Venue.KALSHI]
    status = recorder.status()
    assert (status.mode, status.connected, status.live) == ("polling", 1, 60)
    assert recorder.journal is not None, "what REST answered is journalled"
    shares = recorder.snapshotter.by_integrity
    assert shares["unverified"] == recorder.snapshotter.rows > 100
    assert recorder.counters().snapshots > 60, "books change between polls"
