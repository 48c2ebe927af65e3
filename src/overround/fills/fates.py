"""Orders whose fate a public record tells: a level's queue, put together from its changes.

Where every change of a level is one order's (Kalshi tells them so) and executions are told apart from cancels, sizes are
fingerprints: what joins stands behind, what is executed goes from the front, and a cancel of 137 is that of the order of 137.
What stood there when the record began is one block at the front. Where a size fits several orders the youngest is taken to
be the one, and what stands between them is not followed any more; where the changes contradict the queue it is begun anew.

An order is followed from when it joins the best price until it is filled or cancelled or the best price has moved: what its
level told meanwhile, looked at as often as the record is, and what was filled of it make an ``Episode``.
"""

from __future__ import annotations

from overround.fills.queue import Episode, LevelNews

__all__ = ["LevelFates"]

_FOLLOWED_AT_ONCE = 2
_LONGEST_MS = 600_000


class _Order:
    """An order of the queue; followed or not."""

    __slots__ = ("begun_ms", "displayed_e6", "executed_e6", "left_e6", "looked_ms", "news", "sz_e6")

    def __init__(self, sz_e6: int, displayed_e6: int, ts_ms: int) -> None:
        self.sz_e6 = self.left_e6 = sz_e6
        self.displayed_e6 = displayed_e6
        self.begun_ms = self.looked_ms = ts_ms
        self.executed_e6 = 0
        self.news: list[LevelNews] | None = None


class LevelFates:
    """One level, from a moment at which its size was known.

    Parameters
    ----------
    displayed_e6 : int
        Contracts that stand there.
    every_ms : int
        How often the record looks at the level.

    Attributes
    ----------
    total_e6 : int
    episodes : list of Episode
        Of orders that are not followed any more.
    """

    __slots__ = ("_every_ms", "_old_e6", "_orders", "episodes", "total_e6")

    def __init__(self, displayed_e6: int, *, every_ms: int) -> None:
        self.total_e6 = self._old_e6 = displayed_e6
        self._orders: list[_Order] = []
        self._every_ms = every_ms
        self.episodes: list[Episode] = []

    def change(self, ts_ms: int, delta_e6: int, *, executed: bool, best: bool) -> None:
        """One change of the level.

        Parameters
        ----------
        ts_ms : int
        delta_e6 : int
        executed : bool
            Whether what went was executed; else it was cancelled.
        best : bool
            Whether this was the best price of its side before.
        """
        self._look(ts_ms)
        if not best:
            self.leave()
        if delta_e6 > 0:
            order = _Order(delta_e6, self.total_e6, ts_ms)
            followed = sum(each.news is not None for each in self._orders)
            if best and followed < _FOLLOWED_AT_ONCE and self.total_e6:
                order.news = []
            self._orders.append(order)
            self.total_e6 += delta_e6
            return
        self.total_e6 += delta_e6
        known = self._execute(-delta_e6) if executed else self._cancel(-delta_e6)
        if not known or self.total_e6 < 0:
            self._orders.clear()
            self._old_e6 = self.total_e6 = max(0, self.total_e6)

    def leave(self) -> None:
        """The best price has moved: nobody is followed any more."""
        for order in self._orders:
            self._end(order)

    def _execute(self, left_e6: int) -> bool:
        for order in self._orders:
            order.executed_e6 += left_e6
        taken = min(self._old_e6, left_e6)
        self._old_e6 -= taken
        left_e6 -= taken
        while left_e6 and self._orders:
            order = self._orders[0]
            taken = min(order.left_e6, left_e6)
            order.left_e6 -= taken
            left_e6 -= taken
            if not order.left_e6:
                self._end(order)
                del self._orders[0]
        return not left_e6

    def _cancel(self, gone_e6: int) -> bool:
        fitting = [at for at, order in enumerate(self._orders) if order.left_e6 == gone_e6]
        if not fitting:
            self._old_e6 -= gone_e6
            return self._old_e6 >= 0
        for order in self._orders[fitting[0] : fitting[-1]]:
            order.news = None
        order = self._orders[fitting[-1]]
        if len(fitting) == 1:
            self._end(order)
        del self._orders[fitting[-1]]
        return True

    def _look(self, ts_ms: int) -> None:
        for order in self._orders:
            if order.news is not None and ts_ms - order.looked_ms >= self._every_ms:
                self._tell(order)
                order.looked_ms = ts_ms - (ts_ms - order.looked_ms) % self._every_ms
                if ts_ms - order.begun_ms > _LONGEST_MS:
                    self._end(order)

    def _tell(self, order: _Order) -> None:
        assert order.news is not None
        order.news.append(LevelNews(max(0, self.total_e6 - order.left_e6), executed_e6=order.executed_e6))
        order.executed_e6 = 0

    def _end(self, order: _Order) -> None:
        if order.news is None:
            return
        self._tell(order)
        self.episodes.append(Episode(order.sz_e6, order.displayed_e6, tuple(order.news), order.sz_e6 - order.left_e6))
        order.news = None
