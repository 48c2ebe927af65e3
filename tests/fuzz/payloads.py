"""Valid payloads of every form that a parser reads, in the venues' own spelling."""

from __future__ import annotations

from typing import Any

from overround.market import Market, MarketId, MarketStatus, OutcomeId, TickBand, Venue

T0_MS = 1_790_000_000_000
CONDITION = "0x" + "1" * 64
TOKENS = ("1" * 77, "2" * 77)
TICKERS = ("KXTEST-26JAN01-B1", "KXTEST-26JAN01-B2")
# A hash that fails its proof costs hundreds of digests: most payloads have none.
HASH, FALSE_HASH = "", "a" * 40


def polymarket_market() -> Market:
    return Market(
        market_id=MarketId(CONDITION),
        outcome_ids=(OutcomeId(TOKENS[0]), OutcomeId(TOKENS[1])),
        title="fuzzed",
        close_ts=None,
        open_ts=None,
        status=MarketStatus.ACTIVE,
        tags=(),
        venue=Venue.POLYMARKET,
        tick_grid=(TickBand(100, 9_900, 100),),
        min_size_e6=5_000_000,
    )


def kalshi_market(ticker: str = TICKERS[0]) -> Market:
    return Market(
        market_id=MarketId(ticker),
        outcome_ids=(OutcomeId("yes"), OutcomeId("no")),
        title="fuzzed",
        close_ts=None,
        open_ts=None,
        status=MarketStatus.ACTIVE,
        tags=(),
        venue=Venue.KALSHI,
    )


# --- Polymarket -----------------------------------------------------------------------------------------------------


def poly_book(token: int = 0, **more: Any) -> dict[str, Any]:
    bids = [{"price": "0.48", "size": "100"}, {"price": "0.49", "size": "50.5"}]
    asks = [{"price": "0.52", "size": "12.34"}, {"price": "0.51", "size": "70"}]
    if token:
        bids = [{"price": "0.48", "size": "12.34"}, {"price": "0.49", "size": "70"}]
        asks = [{"price": "0.52", "size": "100"}, {"price": "0.51", "size": "50.5"}]
    return {
        "market": CONDITION,
        "asset_id": TOKENS[token],
        "timestamp": str(T0_MS),
        "hash": HASH,
        "bids": bids,
        "asks": asks,
        "event_type": "book",
        **more,
    }


def _change(token: int, price: str, size: str, side: str) -> dict[str, str]:
    return {
        "asset_id": TOKENS[token],
        "price": price,
        "size": size,
        "side": side,
        "hash": HASH,
        "best_bid": "0.49",
        "best_ask": "0.51",
    }


def poly_change(after_ms: int = 5, size: str = "77.5") -> dict[str, Any]:
    return {
        "market": CONDITION,
        "price_changes": [_change(0, "0.47", size, "BUY"), _change(1, "0.53", size, "SELL")],
        "timestamp": str(T0_MS + after_ms),
        "event_type": "price_change",
    }


def _poly(kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "market": CONDITION,
        "asset_id": TOKENS[0],
        "timestamp": str(T0_MS + 9),
        **fields,
        "event_type": kind,
    }


