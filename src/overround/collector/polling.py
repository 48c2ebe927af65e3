"""Books by REST, for a venue whose socket needs a key that is not configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from overround.book import Book, BookShelf
from overround.clock import Clock
from overround.collector.tape import TapedFeed
from overround.errors import VenueError
from overround.market import ErrCode, Integrity, Market, MarketId, Trade
from overround.storage import FrameJournal
from overround.venue import BookSource, Feed, FeedCounters, FeedEvent, FeedEventKind, RestBook

__all__ = ["BookPoller", "PolledFeed"]

log = structlog.get_logger()


class PolledFeed:
    """A feed whose books come from whole REST answers; nothing proves them between two polls.

    Parameters
    ----------
    shelf : BookShelf
    """

    def __init__(self, shelf: BookShelf) -> None:
        self.outbox: list[str] = []
        self.events: list[FeedEvent] = []
        self.reconnect_reason: str | None = None
        self.counters = FeedCounters()
        self.last_recv_ns = 0
        self._shelf = shelf
        self._books: dict[MarketId, Book] = {}
        self._asked_ms: dict[MarketId, int] = {}

    @property
    def books(self) -> Mapping[MarketId, Book]:
        """Books of the polled markets."""
        return self._books

    def add(self, markets: Sequence[Market], *, now_ms: int) -> None:
        """Poll more markets."""
        for market in markets:
            self._books[market.market_id] = self._shelf.open(market.market_id)
            self._asked_ms.setdefault(market.market_id, now_ms)

    def remove(self, market_ids: Sequence[MarketId], *, now_ms: int) -> None:  # noqa: ARG002 - the port's signature
        """Poll fewer markets."""
        for market_id in market_ids:
            if self._books.pop(market_id, None) is not None:
                self._asked_ms.pop(market_id, None)
                self._shelf.close(market_id)

    def opened(self, *, now_ms: int) -> None:
        """There is no connection."""

    def receive(self, frame: bytes, recv_ns: int) -> bool:  # noqa: ARG002 - the port's signature
        """There are no frames."""
        return False

    def take_trades(self) -> list[Trade]:
        """There are no prints."""
        return []

    def tick(self, *, now_ms: int) -> None:
        """There are no deadlines."""

    def deadline_ms(self) -> int | None:
        """There are no deadlines."""
        return None

    def lost(self, *, now_ms: int, reason: str) -> None:  # noqa: ARG002 - the port's signature
        """Polling failed: books are stale until the next answer."""
        for book in self._books.values():
            if book.live:
                book.live = False
                book.err = ErrCode.RECONNECTING
                book.integrity = Integrity.STALE

    def rest_book(self, book: RestBook, *, now_ms: int) -> None:
        """Take one polled book over; ``seq`` grows only when it differs from the last one."""
        held = self._books.get(book.market_id)
        if held is None:
            return
        self.last_recv_ns = now_ms * 1_000_000
        if not held.had_book or held.bids != book.bids or held.asks != book.asks:
            held.replace(book.bids, book.asks)
            held.ts_recv_ns = self.last_recv_ns
            self.counters.snapshots += 1
        held.ts_venue_ms = book.ts_venue_ms
        crossed = held.crossed
        self.counters.crossed += crossed
        if crossed:
            held.live, held.err, held.integrity = False, ErrCode.CROSSED, Integrity.SUSPECT
            return
        asked = self._asked_ms.pop(book.market_id, None)
        if asked is not None:
            self.events.append(
                FeedEvent(
                    kind=FeedEventKind.LIVE,
                    ts_recv_ns=self.last_recv_ns,
                    market_id=book.market_id,
                    detail="rest",
                    took_ms=now_ms - asked,
                )
            )
        held.live, held.err, held.integrity = True, None, Integrity.UNVERIFIED

    def distrust(self, market_id: MarketId, *, now_ms: int, since_ns: int | None = None) -> bool:  # noqa: ARG002 - the port's signature
        """Nothing is subscribed: the next poll is the repair."""
        return False

    def verdict(self, market_id: MarketId, *, now_ms: int) -> Integrity:  # noqa: ARG002 - the port's signature
        """A polled book is never more than unverified."""
        return self._books[market_id].integrity

    def spoken_ns(self) -> int:
        """A polled venue has no socket."""
        return 0

    def proven_ms(self, market_id: MarketId) -> int | None:  # noqa: ARG002 - the port's signature
        """Nothing proves a polled book."""
        return None


class BookPoller:
    """Asks for the books of all polled markets, hot and warm each on its own interval.

    Parameters
    ----------
    feed : PolledFeed
    source : BookSource
    clock : Clock
    name : str
        For the log and the journal.
    journal : FrameJournal or None
        Keeps what the answers changed.
    """

    def __init__(
        self, feed: PolledFeed, source: BookSource, *, clock: Clock, name: str, journal: FrameJournal | None = None
    ) -> None:
        self.feed: PolledFeed | TapedFeed = feed if journal is None else TapedFeed(feed, self._mark)
        self.down_since_ms: int | None = None
        self.name = self.log_id = name
        self.reconnects = 0
        self._began_ms = clock.now_ms()
        self._feed = feed
        self._source = source
        self._clock = clock
        self._journal = journal
        self._intervals: dict[MarketId, tuple[Market, int]] = {}

    @property
    def untaped(self) -> Feed:
        """The feed itself."""
        return self._feed

    @property
    def connected(self) -> bool:
        """Whether the last poll was answered."""
        return self.down_since_ms is None

    @property
    def since_ms(self) -> int:
        """Since when it has been so."""
        return self._began_ms if self.down_since_ms is None else self.down_since_ms

    def set_intervals(self, wanted: Mapping[MarketId, tuple[Market, int]]) -> None:
        """Poll exactly these markets, each every so many milliseconds."""
        self._intervals = dict(wanted)

    async def run(self) -> None:
        """Poll until cancelled."""
        due: dict[MarketId, int] = {}
        while True:
            now_ms = self._clock.now_ms()
            ready = []
            for market_id, (market, interval_ms) in self._intervals.items():
                if due.get(market_id, 0) <= now_ms:
                    ready.append(market)
                    due[market_id] = now_ms - now_ms % interval_ms + interval_ms
            for market_id in due.keys() - self._intervals.keys():
                del due[market_id]
            if ready:
                await self._poll(ready)
            pause_ms = min((at - self._clock.now_ms() for at in due.values()), default=250)
            await self._clock.sleep_ms(max(20, min(pause_ms, 250)))

    async def _poll(self, markets: Sequence[Market]) -> None:
        try:
            books = await self._source.books(markets)
        except VenueError as exc:
            now_ms = self._clock.now_ms()
            if self.down_since_ms is None:
                self.down_since_ms = now_ms
                log.warning("polling.failed", venue=self.name, reason=str(exc))
            self.feed.lost(now_ms=now_ms, reason=str(exc))
            return
        now_ms = self._clock.now_ms()
        if self.down_since_ms is not None:
            log.info("polling.recovered", venue=self.name, down_ms=now_ms - self.down_since_ms)
            self.down_since_ms = None
            self._began_ms = now_ms
        self._keep(books, now_ms)
        for book in books:
            self._feed.rest_book(book, now_ms=now_ms)

    def _keep(self, books: Sequence[RestBook], now_ms: int) -> None:
        """Journal the books of one answer; of one that is still the same only its time."""
        if self._journal is None:
            return
        changed: list[RestBook] = []
        same: dict[MarketId, int | None] = {}
        for book in books:
            held = self._feed.books.get(book.market_id)
            if held is not None and held.had_book and held.bids == book.bids and held.asks == book.asks:
                same[book.market_id] = book.ts_venue_ms
            else:
                changed.append(book)
        self._mark("polled", ms=now_ms, books=changed, same=same)

    def _mark(self, event: str, **fields: object) -> None:
        if self._journal is not None:
            self._journal.mark(self.name, self._clock.now_ns(), event, **fields)
