"""A connection and its venue, taken through anything: it ends in the venue's books, or in a recorded gap.

The venue is the scripted one; it numbers what it sends and obeys what it is told. Between the two stands a wire that
loses, repeats, swaps and damages frames; and the venue itself may skip numbers, refuse or ignore commands, end
subscriptions, and forget to send a change. Beside them stands what a collector keeps: rows with their verdicts, and
gaps with their bounds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from kalshi_script import T0, A, B, C, ScriptedVenue

from overround.book import Book, BookShelf
from overround.market import ErrCode, Integrity, Market, MarketId
from overround.venue.kalshi import KalshiFeed
from overround.venue.ports import FeedEventKind, RestBook
from overround.venue.repair import RECONNECT_REST_MS, State

pytestmark = pytest.mark.timeout(1_800)

NS = 1_000_000
BOOKS = "orderbook_delta"
MARKETS = (A, B, C)
WORDS = ("subscribe", "add_markets", "delete_markets", "get_snapshot", "unsubscribe")
CODES = (1, 5, 7, 8, 9, 10, 14, 18, 25, 27)

which = st.integers(0, len(MARKETS) - 1)
cents = st.integers(30, 45)

Ladders = tuple[frozenset[tuple[int, int]], frozenset[tuple[int, int]]]


def frozen(bids: dict[int, int], asks: dict[int, int]) -> Ladders:
    return frozenset(bids.items()), frozenset(asks.items())


@dataclass
class Gap:
    cause: str
    since_ms: int
    end_ms: int | None = None


@dataclass
class Kept:
    """What is known of one market beside the feed."""

    market: Market
    states: set[Ladders] = field(default_factory=set)
    unsent: bool = False
    """The venue changed its book and did not send that: only an audit tells, unless a new book comes first."""
    closed: bool = False
    gaps: list[Gap] = field(default_factory=list)
    wrong_rows: list[int] = field(default_factory=list)
    unsent_rows: list[int] = field(default_factory=list)

    @property
    def market_id(self) -> MarketId:
        return self.market.market_id

    @property
    def open_gap(self) -> Gap | None:
        return self.gaps[-1] if self.gaps and self.gaps[-1].end_ms is None else None

    def covered(self, at_ms: int) -> bool:
        return any(gap.since_ms <= at_ms and (gap.end_ms is None or at_ms <= gap.end_ms) for gap in self.gaps)


class Venue(ScriptedVenue):
    """The scripted venue, which also answers with errors and without knowing a market."""

    def __init__(self, tickers: list[str]) -> None:
        self.fails: list[int] = []
        self.strangers: set[str] = set()
        super().__init__(random.Random(1), tickers)

    def _new_book(self) -> dict[str, dict[int, int]]:
        return {"yes": {40: 500, 35: 900}, "no": {40: 700, 33: 100}}

    def receive(self, text: str) -> None:
        if not self.fails:
            super().receive(text)
            return
        deaf, self.deaf = self.deaf, {*WORDS}
        super().receive(text)
        self.deaf = deaf
        code, number = self.fails.pop(0), self.commands[-1]["id"]
        if code in (10, 25) and BOOKS in self.subscriptions:
            self.end_subscription(code, id=number)
        else:
            self.error(code, "scripted", id=number)

    def end_subscription(self, code: int, **more: Any) -> None:
        self.error(code, "scripted", sid=self.subscriptions.pop(BOOKS)["sid"], **more)

    def snapshot(self, ticker: str, number: int | None = None) -> None:
        if ticker not in self.strangers:
            super().snapshot(ticker, number)
            return
        self.strangers.discard(ticker)
        book = self.books.pop(ticker)
        super().snapshot(ticker, number)
        self.books[ticker] = book


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.began_anew = False
        self.now_ms = T0
        self.venue = Venue([str(market.market_id) for market in MARKETS])
        self.kept = [Kept(market) for market in MARKETS]
        self.feed = KalshiFeed(BookShelf(), audit_ms=5_000, watch=1, watch_share=1.0)
        self.connected = False
        self.rest_wanted: list[Kept] = []
        self.repair_reconnects: list[int] = []
        self.rules = 0
        self.size = 0

    # --- the venue and the shell ------------------------------------------------------------------------------------

    @property
    def wire(self) -> list[bytes]:
        return self.venue.sent

    @initialize(settled=st.booleans())
    def begin(self, *, settled: bool) -> None:
        for kept in self.kept:
            self.remember(kept)
        self.feed.add(MARKETS, now_ms=self.now_ms)
        self.open()
        if settled:
            self.wait(1_000, delivering=True)

    def remember(self, kept: Kept) -> None:
        kept.states.add(frozen(*self.venue.e_units(kept.market_id)))

    def open(self) -> None:
        self.connected = True
        self.venue.connect()
        self.feed.opened(now_ms=self.now_ms)
        self.after()

    def end_connection(self, reason: str) -> None:
        """As the collector's connection does it: the feed is told, and everything with a book is in a gap."""
        self.connected = False
        self.wire.clear()
        since_ms = self.feed.last_recv_ns // NS
        self.feed.lost(now_ms=self.now_ms, reason=reason)
        self.take_events()
        for kept in self.kept:
            self.begin_gap(kept, ErrCode.RECONNECTING, since_ms)
        self.after()

    def after(self) -> None:
        """What a shell does after each call: commands out, reports in."""
        outbox, self.feed.outbox = self.feed.outbox, []
        for text in outbox:
            if self.connected:
                self.venue.receive(text)
        self.take_events()
        if self.feed.reconnect_reason is not None and self.connected:
            self.end_connection(self.feed.reconnect_reason)
            self.now_ms += 300
            self.open()

    def take_events(self) -> None:
        events, self.feed.events = self.feed.events, []
        for event in events:
            kept = next((each for each in self.kept if each.market_id == event.market_id), None)
            if event.kind is FeedEventKind.GAP:
                for each in [kept] if kept else self.kept:
                    since_ns = event.ts_recv_ns if event.since_ns is None else event.since_ns
                    self.begin_gap(each, event.detail, since_ns // NS)
            elif event.kind in (FeedEventKind.LIVE, FeedEventKind.REPAIRED) and kept is not None:
                kept.closed = False
                self.end_gap(kept)
            elif event.kind is FeedEventKind.CLOSED and kept is not None:
                kept.closed = True
                self.end_gap(kept)
            elif event.kind is FeedEventKind.REST_WANTED and kept is not None:
                self.rest_wanted.append(kept)
            elif event.kind is FeedEventKind.RESYNC and event.detail == State.RECONNECT:
                self.repair_reconnects.append(self.now_ms)

    def begin_gap(self, kept: Kept, cause: str, since_ms: int) -> None:
        if kept.closed or not self.feed.books[kept.market_id].had_book:
            return
        if cause != ErrCode.AUDIT_MISMATCH:
            kept.unsent_rows.clear()  # the next book heals it, and nothing tells since when
        gap = kept.open_gap
        if gap is None:
            kept.gaps.append(Gap(cause, since_ms))
        else:
            # As in the ledger: what lies before an open gap becomes part of it.
            gap.since_ms = min(gap.since_ms, since_ms)

    def end_gap(self, kept: Kept) -> None:
        gap = kept.open_gap
        if gap is not None:
            gap.end_ms = self.now_ms
        kept.unsent = frozen(*self.ours(kept)) != frozen(*self.venue.e_units(kept.market_id)) and kept.unsent

    def book(self, kept: Kept) -> Book:
        return self.feed.books[kept.market_id]

    def ours(self, kept: Kept) -> tuple[dict[int, int], dict[int, int]]:
        book = self.book(kept)
        return book.bids, book.asks

    def deliver(self) -> None:
        self.feed.receive(self.wire.pop(0), self.now_ms * NS)
        self.after()

    def rest(self, kept: Kept) -> None:
        bids, asks = self.venue.e_units(kept.market_id)
        self.feed.rest_book(RestBook(market_id=kept.market_id, bids=bids, asks=asks), now_ms=self.now_ms)
        self.after()

    def put(self, kept: Kept, side: str, px: int, *, removed: bool) -> None:
        """Change a level to a size of its own, or take it away."""
        self.now_ms += 1
        self.size += 1
        held = self.venue.books[kept.market_id][side].get(px, 0)
        by = -held if removed else 100 * self.size - held
        if by:
            self.venue.put(kept.market_id, side, px, by)
        self.remember(kept)

    # --- what may happen --------------------------------------------------------------------------------------------

    @rule(n=which, side=st.sampled_from(["yes", "no"]), px=cents, removed=st.booleans())
    def the_book_changes(self, n: int, side: str, px: int, *, removed: bool) -> None:
        self.put(self.kept[n], side, px, removed=removed)

    @rule(n=which)
    def a_change_is_not_sent(self, n: int) -> None:
        kept = self.kept[n]
        ladder = self.venue.books[kept.market_id]["yes"]
        self.now_ms += 1
        self.size += 1
        # A level of its own, never set again: only a whole book brings it back.
        ladder[self.size % 29 + 1] = ladder.get(self.size % 29 + 1, 0) + 100
        kept.unsent = True
        self.remember(kept)

    @precondition(lambda self: self.wire)
    @rule(n=st.integers(1, 8))
    def frames_arrive(self, n: int) -> None:
        self.now_ms += 20
        for _ in range(n):
            if self.wire:  # a frame may end the connection, and with it what was on its way
                self.deliver()

    @rule(n=which, px=cents)
    def a_change_is_lost(self, n: int, px: int) -> None:
        kept, n_frames = self.kept[n], len(self.wire)
        self.put(kept, "yes", px, removed=False)
        del self.wire[n_frames:]

    @precondition(lambda self: self.wire)
    @rule(at=st.integers(0, 3))
    def a_frame_is_lost(self, at: int) -> None:
        self.wire.pop(min(at, len(self.wire) - 1))

    @precondition(lambda self: self.wire)
    @rule(times=st.integers(1, 5))
    def a_frame_arrives_again(self, times: int) -> None:
        self.wire[:0] = [self.wire[0]] * times

    @precondition(lambda self: len(self.wire) > 1)
    @rule()
    def two_frames_change_places(self) -> None:
        self.wire[0], self.wire[1] = self.wire[1], self.wire[0]

    @precondition(lambda self: self.wire)
    @rule(cut=st.booleans())
    def a_frame_is_damaged(self, *, cut: bool) -> None:
        frame = self.wire[0]
        self.wire[0] = frame[: len(frame) // 2] if cut else frame.replace(b'"0.', b'"x.')

    @precondition(lambda self: BOOKS in self.venue.subscriptions)
    @rule(by=st.sampled_from([1, 2, 50]))
    def numbers_are_skipped(self, by: int) -> None:
        self.venue.subscriptions[BOOKS]["seq"] += by

    @precondition(lambda self: BOOKS in self.venue.subscriptions and not self.began_anew)
    @rule()
    def numbers_begin_anew(self) -> None:
        """Once, and far back: of a few numbers nothing tells whether they are old frames again, until they meet the one due."""
        self.began_anew = True
        self.venue.subscriptions[BOOKS]["seq"] += 100
        self.venue.send({"type": "news", **self.venue.number(BOOKS), "msg": {}})
        while self.wire:
            self.deliver()
        if BOOKS in self.venue.subscriptions:
            self.venue.subscriptions[BOOKS]["seq"] = 0

    @precondition(lambda self: "trade" in self.venue.subscriptions)
    @rule(n=which, px=cents, skipped=st.booleans())
    def a_print(self, n: int, px: int, *, skipped: bool) -> None:
        self.now_ms += 1
        self.venue.subscriptions["trade"]["seq"] += skipped
        msg = {
            "market_ticker": self.kept[n].market_id,
            "yes_price_dollars": f"{px / 100:.4f}",
            "no_price_dollars": f"{1 - px / 100:.4f}",
            "count_fp": "7.00",
            "taker_side": "no",
            "ts_ms": self.now_ms,
        }
        self.venue.send({"type": "trade", **self.venue.number("trade"), "msg": msg})

    @precondition(lambda self: self.venue.subscriptions)
    @rule(n=which, named=st.booleans(), data=st.data())
    def a_kind_nobody_knows(self, n: int, data: st.DataObject, *, named: bool) -> None:
        channel = data.draw(st.sampled_from(sorted(self.venue.subscriptions)))
        msg = {"market_ticker": self.kept[n].market_id} if named else {}
        self.venue.send({"type": "news", **self.venue.number(channel), "msg": msg})

    @rule(n=which)
    def a_market_is_a_stranger(self, n: int) -> None:
        self.venue.strangers.add(self.kept[n].market_id)

    @precondition(lambda self: BOOKS in self.venue.subscriptions)
    @rule(n=which)
    def a_book_comes_unasked(self, n: int) -> None:
        if self.kept[n].market_id in self.venue.subscriptions[BOOKS]["markets"]:
            self.venue.snapshot(self.kept[n].market_id)

    @rule(code=st.sampled_from(CODES))
    def the_next_command_fails(self, code: int) -> None:
        self.venue.fails.append(code)

    @rule(word=st.sampled_from(WORDS))
    def commands_are_not_heard(self, word: str) -> None:
        self.venue.deaf ^= {word}

    @precondition(lambda self: BOOKS in self.venue.subscriptions)
    @rule(code=st.sampled_from([10, 25]))
    def the_venue_ends_the_subscription(self, code: int) -> None:
        self.venue.end_subscription(code)

    @precondition(lambda self: self.connected)
    @rule()
    def the_connection_is_lost(self) -> None:
        self.end_connection("cut")

    @precondition(lambda self: not self.connected)
    @rule()
    def the_connection_comes_back(self) -> None:
        self.now_ms += 500
        self.open()

    @precondition(lambda self: self.rest_wanted)
    @rule()
    def rest_answers(self) -> None:
        self.now_ms += 60
        wanted, self.rest_wanted = self.rest_wanted, []
        for kept in wanted:
            self.rest(kept)

    @precondition(lambda self: self.connected)
    @rule(n=which)
    def a_market_is_found_mute(self, n: int) -> None:
        """By the collector, which says since when."""
        self.feed.distrust(self.kept[n].market_id, now_ms=self.now_ms)
        self.after()

    @rule(n=which)
    def a_market_is_rotated_out_and_in(self, n: int) -> None:
        kept = self.kept[n]
        self.feed.remove([kept.market_id], now_ms=self.now_ms)
        self.end_gap_of_leaving(kept)
        self.after()
        self.feed.add([kept.market], now_ms=self.now_ms)
        self.after()

    def end_gap_of_leaving(self, kept: Kept) -> None:
        if kept.open_gap is not None:
            kept.open_gap.end_ms = self.now_ms
        # What is still unknown of it then nobody learns: its book goes with it.
        kept.wrong_rows = [at_ms for at_ms in kept.wrong_rows if kept.covered(at_ms)]
        kept.unsent_rows.clear()
        kept.closed = False

    @rule(ms=st.sampled_from([100, 500, 2_000, 10_000, 60_000]))
    def time_passes(self, ms: int) -> None:
        self.wait(ms, delivering=False)

    def wait(self, ms: int, *, delivering: bool) -> None:
        """Let time pass; the feed is ticked whenever its deadline has come, as a shell would."""
        until_ms, ticks = self.now_ms + ms, 0
        while self.connected:
            while delivering and self.wire:
                self.deliver()
            due_ms = self.feed.deadline_ms()
            if due_ms is None or due_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, due_ms)
            self.feed.tick(now_ms=self.now_ms)
            self.after()
            ticks += 1
            assert ticks < 50 + ms // 100, "it wakes up again and again"
        self.now_ms = max(self.now_ms, until_ms)

    # --- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def a_verified_row_is_a_state_of_the_venues(self) -> None:
        """A collector may store one at any time; one that was right once, and is not now, is remembered for the end."""
        for kept in self.kept:
            book = self.book(kept)
            if not book.live or self.feed.verdict(kept.market_id, now_ms=self.now_ms) is not Integrity.VERIFIED:
                continue
            ours, theirs = frozen(*self.ours(kept)), frozen(*self.venue.e_units(kept.market_id))
            assert kept.unsent or ours in kept.states
            if ours != theirs and not self.wire:
                (kept.unsent_rows if kept.unsent else kept.wrong_rows).append(self.now_ms)
        self.after()

    @invariant()
    def a_book_that_was_and_is_not_live_is_in_a_gap_or_closed(self) -> None:
        for kept in self.kept:
            book = self.feed.books.get(kept.market_id)
            if book is not None and book.had_book:
                assert (kept.open_gap is not None) == (not book.live and not kept.closed)

    @invariant()
    def what_is_not_live_is_being_repaired(self) -> None:
        """Something is due, within the longest rest of the table."""
        books = self.feed.books
        if self.connected and any(
            not books[k.market_id].live and not k.closed for k in self.kept if k.market_id in books
        ):
            due_ms = self.feed.deadline_ms()
            assert due_ms is not None
            assert due_ms <= self.now_ms + 600_000

    @invariant()
    def commands_do_not_storm(self) -> None:
        self.rules += 1
        n = len(self.venue.commands)
        # What happens may cost eight commands; left to itself, the feed sends one a second at most.
        assert n <= 20 + 8 * self.rules + (self.now_ms - T0) // 1_000, f"{n} commands"

    @invariant()
    def repairs_ask_for_a_new_connection_once_in_ten_minutes(self) -> None:
        for earlier, later in zip(self.repair_reconnects, self.repair_reconnects[1:], strict=False):
            assert later - earlier >= RECONNECT_REST_MS

    @invariant()
    def nothing_is_proved_in_the_future(self) -> None:
        for kept in self.kept:
            proven_ms = self.feed.proven_ms(kept.market_id)
            assert proven_ms is None or proven_ms <= self.now_ms

    def teardown(self) -> None:
        """The faults are over: within the time that the table takes everything is right, and every loss recorded."""
        self.venue.deaf.clear()
        self.venue.fails.clear()
        self.venue.strangers.clear()
        if not self.connected:
            self.open()
        for minute in range(40):
            for _ in range(6):
                self.wait(10_000, delivering=True)
                wanted, self.rest_wanted = self.rest_wanted, []
                for kept in wanted:
                    self.rest(kept)
            if minute and all(self.right(kept) for kept in self.kept):
                break
            if minute and any(kept.closed for kept in self.kept):
                # What the venue once did not know, or refused, is asked for on a new connection only.
                self.end_connection("to ask anew")
                self.open()
        for kept in self.kept:
            assert self.right(kept), f"neither right nor in a gap: {kept.market_id}"
            for at_ms in (*kept.wrong_rows, *kept.unsent_rows):
                assert kept.covered(at_ms), f"a verified row at {at_ms} was wrong, and no gap of {kept.gaps} covers it"

    def right(self, kept: Kept) -> bool:
        return self.book(kept).live and self.ours(kept) == self.venue.e_units(kept.market_id)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    # 200 by the quick profile, 2,000 by the full one.
    max_examples=5 * settings().max_examples,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow],
    deadline=None,
)
