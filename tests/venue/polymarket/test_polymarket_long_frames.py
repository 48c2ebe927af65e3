"""Long frames take a shorter road than others; it must lead to the same books."""

from __future__ import annotations

import json
from random import Random

import pytest

from overround.book import BookShelf
from overround.market import MarketId
from overround.testing.tapes import PolymarketTape
from overround.venue.polymarket import PolymarketFeed, feed

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
