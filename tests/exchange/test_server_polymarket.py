"""Polymarket's market channel: what is answered, sent, and in which words."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest
from handmade import T0, Client, HandSource, Rig, polymarket_listing

from overround.exchange.book_text import HashInputs, book_hash
from overround.exchange.model import Change, ChangeKind
from overround.exchange.polymarket_hub import PolymarketHub
from overround.exchange.settings import ExchangeOptions, HashEra, PolymarketOptions
from overround.market import Venue

PLAIN = PolymarketOptions(spaced_share=0.0)


def _hub(options: PolymarketOptions = PLAIN, markets: int = 2) -> tuple[HandSource, PolymarketHub]:
    source = HandSource([polymarket_listing(n) for n in range(1, markets + 1)])
    return source, PolymarketHub(source, options, random.Random(5))


def _tokens(n: int) -> list[str]:
    return list(polymarket_listing(n).tokens)


def test_the_first_message_must_subscribe() -> None:
    client = Client(_hub()[1])
    assert client.send({"operation": "subscribe", "assets_ids": _tokens(1)}) == []
    assert client.wire.ended is not None
    assert client.wire.ended.startswith("1008")


def test_the_initial_dump_is_one_array_with_tick_and_last_price() -> None:
    client = Client(_hub()[1])
    (dump,) = client.send({"assets_ids": _tokens(1) + _tokens(2), "type": "market"})
    assert [book["asset_id"] for book in dump] == _tokens(1) + _tokens(2)
    assert dump[0]["tick_size"] == "0.01"
    assert dump[0]["last_trade_price"] == ""
    assert [level["price"] for level in dump[0]["bids"]] == ["0.01", "0.39", "0.4"], "best bid last"
    assert [level["price"] for level in dump[0]["asks"]] == ["0.44", "0.43"], "best ask last"
    assert [level["price"] for level in dump[1]["asks"]] == ["0.99", "0.61", "0.6"], "the mirror"


def test_a_token_subscribed_twice_gives_no_new_dump() -> None:
    client = Client(_hub()[1])
    client.send({"assets_ids": _tokens(1), "type": "market"})
    assert client.send({"operation": "subscribe", "assets_ids": _tokens(1)}) == ["NO NEW ASSETS"]
    (dump,) = client.send({"operation": "subscribe", "assets_ids": _tokens(1) + _tokens(2)})
    assert [book["asset_id"] for book in dump] == _tokens(2)
    assert client.send({"operation": "unsubscribe", "assets_ids": _tokens(1)}) == []
    (again,) = client.send({"operation": "subscribe", "assets_ids": _tokens(1)})
    assert len(again) == 2


def test_unknown_and_closed_tokens_give_an_empty_array() -> None:
    source, hub = _hub()
    source.listings[polymarket_listing(2).key].status = "resolved"
    client = Client(hub)
    assert client.send({"assets_ids": ["123"], "type": "market"}) == [[]]
    assert client.send({"operation": "subscribe", "assets_ids": _tokens(2)}) == [[]]


def test_initial_dump_can_be_declined() -> None:
    client = Client(_hub()[1])
    assert client.send({"assets_ids": _tokens(1), "type": "market", "initial_dump": False}) == []


def test_ping_is_answered_and_junk_is_not() -> None:
    _, hub = _hub()
    client = Client(hub)
    assert client.send("PING") == ["PONG"]
    assert client.send("{nonsense") == []
    assert hub.ignored_messages == 1


def test_one_change_is_one_frame_with_two_mirrored_entries_hashed_after_it() -> None:
    source, hub = _hub()
    client = Client(hub)
    key = polymarket_listing(1).key
    client.send({"assets_ids": _tokens(1)[:1], "type": "market"})
    source.level(key, T0 + 7, bid=False, px=4250, sz=12_500_000)
    hub.apply(source.advance(T0 + 7), T0 + 7)
    (frame,) = client.take()
    assert frame["timestamp"] == str(T0 + 7)
    first, second = frame["price_changes"]
    assert (first["asset_id"], second["asset_id"]) == tuple(_tokens(1)), "both tokens, though one is subscribed"
    assert (first["price"], first["size"], first["side"]) == ("0.425", "12.5", "SELL")
    assert (second["price"], second["size"], second["side"]) == ("0.575", "12.5", "BUY")
    assert (first["best_bid"], first["best_ask"]) == ("0.4", "0.425")
    assert (second["best_bid"], second["best_ask"]) == ("0.575", "0.6")
    bids, asks = source.levels(key)
    for index, entry in enumerate((first, second)):
        inputs = HashInputs(
            era=HashEra.TEN, market=key, asset_id=_tokens(1)[index], min_order_size="5", tick_size="0.01",
            neg_risk=False, last_trade_price="",
        )  # fmt: skip
        assert entry["hash"] == book_hash(inputs, timestamp=str(T0 + 7), bids=bids, asks=asks, second=index == 1)


def test_empty_sides_print_as_zero_and_one() -> None:
    source, hub = _hub()
    client = Client(hub)
    key = polymarket_listing(1).key
    client.send({"assets_ids": _tokens(1), "type": "market"})
    for px in (4300, 4400):
        source.level(key, T0, bid=False, px=px, sz=0)
    hub.apply(source.advance(T0), T0)
    last = client.take()[-1]["price_changes"]
    assert [(entry["best_bid"], entry["best_ask"]) for entry in last] == [("0.4", "1"), ("0", "0.6")]
    assert [entry["size"] for entry in last] == ["0", "0"]


def test_after_a_match_both_tokens_get_a_book_and_the_print_follows_late() -> None:
    source, hub = _hub()
    client = Client(hub)
    key = polymarket_listing(1).key
    client.send({"assets_ids": _tokens(1), "type": "market"})
    source.level(key, T0 + 5, bid=False, px=4300, sz=0)
    source.trade(key, T0 + 5, buys=True, px=4300, sz=5_000_000)
    hub.apply(source.advance(T0 + 5), T0 + 5)
    change, *books = client.take()
    assert [book["asset_id"] for book in books] == _tokens(1)
    assert {frame["timestamp"] for frame in (change, *books)} == {str(T0 + 5)}
    assert "tick_size" not in books[0]
    assert "last_trade_price" not in books[0]
    assert [book["hash"] for book in books] == [entry["hash"] for entry in change["price_changes"]]
    due = hub.next_ms()
    assert due is not None
    assert T0 + 6 <= due <= T0 + 5 + 66
    hub.poll(due - 1)
    assert client.take() == []
    hub.poll(due)
    (trade,) = client.take()
    assert trade["event_type"] == "last_trade_price"
    assert trade["asset_id"] in _tokens(1)
    price = "0.43" if trade["asset_id"] == _tokens(1)[0] else "0.57"
    assert trade["price"] == price
    assert trade["side"] == ("BUY" if trade["asset_id"] == _tokens(1)[0] else "SELL")


@pytest.mark.parametrize("early", [True, False])
def test_the_hash_moves_to_the_new_last_price_at_the_match_or_at_its_print(*, early: bool) -> None:
    source, hub = _hub(PolymarketOptions(spaced_share=0.0, last_trade_early=early))
    client = Client(hub)
    key = polymarket_listing(1).key
    client.send({"assets_ids": _tokens(1), "type": "market"})
    source.level(key, T0 + 5, bid=False, px=4300, sz=1_000_000)
    source.trade(key, T0 + 5, buys=True, px=4300, sz=4_000_000)
    hub.apply(source.advance(T0 + 5), T0 + 5)
    change = client.take()[0]

    def hashes(*texts: str) -> set[str]:
        bids, asks = source.levels(key)
        found = set()
        for text in texts:
            inputs = HashInputs(
                era=HashEra.TEN, market=key, asset_id=_tokens(1)[0], min_order_size="5", tick_size="0.01",
                neg_risk=False, last_trade_price=text,
            )  # fmt: skip
            found.add(book_hash(inputs, timestamp=str(T0 + 5), bids=bids, asks=asks))
        return found

    moved = hashes("0.43", "0.430", "0.57", "0.570")
    assert (change["price_changes"][0]["hash"] in moved) is early
    assert (change["price_changes"][0]["hash"] in hashes("")) is not early
    assert change["price_changes"][0]["hash"] in hub.hash_of(key, 1, T0 + 5, *source.levels(key))
    hub.poll(T0 + 500)
    (dump,) = Client(hub, number=2).send({"assets_ids": _tokens(1), "type": "market"})
    assert dump[0]["hash"] in moved
    assert dump[0]["last_trade_price"] in {"0.43", "0.430", "0.57", "0.570"}


def test_custom_features_come_only_where_asked_for_and_best_prices_come_first() -> None:
    source, hub = _hub()
    plain, custom = Client(hub), Client(hub, number=2)
    key = polymarket_listing(1).key
    plain.send({"assets_ids": _tokens(1), "type": "market"})
    custom.send({"assets_ids": _tokens(1), "type": "market", "custom_feature_enabled": True})
    source.level(key, T0 + 5, bid=True, px=4200, sz=1_000_000)
    source.level(key, T0 + 6, bid=True, px=4200, sz=2_000_000)
    hub.apply(source.advance(T0 + 6), T0 + 6)
    assert [frame["event_type"] for frame in plain.take()] == ["price_change", "price_change"]
    kinds = custom.take()
    assert [frame["event_type"] for frame in kinds] == ["best_bid_ask", "best_bid_ask", "price_change", "price_change"]
    assert int(kinds[0]["timestamp"]) > int(kinds[2]["timestamp"]), "neighbours go back in time"
    listed = polymarket_listing(8)
    source.listings[key].result, source.listings[key].status = 1, "resolved"
    hub.apply([source.add(listed)], T0 + 7)
    hub.apply([Change(kind=ChangeKind.STATUS, key=key, ts_ms=T0 + 8, status="resolved")], T0 + 8)
    assert plain.take() == []
    new, resolved = custom.take()
    assert new["event_type"] == "new_market"
    assert resolved["winning_asset_id"] == _tokens(1)[1]
    assert len(custom.send({"operation": "subscribe", "assets_ids": list(listed.tokens)})[0]) == 2


def test_a_tick_change_is_told_for_each_subscribed_token_and_enters_the_hash() -> None:
    source, hub = _hub()
    client = Client(hub)
    key = polymarket_listing(1).key
    client.send({"assets_ids": _tokens(1), "type": "market"})
    source.queue(Change(kind=ChangeKind.TICK, key=key, ts_ms=T0 + 1, tick_e4=10))
    source.level(key, T0 + 2, bid=True, px=4005, sz=1_000_000)
    hub.apply(source.advance(T0 + 2), T0 + 2)
    first, second, change = client.take()
    assert [first["asset_id"], second["asset_id"]] == _tokens(1)
    assert (first["old_tick_size"], first["new_tick_size"]) == ("0.01", "0.001")
    inputs = HashInputs(
        era=HashEra.TEN, market=key, asset_id=_tokens(1)[0], min_order_size="5", tick_size="0.001", neg_risk=False,
        last_trade_price="",
    )  # fmt: skip
    bids, asks = source.levels(key)
    assert change["price_changes"][0]["hash"] == book_hash(inputs, timestamp=str(T0 + 2), bids=bids, asks=asks)


def test_frames_are_written_by_two_serialisers_but_the_dump_by_one() -> None:
    source, hub = _hub(PolymarketOptions(spaced_share=0.5))
    client = Client(hub)
    key = polymarket_listing(1).key
    hub.receive(client.link, json.dumps({"assets_ids": _tokens(1), "type": "market"}), T0)
    client.link.flush()
    (dump,) = client.wire.take()
    assert ", " not in dump
    for n in range(60):
        source.level(key, T0 + n, bid=True, px=4100, sz=1_000_000 + n)
    hub.apply(source.advance(T0 + 60), T0 + 60)
    client.link.flush()
    spaced = [", " in text for text in client.wire.take()]
    assert 10 < sum(spaced) < 50


def test_some_prints_are_stamped_before_their_predecessor() -> None:
    source, hub = _hub(PolymarketOptions(spaced_share=0.0, back_stamp_share=0.06))
    client = Client(hub)
    key = polymarket_listing(1).key
    client.send({"assets_ids": _tokens(1), "type": "market"})
    back = 0
    for n in range(600):
        ts = T0 + n * 100
        source.level(key, ts, bid=False, px=4300, sz=5_000_000 + n)
        source.trade(key, ts, buys=True, px=4300, sz=1_000_000)
        hub.apply(source.advance(ts), ts)
        hub.poll(ts + 99)
        stamps = [int(frame["timestamp"]) for frame in client.take()]
        back += sum(later < earlier for earlier, later in pairwise(stamps))
    assert 0.03 < back / 600 < 0.10


def test_a_connection_without_subscription_or_heartbeat_is_closed() -> None:
    _, hub = _hub()
    idle, quiet = Client(hub), Client(hub, number=2)
    quiet.send({"assets_ids": _tokens(1), "type": "market"})
    hub.housekeeping(T0 + 10_001)
    assert idle.wire.ended == "1008 no subscription"
    assert quiet.wire.ended is None
    hub.housekeeping(T0 + 30_001)
    assert quiet.wire.ended == "1001 no heartbeat"


def test_a_slow_reader_is_dropped() -> None:
    rig = Rig(options=ExchangeOptions(buffer_bytes=1000))
    client = rig.client(Venue.POLYMARKET)
    client.link._dirty = rig.exchange._dirty.append
    client.subscribe(*rig.polymarket.listings)
    client.wire.stuck = 1001
    rig.change(Venue.POLYMARKET)
    assert client.wire.ended == "abort"


def test_a_market_nobody_watches_costs_no_text() -> None:
    source, hub = _hub()
    client = Client(hub)
    key = polymarket_listing(1).key
    client.send({"assets_ids": _tokens(1), "type": "market"})
    client.send({"operation": "unsubscribe", "assets_ids": _tokens(1)})
    source.level(key, T0 + 1, bid=True, px=4100, sz=1_000_000)
    hub.apply(source.advance(T0 + 1), T0 + 1)
    assert client.take() == []
    (dump,) = client.send({"operation": "subscribe", "assets_ids": _tokens(1)})
    assert {"price": "0.41", "size": "1"} in dump[0]["bids"], "a later dump has what happened meanwhile"


def test_a_change_older_than_the_dump_may_follow_it() -> None:
    source, hub = _hub(PolymarketOptions(spaced_share=0.0, stale_after_dump_share=1.0))
    key = polymarket_listing(1).key
    before = [dict(side) for side in source.levels(key)]
    source.level(key, T0 + 1, bid=True, px=4100, sz=1_000_000)
    source.level(key, T0 + 2, bid=True, px=4100, sz=2_000_000)
    hub.apply(source.advance(T0 + 2), T0 + 2)
    dump, stale = Client(hub).send({"assets_ids": _tokens(1), "type": "market"})
    assert dump[0]["timestamp"] == str(T0 + 2)
    assert stale["timestamp"] == str(T0 + 1)
    entry = stale["price_changes"][0]
    assert (entry["price"], entry["size"]) == ("0.41", "1")
    inputs = HashInputs(
        era=HashEra.TEN, market=key, asset_id=_tokens(1)[0], min_order_size="5", tick_size="0.01", neg_risk=False,
        last_trade_price="",
    )  # fmt: skip
    bids = {**before[0], 4100: 1_000_000}
    assert entry["hash"] == book_hash(inputs, timestamp=str(T0 + 1), bids=bids, asks=before[1])


def test_tokens_beyond_the_silent_limit_get_nothing() -> None:
    source, hub = _hub(PolymarketOptions(spaced_share=0.0, most_tokens=2))
    client = Client(hub)
    (dump,) = client.send({"assets_ids": _tokens(1) + _tokens(2), "type": "market"})
    assert [book["asset_id"] for book in dump] == _tokens(1)
    source.level(polymarket_listing(2).key, T0 + 1, bid=True, px=4100, sz=1_000_000)
    hub.apply(source.advance(T0 + 1), T0 + 1)
    assert client.take() == []


def test_markets_that_are_listed_no_more_are_forgotten() -> None:
    source, hub = _hub()
    key = polymarket_listing(2).key
    token = _tokens(2)[0]
    assert hub.rest_book(token) is not None
    del source.listings[key]
    assert hub.rest_book(token) is None
    hub.housekeeping(T0 + 60_001)
    assert hub.listing(key) is None
    assert hub.listing(polymarket_listing(1).key) is not None
