"""Rotation in accelerated time: nothing of the collector grows; the day stands in docs/explanation/crash.md."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from overround.config import Settings
from overround.pipelines.lake import verify_lake
from overround.storage import LakePaths
from overround.testing.soak import run_soak, trend_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="proc: handles and memory are read from /proc"),
]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


def fast_rotation() -> Settings:
    """Every market is visited within minutes."""
    base = Settings()
    quick = {
        "max_subs_per_venue": 40,
        "hot_count": 10,
        "rotation_period_secs": 20,
        "subscription_churn_limit_per_minute": 200,
    }
    venues = {name: getattr(base.venues, name).model_copy(update=quick) for name in ("polymarket", "kalshi")}
    return base.model_copy(update={"venues": base.venues.model_copy(update=venues)})


def soak_and_check(folder: Path, *, hours: float, warm_up: float, markets: int, most_growth: float) -> None:
    result = run_soak(folder, fast_rotation(), hours=hours, markets=markets, sample_every_s=60.0, trace_every=0)
    assert result.markets >= 0.95 * markets, "the rotation came round"
    assert result.rows > 10_000 * hours
    for name in ("handles", "tasks"):
        trend = trend_of(result.samples, name, from_hours=warm_up)
        # A file or a request may be under way at a look; what leaks adds up.
        assert trend.spread <= 8, (name, trend)
        assert abs(trend.per_hour) * (hours - warm_up) <= 2, (name, trend)
    blocks = trend_of(result.samples, "blocks", from_hours=warm_up)
    assert blocks.per_hour * (hours - warm_up) / blocks.level < most_growth, blocks
    assert verify_lake(LakePaths(folder)).problems == ()


def test_half_an_hour_of_rotation_leaves_no_handle_and_no_task_behind(tmp_path: Path) -> None:
    soak_and_check(tmp_path / "lake", hours=0.5, warm_up=0.2, markets=200, most_growth=0.15)


@pytest.mark.slow
def test_three_hours_of_rotation_leave_nothing_behind(tmp_path: Path) -> None:
    soak_and_check(tmp_path / "lake", hours=3, warm_up=1, markets=400, most_growth=0.15)
