"""Each kind of frame and object against every captured sample of it: keys, JSON types, spelling of numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from handmade import T0, Client, HandSource, kalshi_listing, polymarket_listing
from shapes import differences

from overround.exchange.kalshi_hub import KalshiHub
from overround.exchange.model import Change, ChangeKind
from overround.exchange.polymarket_hub import PolymarketHub
from overround.exchange.server import Exchange
from overround.exchange.settings import HashEra, KalshiOptions, OldFormat, PolymarketOptions
from overround.testing.clock import ManualClock


def _samples(captures: Path, name: str) -> Any:
    text = (captures / "venues/samples" / name).read_text()
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return json.loads(text)


def _responses(captures: Path, *names: str) -> list[Any]:
    return [row["response"] for name in names for row in _samples(captures, f"kalshi/{name}")]


# ---------------------------------------------------------------- Polymarket's socket


def _polymarket_frames(options: PolymarketOptions) -> dict[str, list[Any]]:
    """Every kind of event, from a short life of two markets."""
    source = HandSource([polymarket_listing(1), polymarket_listing(2, neg_risk=True, fee="0.07", tick_e4=10)])
    first, second = source.listings
    hub = PolymarketHub(source, options, random.Random(5))
    client = Client(hub)
    tokens = [token for listing in source.listings.values() for token in listing.tokens]
    dump = client.send({"assets_ids": tokens, "type": "market", "custom_feature_enabled": True, "initial_dump": True})
    found: dict[str, list[Any]] = {"dump": dump[0]}
    source.level(first, T0 + 1, bid=True, px=4100, sz=3_000_000)
    source.level(first, T0 + 2, bid=False, px=4200, sz=12_340_000)
    source.level(first, T0 + 3, bid=True, px=4000, sz=0)
    source.level(second, T0 + 4, bid=False, px=4300, sz=2_000_000)
    source.trade(second, T0 + 4, buys=True, px=4300, sz=3_000_000)
    source.queue(Change(kind=ChangeKind.TICK, key=first, ts_ms=T0 + 5, tick_e4=10))
    hub.apply(source.advance(T0 + 10), T0 + 10)
    hub.poll(T0 + 100)
    listed = polymarket_listing(9, fee="0.07", title="New one?", label="")
    source.listings[listed.key] = listed
    source.listings[first].result = 0
    source.listings[first].status = "resolved"
    hub.apply(
        [
            Change(kind=ChangeKind.LISTED, key=listed.key, ts_ms=T0 + 110),
            Change(kind=ChangeKind.STATUS, key=first, ts_ms=T0 + 111, status="resolved"),
        ],
        T0 + 111,
    )
    for frame in client.take():
        for event in frame if isinstance(frame, list) else [frame]:
            found.setdefault(event["event_type"], []).append(event)
    return found


@pytest.mark.parametrize("spaced", [0.0, 1.0])
def test_polymarket_events_are_shaped_like_captured_ones(captures: Path, spaced: float) -> None:
    ours = _polymarket_frames(PolymarketOptions(spaced_share=spaced))
    assert set(ours) == {
        "dump", "book", "price_change", "last_trade_price", "tick_size_change", "best_bid_ask", "new_market",
        "market_resolved",
    }  # fmt: skip
    dump = _samples(captures, "polymarket/ws_sequence_2025-12_two_tokens.jsonl")
    late = _samples(captures, "polymarket/ws_book_2026-07_trimmed.json")
    assert differences(ours["dump"], [*dump[0], late], words=[".last_trade_price"]) == []
    changes = [dump[1], _samples(captures, "polymarket/ws_price_change_2026-07.json")]
    assert differences(ours["price_change"], changes) == []
    interleaved = _samples(captures, "polymarket/ws_and_rest_interleaved_2025-10.jsonl")
    books = [{**row, "timestamp": str(row["timestamp"])} for row in interleaved if row.get("event_type") == "book"]
    assert differences(ours["book"], books) == []
    prints = [_samples(captures, "polymarket/ws_last_trade_price_2026-07.json")]
    assert differences(ours["last_trade_price"], prints) == []
    assert differences(ours["tick_size_change"], [_samples(captures, "polymarket/ws_tick_size_change.json")]) == []
    assert differences(ours["best_bid_ask"], [_samples(captures, "polymarket/ws_best_bid_ask.json")]) == []
    listed = [_samples(captures, f"polymarket/ws_new_market_{day}.json") for day in ("2025-12", "2026-10")]
    words = [".group_item_title", ".event_message.description", ".description"]
    assert differences(ours["new_market"], listed, words=words) == []
    resolved = [_samples(captures, "polymarket/ws_market_resolved.json")]
    assert differences(ours["market_resolved"], resolved, missing=[".tags[]"]) == []


def test_old_polymarket_events_are_shaped_like_captured_ones(captures: Path) -> None:
    ours = _polymarket_frames(PolymarketOptions(hash_era=HashEra.SIX, old_format=OldFormat.CHANGES))
    stream = captures / "recordings/polymarket/ws_stream_old_format/btc_hourly_20250703.jsonl"
    captured: dict[str, list[Any]] = {}
    for line in stream.read_text().splitlines():
        raw = json.loads(line)["raw"]
        for event in json.loads(raw) if raw.startswith("[") else []:
            captured.setdefault(event["event_type"], []).append(event)
    assert differences(ours["dump"] + ours["book"], captured["book"]) == []
    assert differences(ours["price_change"], captured["price_change"]) == []
    prints = [*captured["last_trade_price"], _samples(captures, "polymarket/ws_last_trade_price_2024-08.json")]
    assert differences(ours["last_trade_price"], prints) == []
    flat = _polymarket_frames(PolymarketOptions(hash_era=HashEra.SIX, old_format=OldFormat.FLAT))["price_change"]
    assert differences(flat, [_samples(captures, "polymarket/ws_price_change_old_format_2024-08.json")]) == []


# ---------------------------------------------------------------- Kalshi's socket


def _kalshi_frames(options: KalshiOptions) -> dict[str, list[Any]]:
    source = HandSource([kalshi_listing(1), kalshi_listing(2), kalshi_listing(3)])
    first, second, third = source.listings
    hub = KalshiHub(source, options, random.Random(5))
    client = Client(hub)
    frames = client.send(
        {"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"], "market_tickers": [first, second]}}
    )
    rest = {"channels": ["trade", "ticker", "market_lifecycle_v2", "nonsense"]}
    frames += client.send({"id": 2, "cmd": "subscribe", "params": rest})
    update = {"sids": [1], "market_tickers": [third, "UNHEARD-OF"], "action": "add_markets"}
    frames += client.send({"id": 3, "cmd": "update_subscription", "params": update})
    frames += client.send({"id": 4, "cmd": "list_subscriptions"})
    source.level(first, T0 + 1, bid=True, px=4100, sz=3_000_000)
    source.level(first, T0 + 2, bid=True, px=4100, sz=1_500_000)
    source.level(second, T0 + 4, bid=False, px=4300, sz=2_000_000)
    source.trade(second, T0 + 4, buys=True, px=4300, sz=3_000_000)
    hub.apply(source.advance(T0 + 10), T0 + 10)
    hub.poll(T0 + 2_000)
    listed = kalshi_listing(9)
    source.listings[listed.key] = listed
    source.listings[first].result = 0
    for status in ("paused", "active", "resolved"):
        hub.apply([Change(kind=ChangeKind.STATUS, key=first, ts_ms=T0 + 3_000, status=status)], T0 + 3_000)
    hub.apply([Change(kind=ChangeKind.LISTED, key=listed.key, ts_ms=T0 + 3_001)], T0 + 3_001)
    hub.apply([Change(kind=ChangeKind.TICK, key=second, ts_ms=T0 + 3_002, tick_e4=10)], T0 + 3_002)
    hub.poll(T0 + 9_000)
    frames += client.take()
    frames += client.send({"id": 5, "cmd": "unsubscribe", "params": {"sids": [1]}})
    found: dict[str, list[Any]] = {}
    for frame in frames:
        kind = frame["type"]
        if kind == "market_lifecycle_v2":
            kind = frame["msg"]["event_type"]
        if kind == "ok" and isinstance(frame["msg"], list):
            kind = "list"
        found.setdefault(kind, []).append(frame)
    return found


def _kalshi_captured(captures: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for path in sorted((captures / "venues/samples/kalshi").glob("ws_*.jsonl")):
        if path.name in {"ws_commands.jsonl", "ws_spec_examples_2026-10.jsonl"}:
            continue
        for line in path.read_text().splitlines():
            frame = json.loads(line)["frame"]
            kind = frame["msg"]["event_type"] if frame["type"] == "market_lifecycle_v2" else frame["type"]
            found.setdefault(kind, []).append(frame)
    return found


def _kalshi_specified(captures: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in _samples(captures, "kalshi/ws_spec_examples_2026-10.jsonl"):
        frame = row["frame"]
        kind = frame["msg"]["event_type"] if frame["type"] == "market_lifecycle_v2" else frame["type"]
        if kind == "ok" and isinstance(frame["msg"], list):
            kind = "list"
        found.setdefault(kind, []).append(frame)
    return found


_META = (".msg.additional_metadata.custom_strike", ".msg.additional_metadata.strike_type")
_NOT_YET = [".msg.is_block_trade", ".msg.exchange_index", ".msg.price_level_structure", *(
    f".msg.additional_metadata.{name}" for name in ("floor_strike", "cap_strike", "strike_type")
)]  # fmt: skip


def test_kalshi_frames_of_august_2026_are_shaped_like_captured_ones(captures: Path) -> None:
    ours = _kalshi_frames(KalshiOptions(clock_fields=False))
    captured = _kalshi_captured(captures)
    for kind in ("orderbook_snapshot", "orderbook_delta", "trade", "ticker", "ok", "subscribed", "error", "determined",
                 "settled", "deactivated", "created"):  # fmt: skip
        found = differences(
            ours[kind],
            captured[kind],
            extra=_NOT_YET,
            missing=_META,
            words=[".msg.msg", ".msg.market_id", ".msg.additional_metadata.rules_secondary"],
        )
        assert found == [], kind


def test_kalshi_frames_of_october_2026_are_shaped_like_the_specification(captures: Path) -> None:
    ours = _kalshi_frames(KalshiOptions())
    specified = _kalshi_specified(captures)
    for kind in ("orderbook_snapshot", "orderbook_delta", "trade", "ticker", "ok", "subscribed", "unsubscribed", "list",
                 "error", "created", "price_level_structure_updated"):  # fmt: skip
        found = differences(
            ours[kind],
            specified[kind],
            words=[".msg.market_id", ".msg.msg", ".msg.delta_fp"],
            extra=[".msg.ts_ms", ".msg.additional_metadata.floor_strike"],
        )
        assert found == [], kind


def test_kalshi_frames_end_with_a_newline() -> None:
    source = HandSource([kalshi_listing(1)])
    client = Client(KalshiHub(source, KalshiOptions(), random.Random(1)))
    command = {"channels": ["orderbook_delta"], "market_tickers": list(source.listings)}
    client.hub.receive(client.link, json.dumps({"id": 1, "cmd": "subscribe", "params": command}), T0)
    client.link.flush()
    texts = client.wire.take()
    assert len(texts) == 2
    assert all(text.endswith("}\n") for text in texts)


# ---------------------------------------------------------------- REST


@pytest.fixture
def rest() -> Iterator[httpx2.Client]:
    polymarket = HandSource(
        [polymarket_listing(n, neg_risk=n % 2 == 0, fee="0.07" if n % 3 == 0 else "") for n in range(1, 41)]
        + [polymarket_listing(50, status="resolved", result=1), polymarket_listing(51, volume_usdc=0.0)]
    )
    kalshi = HandSource(
        [kalshi_listing(n) for n in range(1, 31)]
        + [kalshi_listing(40, status="resolved", result=0), kalshi_listing(41, grid="tapered_deci_cent", tick_e4=10)]
        + [kalshi_listing(42, strike_type="", floor_strike=""), kalshi_listing(43, strike_type="less", floor_strike="", cap_strike="980")]
    )  # fmt: skip
    exchange = Exchange(polymarket, kalshi, clock=ManualClock(T0))
    for source, key in ((polymarket, next(iter(polymarket.listings))), (kalshi, next(iter(kalshi.listings)))):
        source.level(key, T0, bid=False, px=4300, sz=2_000_000)
        source.trade(key, T0, buys=True, px=4300, sz=3_000_000)
    for _ in exchange.step(T0):
        pass
    from starlette.testclient import TestClient

    with TestClient(exchange.app(), base_url="http://exchange") as client:
        yield client  # type: ignore[misc]


def test_gamma_markets_are_shaped_like_captured_ones(captures: Path, rest: httpx2.Client) -> None:
    captured: list[Any] = []
    for path in sorted((captures / "venues/samples/polymarket").glob("gamma_*")):
        value = _samples(captures, f"polymarket/{path.name}")
        for row in value if isinstance(value, list) else [value]:
            if "conditionId" in row:
                captured.append(row)
            elif isinstance(row.get("markets"), list) and "search" not in path.name:
                captured += row["markets"]
    assert len(captured) > 60
    ours = rest.get("/gamma/markets/keyset", params={"limit": 100}).json()["markets"]
    ours += rest.get("/gamma/markets/keyset", params={"limit": 100, "closed": "true"}).json()["markets"]
    words = [
        ".question", ".description", ".resolutionSource", ".slug", ".image", ".icon", ".groupItemTitle", ".umaBond",
        ".groupItemThreshold", ".umaReward", ".feeType", ".marketMakerAddress", ".negRiskRequestID",
        ".events[].resolutionSource", ".events[].description", ".liquidity", ".volume",
    ]  # fmt: skip
    assert differences(ours, captured, words=words) == []


def test_gamma_events_are_shaped_like_captured_ones(captures: Path, rest: httpx2.Client) -> None:
    captured = [
        event
        for name in ("gamma_event_negrisk_nominee_2028.json", "gamma_event_crypto_5m_2026-06.json")
        for event in _samples(captures, f"polymarket/{name}")
    ]
    inside = []
    for path in sorted((captures / "venues/samples/polymarket").glob("gamma_*.jsonl")):
        for row in _samples(captures, f"polymarket/{path.name}"):
            inside += row.get("events", [])
    ours = rest.get("/gamma/events/keyset", params={"limit": 100}).json()["events"]
    bare = [{key: value for key, value in event.items() if key not in {"markets", "tags"}} for event in ours]
    words = [".description", ".resolutionSource", ".image", ".icon", ".series[].image", ".series[].icon"]
    known = [{k: v for k, v in event.items() if k not in {"markets", "tags"}} for event in captured + inside]
    assert differences(bare, known, words=words) == []
    tags = [tag for event in captured for tag in event["tags"]]
    assert differences([tag for event in ours for tag in event["tags"]], tags) == []


def test_clob_objects_are_shaped_like_captured_ones(captures: Path, rest: httpx2.Client) -> None:
    books = _samples(captures, "polymarket/clob_books_batch_polls_2026-03.jsonl")
    books.append(_samples(captures, "polymarket/clob_book_rest_never_traded_2026-06.json"))
    books.append(_samples(captures, "polymarket/clob_book_rest_negrisk_one_bid_2026-07.json"))
    tokens = [token for n in range(1, 6) for token in polymarket_listing(n).tokens]
    ours = rest.post("/clob/books", json=[{"token_id": token} for token in tokens]).json()
    assert differences(ours, books) == []
    assert {tuple(book) for book in ours} == {tuple(book) for book in books}, "the order of keys is the venue's"
    market = [_samples(captures, "polymarket/clob_market_by_condition_id.json")]
    page = _samples(captures, "polymarket/clob_markets_page.json")
    found = rest.get("/clob/markets").json()
    words = [
        ".icon", ".image", ".fpmm", ".neg_risk_market_id", ".neg_risk_request_id", ".tokens[].outcome",
        ".tokens[].token_id", ".question_id",
    ]  # fmt: skip
    one = rest.get(f"/clob/markets/{polymarket_listing(3).key}").json()
    assert differences([*found["data"], one], market + page["data"], words=words, missing=[".rewards.rates[]"]) == []
    assert set(found) == set(page)


def _kalshi_markets(captures: Path) -> list[Any]:
    found: list[Any] = []
    names = ("rest_market_single.json", "rest_markets_page.json", "rest_markets_partition_between.json",
             "rest_markets_settled_page.json", "rest_events_mutually_exclusive.json",
             "rest_events_strike_ladder_greater.json")  # fmt: skip
    for body in _responses(captures, *names):
        found += [body["market"]] if "market" in body else body.get("markets", [])
        for event in body.get("events", []):
            found += event["markets"]
    return found


_KALSHI_WORDS = [
    ".title", ".subtitle", ".yes_sub_title", ".no_sub_title", ".rules_primary", ".rules_secondary", ".expiration_value",
    ".custom_strike",
]  # fmt: skip


def test_kalshi_markets_are_shaped_like_captured_ones(captures: Path, rest: httpx2.Client) -> None:
    captured = _kalshi_markets(captures)
    assert len(captured) > 140
    ours = rest.get("/trade-api/v2/markets", params={"limit": 1000}).json()["markets"]
    for market in [*ours, *captured]:
        market.pop("custom_strike", None)  # free keys
    assert differences(ours, captured, words=_KALSHI_WORDS) == []
    assert [list(market) for market in ours] == [sorted(market) for market in ours]


def test_kalshi_events_and_series_are_shaped_like_captured_ones(captures: Path, rest: httpx2.Client) -> None:
    bodies = _responses(captures, "rest_events_mutually_exclusive.json", "rest_events_strike_ladder_greater.json")
    captured = [event for body in bodies for event in body["events"]]
    ours = rest.get("/trade-api/v2/events", params={"with_nested_markets": "true"}).json()["events"]
    for event in [*ours, *captured]:
        for market in event["markets"]:
            market.pop("custom_strike", None)
    nested = [f".markets[]{word}" for word in _KALSHI_WORDS]
    extra = [f".markets[].{name}" for name in ("cap_strike", "settlement_ts", "settlement_value_dollars", "subtitle")]
    missing = [".markets[].early_close_condition"]
    words = [*nested, ".sub_title", ".strike_period", ".markets[].result"]
    found = differences(ours, captured, words=words, extra=extra, missing=missing)
    assert found == []
    series = [body["series"] for body in _responses(captures, "rest_series.json")]
    mine = rest.get("/trade-api/v2/series").json()["series"]
    assert differences(mine, series) == []


def test_kalshi_books_and_trades_are_shaped_like_captured_ones(captures: Path, rest: httpx2.Client) -> None:
    ticker = kalshi_listing(1).key
    one = rest.get(f"/trade-api/v2/markets/{ticker}/orderbook").json()
    assert differences([one], _responses(captures, "rest_orderbook.json")) == []
    many = rest.get("/trade-api/v2/markets/orderbooks", params={"tickers": [ticker, kalshi_listing(2).key]}).json()
    batch = _responses(captures, "rest_orderbooks_batch.json")
    batch[0]["orderbooks"][0]["orderbook_fp"]["yes_dollars"] = [["0.0100", "1.00"]]  # combos have no YES bids
    assert differences([many], batch) == []
    trades = rest.get("/trade-api/v2/markets/trades").json()
    assert differences([trades], _responses(captures, "rest_trades_page.json"), words=[".cursor"]) == []


def test_kalshi_status_schedule_and_errors_are_shaped_like_captured_ones(captures: Path, rest: httpx2.Client) -> None:
    captured = {
        row["request"]: row["response"] for row in _samples(captures, "kalshi/rest_exchange_status_schedule.json")
    }
    status = rest.get("/trade-api/v2/exchange/status").json()
    later = [".intra_exchange_transfers_active", ".exchange_index_statuses", ".exchange_index_statuses[]"] + [
        f".exchange_index_statuses[].{name}" for name in ("exchange_index", "exchange_active", "trading_active")
    ]
    assert differences([status], [captured["GET /exchange/status"]], extra=later) == []
    schedule = rest.get("/trade-api/v2/exchange/schedule").json()
    assert schedule == captured["GET /exchange/schedule"]
    assert rest.get("/trade-api/v2/series/fee_changes").json() == captured["GET /series/fee_changes"]
    error = _samples(captures, "kalshi/rest_errors.jsonl")[0]
    refused = rest.get("/trade-api/v2/markets", params={"status": "finalized"})
    assert refused.status_code == error["http_status"]
    assert refused.json() == error["body"]
