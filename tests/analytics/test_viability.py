"""Imagined quotes: what fills them, what a fill is worth, and what is said of it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from overround.analytics import Quoter, QuoterPrints, QuoterRows, RewardRule, reward_share, verdict_of
from overround.market import FeeKind, FeeSchedule

LOT = 1_000_000
Row = tuple[int, int, int, int, int, bool]
Print = tuple[int, int, int, bool]


def fed(rows: list[Row], prints: list[Print], **options: object) -> dict[str, float]:
    """Sums of all blocks; sizes in contracts, times in seconds."""
    quoter = Quoter(size_e6=10 * LOT, tick_e4=100, **options)  # type: ignore[arg-type]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    told = [np.array(column) for column in zip(*prints, strict=True)] if prints else [np.empty(0, np.int64)] * 4
    quoter.feed(
        QuoterRows(columns[0] * 1000, columns[1], columns[2], columns[3] * LOT, columns[4] * LOT, columns[5]),
        QuoterPrints(told[0] * 1000, told[1], told[2] * LOT, told[3].astype(np.bool_)),
    )
    total: dict[str, float] = {}
    for sums in quoter.blocks.values():
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + value
    return total


def still(until_s: int, bid: int = 4_000, ask: int = 4_400, bid_sz: int = 5, ask_sz: int = 5) -> list[Row]:
    return [(at, bid, ask, bid_sz, ask_sz, True) for at in range(0, until_s + 1, 10)]


def test_a_quote_at_the_touch_waits_for_what_stands_ahead_and_one_inside_does_not() -> None:
    sums = fed(still(400), [(15, 4_000, 8, False)])
    assert sums["touch_contracts"] == 3
    assert sums["inside_contracts"] == 8, "price goes before time"
    assert sums["touch_edge"] == pytest.approx(3 * 0.02)
    assert sums["inside_edge"] == pytest.approx(8 * 0.01)
    assert sums["touch_m300"] == pytest.approx(3 * 0.02)
    assert sums["quoted_ms"] == 400_000
    assert sums["spread"] / sums["quoted_ms"] == pytest.approx(0.04)
    assert sums["capital"] / sums["quoted_ms"] == pytest.approx(10 * (0.40 + 0.56))


@pytest.mark.parametrize("buys", [True, False])
def test_both_sides_are_alike(buys: bool) -> None:
    sums = fed(still(400), [(15, 4_400 if buys else 4_000, 20, buys)])
    assert sums["touch_contracts"] == 10
    assert sums["touch_m300"] == pytest.approx(10 * 0.02)


def test_a_taker_who_knew_more_leaves_a_loss() -> None:
    rows = still(10) + [(at, 3_600, 4_000, 5, 5, True) for at in range(20, 401, 10)]
    sums = fed(rows, [(15, 4_000, 20, False)])
    assert sums["touch_contracts"] == 10
    assert sums["touch_edge"] == pytest.approx(10 * 0.02)
    assert sums["touch_m1"] == sums["touch_m300"] == pytest.approx(-10 * 0.02)


def test_a_vanishing_level_fills_nobody() -> None:
    rows = [(at, 4_000 if at % 20 else 3_900, 4_400, 5, 5, True) for at in range(0, 200, 10)]
    sums = fed(rows, [])
    assert sums["touch_fills"] == sums["inside_fills"] == 0


@pytest.mark.parametrize("broken", ["gap", "pause"])
def test_orders_do_not_live_across_what_was_not_seen(broken: str) -> None:
    rows: list[Row] = still(400)
    if broken == "gap":
        rows = [(*row[:5], not 10 < row[0] < 40) for row in rows]
    else:
        rows = [row for row in rows if not 10 < row[0] < 100]
    sums = fed(rows, [(25, 4_000, 500, False)])
    assert sums["touch_fills"] == sums["inside_fills"] == 0


def test_no_room_inside_a_spread_of_one_tick() -> None:
    sums = fed(still(400, ask=4_100), [(15, 4_000, 50, False), (45, 4_000, 50, False)])
    assert sums["touch_contracts"] == 20
    assert sums["inside_contracts"] == 0


def test_two_ticks_are_no_room_for_two_orders() -> None:
    sums = fed(still(400, ask=4_200), [(15, 4_000, 50, False), (45, 4_200, 50, True)])
    assert sums["inside_contracts"] == 0, "both would stand at the one price between"
    assert fed(still(400, ask=4_300), [(15, 4_000, 50, False)])["inside_contracts"] == 10


def test_who_takes_a_level_to_its_end_would_have_taken_the_quote_behind_it() -> None:
    gone = [(at, 4_000 if at < 20 else 3_900, 4_400, 5, 5, True) for at in range(0, 401, 10)]
    assert fed(gone, [(15, 4_000, 5, False)])["touch_contracts"] == 10
    assert fed(still(400), [(15, 4_000, 5, False)])["touch_contracts"] == 0, "the level was there again"
    assert fed(gone, [])["touch_contracts"] == 0, "cancelled: nobody was filled"


def test_who_comes_to_stand_at_the_quotes_price_would_have_met_it() -> None:
    rows = still(10) + [(at, 3_800, 4_000, 5, 4, True) for at in range(20, 401, 10)]
    sums = fed(rows, [])
    assert sums["touch_contracts"] == sums["inside_contracts"] == 4
    assert sums["touch_m300"] == pytest.approx(-4 * 0.01)


def test_inside_the_market_may_answer_as_it_answers_others() -> None:
    """Somebody improves the bid every two minutes and is joined ten seconds later; a price stands for a minute."""
    rows: list[Row] = []
    for at in range(0, 7_200, 10):
        better = 0 < at % 120 <= 60
        rows.append((at, 4_100 if better else 4_000, 4_800, 5 if at % 120 <= 10 else 9, 5, True))
    prints = [(at + 5, 4_000, 30, False) for at in range(80, 7_100, 120)]
    sums = fed(rows, prints)
    assert 0 < sums["answered_edge"] / sums["answered_contracts"] < sums["inside_edge"] / sums["inside_contracts"]


def test_what_is_carried_is_worth_the_mid() -> None:
    """Ten are bought at 0.40 and ten sold at 0.46, while the mid goes from 0.42 to 0.44; then ten are held while it falls."""
    rows = still(10) + [(at, 4_200, 4_600, 5, 5, True) for at in range(20, 101, 10)]
    sums = fed(rows, [(15, 4_000, 20, False), (45, 4_600, 20, True)])
    assert sums["touch_carried"] == pytest.approx(10 * 0.06)
    rows += [(at, 3_900, 4_300, 5, 5, True) for at in range(110, 201, 10)]
    sums = fed(rows, [(15, 4_000, 20, False)])
    assert sums["touch_carried"] == pytest.approx(10 * 0.01), "bought at 0.40, worth 0.41 in the end"


def test_a_fill_that_nobody_watched_long_enough_is_not_judged_then() -> None:
    sums = fed(still(100), [(15, 4_000, 20, False)])
    assert (sums["touch_judged1"], sums["touch_judged30"], sums["touch_judged300"]) == (10, 10, 0)


def test_fees_come_from_the_schedule_or_the_estimate_and_rebates_from_what_takers_pay() -> None:
    schedule = FeeSchedule(kind=FeeKind.POLYMARKET_CURVE, taker_rate="0.07", rebate_rate="0.25")
    sums = fed(still(400), [(15, 4_000, 15, False)], fee=schedule)
    assert sums["touch_fee"] == 0
    assert sums["touch_rebate"] == pytest.approx(0.25 * 10 * 0.07 * 0.4 * 0.6)
    assert fed(still(400), [(15, 4_000, 15, False)], fee_usd=0.01)["touch_fee"] == pytest.approx(0.1)
    unknown = fed(still(400), [(15, 4_000, 15, False)], fee=FeeSchedule(kind=FeeKind.UNKNOWN))
    assert np.isnan(unknown["touch_fee"]), "nobody takes it for free"


def test_pieces_of_a_day_are_fed_as_the_day_is() -> None:
    rows, prints = still(900), [(15, 4_000, 8, False), (455, 4_400, 30, True), (700, 4_000, 9, False)]
    whole = fed(rows, prints)  # type: ignore[arg-type]
    quoter = Quoter(size_e6=10 * LOT, tick_e4=100)
    for first, last in ((0, 450), (450, 2_000)):
        part = [np.array(column) for column in zip(*[row for row in rows if first <= row[0] < last], strict=True)]
        mine = [each for each in prints if first <= each[0] < last]
        told = [np.array(column) for column in zip(*mine, strict=True)]
        quoter.feed(
            QuoterRows(part[0] * 1000, part[1], part[2], part[3] * LOT, part[4] * LOT, part[5]),
            QuoterPrints(told[0] * 1000, told[1], told[2] * LOT, told[3].astype(np.bool_)),
        )
    for name, value in whole.items():
        assert sum(sums[name] for sums in quoter.blocks.values()) == pytest.approx(value), name


def levels(mid: float, away: float, size: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts_recv": [0, 10_000, 20_000],
            "status": ["ok"] * 3,
            "mid": [mid] * 3,
            "bid_px": [[mid - away]] * 3,
            "bid_sz": [[size]] * 3,
            "ask_px": [[mid + away]] * 3,
            "ask_sz": [[size]] * 3,
        }
    )


def test_reward_shares_follow_the_venues_score() -> None:
    rule = RewardRule(daily_usd=10.0, min_size=50, max_spread=0.04)
    assert reward_share(levels(0.5, 0.01, 100), rule, size=100) == pytest.approx(0.5)
    assert reward_share(levels(0.5, 0.01, 300), rule, size=100) == pytest.approx(0.25)
    assert reward_share(levels(0.5, 0.05, 100), rule, size=100) == 0.0, "too far from the mid to count"
    assert reward_share(levels(0.5, 0.01, 100), rule, size=40) == 0.0, "too small to count"
    # A far side counts a third of the near one in the middle, nothing near the ends.
    lopsided = levels(0.5, 0.01, 100).with_columns(pl.Series("ask_px", [[0.6]] * 3))
    assert reward_share(lopsided, rule, size=100) == pytest.approx(0.5)
    ends = levels(0.95, 0.01, 100).with_columns(pl.Series("ask_px", [[0.999]] * 3))
    assert reward_share(ends, rule, size=100) == 0.0


LINE: dict[str, float | None] = {
    "two_sided": 0.98, "fills_seen": 200, "usd_per_day": 12.0, "usd_per_day_lo": 3.0, "usd_per_day_hi": 21.0,
    "edge": 0.005, "markout": 0.002, "judged_after_s": 300, "rewards": 0.0, "fees_known": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "hours", "word", "told"),
    [
        ({}, 100, "viable", "0.20 c are left 300 s after"),
        ({"rewards": 9.0}, None, "viable", "rewards"),
        ({"usd_per_day_lo": -1.0}, 100, "uncertain", "between -1.00 and 21.00"),
        (
            {"usd_per_day": -9.0, "usd_per_day_lo": -12.0, "usd_per_day_hi": -5.0, "markout": -0.01},
            100,
            "loses",
            "-1.00 c",
        ),
        ({"fills_seen": 3}, 100, "too little seen", "3 fills"),
        ({"usd_per_day": None}, 100, "too little seen", "no figure"),
        ({"usd_per_day": None, "fees_known": 0.0}, 100, "fees unknown", "--fee-estimate"),
        ({"two_sided": 0.3}, 100, "one-sided", "30%"),
        ({}, 2, "closing", "2.0 h"),
    ],
)
def test_the_verdict_names_its_reason(
    changes: dict[str, float | None], hours: float | None, word: str, told: str
) -> None:
    verdict, reason = verdict_of(LINE | changes, hours_to_close=hours)
    assert verdict == word
    assert told in reason
