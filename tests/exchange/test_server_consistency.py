"""What the exchange says adds up: naive clients of a generated world end on the truth, every hash and number holds."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest
from handmade import T0, Client
from starlette.testclient import TestClient

from overround.exchange.generator import GeneratedSource
from overround.exchange.server import Exchange
from overround.exchange.universe import WorldSpec
from overround.market import Venue
from overround.testing.clock import ManualClock

_SECONDS = 4


def _world(seed: int) -> tuple[Exchange, GeneratedSource, ManualClock]:
    clock = ManualClock(T0)
    source = GeneratedSource(WorldSpec(polymarket_markets=60, kalshi_markets=60, seed=seed, rate_scale=5.0), now_ms=T0)
    exchange = Exchange(source, source, clock=clock, seed=seed)
    exchange.desk.start(T0)
    return exchange, source, clock


def _step(exchange: Exchange, clock: ManualClock, by_ms: int) -> None:
    clock.skip_ms(by_ms)
    for _ in exchange.step(clock.now_ms()):
        pass


def _text_hash(book: dict[str, Any], *, tick: str, neg_risk: bool, last: str) -> str:
    """SHA-1 of the documented JSON text, with nothing of the exchange's own code."""
    value = {
        "market": book["market"], "asset_id": book["asset_id"], "timestamp": book["timestamp"], "hash": "",
        "bids": [{"price": p, "size": s} for p, s in sorted(book["bids"].items(), key=lambda x: Decimal(x[0]))],
        "asks": [{"price": p, "size": s} for p, s in sorted(book["asks"].items(), key=lambda x: -Decimal(x[0]))],
        "min_order_size": "5", "tick_size": tick, "neg_risk": neg_risk, "last_trade_price": last,
    }  # fmt: skip
    return hashlib.sha1(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def _candidates(*prices: str) -> list[str]:
    found = []
    for price in prices:
        if price:
            found += [price, f"{Decimal(price):.2f}", f"{Decimal(price):.3f}"]
        else:
            found.append("")
    return list(dict.fromkeys(found))


def test_every_polymarket_hash_follows_from_what_was_sent_before_it() -> None:
    exchange, source, clock = _world(1)
    hub = exchange.hubs[Venue.POLYMARKET]
    client = Client(hub)
    keys = source.markets(Venue.POLYMARKET)[:12]
    books: dict[str, dict[str, Any]] = {}
    checked = told = 0
    (dump,) = client.subscribe(*keys)

    def whole(book: dict[str, Any]) -> None:
        held = books.setdefault(book["asset_id"], {"tick": book.get("tick_size"), "last": book.get("last_trade_price")})
        held |= {side: {x["price"]: x["size"] for x in book[side]} for side in ("bids", "asks")}
        held |= {"market": book["market"], "asset_id": book["asset_id"], "timestamp": book["timestamp"]}

    def holds(asset: str, digest: str, *prices: str) -> bool:
        held = books[asset]
        risk = bool(source.listings[held["market"]].event.neg_risk_id)
        for last in _candidates(held["last"], *prices):
            if _text_hash(held, tick=held["tick"], neg_risk=risk, last=last) == digest:
                held["last"] = last
                return True
        return False

    for book in dump:
        whole(book)
        assert holds(book["asset_id"], book["hash"])
    for _ in range(250):
        _step(exchange, clock, 10)
        client.now_ms = clock.now_ms()
        for frame in client.take():
            kind = frame["event_type"]
            if kind == "price_change":
                prices = [entry["price"] for entry in frame["price_changes"]]
                for entry in frame["price_changes"]:
                    held = books[entry["asset_id"]]
                    side = held["bids" if entry["side"] == "BUY" else "asks"]
                    if entry["size"] == "0":
                        side.pop(entry["price"], None)
                    else:
                        side[entry["price"]] = entry["size"]
                    held["timestamp"] = frame["timestamp"]
                    best = (
                        max(map(Decimal, held["bids"]), default=Decimal(0)),
                        min(map(Decimal, held["asks"]), default=Decimal(1)),
                    )
                    assert best == (Decimal(entry["best_bid"]), Decimal(entry["best_ask"]))
                    # The one input nobody has announced yet is the price of the match that this change belongs to.
                    recent = _recent(source, frame["market"], int(frame["timestamp"]))
                    assert holds(entry["asset_id"], entry["hash"], *prices, *recent)
                    checked += 1
            elif kind == "book":
                whole(frame)
                assert holds(
                    frame["asset_id"], frame["hash"], *_recent(source, frame["market"], int(frame["timestamp"]))
                )
                checked += 1
            elif kind == "tick_size_change":
                books[frame["asset_id"]]["tick"] = frame["new_tick_size"]
            elif kind == "last_trade_price":
                told += 1
        client.send("PING")
    assert checked > 100
    assert told > 0
    for asset, held in books.items():
        bids, asks = source.levels(held["market"])
        first = asset == source.listings[held["market"]].tokens[0]
        mine = {
            round(Decimal(p) * 10_000): round(Decimal(s) * 10**6) for p, s in held["bids" if first else "asks"].items()
        }
        assert mine == (bids if first else {10_000 - px: sz for px, sz in bids.items()})
        assert len(held["asks" if first else "bids"]) == len(asks)


def _recent(source: GeneratedSource, key: str, ts_ms: int) -> list[str]:
    """Prices of either token at which the market traded in that millisecond."""
    trades = [trade for trade in source.truth[key].trades() if trade.ts_ms == ts_ms]
    prices = [px for trade in trades for px in (trade.px_e4, 10_000 - trade.px_e4)]
    return [f"{Decimal(px) / 10_000:f}".rstrip("0") for px in prices]


@pytest.mark.parametrize("seed", [1, 2])
def test_kalshi_numbers_have_no_hole_and_books_add_up_to_the_truth(seed: int) -> None:
    exchange, source, clock = _world(seed)
    client = Client(exchange.hubs[Venue.KALSHI])
    keys = source.markets(Venue.KALSHI)[:30]
    late = keys[20:]
    frames = client.subscribe(*keys[:20])
    books: dict[str, dict[str, dict[str, Decimal]]] = {}
    due: dict[int, int] = {}
    deltas = 0

    def apply(frame: dict[str, Any]) -> None:
        nonlocal deltas
        if "seq" in frame:
            sid = frame["sid"]
            assert frame["seq"] == due.get(sid, 0) + 1
            due[sid] = frame["seq"]
        msg = frame.get("msg")
        if frame["type"] == "orderbook_snapshot":
            books[msg["market_ticker"]] = {
                side: {px: Decimal(sz) for px, sz in msg.get(f"{side}_dollars_fp", [])} for side in ("yes", "no")
            }
        elif frame["type"] == "orderbook_delta":
            side = books[msg["market_ticker"]][msg["side"]]
            size = side.pop(msg["price_dollars"], Decimal(0)) + Decimal(msg["delta_fp"])
            assert size >= 0
            if size:
                side[msg["price_dollars"]] = size
            deltas += 1

    for frame in frames:
        apply(frame)
    for n in range(_SECONDS * 100):
        _step(exchange, clock, 10)
        for frame in client.take():
            apply(frame)
        if n % 100 == 0 and late:
            update = {"sid": 1, "market_tickers": [late.pop()], "action": "add_markets"}
            for frame in client.send({"id": n + 2, "cmd": "update_subscription", "params": update}):
                apply(frame)
    assert deltas > 100
    for key, book in books.items():
        bids, asks = source.levels(key)
        if source.listings[key].status != "active":
            continue
        assert {round(Decimal(p) * 10_000): int(s * 10**6) for p, s in book["yes"].items()} == bids
        assert {10_000 - round(Decimal(p) * 10_000): int(s * 10**6) for p, s in book["no"].items()} == asks


def test_recorded_venue_times_find_their_states_in_the_truth() -> None:
    exchange, source, clock = _world(3)
    client = Client(exchange.hubs[Venue.POLYMARKET])
    key = source.markets(Venue.POLYMARKET)[0]
    client.subscribe(key)
    seen: list[tuple[int, str]] = []
    for _ in range(500):
        _step(exchange, clock, 10)
        for frame in client.take():
            entries = frame.get("price_changes", [])[:1]
            seen += [(int(frame["timestamp"]), entry["hash"]) for entry in entries]
    assert len(seen) > 20
    with TestClient(exchange.app()) as rest:
        answer = rest.post("/truth/polymarket/states", json={"keys": [[key, ts] for ts, _ in seen]}).json()
    for (ts, digest), states in zip(seen, answer, strict=True):
        assert {state["ts_ms"] for state in states} == {ts}
        assert digest in {found for state in states for found in state["hashes"]}


def test_changes_do_not_depend_on_how_time_is_sliced() -> None:
    whole, source, clock = _world(4)
    fine, other, slow = _world(4)
    keys = source.markets(Venue.KALSHI)[:5]
    ends = []
    for exchange, made, ticking, slice_ms in ((whole, source, clock, 1_000), (fine, other, slow, 7)):
        Client(exchange.hubs[Venue.KALSHI]).subscribe(*keys)
        for _ in range(7_000 // slice_ms):
            _step(exchange, ticking, slice_ms)
        ends.append([made.state_number(key) for key in keys])
    assert ends[0] == ends[1]
