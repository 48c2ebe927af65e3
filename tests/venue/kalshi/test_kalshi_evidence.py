"""What is held against a Kalshi book besides its numbers: books asked for, prints, clocks."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from kalshi_script import A, B, C, Wire

from overround.book import BookShelf
from overround.market import ErrCode, Integrity, Venue
from overround.replay import open_recording
from overround.replay.frames import venue_ms
from overround.venue.kalshi import KalshiFeed
from overround.venue.ports import FeedEventKind

TICKER = str(A.market_id)


def audited(**options: Any) -> Wire:
    return Wire(audit_ms=5_000, probe_ms=None, **options).open()


def watched(**options: Any) -> Wire:
    """Every market is watched from the first turn on, each change in budget."""
    wire = Wire(watch=3, watch_share=1.0, probe_ms=None, **options).open()
    wire.feed.tick(now_ms=wire.now_ms)
    for market in (A, B, C):
        # The first instant of a watch judges nothing.
        wire.venue.put(str(market.market_id), "yes", 1, 100)
    return wire.run()


def quiet_lie(wire: Wire) -> None:
    """The venue's book changes, the change is never sent, and no number is missing."""
    wire.venue.books[TICKER]["yes"][1] = wire.venue.books[TICKER]["yes"].get(1, 0) + 500


# -- audits ----------------------------------------------------------------------------------------------------


def test_books_are_asked_for_one_after_the_other_and_an_equal_one_changes_nothing() -> None:
    wire = audited()
    before = {m: (book.seq, book.ts_recv_ns) for m, book in wire.feed.books.items()}
    n = len(wire.venue.commands)
    wire.wait(15_000)
    asked = [c["params"]["market_tickers"] for c in wire.venue.commands[n:]]
    assert sorted(asked) == sorted([str(m.market_id)] for m in (A, B, C))
    assert wire.feed.counters.audits == 3
    assert wire.feed.counters.audit_mismatches == wire.feed.counters.resyncs == 0
    assert {m: (book.seq, book.ts_recv_ns) for m, book in wire.feed.books.items()} == before
    assert wire.live() == [True, True, True]


def test_the_pace_of_audits_is_the_one_that_is_set() -> None:
    wire = audited()
    wire.wait(60_000)
    assert wire.feed.counters.audits == 12
    silent = Wire(probe_ms=None).open()
    silent.wait(60_000)
    assert silent.feed.counters.audits == 0


def test_a_book_that_differs_twice_breaks_and_is_repaired() -> None:
    wire = audited()
    wire.wait(15_000)
    proved_ns = wire.feed._held[TICKER].proved_ns
    quiet_lie(wire)
    wire.feed.events.clear()
    wire.wait(20_000)
    assert wire.events(FeedEventKind.GAP) == [(TICKER, ErrCode.AUDIT_MISMATCH)]
    assert wire.events(FeedEventKind.REPAIRED) == [(TICKER, "resnapshot")]
    (gap,) = [e for e in wire.feed.events if e.kind is FeedEventKind.GAP]
    assert gap.since_ns == proved_ns
    assert gap.since_ns < gap.ts_recv_ns
    assert wire.feed.counters.audit_mismatches == 2
    assert wire.equal(A)
    assert wire.feed.verdict(A.market_id, now_ms=wire.now_ms) is Integrity.VERIFIED


def test_between_the_two_the_book_is_suspect_and_keeps_its_content() -> None:
    wire = audited()
    held = dict(wire.feed.books[A.market_id].bids)
    quiet_lie(wire)
    tampered = []

    def once(frame: bytes) -> list[bytes]:
        if b"orderbook_snapshot" in frame and TICKER.encode() in frame:
            tampered.append(frame)
            return [frame] if len(tampered) == 1 else []
        return [frame]

    wire.tamper = once
    while not wire.feed.counters.audit_mismatches:
        wire.wait(1_000)
    assert wire.feed.books[A.market_id].bids == held
    assert wire.feed.books[A.market_id].live
    assert wire.feed.verdict(A.market_id, now_ms=wire.now_ms) is Integrity.SUSPECT
    assert wire.feed.proven_ms(A.market_id) < wire.now_ms


