"""What a connection does with the venue's frames."""

from __future__ import annotations

import json
import random

import msgspec
import pytest
from scripted_polymarket import (
    NS,
    T0,
    Scripted,
    assert_equal,
    details,
    encode,
    feed_with,
    kinds,
    only,
    send,
)

from overround.book import BookShelf
from overround.market import ErrCode, Integrity, MarketId
from overround.venue.polymarket import HashEra, PolymarketFeed
from overround.venue.ports import Feed, FeedEventKind, RestBook

K = FeedEventKind
LOTS = 1_000_000


def commands(feed: PolymarketFeed) -> list[dict[str, object]]:
    said = [json.loads(text) for text in feed.outbox if text != "PING"]
    feed.outbox.clear()
    return said


def rest(script: Scripted, **changed: object) -> RestBook:
    values: dict[str, object] = {
        "market_id": MarketId(script.market_id),
        "bids": dict(script.bids),
        "asks": dict(script.asks),
        "ts_venue_ms": script.ts_ms,
        "hash": script.hash(0),
        "hash_ok": True,
        "last_trade_text": script.last_trade,
    }
    return RestBook(**(values | changed))  # type: ignore[arg-type]


def test_the_feed_is_a_feed() -> None:
    feed: Feed = PolymarketFeed(BookShelf(), rng=random.Random(1))
    assert feed.deadline_ms() is None


# --- subscribing ----------------------------------------------------------------------------------------------------


def test_the_first_command_has_its_own_form_and_later_ones_name_an_operation() -> None:
    one, two = Scripted(1), Scripted(2)
    feed = PolymarketFeed(BookShelf())
    feed.add([one.market], now_ms=T0)
    assert feed.outbox == []
    feed.opened(now_ms=T0)
    assert commands(feed) == [
        {"assets_ids": list(one.tokens), "type": "market", "custom_feature_enabled": True, "initial_dump": True}
    ]
    feed.add([two.market, one.market], now_ms=T0 + 1_000)
    assert commands(feed) == [
        {"operation": "subscribe", "assets_ids": list(two.tokens), "custom_feature_enabled": True}
    ]
    feed.remove([MarketId(one.market_id)], now_ms=T0 + 2_000)
    assert commands(feed) == [{"operation": "unsubscribe", "assets_ids": list(one.tokens)}]
    assert set(feed.books) == {two.market_id}


def test_a_large_subscription_goes_out_in_chunks_that_wait_for_each_other() -> None:
    scripts = [Scripted(n) for n in range(1, 8)]
    feed = PolymarketFeed(BookShelf(), chunk_tokens=6, chunk_gap_ms=250)
    feed.add([script.market for script in scripts], now_ms=T0)
    feed.opened(now_ms=T0)
    sizes = [len(command["assets_ids"]) for command in commands(feed)]  # type: ignore[arg-type]
    assert sizes == [6]
    assert feed.deadline_ms() == T0 + 250
    feed.tick(now_ms=T0 + 249)
    assert commands(feed) == []
    for step in (250, 500):
        feed.tick(now_ms=T0 + step)
        sizes += [len(command["assets_ids"]) for command in commands(feed)]  # type: ignore[arg-type]
    assert sizes == [6, 6, 2]


def test_a_market_removed_before_its_turn_is_neither_subscribed_nor_unsubscribed() -> None:
    scripts = [Scripted(n) for n in range(1, 5)]
    feed = PolymarketFeed(BookShelf(), chunk_tokens=2)
    feed.add([script.market for script in scripts], now_ms=T0)
    feed.opened(now_ms=T0)
    commands(feed)
    feed.remove([MarketId(scripts[1].market_id)], now_ms=T0)
    assert commands(feed) == []
    feed.tick(now_ms=T0 + 1_000)
    assert commands(feed)[0]["assets_ids"] == list(scripts[2].tokens)


def test_the_first_book_makes_a_market_live_and_is_proved_at_once() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf())
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    book = feed.books[MarketId(script.market_id)]
    assert not book.live
    assert not book.had_book
    feed.receive(encode(script.dump()), (T0 + 40) * NS)
    assert_equal(feed, script)
    assert book.live
    assert book.ts_venue_ms == T0
    assert book.integrity is Integrity.VERIFIED
    assert only(feed, K.LIVE).took_ms == 40
    assert feed.counters.snapshots == 1  # the second token's dump is the same book
    assert feed.counters.hash_matched == 1


def test_a_dump_of_the_second_token_alone_is_the_mirror_of_the_first() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf())
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    send(feed, script, [script.book(1, dump=True)])
    assert_equal(feed, script)
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED


def test_a_book_without_event_type_is_a_book() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf())
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    event = script.book(0, dump=True)
    del event["event_type"]
    send(feed, script, event)
    assert_equal(feed, script)


def test_old_side_names_and_null_sides_are_read() -> None:
    script = Scripted()
    feed = feed_with(script)
    script.set("BUY", 4700, 9 * LOTS)
    event = script.book(0)
    event["buys"], event["sells"] = event.pop("bids"), event.pop("asks")
    send(feed, script, event)
    assert_equal(feed, script)
    script.bids.clear()
    script.ts_ms += 1
    send(feed, script, script.book(0, bids=None))
    assert_equal(feed, script)


# --- changes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [(0, 1), (1, 0), (0,), (1,)])
def test_a_change_is_applied_once_whichever_tokens_say_it(tokens: tuple[int, ...]) -> None:
    script = Scripted()
    feed = feed_with(script)
    seq = feed.books[MarketId(script.market_id)].seq
    for side, px, sz in [("BUY", 4800, 0), ("BUY", 4950, 3 * LOTS), ("SELL", 5100, 0), ("SELL", 5050, 1_500_000)]:
        assert send(feed, script, script.change(side, px, sz, tokens=tokens)) is True
        assert_equal(feed, script)
    book = feed.books[MarketId(script.market_id)]
    assert book.seq == seq + 4
    assert book.ts_venue_ms == script.ts_ms
    assert book.ts_recv_ns == script.ts_ms * NS
    assert feed.counters.changes == 4
    assert feed.verdict(MarketId(script.market_id), now_ms=script.ts_ms) is Integrity.VERIFIED


def test_removing_the_last_level_leaves_an_empty_side() -> None:
    script = Scripted()
    feed = feed_with(script)
    for px in list(script.bids):
        send(feed, script, script.change("BUY", px, 0))
    for px in list(script.asks):
        send(feed, script, script.change("SELL", px, 0))
    assert_equal(feed, script)
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED
    assert feed.counters.best_mismatches == 0


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("token", [0, 1])
def test_old_forms_of_price_change_are_applied(flat: bool, token: int) -> None:
    script = Scripted()
    feed = feed_with(script)
    send(feed, script, script.old_change("BUY", 4850, 7 * LOTS, flat=flat, token=token))
    send(feed, script, [script.old_change("SELL", 5200, 0, flat=flat, token=token)])
    assert_equal(feed, script)
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED


def test_a_frame_with_several_changes_is_applied_in_order() -> None:
    script = Scripted()
    feed = feed_with(script)
    frame = script.change("BUY", 4850, 7 * LOTS)
    more = script.change("BUY", 4850, 9 * LOTS, after_ms=0)
    frame["price_changes"] += more["price_changes"]
    frame["timestamp"] = more["timestamp"]
    send(feed, script, frame)
    assert_equal(feed, script)
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED


