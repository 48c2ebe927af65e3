"""Mining against a plain Python model of the documented definitions."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overround.analytics import PARTIAL_SCHEMA, merge, partial_of, rankings, stats_of

HOUR = 3_600_000
T0 = 1_768_392_000_000
NAN = math.nan

Row = dict[str, Any]

SCHEMA = {
    "ts_recv": pl.Int64, "venue": pl.String, "market_id": pl.String, "outcome_id": pl.String, "seq": pl.Int64,
    "best_bid_px": pl.Float64, "best_bid_sz": pl.Float64, "best_ask_px": pl.Float64, "best_ask_sz": pl.Float64,
    "mid": pl.Float64, "spread": pl.Float64,
    "bid_px": pl.List(pl.Float64), "bid_sz": pl.List(pl.Float64),
    "ask_px": pl.List(pl.Float64), "ask_sz": pl.List(pl.Float64),
    "status": pl.String, "err": pl.String, "source_ts": pl.Int64,
}  # fmt: skip


def a_row(ts: int, bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]], **changes: Any) -> Row:
    """A row as the collector writes it: levels best first, NaN price and size 0 for a missing side."""
    bid, ask = (bids or [(NAN, 0.0)])[0], (asks or [(NAN, 0.0)])[0]
    status = "ok" if bids and asks else "partial" if bids or asks else "empty"
    return {
        "ts_recv": ts, "venue": "kalshi", "market_id": "m", "outcome_id": "yes", "seq": 0,
        "best_bid_px": bid[0], "best_bid_sz": bid[1], "best_ask_px": ask[0], "best_ask_sz": ask[1],
        "mid": (bid[0] + ask[0]) / 2, "spread": ask[0] - bid[0],
        "bid_px": [px for px, _ in bids], "bid_sz": [sz for _, sz in bids],
        "ask_px": [px for px, _ in asks], "ask_sz": [sz for _, sz in asks],
        "status": status, "err": None, "source_ts": None, **changes,
    }  # fmt: skip


def lazy(rows: Sequence[Row]) -> pl.LazyFrame:
    return pl.LazyFrame(list(rows), schema=SCHEMA)


def mined(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    stats = stats_of(partial_of(lazy(rows)), venue="kalshi")
    return {(line["market_id"], line["outcome_id"]): line for line in stats.iter_rows(named=True)}


def model(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """The definitions of the miner's docstring, one row at a time, in exact arithmetic."""

    def whole(value: float | None, scale: int) -> int | None:
        return None if value is None or not math.isfinite(value) else round(value * scale)

    found: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for row in rows:
        quote = tuple(
            -1 if (number := whole(row[name], scale)) is None else number
            for name, scale in (("best_bid_px", 10**4), ("best_bid_sz", 10**6), ("best_ask_px", 10**4), ("best_ask_sz", 10**6))
        )  # fmt: skip
        found.setdefault((row["market_id"], row["outcome_id"]), []).append((row["ts_recv"], row["seq"], quote, row))
    stats = {}
    for key, entries in found.items():
        entries.sort(key=lambda entry: entry[:3])
        depth = spread = Fraction(0)
        n_ok = updates = observed_ms = 0
        for number, (ts, _, quote, row) in enumerate(entries):
            if number:
                updates += quote != entries[number - 1][2]
                step_ms = ts - entries[number - 1][0]
                observed_ms += step_ms if step_ms <= 60_000 else 0
            best3 = [*row["bid_sz"][:3], *row["ask_sz"][:3]]
            sides = row["bid_sz"] and row["ask_sz"]
            if row["status"] != "ok" or not sides or not all(map(math.isfinite, best3)) or -1 in (quote[0], quote[2]):
                continue
            n_ok += 1
            depth += sum(Fraction(round(size * 10**6), 10**6) for size in best3)
            spread += Fraction(quote[2] - quote[0], 10**4)
        stats[key] = {
            "venue": "kalshi", "market_id": key[0], "outcome_id": key[1], "n_snapshots": len(entries), "n_ok": n_ok,
            "avg_depth_top3": float(depth / n_ok) if n_ok else None,
            "avg_spread": float(spread / n_ok) if n_ok else None,
            "quote_updates": updates, "first_ts": entries[0][0], "last_ts": entries[-1][0], "observed_ms": observed_ms,
        }  # fmt: skip
    return stats


def check(found: dict[tuple[str, str], Row], expected: dict[tuple[str, str], Row]) -> None:
    assert found.keys() == expected.keys()
    for key, line in expected.items():
        for name in ("avg_depth_top3", "avg_spread"):
            mean, exact = found[key].pop(name), line.pop(name)
            assert (mean is exact is None) or math.isclose(mean, exact, rel_tol=1e-12)
        assert found[key] == line


