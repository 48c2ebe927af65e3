"""Each print joined with the changes of the book that it made: what was executed, and so what was cancelled.

A taker of YES at YES price ``p`` takes from the offers at ``p``, a taker of NO from the bids at ``p``, and the change says
the same venue time as the print. Both come on the same connection, but as frames of different subscriptions: nine changes
in ten come just before their print, some a few frames earlier (a sweep tells its changes first), the rest after it. So a
print looks back through the frames before it, then waits for those that follow. A change explains no more contracts
than it took away; several prints may share one, and one print may need several.

The road pays nothing for this: only frames near a print are looked at, after they were applied.
"""

from __future__ import annotations

from bisect import bisect_right
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
        self.name = b'"%b"' % trade.market_id.encode()
        self.first_ms, self.last_ms = ts_ms, ts_ms + (999 if trade.coarse else 0)
        self.at = -1


class Executions:
    """Joins the prints of one venue; frames and time come from outside."""

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._dropped = 0
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
        frames = self._frames
        if one.at < 0:
            recv_ns = one.trade.ts_recv_ns
            if not frames or _recv_ns(frames[-1]) < recv_ns:
                return  # its own frame is yet to be seen
            at = bisect_right(frames, recv_ns, key=_recv_ns)
            one.at = at + self._dropped
            for place in range(at - 1, max(-1, at - 1 - _BACK_FRAMES), -1):
                if not self._use(one, frames[place], earliest=True):
                    break
        place = max(0, one.at - self._dropped)
        while one.left_e6 and place < len(frames):
            if not self._use(one, frames[place], earliest=False):
                break
            place += 1
        one.at = place + self._dropped

    def _use(self, one: _Open, frame: Frame, *, earliest: bool) -> bool:
        """Let a frame explain a print; False where no frame beyond it can."""
        conn, _, body = frame
        if one.name not in body or _DELTA not in body[:40] or conn.rpartition(".")[0] != one.slot:
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
