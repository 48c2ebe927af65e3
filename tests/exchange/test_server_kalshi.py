"""Kalshi's socket: sids, numbers, answers and errors."""

from __future__ import annotations

import random
from typing import Any

import pytest
from handmade import T0, Client, HandSource, Rig, kalshi_listing

from overround.exchange.kalshi_hub import KalshiHub
from overround.exchange.model import Change, ChangeKind
from overround.exchange.settings import ExchangeOptions, KalshiOptions
from overround.market import Venue

A, B, C = (kalshi_listing(n).key for n in (1, 2, 3))


def _hub(options: KalshiOptions | None = None) -> tuple[HandSource, KalshiHub]:
    source = HandSource([kalshi_listing(n) for n in (1, 2, 3)])
    return source, KalshiHub(source, options or KalshiOptions(), random.Random(5))


def _subscribe(client: Client, *tickers: str, channels: list[str] | None = None, **more: Any) -> list[Any]:
    params = {"channels": channels or ["orderbook_delta"], "market_tickers": list(tickers), **more}
    return client.send({"id": 1, "cmd": "subscribe", "params": params})


def test_subscribed_has_no_seq_and_each_market_gets_a_numbered_snapshot() -> None:
    client = Client(_hub()[1])
    answer, first, second = _subscribe(client, A, B)
    assert answer["type"] == "subscribed"
    assert "seq" not in answer
    assert "sid" not in answer
    assert answer["msg"] == {"channel": "orderbook_delta", "sid": 1}
    assert [first["seq"], second["seq"]] == [1, 2]
    assert first["msg"]["yes_dollars_fp"] == [["0.0100", "7.00"], ["0.3900", "20.50"], ["0.4000", "10.00"]]
    assert first["msg"]["no_dollars_fp"] == [["0.5600", "8.25"], ["0.5700", "5.00"]]


def test_a_second_subscribe_is_merged_and_only_new_markets_get_a_snapshot() -> None:
    client = Client(_hub()[1])
    _subscribe(client, A)
    ok, snapshot = _subscribe(client, A, B)
    assert (ok["type"], ok["sid"], ok["seq"]) == ("ok", 1, 2)
    assert ok["msg"] == {"market_tickers": sorted([A, B])}
    assert (snapshot["seq"], snapshot["msg"]["market_ticker"]) == (3, B)


def test_acknowledgements_and_deltas_share_one_counter() -> None:
    source, hub = _hub()
    client = Client(hub)
    _subscribe(client, A)
    source.level(A, T0 + 1, bid=True, px=4100, sz=3_000_000)
    hub.apply(source.advance(T0 + 1), T0 + 1)
    frames = client.take()
    update = {"sid": 1, "market_tickers": [B], "action": "add_markets"}
    frames += client.send({"id": 2, "cmd": "update_subscription", "params": update})
    update = {"sids": [1], "market_tickers": [A], "action": "delete_markets"}
    frames += client.send({"id": 3, "cmd": "update_subscription", "params": update})
    update = {"sids": [1], "market_tickers": [B], "action": "get_snapshot"}
    frames += client.send({"id": 4, "cmd": "update_subscription", "params": update})
    frames += client.send({"id": 5, "cmd": "unsubscribe", "params": {"sids": [1]}})
    assert [frame["seq"] for frame in frames] == [2, 3, 4, 5, 6, 7]
    assert [frame["type"] for frame in frames] == [
        "orderbook_delta", "ok", "orderbook_snapshot", "ok", "orderbook_snapshot", "unsubscribed",
    ]  # fmt: skip
    assert frames[3]["msg"] == {"market_tickers": [B]}
    assert frames[4]["id"] == 4, "a snapshot on request carries the command"
    assert _subscribe(client, A)[0]["msg"]["sid"] == 2, "a new subscription has a new sid"


def test_deltas_are_signed_and_the_no_side_is_priced_from_its_own_outcome() -> None:
    source, hub = _hub()
    client, flipped = Client(hub), Client(hub, number=2)
    _subscribe(client, A)
    _subscribe(flipped, A, use_yes_price=True)
    source.level(A, T0 + 1, bid=True, px=4000, sz=4_000_000)
    source.level(A, T0 + 2, bid=False, px=4300, sz=6_250_000)
    hub.apply(source.advance(T0 + 2), T0 + 2)
    yes, no = (frame["msg"] for frame in client.take())
    assert (yes["side"], yes["price_dollars"], yes["delta_fp"]) == ("yes", "0.4000", "-6.00")
    assert (no["side"], no["price_dollars"], no["delta_fp"]) == ("no", "0.5700", "1.25")
    assert no["ts_ms"] == T0 + 2
    assert [frame["msg"]["price_dollars"] for frame in flipped.take()] == ["0.4000", "0.4300"]


