"""A day's statistics out of what a rotation saw of it, against the day seen throughout."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pytest

from overround.analytics import (
    BLOCK_COLUMNS,
    BLOCK_MS,
    ESTIMATES,
    INTEREST_PARTS,
    Estimate,
    blocks_of,
    estimate,
    interest,
)
from overround.testing.rotated_days import rotated_day

pytestmark = pytest.mark.long

HOUR = 3_600_000
T0 = 1_768_392_000_000
FOUR_HOURS = [T0 + number * BLOCK_MS for number in range(48)]
NO_GAPS = pl.DataFrame(schema={"market_id": pl.String, "start_ms": pl.Int64, "end_ms": pl.Int64})


def blocks(*lines: tuple[str, int, float, float]) -> pl.DataFrame:
    """Lines of market, number of the block, watched share and spread."""
    rows = [
        {
            "market_id": market,
            "outcome_id": "yes",
            "block": T0 + number * BLOCK_MS,
            "rows": 30,
            "tick_e4": 100,
            "from_ms": T0 + number * BLOCK_MS + (0 if number % 4 else round((1 - share) * BLOCK_MS)),
            "to_ms": T0 + number * BLOCK_MS + (round(share * BLOCK_MS) if number % 4 else BLOCK_MS),
            "w_ms": share * BLOCK_MS,
            "w2_ms": share * BLOCK_MS,
            "spread": spread * share * BLOCK_MS,
        }
        for market, number, share, spread in lines
    ]
    frame = pl.DataFrame(rows)
    missing = [pl.lit(0.0).alias(name) for name in BLOCK_COLUMNS if name not in frame.columns]
    return frame.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in BLOCK_COLUMNS.items())


def test_an_hour_that_was_hardly_watched_counts_as_an_hour() -> None:
    busy = [("m", number, 1.0, 0.01) for number in range(12)]
    quiet = [("m", number, 0.5, 0.05) for number in (14, 16, 20)]
    stats = estimate(blocks(*busy, *quiet), recorded=[T0 + number * BLOCK_MS for number in range(24)])
    line = stats.row(0, named=True)
    assert line["spread"] == pytest.approx((0.01 + 0.05) / 2), "not 0.0144, which more watching would have made of it"
    assert line["watched_share"] == pytest.approx(13.5 / 24)
    assert line["spread_ticks"] == pytest.approx(3.0)


def test_an_hour_without_the_market_goes_with_its_neighbour() -> None:
    seen = [("m", number, 1.0, 0.01 if number < 12 else 0.04) for number in (0, 4, 8, 24, 28, 32)]
    stats = estimate(blocks(*seen), recorded=[T0 + number * BLOCK_MS for number in range(36)])
    assert stats["spread"].item() == pytest.approx((2 * 0.01 + 0.04) / 3)


def test_full_observation_leaves_no_interval_and_few_units_give_none() -> None:
    rng = np.random.default_rng(3)
    whole = [("whole", number, 1.0, 0.02 + 0.01 * rng.random()) for number in range(48)]
    rare = [("rare", number, 1.0, 0.02) for number in (3, 9, 30)]
    stats = {line["market_id"]: line for line in estimate(blocks(*sorted(whole + rare))).to_dicts()}
    line = stats["whole"]
    assert line["spread_lo"] == line["spread"] == line["spread_hi"]
    spreads = np.array([each[3] for each in whole])
    assert line["spread_se"] == pytest.approx(spreads.std(ddof=1) / np.sqrt(48), rel=1e-3)
    assert (stats["rare"]["spread"], stats["rare"]["spread_lo"]) == (pytest.approx(0.02), None)


def test_units_that_are_all_alike_do_not_tell_how_unlike_the_unseen_are() -> None:
    stats = estimate(blocks(*(("m", number, 0.5, 0.02) for number in range(0, 48, 2))), recorded=FOUR_HOURS)
    assert (stats["spread"].item(), stats["spread_lo"].item()) == (pytest.approx(0.02), None)


def test_what_drifts_is_known_better_between_two_visits_than_what_jumps() -> None:
    rng = np.random.default_rng(5)
    walk = 0.05 + 0.002 * np.cumsum(rng.standard_normal(48))
    spreads = {"drifting": walk, "jumping": rng.permutation(walk)}
    seen = [(name, number, 1.0, spreads[name][number]) for name in spreads for number in range(0, 48, 3)]
    stats = {line["market_id"]: line for line in estimate(blocks(*seen), recorded=FOUR_HOURS).to_dicts()}
    widths = {name: line["spread_hi"] - line["spread_lo"] for name, line in stats.items()}
    assert 0 < widths["drifting"] < 0.6 * widths["jumping"]


def test_a_market_that_seems_calm_is_not_believed_to_be_calmer_than_all_others() -> None:
    rng = np.random.default_rng(9)
    numbers = range(0, 48, 2)
    lines = [
        {
            "market_id": f"m{k}",
            "outcome_id": "yes",
            "block": T0 + n * BLOCK_MS,
            "w_ms": 1.0 * BLOCK_MS,
            "volume": volume,
        }
        for k in range(6)
        for n, volume in zip(
            numbers, np.exp(2 * rng.standard_normal(len(numbers))) if k else 1 + 0.1 * (np.arange(24) % 2), strict=True
        )
    ]
    only = (Estimate(name="volume", top="volume", over="w_ms", scale=3_600_000, events=True),)

    def width(frame: pl.DataFrame) -> float:
        line = estimate(frame, recorded=FOUR_HOURS, what=only).row(0, named=True)
        return float(line["volume_hi"] - line["volume_lo"])

    alone, together = width(pl.DataFrame(lines[:24])), width(pl.DataFrame(lines))
    assert together > 1.2 * alone


def test_the_pieces_of_one_stay_are_one_unit() -> None:
    cut = [("m", number, 0.4, 0.02) for start in range(0, 48, 4) for number in (start, start + 1)]
    assert estimate(blocks(*cut))["n_units"].item() == 12
    whole = [("m", number, 1.0, 0.02) for number in range(24)]
    assert estimate(blocks(*whole))["n_units"].item() == 24


def test_nothing_watched_is_no_statistic() -> None:
    assert estimate(blocks(("m", 0, 0.0, 0.0))).is_empty()


def test_interest_ranks_by_parts_and_names_them() -> None:
    lines = [("a", number, 1.0, 0.01) for number in range(12)] + [("b", number, 1.0, 0.03) for number in range(12)]
    stats = estimate(blocks(*lines)).with_columns(pl.Series("rel_spread", [0.04, 0.12]))
    ranked = interest(stats)
    assert ranked["market_id"].to_list() == ["a", "b"]
    assert ranked["tightness"].to_list() == [0.75, 0.25]
    assert ranked["two_sidedness"].to_list() == [0.5, 0.5]
    parts = ranked.select(*INTEREST_PARTS).mean_horizontal()
    assert ranked["interest"].to_list() == pytest.approx(parts.to_list(), abs=1e-4)


# -- against the exchange ----------------------------------------------------------------------------------

# What 200 days gave is in the docs; these few may be further off by chance, but not far.
FEWEST_COVERED = {one.name: 0.8 for one in ESTIMATES if one.bounded and one.name != "two_sided"}
MOST_BIAS = {
    "spread": 0.02,
    "rel_spread": 0.03,
    "depth_1": 0.04,
    "depth_top3": 0.03,
    "changes_per_min": 0.12,
    "mid": 0.01,
}


@pytest.mark.long
@pytest.mark.timeout(120)
def test_what_a_rotation_saw_gives_what_watching_throughout_would_have_given() -> None:
    covered: dict[str, list[bool]] = defaultdict(list)
    widths: dict[str, list[float]] = defaultdict(list)
    errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for seed in (301, 302, 303):
        day = rotated_day(seed, hours=10, n_markets=8, max_subs=3, rate_scale=0.05)
        whole = blocks_of(day.rows.lazy(), day.trades, NO_GAPS)
        part = blocks_of(day.sampled(day.rows).lazy(), day.sampled(day.trades), NO_GAPS)
        recorded = whole["block"].unique().to_list()
        both = estimate(whole, recorded=recorded).join(
            estimate(part, recorded=recorded), on=["market_id", "outcome_id"], suffix="_part"
        )
        both = both.filter(pl.col("watched_share_part") < 0.9)
        assert both.height >= 6
        assert both["watched_share_part"].mean() < 0.5
        for name in FEWEST_COVERED:
            wanted = both.select(name, f"{name}_se", *(f"{name}{end}_part" for end in ("", "_lo", "_hi"))).drop_nulls()
            for value, error, seen, lo, hi in wanted.iter_rows():
                covered[name].append(lo <= value <= hi)
                errors[name].append((value, seen))
                if error > 0:
                    widths[name].append((hi - lo) / (2 * 1.96 * error))
    shares = {name: float(np.mean(found)) for name, found in covered.items()}
    assert {name: share for name, share in shares.items() if share < FEWEST_COVERED[name]} == {}
    assert {name: np.median(found) for name, found in widths.items() if np.median(found) > 3} == {}
    for name, most in MOST_BIAS.items():
        values, seen = np.array(errors[name]).T
        assert abs((seen - values).mean()) <= most * np.abs(values).mean(), name
