"""Frames become the books that a tape says they are."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from overround.book import BookShelf
from overround.clock import Clock
from overround.market import Integrity, MarketId, Venue
from overround.replay import OutcomeBook, Rebuilder, Rebuilt, RecordedFrame, open_recording, rebuild, sample_books
from overround.storage import FrameJournal, LakePaths
from overround.testing.clock import ManualClock
from overround.testing.tapes import KalshiTape, PolymarketTape
from overround.venue.kalshi import KalshiFeed

TICKERS = ["KX-A", "KX-B", "KX-C"]


def tape(seed: int = 3, n_frames: int = 400) -> KalshiTape:
    return KalshiTape(random.Random(seed), list(TICKERS)).subscribe().run(n_frames)


def entries(frames: Sequence[tuple[int, str, bytes]], conn: str = "") -> list[RecordedFrame]:
    return [RecordedFrame(ms * 1_000_000, conn, frame) for ms, _, frame in frames]


def exact(levels: list[tuple[float, float]]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(str(px)), Decimal(str(sz))) for px, sz in levels]


def assert_books(outcomes: list[OutcomeBook], kalshi: KalshiTape) -> None:
    assert [(o.market_id, o.outcome_id) for o in outcomes] == [
        (t, side) for t in sorted(kalshi.books) for side in ("yes", "no")
    ]
    for outcome in outcomes:
        own = kalshi.books[outcome.market_id][outcome.outcome_id]
        other = kalshi.books[outcome.market_id]["no" if outcome.outcome_id == "yes" else "yes"]
        assert exact(outcome.bids) == sorted(own.items(), reverse=True)
        assert exact(outcome.asks) == sorted((1 - px, sz) for px, sz in other.items())


def of(rebuilt: Rebuilt, market: str) -> OutcomeBook:
    return next(outcome for outcome in rebuilt.outcomes if outcome.market_id == market)


def test_kalshi_books_are_the_tapes() -> None:
    kalshi = tape()
    rebuilt = rebuild(entries(kalshi.frames), Venue.KALSHI)
    assert_books(rebuilt.outcomes, kalshi)
    assert {outcome.verdict for outcome in rebuilt.outcomes} == {Integrity.VERIFIED}
    assert (rebuilt.frames, rebuilt.gaps, rebuilt.negative_levels, rebuilt.rejected) == (len(kalshi.frames), 0, 0, 0)
    assert not rebuilt.left_out
    for ticker in TICKERS:
        named = [frame for _, name, frame in kalshi.frames if name == ticker]
        changes = [frame for frame in named if b'"sid":1' in frame]
        assert (of(rebuilt, ticker).frames, of(rebuilt, ticker).seq) == (len(named), len(changes))


@pytest.mark.parametrize("hashes", [True, False])
def test_polymarket_books_are_the_tapes(hashes: bool) -> None:
    polymarket = PolymarketTape(random.Random(4), with_hashes=hashes).subscribe().run(80)
    rebuilt = rebuild([RecordedFrame(ms * 1_000_000, "", frame) for ms, frame in polymarket.frames], Venue.POLYMARKET)
    first, second = rebuilt.outcomes
    assert (first.outcome_id, second.outcome_id) == polymarket.tokens
    assert exact(first.bids) == sorted(polymarket.bids.items(), reverse=True)
    assert exact(first.asks) == sorted(polymarket.asks.items())
    assert exact(second.asks) == sorted((1 - px, sz) for px, sz in polymarket.bids.items())
    assert first.hash_checked == second.hash_checked == 81
    if hashes:
        assert (first.hash_matched, second.hash_matched, first.verdict) == (81, 81, Integrity.VERIFIED)
    assert first.ts_ms == polymarket.now_ms


def test_one_missing_frame_is_one_gap_and_the_snapshot_after_it_ends_it() -> None:
    kalshi = tape(n_frames=200)
    lost = next(at for at, (_, _, frame) in enumerate(kalshi.frames) if at > 100 and b'"sid":1' in frame)
    frames = kalshi.frames[:lost] + kalshi.frames[lost + 1 :]
    rebuilt = rebuild(entries(frames), Venue.KALSHI)
    assert rebuilt.gaps == 1
    assert {(outcome.gaps, outcome.verdict) for outcome in rebuilt.outcomes} == {(1, Integrity.GAP)}
    assert set(rebuilt.left_out) == set(TICKERS)

    n_before = len(kalshi.frames)
    for ticker in TICKERS:
        kalshi.snapshot(ticker)
    kalshi.run(50)
    rebuilt = rebuild(entries(frames + kalshi.frames[n_before:]), Venue.KALSHI)
    assert rebuilt.gaps == 1
    assert_books(rebuilt.outcomes, kalshi)
    assert {outcome.verdict for outcome in rebuilt.outcomes} == {Integrity.VERIFIED}


def test_holes_are_passed_over_when_told_so() -> None:
    kalshi = tape()
    only = [frame for frame in kalshi.frames if frame[1] in ("", "KX-B")]
    filtered = rebuild(entries(only), Venue.KALSHI, ignore_gaps=True)
    book = of(filtered, "KX-B")
    assert exact(book.bids) == sorted(kalshi.books["KX-B"]["yes"].items(), reverse=True)
    assert (filtered.gaps, book.gaps, book.verdict) == (0, 0, Integrity.UNVERIFIED)
    assert of(rebuild(entries(only), Venue.KALSHI), "KX-B").verdict is Integrity.GAP


def test_a_change_below_zero_is_counted_for_its_market() -> None:
    kalshi = tape(n_frames=0)
    price = max(kalshi.books["KX-A"]["yes"])
    size = kalshi.books["KX-A"]["yes"][price]
    message = {"market_ticker": "KX-A", "price_dollars": f"{price:.4f}", "delta_fp": f"{-size - 1:.2f}", "side": "yes"}
    frame = {"type": "orderbook_delta", "sid": 1, "seq": 4, "msg": message | {"ts_ms": kalshi.now_ms}}
    kalshi.frames.append((kalshi.now_ms, "KX-A", json.dumps(frame, separators=(",", ":")).encode()))
    rebuilt = rebuild(entries(kalshi.frames), Venue.KALSHI)
    assert rebuilt.negative_levels == 1
    assert of(rebuilt, "KX-A").negative_levels == 1
    assert of(rebuilt, "KX-A").verdict is Integrity.SUSPECT
    assert of(rebuilt, "KX-B").verdict is Integrity.VERIFIED


def test_changes_before_any_snapshot_are_owned_up() -> None:
    kalshi = tape(n_frames=100)
    deltas = [frame for frame in kalshi.frames if b'"type":"orderbook_delta"' in frame[2]]
    rebuilt = rebuild(entries(deltas), Venue.KALSHI)
    assert rebuilt.outcomes == []
    assert sum(rebuilt.bookless.values()) == len(deltas)


def test_a_stop_by_receive_time_includes_its_own_millisecond() -> None:
    kalshi = tape()
    at_ms = kalshi.frames[250][0]
    until = [frame for frame in kalshi.frames if frame[0] <= at_ms]
    assert len(until) > 250
    stopped = rebuild(entries(kalshi.frames), Venue.KALSHI, at_ms=at_ms)
    assert stopped == rebuild(entries(until), Venue.KALSHI)


def test_without_receive_times_the_stop_is_by_venue_time_of_book_frames() -> None:
    kalshi = tape()
    at_ms = kalshi.frames[250][0]
    bare = [RecordedFrame(None, "", frame) for _, _, frame in kalshi.frames]
    # A print told with a later time, before the last changes, must not end the replay.
    late = RecordedFrame(None, "", b'{"type":"trade","sid":3,"seq":1,"msg":{"market_ticker":"KX-A","ts":1890000000}}')
    stopped = rebuild([*bare[:10], late, *bare[10:]], Venue.KALSHI, at_ms=at_ms)
    until = [RecordedFrame(None, "", frame) for ms, _, frame in kalshi.frames if ms <= at_ms]
    assert [o.bids for o in stopped.outcomes] == [o.bids for o in rebuild(until, Venue.KALSHI).outcomes]


def test_a_snapshot_without_any_time_takes_that_of_the_frame_before_it() -> None:
    kalshi = tape(n_frames=100)
    bare = [RecordedFrame(None, "", frame) for _, _, frame in kalshi.frames]
    last_ms = max(ms for ms, ticker, _ in kalshi.frames if ticker == "KX-A")
    kalshi.clear("KX-A")
    closing = RecordedFrame(None, "", kalshi.frames[-1][2])
    book = of(rebuild([*bare, closing], Venue.KALSHI), "KX-A")
    assert (book.bids, book.asks, book.ts_ms) == ([], [], last_ms)


def test_each_book_stops_after_its_own_change() -> None:
    kalshi = tape()
    rebuilt = rebuild(entries(kalshi.frames), Venue.KALSHI, until_seq=40)
    assert {outcome.seq for outcome in rebuilt.outcomes} == {40}
    one = rebuild(entries(kalshi.frames), Venue.KALSHI, until_seq=40, market=MarketId("KX-B"))
    assert one.outcomes == [outcome for outcome in rebuilt.outcomes if outcome.market_id == "KX-B"]
    beyond = rebuild(entries(kalshi.frames), Venue.KALSHI, until_seq=10_000)
    assert_books(beyond.outcomes, kalshi)


def test_a_second_connection_takes_its_markets_over() -> None:
    first, second = tape(seed=1, n_frames=60), tape(seed=2, n_frames=60)
    second.frames = [(ms + 60_000, ticker, frame) for ms, ticker, frame in second.frames]
    rebuilder = Rebuilder(Venue.KALSHI)
    for entry in entries(first.frames, "c0.1"):
        rebuilder.receive(entry)
    before = rebuilder.outcomes(MarketId("KX-A"))[0].seq
    rebuilder.receive(RecordedFrame(first.now_ms * 1_000_000, "c0.1", b"", event="closed"))
    assert rebuilder.outcomes(MarketId("KX-A"))[0].verdict is Integrity.GAP
    for entry in entries(second.frames, "c0.2"):
        rebuilder.receive(entry)
    rebuilt = rebuilder.rebuilt([book for ticker in TICKERS for book in rebuilder.outcomes(MarketId(ticker))])
    assert_books(rebuilt.outcomes, second)
    n_second = sum(ticker == "KX-A" and b'"sid":1' in frame for _, ticker, frame in second.frames)
    assert of(rebuilt, "KX-A").seq == before + n_second


def test_a_market_that_was_given_up_keeps_its_last_book_as_stale() -> None:
    kalshi = tape()
    command = {"id": 5, "cmd": "update_subscription"}
    command["params"] = {"sid": 1, "action": "delete_markets", "market_tickers": ["KX-A"]}
    sent = RecordedFrame(kalshi.now_ms * 1_000_000, "", json.dumps(command).encode(), sent=True)
    rebuilt = rebuild([*entries(kalshi.frames), sent], Venue.KALSHI)
    assert_books(rebuilt.outcomes, kalshi)
    verdicts = {outcome.market_id: outcome.verdict for outcome in rebuilt.outcomes}
    assert verdicts == {"KX-A": Integrity.STALE, "KX-B": Integrity.VERIFIED, "KX-C": Integrity.VERIFIED}


def test_a_polymarket_market_that_was_given_up_keeps_its_hash_counts() -> None:
    polymarket = PolymarketTape(random.Random(4)).subscribe().run(10)
    frames = [RecordedFrame(ms * 1_000_000, "", frame) for ms, frame in polymarket.frames]
    command = json.dumps({"operation": "unsubscribe", "assets_ids": list(polymarket.tokens)}).encode()
    rebuilt = rebuild([*frames, RecordedFrame(polymarket.now_ms * 1_000_000, "", command, sent=True)], Venue.POLYMARKET)
    assert [(o.hash_checked, o.hash_matched, o.verdict) for o in rebuilt.outcomes] == [(11, 11, Integrity.STALE)] * 2


def test_our_journal_rebuilds_the_same_books(tmp_path: Path) -> None:
    kalshi = tape()
    clock: Clock = ManualClock(kalshi.start_ms)
    journal = FrameJournal(LakePaths(tmp_path), Venue.KALSHI, level=3, bucket_s=300, clock=clock)
    journal.mark("c0.1", kalshi.start_ms * 1_000_000, "opened")
    for ms, _, frame in kalshi.frames:
        journal.frame("c0.1", ms * 1_000_000, frame + b"\n", is_json=True)
    journal.close()
    rebuilt = rebuild(open_recording([tmp_path], Venue.KALSHI), Venue.KALSHI)
    assert_books(rebuilt.outcomes, kalshi)
    assert {outcome.verdict for outcome in rebuilt.outcomes} == {Integrity.VERIFIED}


def test_samples_are_the_books_at_each_instant() -> None:
    kalshi = tape()
    samples = list(sample_books(entries(kalshi.frames), KalshiFeed(BookShelf(), passive=True), 250))
    instants = sorted({sample.ts_ms for sample in samples})
    assert len(instants) > 3
    assert all(instant % 250 == 0 for instant in instants)
    for instant in instants:
        until = rebuild(entries(kalshi.frames), Venue.KALSHI, at_ms=instant)
        for sample in (sample for sample in samples if sample.ts_ms == instant):
            book = of(until, sample.market_id)
            assert sample.seq == book.seq
            assert sorted(sample.bids, reverse=True) == [round(px * 10_000) for px, _ in book.bids]
            assert [sample.bids[round(px * 10_000)] for px, _ in book.bids] == [round(sz * 1e6) for _, sz in book.bids]