def test_one_odd_answer_costs_nothing() -> None:
    wire = audited()

    def odd_once(frame: bytes) -> list[bytes]:
        if b"orderbook_snapshot" in frame and wire.feed.counters.audit_mismatches == 0:
            said = json.loads(frame)
            said["msg"]["yes_dollars_fp"] = [["0.0100", "1.00"]]
            return [json.dumps(said).encode()]
        return [frame]

    wire.tamper = odd_once
    wire.feed.events.clear()
    wire.wait(15_000)
    assert wire.feed.counters.audit_mismatches == 1
    assert wire.feed.counters.audits >= 3
    assert wire.feed.events == []
    for market in (A, B, C):
        assert wire.feed.verdict(market.market_id, now_ms=wire.now_ms) is Integrity.VERIFIED
        assert wire.equal(market)


def test_a_book_that_is_wrong_again_is_added_anew() -> None:
    wire = audited()
    for step in ("resnapshot", "resubscribe"):
        quiet_lie(wire)
        wire.feed.events.clear()
        wire.wait(20_000)
        assert wire.events(FeedEventKind.REPAIRED) == [(TICKER, step)]
        assert wire.equal(A)
        # Repaired, and no audit of it in between found it equal.
        wire.feed._held[TICKER].mismatches = 1


def test_a_venue_that_refuses_to_be_asked_is_left_in_peace() -> None:
    wire = audited()
    wire.venue.deaf.add("get_snapshot")
    n = len(wire.venue.commands)
    wire.wait(5_000)
    number = wire.venue.commands[-1]["id"]
    wire.venue.error(5, "unknown action", id=number)
    wire.run().wait(120_000)
    assert len(wire.venue.commands) == n + 1
    assert wire.live() == [True, True, True]
    assert wire.feed.reconnect_reason is None


def test_audits_that_nobody_answers_end_the_connection() -> None:
    wire = audited()
    wire.venue.deaf.add("get_snapshot")
    wire.wait(20_000)
    assert wire.feed.reconnect_reason


def test_removing_the_audited_market_is_no_missing_answer() -> None:
    wire = Wire(audit_ms=5_000, probe_ms=None)
    wire.open()
    for market in (A, B, C):
        wire.venue.forgetful.add(str(market.market_id))
    for _ in range(2):
        wire.now_ms += 5_000
        wire.feed.tick(now_ms=wire.now_ms)
        (command,) = map(json.loads, wire.feed.outbox)
        wire.run()
        wire.feed.remove(command["params"]["market_tickers"], now_ms=wire.now_ms)
        wire.run().wait(100)
    assert wire.feed._commander._strikes == 0
    assert wire.feed.reconnect_reason is None


# -- prints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taker", ["yes", "no"])
@pytest.mark.parametrize("order", ["change first", "print first", "print much earlier"])
def test_a_print_is_matched_by_its_change(taker: str, order: str) -> None:
    wire = watched()
    for _ in range(5):
        change, print_ = wire.venue.match(TICKER, taker, 70)
        assert change
        assert print_
        if order != "change first":
            wire.venue.sent[:] = [print_, change]
        if order == "print much earlier":
            wire.venue.sent[:] = [print_]
            wire.run()
            wire.now_ms += 3_000
            wire.venue.sent[:] = [change]
        wire.run()
    wire.wait(10_000)
    assert wire.feed.counters.prints_checked == 5
    assert wire.feed.counters.prints_unmatched == 0
    assert wire.equal(A)
    assert wire.feed._held[TICKER].prints == 5


def test_several_prints_share_one_change_and_one_print_several_changes() -> None:
    wire = watched()
    px = max(wire.venue.books[TICKER]["no"])
    wire.venue.put(TICKER, "no", px, -90)
    for size in (20, 30, 40):
        wire.venue.trade(TICKER, "yes", 100 - px, size)
    stamp = wire.venue.now_ms
    wire.venue.put(TICKER, "no", px, -5)
    wire.venue.now_ms -= 1
    wire.venue.put(TICKER, "no", px, -5)
    assert wire.venue.now_ms == stamp + 1
    wire.venue.trade(TICKER, "yes", 100 - px, 10)
    wire.run().wait(10_000)
    assert (wire.feed.counters.prints_checked, wire.feed.counters.prints_unmatched) == (4, 0)


def test_size_is_not_used_twice() -> None:
    wire = watched()
    px = max(wire.venue.books[TICKER]["yes"])
    wire.venue.put(TICKER, "yes", px, -50)
    for _ in range(2):
        wire.venue.trade(TICKER, "no", px, 50)
    wire.run().wait(10_000)
    assert (wire.feed.counters.prints_checked, wire.feed.counters.prints_unmatched) == (2, 1)


