"""What a recorder counts for whoever watches over it, beyond its status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from overround.book import Book
from overround.collector.ledger import Seconds
from overround.collector.watch import SilenceCounters
from overround.market import MarketId
from overround.ops import Histogram, RunningMinimum
from overround.venue import FeedCounters

__all__ = ["RecorderFigures", "RecorderTotals"]

_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FLUSH_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_REPAIR_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)


class RecorderTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts of one venue's recording have counted, and no status line shows.

    Attributes
    ----------
    feed : FeedCounters
        The sum of all connections'.
    silence : SilenceCounters
    seconds : Seconds
        Of the coverage ledger.
    http : mapping of str to int
        See ``HttpClient.counters``.
    rows_given_up, rows_removed : int
        Rows that never reached the disk, and rows that another's hand took from it.
    newest_row_age_ms : int
        Since the newest row on disk, an earlier run's included; where there is none, since the start.
    """

    feed: FeedCounters
    silence: SilenceCounters
    seconds: Seconds
    http: Mapping[str, int]
    rows_given_up: int
    rows_removed: int
    newest_row_age_ms: int


class RecorderFigures:
    """Histograms and counts by reason of one venue's recording.

    Attributes
    ----------
    lag : Histogram
        Seconds from the venue's stamp on a book's newest change to our receiving it, above the least such difference of
        the last minutes. Sampled: once per row, if the book has changed since its last row.
    flush : Histogram
        Seconds until a flush of rows was durable.
    repair : Histogram
        Seconds from the last instant a book was known to be right until it was right again.
    gaps : Counter of str
        By cause.
    steps : Counter of str
        Repair steps by kind.
    """

    def __init__(self) -> None:
        self.lag = Histogram(_LAG_S)
        self.flush = Histogram(_FLUSH_S)
        self.repair = Histogram(_REPAIR_S)
        self.gaps: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()
        self._floor = RunningMinimum()
        self._seen: dict[MarketId, int] = {}

    def book(self, market_id: MarketId, book: Book) -> None:
        """A row of this book was taken."""
        recv_ns = book.ts_recv_ns
        before = self._seen.get(market_id)
        if not book.live or not book.ts_venue_ms or before == recv_ns:
            return
        self._seen[market_id] = recv_ns
        if before is None:
            return  # a first book carries the stamp of a change long past
        lag_ms = recv_ns / 1e6 - book.ts_venue_ms
        self.lag.observe(self._floor.above(lag_ms, now_ms=recv_ns // 1_000_000) / 1000)

    def forget(self, market_id: MarketId) -> None:
        """The market is held no longer."""
        self._seen.pop(market_id, None)
