"""The Kalshi feed against a scripted venue: numbers, gaps, repair, ends."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import msgspec
import pytest
from kalshi_script import T0, A, B, C, ScriptedVenue, Wire

from overround.book import BookShelf
from overround.market import MarketId
from overround.testing.markets import a_market
from overround.venue.kalshi import KalshiFeed
from overround.venue.kalshi.state import NEXT, Saw, Stage
from overround.venue.ports import Feed, FeedEventKind, RestBook

GAP, LIVE, REPAIRED, RESYNC = FeedEventKind.GAP, FeedEventKind.LIVE, FeedEventKind.REPAIRED, FeedEventKind.RESYNC


def drop(*kinds: str, count: int = 1) -> Any:
    """Lose the next ``count`` frames of the given types."""
    left = [count]

    def tamper(frame: bytes) -> list[bytes]:
        if left[0] and json.loads(frame)["type"] in kinds:
            left[0] -= 1
            return []
        return [frame]

    return tamper


def delta(seq: int, ticker: str = str(A.market_id), sid: int = 1, **msg: Any) -> bytes:
    body = {"market_ticker": ticker, "price_dollars": "0.5000", "delta_fp": "1.00", "side": "yes", "ts_ms": T0, **msg}
    return json.dumps({"type": "orderbook_delta", "sid": sid, "seq": seq, "msg": body}, separators=(",", ":")).encode()


def snapshot(seq: int, ticker: str = str(A.market_id), sid: int = 1, **msg: Any) -> bytes:
    body = {"market_ticker": ticker, "market_id": "u", "yes_dollars_fp": [["0.4000", "5.00"]], **msg}
    return json.dumps(
        {"type": "orderbook_snapshot", "sid": sid, "seq": seq, "msg": body}, separators=(",", ":")
    ).encode()


def listener(**options: Any) -> KalshiFeed:
    return KalshiFeed(BookShelf(), passive=True, **options)


def feed_all(feed: KalshiFeed, *frames: bytes) -> KalshiFeed:
    for number, frame in enumerate(frames):
        assert feed.receive(frame, (T0 + number) * 1_000_000)
    return feed


# -- joining -------------------------------------------------------------------------------------------------


def test_the_feed_is_a_feed() -> None:
    feed: Feed = KalshiFeed(BookShelf())
    assert feed.deadline_ms() is None


def test_the_table_of_stages_is_complete_and_only_a_book_makes_a_market_live() -> None:
    assert set(NEXT) == set(itertools.product(Stage, Saw))
    into_live = {
        (stage, saw) for (stage, saw), after in NEXT.items() if after is Stage.LIVE and stage is not Stage.LIVE
    }
    assert {saw for _, saw in into_live} == {Saw.BOOK}
    assert (Stage.ENDED, Saw.BOOK) not in into_live


def test_markets_are_asked_for_in_one_command_with_the_price_flag() -> None:
    wire = Wire().open()
    first = wire.venue.commands[0]
    assert first["params"] == {
        "channels": ["orderbook_delta"],
        "market_tickers": [str(m.market_id) for m in (A, B, C)],
        "use_yes_price": False,
    }
    assert wire.words() == ["subscribe", "subscribe"]
    assert wire.venue.commands[1]["params"]["channels"] == ["trade"]
    assert wire.live() == [True] * 3
    assert len(wire.events(LIVE)) == 3
    assert wire.feed.counters.snapshots == 3


def test_many_markets_join_by_hundreds_and_one_command_at_a_time() -> None:
    markets = [a_market(n) for n in range(250)]
    venue = ScriptedVenue(random.Random(3), [str(m.market_id) for m in markets])
    feed = KalshiFeed(BookShelf())
    feed.add(markets, now_ms=T0)
    feed.opened(now_ms=T0)
    sizes = []
    while feed.outbox:
        assert len(feed.outbox) == 1
        text = feed.outbox.pop()
        sizes.append(len(json.loads(text)["params"]["market_tickers"]))
        venue.receive(text)
        frames, venue.sent = venue.sent, []
        for place, frame in enumerate(frames):
            assert not feed.outbox, "a command before the last one was answered whole"
            feed.receive(frame, T0 * 1_000_000 + place)
    assert sizes == [100, 100, 50] * 2
    assert all(book.live for book in feed.books.values())


def test_changes_after_the_snapshot_keep_every_book_equal() -> None:
    wire = Wire().open()
    for _ in range(500):
        wire.venue.change(str(wire.venue.rng.choice([A, B, C]).market_id))
        wire.run()
        assert all(wire.equal(m) for m in (A, B, C))
    assert wire.feed.counters.changes == 500
    assert wire.feed.counters.gaps == 0
    for market in (A, B, C):
        assert wire.feed.verdict(market.market_id, now_ms=wire.now_ms) == "verified"
    assert max(book.ts_venue_ms or 0 for book in wire.feed.books.values()) == wire.venue.now_ms


def test_frames_changes_and_prints_are_counted_and_bytes_nearly() -> None:
    wire = Wire().open()
    received = []
    wire.tamper = lambda frame: [received.append(frame) or frame]  # type: ignore[func-returns-value]
    before = wire.feed.counters
    frames, size = before.frames, before.bytes
    for n in range(1, 401):
        wire.venue.change(str(A.market_id))
        if n % 10 == 0:
            wire.venue.send(
                {"type": "trade", **wire.venue.number("trade"), "msg": {"market_ticker": "X", "yes": "0.5000"}}
            )
    wire.run()
    counters = wire.feed.counters
    assert (counters.frames - frames, counters.changes, counters.trades) == (440, 400, 40)
    assert counters.bytes - size == pytest.approx(sum(map(len, received)), rel=0.1)


def test_the_best_prices_are_those_of_the_ladders() -> None:
    wire = Wire(seed=5).open()
    for _ in range(300):
        wire.venue.change(str(A.market_id))
        wire.run()
        book = wire.feed.books[A.market_id]
        assert book.best_bid_e4 == max(book.bids, default=-1)
        assert book.best_ask_e4 == min(book.asks, default=10_001)


def test_every_change_counts_one_in_the_books_own_number() -> None:
    wire = Wire().open()
    before = wire.feed.books[A.market_id].seq
    for _ in range(7):
        wire.venue.put(str(A.market_id), "yes", 1, 100)
    wire.run()
    assert wire.feed.books[A.market_id].seq == before + 7


def test_yes_prices_are_sent_and_read_when_asked_for() -> None:
    feed = KalshiFeed(BookShelf(), passive=True, use_yes_price=True)
    feed_all(feed, snapshot(1, no_dollars_fp=[["0.6000", "7.00"]]), delta(2, side="no", price_dollars="0.6000"))
    assert feed.books[A.market_id].asks == {6_000: 8_000_000}
    active = KalshiFeed(BookShelf(), use_yes_price=True)
    active.add([A], now_ms=T0)
    active.opened(now_ms=T0)
    assert json.loads(active.outbox[0])["params"]["use_yes_price"] is True


# -- gaps ----------------------------------------------------------------------------------------------------


def test_a_lost_frame_is_one_gap_of_all_markets_and_one_repair_step() -> None:
    wire = Wire().open()
    wire.tamper = drop("orderbook_delta")
    wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.feed.counters.gaps == 0, "nobody can know yet"
    wire.venue.change(str(B.market_id))
    wire.run()
    assert wire.feed.counters.gaps == 1
    assert wire.feed.counters.resyncs == 1
    assert wire.feed.counters.repairs == 3
    assert wire.events(GAP) == [("", "gap")]
    assert wire.events(RESYNC) == [("", "resnapshot")]
    assert sorted(wire.events(REPAIRED)) == [(str(m.market_id), "resnapshot") for m in (A, B, C)]
    assert wire.words()[2:] == ["get_snapshot"]
    assert all(wire.equal(m) for m in (A, B, C))
    assert wire.live() == [True] * 3


def test_between_gap_and_snapshot_books_keep_what_they_had_and_take_nothing() -> None:
    wire = Wire().open()
    wire.venue.deaf.add("get_snapshot")
    before = {m.market_id: dict(wire.feed.books[m.market_id].bids) for m in (A, B, C)}
    wire.tamper = drop("orderbook_delta")
    for _ in range(20):
        wire.venue.put(str(A.market_id), "yes", 2, 100)
    wire.run()
    for market_id, book in wire.feed.books.items():
        assert (book.live, book.err, book.integrity) == (False, "gap", "gap")
        assert book.bids == before[market_id]
        assert wire.feed.verdict(market_id, now_ms=wire.now_ms) == "gap"
    assert wire.feed.counters.ignored == 19


def test_acknowledgements_count_so_a_lost_one_is_a_gap() -> None:
    wire = Wire().open()
    wire.tamper = drop("ok")
    wire.feed.remove([C.market_id], now_ms=wire.now_ms)
    wire.run()
    wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.feed.counters.gaps == 1


def test_an_error_with_a_number_fills_its_place() -> None:
    wire = Wire().open()
    wire.venue.error(1, "could not process", **wire.venue.number("orderbook_delta"))
    wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.feed.counters.gaps == 0


def test_a_lost_print_spoils_no_book() -> None:
    wire = Wire().open()
    for seq in (1, 3):
        wire.feed.receive(json.dumps({"type": "trade", "sid": 2, "seq": seq, "msg": {}}).encode(), 1)
    assert wire.feed.counters.trades == 2
    assert wire.feed.counters.gaps_elsewhere == 1
    assert wire.feed.counters.gaps == 0
    assert wire.live() == [True] * 3


def test_a_frame_sent_twice_is_ignored_and_counted() -> None:
    wire = Wire().open()
    wire.tamper = lambda frame: [frame, frame]
    for _ in range(50):
        wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.feed.counters.duplicates == 50
    assert wire.feed.counters.gaps == 0
    assert wire.equal(A)


def test_numbers_that_begin_anew_are_no_duplicates() -> None:
    wire = Wire().open()
    for _ in range(40):
        wire.venue.change(str(A.market_id))
    wire.run()
    wire.venue.subscriptions["orderbook_delta"]["seq"] = 10
    for _ in range(3):
        wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.feed.counters.duplicates == 3
    wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.feed.counters.gaps == 1
    assert wire.equal(A)
    assert wire.live() == [True] * 3


def test_a_second_hole_during_repair_is_mended_too() -> None:
    wire = Wire().open()
    wire.tamper = drop("orderbook_delta")
    wire.venue.change(str(A.market_id))
    wire.venue.change(str(A.market_id))
    outer = wire.tamper
    lost = []

    def lose_one_snapshot(frame: bytes) -> list[bytes]:
        if json.loads(frame)["type"] == "orderbook_snapshot" and not lost:
            lost.append(frame)
            return []
        return outer(frame)

    wire.tamper = lose_one_snapshot
    wire.run().wait(10_000)
    assert lost
    assert wire.feed.counters.gaps == 2
    assert wire.live() == [True] * 3
    assert all(wire.equal(m) for m in (A, B, C))


def test_frames_of_a_subscription_given_up_are_dropped() -> None:
    wire = Wire().open()
    before = dict(wire.feed.books[A.market_id].bids)
    due = wire.venue.subscriptions["orderbook_delta"]["seq"] + 1
    for seq in (due, 99):
        wire.feed.receive(delta(seq, sid=7), 1)
        wire.feed.receive(snapshot(seq, sid=7), 1)
    assert wire.feed.books[A.market_id].bids == before
    assert wire.feed.counters.ignored == 4
    assert wire.feed.counters.gaps == 0


# -- one market wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["yes", "no"])
def test_a_level_below_zero_is_that_markets_trouble_alone(side: str) -> None:
    wire = Wire().open()
    wire.venue.put(str(A.market_id), side, 7, -100_000, true=False)
    wire.venue.deaf.add("get_snapshot")
    wire.run()
    book = wire.feed.books[A.market_id]
    assert (book.live, book.err, book.integrity) == (False, "negative_level", "suspect")
    assert wire.live() == [False, True, True]
    assert wire.events(GAP) == [(str(A.market_id), "negative_level")]
    (gap,) = [event for event in wire.feed.events if event.kind is GAP]
    assert gap.since_ns == book.ts_recv_ns
    assert wire.events(RESYNC) == [(str(A.market_id), "resnapshot")]
    assert wire.feed.counters.negative_levels == 1
    assert wire.feed.counters.gaps == 0
    assert wire.venue.commands[-1]["params"]["market_tickers"] == [A.market_id]


def test_a_pair_crossed_for_an_instant_is_left_alone() -> None:
    wire = Wire().open()
    best_no = max(wire.venue.books[str(A.market_id)]["no"])
    wire.venue.put(str(A.market_id), "yes", 100 - best_no, 100, true=False)
    wire.run()
    assert wire.feed.verdict(A.market_id, now_ms=wire.now_ms) == "suspect"
    wire.venue.put(str(A.market_id), "yes", 100 - best_no, -100, true=False)
    wire.run().wait(5_000)
    assert wire.feed.verdict(A.market_id, now_ms=wire.now_ms) == "verified"
    assert wire.feed.counters.crossed == 0
    assert wire.live() == [True] * 3


@pytest.mark.parametrize("side", ["yes", "no"])
def test_a_pair_that_stays_crossed_is_asked_for_again(side: str) -> None:
    wire = Wire().open()
    other = max(wire.venue.books[str(A.market_id)]["no" if side == "yes" else "yes"])
    wire.venue.put(str(A.market_id), side, 101 - other, 100, true=False)
    wire.run().wait(1_500)
    assert wire.feed.counters.crossed == 1
    assert wire.events(GAP) == [(str(A.market_id), "crossed")]
    assert wire.events(REPAIRED) == [(str(A.market_id), "resnapshot")]
    assert wire.equal(A)


@pytest.mark.parametrize(
    "wrong",
    [
        {"price_dollars": "0.50001"},
        {"price_dollars": "1.5"},
        {"price_dollars": "abc"},
        {"delta_fp": "1.0000001"},
        {"delta_fp": "99999999999999999999.00"},
        {"delta_fp": "1_0.00"},
        {"delta_fp": "--1.00"},
        {"delta_fp": "١.٠٠"},
        {"delta_fp": ""},
        {"side": "maybe"},
        {"side": None},
        {"delta_fp": 5},
    ],
)
def test_a_value_that_does_not_fit_breaks_its_market_until_a_snapshot(wrong: dict[str, Any]) -> None:
    wire = Wire().open()
    number = wire.venue.number("orderbook_delta")
    frame = json.loads(delta(number["seq"], **wrong))
    wire.venue.deaf.add("get_snapshot")
    assert wire.feed.receive(json.dumps(frame, separators=(",", ":")).encode(), wire.now_ms * 1_000_000)
    wire.run()
    assert wire.feed.counters.rejected == 1
    assert wire.live() == [False, True, True]
    assert wire.feed.books[A.market_id].err == "gap"
    assert len(wire.events(FeedEventKind.REJECTED)) == 1
    wire.venue.deaf.clear()
    wire.wait(10_000)
    assert wire.live() == [True] * 3
    assert wire.equal(A)


def test_a_snapshot_that_does_not_read_is_asked_for_again_slowly() -> None:
    wire = Wire()

    def spoil(frame: bytes) -> list[bytes]:
        value = json.loads(frame)
        if value["type"] == "orderbook_snapshot" and value["msg"]["market_ticker"] == A.market_id:
            value["msg"]["yes_dollars_fp"] = [["0.5000", "x"]]
        return [json.dumps(value, separators=(",", ":")).encode()]

    wire.tamper = spoil
    wire.open().wait(60_000)
    asked = wire.words().count("get_snapshot")
    assert 2 <= asked <= 8
    assert wire.live() == [False, True, True]
    assert wire.feed.reconnect_reason is None
    wire.tamper = lambda frame: [frame]
    wire.wait(31_000)
    assert wire.live() == [True] * 3


def test_a_stream_of_unreadable_changes_is_no_storm_of_requests() -> None:
    wire = Wire().open()
    asked_before = len(wire.venue.commands)
    for _ in range(600):
        wire.venue.send(json.loads(delta(wire.venue.number("orderbook_delta")["seq"], delta_fp="x")))
        wire.run().wait(100)
    assert wire.feed.counters.rejected > 2
    assert wire.feed.counters.rejected + wire.feed.counters.ignored == 600
    assert len(wire.venue.commands) - asked_before <= 12
    assert len(wire.events(FeedEventKind.REJECTED)) < 40


def test_a_change_without_its_number_cannot_be_trusted() -> None:
    wire = Wire().open()
    frame = json.loads(delta(1))
    del frame["seq"]
    wire.venue.deaf.add("get_snapshot")
    wire.feed.receive(json.dumps(frame).encode(), wire.now_ms * 1_000_000)
    assert wire.live() == [False, True, True]
    frame = json.loads(delta(1))
    frame["msg"]["ticker"] = frame["msg"].pop("market_ticker")
    del frame["seq"]
    wire.feed.receive(json.dumps(frame).encode(), wire.now_ms * 1_000_000)
    assert wire.live() == [False] * 3


def test_a_book_without_its_number_cannot_be_trusted() -> None:
    wire = Wire().open()
    wire.venue.deaf.add("get_snapshot")
    frame = json.loads(snapshot(1))
    del frame["seq"]
    wire.feed.receive(json.dumps(frame).encode(), wire.now_ms * 1_000_000)
    assert wire.feed.counters.rejected == 1
    assert wire.live() == [False, True, True]


def test_a_cut_book_frame_is_one_gap_and_not_two() -> None:
    wire = Wire().open()
    cut = [False]

    def cutting(frame: bytes) -> list[bytes]:
        if b"orderbook_delta" in frame and not cut[0]:
            cut[0] = True
            return [frame[:120]]
        return [frame]

    wire.tamper = cutting
    for _ in range(5):
        wire.venue.change(str(B.market_id))
    wire.run().wait(5_000)
    assert wire.feed.counters.rejected == 1
    assert wire.feed.counters.gaps == 1
    assert wire.live() == [True] * 3
    assert all(wire.equal(m) for m in (A, B, C))


def test_an_unreadable_frame_excuses_no_later_hole() -> None:
    wire = Wire().open()
    wire.feed.receive(b'{"type":"orderbook_de', wire.now_ms * 1_000_000)
    wire.run()
    assert wire.feed.counters.gaps == 1
    wire.tamper = drop("orderbook_delta")
    for _ in range(3):
        wire.venue.change(str(A.market_id))
    wire.run().wait(5_000)
    assert wire.feed.counters.gaps == 2
    assert wire.equal(A)


def test_an_unknown_message_on_the_books_own_sid_is_distrusted() -> None:
    wire = Wire().open()
    wire.venue.deaf.add("get_snapshot")
    wire.venue.send(
        {"type": "orderbook_patch", **wire.venue.number("orderbook_delta"), "msg": {"market_ticker": str(B.market_id)}}
    )
    wire.venue.send({"type": "notice", **wire.venue.number("orderbook_delta"), "msg": {"text": "hello"}})
    wire.run()
    assert wire.feed.counters.unknown == {"orderbook_patch": 1, "notice": 1}
    assert wire.live() == [True, False, True]


# -- the repair ladder -----------------------------------------------------------------------------------------


def broken(wire: Wire) -> Wire:
    wire.tamper = drop("orderbook_delta")
    wire.venue.change(str(A.market_id))
    wire.venue.change(str(A.market_id))
    return wire.run()


def test_without_an_answer_each_step_is_followed_by_the_next_after_two_seconds() -> None:
    wire = Wire().open()
    wire.venue.deaf |= {"get_snapshot"}
    broken(wire)
    assert wire.events(RESYNC)[-1:] == [("", "resnapshot")]
    wire.wait(1_999)
    assert len(wire.events(RESYNC)) == 1
    wire.wait(1)
    assert wire.words()[-2:] == ["delete_markets", "add_markets"]
    assert wire.events(RESYNC)[-1:] == [("", "resubscribe")]
    assert wire.live() == [True] * 3
    assert {detail for _, detail in wire.events(REPAIRED)} == {"resubscribe"}


def test_the_ladder_ends_in_a_new_connection() -> None:
    wire = Wire().open()
    wire.venue.deaf |= {"get_snapshot", "delete_markets"}
    wire.venue.forgetful |= {str(A.market_id)}
    broken(wire)
    started = wire.now_ms
    while wire.feed.reconnect_reason is None and wire.now_ms < started + 60_000:
        wire.wait(500)
    assert [detail for _, detail in wire.events(RESYNC)] == ["resnapshot", "resubscribe", "renew", "reconnect"]
    assert wire.now_ms - started <= 8_500
    wire.venue.deaf.clear()
    wire.venue.forgetful.clear()
    wire.reopen()
    assert wire.feed.reconnect_reason is None
    assert wire.live() == [True] * 3
    assert wire.events(REPAIRED)[-1][1] in {"reconnect", "renew"}
    assert all(wire.equal(m) for m in (A, B, C))


def test_a_missing_first_book_is_asked_for() -> None:
    wire = Wire()
    wire.venue.forgetful.add(str(B.market_id))
    wire.open()
    wire.venue.forgetful.clear()
    wire.wait(2_500)
    assert "get_snapshot" in wire.words()
    assert wire.live() == [True] * 3


def test_a_venue_that_answers_nothing_is_given_up() -> None:
    wire = Wire()
    wire.venue.deaf |= {"subscribe"}
    wire.open().wait(6_500)
    assert wire.feed.reconnect_reason
    assert wire.feed.deadline_ms() is None
    assert 2 <= len(wire.venue.commands) <= 4


def test_silence_is_probed_and_a_dead_connection_given_up() -> None:
    wire = Wire(probe_ms=60_000).open()
    wire.wait(59_000)
    assert "get_snapshot" not in wire.words()
    before = [book.seq for book in wire.feed.books.values()]
    wire.wait(2_000)
    assert wire.words()[-1] == "get_snapshot"
    assert wire.live() == [True] * 3
    assert [book.seq for book in wire.feed.books.values()] == before, "an equal book is no change"
    assert wire.feed.counters.resyncs == wire.feed.counters.best_mismatches == 0
    wire.venue.deaf.add("get_snapshot")
    wire.wait(63_000)
    assert "silent" in (wire.feed.reconnect_reason or "")


# -- rotation --------------------------------------------------------------------------------------------------


def test_rotation_adds_first_and_lets_go_after() -> None:
    wire = Wire(channels=("orderbook_delta",))
    wire.feed.remove([C.market_id], now_ms=T0)
    wire.open()
    wire.feed.add([C], now_ms=wire.now_ms)
    wire.feed.remove([A.market_id], now_ms=wire.now_ms)
    wire.run()
    assert wire.words() == ["subscribe", "add_markets", "delete_markets"]
    assert list(wire.feed.books) == [B.market_id, C.market_id]
    assert wire.venue.subscriptions["orderbook_delta"]["markets"].keys() == {B.market_id, C.market_id}
    assert wire.feed.counters.gaps == 0


def test_prints_follow_the_books_markets() -> None:
    wire = Wire().open()
    wire.feed.remove([A.market_id], now_ms=wire.now_ms)
    wire.run()
    for channel in ("orderbook_delta", "trade"):
        assert wire.venue.subscriptions[channel]["markets"].keys() == {B.market_id, C.market_id}


def test_when_nothing_is_wanted_nothing_stays_subscribed() -> None:
    wire = Wire().open()
    wire.feed.remove([m.market_id for m in (A, B, C)], now_ms=wire.now_ms)
    wire.run()
    assert wire.venue.subscriptions == {}
    assert not wire.feed.books
    wire.feed.add([B], now_ms=wire.now_ms)
    wire.run()
    assert wire.equal(B)
    assert wire.live() == [True]


def test_a_market_taken_back_before_it_left_gets_a_fresh_book_and_keeps_its_count() -> None:
    wire = Wire().open()
    seq = wire.feed.books[A.market_id].seq
    wire.feed.remove([A.market_id], now_ms=wire.now_ms)
    wire.feed.add([A], now_ms=wire.now_ms)
    wire.run()
    assert wire.equal(A)
    assert wire.feed.books[A.market_id].live
    assert wire.feed.books[A.market_id].seq > seq


def test_changes_of_a_market_that_left_are_ignored() -> None:
    wire = Wire().open()
    wire.venue.deaf.add("delete_markets")
    wire.feed.remove([A.market_id], now_ms=wire.now_ms)
    wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.feed.counters.ignored == 1
    assert A.market_id not in wire.feed.books


# -- ends and errors -------------------------------------------------------------------------------------------


def closing(wire: Wire, close_ts: int) -> Wire:
    wire.feed.add([msgspec.structs.replace(A, close_ts=close_ts)], now_ms=wire.now_ms)
    return wire


def test_a_book_ends_at_its_close_time_by_our_own_timer() -> None:
    wire = closing(Wire(), T0 + 10_000).open()
    assert wire.feed.deadline_ms() == T0 + 10_000
    wire.wait(10_000)
    book = wire.feed.books[A.market_id]
    assert (book.live, book.err) == (False, "closed")
    assert book.bids, "the last content stays"
    assert wire.events(FeedEventKind.CLOSED) == [(str(A.market_id), "closed")]
    assert wire.live() == [False, True, True]


def test_the_verdict_ends_a_book_even_if_nobody_ticked() -> None:
    wire = closing(Wire(), T0 + 10_000).open()
    assert wire.feed.verdict(A.market_id, now_ms=T0 + 9_999) == "verified"
    assert wire.feed.verdict(A.market_id, now_ms=T0 + 10_000) == "unverified"
    assert wire.feed.books[A.market_id].err == "closed"


def test_a_market_that_the_rotation_visits_again_and_again_keeps_one_timer() -> None:
    feed = KalshiFeed(BookShelf())
    far = msgspec.structs.replace(A, close_ts=T0 + 30 * 86_400_000)
    for visit in range(50):
        feed.add([far], now_ms=T0 + visit)
        feed.remove([far.market_id], now_ms=T0 + visit)
    assert len(feed._markets._closes) == 1


def test_the_empty_snapshot_at_close_ends_the_book_and_empties_it() -> None:
    wire = closing(Wire(), T0 + 10_000).open()
    wire.now_ms = T0 + 9_500
    wire.venue.books[str(A.market_id)] = {"yes": {}, "no": {}}
    wire.venue.snapshot(str(A.market_id))
    wire.run()
    book = wire.feed.books[A.market_id]
    assert (book.live, book.err, book.bids, book.asks) == (False, "closed", {}, {})


def test_an_empty_snapshot_long_before_the_close_is_an_empty_book() -> None:
    wire = closing(Wire(), T0 + 10_000_000).open()
    wire.venue.books[str(A.market_id)] = {"yes": {}, "no": {}}
    wire.venue.snapshot(str(A.market_id))
    wire.run()
    book = wire.feed.books[A.market_id]
    assert (book.live, book.bids, book.asks) == (True, {}, {})


def test_a_market_that_trades_past_its_close_is_taken_up_again() -> None:
    wire = closing(Wire(), T0 + 10_000).open()
    wire.wait(10_000)
    wire.venue.now_ms = T0 + 60_000
    wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.equal(A)
    assert wire.live() == [True] * 3


@pytest.mark.parametrize(
    ("ts", "taken_up"), [("2036-01-01T00:00:00Z", True), ("2016-01-01T00:00:00Z", False), ("x", False)]
)
def test_only_a_time_after_the_close_takes_a_market_up_again(ts: str, taken_up: bool) -> None:
    wire = closing(Wire(), T0 + 10_000).open()
    wire.wait(10_000)
    value = json.loads(delta(wire.venue.number("orderbook_delta")["seq"], ts=ts))
    del value["msg"]["ts_ms"]
    wire.feed.receive(json.dumps(value).encode(), wire.now_ms * 1_000_000)
    wire.run()
    assert wire.feed.books[A.market_id].live is taken_up


def test_a_close_time_that_has_passed_says_nothing() -> None:
    wire = closing(Wire(), T0 - 1).open().wait(5_000)
    assert wire.live() == [True] * 3


def test_a_market_the_venue_does_not_know_never_has_a_book() -> None:
    wire = Wire()
    del wire.venue.books[str(C.market_id)]
    wire.open().wait(20_000)
    assert wire.events(FeedEventKind.CLOSED) == [(str(C.market_id), "unknown ticker")]
    assert not wire.feed.books[C.market_id].had_book
    assert wire.live() == [True, True, False]
    assert wire.words() == ["subscribe", "subscribe"]


@pytest.mark.parametrize("code", [10, 25])
def test_a_subscription_that_ends_is_asked_for_anew(code: int) -> None:
    wire = Wire().open()
    sid = wire.venue.subscriptions["orderbook_delta"]["sid"]
    wire.venue.error(code, "ended", **wire.venue.number("orderbook_delta"))
    del wire.venue.subscriptions["orderbook_delta"]
    wire.run()
    assert wire.live() == [False] * 3
    assert {book.err for book in wire.feed.books.values()} == {"gap"}
    assert wire.feed.counters.gaps == 1
    wire.wait(1_500)
    assert wire.live() == [True] * 3
    assert wire.venue.subscriptions["orderbook_delta"]["sid"] != sid
    assert all(wire.equal(m) for m in (A, B, C))
    wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.equal(A)


def test_too_many_commands_are_followed_by_patience() -> None:
    wire = Wire()
    wire.venue.deaf.add("subscribe")
    wire.open()
    sent_ms = []
    for _ in range(4):
        before = len(wire.venue.commands)
        wire.venue.error(27, "rate", id=wire.venue.commands[-1]["id"])
        wire.run()
        assert len(wire.venue.commands) == before
        while len(wire.venue.commands) == before:
            wire.wait(100)
        sent_ms.append(wire.now_ms)
    waits = [b - a for a, b in itertools.pairwise([T0, *sent_ms])]
    assert waits == sorted(waits)
    assert waits[0] >= 900
    assert waits[-1] >= 7_900


def test_missing_authentication_wants_a_new_connection() -> None:
    wire = Wire()
    wire.venue.deaf.add("subscribe")
    wire.open()
    wire.venue.error(9, "Authentication required", id=1)
    wire.run()
    assert "authentication" in (wire.feed.reconnect_reason or "")


def test_a_sid_the_venue_does_not_know_is_replaced() -> None:
    wire = Wire().open()
    del wire.venue.subscriptions["orderbook_delta"]
    wire.venue.sent.clear()
    wire.feed.add([a_market(9)], now_ms=wire.now_ms)
    wire.venue.books["KXTEST-00009"] = {"yes": {5: 100}, "no": {}}
    wire.run().wait(1_000)
    assert wire.live() == [True] * 4


def test_a_channel_the_venue_does_not_know_is_asked_for_once() -> None:
    wire = Wire(channels=("orderbook_delta", "trade"))
    wire.venue.deaf.add("subscribe")
    wire.feed.opened(now_ms=T0)
    wire.venue.deaf.clear()
    wire.venue.receive(wire.feed.outbox.pop())
    for frame in wire.venue.sent:
        wire.feed.receive(frame, T0 * 1_000_000)
    wire.venue.sent.clear()
    refused = json.loads(wire.feed.outbox.pop())
    wire.venue.error(8, "Unknown channel name", id=refused["id"])
    wire.run().wait(30_000)
    assert [c["params"]["channels"] for c in wire.venue.commands] == [["orderbook_delta"]]
    assert wire.events(FeedEventKind.REFUSED) == [("", "8 Unknown channel name")]
    assert wire.live() == [True] * 3


def test_a_market_refused_for_lack_of_room_is_named_and_not_asked_again() -> None:
    wire = Wire()
    wire.venue.deaf.add("subscribe")
    wire.feed.opened(now_ms=T0)
    number = json.loads(wire.feed.outbox.pop())["id"]
    wire.venue.deaf.clear()
    wire.venue.error(26, "Market limit exceeded", id=number, market_ticker=str(C.market_id))
    wire.run().wait(10_000)
    assert wire.events(FeedEventKind.REFUSED) == [(str(C.market_id), "26 Market limit exceeded")]
    assert wire.live() == [True, True, False]
    assert all(str(C.market_id) not in c["params"]["market_tickers"] for c in wire.venue.commands)


def test_a_lost_connection_marks_every_book_until_its_own_snapshot() -> None:
    wire = Wire().open()
    before = dict(wire.feed.books[A.market_id].bids)
    wire.feed.lost(now_ms=wire.now_ms, reason="closed")
    for book in wire.feed.books.values():
        assert (book.live, book.err, book.integrity) == (False, "reconnecting", "gap")
    assert wire.feed.books[A.market_id].bids == before
    assert wire.feed.deadline_ms() is None
    wire.venue.change(str(A.market_id))
    wire.venue.connect()
    wire.venue.sent.clear()
    wire.now_ms += 700
    wire.open()
    assert wire.live() == [True] * 3
    assert all(wire.equal(m) for m in (A, B, C))
    assert [(e.detail, e.took_ms) for e in wire.feed.events if e.kind is REPAIRED] == [("reconnect", 700)] * 3
    assert wire.feed.counters.gaps == 0


def test_commands_not_yet_sent_die_with_the_connection() -> None:
    feed = KalshiFeed(BookShelf())
    feed.add([A], now_ms=T0)
    feed.opened(now_ms=T0)
    feed.lost(now_ms=T0, reason="closed")
    assert not feed.outbox
    feed.add([B], now_ms=T0)
    assert not feed.outbox


# -- the other channels ----------------------------------------------------------------------------------------


def lifecycle(wire: Wire, event_type: str, **fields: Any) -> Wire:
    msg = {"market_ticker": str(A.market_id), "event_type": event_type, **fields}
    wire.venue.send({"type": "market_lifecycle_v2", **wire.venue.number("market_lifecycle_v2"), "msg": msg})
    return wire.run()


def test_lifecycle_reports_become_events() -> None:
    wire = Wire(channels=("orderbook_delta", "market_lifecycle_v2")).open()
    assert wire.venue.commands[1]["params"] == {"channels": ["market_lifecycle_v2"]}
    lifecycle(wire, "created", open_ts=1, close_ts=2, additional_metadata={"name": "x"})
    lifecycle(wire, "price_level_structure_updated", price_level_structure="deci_cent")
    lifecycle(wire, "metadata_updated", yes_sub_title="above")
    assert wire.events(FeedEventKind.LISTED) == [(str(A.market_id), "")]
    assert wire.events(FeedEventKind.TICK) == [(str(A.market_id), "deci_cent")]
    lifecycle(wire, "determined", result="yes", settlement_value="1.0000", determination_ts=5)
    lifecycle(wire, "settled", settled_ts=6)
    assert wire.events(FeedEventKind.RESOLVED) == [(str(A.market_id), "yes")]
    assert wire.events(FeedEventKind.CLOSED) == [(str(A.market_id), "determined")]
    assert wire.feed.books[A.market_id].err == "closed"
    assert wire.feed.counters.rejected == 0


def test_a_moved_close_time_moves_the_timer() -> None:
    wire = closing(Wire(channels=("orderbook_delta", "market_lifecycle_v2")), T0 + 10_000).open()
    lifecycle(wire, "close_date_updated", close_ts=(T0 + 20_000) // 1000)
    wire.wait(15_000)
    assert wire.live() == [True] * 3
    wire.wait(5_000)
    assert wire.live() == [False, True, True]
    lifecycle(wire, "close_date_updated", close_ts=(T0 + 90_000) // 1000)
    assert wire.live() == [True] * 3


def test_a_paused_market_is_stale_until_it_is_activated() -> None:
    wire = Wire(channels=("orderbook_delta", "market_lifecycle_v2")).open()
    lifecycle(wire, "deactivated", is_deactivated=True)
    book = wire.feed.books[A.market_id]
    assert (book.live, book.err, book.integrity) == (False, "venue_down", "stale")
    wire.wait(60_000)
    assert not book.live
    wire.venue.books[str(A.market_id)] = {"yes": {}, "no": {}}
    lifecycle(wire, "activated", is_deactivated=False)
    assert book.live
    assert book.bids == {}


def test_ticker_frames_are_read_and_change_no_book() -> None:
    wire = Wire(channels=("orderbook_delta", "ticker")).open()
    sid = wire.venue.subscriptions["ticker"]["sid"]
    wire.venue.send({"type": "ticker", "sid": sid, "msg": {"market_ticker": str(A.market_id), "ts": 1, "ts_ms": 1000}})
    wire.run()
    assert wire.feed.counters.rejected == 0
    wire.venue.send({"type": "ticker", "sid": sid, "msg": {"market_ticker": 5}})
    wire.run()
    assert wire.feed.counters.rejected == 1
    assert wire.live() == [True] * 3


def test_a_rest_book_is_compared_and_never_taken() -> None:
    wire = Wire().open()
    book = wire.feed.books[A.market_id]
    before = (dict(book.bids), dict(book.asks), book.seq)
    wire.feed.rest_book(RestBook(market_id=A.market_id, bids=dict(book.bids), asks=dict(book.asks)), now_ms=T0)
    assert wire.feed.counters.best_mismatches == 0
    wire.feed.rest_book(RestBook(market_id=A.market_id, bids={100: 1}, asks={}), now_ms=T0)
    assert wire.feed.counters.best_mismatches == 1
    assert (book.bids, book.asks, book.seq) == before


# -- replay ----------------------------------------------------------------------------------------------------


def test_a_listener_takes_any_market_and_any_sid_and_says_nothing() -> None:
    feed = feed_all(listener(), snapshot(5, "X", sid=3), delta(6, "X", sid=3), snapshot(1, "Y", sid=9))
    assert set(feed.books) == {"X", "Y"}
    assert all(book.live for book in feed.books.values())
    assert feed.books["X"].bids == {4_000: 5_000_000, 5_000: 1_000_000}  # type: ignore[index]
    assert not feed.outbox
    assert feed.deadline_ms() is None


def test_a_recording_without_an_opening_snapshot_has_no_live_book() -> None:
    feed = feed_all(listener(), *(delta(seq, "X") for seq in range(10, 20)))
    book = feed.books["X"]  # type: ignore[index]
    assert (book.live, book.had_book, book.err, book.integrity) == (False, False, "gap", "gap")
    assert book.bids == {}
    assert feed.counters.ignored == 10
    feed_all(feed, snapshot(20, "X"))
    assert book.live
    assert feed.verdict("X", now_ms=T0) == "verified"  # type: ignore[arg-type]


def test_in_replay_a_hole_freezes_every_market_until_its_next_snapshot() -> None:
    feed = feed_all(listener(), snapshot(1, "X"), snapshot(2, "Y"), delta(3, "X"), delta(5, "X"), delta(6, "Y"))
    x, y = feed.books["X"], feed.books["Y"]  # type: ignore[index]
    assert feed.counters.gaps == 1
    assert (x.live, y.live) == (False, False)
    assert x.bids == {4_000: 5_000_000, 5_000: 1_000_000}
    feed_all(feed, snapshot(7, "Y"), delta(8, "Y"))
    assert (x.live, y.live) == (False, True)
    assert feed.counters.repairs == 1


def test_holes_mean_nothing_when_told_so_and_nothing_is_verified_then() -> None:
    feed = feed_all(listener(ignore_gaps=True), snapshot(1, "X"), delta(30, "X"), delta(31, "X"), delta(77, "X"))
    assert feed.books["X"].bids[5_000] == 3_000_000  # type: ignore[index]
    assert feed.counters.gaps == 0
    assert feed.counters.changes == 3
    assert feed.verdict("X", now_ms=T0) == "unverified"  # type: ignore[arg-type]


@pytest.mark.parametrize("ignore_gaps", [False, True])
def test_a_recorders_reconnect_shows_by_its_numbers(ignore_gaps: bool) -> None:
    feed = listener(ignore_gaps=ignore_gaps)
    feed_all(feed, snapshot(9_000, "X"), snapshot(9_001, "Y"), delta(9_002, "X"))
    feed_all(feed, snapshot(22, "X", yes_dollars_fp=[["0.1000", "1.00"]]), delta(23, "X"))
    x, y = feed.books["X"], feed.books["Y"]  # type: ignore[index]
    assert x.live
    assert x.bids == {1_000: 1_000_000, 5_000: 1_000_000}
    assert not y.live


def test_a_second_subscription_in_a_recording_begins_its_numbers_anew() -> None:
    head = json.dumps({"type": "subscribed", "id": 1, "msg": {"channel": "orderbook_delta", "sid": 1}}).encode()
    feed = feed_all(listener(), head, snapshot(1, "X"), delta(2, "X"), head)
    assert not feed.books["X"].live  # type: ignore[index]
    feed_all(feed, snapshot(1, "X"), delta(2, "X"))
    assert feed.books["X"].live  # type: ignore[index]
    assert feed.counters.duplicates == 0


def test_a_recording_without_sids_is_one_subscription() -> None:
    frames = [snapshot(1, "X"), delta(2, "X"), delta(3, "X")]
    stripped = [frame.replace(b'"sid":1,', b"") for frame in frames]
    feed = feed_all(listener(), *stripped)
    assert feed.books["X"].bids[5_000] == 2_000_000  # type: ignore[index]


def test_opened_and_lost_divide_a_replay_into_connections() -> None:
    feed = feed_all(listener(), snapshot(1, "X"), delta(2, "X"))
    feed.opened(now_ms=T0)
    assert feed.books["X"].err == "reconnecting"  # type: ignore[index]
    feed_all(feed, snapshot(1, "X"), delta(2, "X"))
    assert feed.books["X"].live  # type: ignore[index]
    assert feed.counters.gaps == 0


# -- spelling --------------------------------------------------------------------------------------------------


def test_key_order_and_spacing_do_not_matter() -> None:
    value = json.loads(delta(2, "X"))
    spellings = [
        json.dumps(value).encode(),
        json.dumps({"msg": value["msg"], "seq": 3, "sid": 1, "type": "orderbook_delta"}).encode(),
        json.dumps(
            {"sid": 1, "seq": 4, "msg": dict(reversed(value["msg"].items())), "type": "orderbook_delta"}, indent=1
        ).encode(),
        delta(5, "X") + b"\n",
        delta(6, "X", price_dollars="0.5", delta_fp="1"),
    ]
    feed = feed_all(listener(), snapshot(1, "X"), *spellings)
    assert feed.books["X"].bids[5_000] == 5_000_000  # type: ignore[index]
    assert feed.counters.gaps == feed.counters.rejected == 0


def test_a_byte_that_looks_like_a_change_is_no_proof_of_one() -> None:
    value = {"type": "orderbook_dummy", "sid": 1, "seq": 2, "msg": json.loads(delta(2, "X"))["msg"]}
    feed = feed_all(listener(), snapshot(1, "X"), json.dumps(value, separators=(",", ":")).encode())
    assert feed.counters.changes == 0
    assert feed.counters.unknown == {"orderbook_dummy": 1}
    assert not feed.books["X"].live  # type: ignore[index]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ({"ts_ms": 1_785_930_336_564, "ts": "2020-01-01T00:00:00Z"}, 1_785_930_336_564),
        ({"ts": "2026-03-18T19:36:07.903563Z"}, 1_773_862_567_903),
        ({"ts": "2026-03-18T19:36:07.9Z"}, 1_773_862_567_900),
        ({"ts": "2026-03-18T19:36:07Z"}, 1_773_862_567_000),
        ({"ts": "2026-03-18T21:36:07.903+02:00"}, 1_773_862_567_903),
        ({"ts": 1_773_862_567}, 1_773_862_567_000),
        ({"ts": "yesterday"}, None),
        ({}, None),
    ],
)
def test_venue_time_is_read_from_whatever_carries_it(time: dict[str, Any], expected: int | None) -> None:
    value = json.loads(delta(2, "X"))
    del value["msg"]["ts_ms"]
    feed = feed_all(listener(), snapshot(1, "X"))
    for seq in (2, 3):
        value["seq"], value["msg"] = seq, {**value["msg"], **time}
        feed.receive(json.dumps(value, separators=(",", ":")).encode(), 9)
        assert feed.books["X"].ts_venue_ms == expected  # type: ignore[index]
        assert feed.books["X"].ts_recv_ns == 9  # type: ignore[index]
    assert feed.counters.changes == 2


def test_a_snapshot_takes_the_sending_time_if_it_has_no_other() -> None:
    value = json.loads(snapshot(1, "X")) | {"sending_ts_ms": 1_669_149_841_234}
    feed = feed_all(listener(), json.dumps(value).encode())
    assert feed.books["X"].ts_venue_ms == 1_669_149_841_234  # type: ignore[index]
    feed_all(feed, snapshot(2, "X"))
    assert feed.books["X"].ts_venue_ms is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("frame", "is_json", "heartbeats", "rejected"),
    [
        (b"", False, 1, 0),
        (b"\n", False, 1, 0),
        (b"heartbeat", False, 1, 0),
        (b"PONG", False, 1, 0),
        (b"<html>busy</html>", False, 0, 1),
        (b"\xff\xfe", False, 0, 1),
        (b'{"type":"orderbook_delta","sid":1,"se', False, 0, 1),
        (b"[" * 5_000, False, 0, 1),
        (b"[1,2,3]", True, 0, 1),
        (b'{"type":5,"sid":"x"}', True, 0, 1),
        (b'{"hello":"world"}', True, 0, 0),
    ],
)
def test_whatever_comes_is_counted_and_told_apart_from_json(
    frame: bytes, is_json: bool, heartbeats: int, rejected: int
) -> None:
    feed = listener()
    assert feed.receive(frame, 1) is is_json
    assert (feed.counters.heartbeats, feed.counters.rejected) == (heartbeats, rejected)
    assert (feed.counters.frames, feed.counters.bytes) == (1, len(frame))
    assert feed.last_recv_ns == 1


def test_unknown_kinds_are_counted_by_name_and_names_are_bounded() -> None:
    feed = listener()
    for number in range(300):
        feed.receive(json.dumps({"type": f"kind{number}", "msg": {}}).encode(), 1)
        feed.receive(json.dumps({"type": "kind0", "msg": {}}).encode(), 1)
    assert len(feed.counters.unknown) == 100
    assert feed.counters.unknown["kind0"] == 301
    assert feed.counters.frames == 600


def test_only_its_own_kind_of_book_is_taken_from_a_shelf() -> None:
    shelf = BookShelf()
    shelf.open(A.market_id)
    with pytest.raises(TypeError, match="another feed"):
        KalshiFeed(shelf).add([A], now_ms=T0)


def test_the_first_channel_is_the_book() -> None:
    with pytest.raises(ValueError, match="orderbook_delta"):
        KalshiFeed(BookShelf(), channels=("trade",))


# -- what is rarely seen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1, 18])
def test_a_command_with_an_unknown_outcome_is_tried_again(code: int) -> None:
    wire = Wire()
    wire.venue.deaf.add("subscribe")
    wire.open()
    wire.venue.deaf.clear()
    wire.venue.error(code, "could not process", id=1)
    wire.run()
    assert wire.words()[:2] == ["subscribe", "subscribe"]
    assert wire.live() == [True] * 3


def test_a_venue_that_refuses_snapshots_is_asked_in_other_words() -> None:
    wire = Wire().open()
    wire.venue.deaf.add("get_snapshot")
    broken(wire)
    wire.venue.error(13, "Unsupported action", id=wire.venue.commands[-1]["id"])
    wire.run()
    assert wire.words()[-2:] == ["delete_markets", "add_markets"]
    assert wire.live() == [True] * 3


def test_refused_deletions_are_taken_as_done() -> None:
    wire = Wire().open()
    wire.venue.deaf.add("delete_markets")
    wire.feed.remove([A.market_id], now_ms=wire.now_ms)
    wire.run()
    for _ in range(2):
        wire.venue.error(11, "Invalid parameter", id=wire.venue.commands[-1]["id"])
        wire.run()
    asked = len(wire.venue.commands)
    wire.wait(20_000)
    assert len(wire.venue.commands) == asked
    assert wire.live() == [True] * 2


def test_a_whole_command_refused_names_each_of_its_markets() -> None:
    wire = Wire()
    wire.venue.deaf.add("subscribe")
    wire.open()
    wire.venue.error(26, "Market limit exceeded", id=1)
    wire.run().wait(10_000)
    named = {market for market, _ in wire.events(FeedEventKind.REFUSED)}
    assert named == {"", *(str(m.market_id) for m in (A, B, C))}
    assert wire.words() == ["subscribe"]


def test_a_lost_acknowledgement_is_no_reason_to_ask_for_a_book_that_came() -> None:
    wire = Wire().open()
    wire.tamper = drop("ok")
    wire.feed.add([a_market(9)], now_ms=wire.now_ms)
    wire.venue.books["KXTEST-00009"] = {"yes": {5: 100}, "no": {}}
    wire.run().wait(10_000)
    assert wire.live() == [True] * 4
    assert wire.words().count("add_markets") == 2, "one for the books, one for the prints"
    assert (
        wire.venue.subscriptions["trade"]["markets"].keys()
        == wire.venue.subscriptions["orderbook_delta"]["markets"].keys()
    )


def test_answers_of_nobodys_commands_are_passed_over() -> None:
    wire = Wire().open()
    wire.venue.send({"type": "ok", "id": 999, "msg": [{"channel": "orderbook_delta", "sid": 1}]})
    wire.venue.send({"type": "subscribed", "id": 998, "msg": {"channel": "orderbook_delta", "sid": 77}})
    wire.venue.send({"type": "unsubscribed", "id": 997, "sid": 66, "seq": 4})
    wire.venue.error(8, "Unknown channel name", id=996)
    wire.run()
    wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.equal(A)
    assert wire.feed.counters.rejected == 0


def test_a_book_on_the_sid_of_another_channel_is_not_believed() -> None:
    wire = Wire().open()
    wire.venue.deaf.add("get_snapshot")
    wire.feed.receive(snapshot(1, sid=wire.venue.subscriptions["trade"]["sid"]), wire.now_ms * 1_000_000)
    assert wire.feed.counters.rejected == 1
    assert not wire.feed.books[A.market_id].live


def test_a_level_below_zero_is_noticed_in_a_replay_with_holes_too() -> None:
    feed = feed_all(
        listener(ignore_gaps=True), snapshot(1, "X"), delta(30, "X", price_dollars="0.4000", delta_fp="-9.00")
    )
    assert feed.counters.negative_levels == 1
    assert feed.books["X"].err == "negative_level"  # type: ignore[index]
    assert feed.books["X"].bids == {4_000: 5_000_000}  # type: ignore[index]


def test_an_unusually_spelled_change_may_cross_too() -> None:
    feed = feed_all(
        listener(), snapshot(1, "X", no_dollars_fp=[["0.5000", "1.00"]]), delta(2, "X", price_dollars="0.5")
    )
    assert feed.verdict("X", now_ms=T0) == "suspect"  # type: ignore[arg-type]
    assert feed.verdict("X", now_ms=T0 + 60_000) == "suspect"  # type: ignore[arg-type]
    assert feed.books["X"].err == "crossed"  # type: ignore[index]


def test_a_snapshot_may_be_crossed_from_the_start() -> None:
    feed = feed_all(listener(), snapshot(1, "X", no_dollars_fp=[["0.7000", "1.00"]]))
    assert feed.verdict("X", now_ms=T0 + 60_000) == "suspect"  # type: ignore[arg-type]
    assert feed.counters.crossed == 1


def test_the_memory_of_sizes_is_bounded() -> None:
    feed = feed_all(listener(), snapshot(1, "X"))
    for seq in range(2, 40_000):
        feed.receive(delta(seq, "X", delta_fp=f"{seq}.01"), 1)
    assert len(feed._sizes) <= 32_768
    assert feed.books["X"].bids[5_000] == sum(seq * 1_000_000 + 10_000 for seq in range(2, 40_000))  # type: ignore[index]


def test_an_ended_market_needs_no_more_than_the_venues_word() -> None:
    wire = closing(Wire(channels=("orderbook_delta", "market_lifecycle_v2")), T0 + 10_000).open()
    wire.wait(10_000)
    for kind in ("determined", "settled", "deactivated", "activated"):
        lifecycle(wire, kind, result="no")
    assert wire.events(FeedEventKind.CLOSED) == [(str(A.market_id), "closed")]
    wire.venue.snapshot(str(A.market_id))
    wire.venue.change(str(A.market_id))
    wire.run()
    assert wire.feed.books[A.market_id].err == "closed"
    wire.reopen()
    assert str(A.market_id) not in wire.venue.commands[-2]["params"]["market_tickers"]
    assert wire.feed.books[A.market_id].err == "closed"


def test_an_unreadable_snapshot_of_an_ended_market_changes_nothing() -> None:
    wire = closing(Wire(), T0 + 10_000).open()
    wire.wait(10_000)
    number = wire.venue.number("orderbook_delta")["seq"]
    wire.feed.receive(snapshot(number, yes_dollars_fp=[["x", "y"]]), wire.now_ms * 1_000_000)
    assert wire.feed.books[A.market_id].err == "closed"
    assert wire.feed.counters.rejected == 1


def test_an_unreadable_snapshot_of_a_live_market_breaks_it() -> None:
    wire = Wire().open()
    wire.venue.deaf.add("get_snapshot")
    number = wire.venue.number("orderbook_delta")["seq"]
    wire.feed.receive(snapshot(number, yes_dollars_fp=[["x", "y"]]), wire.now_ms * 1_000_000)
    assert wire.live() == [False, True, True]


def test_lifecycle_of_markets_not_held_is_reported_and_nothing_else() -> None:
    wire = Wire(channels=("orderbook_delta", "market_lifecycle_v2")).open()
    for kind in ("created", "determined", "settled", "deactivated", "activated", "close_date_updated"):
        lifecycle(wire, kind, market_ticker="ELSEWHERE", result="yes", close_ts=1)
    assert wire.events(FeedEventKind.LISTED) == [("ELSEWHERE", "")]
    assert wire.events(FeedEventKind.RESOLVED) == [("ELSEWHERE", "yes")]
    assert wire.live() == [True] * 3


def test_a_ticker_refused_once_is_asked_for_on_the_next_connection() -> None:
    wire = Wire()
    book = wire.venue.books.pop(str(C.market_id))
    wire.open()
    wire.venue.books[str(C.market_id)] = book
    wire.reopen()
    assert wire.live() == [True] * 3


def test_what_is_not_held_has_no_verdict_and_cannot_be_removed() -> None:
    wire = Wire().open()
    stranger = a_market(77)
    assert wire.feed.verdict(stranger.market_id, now_ms=T0) == "unverified"
    wire.feed.remove([stranger.market_id], now_ms=T0)
    wire.feed.rest_book(RestBook(market_id=stranger.market_id, bids={}, asks={}), now_ms=T0)
    assert wire.live() == [True] * 3


def test_a_tick_before_the_connection_stands_does_nothing() -> None:
    feed = KalshiFeed(BookShelf())
    feed.add([A], now_ms=T0)
    feed.tick(now_ms=T0 + 1_000_000)
    assert not feed.outbox
    with pytest.raises(AttributeError):
        feed.counters = feed.counters


def test_a_quiet_connection_without_a_live_book_is_not_probed() -> None:
    wire = Wire(probe_ms=1_000)
    wire.venue.books.clear()
    wire.open().wait(10_000)
    wire.feed.tick(now_ms=wire.now_ms + 60_000)
    assert "get_snapshot" not in wire.words()


# -- since when ------------------------------------------------------------------------------------------------------


def gaps(feed: KalshiFeed) -> list[tuple[str, int | None]]:
    return [(event.market_id, event.since_ns) for event in feed.events if event.kind is GAP]


def test_a_hole_in_the_numbers_begins_at_the_last_frame_in_sequence() -> None:
    feed = feed_all(listener(), snapshot(1), snapshot(2, str(B.market_id)), delta(3))
    assert feed.proven_ms(A.market_id) == T0 + 2
    assert feed.receive(delta(9), (T0 + 5_000) * 1_000_000)
    assert gaps(feed) == [("", (T0 + 2) * 1_000_000)]
    assert feed.proven_ms(A.market_id) == feed.proven_ms(B.market_id) == T0 + 2


def test_a_level_below_zero_was_whole_until_the_frame_before() -> None:
    feed = feed_all(listener(), snapshot(1), delta(2), delta(3, price_dollars="0.3000", delta_fp="-7.00"))
    assert gaps(feed) == [(A.market_id, (T0 + 1) * 1_000_000)]


def test_an_unusual_frame_in_sequence_counts_as_heard() -> None:
    feed = feed_all(listener(), snapshot(1), delta(2), delta(3, price_dollars="0.5"), snapshot(5))
    assert gaps(feed) == [("", (T0 + 2) * 1_000_000)]


def test_a_live_book_is_whole_up_to_the_connections_last_frame_of_any_kind() -> None:
    feed = feed_all(listener(), snapshot(1))
    assert feed.receive(b"heartbeat", (T0 + 30_000) * 1_000_000) is False
    assert feed.proven_ms(A.market_id) == T0 + 30_000
    assert feed.proven_ms(B.market_id) is None


def test_a_lost_connection_leaves_books_whole_up_to_the_last_frame_of_their_subscription() -> None:
    """A change may have been missing before a frame of another one: no later number tells any more."""
    wire = Wire().open()
    wire.now_ms += 1_000
    wire.venue.put(str(A.market_id), "yes", 41, 100)
    wire.run()
    wire.venue.put(str(A.market_id), "yes", 41, 100)
    wire.venue.sent.clear()  # lost
    wire.now_ms += 1_000
    wire.venue.send({"type": "trade", **wire.venue.number("trade"), "msg": {"market_ticker": str(A.market_id)}})
    wire.run()
    wire.feed.lost(now_ms=wire.now_ms + 500, reason="closed")
    (gap,) = (event for event in wire.feed.events if event.kind is GAP)
    assert (gap.market_id, gap.detail, gap.since_ns) == ("", "reconnecting: closed", (T0 + 1_000) * 1_000_000)
    assert wire.feed.proven_ms(A.market_id) == T0 + 1_000


def test_a_book_in_doubt_is_whole_up_to_its_last_proof_when_its_connection_is_lost() -> None:
    wire = Wire(audit_ms=1_000).open()
    wire.wait(1_500)
    wire.venue.put(str(A.market_id), "yes", 2, 100)
    wire.venue.books[str(A.market_id)]["yes"][1] = 100  # not sent
    before_ms = wire.now_ms
    while not any(wire.feed.verdict(m.market_id, now_ms=wire.now_ms) == "suspect" for m in (A, B, C)):
        wire.wait(100)
        assert wire.now_ms < before_ms + 10_000
    wire.feed.lost(now_ms=wire.now_ms, reason="closed")
    of_a = [event for event in wire.feed.events if event.kind is GAP and event.market_id]
    assert [(event.market_id, event.detail) for event in of_a] == [(A.market_id, "audit_mismatch")]
    assert (of_a[0].since_ns or 0) <= before_ms * 1_000_000


def test_what_stays_crossed_was_right_until_it_crossed() -> None:
    feed = feed_all(listener(), snapshot(1), delta(2, side="no", price_dollars="0.7000"))
    feed.tick(now_ms=T0 + 5_000)
    assert gaps(feed) == [(A.market_id, (T0 + 1) * 1_000_000)]
    assert feed.proven_ms(A.market_id) == T0 + 1


def test_a_market_distrusted_from_outside_is_taken_off_and_added_anew_while_its_siblings_live_on() -> None:
    wire = Wire().open()
    before = len(wire.words())
    since_ns = (T0 - 5_000) * 1_000_000
    assert wire.feed.distrust(A.market_id, now_ms=wire.now_ms, since_ns=since_ns)
    assert wire.live() == [False, True, True]
    assert not wire.feed.distrust(A.market_id, now_ms=wire.now_ms), "one repair at a time"
    gaps = [event for event in wire.feed.events if event.kind is GAP]
    assert [(event.market_id, event.since_ns) for event in gaps] == [(A.market_id, since_ns)]
    wire.run()
    assert wire.words()[before : before + 2] == ["delete_markets", "add_markets"]
    assert wire.live() == [True] * 3
    assert wire.events(REPAIRED) == [(str(A.market_id), "resubscribe")]
    assert not wire.feed.distrust(MarketId("NOT-HELD"), now_ms=wire.now_ms)


def test_one_dead_market_costs_its_siblings_one_connection_and_is_marked() -> None:
    wire = Wire().open()
    wire.tamper = lambda frame: [] if b"orderbook_snapshot" in frame and str(B.market_id).encode() in frame else [frame]
    wire.feed.receive(b'{"type":"orderbook_snapshot","sid":1,"seq":99999,"msg":{}}', wire.now_ms * 1_000_000)
    reconnects = 0
    for _ in range(1_200):
        wire.wait(1_000)
        if wire.feed.reconnect_reason:
            reconnects += 1
            wire.reopen()
    assert reconnects == 2  # in twenty minutes: one in ten
    assert wire.live() == [True, False, True]
    marked = [event for event in wire.feed.events if event.kind is FeedEventKind.MARKED]
    assert marked
    assert {event.market_id for event in marked} == {B.market_id}
    assert len(marked) == wire.feed.counters.marked <= 8
    assert (str(B.market_id), "rest") in wire.events(RESYNC)
    wire.tamper = lambda frame: [frame]
    wire.wait(600_000)
    assert wire.live() == [True, True, True]
