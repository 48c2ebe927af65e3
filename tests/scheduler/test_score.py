"""Scores: bounded, ordered as a trader would, and carried from the listing to the record as rows come in."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.market import MarketId
from overround.scheduler import MarketStats, activity_score, market_stats, rank, stats_score
from overround.testing.markets import a_market

NOW = 1_768_392_000_000
DAY = 86_400_000

anything = st.floats(allow_nan=True, allow_infinity=True)


def seen(**changes: float) -> MarketStats:
    base = {"n_snapshots": 1_000, "n_ok": 1_000, "avg_depth_top3": 5_000.0, "avg_spread": 0.02}
    return MarketStats(**{**base, "quote_updates": 300, "observed_ms": 3_600_000, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"avg_depth_top3": 50_000.0}, {"avg_depth_top3": 500.0}),
        ({"avg_spread": 0.01}, {"avg_spread": 0.10}),
        ({"quote_updates": 900}, {"quote_updates": 9}),
        ({"observed_ms": 600_000}, {"observed_ms": 6_000_000}),  # the same updates in a tenth of the time
        ({"n_ok": 1_000}, {"n_ok": 100}),
        ({}, {"avg_depth_top3": math.nan, "avg_spread": math.nan, "n_ok": 0}),
    ],
)
def test_deeper_tighter_busier_and_two_sided_markets_score_higher(
    better: dict[str, float], worse: dict[str, float]
) -> None:
    assert stats_score(seen(**better)) > stats_score(seen(**worse))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"volume_24h_usdc": 1e6}, {"volume_24h_usdc": 1e3}),
        ({"liquidity_usdc": 1e5}, {"liquidity_usdc": 1e2}),
        ({"open_ts": NOW - DAY // 2}, {"open_ts": NOW - 30 * DAY}),
        ({"first_seen_ts": NOW - 1}, {"first_seen_ts": NOW - 9 * DAY}),
        ({"close_ts": NOW + DAY // 2}, {"close_ts": NOW + 300 * DAY}),
        ({"close_ts": NOW + 300 * DAY, "expected_close_ts": NOW + 1}, {"close_ts": NOW + 300 * DAY}),
        ({"close_ts": NOW + 1}, {"close_ts": NOW - 1}),
    ],
)
def test_active_new_and_ending_markets_score_higher_before_anything_is_recorded(
    better: dict[str, object], worse: dict[str, object]
) -> None:
    assert activity_score(a_market(1, **better), now_ms=NOW) > activity_score(a_market(1, **worse), now_ms=NOW)


@given(
    volume=anything,
    liquidity=anything,
    times=st.lists(st.integers(-(2**53), 2**53), min_size=3, max_size=3),
    figures=st.lists(anything, min_size=2, max_size=2),
    counts=st.lists(st.integers(0, 2**40), min_size=4, max_size=4),
)
def test_any_listing_and_any_statistics_give_a_score_between_0_and_1(
    volume: float, liquidity: float, times: list[int], figures: list[float], counts: list[int]
) -> None:
    market = a_market(
        1, volume_24h_usdc=volume, liquidity_usdc=liquidity, open_ts=times[0], close_ts=times[1], first_seen_ts=times[2]
    )
    stats = MarketStats(
        n_snapshots=counts[0],
        n_ok=counts[1],
        quote_updates=counts[2],
        observed_ms=counts[3],
        avg_depth_top3=figures[0],
        avg_spread=figures[1],
    )
    for known in (None, {}, {market.market_id: stats}):
        assert 0.0 <= rank([market], known, now_ms=NOW)[market.market_id] <= 1.0


def test_statistics_take_over_from_the_listing_as_rows_come_in() -> None:
    market = a_market(1, volume_24h_usdc=1e7, liquidity_usdc=1e6)
    poor = {"avg_depth_top3": 0.0, "avg_spread": 0.5, "quote_updates": 0}
    scores = [
        rank([market], {market.market_id: seen(n_snapshots=n, n_ok=n, **poor)}, now_ms=NOW)[market.market_id]
        for n in (0, 1, 60, 10_000)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == activity_score(market, now_ms=NOW)
    assert scores[-1] == pytest.approx(0.0, abs=0.01)


def test_rows_of_the_stats_file_become_one_value_per_market_whatever_their_order() -> None:
    rows = [
        {"market_id": "a", "outcome_id": "yes", "n_snapshots": 5, "n_ok": 4, "avg_depth_top3": 3.0, "avg_spread": 0.1, "quote_updates": 2, "observed_ms": 9},
        {"market_id": "a", "outcome_id": "no", "n_snapshots": 5, "n_ok": 4, "avg_depth_top3": 3.5, "avg_spread": 0.1, "quote_updates": 2, "observed_ms": 9},
        {"market_id": "b", "outcome_id": "yes", "n_snapshots": 1, "n_ok": 0, "avg_depth_top3": None, "avg_spread": None, "quote_updates": 0},
        {"market_id": "b", "outcome_id": "zzz", "n_snapshots": 2, "n_ok": 0, "avg_depth_top3": None, "avg_spread": None, "quote_updates": 1},
    ]  # fmt: skip
    found = market_stats(rows)
    assert repr(found[MarketId("a")]) == repr(market_stats(reversed(rows))[MarketId("a")])
    assert found[MarketId("a")].avg_depth_top3 == 3.5
    assert found[MarketId("b")].quote_updates == 1
    assert math.isnan(found[MarketId("b")].avg_depth_top3)
