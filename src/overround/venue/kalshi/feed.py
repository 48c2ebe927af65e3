"""One Kalshi connection without the connection: ``venue.ports.Feed`` for ``orderbook_delta``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from overround.book import Book, BookShelf
from overround.market import Integrity, Market, MarketId
from overround.venue.ports import FeedCounters, FeedEvent, RestBook

__all__ = ["KalshiFeed"]


class KalshiFeed:
    """One connection to the venue's socket, sans-IO.

    Parameters
    ----------
    shelf : BookShelf
    channels : tuple of str
        Asked for in this order; ``orderbook_delta`` is the first.
    passive : bool
        Replay: takes every market and every ``sid`` it sees, sends nothing, repairs nothing.
    ignore_gaps : bool
        Replay of a recording filtered by market: its numbers have holes that mean nothing.
    use_yes_price : bool
        Sent with each subscription; whether ``no`` levels come in YES prices.
    chunk : int
        Markets in one command at most.
    """

    def __init__(
        self,
        shelf: BookShelf,
        *,
        channels: tuple[str, ...] = ("orderbook_delta", "trade"),
        passive: bool = False,
        ignore_gaps: bool = False,
        use_yes_price: bool = False,
        chunk: int = 100,
        step_ms: int = 2_000,
        probe_ms: int | None = 60_000,
    ) -> None:
        self.outbox: list[str] = []
        self.events: list[FeedEvent] = []
        self.reconnect_reason: str | None = None
        self.counters = FeedCounters()
        self.last_recv_ns = 0

    @property
    def books(self) -> Mapping[MarketId, Book]:
        """Books of the markets wanted on this connection (in replay: seen), live or not."""
        raise NotImplementedError

    def add(self, markets: Sequence[Market], *, now_ms: int) -> None:
        """Want more markets."""
        raise NotImplementedError

    def remove(self, market_ids: Sequence[MarketId], *, now_ms: int) -> None:
        """Want fewer markets."""
        raise NotImplementedError

    def opened(self, *, now_ms: int) -> None:
        """The connection stands."""
        raise NotImplementedError

    def receive(self, frame: bytes, recv_ns: int) -> bool:
        """Apply one frame; returns whether it was JSON."""
        raise NotImplementedError

    def tick(self, *, now_ms: int) -> None:
        """Do what is due."""
        raise NotImplementedError

    def deadline_ms(self) -> int | None:
        """When ``tick`` is due next, or None."""
        raise NotImplementedError

    def lost(self, *, now_ms: int, reason: str) -> None:
        """The connection has ended."""
        raise NotImplementedError

    def rest_book(self, book: RestBook, *, now_ms: int) -> None:
        """REST books carry no number: never used to repair."""
        raise NotImplementedError

    def verdict(self, market_id: MarketId, *, now_ms: int) -> Integrity:
        """``verified`` while the sequence is whole since the market's snapshot."""
        raise NotImplementedError
