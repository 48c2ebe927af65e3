"""Gaps with their bounds: from what was known to be missing to what was known to be right again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from overround.market import MarketId

__all__ = ["Gap", "GapLedger"]


class Gap(msgspec.Struct, kw_only=True):
    """One stretch of one market without a trustworthy book.

    Attributes
    ----------
    market_id : MarketId
    cause : str
        An ``ErrCode``.
    start_ms, end_ms : int, int or None
        From detection to repair; None while it lasts.
    repair : str
        What ended it: a repair step, ``reconnect``, or ``unsubscribed``.
    """

    market_id: MarketId
    cause: str
    start_ms: int
    end_ms: int | None = None
    repair: str = ""


class GapLedger:
    """Open and closed gaps of one venue; at most ``keep`` closed ones stay in memory.

    Attributes
    ----------
    count : int
        Gaps so far, one per market.
    episodes : int
        Things that went wrong so far, whatever the number of markets.
    """

    def __init__(self, *, keep: int = 10_000) -> None:
        self._open: dict[MarketId, Gap] = {}
        self._closed: list[Gap] = []
        self._keep = keep
        self.count = 0
        self.episodes = 0

    def begin_episode(self, market_ids: Iterable[MarketId], cause: str, *, now_ms: int) -> None:
        """One thing went wrong (a hole in a sequence, a lost connection) and these markets' books with it."""
        before = self.count
        for market_id in market_ids:
            self.begin(market_id, cause, now_ms=now_ms)
        self.episodes += self.count > before

    def begin(self, market_id: MarketId, cause: str, *, now_ms: int) -> None:
        """A market's book is no longer right; a gap already open keeps its first cause."""
        if market_id not in self._open:
            self._open[market_id] = Gap(market_id=market_id, cause=cause, start_ms=now_ms)
            self.count += 1

    def end(self, market_id: MarketId, repair: str, *, now_ms: int) -> Gap | None:
        """A market's book is right again, or nobody asks any more; returns the gap that ended."""
        gap = self._open.pop(market_id, None)
        if gap is not None:
            gap.end_ms, gap.repair = now_ms, repair
            self._closed.append(gap)
            del self._closed[: -self._keep]
        return gap

    @property
    def n_open(self) -> int:
        """Markets whose book is not right at this moment."""
        return len(self._open)

    def __iter__(self) -> Iterator[Gap]:
        """Closed gaps, then open ones."""
        yield from self._closed
        yield from self._open.values()
