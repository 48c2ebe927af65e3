"""The generated flow against the measured one (``recordings/statistics.md``), within stated tolerances.

The bounds leave about a factor of two around the measured figure where sizes are concerned, and a few percentage points
where shares are; they are wide enough for any seed and far narrower than the difference between the two kinds of market.
"""

import pytest
from measure import Measured

from overround.exchange.generator import GeneratedSource
from overround.exchange.universe import WorldSpec
from overround.market import Venue

pytestmark = pytest.mark.long

NOW = 1_790_000_000_000 - 1_790_000_000_000 % 900_000 + 1_000


def measured(venue: Venue, *, windows: bool, seconds: int, hot: float, seed: int = 5) -> dict:
    source = GeneratedSource(
        WorldSpec(
            polymarket_markets=400,
            kalshi_markets=400,
            seed=seed,
            planted=0,
            now_ms=NOW,
            events_per_s_hot=hot,
            keep_truth_s=60.0,
        )
    )
    legs = {leg.listed.key: (family, leg) for family, _ in source.weights() for leg in family.legs}

    def fits(key: str) -> bool:
        family, leg = legs[key]
        if windows:
            return family.kind == "updown" and family.close_ms < NOW + 900_000
        grid = leg.listed.grid in {"linear_cent", ""}
        return family.kind != "updown" and grid and 0.6 < leg.rate < 8 and family.close_ms > NOW + seconds * 1000

    keys = [key for key in source.markets(venue) if fits(key)][:18]
    source.watch(keys)
    seen = Measured(source, keys)
    for second in range(1, seconds + 1):
        seen.take(source.advance(NOW + second * 1000))
        if second % 10 == 0:
            seen.sample(NOW + second * 1000)
    return seen.report()


@pytest.fixture(scope="module")
def live() -> dict:
    """One hour of eighteen well made Kalshi markets, as the NBA evening was."""
    return measured(Venue.KALSHI, windows=False, seconds=3_600, hot=4.0)


@pytest.fixture(scope="module")
def fast() -> dict:
    """Ten minutes of the open fifteen-minute windows."""
    return measured(Venue.KALSHI, windows=True, seconds=600, hot=20.0)


def between(value: float, low: float, high: float) -> None:
    assert low <= value <= high, f"{value} is not within {low} to {high}"


def test_books_are_never_crossed_or_locked(live: dict, fast: dict) -> None:
    assert live["crossed"] == fast["crossed"] == 0


def test_live_spread_is_as_measured(live: dict) -> None:  # 92.8 / 6.9 / 0.3 %
    between(live["spread"][100], 0.87, 0.97)
    between(live["spread"][200], 0.03, 0.12)
    assert 1 - live["spread"][100] - live["spread"][200] < 0.02


def test_live_actions_are_as_measured(live: dict) -> None:  # 52 / 41 / 3.5 / 3.5 %
    between(live["action"]["lower"], 0.46, 0.62)
    between(live["action"]["raise"], 0.34, 0.47)
    between(live["action"]["create"], 0.015, 0.055)
    between(live["action"]["remove"], 0.015, 0.055)


def test_live_distances_from_the_best_are_as_measured(
    live: dict,
) -> None:  # 28 / 15 / 10 / 6 / 22 / 10 / 8 %, 1 % improves
    for band, low, high in (
        ("0", 0.24, 0.34), ("1", 0.10, 0.18), ("2", 0.07, 0.13), ("3", 0.045, 0.085), ("4-10", 0.18, 0.29),
        ("11-19", 0.06, 0.13), ("20+", 0.05, 0.11), ("improves", 0.005, 0.025),
    ):  # fmt: skip
        between(live["distance"][band], low, high)


def test_live_levels_and_sizes_are_as_measured(live: dict) -> None:
    between(live["levels"][0.5], 36, 52)  # median 42 to 46
    between(live["levels"][0.95], 60, 98)  # 88
    between(live["size"][0.5], 400, 1_700)  # median delta 851
    between(live["size"][0.95], 15_000, 60_000)  # 30,000
    between(live["best_size"][0.5], 4_000, 25_000)  # median 7,608
    between(live["best_size"][0.95], 100_000, 500_000)  # 240,522
    between(live["total"], 1.8e6, 7.2e6)  # 3.6 million
    assert live["fractional"] == 0  # all whole