POLY_FRAMES: tuple[Any, ...] = (
    poly_change(),
    poly_change(6, "0"),
    {**poly_change(7), "price_changes": [_change(0, "0.5", "1.000001", "SELL")]},
    {**poly_change(8), "price_changes": [_change(0, "0.3", "250000", "BUY"), _change(1, "0.6", "3", "BUY"), _change(0, "0.2", "0", "BUY")]},
    poly_book(),
    poly_book(1, hash=FALSE_HASH),
    {**poly_change(6), "price_changes": [{**_change(0, "0.47", "5", "BUY"), "hash": FALSE_HASH}]},
    poly_book(timestamp=str(T0_MS + 20), tick_size="0.01", last_trade_price="0.5"),
    # As numbers, as captured archives have them.
    poly_book(timestamp=T0_MS + 21, bids=[{"price": 0.48, "size": 100.25}], asks=[{"price": 0.5, "size": 7}]),
    poly_book(timestamp=str(T0_MS + 22), bids=[{"price": f"0.{n}", "size": f"{n}.5"} for n in range(10, 50)]),
    {key: value for key, value in poly_book().items() if key != "event_type"},
    [poly_book(), poly_book(1)],
    [],
    _poly("price_change", price="0.46", size="5", side="BUY", hash=HASH),
    _poly("price_change", changes=[{"price": "0.45", "size": "6", "side": "SELL"}], hash=HASH),
    _poly("last_trade_price", price="0.5", size="10", side="BUY", fee_rate_bps="0", transaction_hash="0x1"),
    _poly("best_bid_ask", best_bid="0.49", best_ask="0.51", spread="0.02"),
    _poly("tick_size_change", old_tick_size="0.01", new_tick_size="0.001"),
    _poly("new_market", question="Will it?", condition_id=CONDITION, slug="x", assets_ids=list(TOKENS)),
    _poly("market_resolved", condition_id=CONDITION, winning_asset_id=TOKENS[0], winning_outcome="Yes"),
    _poly("news", text="hello"),
)  # fmt: skip
POLY_TEXTS = (b"PONG", b"PING", b"INVALID OPERATION", b"", b"heartbeat", b"<html><body>502</body></html>")

CLOB_BOOKS: tuple[Any, ...] = (
    [
        {
            "market": CONDITION,
            "asset_id": TOKENS[0],
            "timestamp": str(T0_MS),
            "hash": FALSE_HASH,
            "bids": [{"price": "0.48", "size": "100"}, {"price": "0.49", "size": "50.5"}],
            "asks": [{"price": "0.52", "size": "12.34"}],
            "min_order_size": "5",
            "tick_size": "0.01",
            "neg_risk": False,
            "last_trade_price": "0.5",
        }
    ],
    [{"market": CONDITION, "asset_id": TOKENS[0], "timestamp": "", "hash": "", "bids": [], "asks": []}],
    [],
)

_GAMMA_MARKET = {
    "id": "512345",
    "conditionId": CONDITION,
    "questionID": "0x" + "2" * 62 + "0a",
    "question": "Will it?",
    "slug": "will-it",
    "description": "Rules.",
    "resolutionSource": "https://example.com",
    "outcomes": '["Yes", "No"]',
    "outcomePrices": '["0.49", "0.51"]',
    "clobTokenIds": f'["{TOKENS[0]}", "{TOKENS[1]}"]',
    "active": True,
    "closed": False,
    "archived": False,
    "acceptingOrders": True,
    "enableOrderBook": True,
    "acceptingOrdersTimestamp": "2026-01-01T00:00:00Z",
    "startDate": "2026-01-01T00:00:00.123456Z",
    "createdAt": "2025-12-30T00:00:00Z",
    "endDate": "2026-12-31T12:00:00Z",
    "endDateIso": "2026-12-31",
    "closedTime": None,
    "umaResolutionStatus": None,
    "orderPriceMinTickSize": 0.01,
    "orderMinSize": 5,
    "volume": "1234.5",
    "volumeNum": 1234.5,
    "volume24hr": 12.25,
    "liquidity": "55",
    "liquidityNum": 55,
    "bestBid": 0.49,
    "bestAsk": 0.51,
    "negRisk": True,
    "negRiskMarketID": "0x" + "2" * 62 + "00",
    "groupItemTitle": "Leg",
    "sportsMarketType": "totals",
    "line": 2.5,
    "gameId": "77",
    "feesEnabled": True,
    "feeType": "sports",
    "feeSchedule": {"rate": 0.03, "exponent": 1, "takerOnly": True, "rebateRate": 0.25},
    "clobRewards": [{"rewardsDailyRate": 10, "startDate": "2026-01-01", "endDate": "2500-12-31"}],
    "rewardsMinSize": 50,
    "rewardsMaxSpread": 3.5,
    "events": [
        {
            "id": "9001",
            "title": "Event",
            "slug": "event",
            "endDate": "2026-12-31T12:00:00Z",
            "negRisk": True,
            "enableNegRisk": True,
            "negRiskAugmented": False,
            "negRiskMarketID": "0x" + "2" * 62 + "00",
            "seriesSlug": "s",
            "series": [{"id": "5", "slug": "s", "title": "S"}],
            "tags": [{"label": "Sports", "slug": "sports"}],
        }
    ],
    "tags": [{"label": "Sports", "slug": "sports"}],
}
_GAMMA_CLOSED = {
    **_GAMMA_MARKET,
    "closed": True,
    "closedTime": "2026-04-05 19:37:33+00",
    "umaResolutionStatus": "resolved",
    "outcomePrices": ["0", "1"],
    "feeSchedule": None,
}
GAMMA_PAGES: tuple[Any, ...] = (
    {"markets": [_GAMMA_MARKET], "next_cursor": None},
    {"markets": [_GAMMA_CLOSED, {"conditionId": CONDITION}], "next_cursor": "abc"},
    [_GAMMA_MARKET],
)