def test_an_unknown_ticker_gets_an_empty_snapshot_with_an_empty_id() -> None:
    client = Client(_hub()[1])
    _, snapshot = _subscribe(client, "NO-SUCH")
    assert snapshot["msg"]["market_id"] == ""
    assert "yes_dollars_fp" not in snapshot["msg"]
    assert "no_dollars_fp" not in snapshot["msg"]


def test_a_side_without_levels_has_no_key() -> None:
    source, hub = _hub()
    for px in list(source.levels(A)[1]):
        source.level(A, T0, bid=False, px=px, sz=0)
    source.advance(T0)
    _, snapshot = _subscribe(Client(hub), A)
    assert "yes_dollars_fp" in snapshot["msg"]
    assert "no_dollars_fp" not in snapshot["msg"]


def test_n_channels_give_n_answers_with_the_same_id() -> None:
    client = Client(_hub()[1])
    answers = _subscribe(client, A, channels=["orderbook_delta", "nonsense", "trade", "ticker"])
    kinds = [frame["type"] for frame in answers]
    assert kinds == ["subscribed", "orderbook_snapshot", "error", "subscribed", "subscribed"]
    assert {frame["id"] for frame in answers if frame["type"] != "orderbook_snapshot"} == {1}
    listed = client.send({"id": 9, "cmd": "list_subscriptions"})
    assert listed[0]["msg"] == [
        {"channel": "orderbook_delta", "sid": 1}, {"channel": "trade", "sid": 2}, {"channel": "ticker", "sid": 3},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 1),
        ({"id": 1, "cmd": "dance"}, 5),
        ({"id": 1, "cmd": "subscribe"}, 2),
        ({"id": 1, "cmd": "subscribe", "params": {}}, 3),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["nonsense"]}}, 8),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"]}}, 14),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["trade"], "market_ticker": A, "market_tickers": [B]}}, 11),
        ({"id": 1, "cmd": "unsubscribe", "params": {}}, 4),
        ({"id": 1, "cmd": "unsubscribe", "params": {"sids": [7]}}, 7),
        ({"id": 1, "cmd": "update_subscription", "params": {"action": "add_markets"}}, 4),
        ({"id": 1, "cmd": "update_subscription", "params": {"sids": [1, 2], "action": "add_markets"}}, 12),
        ({"id": 1, "cmd": "update_subscription", "params": {"sids": [7], "action": "add_markets"}}, 7),
        ({"id": 1, "cmd": "update_subscription", "params": {"sid": 1, "market_tickers": [A]}}, 15),
        ({"id": 1, "cmd": "update_subscription", "params": {"sid": 1, "action": "add_markets"}}, 14),
        ({"id": 1, "cmd": "update_subscription", "params": {"sid": 1, "action": "wave", "market_tickers": [A]}}, 13),
    ],
)  # fmt: skip
def test_wrong_commands_get_the_venues_error_codes(message: object, code: int) -> None:
    client = Client(_hub()[1])
    _subscribe(client, A)
    (error,) = client.send(message)
    assert (error["type"], error["msg"]["code"]) == ("error", code)


def test_trades_have_their_own_sid_and_mostly_follow_their_delta() -> None:
    source, hub = _hub()
    client = Client(hub)
    _subscribe(client, A, channels=["orderbook_delta", "trade"])
    first = 0
    for n in range(400):
        ts = T0 + n
        source.level(A, ts, bid=False, px=4300, sz=5_000_000 + n * 10_000)
        source.trade(A, ts, buys=True, px=4300, sz=1_000_000)
        hub.apply(source.advance(ts), ts)
        kinds = [frame["type"] for frame in client.take()]
        assert sorted(kinds) == ["orderbook_delta", "trade"]
        first += kinds[0] == "orderbook_delta"
    assert 0.90 < first / 400 < 0.99


def test_a_trade_frame_tells_the_taker_three_times_and_its_sid_counts_alone() -> None:
    source, hub = _hub()
    client = Client(hub)
    client.send({"id": 1, "cmd": "subscribe", "params": {"channels": ["trade"]}})
    source.level(B, T0 + 1, bid=True, px=4000, sz=9_000_000)
    source.trade(B, T0 + 1, buys=False, px=4000, sz=1_000_000)
    hub.apply(source.advance(T0 + 1), T0 + 1)
    (frame,) = client.take()
    assert frame["seq"] == 1
    trade = frame["msg"]
    assert (trade["taker_side"], trade["taker_outcome_side"], trade["taker_book_side"]) == ("no", "no", "ask")
    assert (trade["yes_price_dollars"], trade["no_price_dollars"], trade["count_fp"]) == ("0.4000", "0.6000", "1.00")


