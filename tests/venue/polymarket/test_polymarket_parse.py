"""From the venue's words to ours."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_polymarket import Scripted

from overround.errors import FrameMalformed, ValueOutOfScale, WireError
from overround.market import Exclusivity, FeeKind, FeeSchedule, Market, MarketStatus, Origin, Strike, TickBand
from overround.venue.polymarket import market_from_gamma, markets_from_event, parse
from overround.venue.polymarket.parse import (
    book_sides,
    decimal_text,
    deltas,
    epoch_ms,
    mirror_text_by_px,
    price_e4,
    px_by_text,
    rest_book,
    size_e6,
    timestamp_ms,
)
from overround.venue.polymarket.wire import (
    ClobBook,
    GammaSearch,
    decode_event,
    decode_gamma_event,
    decode_gamma_market,
)

NOW_MS = 1_773_261_000_000  # 2026-03-11 20:30 UTC
SAMPLES = "venues/samples/polymarket"
SET_ID = "0x" + "ab" * 31 + "00"

PLAIN: dict[str, Any] = {
    "id": "123",
    "conditionId": "0x" + "c" * 64,
    "questionID": "0x" + "d" * 64,
    "question": "Will it?",
    "slug": "will-it",
    "description": "This market will resolve to Yes if it does.",
    "resolutionSource": "",
    "outcomes": '["Yes", "No"]',
    "outcomePrices": '["0.4", "0.6"]',
    "clobTokenIds": '["' + "1" * 77 + '", "' + "2" * 76 + '"]',
    "active": True,
    "closed": False,
    "archived": False,
    "acceptingOrders": True,
    "enableOrderBook": True,
    "orderPriceMinTickSize": 0.01,
    "orderMinSize": 5,
    "endDate": "2026-05-31T12:00:00Z",
    "startDate": "2026-03-01T00:00:00.5Z",
    "negRisk": False,
    "feesEnabled": False,
}


def market(**changed: Any) -> Market:
    return market_from_gamma(decode_gamma_market(json.dumps(PLAIN | changed).encode()), now_ms=NOW_MS)


def sample(captures: Path, name: str) -> list[bytes]:
    """Records of a sample file: lines, elements of an array, or the one object."""
    body = (captures / SAMPLES / name).read_bytes()
    if name.endswith(".jsonl"):
        return body.splitlines()
    value = json.loads(body)
    return [json.dumps(each).encode() for each in (value if isinstance(value, list) else [value])]


# --- numbers --------------------------------------------------------------------------------------------------------


def exact(text: str, places: int) -> int | None:
    """Oracle: the scaled integer, None if the text is no plain decimal of so many places."""
    if not text or not set(text) <= set("0123456789.") or text.count(".") > 1 or text == ".":
        return None
    try:
        value = Decimal(text).scaleb(places)
    except InvalidOperation:
        return None
    return int(value) if value == value.to_integral_value() and value < 2**62 else None


@given(st.one_of(st.text("0123456789.", max_size=14), st.text("0123456789.eE+-_ ²٣", max_size=10)))
def test_a_size_is_read_exactly_or_refused(text: str) -> None:
    expected = exact(text, 6)
    for _ in range(2):  # the second time from the table
        if expected is None:
            with pytest.raises(ValueOutOfScale):
                size_e6(text)
        else:
            assert size_e6(text) == expected


@given(st.one_of(st.text("0123456789.", max_size=8), st.text("01.eE+-_ ²٣", max_size=6)))
def test_a_price_is_read_exactly_or_refused(text: str) -> None:
    expected = exact(text, 4)
    for _ in range(2):
        if expected is None or expected > 10_000:
            with pytest.raises(ValueOutOfScale):
                price_e4(text)
        else:
            assert price_e4(text) == expected


@given(st.integers(0, 10**13).map(lambda units: Decimal(units).scaleb(-6)))
def test_a_size_that_comes_as_a_number_is_read_like_its_text(value: Decimal) -> None:
    number = json.loads(format(value.normalize(), "f"))
    assert size_e6(number) == int(value.scaleb(6))


def test_the_table_of_sizes_does_not_grow_without_bound() -> None:
    for n in range(40_000):
        size_e6(f"{n}.5")
    assert len(parse._sz_by_level_text) <= 1 << 15
    assert size_e6("39999.5") == 39_999_500_000


def test_the_table_of_prices_does_not_grow_without_bound() -> None:
    for n in range(10_000):
        for zeros in range(5):
            assert price_e4(f"0.{n:04d}{'0' * zeros}") == n
    assert len(px_by_text) <= 40_000


def test_the_mirror_of_a_price_is_printed_as_the_venue_prints_it() -> None:
    assert [mirror_text_by_px[px] for px in (0, 5, 100, 5_000, 9_990, 10_000)] == [
        "1",
        "0.9995",
        "0.99",
        "0.5",
        "0.001",
        "0",
    ]


@pytest.mark.parametrize("value", [None, "", "abc", "-5", "1.5", 1.5, "9" * 16, "9" * 5_000, "²"])
def test_a_timestamp_that_is_no_millisecond_is_refused(value: Any) -> None:
    with pytest.raises(ValueOutOfScale):
        timestamp_ms(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-11T09:29:01Z", 1_773_221_341_000),
        ("2026-03-11T09:29:01.3Z", 1_773_221_341_300),
        ("2026-03-11T09:29:01.328428Z", 1_773_221_341_328),
        ("2026-03-11 09:29:01+00", 1_773_221_341_000),
        ("2026-03-11", 1_773_187_200_000),
        ("", None),
        (None, None),
        ("soon", None),
        ("2500-12-31", 16_756_675_200_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
    ],
)
def test_dates_come_in_several_forms(text: str | None, expected: int | None) -> None:
    assert epoch_ms(text) == expected


# --- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"event_type":"price_change","price":"0.5","size":"1","side":"BUY"}',  # no token
        b'{"event_type":"price_change","asset_id":"1","price":"0.5","size":"1"}',  # no side
        b'{"event_type":"price_change","asset_id":"1","changes":[{"price":"0.5","side":"BUY"}]}',  # no size
        b'{"event_type":"price_change","asset_id":"1"}',
    ],
)
def test_a_change_that_lacks_something_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        deltas(decode_event(body))


def test_a_book_must_name_both_sides() -> None:
    assert book_sides(decode_event(b'{"bids":null,"asks":[]}')) == ({}, {})
    with pytest.raises(FrameMalformed):
        book_sides(decode_event(b'{"bids":[]}'))


def test_levels_of_size_zero_are_left_out() -> None:
    body = b'{"bids":[{"price":"0.1","size":"0"},{"price":0.2,"size":3}],"sells":[]}'
    assert book_sides(decode_event(body)) == ({2_000: 3_000_000}, {})


@pytest.mark.parametrize("token", [0, 1])
def test_a_rest_book_of_either_token_is_the_first_tokens(token: int) -> None:
    script = Scripted(neg_risk=True)
    event = script.book(token) | {
        "min_order_size": "5",
        "tick_size": "0.01",
        "neg_risk": True,
        "last_trade_price": "0.500",
    }
    book = rest_book(msgspec.convert(event, ClobBook), script.market)
    assert (book.bids, book.asks, book.ts_venue_ms) == (script.bids, script.asks, script.ts_ms)
    assert book.hash_ok is True
    assert book.last_trade_text == "0.500"
    event["last_trade_price"] = "0.51"
    assert rest_book(msgspec.convert(event, ClobBook), script.market).hash_ok is False
    del event["hash"]
    assert rest_book(msgspec.convert(event, ClobBook), script.market).hash_ok is None
    event["asset_id"] = "77"
    with pytest.raises(FrameMalformed):
        rest_book(msgspec.convert(event, ClobBook), script.market)


@pytest.mark.parametrize(
    "name",
    [
        "clob_book_rest_2024-10_old_fields.json",
        "clob_book_rest_negrisk_one_bid_2026-07.json",
        "clob_book_rest_never_traded_2026-06.json",
    ],
)
def test_captured_rest_books_of_three_eras_hold_their_hash(captures: Path, name: str) -> None:
    raw = msgspec.json.decode((captures / SAMPLES / name).read_bytes(), type=ClobBook)
    listed = msgspec.structs.replace(Scripted().market, outcome_ids=(raw.asset_id, "other"))
    book = rest_book(raw, listed)
    assert book.hash_ok is True
    assert len(book.bids) == len(raw.bids)


# --- listings -------------------------------------------------------------------------------------------------------


def test_a_plain_market_becomes_a_record() -> None:
    found = market()
    assert found.market_id == "0x" + "c" * 64
    assert found.outcome_ids == ("1" * 77, "2" * 76)
    assert (found.title, found.slug, found.venue_ref) == ("Will it?", "will-it", "123")
    assert found.outcome_labels == ("Yes", "No")
    assert found.status is MarketStatus.ACTIVE
    assert found.accepts_orders
    assert found.tick_grid == (TickBand(100, 9_900, 100),)
    assert found.min_size_e6 == 5_000_000
    assert found.close_ts == 1_780_228_800_000
    assert found.open_ts == 1_772_323_200_500
    assert found.fee == FeeSchedule()
    assert found.exclusivity == Exclusivity()
    assert found.first_seen_ts == found.last_seen_ts == NOW_MS
    assert found.origin is Origin.LIVE


def test_real_arrays_and_arrays_in_text_are_the_same() -> None:
    real = {name: json.loads(PLAIN[name]) for name in ("outcomes", "outcomePrices", "clobTokenIds")}
    assert market(**real) == market()
    assert market(outcomePrices=[0.4, 0.6]) == market()


OPTIONAL = [
    *sorted(set(PLAIN) - {"conditionId", "clobTokenIds"}),
    "events", "tags", "feeSchedule", "feeType", "clobRewards", "volume", "volumeNum", "volume24hr", "liquidity",
    "bestBid", "bestAsk", "groupItemTitle", "negRiskMarketID", "line", "sportsMarketType", "umaResolutionStatus",
]  # fmt: skip
NO_TEXT = {"events", "tags", "feeSchedule", "clobRewards"}


@pytest.mark.parametrize("name", OPTIONAL)
def test_absent_null_and_empty_are_the_same(name: str) -> None:
    rest = {key: value for key, value in PLAIN.items() if key != name}
    absent = market_from_gamma(decode_gamma_market(json.dumps(rest).encode()), now_ms=NOW_MS)
    assert market(**{name: None}) == absent
    if name not in NO_TEXT:
        assert market(**{name: ""}) == absent


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, MarketStatus.ACTIVE),
        ({"acceptingOrders": False}, MarketStatus.PAUSED),
        ({"acceptingOrders": None}, MarketStatus.PAUSED),
        ({"enableOrderBook": False}, MarketStatus.PAUSED),
        ({"active": False}, MarketStatus.UNOPENED),
        ({"closed": True}, MarketStatus.CLOSED),
        ({"closed": "true"}, MarketStatus.CLOSED),
        ({"archived": True}, MarketStatus.CLOSED),
        ({"closed": True, "outcomePrices": '["0", "0"]'}, MarketStatus.CLOSED),
        ({"closed": True, "outcomePrices": '["1", "0"]'}, MarketStatus.RESOLVED),
        ({"closed": True, "umaResolutionStatus": "resolved"}, MarketStatus.RESOLVED),
        ({"umaResolutionStatus": "proposed"}, MarketStatus.ACTIVE),
    ],
)
def test_status_is_read_from_what_changes(changed: dict[str, Any], status: MarketStatus) -> None:
    found = market(**changed)
    assert found.status is status
    assert found.accepts_orders is (status is MarketStatus.ACTIVE)


@pytest.mark.parametrize(
    ("outcomes", "prices", "result"),
    [
        (["Yes", "No"], ["1", "0"], "yes"),
        (["Yes", "No"], ["0", "1"], "no"),
        (["FaZe", "illwill"], ["0", "1.0"], "illwill"),
        (["Yes", "No"], ["0.5", "0.5"], "scalar"),
        (["Yes", "No"], ["0.02", "0.98"], ""),
        (["Yes", "No"], ["", "x"], ""),
        (["Yes", "No"], [], ""),
    ],
)
def test_the_result_is_read_from_final_prices(outcomes: list[str], prices: list[str], result: str) -> None:
    found = market(closed=True, umaResolutionStatus="resolved", outcomes=outcomes, outcomePrices=prices)
    assert found.result == result
    assert market(outcomes=outcomes, outcomePrices=prices).result == ""


@pytest.mark.parametrize(
    ("changed", "fee"),
    [
        ({}, FeeSchedule()),
        ({"feesEnabled": True, "feeType": "crypto_fees"}, FeeSchedule(kind=FeeKind.UNKNOWN, name="crypto_fees")),
        (
            {"feeType": "crypto_fees_v2", "feeSchedule": {"rate": 0.07, "exponent": 1, "takerOnly": True, "rebateRate": 0.2}},
            FeeSchedule(
                kind=FeeKind.POLYMARKET_CURVE, name="crypto_fees_v2", taker_rate="0.07", exponent=1, rebate_rate="0.2"
            ),
        ),
        (
            {"feeSchedule": {"rate": "0.25", "exponent": "2", "takerOnly": False}},
            FeeSchedule(kind=FeeKind.POLYMARKET_CURVE, taker_rate="0.25", maker_rate="0.25", exponent=2),
        ),
        ({"feeSchedule": {"rate": 0.07, "exponent": 1.5}}, FeeSchedule(kind=FeeKind.UNKNOWN, taker_rate="0.07")),
        ({"feesEnabled": True, "feeSchedule": {}}, FeeSchedule(kind=FeeKind.UNKNOWN)),
        ({"feeSchedule": {"rate": 1e-05}}, FeeSchedule(kind=FeeKind.POLYMARKET_CURVE, taker_rate="0.00001")),
    ],
)  # fmt: skip
def test_fees_are_the_schedule_and_unknown_where_only_named(changed: dict[str, Any], fee: FeeSchedule) -> None:
    assert market(**changed).fee == fee


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, Exclusivity()),
        ({"negRisk": True}, Exclusivity()),
        (
            {"negRisk": True, "negRiskMarketID": SET_ID, "questionID": SET_ID[:-2] + "1f"},
            Exclusivity(exclusive=True, set_id=SET_ID, index=31),
        ),
        (
            {"negRisk": True, "negRiskMarketID": SET_ID, "questionID": "0x" + "d" * 64},
            Exclusivity(exclusive=True, set_id=SET_ID),
        ),
        (
            {"negRisk": True, "negRiskMarketID": SET_ID, "questionID": SET_ID[:-2] + "zz"},
            Exclusivity(exclusive=True, set_id=SET_ID),
        ),
        (
            {
                "negRisk": True,
                "questionID": SET_ID[:-2] + "00",
                "events": [{"negRiskMarketID": SET_ID, "enableNegRisk": True, "negRiskAugmented": True}],
            },
            Exclusivity(exclusive=True, set_id=SET_ID, index=0, augmented=True),
        ),
        (
            {
                "negRisk": True,
                "negRiskMarketID": SET_ID,
                "events": [{"enableNegRisk": False, "negRiskAugmented": True}],
            },
            Exclusivity(exclusive=True, set_id=SET_ID),
        ),
    ],
)
def test_neg_risk_sets_are_exclusive_and_augmented_ones_say_so(changed: dict[str, Any], expected: Exclusivity) -> None:
    assert market(**changed).exclusivity == expected


def test_tags_series_and_event_come_from_the_parent() -> None:
    event = {
        "id": "77",
        "title": "The family",
        "series": [{"id": "10684", "slug": "btc-5m"}],
        "tags": [{"label": "Crypto"}, {"slug": "5m"}, {}],
    }
    found = market(events=[event], tags=[{"label": "Bitcoin"}, {"label": "Crypto"}])
    assert (found.event_id, found.event_title, found.series_id) == ("77", "The family", "10684")
    assert found.tags == ("Bitcoin", "Crypto", "5m")
    assert market(events=[{"seriesSlug": "weekly"}]).series_id == "weekly"


def test_money_quotes_and_rewards() -> None:
    found = market(
        volume="12.5", volumeNum=None, volume24hr=3, liquidity="8", liquidityNum=9.5, bestBid=0.018, bestAsk=1,
        clobRewards=[{"rewardsDailyRate": 2.5, "startDate": "2026-03-02", "endDate": "2500-12-31"},
                     {"rewardsDailyRate": 100, "startDate": "2020-01-01", "endDate": "2020-02-01"}],
        rewardsMinSize=20, rewardsMaxSpread=3.5,
    )  # fmt: skip
    assert (found.volume_usdc, found.volume_24h_usdc, found.liquidity_usdc) == (12.5, 3.0, 9.5)
    assert (found.best_bid_px, found.best_ask_px) == (0.018, None)
    assert (found.rewards_daily_usdc, found.rewards_min_size, found.rewards_max_spread_px) == (2.5, 20.0, 0.035)
    assert market(rewardsMinSize=20).rewards_min_size == 0.0


def test_the_sports_line_is_a_strike() -> None:
    found = market(sportsMarketType="totals", line=2.5, gameId="1427074")
    assert found.strike == Strike(kind="totals", floor="2.5", custom={"game_id": "1427074"})
    assert market(line=2.5).strike is None
    assert market(sportsMarketType="moneyline", line=None).strike == Strike(kind="moneyline")
    assert market(line=2.5).strike is None


def test_a_closed_market_ends_when_it_was_closed_and_others_when_they_say() -> None:
    assert market(closed=True, closedTime="2026-04-05 19:37:33+00").close_ts == 1_775_417_853_000
    assert market(endDate=None, endDateIso="2026-03-11").close_ts == 1_773_187_200_000
    assert market(endDate=None, events=[{"endDate": "2026-03-11T00:00:00Z"}]).close_ts == 1_773_187_200_000
    assert market(endDate=None).close_ts is None


def test_the_version_decides_which_ids_are_traded() -> None:
    positions = ["5" * 77, "6" * 77]
    assert market(positionIds=positions).outcome_ids == ("1" * 77, "2" * 76)
    assert market(positionIds=positions, version="v2").outcome_ids == tuple(positions)


@pytest.mark.parametrize(
    "changed",
    [
        {"conditionId": ""},
        {"clobTokenIds": ""},
        {"clobTokenIds": '["1"]'},
        {"clobTokenIds": '["1","1"]'},
        {"clobTokenIds": '["1",""]'},
        {"clobTokenIds": "[1, 2"},
        {"clobTokenIds": f"[{'1' * 77}, {'2' * 77}]"},
        {"outcomePrices": "{}"},
        {"orderPriceMinTickSize": 0.00005},
        {"orderPriceMinTickSize": 0},
        {"orderMinSize": "a lot"},
        {"volume": "NaN"},
        {"liquidityNum": "1e999"},
        {"bestBid": "many"},
    ],
)
def test_a_record_whose_ids_or_numbers_do_not_read_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        market(**changed)


def test_an_event_hands_its_family_to_its_markets() -> None:
    event = {
        "id": "9",
        "title": "Family",
        "negRiskMarketID": SET_ID,
        "enableNegRisk": True,
        "negRiskAugmented": True,
        "markets": [PLAIN | {"negRisk": True, "questionID": SET_ID[:-2] + "02"}, PLAIN],
    }
    found = markets_from_event(decode_gamma_event(json.dumps(event).encode()), now_ms=NOW_MS)
    assert [each.event_id for each in found] == ["9", "9"]
    assert found[0].exclusivity == Exclusivity(exclusive=True, set_id=SET_ID, index=2, augmented=True)
    assert found[1].exclusivity == Exclusivity()


def test_every_captured_listing_becomes_markets(captures: Path) -> None:
    count = 0
    for path in sorted((captures / SAMPLES).glob("gamma_*")):
        if path.name.startswith(("gamma_tags", "gamma_public")):
            continue
        for record in sample(captures, path.name):
            if path.name.startswith("gamma_event_"):
                found = markets_from_event(decode_gamma_event(record), now_ms=NOW_MS)
            else:
                found = [market_from_gamma(decode_gamma_market(record), now_ms=NOW_MS)]
            assert found
            count += len(found)
    search = msgspec.json.decode((captures / SAMPLES / "gamma_public_search.json").read_bytes(), type=GammaSearch)
    for event in search.events or ():
        count += len(markets_from_event(event, now_ms=NOW_MS))
    assert count > 60


@pytest.mark.parametrize(
    ("name", "n_legs", "augmented"),
    [
        ("gamma_set_fed_march_2026_negrisk.jsonl", 4, False),
        ("gamma_set_next_pm_hungary_augmented.jsonl", 6, True),
        ("gamma_set_march_inflation_ranges_negrisk.jsonl", 9, False),
    ],
)
def test_captured_sets_know_their_legs(captures: Path, name: str, n_legs: int, augmented: bool) -> None:
    found = [market_from_gamma(decode_gamma_market(row), now_ms=NOW_MS) for row in sample(captures, name)]
    assert {each.exclusivity.set_id for each in found} == {found[0].exclusivity.set_id}
    assert all(each.exclusivity.augmented is augmented for each in found)
    assert sorted(each.exclusivity.index for each in found if each.exclusivity.index is not None) == list(range(n_legs))


@pytest.mark.parametrize(
    ("name", "status", "result", "fee"),
    [
        ("gamma_market_closed_but_accepting_orders.json", MarketStatus.RESOLVED, None, FeeKind.NONE),
        ("gamma_market_sports_moneyline.json", MarketStatus.RESOLVED, "FaZe", FeeKind.POLYMARKET_CURVE),
        ("gamma_market_crypto_5m_2026-03.json", MarketStatus.ACTIVE, "", FeeKind.UNKNOWN),
        ("gamma_market_crypto_5m_2026-06.json", MarketStatus.ACTIVE, "", FeeKind.POLYMARKET_CURVE),
    ],
)
def test_captured_states_are_read(
    captures: Path, name: str, status: MarketStatus, result: str | None, fee: FeeKind
) -> None:
    (row,) = sample(captures, name)
    found = market_from_gamma(decode_gamma_market(row), now_ms=NOW_MS)
    assert (found.status, found.fee.kind) == (status, fee)
    assert result is None or found.result == result


def test_the_whole_captured_catalogue_reads(captures: Path) -> None:
    path = captures / "recordings/polymarket/gamma_active_markets_20260311.jsonl.gz"
    with gzip.open(path) as lines:
        found = [market_from_gamma(decode_gamma_market(line), now_ms=NOW_MS) for line in lines]
    assert len(found) == len({each.market_id for each in found}) == 22_019
    assert Counter(each.status for each in found) == {MarketStatus.ACTIVE: 21_987, MarketStatus.PAUSED: 32}
    assert Counter(each.tick_grid[0].step_e4 for each in found) == {100: 15_981, 10: 6_038}
    assert Counter(each.fee.kind for each in found) == {FeeKind.NONE: 20_176, FeeKind.UNKNOWN: 1_843}
    legs = [each.exclusivity for each in found if each.exclusivity.exclusive]
    assert len(legs) == 8_920
    assert sum(leg.augmented for leg in legs) == 5_005
    assert all(leg.index is not None for leg in legs)
    assert sum(not each.event_id for each in found) == 1
    assert sum(bool(each.series_id) for each in found) == 14_072
    assert sum(each.rewards_daily_usdc > 0 for each in found) == 2_248
    assert all(each.rules_text for each in found)


def test_decimal_texts_of_numbers_have_no_exponent() -> None:
    assert [decimal_text(value) for value in (1e-07, 1e22, 0.1, 7, "0.50", None)] == [
        "0.0000001", "10000000000000000000000", "0.1", "7", "0.50", "",
    ]  # fmt: skip