# --- Kalshi ---------------------------------------------------------------------------------------------------------


def kalshi_delta(seq: int, delta: str = "5.00", price: str = "0.4700", side: str = "yes") -> dict[str, Any]:
    return {
        "type": "orderbook_delta",
        "sid": 1,
        "seq": seq,
        "msg": {
            "market_ticker": TICKERS[0],
            "market_id": "uuid",
            "price_dollars": price,
            "delta_fp": delta,
            "side": side,
            "ts": "2026-09-21T14:13:20.000001Z",
            "ts_ms": T0_MS + seq,
            "clock": seq,
        },
    }


def kalshi_snapshot(seq: int, ticker: str = TICKERS[0], **more: Any) -> dict[str, Any]:
    return {
        "type": "orderbook_snapshot",
        "sid": 1,
        "seq": seq,
        "msg": {
            "market_ticker": ticker,
            "market_id": "uuid",
            "yes_dollars_fp": [["0.4700", "10.00"], ["0.4800", "20.50"]],
            "no_dollars_fp": [["0.4900", "30.00"], ["0.5000", "5.25"]],
            "ts_ms": T0_MS,
        },
        **more,
    }


def kalshi_frames(seq: int) -> tuple[Any, ...]:
    """Frames of every kind that carry the number that is due."""
    return (
        kalshi_delta(seq),
        kalshi_delta(seq, "-10.00"),
        kalshi_delta(seq, "1.50", "0.5000", "no"),
        kalshi_delta(seq, "4000000000000.00"),
        kalshi_snapshot(seq),
        kalshi_snapshot(seq, id=7),
        kalshi_snapshot(seq, TICKERS[1]),
        {"type": "ok", "id": 2, "sid": 1, "seq": seq, "msg": {"market_tickers": list(TICKERS)}},
        {"type": "unsubscribed", "id": 3, "sid": 1, "seq": seq},
        {"type": "error", "id": 4, "sid": 1, "seq": seq, "msg": {"code": 6, "msg": "Already subscribed", "market_ticker": TICKERS[0]}},
        {"type": "subscribed", "id": 1, "msg": {"channel": "orderbook_delta", "sid": 1}},
        {
            "type": "trade", "sid": 2, "seq": 1,
            "msg": {
                "trade_id": "t", "market_ticker": TICKERS[0], "yes_price_dollars": "0.4700", "no_price_dollars": "0.5300",
                "count_fp": "5.00", "taker_side": "yes", "taker_outcome_side": "yes", "ts": T0_MS // 1000, "ts_ms": T0_MS,
            },
        },
        {
            "type": "market_lifecycle_v2", "sid": 3,
            "msg": {
                "market_ticker": TICKERS[0], "event_type": "determined", "open_ts": 1, "close_ts": T0_MS // 1000 + 50, "result": "yes",
                "determination_ts": T0_MS // 1000, "settled_ts": T0_MS // 1000, "is_deactivated": False, "settlement_value": "0.1000",
                "price_level_structure": "x", "price_ranges": [{"start": "0.0100", "end": "0.9900", "step": "0.0100"}],
            },
        },
        {
            "type": "ticker", "sid": 4,
            "msg": {"market_ticker": TICKERS[0], "price_dollars": "0.4800", "yes_bid_dollars": "0.4700", "dollar_volume": 5, "ts": 1},
        },
        {"type": "event_lifecycle", "sid": 3, "msg": {"event_ticker": "E"}},
        {"type": "surprise", "sid": 1, "seq": seq, "msg": {"market_ticker": TICKERS[0]}},
    )  # fmt: skip


