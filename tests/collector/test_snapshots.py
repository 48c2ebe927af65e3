from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from overround.book import Book, BookShelf
from overround.collector.gaps import GapLedger
from overround.collector.polling import PolledFeed
from overround.collector.snapshots import ProofBudget, Snapshotter
from overround.market import ErrCode, Integrity, Market, MarketId, MarketStatus, OutcomeId, Venue
from overround.storage import SnapshotBuffer
from overround.storage.buffer import rows_of
from overround.venue import RestBook

M = MarketId("m")


class Rows:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def register(self, market_id: MarketId, outcome_ids: tuple[OutcomeId, ...]) -> int:
        return 7

    def append(self, key: int, ts_recv_ms: int, bids: dict[int, int], asks: dict[int, int], **fields: Any) -> None:
        self.rows.append({"key": key, "ts": ts_recv_ms, "bids": dict(bids), "asks": dict(asks), **fields})


def carrier(book: Book, *, verdict: Integrity = Integrity.VERIFIED, last_recv_ms: int = 0) -> Any:
    feed = SimpleNamespace(
        books={M: book}, last_recv_ns=last_recv_ms * 1_000_000, verdict=lambda market_id, now_ms: verdict
    )
    return SimpleNamespace(feed=feed, down_since_ms=None)


def live_book() -> Book:
    book = Book()
    book.replace({4000: 1}, {6000: 2})
    book.live, book.ts_venue_ms = True, 111
    return book


def snapshotter(rows: Rows, **options: Any) -> Snapshotter:
    return Snapshotter(rows, **{"stale_after_ms": 30_000, "keep_stored": True, **options})


def test_rows_fall_on_a_fixed_rhythm_and_missed_instants_are_skipped() -> None:
    rows, shots = Rows(), None
    shots = snapshotter(rows)
    shots.put(M, (OutcomeId("a"), OutcomeId("b")), carrier(live_book()), interval_ms=1_000, now_ms=10_000)
    first = shots.next_due_ms()
    assert first is not None
    assert 10_000 <= first < 11_000
    assert shots.run_due(first) == 1
    assert shots.run_due(first + 5_500) == 1, "five missed instants become one row"
    assert shots.next_due_ms() == first + 6_000


def test_a_market_without_a_first_book_writes_no_row_and_is_counted() -> None:
    rows = Rows()
    shots = snapshotter(rows)
    shots.put(M, (), carrier(Book()), interval_ms=1_000, now_ms=0)
    shots.run_due(5_000)
    assert (rows.rows, shots.waiting) == ([], 1)


def test_a_quiet_market_on_a_live_connection_is_ok_and_a_silent_connection_is_stale() -> None:
    rows = Rows()
    shots = snapshotter(rows)
    shots.put(M, (), carrier(live_book(), last_recv_ms=0), interval_ms=1_000, now_ms=0)
    shots.run_due(30_000)
    shots.run_due(31_001)
    assert [(row["stale"], row["integrity"]) for row in rows.rows] == [(False, "verified"), (True, "stale")]
    assert (shots.by_status["ok"], shots.by_status["stale"]) == (1, 1)


def test_while_a_repair_runs_rows_repeat_what_was_last_stored() -> None:
    rows, book = Rows(), live_book()
    shots = snapshotter(rows)
    shots.put(M, (), carrier(book, last_recv_ms=1_000), interval_ms=1_000, now_ms=0)
    shots.run_due(1_000)
    book.bids[4100] = 9
    book.seq, book.ts_venue_ms = 2, 222
    book.live, book.err, book.integrity = False, ErrCode.HASH_MISMATCH, Integrity.SUSPECT
    shots.run_due(2_000)
    wrong = rows.rows[-1]
    assert wrong["bids"] == {4000: 1}
    assert (wrong["seq"], wrong["source_ts"], wrong["stale"], wrong["err"], wrong["integrity"]) == (
        1,
        111,
        True,
        "hash_mismatch",
        "suspect",
    )


def test_a_closed_book_writes_one_last_row() -> None:
    rows, book = Rows(), live_book()
    shots = snapshotter(rows, keep_stored=False)
    shots.put(M, (), carrier(book), interval_ms=1_000, now_ms=0)
    book.live, book.err = False, ErrCode.CLOSED
    for now_ms in (1_000, 2_000, 3_000):
        shots.run_due(now_ms)
    assert [row["err"] for row in rows.rows] == ["closed"]


def test_books_are_counted_by_the_word_their_next_row_would_carry() -> None:
    shots = snapshotter(Rows())
    states: dict[str, tuple[Book, int]] = {}
    for name, last_recv_ms in (("proved", 30_000), ("silent", 0), ("wrong", 30_000), ("ended", 30_000)):
        states[name] = (live_book(), last_recv_ms)
        states[name][0].integrity = Integrity.VERIFIED
    states["never"] = (Book(), 30_000)
    wrong, ended = states["wrong"][0], states["ended"][0]
    wrong.live, wrong.err, wrong.integrity = False, ErrCode.GAP, Integrity.GAP
    ended.live, ended.err = False, ErrCode.CLOSED
    for name, (book, last_recv_ms) in states.items():
        held = carrier(book, last_recv_ms=last_recv_ms)
        held.feed.books = {MarketId(name): book}
        shots.put(MarketId(name), (), held, interval_ms=1_000, now_ms=0)
    assert shots.verdicts(40_000) == {"verified": 1, "unverified": 0, "suspect": 0, "stale": 1, "gap": 1}
    shots.drop([MarketId("proved")])
    assert shots.verdicts(40_000)["verified"] == 0


