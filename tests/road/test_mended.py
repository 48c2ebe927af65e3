"""A parser that refuses what a venue sends is mended, and the rows are made again from the journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import polars as pl
import pytest
from click.testing import CliRunner

from overround.cli.app import root
from overround.config import Settings
from overround.errors import FrameMalformed
from overround.exchange import ExchangeThread
from overround.market import Venue
from overround.pipelines.lake import verify_lake
from overround.pipelines.truth_check import TruthCheck
from overround.storage import JOURNAL, LakePaths, read_journal, scan_snapshots
from overround.storage.quarantine import read_quarantine
from overround.venue.kalshi import careful
from overround.venue.kalshi import feed as kalshi_feed
from overround.venue.polymarket import feed as polymarket_feed

from .lakes import KEY, journals
from .road import Trip, compare, travel

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(120)]


def refuse_changes(patch: pytest.MonkeyPatch) -> None:
    """As if both venues had changed how they write a change of a book, and the parsers had not followed."""

    def no_text(_: object) -> Any:
        raise msgspec.ValidationError("a change in next year's form")

    def no_event(_: object) -> Any:
        raise FrameMalformed("a change in next year's form")

    patch.setattr(polymarket_feed, "decode_change", no_text)
    patch.setattr(polymarket_feed, "deltas", no_event)
    patch.setattr(kalshi_feed, "decode_stamped", no_text)
    patch.setattr(careful, "_decode_delta_msg", no_text)


@dataclass
class Mended:
    """A lake recorded with the parsers that refuse, and the one rebuilt with those that do not."""

    recorded: LakePaths
    rebuilt: LakePaths
    trip: Trip
    said: dict[Venue, str] = field(default_factory=dict)
    checks: dict[Venue, TruthCheck] = field(default_factory=dict)


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Mended:
    folder = tmp_path_factory.mktemp("mended")
    paths, again = LakePaths(folder / "lake"), LakePaths(folder / "lake.rebuilt")
    said: dict[Venue, str] = {}
    checks: dict[Venue, TruthCheck] = {}
    with pytest.MonkeyPatch.context() as patch:

        def mend(thread: ExchangeThread, live: Settings) -> None:
            patch.undo()
            for venue in Venue:
                for day in paths.days(JOURNAL, str(venue)):
                    ask = ["--from", "journal", "--venue", str(venue), "--date", day, "--data-dir", str(paths.root)]
                    done = CliRunner().invoke(root, ["lake", "rebuild", *ask], standalone_mode=False)
                    assert (done.exception, done.return_value or 0) == (None, 0)
                    said[venue] = done.output
                checks[venue] = compare(live, venue, thread.urls.truth_url, again)

        refuse_changes(patch)
        trip = travel(paths.root, duration_s=6, afterwards=mend)
    return Mended(recorded=paths, rebuilt=again, trip=trip, said=said, checks=checks)


@pytest.mark.parametrize("venue", list(Venue))
def test_what_the_parser_refused_is_in_the_rows_after_it_was_mended(mended: Mended, venue: Venue) -> None:
    counters = mended.trip.recorders[venue].counters()
    assert counters.changes == 0, "every change was refused"
    assert counters.rejected > 500
    recorded, rebuilt = (scan_snapshots(lake, venue).sort(KEY).collect() for lake in (mended.recorded, mended.rebuilt))
    assert recorded.filter(pl.col("status") == "stale").height > 0.2 * recorded.height
    # The rows of the same instants, and of those at which no book could be shown.
    assert recorded.join(rebuilt, on=KEY, how="anti").height == 0
    check = mended.checks[venue]
    assert check.books_checked == rebuilt.height > 300
    assert check.books_equal == check.books_checked, check.first_differences
    # On a slow machine the refusals cost a connection before the parser was mended: a gap that no parser mends.
    assert set(rebuilt["integrity"]) <= {"verified", "gap"}
    assert rebuilt.filter(pl.col("integrity") == "verified").height > 0.9 * rebuilt.height
    assert rebuilt.filter(pl.col("status") == "stale").height < 0.1 * rebuilt.height
    assert verify_lake(mended.rebuilt, venue=str(venue), top_k=50).ok
    # What was sent then (for repairs) is not what would be sent now, and that is said.
    assert "would now send" in mended.said[venue]


@pytest.mark.parametrize("venue", list(Venue))
def test_what_was_set_aside_is_in_the_journal_too(mended: Mended, venue: Venue) -> None:
    aside = [
        entry
        for path in mended.recorded.root.glob(f"quarantine/venue={venue}/**/*.jsonl")
        for entry in read_quarantine(path)
    ]
    assert aside
    entries = [entry for path in journals(mended.recorded, venue) for entry in read_journal(path)]
    kept = {(entry.conn, entry.recv_ns, bytes(entry.wire)) for entry in entries if entry.recv_ns is not None}
    assert {(entry.conn, entry.recv_ns, bytes(entry.wire)) for entry in aside} <= kept