KALSHI_BOOKS: tuple[Any, ...] = (
    {
        "orderbooks": [
            {
                "ticker": TICKERS[0],
                "orderbook_fp": {"yes_dollars": [["0.4700", "10.00"]], "no_dollars": [["0.4900", "30.00"], ["0.5", "1"]]},
            },
            {"ticker": TICKERS[1], "orderbook_fp": {"yes_dollars": None, "no_dollars": []}},
        ]
    },
    {"orderbooks": None},
)  # fmt: skip

_REST_MARKET = {
    "ticker": TICKERS[0],
    "event_ticker": "KXTEST-26JAN01",
    "status": "active",
    "market_type": "binary",
    "title": "Will it?",
    "subtitle": "",
    "yes_sub_title": "70 or above",
    "no_sub_title": "below",
    "open_time": "2026-01-01T15:00:00Z",
    "close_time": "2026-12-31T04:59:00.123456Z",
    "expected_expiration_time": "2026-12-31T15:00:00Z",
    "fee_waiver_expiration_time": None,
    "rules_primary": "If it does.",
    "rules_secondary": "",
    "result": "",
    "price_level_structure": "linear_cent",
    "price_ranges": [{"start": "0.0100", "end": "0.9900", "step": "0.0100"}],
    "strike_type": "between",
    "floor_strike": 7999999999.99,
    "cap_strike": 1e10,
    "functional_strike": None,
    "custom_strike": {"Team": "A", "n": 3},
    "volume_fp": "100.00",
    "volume_24h_fp": "5.00",
    "yes_bid_dollars": "0.4700",
    "yes_ask_dollars": "0.4900",
    "yes_bid_size_fp": "10.00",
    "yes_ask_size_fp": "0.00",
    "mve_selected_legs": [{"market_ticker": "KXA", "side": "yes", "event_ticker": "KXE"}],
    "is_provisional": False,
}
_EVENT = {
    "event_ticker": "KXTEST-26JAN01",
    "series_ticker": "KXTEST",
    "title": "Event",
    "category": "Sports",
    "mutually_exclusive": True,
    "collateral_return_type": "MECNET",
    "settlement_sources": [{"name": "NWS", "url": "https://example.com"}],
    "fee_type_override": None,
    "fee_multiplier_override": None,
    "markets": [_REST_MARKET],
}
_SERIES = {
    "ticker": "KXTEST",
    "title": "Series",
    "category": "Sports",
    "tags": ["Football"],
    "settlement_sources": [{"name": "NWS", "url": None}],
    "fee_type": "quadratic",
    "fee_multiplier": 1,
}
KALSHI_PAGES: dict[str, tuple[Any, ...]] = {
    "/events": ({"events": [_EVENT], "cursor": ""}, {"events": [], "cursor": None}),
    "/markets": ({"markets": [_REST_MARKET, {**_REST_MARKET, "ticker": TICKERS[1]}], "cursor": "abc"},),
    "/series": ({"series": [_SERIES]}, {"series": None}),
}
KALSHI_STATUS: tuple[Any, ...] = (
    {"exchange_active": True, "trading_active": True, "exchange_estimated_resume_time": None},
)
_SESSIONS = [{"open_time": "00:00", "close_time": "03:00"}, {"open_time": "05:00", "close_time": "00:00"}]
KALSHI_SCHEDULE: tuple[Any, ...] = (
    {
        "schedule": {
            "standard_hours": [
                {
                    "start_time": "2026-01-01T00:00:00Z",
                    "end_time": "2030-01-01T00:00:00Z",
                    **dict.fromkeys(("monday", "tuesday", "wednesday", "friday", "saturday", "sunday"), _SESSIONS[1:]),
                    "thursday": _SESSIONS,
                }
            ],
            "maintenance_windows": [{"start_datetime": "2026-09-22T05:00:00Z", "end_datetime": "2026-09-22T07:00:00Z"}],
        }
    },
)

