from __future__ import annotations

from collections.abc import Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

from overround.book import Book
from overround.collector.silence import Fault, Finding, Why
from overround.collector.watch import SilenceWatch
from overround.config import SilenceSettings
from overround.market import MarketId
from overround.testing.clock import ManualClock
from overround.venue import FeedEvent, FeedEventKind, Pause

SPOKEN, SHOWN, UNPROVED = MarketId("spoken"), MarketId("shown"), MarketId("unproved")


def heard_at(ms: int) -> Book:
    book = Book()
    book.live, book.ts_recv_ns = True, ms * 1_000_000
    return book


def test_a_book_that_rest_showed_otherwise_was_right_at_its_own_last_proof_not_at_the_last_frame_of_all() -> None:
    reports: list[FeedEvent] = []
    ended: list[str] = []
    proven = {SPOKEN: 9_000, SHOWN: 4_000, UNPROVED: None}
    connection: Any = SimpleNamespace(
        name="0",
        connection_id="0.1",
        log_id="0.1",
        connected=True,
        feed=SimpleNamespace(
            books={SPOKEN: heard_at(9_000), SHOWN: heard_at(5_000), UNPROVED: heard_at(6_000)},
            proven_ms=proven.get,
            spoken_ns=lambda: 9_000_000_000,
        ),
        abandon=ended.append,
    )

    def report(_: Any, events: Sequence[FeedEvent]) -> None:
        reports.extend(events)

    adapter: Any = SimpleNamespace(venue="polymarket", books_per_request=10)
    pacer: Any = None
    watch = SilenceWatch(
        adapter,
        settings=SilenceSettings(),
        clock=ManualClock(),
        rng=Random(1),
        pacer=pacer,
        connections=lambda: [connection],
        market_of=lambda _: None,
        report=report,
    )
    watch._act(Finding(fault=Fault.FROZEN, slot="0", market_ids=(SPOKEN, SHOWN, UNPROVED), by=Why.CONFIRM))
    assert all(event.kind is FeedEventKind.GAP for event in reports)
    assert [(event.market_id, event.since_ns) for event in reports] == [
        (SHOWN, 4_000 * 1_000_000),
        (UNPROVED, 6_000 * 1_000_000),
        ("", 9_000 * 1_000_000),
    ]
    assert len(ended) == 1


def test_in_a_planned_pause_and_a_while_around_it_nothing_is_expected() -> None:
    adapter: Any = SimpleNamespace(venue="kalshi", books_per_request=10)
    unused: Any = None
    clock = ManualClock()
    watch = SilenceWatch(
        adapter,
        settings=SilenceSettings(),
        clock=clock,
        rng=Random(1),
        pacer=unused,
        connections=list,
        market_of=lambda _: None,
        report=lambda _connection, _events: None,
    )
    now_ms = clock.now_ms()
    spans = {(-10_000, 10_000): True, (20_000, 60_000): True, (40_000, 60_000): False, (-90_000, -60_000): True}
    spans[-300_000, -200_000] = False
    for (start_ms, end_ms), paused in spans.items():
        watch._pauses = [Pause(now_ms + start_ms, now_ms + end_ms)]
        assert watch._paused() is paused, (start_ms, end_ms)
