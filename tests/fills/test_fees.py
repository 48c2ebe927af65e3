"""Fees by the venues' formulas, against captured fills and the worked case of the documentation."""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.fills import KALSHI_CENT_E10, KALSHI_UNIT_E10, USD_ONE_E10, RoundingLedger, fill_fee, usd_text
from overround.market import FeeKind, FeeSchedule, px_e4, sz_e6

QUADRATIC = FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, name="quadratic", taker_rate="0.07")
HALF = FeeSchedule(
    kind=FeeKind.KALSHI_QUADRATIC,
    name="quadratic_with_maker_fees",
    taker_rate="0.07",
    maker_rate="0.0175",
    multiplier="0.5",
)
CRYPTO = FeeSchedule(kind=FeeKind.POLYMARKET_CURVE, name="crypto_fees_v2", taker_rate="0.07")

prices = st.integers(0, 10_000)
sizes = st.integers(0, 10**12)


def usd(text: str) -> int:
    return int(Decimal(text) * USD_ONE_E10)


def paid(schedule: FeeSchedule, price: str, count: str, *, is_taker: bool = True) -> int:
    fee = fill_fee(schedule, px_e4=px_e4(price), sz_e6=sz_e6(count), is_taker=is_taker)
    assert fee is not None
    return fee


def test_every_captured_fill_costs_what_the_venue_reported(captures: Path) -> None:
    rows = json.loads((captures / "venues/samples/kalshi/oracle_fees.json").read_text())["rows"]
    assert len(rows) == 25
    for row in rows:
        schedule = FeeSchedule(
            kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07", multiplier=row["fee_multiplier_inferred"]
        )
        px, sz = px_e4(row["price_paid_dollars"]), sz_e6(row["count_fp"])
        fee = fill_fee(schedule, px_e4=px, sz_e6=sz, is_taker=row["is_taker"])
        assert fee == usd(row["trade_fee_ceil_4dp"]), row
        whole = RoundingLedger().charge(fee, cash_e10=-px * sz)
        assert whole.trade_e10 + whole.rounding_e10 == usd(row["fee_cost_reported"]), row


def test_the_fills_of_the_account_listing_cost_what_it_says(captures: Path) -> None:
    multipliers = {"KXMLB": "0.5"}
    checked = 0
    for answer in json.loads((captures / "venues/samples/kalshi/rest_portfolio_fills.json").read_text()):
        for fill in answer["response"]["fills"]:
            if not fill["is_taker"]:
                continue
            price = fill["yes_price_dollars"] if fill["outcome_side"] == "yes" else fill["no_price_dollars"]
            schedule = FeeSchedule(
                kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07", multiplier=multipliers.get(fill["ticker"][:5], "1")
            )
            px, sz = px_e4(price), sz_e6(fill["count_fp"])
            fee = fill_fee(schedule, px_e4=px, sz_e6=sz, is_taker=True)
            assert fee is not None
            charged = RoundingLedger().charge(fee, cash_e10=-px * sz)
            assert charged.net_e10 == usd(fill["fee_cost"]), fill
            checked += 1
    assert checked >= 25


def test_the_worked_case_of_the_documentation_is_met(captures: Path) -> None:
    oracle = json.loads((captures / "venues/samples/kalshi/oracle_fee_rounding_doc.json").read_text())
    for case in oracle["cases"]:
        ledger = RoundingLedger(precision_e10=usd(oracle["target_precision"]))
        cash = -px_e4(case["price"]) * sz_e6(case["count_per_fill"])
        for fill in case["fills"]:
            charged = ledger.charge(usd(fill["trade_fee"]), cash_e10=cash)
            assert charged.rounding_e10 == usd(fill["rounding_fee"])
            assert charged.rebate_e10 == usd(fill["rebate"])
            assert charged.net_e10 == usd(fill["net_fee"])
            assert charged.balance_change_e10 == usd(fill["balance_change"])
            assert ledger.sum_e10 == usd(fill["accumulator_after_rebate"])


@pytest.mark.parametrize(
    ("price", "count", "total"),
    [("0.0010", "227.27", "0.01593"), ("0.0330", "28.32", "0.06334"), ("0.3300", "20.00", "0.3096")],
)
def test_fractional_fills_keep_six_decimals(price: str, count: str, total: str) -> None:
    fee = paid(QUADRATIC, price, count)
    charged = RoundingLedger().charge(fee, cash_e10=-px_e4(price) * sz_e6(count))
    assert charged.net_e10 == usd(total)


def test_a_maker_pays_only_where_the_series_says_so() -> None:
    assert paid(QUADRATIC, "0.4800", "1.00", is_taker=False) == 0
    assert paid(HALF, "0.5000", "100.00", is_taker=False) == usd("0.2188")


