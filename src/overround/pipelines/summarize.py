"""One venue's day in one page: what was recorded, how far it can be trusted, what moved, what the venue changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from overround.errors import NothingStored
from overround.market import MarketId
from overround.pipelines.captions import captions
from overround.pipelines.coverage import CoverageReport, coverage_report
from overround.pipelines.drift import FoundDrift, drift_report
from overround.pipelines.lake import list_lake
from overround.storage import LakePaths
from overround.storage.history import catalogue_changes
from overround.storage.stats import read_stats
from overround.timebucket import day_start_ms

__all__ = ["ActiveMarket", "DaySummary", "StoredTable", "summarize"]

_MOST = 5
_DAY_MS = 86_400_000


class StoredTable(msgspec.Struct, frozen=True, kw_only=True):
    """One table of the day.

    Attributes
    ----------
    table : str
    files, open_files : int
        Finished files, and write-ahead files of buckets under way.
    rows : int or None
        Of the finished ones; None for the journal.
    bytes : int
    """

    table: str
    files: int
    open_files: int
    rows: int | None
    bytes: int


class ActiveMarket(msgspec.Struct, frozen=True, kw_only=True):
    """A market whose quotes moved, by the miner's figures of its first outcome.

    Attributes
    ----------
    market_id, title : str
    quote_updates : int
    avg_spread, avg_depth_top3 : float or None
    """

    market_id: str
    title: str
    quote_updates: int
    avg_spread: float | None
    avg_depth_top3: float | None


class DaySummary(msgspec.Struct, frozen=True, kw_only=True):
    """A day in one page; the names of ``--json``.

    Attributes
    ----------
    venue, date : str
    coverage : CoverageReport or None
        None where no ledger was kept.
    stored : list of StoredTable
    active : list of ActiveMarket or None
        Most quote updates first; None before the day is mined.
    listing_changes : dict of str to int
        Changes of the listing that became known on that day, by kind.
    drift : list of FoundDrift
        Departures first seen on that day.
    """

    venue: str
    date: str
    coverage: CoverageReport | None
    stored: list[StoredTable]
    active: list[ActiveMarket] | None
    listing_changes: dict[str, int]
    drift: list[FoundDrift]


def summarize(paths: LakePaths, venue: str, date: str, *, now_ms: int) -> DaySummary:
    """Put one day together.

    Parameters
    ----------
    paths : LakePaths
    venue, date : str
    now_ms : int
        Until when gaps that last are counted.

    Raises
    ------
    NothingStored
        If nothing at all was stored on that day.
    FileDamaged
        If a file cannot be read.
    """
    stored = list_lake(paths, venue=venue, date=date)
    from_ms = day_start_ms(date)
    to_ms = from_ms + _DAY_MS
    try:
        coverage = coverage_report(paths, venue, date, now_ms=now_ms)
    except NothingStored:
        coverage = None
    # The ledger's report has read the listing already.
    titles = (
        captions(paths, venue, now_ms)
        if coverage is None
        else {MarketId(market.market_id): market.title for market in coverage.markets}
    )
    changes = catalogue_changes(paths, venue, since_ms=from_ms, until_ms=to_ms - 1)
    try:
        drift = [found for found in drift_report(paths, [venue]).found if from_ms <= found.first_ms < to_ms]
    except NothingStored:
        drift = []
    return DaySummary(
        venue=venue,
        date=date,
        coverage=coverage,
        stored=[
            StoredTable(
                table=entry.table, files=entry.files, open_files=entry.open_files, rows=entry.rows, bytes=entry.bytes
            )
            for entry in stored
        ],
        active=_active(paths, venue, date, titles),
        listing_changes=dict(Counter(str(change.what) for change in changes).most_common()),
        drift=drift,
    )


def _active(paths: LakePaths, venue: str, date: str, titles: Mapping[MarketId, str]) -> list[ActiveMarket] | None:
    try:
        rows = read_stats(paths, venue, date).to_pylist()
    except NothingStored:
        return None
    best: dict[str, dict[str, object]] = {}
    for row in sorted(rows, key=lambda row: (-row["quote_updates"], row["market_id"], row["outcome_id"])):
        best.setdefault(row["market_id"], row)  # both outcomes of a market move together
    shown = list(best.values())[:_MOST]
    return [
        msgspec.convert(row | {"title": titles.get(MarketId(str(row["market_id"])), "")}, ActiveMarket)
        for row in shown
        if row["quote_updates"]
    ]
