"""Each print joined with the changes of the book that it made: what was executed, and so what was cancelled.

A taker of YES at YES price ``p`` takes from the offers at ``p``, a taker of NO from the bids at ``p``, and the change says
the same venue time as the print. Both come on the same connection, but as frames of different subscriptions: nine changes
in ten come just before their print, some a few frames earlier (a sweep tells its changes first), the rest after it. So a
print looks back through the frames before it, then waits for those that follow. A change explains no more contracts
than it took away; several prints may share one, and one print may need several.

The road pays nothing for this: frames are looked at after they were applied, each once for its market's name while prints
are open, and a print asks only its own market's.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter

import msgspec

from overround.book import Side
from overround.errors import UNREADABLE, WireError
from overround.market import BUY, PX_ONE_E4, Trade, px_e4, sz_e6
from overround.venue.kalshi.parse import ms_of, stamp_of
from overround.venue.kalshi.prints import WAIT_MS
from overround.venue.kalshi.wire import DeltaFrame
from overround.venue.recent import RECENT_MAX, Frame

__all__ = ["Executions"]

_decode_delta = msgspec.json.Decoder(DeltaFrame).decode

_BACK_FRAMES = 4_096
_KEPT_FRAMES = 4 * RECENT_MAX
_KEPT_CHANGES = 50_000
_DELTA = b"orderbook_delta"
_market_in = re.compile(rb'"market_ticker"\s*:\s*"([^"]*)"').search
_recv_ns = itemgetter(1)


class _Open:
    """A print and what of it no change has explained yet."""

    __slots__ = ("at", "first_ms", "last_ms", "left_e6", "level", "name", "slot", "trade")

    def __init__(self, slot: str, trade: Trade, ts_ms: int) -> None:
        self.slot = slot
        self.trade = trade
        self.left_e6 = trade.sz_e6
        px = round(trade.px * PX_ONE_E4)
        self.level = (Side.ASK, px) if trade.first else (Side.BID, PX_ONE_E4 - px)
        self.name = trade.market_id.encode()
        self.first_ms, self.last_ms = ts_ms, ts_ms + (999 if trade.coarse else 0)
        self.at = -1


class Executions:
    """Joins the prints of one venue; frames and time come from outside."""

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._dropped = 0
        # Places of each market's changes, counted from the first frame ever seen, as far as a print has asked.
        self._places: dict[bytes, list[int]] = {}
        self._placed = 0
        self._open: list[_Open] = []
        self._done: list[Trade] = []
        # What is left of the changes that prints have used, by connection, subscription and number.
        self._left: dict[tuple[str, int, int], int] = {}

    def add(self, slot: str, trades: Sequence[Trade]) -> None:
        """Prints of one connection slot, in order; those matched off the book, or without a side or time, are not joined."""
        for trade in trades:
            if trade.block or trade.taker_side != BUY or trade.ts_venue_ms is None:
                self._done.append(trade)
            else:
                self._open.append(_Open(slot, trade, trade.ts_venue_ms))

    def see(self, frames: Sequence[Frame]) -> None:
        """The frames since the last call, of all connections."""
        self._frames += frames
        surplus = len(self._frames) - _KEPT_FRAMES
        if surplus > RECENT_MAX:
            del self._frames[:surplus]
            self._dropped += surplus
            self._placed = max(self._placed, self._dropped)
            for name, places in list(self._places.items()):
                del places[: bisect_left(places, self._dropped)]
                if not places:
                    del self._places[name]

    def take(self, *, now_ms: int | None) -> list[Trade]:
        """Prints that are explained, or have waited long enough; with None all of them."""
        waiting: list[_Open] = []
        for one in self._open:
            self._explain(one)
            trade = one.trade
            waited = now_ms is None or now_ms - trade.ts_recv_ns // 1_000_000 >= WAIT_MS
            if one.left_e6 and not waited:
                waiting.append(one)
                continue
            trade.book_sz_e6 = trade.sz_e6 - one.left_e6
            self._done.append(trade)
        self._open = waiting
        while len(self._left) > _KEPT_CHANGES:
            del self._left[next(iter(self._left))]
        done, self._done = self._done, []
        return done

    def _explain(self, one: _Open) -> None:
        frames, dropped = self._frames, self._dropped
        first_look = one.at < 0
        if first_look:
            recv_ns = one.trade.ts_recv_ns
            if not frames or _recv_ns(frames[-1]) < recv_ns:
                return  # its own frame is yet to be seen
            one.at = bisect_right(frames, recv_ns, key=_recv_ns) + dropped
        self._place()
        places = self._places.get(one.name, ())
        after = bisect_left(places, one.at)
        if first_look:
            for at in range(after - 1, bisect_left(places, one.at - _BACK_FRAMES) - 1, -1):
                if not self._use(one, frames[places[at] - dropped], earliest=True):
                    break
        while one.left_e6 and after < len(places):
            if not self._use(one, frames[places[after] - dropped], earliest=False):
                one.at = places[after]
                return
            after += 1
        one.at = len(frames) + dropped

    def _place(self) -> None:
        """Note the markets of the frames that came since the last print asked."""
        for at in range(self._placed - self._dropped, len(self._frames)):
            body = self._frames[at][2]
            if _DELTA in body[:40] and (named := _market_in(body)):
                self._places.setdefault(named[1], []).append(at + self._dropped)
        self._placed = len(self._frames) + self._dropped

    def _use(self, one: _Open, frame: Frame, *, earliest: bool) -> bool:
        """Let a frame explain a print; False where no frame beyond it can."""
        conn, _, body = frame
        if conn.rpartition(".")[0] != one.slot:
            return True
        try:
            delta = _decode_delta(body)
            msg = delta.msg
            ts_ms = ms_of(stamp_of(msg))
            if ts_ms is None or msg.market_ticker != one.trade.market_id:
                return True
            if not one.first_ms <= ts_ms <= one.last_ms:
                # A market's times do not step back: whoever walks away from the print's own need not go on.
                return ts_ms > one.last_ms if earliest else ts_ms < one.first_ms
            px = px_e4(msg.price_dollars, field="price_dollars")
            level = (Side.BID, px) if msg.side == "yes" else (Side.ASK, PX_ONE_E4 - px)
            change = sz_e6(msg.delta_fp, field="delta_fp", signed=True)
        except (*UNREADABLE, WireError):
            return True
        if level != one.level or change >= 0:
            return True
        key = (conn, delta.sid, delta.seq)
        left = self._left.get(key, -change)
        used = min(left, one.left_e6)
        if used:
            self._left[key] = left - used
            one.left_e6 -= used
            one.trade.book_seq = delta.seq if one.trade.book_seq is None else max(one.trade.book_seq, delta.seq)
        return one.left_e6 > 0
