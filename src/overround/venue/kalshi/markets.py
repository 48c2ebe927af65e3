"""The markets of one connection: their books, and what makes them live, broken or ended.

Nothing here reads a frame. The feed says what it saw of a market, the table in ``state`` says what follows,
and the book is marked for whoever reads it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Protocol

from overround.book import Book, BookShelf, Side
from overround.market import ErrCode, Integrity, MarketId
from overround.venue.kalshi.parse import ms_of, stamp_of
from overround.venue.kalshi.prints import Print, Watch
from overround.venue.kalshi.state import Channel, Held, Saw, Stage, TimedBook
from overround.venue.kalshi.wire import DeltaMsg, LifecycleMsg
from overround.venue.ports import FeedCounters, FeedEventKind
from overround.venue.repair import Saw as RepairSaw
from overround.venue.repair import State

__all__ = ["Markets", "Report"]

_PAUSED_MS = 600_000
# In 1.5 million recorded changes two left a book crossed, each until the next frame of the same microsecond.
_CROSSED_MS = 1_000
_AT_CLOSE_MS = 1_000
_SOON_MS, _PACE_FIRST_MS, _PACE_CAP_MS = 10_000, 1_000, 30_000


class Report(Protocol):
    """How a change of state is told."""

    def __call__(
        self,
        kind: FeedEventKind,
        now_ms: int,
        market_id: str,
        detail: str,
        took_ms: int | None = None,
        since_ns: int | None = None,
    ) -> None:
        """Tell it."""
        ...


class Markets:
    """What is wanted on this connection, and where it stands.

    Parameters
    ----------
    shelf : BookShelf
    counters : FeedCounters
    report : Report
    plan : callable
        ``plan(now_ms)``: something may have to be asked for.
    book_came : callable
        ``book_came(ticker, now_ms)``: nobody need wait for this market's book any more.
    recheck : callable
        ``recheck(ticker, now_ms)``: its book is to be asked for and compared.
    passive, ignore_gaps : bool
        As for the feed.

    Attributes
    ----------
    held : dict of str to Held
    books : dict of MarketId to Book
    live : dict of str to TimedBook
        Books whose changes go the fast road, of all subscriptions.
    watched : dict of str to Watch
        Live markets whose changes are looked at one by one instead.
    """

    def __init__(
        self,
        shelf: BookShelf,
        counters: FeedCounters,
        *,
        report: Report,
        plan: Callable[[int], None],
        book_came: Callable[[str, int], None],
        recheck: Callable[[str, int], None],
        passive: bool,
        ignore_gaps: bool,
    ) -> None:
        self.held: dict[str, Held] = {}
        self.books: dict[MarketId, Book] = {}
        self.live: dict[str, TimedBook] = {}
        self.watched: dict[str, Watch] = {}
        self._shelf = shelf
        self._counters = counters
        self._report = report
        self._plan = plan
        self._book_came = book_came
        self._recheck = recheck
        self._passive = passive
        self._proved = Integrity.UNVERIFIED if ignore_gaps else Integrity.VERIFIED
        self._closes: list[tuple[int, str]] = []
        # What stands in the heap: the rotation comes back to a market long before its close.
        self._timed: set[tuple[int, str]] = set()
        self._crossed_since: dict[str, int] = {}

    # -- wanted ----------------------------------------------------------------------------------------------

    def hold(self, market_id: MarketId, now_ms: int) -> Held:
        """Take a market up; its book stands on the shelf from now on.

        Raises
        ------
        TypeError
            If the shelf has a book of another feed for it.
        """
        book = self._shelf.open(market_id, TimedBook)
        if not isinstance(book, TimedBook):
            raise TypeError(f"the book of {market_id} is another feed's: {type(book).__name__}")
        held = self.held[market_id] = Held(market_id, book, now_ms=now_ms)
        self.books[market_id] = book
        return held

    def overhear(self, market_id: MarketId, now_ms: int) -> Held:
        """Take up a market that a recording shows without its snapshot: what stands in its book is unknown."""
        held = self.hold(market_id, now_ms)
        _stop(held.book, ErrCode.GAP, Integrity.GAP)
        return held

    def drop(self, market_id: MarketId) -> bool:
        """Let a market go; whether it was held."""
        if self.held.pop(market_id, None) is None:
            return False
        del self.books[market_id]
        self._off_the_road(market_id)
        self._shelf.close(market_id)
        return True

    def _off_the_road(self, ticker: str) -> None:
        """No change of the market is applied any more."""
        book = self.live.pop(ticker, None)
        watch = self.watched.pop(ticker, None)
        if book is None and watch is not None:
            book = watch.book
        if book is not None:
            book.channel.live.pop(ticker, None)

    # -- live and broken -------------------------------------------------------------------------------------

    def came(self, held: Held, channel: Channel, now_ms: int) -> None:
        """A market's book has come: its changes count from here on."""
        before, step = held.stage, held.mend.state
        held.move(Saw.BOOK)
        if held.stage is not Stage.LIVE:
            return
        book = held.book
        self._off_the_road(held.market_id)
        self.live[held.market_id] = channel.live[held.market_id] = book
        book.channel = channel
        book.live, book.err, book.integrity = True, None, self._proved
        held.doubts, held.proved_ns = 0, now_ms * 1_000_000
        if book.crossed:
            self.crossed(held.market_id, now_ms)
        held.mend.see(RepairSaw.BOOK, now_ms)
        if before is Stage.LIVE:
            return
        took_ms = max(0, now_ms - held.since_ms)
        if held.cause:
            # A first book that ends an interruption is that of a new connection.
            step = State.RECONNECT if step is State.JOINING else step
            self._counters.repairs += 1
            held.repaired_ms = now_ms
            self._report(FeedEventKind.REPAIRED, now_ms, held.market_id, "snapshot" if self._passive else step, took_ms)
        else:
            self._report(FeedEventKind.LIVE, now_ms, held.market_id, "", took_ms)
        held.cause = ""

    def gap(self, channel: Channel, now_ms: int) -> None:
        """Changes of any market of a subscription may be missing."""
        since_ns = channel.whole_ns
        self._report(FeedEventKind.GAP, now_ms, "", ErrCode.GAP, since_ns=since_ns)
        for ticker in list(channel.live):
            held = self.held[ticker]
            own_ns = self._doubted_since(held, since_ns, now_ms)
            self._break(held, ErrCode.GAP, Integrity.GAP, now_ms, since_ns=own_ns)

    def _doubted_since(self, held: Held, since_ns: int | None, now_ms: int) -> int | None:
        """A book that was in doubt when all of a subscription ended is not whole as long as the others were."""
        if not held.doubts or held.proved_ns is None or (since_ns is not None and held.proved_ns >= since_ns):
            return since_ns
        self._report(FeedEventKind.GAP, now_ms, held.market_id, ErrCode.AUDIT_MISMATCH, since_ns=held.proved_ns)
        return held.proved_ns

    def wrong(
        self,
        ticker: str,
        err: ErrCode,
        integrity: Integrity,
        now_ms: int,
        *,
        since_ns: int | None = None,
        saw: RepairSaw = RepairSaw.FAULT,
    ) -> bool:
        """One market's book is wrong or lacks a change; whether it was live until now.

        Without ``since_ns`` it was right up to the last frame in sequence. ``saw`` decides what is tried first.
        """
        held = self.held.get(ticker)
        if held is None or held.stage is not Stage.LIVE:
            return False
        since_ns = since_ns if since_ns is not None else held.book.channel.whole_ns
        self._report(FeedEventKind.GAP, now_ms, ticker, err, since_ns=since_ns)
        self._break(held, err, integrity, now_ms, since_ns=since_ns, saw=saw)
        self._plan(now_ms)
        return True

    def _break(
        self,
        held: Held,
        err: ErrCode,
        integrity: Integrity,
        now_ms: int,
        *,
        since_ns: int | None,
        saw: RepairSaw = RepairSaw.FAULT,
    ) -> None:
        """A live market is live no more; its last content stays."""
        held.proven_ms = None if since_ns is None else since_ns // 1_000_000
        held.move(Saw.FAULT)
        self._off_the_road(held.market_id)
        _stop(held.book, err, integrity)
        held.cause, held.since_ms = err, now_ms
        # What breaks is mostly the sequence of all: no market climbs for it, it is paced instead.
        held.mend.broke(saw, now_ms, climbs=saw is not RepairSaw.FAULT)
        held.breaks = held.breaks + 1 if now_ms - held.repaired_ms < _SOON_MS else 0
        self._pace(held, now_ms)

    @staticmethod
    def _pace(held: Held, now_ms: int) -> None:
        """The third failure in quick succession waits a second, each further one twice as long."""
        if held.breaks > 1:
            held.not_before_ms = now_ms + min(_PACE_FIRST_MS << min(held.breaks - 2, 8), _PACE_CAP_MS)

    def unreadable(self, held: Held, now_ms: int) -> None:
        """A market's very snapshot does not read: asked for again, more and more slowly."""
        since_ns = None
        if held.stage is Stage.LIVE:
            since_ns = held.book.channel.whole_ns
            self._break(held, ErrCode.GAP, Integrity.GAP, now_ms, since_ns=since_ns)
        elif held.stage is not Stage.ENDED:
            _stop(held.book, ErrCode.GAP, Integrity.GAP)
            held.cause = held.cause or ErrCode.GAP
            held.mend.see(RepairSaw.FAULT, now_ms)
            held.breaks = max(held.breaks + 1, 2)
            self._pace(held, now_ms)
        else:
            return
        self._report(FeedEventKind.GAP, now_ms, held.market_id, ErrCode.GAP, since_ns=since_ns)

    def crossed(self, ticker: str, now_ms: int) -> None:
        """Both sides meet: right for an instant while the venue matches, wrong if it lasts."""
        self._crossed_since.setdefault(ticker, now_ms)

    def _look_at_crossed(self, now_ms: int) -> None:
        for ticker, since_ms in list(self._crossed_since.items()):
            held = self.held.get(ticker)
            lasts = held is not None and held.stage is Stage.LIVE and held.book.crossed
            if not lasts or now_ms - since_ms >= _CROSSED_MS:
                del self._crossed_since[ticker]
                if lasts:
                    self._counters.crossed += 1
                    self.wrong(ticker, ErrCode.CROSSED, Integrity.SUSPECT, now_ms, since_ns=since_ms * 1_000_000)

    def lost(self, now_ms: int, whole_ns: int) -> None:
        """The connection has ended: every book is ``reconnecting`` until its next snapshot."""
        self.live.clear()
        self.watched.clear()
        for held in self.held.values():
            if held.stage is Stage.LIVE:
                since_ns = self._doubted_since(held, whole_ns, now_ms) or 0
                held.cause, held.since_ms, held.proven_ms = ErrCode.RECONNECTING, now_ms, since_ns // 1_000_000
            held.move(Saw.LOST)
            held.mend.see(RepairSaw.LOST, now_ms)
            if held.stage is not Stage.ENDED:
                held.not_before_ms = 0
                _stop(held.book, ErrCode.RECONNECTING, Integrity.GAP)

    # -- doubts ----------------------------------------------------------------------------------------------

    def audited(self, held: Held, now_ms: int, *, equal: bool) -> None:
        """A live market's book was asked for and compared with the one held, at the same number.

        One difference makes it doubtful, and it is asked for once more; a second one breaks it.
        """
        self._counters.audits += 1
        if equal:
            held.doubts = held.mismatches = 0
            held.proved_ns = now_ms * 1_000_000
            return
        self._counters.audit_mismatches += 1
        held.doubts += 1
        if held.doubts == 1:
            self._recheck(held.market_id, now_ms)
            return
        # A snapshot that mended nothing will not the next time either: then its subscription is in doubt.
        saw = RepairSaw.MUTE if held.mismatches else RepairSaw.FAULT
        held.mismatches += 1
        self.wrong(held.market_id, ErrCode.AUDIT_MISMATCH, Integrity.SUSPECT, now_ms, since_ns=held.proved_ns, saw=saw)

    def unasked(self, held: Held, now_ms: int, *, equal: bool) -> None:
        """A live market's book came without being asked for: another one than ours says that we missed something."""
        if not equal and held.proved_ns is not None:
            self._counters.gaps += 1
            self._report(FeedEventKind.GAP, now_ms, held.market_id, ErrCode.AUDIT_MISMATCH, since_ns=held.proved_ns)
            self._break(held, ErrCode.AUDIT_MISMATCH, Integrity.SUSPECT, now_ms, since_ns=held.proved_ns)

    def doubt(self, ticker: str, now_ms: int) -> None:
        """Something contradicts a live book: it is suspect until it has been compared."""
        held = self.held[ticker]
        if held.stage is Stage.LIVE and not held.doubts:
            held.doubts = 1
            self._recheck(ticker, now_ms)

    def watch(self, ticker: str, *, until_ms: int, n_changes: int) -> None:
        """Take a live market off the fast road, so that each of its changes is looked at."""
        book = self.live.pop(ticker)
        self.watched[ticker] = Watch(book, until_ms=until_ms, n_changes=n_changes)

    def unwatch(self, ticker: str) -> None:
        """Give a watched market back to the fast road."""
        watch = self.watched.pop(ticker)
        self.live[ticker] = watch.book

    def printed(self, ticker: str, one: Print, now_ms: int) -> None:
        """A print of a watched market."""
        watch = self.watched[ticker]
        watch.printed(one, now_ms)
        self.judge(ticker, watch, now_ms)

    def changed(self, ticker: str, watch: Watch, side: Side, px: int, change: int, msg: DeltaMsg, now_ms: int) -> None:
        """A change of a watched market, applied already."""
        self._counters.watched += 1
        watch.changed(side, px, change, ms_of(stamp_of(msg)), msg.clock)
        if watch.left <= 0:
            self.judge(ticker, watch, now_ms)
            self.unwatch(ticker)

    def judge(self, ticker: str, watch: Watch, now_ms: int) -> None:
        """Count what a watch has found, and act on it."""
        watch.judge(now_ms)
        held, counters = self.held[ticker], self._counters
        matched, unmatched, back, doubtful = watch.findings()
        held.prints += matched + unmatched
        held.unmatched += unmatched
        counters.prints_checked += matched + unmatched
        counters.prints_unmatched += unmatched
        counters.clock_back += back
        if doubtful:
            self.doubt(ticker, now_ms)

    # -- ends ------------------------------------------------------------------------------------------------

    def close_at(self, held: Held, close_ts: int | None, now_ms: int) -> None:
        """Set the timer that ends a market; a time that has passed already says nothing (it may have moved)."""
        held.close_ts, held.ends_ms = close_ts, None
        if close_ts is not None and close_ts > now_ms:
            held.ends_ms = close_ts
            timer = (close_ts, held.market_id)
            if timer not in self._timed:
                self._timed.add(timer)
                heapq.heappush(self._closes, timer)
            self.resume(held, now_ms)

    def at_close(self, held: Held, now_ms: int) -> bool:
        """Whether an empty snapshot that comes now is the one that follows the close."""
        return held.close_ts is not None and now_ms >= held.close_ts - _AT_CLOSE_MS

    def end(self, held: Held, why: str, now_ms: int) -> None:
        """Trading is over: the last content stays, marked."""
        self._finish(held, Saw.ENDED, why, now_ms)

    def unknown(self, held: Held, now_ms: int) -> None:
        """The venue does not know the ticker: there is no book to wait for on this connection."""
        self._finish(held, Saw.REFUSED, "unknown ticker", now_ms)

    def _finish(self, held: Held, saw: Saw, why: str, now_ms: int) -> None:
        if held.move(saw):
            self._off_the_road(held.market_id)
            held.cause = ""
            if saw is Saw.ENDED:
                held.mend.see(RepairSaw.ENDED, now_ms)
            _stop(held.book, ErrCode.CLOSED, Integrity.UNVERIFIED)
            self._report(FeedEventKind.CLOSED, now_ms, held.market_id, why)
            self._book_came(held.market_id, now_ms)

    def resume(self, held: Held, now_ms: int) -> None:
        """A market that ended trades on: it needs its book."""
        if held.move(Saw.RESUMED):
            _stop(held.book, ErrCode.GAP, Integrity.GAP)
            held.cause, held.since_ms = ErrCode.CLOSED, now_ms
            held.mend.see(RepairSaw.FAULT, now_ms)
            self._plan(now_ms)

    def lifecycle(self, msg: LifecycleMsg, now_ms: int) -> None:
        """What the venue says of a market's life; scheduled openings and closings are never announced."""
        ticker, kind = msg.market_ticker, msg.event_type
        held = self.held.get(ticker)
        if kind == "created":
            self._report(FeedEventKind.LISTED, now_ms, ticker, "")
        elif kind == "price_level_structure_updated":
            self._report(FeedEventKind.TICK, now_ms, ticker, msg.price_level_structure)
        elif kind in ("determined", "settled"):
            if held is not None:
                self.end(held, kind, now_ms)
            if kind == "determined":
                self._report(FeedEventKind.RESOLVED, now_ms, ticker, msg.result)
        elif held is None:
            return
        elif kind == "close_date_updated" and msg.close_ts is not None:
            self.close_at(held, msg.close_ts * 1000, now_ms)
        elif kind == "deactivated":
            if held.stage is Stage.LIVE:
                # Stale until it is activated, when its book restarts empty; without that word it is asked for late.
                # What was sent before was all of it.
                since_ns = now_ms * 1_000_000
                self._report(FeedEventKind.GAP, now_ms, ticker, ErrCode.VENUE_DOWN, since_ns=since_ns)
                self._break(held, ErrCode.VENUE_DOWN, Integrity.STALE, now_ms, since_ns=since_ns)
                held.not_before_ms = now_ms + _PAUSED_MS
        elif kind == "activated":
            held.not_before_ms = 0
            self._plan(now_ms)

    # -- time ------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """End what has reached its close time; look at what stays crossed."""
        while self._closes and self._closes[0][0] <= now_ms:
            timer = close_ts, ticker = heapq.heappop(self._closes)
            self._timed.discard(timer)
            held = self.held.get(ticker)
            if held is not None and held.ends_ms == close_ts:
                self.end(held, "closed", now_ms)
        self._look_at_crossed(now_ms)

    def deadline_ms(self) -> int | None:
        """When ``tick`` is due next, or None."""
        due = [self._closes[0][0]] if self._closes else []
        if self._crossed_since:
            due.append(min(self._crossed_since.values()) + _CROSSED_MS)
        return min(due, default=None)

    def verdict(self, market_id: MarketId, now_ms: int) -> Integrity:
        """How far a market's book is proved; one past its close time ends here at the latest."""
        held = self.held.get(market_id)
        if held is None:
            return Integrity.UNVERIFIED
        if self._crossed_since:
            self._look_at_crossed(now_ms)
        book = held.book
        if book.live:
            if held.ends_ms is not None and held.ends_ms <= now_ms:
                self.end(held, "closed", now_ms)
            else:
                book.integrity = Integrity.SUSPECT if book.crossed or held.doubts else self._proved
        return book.integrity

    def proven_ms(self, market_id: MarketId, last_recv_ms: int) -> int | None:
        """Until when a market's book was whole: while it is live, up to the connection's last frame."""
        held = self.held.get(market_id)
        if held is None:
            return None
        if held.stage is not Stage.LIVE:
            return held.proven_ms
        if held.doubts:
            return None if held.proved_ns is None else held.proved_ns // 1_000_000
        return last_recv_ms if self._proved is Integrity.VERIFIED and not held.book.crossed else None


def _stop(book: Book, err: ErrCode, integrity: Integrity) -> None:
    book.live, book.err, book.integrity = False, err, integrity
