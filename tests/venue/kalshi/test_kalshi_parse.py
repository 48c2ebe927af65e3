"""Kalshi's listing and books as our values."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.errors import FrameMalformed, ValueOutOfScale, WireError
from overround.market import FeeKind, MarketStatus, TickBand, px_text, sz_text
from overround.venue.kalshi.parse import (
    fee_schedule,
    ladders,
    market_from_rest,
    number_text,
    rest_book,
    status_of,
    strike_of,
    tick_grid,
    time_ms,
)
from overround.venue.kalshi.wire import PriceRange, RestEvent, RestMarket, RestOrderbook, RestSeries

NOW_MS = 1_786_000_000_000


def market(**fields: Any) -> RestMarket:
    return msgspec.json.decode(json.dumps({"ticker": "KXT-26-A", "event_ticker": "KXT-26"} | fields), type=RestMarket)


def event(**fields: Any) -> RestEvent:
    return msgspec.json.decode(json.dumps({"event_ticker": "KXT-26", "series_ticker": "KXT"} | fields), type=RestEvent)


def series(**fields: Any) -> RestSeries:
    return msgspec.json.decode(json.dumps({"ticker": "KXT"} | fields), type=RestSeries)


@pytest.mark.parametrize(
    "number", ["70799.99", "7999999999.99", "980", "-0.5", "0.1", "123456789012345678901234567890.123456789"]
)
def test_a_strike_keeps_every_digit(number: str) -> None:
    raw = msgspec.json.decode(
        f'{{"ticker":"T","event_ticker":"E","strike_type":"greater","floor_strike":{number}}}', type=RestMarket
    )
    strike = strike_of(raw)
    assert strike is not None
    assert strike.floor == number


def test_a_strike_may_be_a_string_null_or_in_exponent_form() -> None:
    assert number_text(msgspec.Raw(b'"70799.99"'), field="f") == "70799.99"
    assert number_text(msgspec.Raw(b"null"), field="f") is None
    assert number_text(msgspec.Raw(b""), field="f") is None
    assert number_text(msgspec.Raw(b"1.5e3"), field="f") == "1500"


@pytest.mark.parametrize("text", [b'"above"', b"true", b"[1]", b"{}", b'"NaN"', b'"Infinity"', b"1e999999"])
def test_what_is_no_number_is_named(text: bytes) -> None:
    with pytest.raises(FrameMalformed, match="cap_strike"):
        number_text(msgspec.Raw(text), field="cap_strike")


def test_custom_strikes_are_texts_whatever_they_were() -> None:
    strike = strike_of(market(strike_type="custom", custom_strike={"Company": "Acme", "n": 3, "list": ["a"]}))
    assert strike is not None
    assert strike.custom == {"Company": "Acme", "n": "3", "list": '["a"]'}


def test_a_market_without_any_strike_has_none() -> None:
    assert strike_of(market()) is None
    assert strike_of(market(strike_type=None, custom_strike=None, floor_strike=None)) is None


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("initialized", MarketStatus.UNOPENED),
        ("active", MarketStatus.ACTIVE),
        ("inactive", MarketStatus.PAUSED),
        ("closed", MarketStatus.CLOSED),
        ("determined", MarketStatus.CLOSED),
        ("disputed", MarketStatus.CLOSED),
        ("amended", MarketStatus.CLOSED),
        ("finalized", MarketStatus.RESOLVED),
        ("something_new", MarketStatus.PAUSED),
    ],
)
def test_every_status_word_has_its_meaning_and_a_new_one_trades_nothing(word: str, status: MarketStatus) -> None:
    assert status_of(word) is status
    assert market_from_rest(market(status=word), now_ms=NOW_MS).accepts_orders is (status is MarketStatus.ACTIVE)


@pytest.mark.parametrize(
    ("quotes", "bid", "ask"),
    [
        (
            {
                "yes_bid_dollars": "0.0000",
                "yes_bid_size_fp": "0.00",
                "yes_ask_dollars": "0.0100",
                "yes_ask_size_fp": "5.00",
            },
            None,
            0.01,
        ),
        (
            {
                "yes_bid_dollars": "0.8900",
                "yes_bid_size_fp": "343.49",
                "yes_ask_dollars": "1.0000",
                "yes_ask_size_fp": "0.00",
            },
            0.89,
            None,
        ),
        ({"yes_bid_dollars": "0.0000", "yes_ask_dollars": "0.0000"}, None, None),
        (
            {"yes_bid_dollars": None, "yes_bid_size_fp": "1.00", "yes_ask_dollars": "", "yes_ask_size_fp": "1.00"},
            None,
            None,
        ),
    ],
)
def test_a_quote_exists_only_if_its_size_does(quotes: dict[str, Any], bid: float | None, ask: float | None) -> None:
    listed = market_from_rest(market(**quotes), now_ms=NOW_MS)
    assert (listed.best_bid_px, listed.best_ask_px) == (bid, ask)


def test_times_lose_trimmed_zeros_and_zero_times() -> None:
    assert time_ms("2026-08-06T00:31:49.97871Z") == 1_785_976_309_978
    assert time_ms("2026-08-06T00:31:49.9Z") == 1_785_976_309_900
    assert time_ms("2026-08-06T02:31:49+02:00") == time_ms("2026-08-06T00:31:49Z") == 1_785_976_309_000
    assert time_ms("0001-01-01T00:00:00Z") is None
    assert time_ms("") is None
    assert time_ms(None) is None
    with pytest.raises(FrameMalformed, match="close_time='soon'"):
        time_ms("soon", field="close_time")


def test_the_grid_comes_from_the_ranges() -> None:
    tapered = [("0.0000", "0.1000", "0.0010"), ("0.1000", "0.9000", "0.0100"), ("0.9000", "1.0000", "0.0010")]
    bands = tick_grid([PriceRange(start=a, end=b, step=c) for a, b, c in tapered])
    assert bands == (TickBand(0, 1_000, 10), TickBand(1_000, 9_000, 100), TickBand(9_000, 10_000, 10))
    assert tick_grid(None) == ()
    with pytest.raises(ValueOutOfScale, match=r"0\.00001"):
        tick_grid([PriceRange(start="0.0000", end="1.0000", step="0.00001")])
    for start, end, step in (("0.5000", "0.1000", "0.0100"), ("0.0000", "1.0000", "0.0000")):
        with pytest.raises(FrameMalformed):
            tick_grid([PriceRange(start=start, end=end, step=step)])


def test_the_events_override_beats_the_series_and_a_waiver_is_kept() -> None:
    plain = fee_schedule(market(), event(), series(fee_type="quadratic", fee_multiplier=0.5))
    assert (plain.kind, plain.multiplier, plain.maker_rate) == (FeeKind.KALSHI_QUADRATIC, "0.5", "0")
    overridden = fee_schedule(
        market(fee_waiver_expiration_time="2026-08-06T00:31:49Z"),
        event(fee_type_override="quadratic_with_maker_fees", fee_multiplier_override=2),
        series(fee_type="quadratic", fee_multiplier=0.5),
    )
    assert (overridden.name, overridden.multiplier, overridden.maker_rate) == (
        "quadratic_with_maker_fees",
        "2",
        "0.0175",
    )
    assert overridden.waived_until_ts == 1_785_976_309_000
    cleared = fee_schedule(
        market(),
        event(fee_type_override=None, fee_multiplier_override=None),
        series(fee_type="quadratic", fee_multiplier=1),
    )
    assert (cleared.kind, cleared.multiplier) == (FeeKind.KALSHI_QUADRATIC, "1")


def test_a_fee_that_is_not_known_is_unknown_and_not_free() -> None:
    assert fee_schedule(market(), event(), None).kind is FeeKind.UNKNOWN
    assert fee_schedule(market(), event(), series(fee_type="flat", fee_multiplier=1)).kind is FeeKind.UNKNOWN
    assert fee_schedule(market(), None, series(fee_type="quadratic")).kind is FeeKind.UNKNOWN


def test_exclusive_never_says_exhaustive() -> None:
    listed = market_from_rest(
        market(), event=event(mutually_exclusive=True, collateral_return_type="MECNET", title="Who?"), now_ms=NOW_MS
    )
    assert listed.exclusivity.exclusive
    assert listed.exclusivity.set_id == "KXT-26"
    assert listed.exclusivity.collateral_return == "MECNET"
    assert listed.series_id == "KXT"
    alone = market_from_rest(market(), event=event(collateral_return_type="DIRECNET"), now_ms=NOW_MS)
    assert (alone.exclusivity.exclusive, alone.exclusivity.set_id) == (False, "")


def test_combination_legs_and_tags_are_kept_in_order() -> None:
    listed = market_from_rest(
        market(mve_selected_legs=[{"market_ticker": "A", "side": "no", "event_ticker": "E"}, {"market_ticker": "B"}]),
        event=event(category="Sports"),
        series=series(category="Sports", categories=["Sports", "Basketball"], tags=["NBA"]),
        now_ms=NOW_MS,
    )
    assert listed.combo_legs == ("A:no", "B:yes")
    assert listed.tags == ("Sports", "Basketball", "NBA")


def test_a_no_bid_is_an_offer_of_yes() -> None:
    bids, asks = ladders([("0.0800", "300.00"), ("0.2200", "333.00")], [("0.5400", "20.00"), ("0.5600", "146.00")])
    assert bids == {800: 300_000_000, 2_200: 333_000_000}
    assert asks == {4_600: 20_000_000, 4_400: 146_000_000}
    _, yes_priced = ladders(None, [("0.4600", "20.00")], use_yes_price=True)
    assert yes_priced == {4_600: 20_000_000}
    assert ladders(None, []) == ({}, {})


def test_unusual_spellings_of_a_price_are_the_same_price() -> None:
    assert ladders([("0.56", "1")], [("0.5", "1.5")]) == ladders([("0.5600", "1.00")], [("0.500000", "1.500000")])


def test_a_level_of_nothing_is_none() -> None:
    assert ladders([("0.5000", "0.00"), ("0.4000", "1.00")], None) == ({4_000: 1_000_000}, {})


@pytest.mark.parametrize(
    ("yes", "error"),
    [
        ([("0.56001", "1.00")], ValueOutOfScale),
        ([("1.0001", "1.00")], ValueOutOfScale),
        ([("-0.5", "1.00")], ValueOutOfScale),
        ([("0.5000", "-1.00")], ValueOutOfScale),
        ([("0.5000", "1.0000001")], ValueOutOfScale),
        ([("0.5000", "1e3")], ValueOutOfScale),
        ([("0.5000", "99999999999999999999")], ValueOutOfScale),
        ([("0.5000", "1.00"), ("0.5", "2.00")], FrameMalformed),
    ],
)
def test_a_level_that_does_not_fit_is_an_error_naming_it(yes: list[tuple[str, str]], error: type[WireError]) -> None:
    with pytest.raises(error) as caught:
        ladders(yes, None)
    assert any(text in str(caught.value) for level in yes for text in level)


@given(
    yes=st.dictionaries(st.integers(0, 10_000), st.integers(1, 10**12), max_size=40),
    no=st.dictionaries(st.integers(0, 10_000), st.integers(1, 10**12), max_size=40),
)
def test_books_round_trip_through_texts(yes: dict[int, int], no: dict[int, int]) -> None:
    def texts(side: dict[int, int]) -> list[tuple[str, str]]:
        return [(px_text(px), sz_text(sz)) for px, sz in sorted(side.items())]

    bids, asks = ladders(texts(yes), texts(no))
    assert bids == yes
    assert asks == {10_000 - px: sz for px, sz in no.items()}


def test_a_rest_book_knows_its_market_and_no_time() -> None:
    raw = msgspec.json.decode(
        b'{"ticker":"T","orderbook_fp":{"yes_dollars":null,"no_dollars":[["0.8120","369.00"]]}}', type=RestOrderbook
    )
    book = rest_book(raw)
    assert (book.market_id, book.bids, book.asks, book.ts_venue_ms) == ("T", {}, {1_880: 369_000_000}, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(fields=st.dictionaries(st.sampled_from(RestMarket.__struct_fields__), json_values, max_size=12))
def test_only_declared_errors_leave_the_market_parser(fields: dict[str, Any]) -> None:
    body = json.dumps({"ticker": "T", "event_ticker": "E"} | fields).encode()
    try:
        raw = msgspec.json.decode(body, type=RestMarket)
    except msgspec.DecodeError:
        return
    with contextlib.suppress(WireError):
        market_from_rest(raw, event=event(), series=series(fee_type="quadratic", fee_multiplier=1), now_ms=NOW_MS)
