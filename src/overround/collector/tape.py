"""A feed whose calls are journalled, so that the same calls can be made again.

A feed is a function of its calls: the same calls with the same times, in the same order, make the same books, the
same sequence counts and the same verdicts. Frames are in the journal anyway; here the other calls are put between them.
`overround verify --deep` makes them again and compares every stored row with what comes out.

``verdict`` is asked for when a row is taken and is journalled with the rows (see ``VenueRecorder``); whoever asks for it
at other times makes a recording that cannot be proved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from overround.book import Book
from overround.market import Integrity, Market, MarketId, Trade
from overround.venue import Feed, FeedCounters, FeedEvent, RestBook

__all__ = ["TapedFeed"]


class TapedFeed:
    """A feed as it is handed around; the shell keeps the feed itself for the frames.

    Parameters
    ----------
    feed : Feed
    mark : callable
        ``mark(event, **fields)`` puts a line into the journal.
    """

    __slots__ = ("_feed", "_mark")

    def __init__(self, feed: Feed, mark: Callable[..., None]) -> None:
        self._feed = feed
        self._mark = mark

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    # -- read and emptied by the shell ----------------------------------------------------------------

    @property
    def outbox(self) -> list[str]:
        """See ``Feed``."""
        return self._feed.outbox

    @outbox.setter
    def outbox(self, texts: list[str]) -> None:
        self._feed.outbox = texts

    @property
    def events(self) -> list[FeedEvent]:
        """See ``Feed``."""
        return self._feed.events

    @events.setter
    def events(self, events: list[FeedEvent]) -> None:
        self._feed.events = events

    @property
    def reconnect_reason(self) -> str | None:
        """See ``Feed``."""
        return self._feed.reconnect_reason

    @reconnect_reason.setter
    def reconnect_reason(self, reason: str | None) -> None:
        self._feed.reconnect_reason = reason

    @property
    def last_recv_ns(self) -> int:
        """See ``Feed``."""
        return self._feed.last_recv_ns

    @last_recv_ns.setter
    def last_recv_ns(self, recv_ns: int) -> None:
        self._feed.last_recv_ns = recv_ns

    @property
    def counters(self) -> FeedCounters:
        """See ``Feed``."""
        return self._feed.counters

    @property
    def books(self) -> Mapping[MarketId, Book]:
        """See ``Feed``."""
        return self._feed.books

    def deadline_ms(self) -> int | None:
        """See ``Feed``."""
        return self._feed.deadline_ms()

    def verdict(self, market_id: MarketId, *, now_ms: int) -> Integrity:
        """See ``Feed``; journalled with the rows."""
        return self._feed.verdict(market_id, now_ms=now_ms)

    def spoken_ns(self) -> int:
        """See ``Feed``."""
        return self._feed.spoken_ns()

    def proven_ms(self, market_id: MarketId) -> int | None:
        """See ``Feed``."""
        return self._feed.proven_ms(market_id)

    def receive(self, frame: bytes, recv_ns: int) -> bool:
        """See ``Feed``; the shell journals frames itself."""
        return self._feed.receive(frame, recv_ns)

    def take_trades(self) -> list[Trade]:
        """See ``Feed``; what is read changes nothing that a replay needs."""
        return self._feed.take_trades()

    # -- journalled -------------------------------------------------------------------------------------

    def add(self, markets: Sequence[Market], *, now_ms: int) -> None:
        """See ``Feed``."""
        if markets:
            self._mark("add", ms=now_ms, markets=[_as_journalled(market) for market in markets])
        self._feed.add(markets, now_ms=now_ms)

    def remove(self, market_ids: Sequence[MarketId], *, now_ms: int) -> None:
        """See ``Feed``."""
        self._mark("remove", ms=now_ms, market_ids=list(market_ids))
        self._feed.remove(market_ids, now_ms=now_ms)

    def opened(self, *, now_ms: int) -> None:
        """See ``Feed``."""
        self._mark("opened", ms=now_ms)
        self._feed.opened(now_ms=now_ms)

    def tick(self, *, now_ms: int) -> None:
        """See ``Feed``."""
        self._mark("tick", ms=now_ms)
        self._feed.tick(now_ms=now_ms)

    def lost(self, *, now_ms: int, reason: str) -> None:
        """See ``Feed``."""
        self._mark("closed", ms=now_ms, reason=reason)
        self._feed.lost(now_ms=now_ms, reason=reason)

    def rest_book(self, book: RestBook, *, now_ms: int) -> None:
        """See ``Feed``."""
        self._mark("rest_book", ms=now_ms, book=book)
        self._feed.rest_book(book, now_ms=now_ms)

    def distrust(self, market_id: MarketId, *, now_ms: int, since_ns: int | None = None) -> bool:
        """See ``Feed``."""
        self._mark("distrust", ms=now_ms, market_ids=[market_id], since_ns=since_ns)
        return self._feed.distrust(market_id, now_ms=now_ms, since_ns=since_ns)


def _as_journalled(market: Market) -> Market:
    """A market without the long texts, which no feed reads."""
    return msgspec.structs.replace(market, rules_text="", rules_source="", tags=())
