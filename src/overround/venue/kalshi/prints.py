"""What was seen of one watched market: sizes taken away, prints that must explain them, clocks.

See ``watch`` for why and when a market is watched.
"""

from __future__ import annotations

from overround.book import Side
from overround.errors import ValueOutOfScale
from overround.market import BUY, PX_ONE_E4, MarketId, OutcomeId, Trade, px_e4, sz_e6
from overround.venue.kalshi.parse import PX_BY_TEXT
from overround.venue.kalshi.state import Sizes, TimedBook
from overround.venue.kalshi.wire import TradeMsg

__all__ = ["Print", "Watch", "print_of", "trade_of"]

WAIT_MS = 5_000
"""How long a print may wait for its change; receive times trail venue times by up to 2.4 s (99th percentile)."""
_MOMENTS, _STEPS_BACK = 3, 3


class Print:
    """A print that waits for its changes.

    Attributes
    ----------
    level : (Side, int)
        Resting side and ``px_e4``.
    left_e6 : int
        Contracts not yet explained.
    first_ms, last_ms : int
        Venue times that its changes may carry.
    judged_ms : int
        When it stays unmatched.
    """

    __slots__ = ("first_ms", "judged_ms", "last_ms", "left_e6", "level")

    def __init__(self, level: tuple[Side, int], size_e6: int, first_ms: int, last_ms: int) -> None:
        self.level = level
        self.left_e6 = size_e6
        self.first_ms, self.last_ms = first_ms, last_ms
        self.judged_ms = 0


class Watch:
    """One market's evidence during one watch.

    Attributes
    ----------
    book : TimedBook
    until_ms : int
        When its turn is over.
    left : int
        Changes it may still look at.
    """

    __slots__ = (
        "_back",
        "_clock",
        "_from_ms",
        "_judged",
        "_moments",
        "_taken",
        "_ts_ms",
        "_waiting",
        "book",
        "left",
        "until_ms",
    )

    def __init__(self, book: TimedBook, *, until_ms: int, n_changes: int) -> None:
        self.book = book
        self.until_ms = until_ms
        self.left = n_changes
        self._judged = [0, 0, 0]
        self._back = 0
        self._clock = 0
        self._ts_ms = 0
        # Changes of the first instant seen may have come before the watch began.
        self._from_ms: int | None = None
        self._taken: dict[tuple[Side, int], list[list[int]]] = {}
        self._waiting: list[Print] = []
        self._moments: set[tuple[Side, int, int]] = set()

    def findings(self) -> tuple[int, int, int, bool]:
        """What was found since last asked: prints matched, unmatched, steps back in time, and whether to doubt.

        Prints of several moments in a row without a change, or clocks that step back again and again, are doubt.
        """
        matched, unmatched, back = self._judged
        self._judged = [0, 0, 0]
        doubtful = len(self._moments) >= _MOMENTS or self._back >= _STEPS_BACK
        if doubtful:
            self._moments.clear()
            self._back = 0
        return matched, unmatched, back, doubtful

    def changed(self, side: Side, px: int, change_e6: int, ts_ms: int | None, clock: int | None) -> None:
        """A change of the market."""
        self.left -= 1
        if clock is not None:
            self._note_back(clock < self._clock)
            self._clock = clock
        if ts_ms is None:
            return
        if self._from_ms is None:
            self._from_ms = ts_ms
        # Held against the change before, so that a step back counts once and not for every change after it.
        self._note_back(ts_ms < self._ts_ms)
        self._ts_ms = ts_ms
        if change_e6 < 0:
            self._taken.setdefault((side, px), []).append([ts_ms, -change_e6])
            if self._waiting:
                self._explain((side, px))

    def printed(self, one: Print, now_ms: int) -> None:
        """A print of the market: matched at once, later, or not at all; not judged if it is of a time before."""
        if self._from_ms is None or one.first_ms <= self._from_ms:
            return
        one.judged_ms = now_ms + WAIT_MS
        self._waiting.append(one)
        self._explain(one.level)

    def judge(self, now_ms: int) -> None:
        """Prints that have waited long enough stay unmatched."""
        for one in [one for one in self._waiting if one.judged_ms <= now_ms]:
            self._waiting.remove(one)
            self._judged[1] += 1
            # A sweep of one instant and price is one contradiction, however many prints tell it.
            self._moments.add((*one.level, one.first_ms))

    def _note_back(self, back: bool) -> None:  # noqa: FBT001 (a count of truths)
        self._judged[2] += back
        self._back += back

    def _explain(self, level: tuple[Side, int]) -> None:
        """Set sizes taken from a level against the prints that wait for them."""
        taken = self._taken.get(level)
        for one in [one for one in self._waiting if one.level == level] if taken else ():
            for entry in taken or ():
                if one.first_ms <= entry[0] <= one.last_ms and entry[1]:
                    part = min(entry[1], one.left_e6)
                    entry[1] -= part
                    one.left_e6 -= part
                    if not one.left_e6:
                        break
            if not one.left_e6:
                self._waiting.remove(one)
                self._judged[0] += 1
                self._moments.clear()


def print_of(msg: TradeMsg) -> Print | None:
    """What a print says of the book; None where it was matched off the book, or tells neither side nor time.

    A taker of YES at YES price ``p`` takes from the offers at ``p``, a taker of NO from the bids at ``p``.

    Raises
    ------
    ValueOutOfScale
        If the price or the size does not fit our integers.

    Notes
    -----
    Until April 2026 a print's time is a whole second, and its changes lie anywhere within.
    """
    taker = msg.taker_outcome_side or msg.taker_side
    if msg.is_block_trade or taker not in {"yes", "no"}:
        return None
    if msg.ts_ms is not None:
        first_ms, last_ms = msg.ts_ms, msg.ts_ms
    elif isinstance(msg.ts, int):
        first_ms, last_ms = msg.ts * 1000, msg.ts * 1000 + 999
    else:
        return None
    level = (Side.ASK if taker == "yes" else Side.BID, px_e4(msg.yes_price_dollars, field="yes_price_dollars"))
    return Print(level, sz_e6(msg.count_fp, field="count_fp"), first_ms, last_ms)


def trade_of(msg: TradeMsg, recv_ns: int, sizes: Sizes) -> Trade:
    """A print as a trade of the outcome that its taker bought; of YES, without a side, where none is told.

    ``sizes`` reads each text once: few sizes make up most prints.

    Raises
    ------
    ValueOutOfScale
        If the price or the size does not fit our integers.
    """
    taker = msg.taker_outcome_side or msg.taker_side
    bought = taker in {"yes", "no"}
    first = taker != "no"
    px = PX_BY_TEXT.get(msg.yes_price_dollars)
    if px is None:
        px = px_e4(msg.yes_price_dollars, field="yes_price_dollars")
    coarse = msg.ts_ms is None and isinstance(msg.ts, int)
    return Trade(
        market_id=MarketId(msg.market_ticker),
        outcome_id=OutcomeId("yes" if first else "no"),
        first=first,
        px=(px if first else PX_ONE_E4 - px) / PX_ONE_E4,
        sz_e6=_positive(sizes[msg.count_fp], msg.count_fp),
        taker_side=BUY if bought else None,
        ts_recv_ns=recv_ns,
        ts_venue_ms=msg.ts * 1000 if coarse and isinstance(msg.ts, int) else msg.ts_ms,
        coarse=coarse,
        trade_id=msg.trade_id or None,
        block=msg.is_block_trade,
    )


def _positive(size_e6: int, text: str) -> int:
    if size_e6 <= 0:
        raise ValueOutOfScale("count_fp", text, scale="more than no contract")
    return size_e6
