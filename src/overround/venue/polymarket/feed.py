"""One market-channel connection without the connection: ``venue.ports.Feed`` for Polymarket."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from overround.book import Book, BookShelf
from overround.market import Integrity, Market, MarketId, OutcomeId
from overround.venue.polymarket.hash import HashEra
from overround.venue.ports import FeedCounters, FeedEvent, RestBook

__all__ = ["PolymarketFeed"]


class PolymarketFeed:
    """One connection to the market channel, sans-IO.

    Parameters
    ----------
    shelf : BookShelf
    rng : random.Random or None
        Jitter of heartbeats; None for none.
    heartbeat_ms : int
    passive : bool
        Replay: takes every market it sees, sends nothing, repairs nothing.
    hash_era : HashEra or None
        None: 10 members when live; tried out and remembered when passive.
    check_each : bool
        Recompute the hash of every book and change (replay), not only when ``verdict`` asks.
    follow_all : bool
        Report LISTED and RESOLVED of markets not held here (one connection of a venue should).
    """

    def __init__(
        self,
        shelf: BookShelf,
        *,
        rng: random.Random | None = None,
        heartbeat_ms: int = 10_000,
        passive: bool = False,
        hash_era: HashEra | None = None,
        check_each: bool = False,
        follow_all: bool = False,
    ) -> None:
        self.outbox: list[str] = []
        self.events: list[FeedEvent] = []
        self.reconnect_reason: str | None = None
        self.counters = FeedCounters()
        self.last_recv_ns = 0

    @property
    def books(self) -> Mapping[MarketId, Book]:
        """Books of the markets wanted on this connection, live or not."""
        raise NotImplementedError

    def tokens(self, market_id: MarketId) -> tuple[OutcomeId, ...]:
        """Outcome ids of a market, first outcome first (in replay as far as seen)."""
        raise NotImplementedError

    def hash_counts(self, outcome_id: OutcomeId) -> tuple[int, int]:
        """How many announced hashes of that token were recomputed, and how many matched."""
        raise NotImplementedError

    def add(self, markets: Sequence[Market], *, now_ms: int) -> None:
        """Want more markets; commands are sent if the connection stands, else at ``opened``."""
        raise NotImplementedError

    def remove(self, market_ids: Sequence[MarketId], *, now_ms: int) -> None:
        """Want fewer markets."""
        raise NotImplementedError

    def opened(self, *, now_ms: int) -> None:
        """The connection stands: ask for everything wanted."""
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
        """Answer to ``REST_WANTED`` or an audit."""
        raise NotImplementedError

    def verdict(self, market_id: MarketId, *, now_ms: int) -> Integrity:
        """Prove the book as it stands now by the last announced hash."""
        raise NotImplementedError