def test_an_entry_of_the_second_token_that_mirrors_nothing_is_applied_too() -> None:
    script = Scripted()
    feed = feed_with(script)
    frame = script.change("BUY", 4850, 7 * LOTS, tokens=(0,))
    other = script.change("SELL", 5300, 2 * LOTS, tokens=(1,), after_ms=0)
    frame["price_changes"] += other["price_changes"]
    frame["timestamp"] = other["timestamp"]
    send(feed, script, frame)
    assert_equal(feed, script)


def test_a_frame_that_speaks_of_two_markets_changes_both() -> None:
    one, two = Scripted(1), Scripted(2)
    feed = feed_with(one, two)
    frame = one.change("BUY", 4850, LOTS)
    frame["price_changes"] += two.change("SELL", 5300, LOTS)["price_changes"]
    send(feed, one, frame)
    assert_equal(feed, one)
    assert_equal(feed, two)


def test_arrays_of_changes_are_dispatched_one_by_one() -> None:
    one, two = Scripted(1), Scripted(2)
    feed = feed_with(one, two)
    frames = [one.change("BUY", 4850, LOTS), two.change("SELL", 5300, LOTS), {"event_type": "surprise"}]
    assert feed.receive(encode(frames), T0 * NS) is True
    assert_equal(feed, one)
    assert_equal(feed, two)
    assert feed.counters.unknown == {"surprise": 1}


def test_duplicate_frames_change_nothing() -> None:
    script = Scripted()
    feed = feed_with(script)
    change = script.change("BUY", 4850, 7 * LOTS)
    book = script.book(0)
    for frame in (change, change, book, book):
        send(feed, script, frame)
    assert_equal(feed, script)
    # A book that was overtaken by a change must not bring the past back.
    send(feed, script, script.change("BUY", 4850, 8 * LOTS))
    send(feed, script, book)
    assert_equal(feed, script)
    assert feed.counters.duplicates == 2
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED


def test_the_other_tokens_book_of_an_instant_that_has_passed_is_not_applied() -> None:
    script = Scripted()
    feed = feed_with(script)
    script.set("BUY", 4700, 5 * LOTS)
    first, second = script.book(0), script.book(1)
    send(feed, script, first)
    send(feed, script, script.change("BUY", 4600, LOTS, after_ms=0))
    send(feed, script, second)
    assert_equal(feed, script)


def test_changes_older_than_the_snapshot_are_late_and_dropped() -> None:
    script = Scripted()
    feed = feed_with(script)
    late = script.change("BUY", 4850, 7 * LOTS)
    script.set("BUY", 4850, 0)
    send(feed, script, script.book(0))
    send(feed, script, late)
    assert_equal(feed, script)
    assert feed.counters.late == 1
    old = script.book(0, timestamp=str(script.ts_ms - 1), bids=[])
    send(feed, script, old)
    assert_equal(feed, script)
    assert feed.counters.late == 2


def test_changes_that_overtake_each_other_are_both_applied() -> None:
    script = Scripted()
    feed = feed_with(script)
    first = script.change("BUY", 4850, 7 * LOTS)
    second = script.change("SELL", 5300, 2 * LOTS)
    send(feed, script, second)
    send(feed, script, first)
    assert_equal(feed, script)
    book = feed.books[MarketId(script.market_id)]
    assert book.ts_venue_ms == script.ts_ms
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED


def test_an_overtaken_change_does_not_undo_the_newer_one_of_its_level() -> None:
    script = Scripted()
    feed = feed_with(script)
    first = script.change("BUY", 4850, 7 * LOTS)
    second = script.change("BUY", 4850, 2 * LOTS)
    send(feed, script, second)
    send(feed, script, first)
    assert_equal(feed, script)
    assert feed.counters.late == 1


def test_a_book_that_a_change_has_overtaken_keeps_the_change() -> None:
    script = Scripted()
    feed = feed_with(script)
    script.set("BUY", 4700, 5 * LOTS)
    book = script.book(0)
    newer = script.change("SELL", 5300, 2 * LOTS)
    send(feed, script, newer)
    send(feed, script, book)
    assert_equal(feed, script)
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED


def test_changes_before_the_first_book_are_ignored() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf())
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    send(feed, script, script.change("BUY", 4850, 7 * LOTS))
    assert feed.counters.ignored == 1
    send(feed, script, script.dump())
    assert_equal(feed, script)


def test_changes_of_other_markets_are_ignored() -> None:
    script, stranger = Scripted(1), Scripted(2)
    feed = feed_with(script)
    send(feed, stranger, stranger.change("BUY", 4850, LOTS))
    send(feed, stranger, stranger.book(0))
    assert feed.counters.ignored == 3
    assert set(feed.books) == {script.market_id}


def test_spellings_that_are_not_canonical_are_the_same_prices() -> None:
    script = Scripted()
    feed = feed_with(script)
    frame = script.change("BUY", 4850, 7_500_000)
    frame["price_changes"][0] |= {"price": "0.4850", "size": "7.50"}
    send(feed, script, frame)
    assert_equal(feed, script)
    frame = script.change("BUY", 4850, 8 * LOTS)
    frame["price_changes"][0] |= {"price": 0.485, "size": 8}
    frame["timestamp"] = script.ts_ms
    send(feed, script, frame)
    assert_equal(feed, script)


def test_spaces_between_members_do_not_matter() -> None:
    script = Scripted()
    feed = feed_with(script)
    frame = script.change("BUY", 4850, 7 * LOTS)
    feed.receive(json.dumps(frame, indent=1).encode() + b"\n", T0 * NS)
    assert_equal(feed, script)


# --- refusals -------------------------------------------------------------------------------------------------------

BAD_VALUES = [
    ("price", "0.48501"),
    ("price", "1.5"),
    ("price", "-0.1"),
    ("price", "abc"),
    ("price", ""),
    ("price", None),
    ("price", True),
    ("size", "-5"),
    ("size", "5.1234567"),
    ("size", "1e3"),
    ("size", "NaN"),
    ("size", " 5"),
    ("size", "5_0"),
    ("size", "9" * 5_000),
    ("side", "HOLD"),
    ("side", None),
    ("asset_id", ""),
]


@pytest.mark.parametrize(("field", "value"), BAD_VALUES)
@pytest.mark.parametrize("token", [0, 1])
def test_a_value_that_does_not_fit_is_refused_and_nothing_of_its_frame_is_applied(
    field: str, value: object, token: int
) -> None:
    script = Scripted()
    feed = feed_with(script)
    before = dict(script.bids)
    frame = script.change("BUY", 4850, 7 * LOTS)
    more = script.change("BUY", 4600, LOTS, after_ms=0)
    frame["price_changes"] += more["price_changes"]
    frame["price_changes"][2 + token][field] = value
    assert send(feed, script, frame) is True
    book = feed.books[MarketId(script.market_id)]
    assert book.bids == before
    assert feed.counters.rejected == 1
    assert K.REJECTED in kinds(feed)


@pytest.mark.parametrize("value", ["0.48501", "abc"])
@pytest.mark.parametrize("token", [0, 1])
def test_the_common_frame_is_refused_as_strictly(value: str, token: int) -> None:
    script = Scripted()
    feed = feed_with(script)
    before = dict(script.bids)
    frame = script.change("BUY", 4850, 7 * LOTS)
    frame["price_changes"][token]["price"] = value
    send(feed, script, frame)
    assert feed.books[MarketId(script.market_id)].bids == before
    assert value in only(feed, K.REJECTED).detail


