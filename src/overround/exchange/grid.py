"""Price grids: which prices a market allows, and the neighbours of each."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache

__all__ = ["KALSHI_GRIDS", "Grid", "kalshi_grid", "uniform_grid"]

KALSHI_GRIDS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "linear_cent": ((0, 10_000, 100),),
    "deci_cent": ((0, 10_000, 10),),
    "tapered_deci_cent": ((0, 1_000, 10), (1_000, 9_000, 100), (9_000, 10_000, 10)),
    "center_half_edge_deci_cent": ((0, 1_000, 10), (1_000, 9_000, 50), (9_000, 10_000, 10)),
}
"""Bands (start, end, step) in ``px_e4`` of the structures that the generator lists."""


class Grid:
    """Allowed prices, and steps between them in signed terms.

    A signed price is ``px`` on the bid side and ``-px`` on the ask side, so that on both sides the larger one is
    the better one and a book's best level is its maximum.

    Attributes
    ----------
    prices : list of int
        Allowed ``px_e4``, rising, without 0 and 10,000.
    better, worse : dict of int to int
        Neighbour of a signed price; leads off the grid to 0 or beyond at its ends.
    """

    __slots__ = ("better", "prices", "worse")

    def __init__(self, bands: tuple[tuple[int, int, int], ...]) -> None:
        prices = sorted({px for start, end, step in bands for px in range(start, end + 1, step)})
        self.prices = [px for px in prices if 0 < px < 10_000]
        self.better: dict[int, int] = {}
        self.worse: dict[int, int] = {}
        for below, px, above in zip([0, *self.prices], self.prices, [*self.prices[1:], 10_000], strict=False):
            self.better[px], self.worse[px] = above, below
            self.better[-px], self.worse[-px] = -below, -above
        # The limits themselves can be asked about: nothing is better or worse there.
        self.worse[0], self.better[0] = 0, self.prices[0]
        self.worse[-10_000], self.better[-10_000] = -10_000, -self.prices[-1]

    def caps(self, fair_e4: float) -> tuple[int, int]:
        """Best signed prices a bid and an ask may have around a fair price: bid < fair <= ask.

        0 means that no bid is possible, -10,000 that no ask is.
        """
        at = bisect_left(self.prices, fair_e4)
        bid = self.prices[at - 1] if at else 0
        ask = self.prices[at] if at < len(self.prices) else 10_000
        return bid, -ask


@cache
def uniform_grid(tick_e4: int) -> Grid:
    """The grid of one tick from end to end (Polymarket)."""
    return Grid(((0, 10_000, tick_e4),))


@cache
def kalshi_grid(name: str) -> Grid:
    """The grid of a Kalshi price level structure."""
    return Grid(KALSHI_GRIDS[name])