# --- examples ----------------------------------------------------------------------------------------


def test_depth_is_the_best_three_levels_of_both_sides() -> None:
    bids = [(0.5, 10.0), (0.4, 20.5), (0.3, 30.0), (0.2, 1_000.0)]
    line = mined([a_row(T0, bids, [(0.6, 1.25)])])["m", "yes"]
    assert line["avg_depth_top3"] == 61.75
    assert line["avg_spread"] == 0.1
    assert line["n_ok"] == line["n_snapshots"] == 1


@pytest.mark.parametrize(
    "unusable",
    [
        a_row(T0 + 1, [], [(0.6, 5.0)]),
        a_row(T0 + 1, [], []),
        a_row(T0 + 1, [(0.1, 9.0)], [(0.9, 9.0)], status="stale"),
        a_row(T0 + 1, [(NAN, 9.0)], [(0.9, 9.0)]),
        a_row(T0 + 1, [(0.1, 9.0)], [(math.inf, 9.0)]),
        a_row(T0 + 1, [(0.1, NAN)], [(0.9, 9.0)]),
        a_row(T0 + 1, [(0.1, 9.0), (0.05, 1e300)], [(0.9, 9.0)]),
        a_row(T0 + 1, [(0.1, 9.0)], [(0.9, 9.0)], bid_sz=[], bid_px=[]),
    ],
)
def test_row_that_is_not_ok_or_lacks_a_number_enters_no_average(unusable: Row) -> None:
    line = mined([a_row(T0, [(0.5, 10.0)], [(0.6, 1.0)]), unusable])["m", "yes"]
    assert (line["n_snapshots"], line["n_ok"]) == (2, 1)
    assert (line["avg_depth_top3"], line["avg_spread"]) == (11.0, 0.1)


def test_outcome_without_a_counted_row_has_null_averages_not_nan() -> None:
    line = mined([a_row(T0, [], []), a_row(T0 + 1, [(0.5, 1.0)], [])])["m", "yes"]
    assert line["avg_depth_top3"] is line["avg_spread"] is None
    assert line["n_ok"] == 0


@pytest.mark.parametrize(
    ("after", "updates"),
    [
        (a_row(T0 + 1, [(0.5, 10.0), (0.4, 99.0)], [(0.6, 1.0)]), 0),  # only the second level moved
        (a_row(T0 + 1, [(0.5, 10.0)], [(0.6, 1.0)], status="stale", err="gap"), 0),
        (a_row(T0 + 1, [(0.5, 10.5)], [(0.6, 1.0)]), 1),
        (a_row(T0 + 1, [(0.5, 10.0)], [(0.61, 1.0)]), 1),
        (a_row(T0 + 1, [(0.5, 10.0)], []), 1),
        (a_row(T0 + 1, [(0.5, 10.0)], [(0.6, 1.0)], outcome_id="no"), 0),
        (a_row(T0 + 1, [(0.5, 10.0)], [(0.61, 1.0)], market_id="n"), 0),
    ],
)
def test_update_is_a_row_whose_best_quote_differs_from_the_row_before(after: Row, updates: int) -> None:
    stats = mined([a_row(T0, [(0.5, 10.0)], [(0.6, 1.0)]), after])
    assert sum(line["quote_updates"] for line in stats.values()) == updates


def test_side_that_stays_missing_is_no_update() -> None:
    rows = [a_row(T0 + n, [], [(0.6, 1.0)]) for n in range(5)]
    assert mined(rows)["m", "yes"]["quote_updates"] == 0


def test_update_between_two_pieces_is_counted_once() -> None:
    first = a_row(T0, [(0.5, 10.0)], [(0.6, 1.0)])
    second = a_row(T0 + HOUR, [(0.5, 11.0)], [(0.6, 1.0)])
    third = a_row(T0 + 2 * HOUR, [(0.5, 11.0)], [(0.6, 1.0)])
    pieces = [partial_of(lazy([row])) for row in (first, second, third)]
    assert merge(pieces)["quote_updates"].to_list() == [1]
    assert merge([merge(pieces[:2]), pieces[2]])["quote_updates"].to_list() == [1]


def test_pause_of_a_rotated_market_is_not_observed_time() -> None:
    rows = [a_row(T0 + ms, [], []) for ms in (0, 10_000, 20_000, 20_000 + HOUR, 30_000 + HOUR)]
    assert mined(rows)["m", "yes"]["observed_ms"] == 30_000


def test_nothing_to_mine_gives_empty_frames_of_the_right_types() -> None:
    empty = partial_of(lazy([]))
    assert dict(empty.schema) == dict(merge([]).schema) == PARTIAL_SCHEMA
    assert stats_of(merge([empty]), venue="kalshi").height == 0
    assert rankings(empty, top=5).by_depth == ()