def test_a_refused_change_makes_its_book_doubtful_and_a_new_dump_repairs_it() -> None:
    script = Scripted()
    feed = feed_with(script)
    frame = script.change("BUY", 4850, 7 * LOTS)
    frame["price_changes"][0]["size"] = "7.12345678"
    send(feed, script, frame)
    book = feed.books[MarketId(script.market_id)]
    assert (book.live, book.err, book.integrity) == (False, ErrCode.GAP, Integrity.GAP)
    assert [command["operation"] for command in commands(feed)] == ["unsubscribe", "subscribe"]
    send(feed, script, script.dump())
    assert book.live
    assert only(feed, K.REPAIRED).detail == "resubscribe"
    assert_equal(feed, script)


@pytest.mark.parametrize("renamed", ["bids", "asks"])
def test_a_book_with_a_renamed_side_is_refused_rather_than_emptied(renamed: str) -> None:
    script = Scripted()
    feed = feed_with(script)
    event = script.book(0)
    event["x_" + renamed] = event.pop(renamed)
    event["timestamp"] = str(script.ts_ms + 1)
    send(feed, script, event)
    assert feed.counters.rejected == 1
    assert feed.books[MarketId(script.market_id)].bids == script.bids


@pytest.mark.parametrize(
    ("frame", "is_json"),
    [
        (b"", False),
        (b"   \n", False),
        (b"PONG", False),
        (b"NO NEW ASSETS", False),
        (b"INVALID OPERATION", False),
        (b"{", False),
        (b"[", False),
        (b'[{"event_type":"book"', False),
        (b'{"event_type":"book"}', True),
        (b'{"event_type":1}', True),
        (b'{"event_type":"price_change"}', True),
        (b'{"price_changes":[1,2]}', True),
        (b'{"price_changes":[{},{}]}', True),
        (b"[1,null,[],{}]", True),
        (b"[]", True),
        (b"{}", True),
        (b'{"event_type":"\xff"}', False),
        (b"[" * 100_000, False),
        (b'{"a":' * 100_000, False),
    ],
)
def test_odd_frames_are_taken_without_harm(frame: bytes, is_json: bool) -> None:
    script = Scripted()
    feed = feed_with(script)
    assert feed.receive(frame, T0 * NS) is is_json
    assert_equal(feed, script)
    assert feed.books[MarketId(script.market_id)].live


def test_no_new_assets_is_reported_and_an_empty_array_is_a_sign_of_life() -> None:
    feed = feed_with(Scripted())
    feed.receive(b"NO NEW ASSETS", T0 * NS)
    assert only(feed, K.REFUSED).detail == "NO NEW ASSETS"
    feed.receive(b"[]", T0 * NS)
    assert feed.counters.heartbeats == 2


def test_unknown_kinds_are_counted_by_name_up_to_a_limit() -> None:
    feed = feed_with(Scripted())
    for n in range(150):
        feed.receive(encode({"event_type": f"kind_{n}"}), T0 * NS)
        feed.receive(encode({"event_type": "kind_0"}), T0 * NS)
    assert len(feed.counters.unknown) == 100
    assert feed.counters.unknown["kind_0"] == 151
    assert feed.counters.rejected == 0


# --- proof ----------------------------------------------------------------------------------------------------------


def lose_one(script: Scripted, feed: PolymarketFeed) -> None:
    """A change that never arrives, and one that does."""
    script.change("BUY", 4600, 5 * LOTS)
    send(feed, script, script.change("SELL", 5300, LOTS))


def missed_one(feed: PolymarketFeed, script: Scripted) -> int:
    """A change is missed, the hash tells, and looking again does not help; returns the time."""
    lose_one(script, feed)
    assert feed.verdict(MarketId(script.market_id), now_ms=script.ts_ms) is Integrity.SUSPECT
    feed.tick(now_ms=script.ts_ms + 500)
    assert details(feed, K.RESYNC) == ["resnapshot"]
    assert details(feed, K.REST_WANTED) == ["resnapshot"]
    assert commands(feed) == []
    return script.ts_ms + 500


def test_a_missed_change_is_repaired_by_a_rest_book_as_new_as_the_sockets() -> None:
    script = Scripted()
    feed = feed_with(script)
    now_ms = missed_one(feed, script)
    feed.rest_book(rest(script), now_ms=now_ms + 80)
    assert_equal(feed, script)
    repaired = only(feed, K.REPAIRED)
    assert (repaired.detail, repaired.took_ms) == ("resnapshot", 580)
    market_id = MarketId(script.market_id)
    assert feed.proven_ms(market_id) == now_ms + 80
    assert feed.spoken_ns() == 0  # what REST gave was not said by the connection
    send(feed, script, script.change("BUY", 4500, LOTS))  # the subscription was left alone: changes go on
    assert_equal(feed, script)
    assert feed.spoken_ns() == feed.books[market_id].ts_recv_ns
    assert feed.verdict(market_id, now_ms=now_ms + 100) is Integrity.VERIFIED


def test_a_rest_book_that_equals_the_doubted_one_proves_it() -> None:
    script = Scripted()
    feed = feed_with(script)
    late = script.change("BUY", 4600, 5 * LOTS)
    send(feed, script, script.change("SELL", 5300, LOTS))
    assert feed.verdict(MarketId(script.market_id), now_ms=script.ts_ms) is Integrity.SUSPECT
    feed.tick(now_ms=script.ts_ms + 500)
    send(feed, script, late)
    feed.rest_book(rest(script), now_ms=script.ts_ms + 600)
    assert only(feed, K.REPAIRED).detail == "resnapshot"
    assert feed.counters.snapshots == 1


@pytest.mark.parametrize("changed", [{"hash_ok": False}, {"ts_venue_ms": None}, {"ts_venue_ms": T0 + 1}])
def test_a_rest_book_of_no_use_is_followed_by_the_next_step_at_once(changed: dict[str, object]) -> None:
    script = Scripted()
    feed = feed_with(script)
    now_ms = missed_one(feed, script)
    feed.rest_book(rest(script, **changed), now_ms=now_ms + 80)
    assert details(feed, K.RESYNC) == ["resnapshot", "resubscribe"]
    send(feed, script, script.dump(), at_ms=now_ms + 100)
    assert_equal(feed, script)
    assert only(feed, K.REPAIRED).detail == "resubscribe"


def test_a_missed_change_is_found_by_the_hash_and_repaired_by_a_new_dump() -> None:
    script = Scripted()
    feed = feed_with(script)
    lose_one(script, feed)
    book = feed.books[MarketId(script.market_id)]
    now_ms = script.ts_ms
    assert feed.verdict(MarketId(script.market_id), now_ms=now_ms) is Integrity.SUSPECT
    assert (book.live, book.err) == (False, ErrCode.HASH_MISMATCH)
    assert details(feed, K.GAP) == ["hash_mismatch"]
    assert feed.counters.gaps == 1
    assert commands(feed) == []  # what is missing may still be on its way
    assert feed.deadline_ms() == now_ms + 500
    feed.tick(now_ms=now_ms + 500)
    assert commands(feed) == []
    feed.tick(now_ms=now_ms + 2_500)  # REST did not answer
    assert commands(feed) == [
        {"operation": "unsubscribe", "assets_ids": list(script.tokens)},
        {"operation": "subscribe", "assets_ids": list(script.tokens), "custom_feature_enabled": True},
    ]
    assert details(feed, K.RESYNC) == ["resnapshot", "resubscribe"]
    send(feed, script, script.change("SELL", 5400, LOTS))  # between the commands: belongs to no book
    assert not book.live
    send(feed, script, script.dump(), at_ms=now_ms + 2_600)
    repaired = only(feed, K.REPAIRED)
    assert (repaired.detail, repaired.took_ms) == ("resubscribe", 2_600)
    assert (book.live, book.err) == (True, None)
    assert_equal(feed, script)
    assert feed.verdict(MarketId(script.market_id), now_ms=now_ms + 700) is Integrity.VERIFIED
    assert K.LIVE not in kinds(feed)