@pytest.mark.parametrize("wrong", ["price", "side", "size", "time"])
def test_a_print_that_no_change_explains_is_counted(wrong: str) -> None:
    wire = watched()
    px = max(wire.venue.books[TICKER]["yes"])
    wire.venue.put(TICKER, "yes", px, -50)
    wire.venue.trade(
        TICKER,
        "yes" if wrong == "side" else "no",
        px - (wrong == "price"),
        50 + (wrong == "size"),
        ts_ms=wire.venue.now_ms + (wrong == "time"),
    )
    wire.run().wait(10_000)
    assert (wire.feed.counters.prints_checked, wire.feed.counters.prints_unmatched) == (1, 1)
    # One says nothing.
    assert wire.feed.verdict(A.market_id, now_ms=wire.now_ms) is Integrity.VERIFIED


def test_prints_of_whole_seconds_are_matched_within_the_second() -> None:
    wire = watched()
    wire.venue.now_ms += 1_000 - wire.venue.now_ms % 1_000 + 499
    wire.venue.match(TICKER, "no", 60, ts_ms=None, ts=wire.venue.now_ms // 1_000)
    wire.venue.match(TICKER, "no", 60, ts_ms=None, ts=wire.venue.now_ms // 1_000 + 1)
    wire.run().wait(10_000)
    assert (wire.feed.counters.prints_checked, wire.feed.counters.prints_unmatched) == (2, 1)


def test_block_trades_are_left_out_and_bad_prints_refused() -> None:
    wire = watched()
    wire.venue.match(TICKER, "no", 60, change=False, is_block_trade=True)
    wire.venue.trade(TICKER, "no", 40, 10, yes_price_dollars="0.400001")
    wire.run().wait(10_000)
    assert wire.feed.counters.prints_checked == 0
    assert wire.feed.counters.rejected == 1
    assert wire.live() == [True, True, True]
    assert wire.feed.counters.gaps_elsewhere == 0


def test_repeated_unmatched_prints_ask_for_the_book_and_an_equal_one_clears_it() -> None:
    wire = watched()
    n = len(wire.venue.commands)
    for _ in range(3):
        wire.venue.match(TICKER, "no", 60, change=False)
        wire.venue.now_ms += 10
    wire.run()
    suspected = []
    for _ in range(100):
        wire.now_ms += 100
        wire.feed.tick(now_ms=wire.now_ms)
        suspected.append(wire.feed.verdict(A.market_id, now_ms=wire.now_ms))
        wire.run()
    assert Integrity.SUSPECT in suspected
    # Nothing but the sign was wrong: the book was asked for once, and was equal.
    assert wire.words()[n:] == ["get_snapshot"]
    assert wire.feed.counters.audits == 1
    assert wire.events(FeedEventKind.GAP) == []
    assert wire.feed.verdict(A.market_id, now_ms=wire.now_ms) is Integrity.VERIFIED


def test_executions_that_never_reach_us_are_found_by_their_prints() -> None:
    wire = watched()
    for _ in range(3):
        side = "yes"
        px = max(wire.venue.books[TICKER][side])
        wire.venue.now_ms += 10
        wire.venue.books[TICKER][side][px] -= 10
        wire.venue.trade(TICKER, "no", px, 10)
    wire.run()
    assert not wire.equal(A)
    wire.wait(20_000)
    assert wire.events(FeedEventKind.GAP) == [(TICKER, ErrCode.AUDIT_MISMATCH)]
    assert wire.equal(A)
    assert wire.feed.verdict(A.market_id, now_ms=wire.now_ms) is Integrity.VERIFIED


# -- clocks ----------------------------------------------------------------------------------------------------


def clocked(wire: Wire, clock: int) -> None:
    frame = wire.venue.put(TICKER, "yes", 2, 100)
    assert frame
    said = json.loads(frame)
    said["msg"]["clock"] = clock
    wire.venue.sent[-1] = json.dumps(said, separators=(",", ":")).encode()
    wire.run()


def test_a_clock_that_steps_back_again_and_again_makes_the_book_doubtful() -> None:
    wire = watched()
    n = len(wire.venue.commands)
    for clock in (10, 10, 17, 16, 30, 29):
        clocked(wire, clock)
    wire.wait(10_000)
    assert wire.feed.counters.clock_back == 2
    assert wire.words()[n:] == []
    wire.feed.tick(now_ms=wire.now_ms)
    for clock in (5, 4, 3, 2):
        clocked(wire, clock)
    wire.wait(10_000)
    assert wire.words()[n:] == ["get_snapshot"]
    assert wire.equal(A)


# -- watching --------------------------------------------------------------------------------------------------


def test_a_watched_market_is_applied_as_any_other() -> None:
    wires = [watched(seed=5), Wire(seed=5, probe_ms=None).open()]
    for wire in wires:
        for n in range(300):
            wire.venue.change(str((A, B, C)[n % 3].market_id))
        wire.run().wait(30_000)
        assert all(wire.equal(market) for market in (A, B, C))
    assert wires[0].feed.counters.watched >= 300
    assert wires[1].feed.counters.watched == 0


def test_watching_stays_within_its_share_and_takes_turns() -> None:
    wire = Wire(watch=1, watch_share=0.05, probe_ms=None).open()
    seen = set()
    for n in range(6_000):
        wire.venue.change(str((A, B, C)[n % 3].market_id))
        if n % 20 == 0:
            wire.run().wait(100)
            seen |= set(wire.feed._watched)
    wire.run()
    assert len(seen) == 3
    # A thousand are free.
    assert 1_000 <= wire.feed.counters.watched <= 1_000 + 0.05 * wire.feed.counters.changes
    assert all(wire.equal(market) for market in (A, B, C))


def test_a_broken_watched_market_is_watched_no_more() -> None:
    wire = watched()
    wire.venue.put(TICKER, "yes", 5, -9_999_999, true=False)
    outbox_before = len(wire.venue.commands)
    for frame in wire.venue.sent:
        wire.feed.receive(frame, wire.now_ms * 1_000_000)
    wire.venue.sent.clear()
    assert TICKER not in wire.feed._watched
    assert not wire.feed.books[A.market_id].live
    wire.run()
    assert len(wire.venue.commands) == outbox_before + 1
    assert wire.equal(A)
    assert wire.feed.books[A.market_id].live
    wire.feed.lost(now_ms=wire.now_ms, reason="test")
    assert not wire.feed._watched


# -- recordings ------------------------------------------------------------------------------------------------


def judged(path: Path, n_frames: int, *, filtered: bool, misread: bool = False) -> tuple[KalshiFeed, list[str]]:
    """The feed after a recording's first frames, every market watched, and the doubts that arose."""
    feed = KalshiFeed(BookShelf(), passive=True, ignore_gaps=filtered, watch=1_000, watch_share=1_000.0)
    doubts: list[str] = []
    feed._markets._recheck = lambda ticker, _: doubts.append(ticker)
    now_ms = ticked_ms = 0
    for entry in islice(open_recording([path], Venue.KALSHI), n_frames):
        at_ms = entry.recv_ns // 1_000_000 if entry.recv_ns is not None else venue_ms(entry.frame) or 0
        now_ms = max(now_ms, at_ms)
        frame = entry.frame
        if misread and b'"trade"' in frame:
            frame = frame.replace(b'side":"yes"', b'side":"?"').replace(b'side":"no"', b'side":"yes"')
            frame = frame.replace(b'side":"?"', b'side":"no"')
        feed.receive(frame, now_ms * 1_000_000)
        if now_ms - ticked_ms >= 1_000:
            ticked_ms = now_ms
            feed.tick(now_ms=now_ms)
    feed.tick(now_ms=now_ms + 10_000)
    return feed, doubts


GOLD = "recordings/kalshi/ws_gold15m/KXGOLD15M-26AUG102015-15.2026-08-11.ndjson.gz"
NBA = "recordings/kalshi/ws_nba_20260318"


@pytest.mark.parametrize(("name", "filtered", "n_prints"), [(GOLD, True, 400), (NBA, False, 1_500)])
def test_every_recorded_print_has_its_change_and_nothing_is_suspected(
    captures: Path, name: str, filtered: bool, n_prints: int
) -> None:
    feed, doubts = judged(captures / name, 40_000, filtered=filtered)
    assert feed.counters.prints_checked > n_prints
    assert feed.counters.prints_unmatched == feed.counters.clock_back == 0
    assert doubts == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_print_of_the_nba_connection_has_its_change(captures: Path) -> None:
    feed, doubts = judged(captures / NBA, 10_000_000, filtered=False)
    assert feed.counters.prints_checked > 90_000
    assert feed.counters.prints_unmatched == feed.counters.clock_back == len(doubts) == 0


def test_sides_taken_for_one_another_would_be_noticed(captures: Path) -> None:
    feed, doubts = judged(captures / GOLD, 40_000, filtered=True, misread=True)
    assert feed.counters.prints_unmatched > 0.9 * feed.counters.prints_checked > 400
    assert doubts
