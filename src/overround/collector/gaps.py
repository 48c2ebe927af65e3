"""Gaps with their bounds: from what was last known to be right to what was known to be right again."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from overround.market import MarketId
from overround.storage import GapRow

__all__ = ["Gap", "GapLedger"]


class Gap(msgspec.Struct, kw_only=True):
    """One stretch of one market without a trustworthy book.

    Attributes
    ----------
    market_id : MarketId
        Empty for the whole venue.
    cause : str
        An ``ErrCode``, ``no_book``, ``suspect``, ``rows_lost`` or ``collector_down``.
    start_ms, end_ms : int, int or None
        From the last instant known good to the first whole book; ``end_ms`` is None while it lasts.
    detected_ms : int
        When it was noticed.
    repair : str
        What ended it: a repair step, ``reconnect``, ``unsubscribed``, ``closed`` or ``stopped``.
    repair_steps : int
        Steps taken so far.
    connection, detail : str
        The connection that carried the market, and the feed's words.
    repair_no : int
        Numbers the repairs of a run: gaps that began with one and the same fault share it.
    """

    market_id: MarketId
    cause: str
    start_ms: int
    detected_ms: int
    end_ms: int | None = None
    repair: str = ""
    repair_steps: int = 0
    connection: str = ""
    detail: str = ""
    repair_no: int = 0

    def row(self) -> GapRow:
        """The gap as it is stored."""
        return GapRow(**{name: getattr(self, name) for name in GapRow._fields})


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
        self._changed: dict[int, Gap] = {}
        self._keep = keep
        self.count = 0
        self.episodes = 0
        self._repairs = 0

    def new_repair(self) -> int:
        """A number for gaps that are about to begin together."""
        self._repairs += 1
        return self._repairs

    def repair_of(self, market_id: MarketId) -> int:
        """Number of the repair that a market waits for, or 0."""
        gap = self._open.get(market_id)
        return 0 if gap is None else gap.repair_no

    def begin(
        self,
        market_id: MarketId,
        cause: str,
        *,
        now_ms: int,
        since_ms: int | None = None,
        connection: str = "",
        detail: str = "",
        repair_no: int | None = None,
    ) -> Gap:
        """A market's book is no longer right; a gap already open keeps its first cause.

        Parameters
        ----------
        market_id : MarketId
        cause : str
        now_ms : int
        since_ms : int, optional
            The last instant known good; ``now_ms`` when None. Where a gap is open already and began later, what
            lies before it becomes a gap of its own.
        connection, detail : str
        repair_no : int, optional
            Of :meth:`new_repair`; by default the gap is a repair of its own.
        """
        start_ms = now_ms if since_ms is None else min(since_ms, now_ms)
        gap = self._open.get(market_id)
        if gap is not None:
            if start_ms < gap.start_ms:
                self._note_closed(
                    Gap(
                        market_id=market_id,
                        cause=cause,
                        start_ms=start_ms,
                        detected_ms=now_ms,
                        end_ms=gap.start_ms,
                        connection=connection,
                        detail=detail,
                        repair_no=gap.repair_no,
                    )
                )
            return gap
        gap = self._open[market_id] = Gap(
            market_id=market_id,
            cause=cause,
            start_ms=start_ms,
            detected_ms=now_ms,
            connection=connection,
            detail=detail,
            repair_no=self.new_repair() if repair_no is None else repair_no,
        )
        self._changed[id(gap)] = gap
        self.count += 1
        return gap

    def note(self, gap: Gap) -> None:
        """Take over a gap that is over already."""
        self._note_closed(gap)
        self.count += 1

    def step(self, market_id: MarketId) -> None:
        """A repair step was taken."""
        gap = self._open.get(market_id)
        if gap is not None:
            gap.repair_steps += 1

    def end(self, market_id: MarketId, repair: str, *, now_ms: int) -> Gap | None:
        """A market's book is right again, or nobody asks any more; returns the gap that ended."""
        gap = self._open.pop(market_id, None)
        if gap is not None:
            gap.end_ms, gap.repair = max(now_ms, gap.start_ms), repair
            self._note_closed(gap)
        return gap

    def _note_closed(self, gap: Gap) -> None:
        self._changed[id(gap)] = gap
        self._closed.append(gap)
        del self._closed[: -self._keep]

    def take_changed(self) -> list[Gap]:
        """Gaps that began or ended since the last call, as they are now."""
        changed, self._changed = self._changed, {}
        return list(changed.values())

    @property
    def n_changed(self) -> int:
        """How many :meth:`take_changed` would give."""
        return len(self._changed)

    def newest(self, count: int) -> list[Gap]:
        """The open gaps, and after them the last closed ones, at most ``count`` together."""
        found = list(self._open.values())[:count]
        return found + (self._closed[-(count - len(found)) :][::-1] if count > len(found) else [])

    @property
    def n_open(self) -> int:
        """Markets whose book is not right at this moment."""
        return len(self._open)

    def __iter__(self) -> Iterator[Gap]:
        """Closed gaps, then open ones."""
        yield from self._closed
        yield from self._open.values()
