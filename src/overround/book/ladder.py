"""One market's book: two ladders of resting size in integers.

The book is kept for the market's *first* outcome. The second outcome's book is its exact mirror on
both venues (a bid for NO at ``q`` is an offer of YES at ``1 - q``), so it is derived when it is read
and never stored. Each side is a dict from ``px_e4`` to ``sz_e6`` beside its best price: a dict beats
sorted containers on both apply and best price because most changes do not touch the best.

Feeds write the slots directly on their hot path; what they must keep true is:

- a level's size is positive: a zero removes the level;
- ``best_bid_e4`` is the highest bid or ``NO_BID_E4``, ``best_ask_e4`` the lowest ask or ``NO_ASK_E4``;
- ``seq`` grows by one for each applied change (a replacement counts as one).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from overround.market import PX_ONE_E4, Integrity

__all__ = ["NO_ASK_E4", "NO_BID_E4", "Book", "Level", "Side", "mirror"]

NO_BID_E4 = -1
NO_ASK_E4 = PX_ONE_E4 + 1


class Side(IntEnum):
    """Side of the first outcome's book."""

    BID = 0
    ASK = 1


class Level(NamedTuple):
    """Resting size at one price: ``px_e4``, ``sz_e6``."""

    px_e4: int
    sz_e6: int


class Book:
    """The two ladders of one market's first outcome, and what is known about them.

    Attributes
    ----------
    bids, asks : dict of int to int
        ``px_e4`` to ``sz_e6``; no zero sizes.
    best_bid_e4, best_ask_e4 : int
        Best prices, or ``NO_BID_E4`` and ``NO_ASK_E4``.
    seq : int
        Applied changes, monotonic across re-subscriptions within a run.
    ts_venue_ms : int or None
        Venue time of the last change.
    ts_recv_ns : int
        Receive time of the last change.
    live : bool
        A snapshot has arrived and nothing is known to be missing since.
    had_book : bool
        A snapshot has ever arrived (an outcome that never had a book writes no row).
    integrity : Integrity
        How far the present content is proved.
    err : str or None
        An ``ErrCode`` while ``live`` is false, else None.
    """

    __slots__ = (
        "asks",
        "best_ask_e4",
        "best_bid_e4",
        "bids",
        "err",
        "had_book",
        "integrity",
        "live",
        "seq",
        "ts_recv_ns",
        "ts_venue_ms",
    )

    def __init__(self, *, seq: int = 0) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.best_bid_e4 = NO_BID_E4
        self.best_ask_e4 = NO_ASK_E4
        self.seq = seq
        self.ts_venue_ms: int | None = None
        self.ts_recv_ns = 0
        self.live = False
        self.had_book = False
        self.integrity = Integrity.UNVERIFIED
        self.err: str | None = None

    def replace(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        """Take over two whole ladders (the dicts are kept, not copied); counts as one change."""
        self.bids, self.asks = bids, asks
        self.best_bid_e4 = max(bids, default=NO_BID_E4)
        self.best_ask_e4 = min(asks, default=NO_ASK_E4)
        self.seq += 1
        self.had_book = True

    def set_level(self, side: Side, px_e4: int, sz_e6: int) -> None:
        """Set the resting size at one price; zero removes the level, which need not exist."""
        if side is Side.BID:
            if sz_e6:
                self.bids[px_e4] = sz_e6
                self.best_bid_e4 = max(self.best_bid_e4, px_e4)
            elif self.bids.pop(px_e4, 0) and px_e4 == self.best_bid_e4:
                self.best_bid_e4 = max(self.bids, default=NO_BID_E4)
        elif sz_e6:
            self.asks[px_e4] = sz_e6
            self.best_ask_e4 = min(self.best_ask_e4, px_e4)
        elif self.asks.pop(px_e4, 0) and px_e4 == self.best_ask_e4:
            self.best_ask_e4 = min(self.asks, default=NO_ASK_E4)
        self.seq += 1

    def change_level(self, side: Side, px_e4: int, delta_sz_e6: int) -> bool:
        """Add a signed change to the size at one price.

        Returns
        -------
        bool
            False, and nothing applied, when the size would become negative: the book is corrupt.
        """
        ladder = self.bids if side is Side.BID else self.asks
        size = ladder.get(px_e4, 0) + delta_sz_e6
        if size < 0:
            return False
        self.set_level(side, px_e4, size)
        return True

    @property
    def crossed(self) -> bool:
        """Whether the best bid reaches the best ask."""
        return self.best_bid_e4 >= self.best_ask_e4

    def bid_levels(self, k: int | None = None) -> list[Level]:
        """The best ``k`` bids (all when None), highest price first."""
        return [Level(px, self.bids[px]) for px in sorted(self.bids, reverse=True)[:k]]

    def ask_levels(self, k: int | None = None) -> list[Level]:
        """The best ``k`` asks (all when None), lowest price first."""
        return [Level(px, self.asks[px]) for px in sorted(self.asks)[:k]]

    def mirrored(self, k: int | None = None) -> tuple[list[Level], list[Level]]:
        """Bids and asks of the second outcome, best first."""
        return mirror(self.ask_levels(k)), mirror(self.bid_levels(k))


def mirror(levels: Iterable[Level]) -> list[Level]:
    """The same levels seen from the other outcome: price ``1 - px``, same size."""
    return [Level(PX_ONE_E4 - px, sz) for px, sz in levels]