def test_a_change_that_changes_nothing_here_is_proved_as_well() -> None:
    script = Scripted()
    feed = feed_with(script)
    script.change("BUY", 4600, 5 * LOTS)  # never arrives
    send(feed, script, script.change("SELL", 7777, 0))  # a level that neither has
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.SUSPECT


def test_a_change_that_was_only_on_its_way_heals_the_book_without_a_command() -> None:
    script = Scripted()
    feed = feed_with(script)
    slow = script.change("BUY", 4600, 5 * LOTS)
    send(feed, script, script.change("SELL", 5300, LOTS))
    market_id = MarketId(script.market_id)
    assert feed.verdict(market_id, now_ms=script.ts_ms) is Integrity.SUSPECT
    send(feed, script, slow)
    feed.tick(now_ms=script.ts_ms + 500)
    assert feed.books[market_id].live
    assert only(feed, K.REPAIRED).detail == "recheck"
    assert commands(feed) == []
    assert feed.verdict(market_id, now_ms=script.ts_ms) is Integrity.VERIFIED


def test_a_verdict_in_the_meantime_heals_too() -> None:
    script = Scripted()
    feed = feed_with(script)
    slow = script.change("BUY", 4600, 5 * LOTS)
    send(feed, script, script.change("SELL", 5300, LOTS))
    market_id = MarketId(script.market_id)
    assert feed.verdict(market_id, now_ms=script.ts_ms) is Integrity.SUSPECT
    send(feed, script, slow)
    assert feed.verdict(market_id, now_ms=script.ts_ms) is Integrity.VERIFIED
    assert feed.books[market_id].live


def test_a_market_that_never_recomputed_is_unverified_and_left_alone() -> None:
    script = Scripted(min_size="17")  # nobody announces it: the hash cannot be made
    feed = feed_with(script)
    send(feed, script, script.change("BUY", 4600, 5 * LOTS))
    market_id = MarketId(script.market_id)
    assert feed.verdict(market_id, now_ms=T0) is Integrity.UNVERIFIED
    assert feed.books[market_id].live
    assert commands(feed) == []
    assert feed.counters.hash_matched == 0


def test_without_hashes_a_book_is_unverified() -> None:
    script = Scripted()
    feed = feed_with(script)
    send(feed, script, script.book(0, hash=None, timestamp=str(script.ts_ms + 1)))
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.UNVERIFIED
    assert feed.verdict(MarketId("0xunknown"), now_ms=T0) is Integrity.UNVERIFIED


@pytest.mark.parametrize("spelled", ["0.49", "0.490", "0.5", "0.333", ""])
def test_a_last_trade_price_that_was_not_announced_yet_is_found(spelled: str) -> None:
    # The venue hashes the new price before it prints it, and with varying width.
    script = Scripted(last_trade="0.500", tick_e4=10)
    feed = feed_with(script)
    script.last_trade = spelled
    send(feed, script, script.change("BUY", 4850, LOTS))
    market_id = MarketId(script.market_id)
    assert feed.verdict(market_id, now_ms=T0) is Integrity.VERIFIED
    checked = feed.counters.hash_checked
    assert feed.verdict(market_id, now_ms=T0) is Integrity.VERIFIED
    assert feed.counters.hash_checked == checked  # an unchanged book is not proved twice


def test_an_unannounced_last_trade_is_searched_on_the_grid_on_which_the_book_stands() -> None:
    # Orders of an earlier, finer tick stay in the book.
    script = Scripted(tick_e4=100)
    script.bids[4875] = LOTS
    feed = feed_with(script)
    script.last_trade = "0.4875"
    send(feed, script, script.change("BUY", 4850, LOTS))
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED


def test_a_print_off_the_grid_is_a_candidate_once_it_is_printed() -> None:
    script = Scripted(last_trade="0.500")
    feed = feed_with(script)
    script.last_trade = "0.4917"
    send(feed, script, script.change("BUY", 4850, LOTS))
    market_id = MarketId(script.market_id)
    assert feed.verdict(market_id, now_ms=T0) is Integrity.SUSPECT
    trade = {
        "event_type": "last_trade_price",
        "market": script.market_id,
        "asset_id": script.tokens[1],
        "price": "0.4917",
        "size": "10",
        "side": "BUY",
        "fee_rate_bps": "0",
        "timestamp": str(script.ts_ms),
    }
    send(feed, script, trade)
    assert feed.verdict(market_id, now_ms=T0) is Integrity.VERIFIED
    assert feed.books[market_id].live
    assert feed.counters.trades == 1


def test_neg_risk_and_a_changed_tick_are_part_of_the_hash() -> None:
    script = Scripted(neg_risk=True, tick_e4=10)
    feed = feed_with(script)
    script.tick_e4 = 100
    tick = {
        "event_type": "tick_size_change",
        "market": script.market_id,
        "asset_id": script.tokens[0],
        "old_tick_size": "0.001",
        "new_tick_size": "0.01",
        "timestamp": str(script.ts_ms),
    }
    send(feed, script, tick)
    send(feed, script, tick | {"asset_id": script.tokens[1]})
    assert details(feed, K.TICK) == ["0.01"]
    assert kinds(feed).count(K.REST_WANTED) == 1
    send(feed, script, script.change("BUY", 4850, LOTS))
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED


def test_a_tick_that_our_prices_cannot_hold_is_refused() -> None:
    script = Scripted()
    feed = feed_with(script)
    event = {"event_type": "tick_size_change", "market": script.market_id, "asset_id": script.tokens[0]}
    send(feed, script, event | {"new_tick_size": "0.00001", "timestamp": str(T0)})
    assert K.TICK not in kinds(feed)
    assert feed.counters.rejected == 1
    assert feed.books[MarketId(script.market_id)].live


def test_best_prices_announced_with_changes_count_only_if_they_stay_wrong() -> None:
    script = Scripted(min_size="17")  # the hash cannot help
    feed = feed_with(script)
    market_id = MarketId(script.market_id)
    wrong = {"best_bid": "0.3", "best_ask": "1"}
    right: dict[str, str] = {}
    for at_ms, said in [(0, wrong), (1_900, wrong), (1_950, right), (3_000, wrong), (4_900, wrong), (5_000, wrong)]:
        assert feed.books[market_id].live
        # Of one token only: the hot path leaves it to its twin, which looks at every announcement.
        frame = script.change("BUY", 4600, (at_ms + 1) * LOTS, tokens=(0,))
        frame["price_changes"][0] |= said
        send(feed, script, frame, at_ms=T0 + at_ms)
    assert feed.counters.best_mismatches == 5
    assert feed.books[market_id].err == ErrCode.GAP
    assert details(feed, K.RESYNC) == ["resubscribe"]


def test_the_hot_path_looks_at_announced_best_prices_now_and_then() -> None:
    script = Scripted(min_size="17")
    feed = feed_with(script)
    script.bids[4950] = LOTS  # a level that we never hear of
    for n in range(1, 1_000):
        send(feed, script, script.change("BUY", 4600, n * LOTS), at_ms=T0 + n * 20)
        if not feed.books[MarketId(script.market_id)].live:
            break
    assert feed.books[MarketId(script.market_id)].err == ErrCode.GAP
    assert n * 20 >= 2_000


def best(script: Scripted, bid: str, ask: str, *, token: int = 0, after_ms: int = 1) -> dict[str, str]:
    return {
        "event_type": "best_bid_ask",
        "market": script.market_id,
        "asset_id": script.tokens[token],
        "best_bid": bid,
        "best_ask": ask,
        "spread": "0.01",
        "timestamp": str(script.ts_ms + after_ms),
    }