def test_live_trades_are_as_measured(live: dict) -> None:  # 1 per 9.8, size 2 / 47 / 1,336, taker YES 77 %
    between(live["deltas/trade"], 8.5, 11.5)
    between(live["trade"][0.5], 20, 100)
    between(live["trade"][0.95], 600, 2_800)
    between(live["taker_yes"], 0.70, 0.82)


def test_live_bursts_are_as_measured(live: dict) -> None:
    between(live["empty"], 0.60, 0.78)  # 67 % of seconds empty
    assert live["second"][0.5] == 0
    between(live["second"][0.9], 5, 13)  # 7
    between(live["second"][0.99], 25, 90)  # 60
    between(live["var/mean"], 12, 90)  # 42
    between(live["cv"], 4.5, 11)  # 7.1
    between(live["gap<1ms"], 0.25, 0.40)  # 32 %
    between(live["gap<10ms"], 0.45, 0.60)  # 51 %
    between(live["gap"][0.75], 25, 80)  # 55 ms
    between(live["gap"][0.9], 150, 500)  # 300 ms
    between(live["gap"][0.99], 3_000, 12_000)  # 6,412 ms


def test_fast_windows_are_as_measured(fast: dict) -> None:
    between(fast["spread"][100], 0.38, 0.62)  # 50 %
    between(fast["spread"][200], 0.15, 0.32)  # 22 %
    between(fast["spread"][300], 0.07, 0.20)  # 14 %
    between(fast["action"]["create"], 0.07, 0.21)  # 17.5 %
    between(fast["action"]["remove"], 0.07, 0.21)
    between(fast["levels"][0.5], 14, 36)  # 22
    between(fast["deltas/trade"], 35, 60)  # 47
    between(fast["trade"][0.5], 5, 20)  # 10
    between(fast["trade"][0.95], 50, 200)  # 100
    between(fast["size"][0.5], 15, 60)  # 30
    between(fast["fractional"], 0.05, 0.25)  # 13 %
    between(fast["var/mean"], 40, 320)  # 161
    between(fast["gap<1ms"], 0.40, 0.62)  # 52 %


def test_polymarket_listing_has_the_spreads_of_the_universe() -> None:
    """35,955 markets: 0.013 / 0.08 / 0.83, no bid on 4.8 %, tick 0.001 on 27.5 %."""
    source = GeneratedSource(WorldSpec(polymarket_markets=3_000, kalshi_markets=0, planted=0, windows=False))
    spreads, ticks, no_bid = [], 0, 0
    for key, listed in source.listings.items():
        bids, asks = source.levels(key)
        spreads.append((min(asks, default=10_000) - max(bids, default=0)) / 10_000)
        ticks += listed.tick_e4 == 10
        no_bid += not bids
    spreads.sort()
    between(spreads[750], 0.006, 0.026)
    between(spreads[1_500], 0.04, 0.16)
    between(spreads[2_250], 0.4, 0.95)
    between(ticks / 3_000, 0.18, 0.40)
    between(no_bid / 3_000, 0.0, 0.10)


def test_kalshi_listing_has_the_spreads_of_the_rest_books() -> None:
    """32,180 books: 1c / 4c / 8c, p90 53c; levels per side 15 / 29, best size 716."""
    source = GeneratedSource(WorldSpec(polymarket_markets=0, kalshi_markets=3_000, planted=0, windows=False))
    spreads, levels, best = [], [], []
    for key in source.listings:
        bids, asks = source.levels(key)
        spreads.append(min(asks, default=10_000) - max(bids, default=0))
        levels += [len(bids), len(asks)]
        best += [side[pick(side)] / 1e6 for side, pick in ((bids, max), (asks, min)) if side]
    for values in (spreads, levels, best):
        values.sort()
    between(spreads[750], 100, 300)
    between(spreads[1_500], 200, 700)
    between(spreads[2_250], 400, 1_500)
    between(levels[len(levels) // 2], 8, 24)
    between(levels[len(levels) * 3 // 4], 15, 45)
    between(best[len(best) // 2], 300, 1_600)