def test_a_long_outage_is_called_venue_down() -> None:
    rows, book = Rows(), live_book()
    book.live, book.err = False, ErrCode.RECONNECTING
    away = carrier(book)
    away.down_since_ms = 0
    shots = snapshotter(rows, keep_stored=False)
    shots.put(M, (), away, interval_ms=1_000, now_ms=0)
    shots.run_due(10_000)
    shots.run_due(40_000)
    assert [row["err"] for row in rows.rows] == ["reconnecting", "venue_down"]


def test_a_dropped_market_and_an_old_interval_write_nothing_more() -> None:
    rows = Rows()
    shots = snapshotter(rows)
    shots.put(M, (), carrier(live_book()), interval_ms=1_000, now_ms=0)
    shots.put(M, (), carrier(live_book()), interval_ms=5_000, now_ms=0)
    shots.run_due(5_000)
    assert len(rows.rows) == 1
    shots.drop([M])
    shots.run_due(50_000)
    assert len(rows.rows) == 1
    assert shots.next_due_ms() is None


def test_gaps_have_bounds_a_first_cause_and_the_repair_that_ended_them() -> None:
    ledger = GapLedger()
    ledger.begin(M, "gap", now_ms=5)
    ledger.begin(M, "reconnecting", now_ms=6)
    assert (ledger.count, ledger.n_open) == (1, 1)
    gap = ledger.end(M, "get_snapshot", now_ms=9)
    assert gap is not None
    assert (gap.cause, gap.start_ms, gap.end_ms, gap.repair) == ("gap", 5, 9, "get_snapshot")
    assert ledger.end(M, "again", now_ms=10) is None


def polled(market_id: str) -> Market:
    return Market(
        market_id=MarketId(market_id),
        outcome_ids=(OutcomeId("yes"), OutcomeId("no")),
        title="",
        close_ts=None,
        open_ts=None,
        status=MarketStatus.ACTIVE,
        tags=(),
        venue=Venue.KALSHI,
    )


def test_a_polled_book_counts_a_change_only_when_it_differs_and_is_never_verified() -> None:
    feed = PolledFeed(BookShelf())
    feed.add([polled("m")], now_ms=0)
    for now_ms in (1, 2):
        feed.rest_book(RestBook(market_id=M, bids={4000: 1}, asks={6000: 1}), now_ms=now_ms)
    book = feed.books[M]
    assert (book.seq, book.live, feed.verdict(M, now_ms=3)) == (1, True, Integrity.UNVERIFIED)
    assert [event.kind for event in feed.events] == ["live"]
    feed.lost(now_ms=4, reason="refused")
    assert (book.live, book.err) == (False, "reconnecting")


@pytest.mark.parametrize("bids", [{6000: 1}, {6100: 1}])
def test_a_crossed_polled_book_is_not_live(bids: dict[int, int]) -> None:
    feed = PolledFeed(BookShelf())
    feed.add([polled("m")], now_ms=0)
    feed.rest_book(RestBook(market_id=M, bids=bids, asks={6000: 1}), now_ms=1)
    assert (feed.books[M].live, feed.books[M].err, feed.counters.crossed) == (False, "crossed", 1)


def test_proofs_yield_to_their_budget_and_the_row_says_so() -> None:
    rows, clock = Rows(), iter(range(0, 10**12, 400_000_000))
    shots = snapshotter(rows, budget=ProofBudget(share=0.1, burst_ns=500_000_000), monotonic_ns=lambda: next(clock))
    shots.put(M, (), carrier(live_book(), last_recv_ms=5_000), interval_ms=1_000, now_ms=0)
    for now_ms in range(1_000, 9_000, 1_000):
        shots.run_due(now_ms)
    verdicts = [row["integrity"] for row in rows.rows]
    assert verdicts[0] == "verified"
    assert "unverified" in verdicts
    assert not any(row["stale"] for row in rows.rows)


def test_a_book_that_failed_its_first_proof_writes_no_row() -> None:
    rows, book = Rows(), live_book()
    shots = snapshotter(rows)
    book.live, book.err, book.integrity = False, ErrCode.HASH_MISMATCH, Integrity.SUSPECT
    shots.put(M, (), carrier(book), interval_ms=1_000, now_ms=0)
    shots.run_due(1_000)
    assert (rows.rows, shots.waiting) == ([], 1)


def test_a_book_that_no_row_can_hold_is_asked_for_anew() -> None:
    book, doubted = live_book(), []
    book.bids[4000] = 1 << 63
    held = carrier(book)
    held.feed.distrust = lambda market_id, now_ms: doubted.append((market_id, now_ms))
    buffer = SnapshotBuffer()
    shots = Snapshotter(buffer, stale_after_ms=30_000, keep_stored=False)
    shots.put(M, (OutcomeId("yes"), OutcomeId("no")), held, interval_ms=1_000, now_ms=0)
    shots.run_due(1_000)
    assert (doubted, shots.rows, shots.waiting, buffer.rows, len(buffer)) == ([(M, 1_000)], 0, 1, 0, 0)
    book.bids[4000] = 1_000_000
    shots.run_due(2_000)
    rows = rows_of(buffer.cut(), venue="kalshi", top_k=50).to_pylist()
    assert [row["best_bid_sz"] for row in rows] == [1.0, 2e-06]