def test_tickers_come_at_most_once_a_second_with_the_best_quotes() -> None:
    source, hub = _hub()
    client = Client(hub)
    client.send({"id": 1, "cmd": "subscribe", "params": {"channels": ["ticker"], "market_tickers": [A]}})
    times = []
    for ts in range(T0, T0 + 3_000, 50):
        source.level(A, ts, bid=True, px=4000, sz=1_000_000 + ts % 1000 * 10_000)
        hub.apply(source.advance(ts), ts)
        hub.poll(ts)
        times += [(ts, frame["msg"]) for frame in client.take()]
    assert [ts - T0 for ts, _ in times] == [0, 1000, 2000]
    assert (times[0][1]["yes_bid_dollars"], times[0][1]["yes_ask_dollars"]) == ("0.4000", "0.4300")


def test_the_scheduled_close_tells_nothing_but_an_empty_snapshot_later() -> None:
    source, hub = _hub()
    client = Client(hub)
    _subscribe(client, A, B)
    client.send({"id": 2, "cmd": "subscribe", "params": {"channels": ["market_lifecycle_v2"]}})
    source.listings[A].close_ms = T0 + 10
    source.queue(Change(kind=ChangeKind.STATUS, key=A, ts_ms=T0 + 10, status="closed"))
    hub.apply(source.advance(T0 + 10), T0 + 10)
    hub.poll(T0 + 10 + 399)
    assert client.take() == []
    hub.poll(T0 + 10 + 2_200)
    (frame,) = client.take()
    assert (frame["type"], frame["sid"], frame["seq"]) == ("orderbook_snapshot", 1, 3)
    assert set(frame["msg"]) == {"market_ticker", "market_id", "clock"}


def test_the_clock_never_falls_and_is_shared_by_one_action() -> None:
    source, hub = _hub()
    client = Client(hub)
    _subscribe(client, A)
    for n in range(5):
        source.level(A, T0 + n, bid=True, px=4000, sz=1_000_000 + n * 10_000)
        source.level(A, T0 + n, bid=True, px=3900, sz=1_000_000 + n * 10_000)
    hub.apply(source.advance(T0 + 5), T0 + 5)
    clocks = [frame["msg"]["clock"] for frame in client.take()]
    assert clocks == sorted(clocks)
    assert [clocks[n] == clocks[n + 1] for n in range(0, 10, 2)] == [True] * 5
    assert len(set(clocks)) == 5


def test_a_slow_reader_loses_its_subscriptions_with_error_25() -> None:
    rig = Rig(options=ExchangeOptions(buffer_bytes=1000))
    client = rig.client(Venue.KALSHI)
    client.link._dirty = rig.exchange._dirty.append
    client.subscribe(*rig.kalshi.listings)
    client.wire.stuck = 1001
    rig.change(Venue.KALSHI)
    frames = client.take()
    assert frames[-1]["type"] == "error"
    assert frames[-1]["msg"]["code"] == 25
    assert frames[-1]["seq"] == frames[-2]["seq"] + 1
    client.wire.stuck = 0
    rig.change(Venue.KALSHI, sz=9_000_000)
    assert client.take() == []
    assert client.wire.ended is None, "the connection itself stays"


def test_pings_carry_the_word_heartbeat() -> None:
    _, hub = _hub()
    client = Client(hub)
    hub.housekeeping(T0)
    client.link.flush()
    assert bytes(client.wire.data) == b"\x89\x09heartbeat"


def test_pipelined_commands_may_overtake_each_other() -> None:
    _, hub = _hub(KalshiOptions(command_delay_ms=(0, 5)))
    client = Client(hub)
    for number in range(1, 11):
        params = {"channels": ["orderbook_delta"], "market_tickers": [A if number % 2 else B]}
        assert client.send({"id": number, "cmd": "subscribe", "params": params}) == []
    hub.poll(T0 + 5)
    frames = client.take()
    answered = [frame["id"] for frame in frames if "id" in frame]
    assert sorted(answered) == list(range(1, 11))
    assert answered != sorted(answered)
    assert [frame["seq"] for frame in frames if "seq" in frame] == list(range(1, 12))


def test_markets_that_are_listed_no_more_are_forgotten() -> None:
    source, hub = _hub()
    del source.listings[C]
    hub.housekeeping(T0 + 60_001)
    assert hub.listing(C) is None
    assert hub.listing(A) is not None