@pytest.mark.parametrize("token", [0, 1])
def test_best_prices_announced_alone_give_a_lost_change_away(token: int) -> None:
    # The change itself was lost and nothing came after it: no hash could tell.
    script = Scripted()
    feed = feed_with(script)
    market_id = MarketId(script.market_id)
    bid, ask = ("0.495", "0.51") if token == 0 else ("0.49", "0.505")
    send(feed, script, best(script, bid, ask, token=token), at_ms=T0)
    assert feed.verdict(market_id, now_ms=T0 + 1_999) is Integrity.VERIFIED
    assert feed.verdict(market_id, now_ms=T0 + 2_000) is Integrity.GAP
    assert not feed.books[market_id].live
    assert feed.counters.best_mismatches == 1


def test_best_prices_that_overtake_their_change_are_nothing() -> None:
    script = Scripted()
    feed = feed_with(script)
    market_id = MarketId(script.market_id)
    change = script.change("BUY", 4950, LOTS)
    send(feed, script, best(script, "0.495", "0.51"))
    send(feed, script, change)
    send(feed, script, best(script, "0.505", "0.51", after_ms=5))
    send(feed, script, script.change("BUY", 5050, LOTS, after_ms=3))
    send(feed, script, script.change("BUY", 5050, 0, after_ms=3))
    assert feed.verdict(market_id, now_ms=T0 + 10_000) is Integrity.VERIFIED
    send(feed, script, best(script, "0.495", ""), at_ms=T0 + 20_000)
    send(feed, script, best(script, "nonsense", ""), at_ms=T0 + 20_000)
    assert feed.counters.rejected == 1
    assert feed.counters.best_mismatches == 0
    assert feed.books[market_id].live


def test_a_crossed_book_that_cannot_be_proved_is_suspect() -> None:
    script = Scripted(min_size="17")
    feed = feed_with(script)
    send(feed, script, script.change("BUY", 5150, LOTS))
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.SUSPECT
    assert feed.counters.crossed == 1


# --- repair ---------------------------------------------------------------------------------------------------------


def test_an_overdue_dump_climbs_the_ladder_and_ends_at_rest() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf())
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    commands(feed)
    feed.tick(now_ms=T0 + 29_999)
    assert commands(feed) == []
    now_ms = T0 + 30_000
    feed.tick(now_ms=now_ms)
    assert [command["operation"] for command in commands(feed)] == ["unsubscribe", "subscribe"]
    assert feed.reconnect_reason is None
    now_ms += 10_000
    feed.tick(now_ms=now_ms)
    assert feed.reconnect_reason is not None
    feed.lost(now_ms=now_ms, reason="as asked")
    assert feed.reconnect_reason is None
    assert feed.deadline_ms() is None
    feed.opened(now_ms=now_ms + 1_000)
    assert commands(feed)[0]["type"] == "market"
    now_ms += 31_000
    feed.tick(now_ms=now_ms)
    assert "rest" in details(feed, K.REST_WANTED)
    feed.events.clear()
    feed.rest_book(rest(script), now_ms=now_ms + 100)
    book = feed.books[MarketId(script.market_id)]
    assert book.live
    assert_equal(feed, script)
    assert details(feed, K.LIVE) == ["rest"]
    # Nothing proves that the socket will speak: REST is asked again until it does.
    feed.tick(now_ms=now_ms + 30_100)
    assert details(feed, K.REST_WANTED).count("rest") == 1
    feed.rest_book(rest(script), now_ms=now_ms + 30_200)
    assert book.live
    send(feed, script, script.change("BUY", 4600, 5 * LOTS))
    feed.tick(now_ms=now_ms + 120_000)
    assert details(feed, K.REST_WANTED).count("rest") == 1
    assert feed.verdict(MarketId(script.market_id), now_ms=now_ms) is Integrity.VERIFIED


def test_a_book_from_rest_that_the_socket_never_follows_is_a_new_gap_from_its_last_proof() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf())
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    for now_ms in (T0 + 30_000, T0 + 40_000):
        feed.tick(now_ms=now_ms)
    feed.lost(now_ms=now_ms, reason="as asked")
    feed.opened(now_ms=now_ms)
    feed.tick(now_ms=now_ms + 30_000)
    feed.rest_book(rest(script), now_ms=now_ms + 30_100)
    proven_ns = (now_ms + 30_100) * NS
    book = feed.books[MarketId(script.market_id)]
    assert book.live
    feed.events.clear()
    script.set("BUY", 4700, 5 * LOTS)  # the socket says nothing of it
    feed.rest_book(rest(script), now_ms=now_ms + 60_100)
    feed.tick(now_ms=now_ms + 62_100)
    assert not book.live
    assert only(feed, K.GAP).since_ns == proven_ns
    assert details(feed, K.RESYNC) == ["resubscribe"]


def test_a_market_without_any_book_is_given_up_for_a_while_and_costs_one_reconnect() -> None:
    one, two = Scripted(1), Scripted(2)
    feed = feed_with(one)
    feed.add([two.market], now_ms=T0)
    reconnects = 0
    steps: list[str] = []
    for now_ms in range(T0, T0 + 1_200_000, 1_000):
        feed.tick(now_ms=now_ms)
        feed.receive(b"PONG", now_ms * NS)
        if feed.reconnect_reason is not None:
            reconnects += 1
            feed.lost(now_ms=now_ms, reason=feed.reconnect_reason)
            feed.opened(now_ms=now_ms)
            send(feed, one, one.dump())
        steps += details(feed, K.RESYNC)
        steps += ["marked"] * kinds(feed).count(K.MARKED)
        feed.events.clear()
    # The ladder once, then a minute of rest, then again without the reconnect, then two minutes, then four.
    once = ["resubscribe", "rest", "marked"]
    assert steps[:10] == ["resubscribe", "reconnect", "rest", "marked", *once, *once]
    assert reconnects == 2
    assert feed.counters.marked == steps.count("marked") <= 6
    assert feed.books[MarketId(one.market_id)].live


def test_a_market_that_keeps_breaking_climbs_the_ladder() -> None:
    script = Scripted()
    feed = feed_with(script)
    bad = script.change("BUY", 4850, LOTS)
    bad["price_changes"][0]["price"] = "0.123456"
    steps = []
    for turn in range(8):
        send(feed, script, bad, at_ms=T0 + turn)
        steps += details(feed, K.RESYNC)
        steps += ["marked"] * kinds(feed).count(K.MARKED)
        feed.events.clear()
        if feed.reconnect_reason:
            feed.lost(now_ms=T0 + turn, reason=feed.reconnect_reason)
            feed.opened(now_ms=T0 + turn)
        if turn < 4:
            send(feed, script, script.dump(), at_ms=T0 + turn)
        else:
            feed.rest_book(rest(script), now_ms=T0 + turn)
    assert steps == ["resubscribe", "resubscribe", "resubscribe", "reconnect", "rest", "marked"]


def test_a_market_that_breaks_now_and_then_is_only_resubscribed() -> None:
    script = Scripted()
    feed = feed_with(script)
    for turn in range(6):
        lose_one(script, feed)
        now_ms = T0 + turn * 63_000
        assert feed.verdict(MarketId(script.market_id), now_ms=now_ms) is Integrity.SUSPECT
        feed.tick(now_ms=now_ms + 500)
        feed.tick(now_ms=now_ms + 2_500)
        send(feed, script, script.dump(), at_ms=now_ms + 2_600)
        script.bids.pop(4600)
        send(feed, script, script.book(0, timestamp=str(script.ts_ms + 1)), at_ms=now_ms + 2_700)
        script.ts_ms += 1
    assert details(feed, K.RESYNC) == ["resnapshot", "resubscribe"] * 6


