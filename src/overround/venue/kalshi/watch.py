"""Evidence on a rotating sample of markets: whether prints, clocks and times fit the changes.

A whole sequence proves that no frame of a subscription was lost. It does not prove that the venue sent what
happened, nor that we read it rightly. Two things are said twice on this venue and can be held against each other:

- A print takes size from the resting side: a taker of YES at YES price ``p`` from the offers at ``p``, a taker of
  NO from the bids at ``p``, with the same venue time. The change mostly comes first, but the two are on different
  subscriptions, so a print waits a while for its change. One that stays without is *unmatched*.
- ``clock`` never decreases for a market, nor does the time of its changes, save around maintenance.

Looking at every change would cost the fast road more than applying it. So a few markets at a time are *watched*:
they leave the fast road, each of their changes is noted, and after some seconds the next ones take their turn.
The whole is bounded twice, in changes per watch and in the share of all changes.

One contradiction says nothing. Prints of several moments without a change, or clocks that step back again and
again, make the market doubtful: it is suspect until its book has been asked for and compared (``markets``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from overround.venue.kalshi.markets import Markets
from overround.venue.ports import FeedCounters

__all__ = ["Watchman"]

TURN_MS = 5_000
WATCH_MS = 20_000
_FREE_CHANGES = 1_000
"""Changes that may be watched before the share of all changes counts."""
_FEWEST_CHANGES, _MOST_CHANGES = 100, 2_000
"""Of one watch: fewer would judge no print."""


class Watchman:
    """Whose turn it is to be watched.

    Parameters
    ----------
    markets : Markets
    counters : FeedCounters
    changes : callable
        ``changes()``: changes applied by this connection so far.
    n_markets : int
        Watched at a time; 0 watches none.
    share : float
        Watched changes as a part of all, at most.
    """

    def __init__(
        self,
        markets: Markets,
        counters: FeedCounters,
        *,
        changes: Callable[[], int],
        n_markets: int,
        share: float,
    ) -> None:
        self._markets = markets
        self._counters = counters
        self._changes = changes
        self._n_markets = n_markets
        self._share = share
        self._round: deque[str] = deque()
        self._seen: dict[str, int] = {}
        self._due_ms: int | None = None

    def deadline_ms(self) -> int | None:
        """When the next turn is due, or None where there is nothing to watch."""
        if not self._n_markets or not (self._markets.live or self._markets.watched):
            return None
        return self._due_ms or 0

    def tick(self, now_ms: int) -> None:
        """Judge prints that have waited long enough; let the next markets take their turn."""
        due_ms = self.deadline_ms()
        if due_ms is None or now_ms < due_ms:
            return
        self._due_ms = now_ms + TURN_MS
        watched = self._markets.watched
        for ticker, watch in list(watched.items()):
            self._markets.judge(ticker, watch, now_ms)
            if now_ms >= watch.until_ms:
                self._markets.unwatch(ticker)
        n = self._n_markets - len(watched)
        given = sum(watch.left for watch in watched.values())
        left = _FREE_CHANGES + int(self._share * self._changes()) - self._counters.watched - given
        n = min(n, left // _FEWEST_CHANGES)
        if n <= 0:
            return
        for ticker in self._next(n):
            self._markets.watch(ticker, until_ms=now_ms + WATCH_MS, n_changes=min(left // n, _MOST_CHANGES))

    def _next(self, n: int) -> list[str]:
        """The next markets of the round that have changed since their last turn."""
        live, found = self._markets.live, list[str]()
        if not self._round:
            self._round.extend(live)
            self._seen = {ticker: seq for ticker, seq in self._seen.items() if ticker in self._markets.held}
        while self._round and len(found) < n:
            ticker = self._round.popleft()
            book = live.get(ticker)
            if book is not None and self._seen.get(ticker) != book.seq:
                self._seen[ticker] = book.seq
                found.append(ticker)
        return found
