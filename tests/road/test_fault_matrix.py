"""Cells of the fault matrix: real ``collect`` processes, as ``overround exchange selftest`` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from overround.clock import SystemClock
from overround.market import Venue
from overround.pipelines.fault_cells import FaultCell, cells_alone, cells_drawn
from overround.pipelines.selftest import STILL_MS, CellResult, run_cell

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(300)]

VENUES = tuple(Venue)
SLICE, SLICE_SEED = ("drop", "sequence_gap", "close"), 3
WHOLE_SEED, DRAWN = 7, 6


def held(cell: FaultCell, folder: Path) -> list[CellResult]:
    results = run_cell(cell, venues=cell.venues, folder=folder / "1", clock=SystemClock())
    if any(not result.ok and result.still_ms > STILL_MS for result in results):
        # Beside other tests the exchange may get no processor for seconds: that run says nothing.
        results = run_cell(cell, venues=cell.venues, folder=folder / "2", clock=SystemClock())
    assert [problem for result in results for problem in result.problems] == [], cell.repeat()
    return results


@pytest.mark.parametrize("cell", cells_alone(SLICE, venues=VENUES, seed=SLICE_SEED), ids=lambda cell: cell.name)
def test_a_fault_ends_in_right_books_and_in_gaps_that_cover_what_was_lost(cell: FaultCell, tmp_path: Path) -> None:
    results = held(cell, tmp_path)
    assert [result.venue for result in results] == [venue.value for venue in VENUES]
    for result in results:
        assert result.rows_equal == result.rows > 0
        # Only Kalshi numbers its messages: a lost change of Polymarket's that left no trace cannot be known.
        unknowable = result.gaps.traceless_changes if result.venue == Venue.POLYMARKET.value else 0
        assert result.gaps.gaps + unknowable > 0, "the fault did nothing"
        assert result.gaps.recorded_ms <= result.gaps.allowed_ms


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "cell",
    [*cells_alone((), venues=VENUES, seed=WHOLE_SEED), *cells_drawn(DRAWN, venues=VENUES, seed=WHOLE_SEED)],
    ids=lambda cell: cell.name,
)
def test_every_fault_alone_and_drawn_together(cell: FaultCell, tmp_path: Path) -> None:
    held(cell, tmp_path)