def test_a_lost_connection_is_one_gap_and_every_dump_after_it_a_repair() -> None:
    one, two = Scripted(1), Scripted(2)
    feed = feed_with(one, two)
    feed.outbox.append("PING")
    feed.lost(now_ms=T0 + 1_000, reason="cut")
    assert feed.outbox == []
    assert details(feed, K.GAP) == ["reconnecting: cut"]
    assert feed.counters.gaps == 1
    for book in feed.books.values():
        assert (book.live, book.err, book.integrity) == (False, ErrCode.RECONNECTING, Integrity.GAP)
        assert book.bids  # the last known levels stay for rows
    assert feed.verdict(MarketId(one.market_id), now_ms=T0) is Integrity.GAP
    feed.opened(now_ms=T0 + 3_000)
    assert len(commands(feed)) == 1
    send(feed, one, one.change("BUY", 4600, LOTS))  # before its dump: belongs to no book
    assert not feed.books[MarketId(one.market_id)].live
    feed.receive(encode(one.dump() + two.dump()), (T0 + 3_500) * NS)
    assert details(feed, K.REPAIRED) == ["reconnect", "reconnect"]
    assert [event.took_ms for event in feed.events if event.kind is K.REPAIRED] == [2_500, 2_500]
    assert feed.counters.repairs == 2
    assert_equal(feed, one)
    feed.lost(now_ms=T0 + 4_000, reason="cut")
    feed.lost(now_ms=T0 + 4_000, reason="cut again while down")
    assert feed.counters.gaps == 2


def test_a_repair_that_a_lost_connection_interrupts_goes_on_after_it() -> None:
    script = Scripted()
    feed = feed_with(script)
    now_ms = missed_one(feed, script) + 2_000
    feed.tick(now_ms=now_ms)
    feed.lost(now_ms=now_ms + 100, reason="cut")
    feed.opened(now_ms=now_ms + 1_000)
    feed.tick(now_ms=now_ms + 31_000)
    assert details(feed, K.RESYNC) == ["resnapshot", "resubscribe", "rest"]
    feed.rest_book(rest(script), now_ms=now_ms + 31_100)
    assert details(feed, K.REPAIRED) == ["rest"]


def test_a_repair_interrupted_before_it_asked_the_socket_begins_anew_on_the_new_connection() -> None:
    script = Scripted()
    feed = feed_with(script)
    now_ms = missed_one(feed, script)
    feed.lost(now_ms=now_ms, reason="cut")
    feed.opened(now_ms=now_ms)
    feed.tick(now_ms=now_ms + 30_000)
    assert details(feed, K.RESYNC) == ["resnapshot", "resubscribe"]


def test_seq_goes_on_across_subscriptions() -> None:
    script = Scripted()
    shelf = BookShelf()
    feed = PolymarketFeed(shelf)
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    send(feed, script, script.dump())
    send(feed, script, script.change("BUY", 4600, LOTS))
    seq = feed.books[MarketId(script.market_id)].seq
    feed.remove([MarketId(script.market_id)], now_ms=T0)
    assert len(shelf) == 0
    feed.add([script.market], now_ms=T0 + 1_000)
    send(feed, script, script.dump())
    assert feed.books[MarketId(script.market_id)].seq == seq + 1


# --- REST audits ----------------------------------------------------------------------------------------------------


def test_a_newer_rest_book_counts_if_it_is_not_overtaken_within_two_seconds() -> None:
    script = Scripted()
    feed = feed_with(script)
    script.change("BUY", 4600, LOTS)  # never arrives
    feed.rest_book(rest(script), now_ms=T0 + 5_000)
    book = feed.books[MarketId(script.market_id)]
    assert book.live
    feed.tick(now_ms=T0 + 6_999)
    assert book.live
    feed.tick(now_ms=T0 + 7_000)
    assert book.err == ErrCode.GAP
    assert details(feed, K.RESYNC) == ["resubscribe"]


def test_a_newer_rest_book_that_the_socket_overtakes_is_nothing() -> None:
    script = Scripted()
    feed = feed_with(script)
    slow = script.change("BUY", 4600, LOTS)
    feed.rest_book(rest(script), now_ms=T0 + 5_000)
    send(feed, script, slow)
    feed.tick(now_ms=T0 + 7_000)
    assert feed.books[MarketId(script.market_id)].live
    assert K.GAP not in kinds(feed)


def test_an_equal_rest_book_proves_ours() -> None:
    script = Scripted()
    feed = feed_with(script)
    send(feed, script, script.change("BUY", 4600, LOTS, tokens=(0,)) | {"hash": ""})
    feed.rest_book(rest(script), now_ms=T0)
    assert feed.books[MarketId(script.market_id)].integrity is Integrity.VERIFIED


@pytest.mark.parametrize("changed", [{"hash_ok": False}, {"ts_venue_ms": None}, {"market_id": MarketId("0x0")}])
def test_a_rest_book_that_proves_nothing_is_not_used(changed: dict[str, object]) -> None:
    script = Scripted()
    feed = feed_with(script)
    script.change("BUY", 4600, LOTS)
    feed.rest_book(rest(script, **changed), now_ms=T0)
    feed.tick(now_ms=T0 + 10_000)
    assert feed.books[MarketId(script.market_id)].live


# --- heartbeat ------------------------------------------------------------------------------------------------------


def test_a_ping_goes_out_every_ten_seconds_and_two_unanswered_end_the_connection() -> None:
    feed = feed_with(Scripted())
    assert feed.deadline_ms() == T0 + 10_000
    feed.tick(now_ms=T0 + 10_000)
    assert feed.outbox == ["PING"]
    feed.receive(b"PONG", (T0 + 10_020) * NS)
    feed.tick(now_ms=T0 + 20_000)
    feed.tick(now_ms=T0 + 30_000)
    assert feed.reconnect_reason is None
    feed.tick(now_ms=T0 + 40_000)
    assert feed.reconnect_reason == "heartbeat"


def test_data_is_a_sign_of_life_also_without_pong() -> None:
    script = Scripted()
    feed = feed_with(script)
    for step in range(1, 10):
        feed.tick(now_ms=T0 + step * 10_000)
        send(feed, script, script.change("BUY", 4600, step * LOTS), at_ms=T0 + step * 10_000 + 5)
    assert feed.reconnect_reason is None


def test_pings_are_spread_by_the_given_rng() -> None:
    deadlines = {feed_with(Scripted(), rng=random.Random(seed)).deadline_ms() for seed in range(5)}
    assert len(deadlines) > 1
    assert all(T0 + 9_000 <= at_ms <= T0 + 10_000 for at_ms in deadlines if at_ms is not None)


# --- global events --------------------------------------------------------------------------------------------------


def resolved(script: Scripted) -> dict[str, object]:
    return {
        "event_type": "market_resolved",
        "id": "1",
        "market": script.market_id,
        "assets_ids": list(script.tokens),
        "winning_asset_id": script.tokens[0],
        "winning_outcome": "Yes",
        "timestamp": str(script.ts_ms),
        "tags": [],
    }


def test_a_resolved_market_closes_its_book_and_is_not_repaired() -> None:
    script = Scripted()
    feed = feed_with(script)
    send(feed, script, resolved(script))
    book = feed.books[MarketId(script.market_id)]
    assert (book.live, book.err) == (False, ErrCode.CLOSED)
    assert only(feed, K.RESOLVED).detail == "Yes"
    feed.tick(now_ms=T0 + 60_000)
    feed.lost(now_ms=T0 + 60_000, reason="cut")
    assert book.err == ErrCode.CLOSED
    feed.opened(now_ms=T0 + 61_000)
    assert commands(feed) == []
    assert K.GAP not in kinds(feed)


