from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from overround.book import Book
from overround.collector.silence import Answer, Check, Fault, Finding, Why
from overround.collector.watch import SilenceWatch
from overround.config import SilenceSettings
from overround.market import MarketId
from overround.testing.clock import ManualClock
from overround.venue import FeedEvent, FeedEventKind, Pause, RestBook

SPOKEN, SHOWN, UNPROVED = MarketId("spoken"), MarketId("shown"), MarketId("unproved")


def heard_at(ms: int) -> Book:
    book = Book()
    book.live, book.ts_recv_ns = True, ms * 1_000_000
    return book


class Told:
    """A watch over one connection with three live books, and what it told and did."""

    def __init__(self) -> None:
        self.reports: list[FeedEvent] = []
        self.ended: list[str] = []
        self.distrusted: list[str] = []
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
                distrust=lambda market_id, **_: self.distrusted.append(market_id),
            ),
            abandon=self.ended.append,
        )
        unused: Any = None
        adapter: Any = SimpleNamespace(venue="polymarket", books_per_request=10)
        self.watch = SilenceWatch(
            adapter,
            settings=SilenceSettings(),
            clock=ManualClock(),
            rng=Random(1),
            pacer=unused,
            connections=lambda: [connection],
            market_of=lambda _: None,
            report=lambda _, events: self.reports.extend(events),
        )

    def find(self, fault: Fault, *market_ids: MarketId) -> list[tuple[FeedEventKind, str, int | None]]:
        self.watch._act(Finding(fault=fault, slot="0", market_ids=market_ids, by=Why.CONFIRM))
        return [
            (event.kind, event.market_id, None if event.since_ns is None else event.since_ns // 1_000_000)
            for event in self.reports
        ]


def test_a_book_that_rest_showed_otherwise_was_right_at_its_own_last_proof_not_at_the_last_frame_of_all() -> None:
    told = Told()
    gap = FeedEventKind.GAP
    assert told.find(Fault.FROZEN, SPOKEN, SHOWN, UNPROVED) == [
        (gap, SHOWN, 4_000),
        (gap, UNPROVED, 6_000),
        (gap, "", 9_000),
    ]
    assert len(told.ended) == 1


def test_a_market_that_ended_unheard_is_in_doubt_since_its_last_proof_and_subscribed_no_more() -> None:
    told = Told()
    assert told.find(Fault.GONE, SHOWN) == [(FeedEventKind.GAP, SHOWN, 4_000), (FeedEventKind.GONE, SHOWN, None)]
    assert told.reports[0].detail == "gone"
    assert (told.ended, told.distrusted) == ([], []), "nothing is subscribed anew for it"
    assert told.watch.counters.gone == 1


@pytest.mark.parametrize("unread", [set(), {SHOWN}])
async def test_a_market_whose_rest_book_does_not_read_is_not_one_without_a_book(unread: set[MarketId]) -> None:
    told = Told()

    async def books(_: object) -> list[RestBook]:
        return []

    told.watch._adapter.book_source = SimpleNamespace(books=books, unread=unread)
    decided: list[dict[MarketId, Answer]] = []
    told.watch._decider = SimpleNamespace(answered=lambda _check, answers, now_ms: decided.append(answers) or [])  # type: ignore[assignment]
    told.watch._market_of = lambda _: SimpleNamespace()  # type: ignore[assignment,return-value]
    await told.watch._question(Check(why=Why.AUDIT, market_ids=(SHOWN, SPOKEN)))
    assert decided == [{SHOWN: Answer.UNKNOWN if unread else Answer.ABSENT, SPOKEN: Answer.ABSENT}]


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
