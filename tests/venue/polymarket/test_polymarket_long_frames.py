"""Long frames take a shorter road than others; it must lead to the same books."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_polymarket import Scripted, feed_with, send

from overround.book import BookShelf, Side
from overround.market import Integrity, MarketId
from overround.testing.tapes import PolymarketTape
from overround.venue.polymarket import PolymarketFeed, feed
from overround.venue.ports import FeedEventKind

START_NS = 1_790_000_000_000_000_000


def frames_with_books() -> tuple[MarketId, list[bytes]]:
    """Changes with both tokens' whole books after every seventh, some of them odd."""
    tape = PolymarketTape(Random(11)).subscribe()
    found: list[bytes] = []
    for turn in range(60):
        tape.run(7)
        found += [frame for _, frame in tape.frames]
        tape.frames.clear()
        for token in (0, 1) if turn % 2 else (1, 0):
            book = tape._book(token) | {"event_type": "book"}
            if turn % 10 == 3:
                book["last_trade_price"] = "0.5"
            if turn % 10 == 4:
                book["timestamp"] = "soon"
            if turn % 10 == 5:
                book["bids"] = [{"price": float(level["price"]), "size": level["size"]} for level in book["bids"]]
            if turn % 10 == 6:
                book["asks"] = None
            if turn % 10 == 7:
                del book["bids"]
            if turn % 10 == 8:
                book["event_type"] = "price_change"
            found.append(json.dumps(book, separators=(", ", ": ") if turn % 3 else (",", ":")).encode())
    assert sum(len(frame) > feed._LONGEST_CHANGE for frame in found) > 100
    return MarketId(tape.market), found


def test_long_frames_leave_the_books_that_the_complete_road_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    market_id, frames = frames_with_books()
    first, short, complete = (PolymarketFeed(BookShelf(), passive=True) for _ in range(3))
    for frame in frames:
        first.receive(frame, START_NS)  # fills the tables of texts, so that the two that follow meet the same
    for number, frame in enumerate(frames):
        recv_ns = START_NS + number * 1_000_000
        answers = []
        for road, longest in ((short, feed._LONGEST_CHANGE), (complete, 1 << 30)):
            monkeypatch.setattr(feed, "_LONGEST_CHANGE", longest)
            answers.append(road.receive(frame, recv_ns))
        assert answers[0] is answers[1]
        ours, theirs = short.books[market_id], complete.books[market_id]
        for name in ("bids", "asks", "seq", "ts_venue_ms", "live", "err", "best_bid_e4", "best_ask_e4"):
            assert getattr(ours, name) == getattr(theirs, name), (number, name)
    assert short.counters == complete.counters
    assert short.counters.snapshots > 20
    assert [event.detail for event in short.events] == [event.detail for event in complete.events]


def deep(n: int = 1) -> Scripted:
    """A market whose books make long frames."""
    script = Scripted(n)
    script.bids = {px: 1_000_000 * px for px in range(3000, 5000, 100)}
    script.asks = {px: 2_000_000 * px for px in range(5100, 7000, 100)}
    return script


@pytest.mark.parametrize("token", [0, 1])
def test_a_book_that_the_last_change_announced_changes_nothing_and_makes_older_changes_late(token: int) -> None:
    script = deep()
    held = feed_with(script)
    earlier = script.change("BUY", 4800, 7_000_000)
    earlier["timestamp"] = str(script.ts_ms - 1)
    send(held, script, script.change("SELL", 5200, 9_000_000))
    book = held.books[MarketId(script.market_id)]
    book.set_level(Side.BID, 4800, 7_000_000)
    snapshots, duplicates, seq = held.counters.snapshots, held.counters.duplicates, book.seq
    send(held, script, script.book(token))
    assert (held.counters.snapshots, held.counters.duplicates) == (snapshots, duplicates + 1)
    assert book.seq == seq
    assert held.verdict(MarketId(script.market_id), now_ms=script.ts_ms) is Integrity.VERIFIED
    send(held, script, earlier)
    assert held.counters.late == 1
    assert (book.bids, book.asks) == (script.bids, script.asks)


@pytest.mark.parametrize("lost", ["a level too many", "a level too few"])
def test_a_wrong_book_is_put_right_by_the_next_whole_one_although_its_hash_is_known(lost: str) -> None:
    script = deep()
    held = feed_with(script)
    send(held, script, script.change("SELL", 5200, 9_000_000))
    book = held.books[MarketId(script.market_id)]
    book.set_level(Side.BID, 4800 if lost == "a level too few" else 100, 0 if lost == "a level too few" else 5)
    send(held, script, script.book())
    assert (book.bids, book.asks) == (script.bids, script.asks)


