"""Price, then time: a book of single orders, in which an order of one's own can rest.

The generated worlds' books are levels (``flow``); here every order is known, so that a resting order's fate is what the
matching decides and nobody's model. Prices are signed as there: ``px`` for a bid, ``-px`` for an ask, the better the larger.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import NamedTuple

__all__ = ["Match", "MatchingBook", "Order"]


class Order:
    """One order that rests, or rested.

    Attributes
    ----------
    bid : bool
    px_e4, left_e6 : int
        Its price, and the contracts that are left of it; 0 once filled or cancelled.
    owner : str
        Empty for the crowd.
    wary : bool
        Whether its owner takes it back as soon as the price is wrong.
    """

    __slots__ = ("bid", "left_e6", "owner", "px_e4", "wary")

    def __init__(self, *, bid: bool, px_e4: int, sz_e6: int, owner: str = "", wary: bool = False) -> None:
        self.bid, self.px_e4, self.left_e6, self.owner, self.wary = bid, px_e4, sz_e6, owner, wary


class Match(NamedTuple):
    """What a taker took from one resting order."""

    order: Order
    sz_e6: int


class MatchingBook:
    """Orders of one market, seen from its first outcome."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[Order]] = {}
        self._totals: dict[int, int] = {}
        self._prices: dict[bool, list[int]] = {True: [], False: []}

    def place(self, order: Order) -> list[Match]:
        """Match what crosses; the rest joins the back of its price's queue."""
        matches = self.take(buys=order.bid, sz_e6=order.left_e6, limit_e4=order.px_e4)
        order.left_e6 -= sum(match.sz_e6 for match in matches)
        if order.left_e6:
            price = order.px_e4 if order.bid else -order.px_e4
            if price not in self._queues:
                self._queues[price], self._totals[price] = deque(), 0
                insort(self._prices[order.bid], price)
            self._queues[price].append(order)
            self._totals[price] += order.left_e6
        return matches

    def take(self, *, buys: bool, sz_e6: int, limit_e4: int) -> list[Match]:
        """Take up to ``sz_e6`` from the other side, no worse than the limit; what is left of it is not placed."""
        worst, prices = (-limit_e4 if buys else limit_e4), self._prices[not buys]
        matches: list[Match] = []
        while sz_e6 and prices and prices[-1] >= worst:
            price = prices[-1]
            order = self._queues[price][0]
            taken = min(sz_e6, order.left_e6)
            if taken:
                sz_e6 -= taken
                matches.append(Match(order, taken))
            self._lose(order, taken)
            if price in self._queues and not order.left_e6:
                self._queues[price].popleft()  # filled now, or cancelled before
        return matches

    def cancel(self, order: Order) -> int:
        """Take an order back; returns the contracts that were left of it."""
        left = order.left_e6
        if left:
            self._lose(order, left)
        return left

    def levels(self, *, bids: bool) -> dict[int, int]:
        """``px_e4`` to ``sz_e6`` of one side."""
        return {abs(price): self._totals[price] for price in self._prices[bids]}

    def orders(self, *, bids: bool, better_than_e4: int) -> list[Order]:
        """Orders of one side at better prices than this, best first."""
        bound = better_than_e4 if bids else -better_than_e4
        prices = self._prices[bids]
        better = prices[bisect_left(prices, bound + 1) :]
        return [order for price in reversed(better) for order in self._queues[price] if order.left_e6]

    def best(self, *, bids: bool, without: str = "") -> int:
        """Best price of one side, that owner's orders left out; 0 where there is none."""
        for price in reversed(self._prices[bids]):
            if not without or any(order.left_e6 and order.owner != without for order in self._queues[price]):
                return abs(price)
        return 0

    def _lose(self, order: Order, sz_e6: int) -> None:
        order.left_e6 -= sz_e6
        price = order.px_e4 if order.bid else -order.px_e4
        self._totals[price] -= sz_e6
        if not self._totals[price]:
            del self._totals[price], self._queues[price]
            prices = self._prices[order.bid]
            del prices[bisect_left(prices, price)]
