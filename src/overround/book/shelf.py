"""All live books of one venue, shared by its connections."""

from __future__ import annotations

from collections.abc import Iterator

from overround.book.ladder import Book
from overround.market import MarketId

__all__ = ["BookShelf"]


class BookShelf:
    """Hands out one book per market and remembers ``seq`` across re-subscriptions.

    Levels of a market that is no longer subscribed are dropped; only its counter stays, so memory
    does not grow while the rotation visits thousands of markets.
    """

    def __init__(self) -> None:
        self._books: dict[MarketId, Book] = {}
        self._seqs: dict[MarketId, int] = {}

    def open(self, market_id: MarketId, kind: type[Book] = Book) -> Book:
        """The market's book; a new, empty one (of the kind a feed asks for) continues the market's earlier ``seq``."""
        book = self._books.get(market_id)
        if book is None:
            book = self._books[market_id] = kind(seq=self._seqs.pop(market_id, 0))
        return book

    def close(self, market_id: MarketId) -> None:
        """Drop a market's levels and keep its counter."""
        book = self._books.pop(market_id, None)
        if book is not None:
            self._seqs[market_id] = book.seq

    def get(self, market_id: MarketId) -> Book | None:
        """The market's book while it is open."""
        return self._books.get(market_id)

    def items(self) -> Iterator[tuple[MarketId, Book]]:
        """Open markets and their books."""
        return iter(self._books.items())

    def __len__(self) -> int:
        return len(self._books)
