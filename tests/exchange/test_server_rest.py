"""The REST side's habits: pages, filters, refusals, prices, truth."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from handmade import T0, HandSource, Rig, kalshi_listing, polymarket_listing
from starlette.testclient import TestClient

from overround.exchange.book_text import HashInputs, book_hash
from overround.exchange.gamma import GammaCatalogue, Query
from overround.exchange.kalshi_listing import fee_multiplier, price_ranges
from overround.exchange.model import Change, ChangeKind
from overround.exchange.server import Exchange
from overround.exchange.settings import HashEra


@pytest.fixture
def rig() -> Rig:
    return Rig(
        polymarket=[polymarket_listing(n, neg_risk=n % 2 == 0) for n in range(1, 251)],
        kalshi=[kalshi_listing(n) for n in range(1, 251)],
    )


@pytest.fixture
def rest(rig: Rig) -> Iterator[TestClient]:
    with TestClient(rig.exchange.app()) as client:
        yield client


def _keyset(rest: TestClient, path: str, name: str, **params: Any) -> list[Any]:
    found, cursor = [], None
    for _ in range(100):
        page = rest.get(path, params={**params, **({"after_cursor": cursor} if cursor else {})}).json()
        found.append(page[name])
        cursor = page.get("next_cursor")
        if cursor is None:
            return found
    raise AssertionError("the listing does not end")


def test_keyset_pages_hold_every_market_once_and_clamp_the_limit(rest: TestClient) -> None:
    pages = _keyset(rest, "/gamma/markets/keyset", "markets", limit=500)
    assert [len(page) for page in pages] == [100, 100, 50]
    ids = [market["id"] for page in pages for market in page]
    assert len(set(ids)) == 250
    assert ids == sorted(ids, key=int)


def test_a_parameter_called_cursor_is_ignored_and_offset_is_refused(rest: TestClient) -> None:
    first = rest.get("/gamma/markets/keyset", params={"limit": 5}).json()
    again = rest.get("/gamma/markets/keyset", params={"limit": 5, "cursor": first["next_cursor"]}).json()
    assert again == first
    assert rest.get("/gamma/markets/keyset", params={"offset": 0}).status_code == 422
    assert rest.get("/gamma/markets/keyset", params={"after_cursor": "%%"}).status_code == 422


def test_events_nest_their_markets_and_page(rest: TestClient) -> None:
    pages = _keyset(rest, "/gamma/events/keyset", "events", limit=50)
    events = [event for page in pages for event in page]
    assert sum(len(event["markets"]) for event in events) == 250
    assert len({event["id"] for event in events}) == len(events) == 84


def test_legacy_listings_use_offset_and_end_with_an_empty_page(rest: TestClient) -> None:
    assert len(rest.get("/gamma/markets", params={"limit": 100, "offset": 200}).json()) == 50
    assert rest.get("/gamma/markets", params={"limit": 100, "offset": 300}).json() == []
    assert rest.get("/gamma/markets", params={"offset": 10_001}).status_code == 422
    assert len(rest.get("/gamma/events", params={"limit": 100}).json()) == 84


def test_closed_defaults_to_false_and_closed_markets_need_asking(rig: Rig, rest: TestClient) -> None:
    key = polymarket_listing(3).key
    rig.polymarket.listings[key].status = "resolved"
    rig.polymarket.listings[key].result = 0
    rig.exchange._gamma.changed(key)
    ids = [m["id"] for page in _keyset(rest, "/gamma/markets/keyset", "markets", limit=100) for m in page]
    assert "500003" not in ids
    assert rest.get("/gamma/markets/keyset", params={"condition_ids": key}).json()["markets"] == []
    (found,) = rest.get("/gamma/markets/keyset", params={"condition_ids": key, "closed": "true"}).json()["markets"]
    assert found["outcomePrices"] == '["1", "0"]'
    assert found["closed"] is True


def test_markets_are_found_by_repeated_ids_tokens_and_slug(rest: TestClient) -> None:
    found = rest.get("/gamma/markets", params={"id": ["500001", "500002"]}).json()
    assert [market["id"] for market in found] == ["500001", "500002"]
    token = polymarket_listing(7).tokens[1]
    (market,) = rest.get("/gamma/markets", params={"clob_token_ids": token}).json()
    assert json.loads(market["clobTokenIds"])[1] == token
    assert rest.get("/gamma/markets/500007").json()["conditionId"] == polymarket_listing(7).key
    assert rest.get(f"/gamma/markets/slug/{market['slug']}").json()["id"] == market["id"]
    assert rest.get("/gamma/markets/999").status_code == 404
    assert rest.get("/gamma/events/20000").json()["id"] == "20000"


def test_neg_risk_legs_carry_their_index_in_the_question(rest: TestClient) -> None:
    for market in rest.get("/gamma/markets", params={"limit": 30}).json():
        if market["negRisk"]:
            assert market["negRiskMarketID"].endswith("00")
            assert int(market["questionID"][-2:], 16) == int(market["groupItemThreshold"])


def test_a_long_listing_pages_quickly() -> None:
    source = HandSource([polymarket_listing(n) for n in range(1, 5_001)])
    catalogue = GammaCatalogue(source, refresh_ms=60_000)
    cursor: str | None = ""
    started = time.process_time()
    seen = 0
    while cursor is not None:
        query = Query([("limit", "100"), *([("after_cursor", cursor)] if cursor else [])])
        rows, cursor = catalogue.markets_keyset(query)
        seen += len([catalogue.market(row, T0) for row in rows])
    assert seen == 5_000
    assert time.process_time() - started < 5, "a second and a half for 20,000 on a quiet machine"


def test_books_answer_in_another_order_and_leave_unknown_tokens_out(rest: TestClient) -> None:
    tokens = [polymarket_listing(n).tokens[0] for n in range(1, 41)]
    books = rest.post("/clob/books", json=[{"token_id": token} for token in [*tokens, "12345"]]).json()
    assert sorted(book["asset_id"] for book in books) == sorted(tokens)
    assert [book["asset_id"] for book in books] != tokens
    assert rest.post("/clob/books", content=b"{").json() == {"error": "Invalid payload"}
    assert rest.post("/clob/books", content=b" " * 70_000).json() == {"error": "Payload exceeds the limit"}


def test_a_rest_book_hashes_to_its_hash_and_is_stamped_with_its_last_change(rig: Rig, rest: TestClient) -> None:
    listing = polymarket_listing(2, neg_risk=True)
    for index, token in enumerate(listing.tokens):
        book = rest.get("/clob/book", params={"token_id": token}).json()
        inputs = HashInputs(
            era=HashEra.TEN, market=listing.key, asset_id=token, min_order_size="5", tick_size="0.01", neg_risk=True,
            last_trade_price="",
        )  # fmt: skip
        bids, asks = rig.polymarket.levels(listing.key)
        stamp = str(T0 - 60_000)
        assert book["timestamp"] == stamp
        assert book["hash"] == book_hash(inputs, timestamp=stamp, bids=bids, asks=asks, second=index == 1)


def test_prices_of_the_clob(rest: TestClient) -> None:
    first, second = polymarket_listing(1).tokens
    assert rest.get("/clob/midpoint", params={"token_id": first}).json() == {"mid": "0.415"}
    assert rest.get("/clob/price", params={"token_id": first, "side": "BUY"}).json() == {"price": "0.4"}
    assert rest.get("/clob/price", params={"token_id": second, "side": "sell"}).json() == {"price": "0.6"}
    assert rest.get("/clob/price", params={"token_id": first, "side": "x"}).json() == {"error": "Invalid side"}
    assert rest.get("/clob/spread", params={"token_id": first}).json() == {"spread": "0.03"}
    assert rest.get("/clob/tick-size", params={"token_id": first}).json() == {"minimum_tick_size": 0.01}
    assert rest.get("/clob/neg-risk", params={"token_id": first}).json() == {"neg_risk": False}
    assert rest.get("/clob/fee-rate", params={"token_id": first}).json() == {"base_fee": 0}
    assert rest.get("/clob/last-trade-price", params={"token_id": first}).json() == {"price": "0.5", "side": ""}
    assert rest.get("/clob/time").json() == T0 // 1000
    assert rest.post("/clob/midpoints", json=[{"token_id": first}, {"token_id": "9"}]).json() == {first: "0.415"}
    missing = rest.get("/clob/book", params={"token_id": "99"})
    assert missing.status_code == 404
    assert missing.json() == {"error": "No orderbook exists for the requested token id"}
    assert rest.get("/clob/book", params={"token_id": "x"}).json() == {"error": "Invalid token id"}


def test_clob_markets_end_with_the_documented_cursor(rest: TestClient) -> None:
    page = rest.get("/clob/markets").json()
    assert (page["next_cursor"], page["count"]) == ("LTE=", 250)
    assert rest.get("/clob/markets", params={"next_cursor": "MTAw"}).json()["count"] == 150


def test_kalshi_pages_by_cursor_up_to_a_thousand(rest: TestClient) -> None:
    found: list[str] = []
    cursor = ""
    while True:
        params = {"limit": 100, "status": "open", "mve_filter": "exclude", "cursor": cursor}
        page = rest.get("/trade-api/v2/markets", params=params).json()
        found += [market["ticker"] for market in page["markets"]]
        cursor = page["cursor"]
        if not cursor:
            break
    assert len(found) == len(set(found)) == 250
    assert rest.get("/trade-api/v2/markets", params={"limit": 1001}).status_code == 400


def test_kalshi_filter_words_are_not_status_words(rig: Rig, rest: TestClient) -> None:
    key = kalshi_listing(5).key
    rig.kalshi.listings[key].status = "resolved"
    rig.kalshi.listings[key].result = 1
    rig.exchange._listing.changed(key)
    opened = rest.get("/trade-api/v2/markets", params={"status": "open", "limit": 1000}).json()["markets"]
    assert {market["status"] for market in opened} == {"active"}
    assert len(opened) == 249
    (settled,) = rest.get("/trade-api/v2/markets", params={"status": "settled"}).json()["markets"]
    assert (settled["status"], settled["result"]) == ("finalized", "no")
    assert (settled["yes_bid_dollars"], settled["yes_ask_dollars"]) == ("0.0000", "1.0000")
    assert rest.get("/trade-api/v2/markets", params={"status": "finalized"}).status_code == 400


def test_kalshi_looks_up_tickers_events_and_series(rest: TestClient) -> None:
    tickers = [kalshi_listing(n).key for n in (3, 1)]
    rows = rest.get("/trade-api/v2/markets", params={"tickers": ",".join(tickers)}).json()["markets"]
    assert [row["ticker"] for row in rows] == tickers
    event = kalshi_listing(4).event.key
    rows = rest.get("/trade-api/v2/markets", params={"event_ticker": event}).json()["markets"]
    assert [row["ticker"] for row in rows] == [kalshi_listing(n).key for n in (3, 4, 5)]
    assert (
        len(rest.get("/trade-api/v2/markets", params={"series_ticker": "KXTEST", "limit": 1000}).json()["markets"])
        == 250
    )
    assert rest.get(f"/trade-api/v2/markets/{tickers[0]}").json()["market"]["floor_strike"] == 3.5
    missing = rest.get("/trade-api/v2/markets/NOPE")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    nested = rest.get(f"/trade-api/v2/events/{event}", params={"with_nested_markets": "true"}).json()
    assert len(nested["event"]["markets"]) == 3
    beside = rest.get(f"/trade-api/v2/events/{event}").json()
    assert "markets" not in beside["event"]
    assert len(beside["markets"]) == 3
    assert rest.get("/trade-api/v2/series/KXTEST").json()["series"]["fee_multiplier"] == 1
    page = rest.get("/trade-api/v2/events", params={"limit": 80, "with_nested_markets": "true"}).json()
    rest_of_it = rest.get("/trade-api/v2/events", params={"limit": 80, "cursor": page["cursor"]}).json()
    assert len(page["events"]) + len(rest_of_it["events"]) == 84


def test_kalshi_books_come_alone_and_by_the_hundred(rest: TestClient) -> None:
    ticker = kalshi_listing(1).key
    assert rest.get(f"/trade-api/v2/markets/{ticker}/orderbook", params={"depth": 1}).json() == {
        "orderbook_fp": {"no_dollars": [["0.5700", "5.00"]], "yes_dollars": [["0.4000", "10.00"]]}
    }
    many = [kalshi_listing(n).key for n in range(1, 101)]
    books = rest.get("/trade-api/v2/markets/orderbooks", params={"tickers": many}).json()["orderbooks"]
    assert [book["ticker"] for book in books] == many
    assert rest.get("/trade-api/v2/markets/orderbooks", params={"tickers": [*many, "X"]}).status_code == 400


def test_kalshi_prints_are_newest_first(rig: Rig, rest: TestClient) -> None:
    key = kalshi_listing(1).key
    for n in range(3):
        rig.kalshi.trade(key, T0 + n, buys=True, px=4300, sz=1_000_000 * (n + 1))
    rig.step(10)
    page = rest.get("/trade-api/v2/markets/trades", params={"limit": 2}).json()
    assert [trade["count_fp"] for trade in page["trades"]] == ["3.00", "2.00"]
    more = rest.get("/trade-api/v2/markets/trades", params={"cursor": page["cursor"]}).json()
    assert ([trade["count_fp"] for trade in more["trades"]], more["cursor"]) == (["1.00"], "")


def test_the_truth_answers_with_every_state_of_a_millisecond(rig: Rig, rest: TestClient) -> None:
    key = polymarket_listing(1).key
    rig.polymarket.level(key, T0 + 5, bid=True, px=4100, sz=1_000_000)
    rig.polymarket.level(key, T0 + 5, bid=True, px=4150, sz=2_000_000)
    rig.polymarket.level(key, T0 + 9, bid=True, px=4150, sz=0)
    rig.step(20)
    body = {"keys": [[key, T0 + 7], [key, T0 + 9], ["unknown", T0]]}
    at_five, at_nine, unknown = rest.post("/truth/polymarket/states", json=body).json()
    assert [state["number"] for state in at_five] == [1, 2]
    assert at_five[1]["bids"][:2] == [[4150, 2_000_000], [4100, 1_000_000]]
    assert at_five[0]["asks"] == [[4300, 5_000_000], [4400, 8_250_000]]
    assert [state["number"] for state in at_nine] == [3]
    assert unknown == []
    now = rest.get(f"/truth/polymarket/now/{key}").json()
    book = rest.get("/clob/book", params={"token_id": polymarket_listing(1).tokens[0]}).json()
    assert now["hash"] == at_nine[0]["hash"] == book["hash"]
    assert len(rest.get("/truth/kalshi/markets").json()) == 250
    assert rest.get("/truth/kalshi/planted").json() == []
    assert rest.post("/truth/polymarket/states", json={"keys": 1}).status_code == 422


def test_a_key_of_the_other_venue_has_no_hash_but_no_error_either(rig: Rig) -> None:
    both = HandSource([polymarket_listing(1), kalshi_listing(1)])
    exchange = Exchange(both, both, clock=rig.clock)
    with TestClient(exchange.app()) as rest:
        (states,) = rest.post("/truth/polymarket/states", json={"keys": [[kalshi_listing(1).key, T0]]}).json()
    assert "hash" not in states[0]


def test_after_its_end_a_market_shows_what_stood_or_nothing(rig: Rig, rest: TestClient) -> None:
    key = kalshi_listing(1).key
    rig.kalshi.queue(Change(kind=ChangeKind.STATUS, key=key, ts_ms=T0 + 10, status="closed"))
    rig.step(20)
    before, after = rest.post("/truth/kalshi/states", json={"keys": [[key, T0 + 9], [key, T0 + 10]]}).json()
    assert [len(state["bids"]) for state in before] == [3]
    assert [len(state["bids"]) for state in after] == [3, 0]


def test_gamma_filters_orders_and_ignores_unknown_names(rest: TestClient) -> None:
    def ids(**params: Any) -> list[str]:
        return [market["id"] for market in rest.get("/gamma/markets", params={"limit": 3, **params}).json()]

    assert ids(order="volumeNum", ascending="false") == ["500250", "500249", "500248"]
    assert ids(order="volume_num", ascending="false") == ["500001", "500002", "500003"]
    assert ids(volume_num_min=1234.5 * 249) == ["500249", "500250"]
    assert ids(negRiskMarketID="0x00") == ["500001", "500002", "500003"]
    assert ids(active="false") == ids(archived="true") == []
    assert rest.get("/gamma/markets", params={"limit": "x"}).status_code == 422
    assert [event["id"] for event in rest.get("/gamma/events", params={"id": "20003"}).json()] == ["20003"]
    assert {tag["label"] for tag in rest.get("/gamma/tags").json()} == {"Politics", "weekly-series"}
    assert rest.get("/gamma/events/1").status_code == 404


def test_kalshi_filters_by_time_category_and_event(rest: TestClient) -> None:
    path = "/trade-api/v2"
    close_s = kalshi_listing(1).close_ms // 1000
    for name, least, most in (("close", close_s, close_s - 1), ("created", 0, 1)):
        some = rest.get(f"{path}/markets", params={f"min_{name}_ts": least, "limit": 1000}).json()["markets"]
        none = rest.get(f"{path}/markets", params={f"max_{name}_ts": most}).json()["markets"]
        assert (len(some), none) == (250, [])
    assert rest.get(f"{path}/markets", params={"mve_filter": "only"}).json()["markets"] == []
    assert rest.get(f"{path}/markets", params={"mve_filter": "some"}).status_code == 400
    assert rest.get(f"{path}/markets", params={"cursor": "%"}).status_code == 400
    assert rest.get(f"{path}/series", params={"category": "Sports"}).json() == {"series": []}
    event = kalshi_listing(4).event.key
    assert len(rest.get(f"{path}/events", params={"tickers": event, "status": "open"}).json()["events"]) == 1
    assert rest.get(f"{path}/events", params={"series_ticker": "NOPE"}).json() == {"cursor": "", "events": []}
    assert rest.get(f"{path}/events", params={"status": "finalized"}).status_code == 400
    for missing in ("events/NOPE", "series/NOPE", "markets/NOPE/orderbook"):
        assert rest.get(f"{path}/{missing}").status_code == 404


@pytest.mark.parametrize(
    ("grid", "bands"),
    [
        ("linear_cent", ["0.0000-1.0000:0.0100"]),
        ("deci_cent", ["0.0000-1.0000:0.0010"]),
        ("tapered_deci_cent", ["0.0000-0.1000:0.0010", "0.1000-0.9000:0.0100", "0.9000-1.0000:0.0010"]),
        ("center_half_edge_deci_cent", ["0.0000-0.1000:0.0010", "0.1000-0.9000:0.0050", "0.9000-1.0000:0.0010"]),
        ("center_deci_edge_centi_cent", ["0.0000-0.0100:0.0001", "0.0100-0.9900:0.0010", "0.9900-1.0000:0.0001"]),
        ("", ["0.0000-1.0000:0.0050"]),
    ],
)
def test_price_grids_are_spelt_as_bands(grid: str, bands: list[str]) -> None:
    assert [f"{band['start']}-{band['end']}:{band['step']}" for band in price_ranges(grid, 50)] == bands


@pytest.mark.parametrize(("rate", "multiplier"), [("", 1), ("0.07", 1), ("0.035", 0.5), ("0.5", 0.5), ("1", 1)])
def test_a_fee_rate_is_told_as_a_multiplier(rate: str, multiplier: float) -> None:
    assert fee_multiplier(rate) == multiplier