def test_a_market_that_trades_on_after_its_resolution_was_announced_is_live_again() -> None:
    script = Scripted()
    feed = feed_with(script)
    send(feed, script, resolved(script))
    send(feed, script, script.dump())
    assert feed.books[MarketId(script.market_id)].live


def test_news_of_other_markets_are_reported_only_where_asked_for() -> None:
    script, stranger = Scripted(1), Scripted(2)
    listed = {
        "event_type": "new_market",
        "id": "2",
        "market": stranger.market_id,
        "question": "Will it?",
        "assets_ids": list(stranger.tokens),
        "outcomes": ["Yes", "No"],
        "timestamp": str(T0),
        "fee_schedule": {"exponent": "1", "rate": "0.07", "taker_only": True, "rebate_rate": "0.2"},
    }
    for follow_all, expected in [(False, []), (True, [K.LISTED, K.RESOLVED])]:
        feed = feed_with(script, follow_all=follow_all)
        send(feed, stranger, listed)
        send(feed, stranger, resolved(stranger))
        assert kinds(feed) == expected
        assert feed.counters.rejected == 0
        assert all(event.market_id == stranger.market_id for event in feed.events)


# --- distrust from outside ------------------------------------------------------------------------------------------


def test_a_market_distrusted_from_outside_is_subscribed_anew_and_the_gap_begins_at_its_last_proof() -> None:
    script = Scripted()
    feed = feed_with(script)
    commands(feed)
    assert feed.distrust(MarketId(script.market_id), now_ms=T0 + 50_000, since_ns=1)
    assert [command["operation"] for command in commands(feed)] == ["unsubscribe", "subscribe"]
    (gap,) = (event for event in feed.events if event.kind is K.GAP)
    assert gap.since_ns == T0 * NS
    assert not feed.distrust(MarketId(script.market_id), now_ms=T0 + 51_000), "one repair at a time"
    send(feed, script, script.dump())
    assert feed.books[MarketId(script.market_id)].live


def test_a_first_book_that_is_known_to_be_missing_is_asked_for_at_once() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf())
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    commands(feed)
    assert feed.distrust(MarketId(script.market_id), now_ms=T0 + 8_000)
    assert [command["operation"] for command in commands(feed)] == ["unsubscribe", "subscribe"]
    assert [event.kind for event in feed.events] == [K.RESYNC], "nothing was known that could be missing since"
    assert not feed.distrust(MarketId("0xnot-held"), now_ms=T0 + 8_000)


# --- replay ---------------------------------------------------------------------------------------------------------


def test_a_passive_feed_takes_what_it_sees_and_says_nothing() -> None:
    one, two = Scripted(1, neg_risk=True), Scripted(2, tick_e4=10)
    feed = PolymarketFeed(BookShelf(), passive=True)
    feed.receive(encode(one.dump()), T0 * NS)
    feed.receive(encode(two.book(0, dump=True)), T0 * NS)
    send(feed, one, one.change("BUY", 4600, LOTS))
    send(feed, two, two.change("SELL", 5300, LOTS))
    for script in (one, two):
        assert_equal(feed, script)
        assert feed.tokens(MarketId(script.market_id)) == script.tokens
        assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.VERIFIED
    tick = {"event_type": "tick_size_change", "market": one.market_id, "asset_id": one.tokens[0]}
    send(feed, one, tick | {"old_tick_size": "0.01", "new_tick_size": "0.001", "timestamp": str(T0)})
    assert kinds(feed) == [K.LIVE, K.LIVE, K.TICK]
    assert feed.hash_era is HashEra.TEN
    assert feed.outbox == []
    assert feed.deadline_ms() is None


def test_a_passive_feed_that_meets_the_second_token_first_mirrors_the_other_way() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf(), passive=True)
    send(feed, script, script.book(1, dump=True))
    send(feed, script, script.change("BUY", 4600, LOTS))
    book = feed.books[MarketId(script.market_id)]
    assert (book.bids, book.asks) == script.sides(1)
    assert feed.tokens(MarketId(script.market_id)) == script.tokens[::-1]


def test_checking_each_hash_counts_them_by_token_and_finds_the_wrong_one() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf(), passive=True, check_each=True)
    feed.receive(encode(script.dump()), T0 * NS)
    for n in range(3):
        send(feed, script, script.change("BUY", 4600, (n + 1) * LOTS))
    assert [feed.hash_counts(token) for token in script.tokens] == [(4, 4), (4, 4)]  # type: ignore[arg-type]
    lose_one(script, feed)
    assert [feed.hash_counts(token) for token in script.tokens] == [(5, 4), (5, 4)]  # type: ignore[arg-type]
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.SUSPECT
    assert feed.hash_counts("none") == (0, 0)  # type: ignore[arg-type]


def test_counters_add_up() -> None:
    script = Scripted()
    feed = feed_with(script)
    frames = [encode(script.change("BUY", 4600, (n + 1) * LOTS)) for n in range(100)]
    before = feed.counters.frames, feed.counters.bytes
    for frame in frames:
        feed.receive(frame, T0 * NS)
    feed.receive(b"PONG", (T0 + 1) * NS)
    assert feed.counters.frames == before[0] + 101
    assert feed.counters.bytes == before[1] + sum(map(len, frames)) + 4
    assert feed.counters.changes == 100
    assert feed.last_recv_ns == (T0 + 1) * NS


# --- the rarer turns ------------------------------------------------------------------------------------------------


def test_a_market_without_two_tokens_is_refused_and_the_others_taken() -> None:
    good = Scripted(1)
    broken = msgspec.structs.replace(Scripted(2).market, outcome_ids=())
    feed = PolymarketFeed(BookShelf())
    feed.add([broken, good.market], now_ms=T0)
    assert set(feed.books) == {good.market_id}
    assert only(feed, K.REJECTED).market_id == broken.market_id
    feed.remove([broken.market_id], now_ms=T0)
    assert feed.outbox == []


def test_a_listing_that_says_little_is_held_all_the_same() -> None:
    script = Scripted()
    bare = msgspec.structs.replace(script.market, tick_grid=(), min_size_e6=0)
    feed = PolymarketFeed(BookShelf())
    feed.add([bare], now_ms=T0)
    feed.opened(now_ms=T0)
    send(feed, script, script.dump())
    assert feed.verdict(bare.market_id, now_ms=T0) is Integrity.VERIFIED


def test_a_tick_of_the_dump_that_does_not_read_only_costs_the_proof() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf())
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    send(feed, script, script.book(0, dump=True, tick_size="fine", last_trade_price="0.77"))
    assert_equal(feed, script)
    assert feed.books[MarketId(script.market_id)].live


def test_a_pending_audit_waits_for_its_time_and_ends_with_a_newer_book() -> None:
    script = Scripted()
    feed = feed_with(script)
    script.change("BUY", 4600, LOTS)
    feed.rest_book(rest(script), now_ms=T0)
    feed.tick(now_ms=T0)
    assert feed.deadline_ms() == T0 + 2_000
    feed.rest_book(rest(script, ts_venue_ms=script.ts_ms + 5), now_ms=T0 + 500)
    feed.tick(now_ms=T0 + 2_000)  # the later REST book has its own grace
    assert feed.deadline_ms() == T0 + 2_500
    send(feed, script, script.book(0, timestamp=str(script.ts_ms + 5)))
    feed.tick(now_ms=T0 + 10_000)
    assert feed.books[MarketId(script.market_id)].live