# --- recordings and files of our own ----------------------------------------------------------------------------------

_NS = T0_MS * 1_000_000
RECORDING_LINES: tuple[Any, ...] = (
    poly_change(),
    kalshi_delta(3),
    kalshi_snapshot(2),
    {"recv_ns": _NS, "conn": "kalshi-0.1", "frame": kalshi_delta(3)},
    {"sent_ns": _NS, "conn": "kalshi-0.1", "frame": {"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"]}}},
    {"ns": _NS, "conn": "kalshi-0.1", "event": "opened"},
    {"recv_ns": _NS, "conn": "polymarket-0.1", "text": "PONG"},
    {"recv_ns": _NS, "conn": "polymarket-0.1", "base64": "//8="},
    {"recv_ms": T0_MS + 0.25, "frame": kalshi_snapshot(2)},
    {"received_ms": T0_MS, "event": poly_book()},
    {"recv_local": "2026-03-18T19:36:00.520599+00:00", "text": '{"type":"trade","sid":1,"seq":1,"msg":{}}'},
    {"fetched_at": "2026-03-18T19:36:00Z", "ticker": TICKERS[0], "raw": {"orderbook_fp": {"yes_dollars": [["0.47", "1"]]}}},
    {"collector_ts": "2026-03-18T19:36:00Z", "books": [poly_book()]},
    {"captured_at": "2026-03-18", "request": f"GET /markets/{TICKERS[0]}/orderbook", "response": KALSHI_BOOKS[0]},
    {"ticker": TICKERS[0], "raw_orderbook": {"yes_dollars": [["0.47", "1"]], "no_dollars": None}},
    {"ticker": TICKERS[0], "yes_bids": [[0.47, 10.5]], "no_bids": [["0.5", "1"]]},
    {"frames": [poly_change(), {"recv_ns": _NS, "frame": kalshi_delta(4)}]},
    [_NS, kalshi_delta(5)],
    [T0_MS / 1000, poly_change()],
    ["2026-03-18T19:36:00Z", '{"type":"trade"}'],
    {
        "event_type": "orderbook_delta", "local_recv_ns": _NS, "channel": "orderbook_delta", "connection_id": "c", "sequence_number": 5,
        "payload_json": kalshi_delta(5)["msg"],
    },
    {"event_type": "ws_connected", "local_recv_ns": _NS, "payload_json": {}, "connection_id": "c"},
)  # fmt: skip
QUARANTINE_LINE = {
    "recv_ns": _NS, "conn": "polymarket-0.1", "frame": poly_change(), "why": "domain", "name": "price_change.side",
}  # fmt: skip
MANIFEST_LINE = {
    "file": "hour=03/snapshots_2026-01-14T03-00.parquet", "rows": 5, "bytes": 900, "first_ts": 1, "last_ts": 2, "sha256": "ab",
    "schema_version": 1, "writer": "overround 0.1", "origin": "live", "gaps": 0, "bucket_s": 300, "written_ts": 9, "wals": ["w"],
}  # fmt: skip
DRIFT_STATE = {"found": {}, "kinds": {}}
