from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest

from overround.collector.silence import Fault
from overround.config import SilenceSettings
from overround.market import Venue
from overround.testing.silent_days import SilentDay
from overround.testing.silent_tapes import SilentTape, generated_tape, no_lag, quotes_tape, recorded_lags

pytestmark = pytest.mark.long

HOUR = 3_600_000


@cache
def tape(venue: Venue) -> SilentTape:
    return generated_tape("little", venue, ranks=range(12), hours=1.0, seed=4, n_markets=40, rate_scale=0.5)


def day(venue: Venue, **changed: object) -> SilentDay:
    settings = SilenceSettings(**changed)  # type: ignore[arg-type]
    return SilentDay(tape(venue), settings=settings, lags=no_lag(), rng=random.Random(2), slots=2)


@pytest.mark.parametrize("venue", Venue)
def test_an_hour_without_a_fault_has_no_alarm(venue: Venue) -> None:
    quiet = day(venue)
    quiet.run_to(quiet.tape.end_ms)
    assert quiet.alarms == []
    assert quiet.asked_books > 0


@pytest.mark.parametrize("canaries", [0, 2])
@pytest.mark.parametrize(
    ("fault", "within_ms"), [(Fault.FROZEN, 20_000), (Fault.MUTE, 60_000), (Fault.MISSING_BOOK, 15_000)]
)
def test_each_fault_is_found_and_named_on_both_venues(fault: Fault, within_ms: int, canaries: int) -> None:
    for venue in Venue:
        warm = day(venue, canaries_per_connection=canaries)
        warm.run_to(warm.tape.begin_ms + HOUR // 2)
        for market in (0, 1, 2):
            found = warm.copied().detect(fault, number=market, patience_ms=HOUR // 4)
            assert found.called is fault
            since_ms = found.shown_ms if fault is Fault.MUTE else found.took_ms
            assert since_ms is not None
            assert since_ms <= within_ms
        assert warm.alarms == [], "the copies are others"


def test_a_watch_that_is_deaf_to_rest_finds_no_mute_market() -> None:
    warm = day(Venue.KALSHI, canaries_per_connection=0, audit_after_secs=10_000)
    warm.run_to(warm.tape.begin_ms + HOUR // 2)
    assert warm.detect(Fault.MUTE, number=3, patience_ms=60_000).called is None


@pytest.mark.slow
def test_a_recorded_day_and_a_half_of_weather_markets_has_no_alarm(captures: Path) -> None:
    kalshi = captures / "recordings" / "kalshi"
    (weather,) = (kalshi / "bbo_weather_kxhighny").glob("*25DEC05*")
    lags = recorded_lags(sorted((kalshi / "ws_gold15m").glob("*.gz")))
    quiet = SilentDay(quotes_tape("weather", [weather]), settings=SilenceSettings(), lags=lags, rng=random.Random(1))
    quiet.run_to(quiet.tape.end_ms)
    assert quiet.alarms == []