def test_an_old_order_was_rounded_up_to_a_cent() -> None:
    fee = fill_fee(QUADRATIC, px_e4=5_000, sz_e6=1_000_000, is_taker=True, unit_e10=KALSHI_CENT_E10)
    assert fee == usd("0.02")


def test_a_waived_market_costs_nothing_until_the_waiver_ends() -> None:
    waived = FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07", waived_until_ts=1_000)
    assert fill_fee(waived, px_e4=5_000, sz_e6=1_000_000, is_taker=True, ts_ms=999) == 0
    assert fill_fee(waived, px_e4=5_000, sz_e6=1_000_000, is_taker=True, ts_ms=1_000) == usd("0.0175")


def test_an_unknown_schedule_has_no_fee_at_all_rather_than_none() -> None:
    assert fill_fee(FeeSchedule(kind=FeeKind.UNKNOWN, name="flat"), px_e4=5_000, sz_e6=1, is_taker=True) is None
    assert fill_fee(FeeSchedule(), px_e4=5_000, sz_e6=1_000_000, is_taker=True) == 0


def test_polymarket_takers_pay_and_makers_do_not() -> None:
    assert paid(CRYPTO, "0.5", "100") == usd("1.75")
    assert paid(CRYPTO, "0.5", "100", is_taker=False) == 0
    squared = FeeSchedule(kind=FeeKind.POLYMARKET_CURVE, taker_rate="0.25", exponent=2)
    assert paid(squared, "0.5", "100") == usd("1.5625")


@pytest.mark.parametrize(("px", "sz"), [(-1, 1), (10_001, 1), (5_000, -1)])
def test_what_is_no_fill_is_refused(px: int, sz: int) -> None:
    with pytest.raises(ValueError, match="no fill"):
        fill_fee(QUADRATIC, px_e4=px, sz_e6=sz, is_taker=True)


@given(px=prices, sz=sizes, multiplier=st.sampled_from(["1", "0.5", "0.035", "2"]))
def test_the_quadratic_fee_is_the_exact_product_rounded_up(px: int, sz: int, multiplier: str) -> None:
    schedule = FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07", multiplier=multiplier)
    p, c = Decimal(px) / 10_000, Decimal(sz) / 1_000_000
    exact = Decimal("0.07") * Decimal(multiplier) * c * p * (1 - p)
    due = exact.quantize(Decimal("0.0001"), rounding=ROUND_CEILING)
    assert fill_fee(schedule, px_e4=px, sz_e6=sz, is_taker=True) == int(due * USD_ONE_E10)


@given(px=prices, sz=sizes, exponent=st.integers(1, 3))
def test_the_curve_fee_is_the_exact_product_rounded_to_five_decimals(px: int, sz: int, exponent: int) -> None:
    schedule = FeeSchedule(kind=FeeKind.POLYMARKET_CURVE, taker_rate="0.05", exponent=exponent)
    p, c = Decimal(px) / 10_000, Decimal(sz) / 1_000_000
    exact = Decimal("0.05") * c * (p * (1 - p)) ** exponent
    due = exact.quantize(Decimal("0.00001"), rounding=ROUND_HALF_UP)
    assert fill_fee(schedule, px_e4=px, sz_e6=sz, is_taker=True) == int(due * USD_ONE_E10)


@given(px=prices, sz=sizes)
def test_yes_and_no_cost_the_same_fee(px: int, sz: int) -> None:
    both = [fill_fee(QUADRATIC, px_e4=p, sz_e6=sz, is_taker=True) for p in (px, 10_000 - px)]
    assert both[0] == both[1]


@given(
    fills=st.lists(st.tuples(st.integers(1, 9_999), st.integers(1, 10**9)), max_size=30),
    precision=st.sampled_from([KALSHI_UNIT_E10, KALSHI_CENT_E10]),
)
def test_an_order_never_earns_by_its_fees_and_money_adds_up(fills: list[tuple[int, int]], precision: int) -> None:
    ledger = RoundingLedger(precision_e10=precision)
    for px, sz in fills:
        fee = fill_fee(QUADRATIC, px_e4=px, sz_e6=sz, is_taker=True)
        assert fee is not None
        charged = ledger.charge(fee, cash_e10=-px * sz)
        assert charged.net_e10 >= 0
        assert charged.balance_change_e10 % precision == 0
        assert charged.balance_change_e10 == -px * sz - charged.trade_e10 - charged.rounding_e10
        assert 0 <= ledger.sum_e10 <= KALSHI_CENT_E10 + precision


@given(amount=st.integers(-(10**15), 10**15))
def test_money_texts_are_exact(amount: int) -> None:
    assert Decimal(usd_text(amount)) == Decimal(amount) / USD_ONE_E10
