"""Looking for silence that heartbeats hide: the shell around ``silence``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import msgspec
import structlog

from overround.clock import Clock
from overround.collector.connection import Connection
from overround.config import SilenceSettings
from overround.errors import VenueError
from overround.market import Market, MarketId
from overround.net import ConnectionPacer
from overround.venue import FeedEvent
from overround.venue.adapters import VenueAdapter

__all__ = ["SilenceCounters", "SilenceWatch"]

log = structlog.get_logger()


class SilenceCounters(msgspec.Struct, kw_only=True):
    """What the watch did; read at scrape time.

    Attributes
    ----------
    suspicions : int
        Silences longer than the connection's own habit.
    audits : int
        Books compared with REST, and of these
    proofs, differences : int
        equal ones, and different ones that were not overtaken at once.
    freezes, mutes, missing_books : int
        Connections found frozen, markets found mute, first books found missing.
    failures : int
        Questions to REST without an answer.
    """

    suspicions: int = 0
    audits: int = 0
    proofs: int = 0
    differences: int = 0
    freezes: int = 0
    mutes: int = 0
    missing_books: int = 0
    failures: int = 0


class SilenceWatch:
    """Watches one venue's connections beside the recorder.

    Parameters
    ----------
    adapter : VenueAdapter
    settings : SilenceSettings
    clock : Clock
    rng : Random
    pacer : ConnectionPacer
        Shared by all slots of the host.
    connections : callable
        The connections that record, as they are now.
    market_of : callable
        A market's listing, or None.
    report : callable
        Takes what was found, as a feed's reports are taken.
    """

    def __init__(
        self,
        adapter: VenueAdapter,
        *,
        settings: SilenceSettings,
        clock: Clock,
        rng: Random,
        pacer: ConnectionPacer,
        connections: Callable[[], Sequence[Connection]],
        market_of: Callable[[MarketId], Market | None],
        report: Callable[[Connection, Sequence[FeedEvent]], None],
    ) -> None:
        self.counters = SilenceCounters()
        self._adapter = adapter
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._pacer = pacer
        self._connections = connections
        self._market_of = market_of
        self._report = report

    async def run(self) -> None:
        """Compare a rotating sample of live books with REST (a feed decides what a difference means)."""
        while self._settings.enabled:
            await self._clock.sleep_ms(self._settings.audit_after_secs * 1000)
            if not self._adapter.audits_by_rest:
                continue
            live = sorted(m for c in self._connections() for m, book in c.feed.books.items() if book.live)
            sample = self._rng.sample(live, k=min(50, len(live)))
            markets = [market for m in sample if (market := self._market_of(m)) is not None]
            if not markets:
                continue
            try:
                books = await self._adapter.book_source.books(markets)
            except VenueError as exc:
                self.counters.failures += 1
                log.warning("rest_books.failed", venue=self._adapter.venue, markets=len(markets), reason=str(exc))
                continue
            now_ms = self._clock.now_ms()
            self.counters.audits += len(books)
            for book in books:
                for connection in self._connections():
                    if book.market_id in connection.feed.books:
                        connection.feed.rest_book(book, now_ms=now_ms)
                        connection.drain()
