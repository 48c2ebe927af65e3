"""A connection and its venue, taken through anything: it ends in the venue's books, or in a recorded gap.

The venue is the scripted one: plain dictionaries, hashes made independently, commands obeyed as the venue obeys them
(a token that is subscribed already is not dumped again). Between the two stands a wire that holds, loses, repeats and
swaps frames. Beside them stands what a collector keeps: rows with their verdicts, and gaps with their bounds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scripted_polymarket import NS, T0, Scripted, encode

from overround.book import BookShelf
from overround.market import Integrity, MarketId
from overround.venue.polymarket import PolymarketFeed
from overround.venue.ports import FeedEventKind, RestBook
from overround.venue.repair import RECONNECT_REST_MS, State

pytestmark = pytest.mark.timeout(1_800)

LOTS = 1_000_000
MARKETS = 3
HOT_LEVELS = (4500, 4600, 4700, 4900, 5100, 5300, 5400)

which = st.integers(0, MARKETS - 1)


@dataclass
class Gap:
    since_ms: int
    end_ms: int | None = None


@dataclass
class Kept:
    """What is known of one market beside the feed."""

    script: Scripted
    wanted: bool = True
    muted: bool = False
    subscribed: bool = False
    lost_levels: int = 0
    lost_anyhow: bool = False
    """A change was lost whose level may be set again: the book may heal unnoticed, as nothing numbers the frames."""
    states: dict[int, tuple[dict[int, int], dict[int, int]]] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    wrong_rows: list[int] = field(default_factory=list)

    @property
    def market_id(self) -> MarketId:
        return MarketId(self.script.market_id)

    def untold(self) -> None:
        """What was lost before can be told no more from what happens while nobody listens."""
        self.wrong_rows = [at_ms for at_ms in self.wrong_rows if self.covered(at_ms)]

    def covered(self, at_ms: int) -> bool:
        return any(gap.since_ms <= at_ms and (gap.end_ms is None or at_ms <= gap.end_ms) for gap in self.gaps)

    def remember(self) -> None:
        self.states[self.script.ts_ms] = (dict(self.script.bids), dict(self.script.asks))


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = T0
        self.kept = [Kept(Scripted(n + 1)) for n in range(MARKETS)]
        self.by_token = {token: kept for kept in self.kept for token in kept.script.tokens}
        self.feed = PolymarketFeed(BookShelf(), hash_every=3)
        self.wire: list[tuple[Kept | None, bytes]] = []
        self.rest_wanted: list[Kept] = []
        self.connected = False
        self.skipped_dumps = 0
        self.reconnects_wanted: list[int] = []
        self.size = 1

    # --- the venue and the shell ------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        for kept in self.kept:
            kept.remember()
        self.feed.add([kept.script.market for kept in self.kept], now_ms=self.now_ms)
        self.open()

    def open(self) -> None:
        self.connected = True
        self.feed.opened(now_ms=self.now_ms)
        self.after()

    def end_connection(self, reason: str) -> None:
        """As the collector's connection does it: the feed is told, and everything with a book is in a gap."""
        self.connected = False
        self.wire.clear()
        for kept in self.kept:
            kept.subscribed = kept.muted = False
        had_book = [kept for kept in self.kept if kept.wanted and self.feed.books[kept.market_id].had_book]
        since_ms = self.feed.last_recv_ns // NS
        self.feed.lost(now_ms=self.now_ms, reason=reason)
        for kept in had_book:
            self.begin_gap(kept, since_ms)
        self.after()

    def after(self) -> None:
        """What a shell does after each call: commands out, reports in."""
        feed = self.feed
        outbox, feed.outbox = feed.outbox, []
        for text in outbox:
            if text != "PING" and self.connected:
                self.obey(json.loads(text))
        events, feed.events = feed.events, []
        for event in events:
            kept = next((each for each in self.kept if each.market_id == event.market_id), None)
            if event.kind is FeedEventKind.GAP:
                hit = [kept] if kept else [k for k in self.kept if k.wanted and feed.books[k.market_id].had_book]
                for each in hit:
                    self.begin_gap(each, (event.since_ns or event.ts_recv_ns) // NS)
            elif event.kind in (FeedEventKind.LIVE, FeedEventKind.REPAIRED) and kept is not None:
                for gap in kept.gaps:
                    gap.end_ms = self.now_ms if gap.end_ms is None else gap.end_ms
            elif event.kind is FeedEventKind.REST_WANTED and kept is not None:
                self.rest_wanted.append(kept)
            elif event.kind is FeedEventKind.RESYNC and event.detail == State.RECONNECT:
                self.reconnects_wanted.append(self.now_ms)
        if feed.reconnect_reason is not None and self.connected:
            self.end_connection(feed.reconnect_reason)
            self.now_ms += 300
            self.open()

    def begin_gap(self, kept: Kept, since_ms: int) -> None:
        if not kept.gaps or kept.gaps[-1].end_ms is not None:
            kept.gaps.append(Gap(since_ms))
        else:
            # As in the ledger: what lies before an open gap becomes part of it.
            kept.gaps[-1].since_ms = min(kept.gaps[-1].since_ms, since_ms)

    def obey(self, command: dict[str, Any]) -> None:
        tokens = command["assets_ids"]
        asked = {id(self.by_token[token]): self.by_token[token] for token in tokens}.values()
        if command.get("operation") == "unsubscribe":
            for kept in asked:
                kept.subscribed = kept.muted = False
            return
        fresh = [kept for kept in asked if not kept.subscribed]
        for kept in fresh:
            kept.subscribed = True
        if self.skipped_dumps and fresh:
            self.skipped_dumps -= 1
            return
        for kept in fresh:
            self.wire.append((kept, encode(kept.script.dump())))

    def receive(self, frame: bytes) -> None:
        assert self.feed.receive(frame, self.now_ms * NS)
        self.after()

    def rest(self, kept: Kept) -> None:
        if not kept.wanted:
            return
        script = kept.script
        book = RestBook(
            market_id=kept.market_id,
            bids=dict(script.bids),
            asks=dict(script.asks),
            ts_venue_ms=script.ts_ms,
            hash=script.hash(0),
            hash_ok=True,
            last_trade_text=script.last_trade,
        )
        self.feed.rest_book(book, now_ms=self.now_ms)
        self.after()

    def row(self, kept: Kept) -> None:
        """A row is due: its verdict must hold of an announced state; a wrong one is remembered for the end."""
        if not kept.wanted:
            return
        book = self.feed.books[kept.market_id]
        if not book.live:
            return
        verdict = self.feed.verdict(kept.market_id, now_ms=self.now_ms)
        if verdict is Integrity.VERIFIED:
            assert book.live
            assert book.ts_venue_ms is not None
            assert (book.bids, book.asks) == kept.states[book.ts_venue_ms], "verified, and no state of the venue's"
            arriving = any(whose is kept for whose, _ in self.wire)
            wrong = (book.bids, book.asks) != (kept.script.bids, kept.script.asks)
            if wrong and not arriving and not kept.lost_anyhow:
                kept.wrong_rows.append(self.now_ms)
        self.after()

    def deliver(self, at: int = 0) -> None:
        _, frame = self.wire.pop(at)
        self.receive(frame)

    def change(self, kept: Kept, side: str, px_e4: int, sz_e6: int, tokens: tuple[int, ...] = (0, 1)) -> bytes:
        self.now_ms += 1
        kept.script.ts_ms = max(kept.script.ts_ms, self.now_ms - 1)
        frame = encode(kept.script.change(side, px_e4, sz_e6, tokens=tokens))
        if not self.connected:
            kept.untold()
        kept.remember()
        return frame

    # --- what may happen --------------------------------------------------------------------------------------------

    @rule(n=which, px=st.sampled_from(HOT_LEVELS), removed=st.booleans(), tokens=st.sampled_from([(0, 1), (0,), (1,)]))
    def the_book_changes(self, n: int, px: int, *, removed: bool, tokens: tuple[int, ...]) -> None:
        kept = self.kept[n]
        self.size += 1
        side = "BUY" if px < 5000 else "SELL"
        frame = self.change(kept, side, px, 0 if removed else self.size * LOTS, tokens)
        if self.connected and kept.subscribed and not kept.muted:
            self.wire.append((kept, frame))
        else:
            kept.lost_anyhow |= kept.muted

    @rule(n=which)
    def a_change_is_lost(self, n: int) -> None:
        kept = self.kept[n]
        kept.lost_levels += 1
        # A level of its own, never set again: only a whole book brings it back.
        self.change(kept, "BUY", 1 + kept.lost_levels, LOTS)

    @precondition(lambda self: self.wire)
    @rule(n=st.integers(1, 8))
    def frames_arrive(self, n: int) -> None:
        self.now_ms += 20
        for _ in range(n):
            if self.wire:  # a frame may end the connection, and with it what was on its way
                self.deliver()

    @precondition(lambda self: len(self.wire) > 1)
    @rule()
    def two_frames_change_places(self) -> None:
        self.wire[0], self.wire[1] = self.wire[1], self.wire[0]

    @precondition(lambda self: self.wire)
    @rule()
    def a_frame_arrives_twice(self) -> None:
        self.wire.insert(0, self.wire[0])

    @precondition(lambda self: self.wire)
    @rule()
    def a_frame_is_lost(self) -> None:
        whose, _ = self.wire.pop(0)
        if whose is not None:
            whose.lost_anyhow = True

    @precondition(lambda self: self.wire)
    @rule()
    def a_frame_is_damaged(self) -> None:
        whose, frame = self.wire[0]
        if whose is not None:
            whose.lost_anyhow = True
            self.wire[0] = whose, frame.replace(b'"price":"0', b'"price":"x', 1)

    @rule(n=which)
    def a_market_falls_silent(self, n: int) -> None:
        self.kept[n].muted = self.kept[n].subscribed

    @rule()
    def the_next_dump_does_not_come(self) -> None:
        self.skipped_dumps += 1

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

    @precondition(lambda self: self.rest_wanted)
    @rule()
    def rest_fails(self) -> None:
        self.rest_wanted.clear()

    @rule(n=which)
    def an_audit_comes_round(self, n: int) -> None:
        self.rest(self.kept[n])

    @rule(n=which)
    def a_row_is_due(self, n: int) -> None:
        self.row(self.kept[n])

    @rule(ms=st.sampled_from([100, 500, 2_000, 10_000, 30_000, 60_000]))
    def time_passes(self, ms: int) -> None:
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms = min(until_ms, self.now_ms + 500)
            if self.connected:
                if self.now_ms % 5_000 < 500:
                    # The answer to PING: what keeps a quiet connection.
                    self.feed.receive(b"PONG", self.now_ms * NS)
                self.feed.tick(now_ms=self.now_ms)
                self.after()

    @rule(n=which)
    def a_market_is_rotated_out_and_in(self, n: int) -> None:
        kept = self.kept[n]
        self.wire = [entry for entry in self.wire if entry[0] is not kept]
        self.feed.remove([kept.market_id], now_ms=self.now_ms)
        for gap in kept.gaps:
            gap.end_ms = self.now_ms if gap.end_ms is None else gap.end_ms
        self.after()
        kept.lost_anyhow = True  # what was sent meanwhile is nobody's loss
        kept.untold()
        self.feed.add([kept.script.market], now_ms=self.now_ms)
        self.after()

    # --- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def a_book_that_is_not_live_is_awaited_or_in_a_gap(self) -> None:
        for kept in self.kept:
            book = self.feed.books.get(kept.market_id)
            if book is not None and book.had_book and not book.live:
                assert kept.gaps
                assert kept.gaps[-1].end_ms is None

    @invariant()
    def nothing_is_proved_in_the_future(self) -> None:
        for kept in self.kept:
            proven_ms = self.feed.proven_ms(kept.market_id)
            assert proven_ms is None or proven_ms <= self.now_ms

    @invariant()
    def repairs_ask_for_a_new_connection_once_in_ten_minutes(self) -> None:
        for earlier, later in zip(self.reconnects_wanted, self.reconnects_wanted[1:], strict=False):
            assert later - earlier >= RECONNECT_REST_MS

    def teardown(self) -> None:
        """The faults are over: within the time that the ladder takes everything is right, and every loss recorded."""
        self.skipped_dumps = 0
        if not self.connected:
            self.open()
        for minute in range(40):
            for _ in range(6):
                while self.wire:
                    self.deliver()
                for kept in self.kept:
                    kept.muted = False
                wanted, self.rest_wanted = self.rest_wanted, []
                for kept in wanted:
                    self.rest(kept)
                self.time_passes(10_000)
            for kept in self.kept:
                self.rest(kept)  # the audit of what was not proved lately
            self.time_passes(3_000)
            if minute and all(self.right(kept) for kept in self.kept):
                break
        for kept in self.kept:
            assert self.right(kept), f"neither right nor in a gap: {kept.market_id}"
            for at_ms in kept.wrong_rows:
                assert kept.covered(at_ms), f"a verified row at {at_ms} was wrong, and no gap of {kept.gaps} covers it"

    def right(self, kept: Kept) -> bool:
        book = self.feed.books[kept.market_id]
        return book.live and (book.bids, book.asks) == (kept.script.bids, kept.script.asks)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    # 200 by the quick profile, 2,000 by the full one.
    max_examples=5 * settings().max_examples,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow],
    deadline=None,
)