def test_an_audit_whose_book_was_overtaken_by_a_change_is_nothing() -> None:
    script = Scripted()
    feed = feed_with(script)
    other = rest(script, bids={100: LOTS}, ts_venue_ms=script.ts_ms)
    feed.rest_book(other, now_ms=T0)
    send(feed, script, script.change("BUY", 4600, LOTS))
    feed.tick(now_ms=T0 + 2_000)
    assert feed.books[MarketId(script.market_id)].live


def test_an_equal_rest_book_without_a_hash_proves_nothing() -> None:
    script = Scripted(min_size="17")
    feed = feed_with(script)
    feed.rest_book(rest(script, hash_ok=None, hash=""), now_ms=T0)
    assert feed.verdict(MarketId(script.market_id), now_ms=T0) is Integrity.UNVERIFIED


def test_a_third_token_of_a_market_in_replay_is_ignored() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf(), passive=True)
    feed.receive(encode(script.dump()), T0 * NS)
    send(feed, script, script.book(0, asset_id="333"))
    assert feed.tokens(MarketId(script.market_id)) == script.tokens
    assert feed.counters.ignored == 1


def test_prints_and_ticks_of_strangers_and_prints_that_do_not_read() -> None:
    script, stranger = Scripted(1), Scripted(2)
    feed = feed_with(script)
    event = {"event_type": "last_trade_price", "market": stranger.market_id, "asset_id": stranger.tokens[0]}
    send(feed, stranger, event | {"price": "0.5", "timestamp": str(T0)})
    assert (feed.counters.trades, feed.counters.rejected) == (1, 0)
    send(feed, stranger, event | {"event_type": "tick_size_change", "new_tick_size": "0.1"})
    send(feed, stranger, event | {"event_type": "best_bid_ask", "best_bid": "0.1"})
    assert feed.counters.ignored == 2
    event = {"event_type": "last_trade_price", "market": script.market_id, "asset_id": script.tokens[0]}
    for price in ("1.5", "", None, "0.5", "0.4876543"):
        send(feed, script, event | {"price": price, "size": "3", "side": "SELL", "timestamp": str(T0)})
    assert feed.counters.rejected == 3
    # Half of the venue's prices are averages, finer than any tick.
    assert [(trade.px, trade.sz_e6, trade.taker_side) for trade in feed.take_trades()] == [
        (0.5, 3_000_000, "sell"),
        (0.4876543, 3_000_000, "sell"),
    ]
    assert feed.take_trades() == []
    assert feed.books[MarketId(script.market_id)].live  # a print is no part of the book


def test_a_second_repair_within_ten_minutes_goes_to_rest_instead_of_reconnecting() -> None:
    one, two = Scripted(1), Scripted(2)
    feed = PolymarketFeed(BookShelf())
    feed.add([one.market, two.market], now_ms=T0)
    feed.opened(now_ms=T0)
    for step_ms in (30_000, 40_000):
        feed.tick(now_ms=T0 + step_ms)
    assert details(feed, K.RESYNC) == ["resubscribe", "resubscribe", "reconnect", "rest"]


def test_best_prices_before_any_book_are_ignored() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf())
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    send(feed, script, best(script, "0.1", "0.2"))
    send(feed, script, script.dump())
    assert feed.verdict(MarketId(script.market_id), now_ms=T0 + 60_000) is Integrity.VERIFIED


def test_a_wrong_best_price_of_a_book_that_its_hash_proves_is_the_venues() -> None:
    script = Scripted()
    feed = feed_with(script)
    for at_ms in (0, 3_000):
        frame = script.change("BUY", 4600, (at_ms + 1) * LOTS, tokens=(0,))
        frame["price_changes"][0] |= {"best_bid": "0.3"}
        send(feed, script, frame, at_ms=T0 + at_ms)
    assert feed.counters.best_mismatches == 2
    assert feed.books[MarketId(script.market_id)].live


@pytest.mark.parametrize("books", [False, True], ids=["without books", "with a book"])
def test_a_connection_that_answers_pings_is_not_judged_by_its_silence(books: bool) -> None:
    """That is the collector's matter, which can compare with REST and with a second connection."""
    feed = feed_with(Scripted()) if books else PolymarketFeed(BookShelf())
    if not books:
        feed.opened(now_ms=T0)
    feed.events.clear()
    for second in range(300):
        feed.tick(now_ms=T0 + second * 1_000)
        feed.receive(b"PONG", (T0 + second * 1_000) * NS)
    assert feed.reconnect_reason is None
    assert feed.events == []


def test_a_market_that_was_closed_is_not_repaired_when_its_time_comes() -> None:
    script = Scripted()
    feed = PolymarketFeed(BookShelf())
    feed.add([script.market], now_ms=T0)
    feed.opened(now_ms=T0)
    send(feed, script, resolved(script))
    feed.tick(now_ms=T0 + 60_000)
    assert K.RESYNC not in kinds(feed)


# --- since when -----------------------------------------------------------------------------------------------------


def test_a_failed_hash_puts_everything_since_the_last_proof_in_doubt() -> None:
    script = Scripted()
    feed = feed_with(script)
    market_id = MarketId(script.market_id)
    send(feed, script, script.change("BUY", 4600, LOTS, after_ms=700))
    assert feed.verdict(market_id, now_ms=T0 + 900) is Integrity.VERIFIED
    assert feed.proven_ms(market_id) == T0 + 700  # not the moment of the check: later changes may have been lost
    script.change("BUY", 4500, LOTS)  # lost
    send(feed, script, script.change("BUY", 4600, 2 * LOTS, after_ms=5_000))
    assert feed.verdict(market_id, now_ms=script.ts_ms + 1) is Integrity.SUSPECT
    assert only(feed, K.GAP).since_ns == (T0 + 700) * NS
    assert feed.proven_ms(market_id) == T0 + 700


def test_an_equal_rest_book_moves_the_last_proof_on() -> None:
    script = Scripted(min_size="17")
    feed = feed_with(script)
    market_id = MarketId(script.market_id)
    assert feed.proven_ms(market_id) is None
    assert feed.proven_ms(MarketId("0xunknown")) is None
    feed.rest_book(rest(script), now_ms=T0 + 60_000)
    assert feed.proven_ms(market_id) == T0 + 60_000


def test_a_lost_connection_was_known_good_until_its_last_frame() -> None:
    script = Scripted()
    feed = feed_with(script)
    send(feed, script, script.change("BUY", 4600, LOTS), at_ms=T0 + 400)
    feed.lost(now_ms=T0 + 90_000, reason="frozen")
    assert only(feed, K.GAP).since_ns == (T0 + 400) * NS


@pytest.mark.parametrize(
    ("min_size", "since_ms"), [("5", T0 + 700), ("17", T0 + 3_000)], ids=["proved", "never proved"]
)
def test_a_refused_change_takes_along_the_hash_that_would_have_told_of_a_loss_before_it(
    min_size: str, since_ms: int
) -> None:
    script = Scripted(min_size=min_size)
    feed = feed_with(script)
    send(feed, script, script.change("BUY", 4600, LOTS, after_ms=700))
    feed.verdict(MarketId(script.market_id), now_ms=T0 + 900)
    script.change("BUY", 4500, LOTS)  # lost, and nothing of this market before the next frame
    frame = script.change("BUY", 4600, 2 * LOTS)
    frame["price_changes"][0]["price"] = "one half"
    send(feed, script, frame, at_ms=T0 + 3_000)
    assert only(feed, K.GAP).since_ns == since_ms * NS
