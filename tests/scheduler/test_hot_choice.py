"""The HOT set out of mined statistics against round-robin, on a simulated day: a slice of the benchmark."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from overround.analytics import partial_of, stats_of
from overround.scheduler import Limits, market_stats, rank
from overround.testing.rotated_days import rotated_day, stays_of

pytestmark = pytest.mark.long


def test_hot_markets_chosen_from_what_was_mined_capture_more_volume_than_taking_turns() -> None:
    day = rotated_day(2, hours=4, n_markets=24, max_subs=6, hot_count=0, rate_scale=0.05)
    begin, end = day.rows["ts_recv"].min(), day.rows["ts_recv"].max()
    assert isinstance(begin, int)
    assert isinstance(end, int)
    noon = begin + 7_200_000
    seen = day.sampled(day.rows.filter(pl.col("ts_recv") < noon))
    mined = market_stats(stats_of(partial_of(seen.lazy()), venue="kalshi").to_dicts())
    scores = rank(day.markets.values(), mined, now_ms=noon)
    later = day.trades.filter(pl.col("ts_recv") >= noon)
    captured = {}
    for hot in (0, 3):
        limits = Limits(max_subs=6, hot_count=hot, rotation_period_ms=180_000, churn_per_minute=20)
        held = replace(day, stays=stays_of(day.markets, scores, limits, noon, end))
        captured[hot] = held.sampled(later)["sz"].to_numpy().sum() / later["sz"].to_numpy().sum()
    assert captured[0] < 0.5
    assert captured[3] > 1.3 * captured[0]