def test_sums_hold_the_largest_books_without_overflow() -> None:
    rows = [a_row(T0 + n, [(0.5, 4e12)] * 3, [(0.6, 4e12)] * 3) for n in range(50)]
    assert mined(rows)["m", "yes"]["avg_depth_top3"] == pytest.approx(2.4e13)


def test_rankings_take_the_outcomes_of_a_market_together() -> None:
    rows = [
        a_row(T0, [(0.50, 100.0)], [(0.52, 100.0)], market_id="deep"),
        a_row(T0, [(0.48, 100.0)], [(0.50, 100.0)], market_id="deep", outcome_id="no"),
        a_row(T0, [(0.50, 1.0)], [(0.51, 1.0)], market_id="tight"),
        a_row(T0, [(0.10, 2.0)], [(0.90, 2.0)], market_id="busy"),
        a_row(T0 + 9, [(0.10, 3.0)], [(0.90, 2.0)], market_id="busy"),
        a_row(T0, [], [], market_id="empty"),
    ]
    found = rankings(partial_of(lazy(rows)), top=10)
    assert [line.market_id for line in found.by_depth] == ["deep", "busy", "tight"]
    assert [line.market_id for line in found.by_spread] == ["tight", "deep", "busy"]
    assert [line.market_id for line in found.by_updates] == ["busy", "deep", "empty", "tight"]
    assert found.by_depth[0].avg_depth_top3 == 200.0
    assert found.by_depth[0].n_ok == 2
    assert found.by_updates[0].quote_updates == 1
    assert len(rankings(partial_of(lazy(rows)), top=1).by_depth) == 1


# --- properties --------------------------------------------------------------------------------------

sizes = st.sampled_from([0.0, 0.5, 1.0, 12.34, 1_000_000.0, 0.000001]) | st.just(NAN)
prices = st.sampled_from([0.01, 0.055, 0.5, 0.501, 0.99]) | st.just(NAN)
levels = st.lists(st.tuples(prices, sizes), max_size=5)


@st.composite
def snapshot_rows(draw: st.DrawFn) -> Row:
    row = a_row(
        T0 + draw(st.sampled_from([0, 1, 2, 59_000, 60_001, 130_000, HOUR, 2 * HOUR + 5, 3 * HOUR - 1])),
        draw(levels),
        draw(levels),
        seq=draw(st.integers(0, 2)),
        market_id=draw(st.sampled_from("ab")),
        outcome_id=draw(st.sampled_from(["yes", "no"])),
    )
    if draw(st.booleans()):
        row["status"] = draw(st.sampled_from(["ok", "stale", "partial", "empty"]))
    return row


@given(rows=st.lists(snapshot_rows(), max_size=40))
@settings(max_examples=150, deadline=None)
@example(rows=[])
def test_statistics_equal_the_model_on_any_rows(rows: list[Row]) -> None:
    check(mined(rows), model(rows))


@given(rows=st.lists(snapshot_rows(), max_size=40), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_order_of_rows_and_any_grouping_of_pieces_give_the_same_bytes(rows: list[Row], seed: int) -> None:
    rng = random.Random(seed)
    whole = stats_of(partial_of(lazy(rows)), venue="kalshi")
    shuffled = rng.sample(rows, len(rows))
    hours: dict[int, list[Row]] = {}
    for row in shuffled:
        hours.setdefault(row["ts_recv"] // HOUR, []).append(row)
    pieces = [(hour, partial_of(lazy(part))) for hour, part in hours.items()]
    rng.shuffle(pieces)
    flat = merge(piece for _, piece in pieces)
    cut = rng.randrange(4) + T0 // HOUR
    grouped = merge(
        [merge(piece for hour, piece in pieces if hour >= cut), merge(piece for hour, piece in pieces if hour < cut)]
    )
    for frame in (partial_of(lazy(shuffled)), flat, grouped):
        assert stats_of(frame, venue="kalshi").equals(whole, null_equal=True)


def test_a_large_piece_repeats_bit_for_bit() -> None:
    rng = random.Random(3)
    rows = [
        a_row(
            T0 + rng.randrange(HOUR),
            [(0.5 - n / 100, rng.random() * 10 ** rng.randrange(7)) for n in range(4)],
            [(0.6 + n / 100, rng.random() * 10 ** rng.randrange(7)) for n in range(4)],
            market_id=f"m{rng.randrange(30)}",
        )
        for _ in range(20_000)
    ]
    frame = lazy(rows).collect().lazy()
    first = stats_of(partial_of(frame), venue="kalshi")
    assert all(stats_of(partial_of(frame), venue="kalshi").equals(first) for _ in range(5))
