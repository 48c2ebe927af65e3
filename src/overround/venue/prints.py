"""What venues print, each trade once."""

from __future__ import annotations

from collections.abc import Sequence

from overround.market import Trade, Venue
from overround.venue.kalshi.executions import Executions
from overround.venue.recent import Frame

__all__ = ["TradeDesk"]

_KEPT = 200_000


class TradeDesk:
    """Takes the prints of one venue's connections; gives trades that are no repetition, joined where the venue allows it.

    A print is a repetition if market, id, price, size and, without an id, time are those of an earlier one. Seen from the
    other outcome (at ``1 - px``) it is the same trade, told for its other leg.

    Parameters
    ----------
    venue : Venue

    Attributes
    ----------
    repeated, other_legs : int
        Prints left out.
    joins : bool
        Whether prints are joined with changes of the book: ``see`` must be given the frames.
    """

    def __init__(self, venue: Venue) -> None:
        self.joins = venue is Venue.KALSHI
        self.repeated = self.other_legs = 0
        self._executions = Executions() if self.joins else None
        self._seen: dict[tuple[object, ...], bool] = {}
        self._done: list[Trade] = []

    def add(self, slot: str, trades: Sequence[Trade]) -> None:
        """Prints of one connection slot, in order."""
        new = [trade for trade in trades if self._is_new(trade)]
        if self._executions is not None:
            self._executions.add(slot, new)
        else:
            self._done += new

    def see(self, frames: Sequence[Frame]) -> None:
        """The frames since the last call, of all connections."""
        if self._executions is not None:
            self._executions.see(frames)

    def take(self, *, now_ms: int | None) -> list[Trade]:
        """Trades that are ready; with None all of them."""
        if self._executions is not None:
            return self._executions.take(now_ms=now_ms)
        done, self._done = self._done, []
        return done

    def _is_new(self, trade: Trade) -> bool:
        px_e6 = round((trade.px if trade.first else 1 - trade.px) * 1_000_000)
        when = trade.ts_venue_ms if trade.trade_id is None else None
        key = (trade.market_id, trade.trade_id, when, px_e6, trade.sz_e6)
        first = self._seen.get(key)
        if first is None:
            self._seen[key] = trade.first
            if len(self._seen) > _KEPT:
                del self._seen[next(iter(self._seen))]
            return True
        if first is trade.first:
            self.repeated += 1
        else:
            self.other_legs += 1
        return False