def test_a_book_in_doubt_is_put_right_by_the_next_whole_one_though_it_has_as_many_levels() -> None:
    script = deep()
    held = feed_with(script, hash_every=1)
    send(held, script, script.change("SELL", 5100, 9_000_000))
    proven_ms = held.proven_ms(MarketId(script.market_id)) or 0
    script.change("BUY", 4800, 7_000_000)  # lost; the size of a level, not their number
    send(held, script, script.change("SELL", 5200, 9_000_000))
    book = held.books[MarketId(script.market_id)]
    assert book.integrity is Integrity.SUSPECT
    held.events.clear()
    send(held, script, script.book())
    assert (book.bids, book.asks) == (script.bids, script.asks)
    held.tick(now_ms=script.ts_ms + 600)
    assert [event.kind for event in held.events] == [FeedEventKind.GAP, FeedEventKind.REPAIRED]
    assert held.events[0].since_ns == proven_ms * 1_000_000
    assert book.integrity is Integrity.VERIFIED


@given(st.integers(0, 4_000_000_000_000_000))
def test_sizes_read_as_numbers_are_exact(sz_e6: int) -> None:
    script = Scripted()
    held = feed_with(script)
    send(held, script, script.change("BUY", 4700, 1_000_000))  # so that the hot road knows the price
    assert send(held, script, script.change("BUY", 4700, sz_e6))
    assert held.books[MarketId(script.market_id)].bids.get(4700, 0) == sz_e6


@pytest.mark.parametrize("size", ["nan", "inf", "-1", "0.0000001", "1.0000005", "1e400", ""])
def test_an_impossible_size_is_refused(size: str) -> None:
    script = Scripted()
    held = feed_with(script)
    send(held, script, script.change("BUY", 4700, 1_000_000))
    event = script.change("BUY", 4700, 2_000_000)
    for entry in event["price_changes"]:
        entry["size"] = size
    send(held, script, event)
    assert held.counters.rejected == 1
    assert held.books[MarketId(script.market_id)].bids[4700] == 1_000_000


def short_frames(n: int) -> tuple[MarketId, list[bytes]]:
    """Changes with best prices and prints between them, some of them odd or wrong."""
    rng = Random(n)
    tape = PolymarketTape(rng).subscribe()
    prices = ["0.5", "0.05", "0.999", "", "0", "1", "nonsense", "0.12345", None, 0.4]
    found = [frame for _, frame in tape.frames]
    for _ in range(400):
        tape.frames.clear()
        tape.run(1)
        found += [frame for _, frame in tape.frames]
        book = tape._book(0)
        common = {"market": book["market"], "asset_id": book["asset_id"], "timestamp": book["timestamp"]}
        bests = {"best_bid": rng.choice(prices), "best_ask": rng.choice(prices)}
        if rng.random() < 0.7:  # what is true, as the first or the second token sees it
            bests = {"best_bid": book["bids"][-1]["price"], "best_ask": book["asks"][-1]["price"]}
        said = rng.choice(
            [
                {"event_type": "best_bid_ask", **bests, "spread": "0.01"},
                {"event_type": "last_trade_price", "price": rng.choice(prices), "size": "5", "side": "BUY"},
            ]
        )
        for odd in ({"timestamp": "soon"}, {"asset_id": "7"}, {"market": "0x7"}, {"event_type": "else"}, {"price": 1}):
            if rng.random() < 0.04:
                common |= odd
        found.append(json.dumps(common | said).encode())
    return MarketId(tape.market), found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_short_frames_leave_what_the_complete_road_leaves(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    market_id, frames = short_frames(seed)
    short, complete = (PolymarketFeed(BookShelf(), passive=True) for _ in range(2))
    taken = 0
    slow = short._other

    def count_slow(frame: bytes, recv_ns: int) -> bool:
        nonlocal taken
        taken += 1
        return slow(frame, recv_ns)

    for number, frame in enumerate(frames):
        recv_ns = START_NS + number * 250_000_000
        with monkeypatch.context() as patch:
            patch.setattr(PolymarketFeed, "_short", PolymarketFeed._other)
            answer = complete.receive(frame, recv_ns)
        with monkeypatch.context() as patch:
            patch.setattr(PolymarketFeed, "_other", lambda _, frame, recv_ns: count_slow(frame, recv_ns))
            assert short.receive(frame, recv_ns) is answer
        ours, theirs = short._held[market_id], complete._held[market_id]
        assert (ours.claim, ours.trades, ours.newest_ms) == (theirs.claim, theirs.trades, theirs.newest_ms)
        assert ours.book.live is theirs.book.live
    assert short.counters == complete.counters
    assert [event.detail for event in short.events] == [event.detail for event in complete.events]
    assert short.counters.trades > 100
    assert short.counters.rejected > 10
    assert taken < 0.7 * 400  # most short ones took the short road
