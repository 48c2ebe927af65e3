"""Five-minute sums against a plain reading of the definitions."""

from __future__ import annotations

import itertools
import math
from typing import Any

import polars as pl
import pytest

from overround.analytics import BLOCK_COLUMNS, BLOCK_MS, TRADE_COLUMNS, blocks_of, join_blocks

T0 = 1_768_392_000_000
NO_GAPS = pl.DataFrame(schema={"market_id": pl.String, "start_ms": pl.Int64, "end_ms": pl.Int64})
LISTS = ("bid_px", "bid_sz", "ask_px", "ask_sz")
Level = tuple[float, float]


def row(at_s: float, bids: list[Level], asks: list[Level], **changes: Any) -> dict[str, Any]:
    bid, ask = (bids or [(math.nan, 0.0)])[0], (asks or [(math.nan, 0.0)])[0]
    status = "ok" if bids and asks else "partial" if bids or asks else "empty"
    return {
        "market_id": "m", "outcome_id": "yes", "ts_recv": T0 + int(at_s * 1000), "seq": 0, "status": status,
        "source_ts": None, "best_bid_px": bid[0], "best_bid_sz": bid[1], "best_ask_px": ask[0], "best_ask_sz": ask[1],
        "bid_px": [px for px, _ in bids], "bid_sz": [sz for _, sz in bids],
        "ask_px": [px for px, _ in asks], "ask_sz": [sz for _, sz in asks], **changes,
    }  # fmt: skip


def lazy(rows: list[dict[str, Any]]) -> pl.LazyFrame:
    schema = {"source_ts": pl.Int64, **dict.fromkeys(LISTS, pl.List(pl.Float64))}
    return pl.LazyFrame(rows, schema_overrides=schema)


def prints(*told: tuple[float, float, float, str], outcome: str = "yes", block: bool = False) -> pl.DataFrame:
    rows = [("m", outcome, T0 + int(at_s * 1000), px, sz, side, block) for at_s, px, sz, side in told]
    schema = [pl.String, pl.String, pl.Int64, pl.Float64, pl.Float64, pl.String, pl.Boolean]
    return pl.DataFrame(rows, schema=dict(zip(TRADE_COLUMNS, schema, strict=True)), orient="row")


BOOK = [(0.40, 100.0), (0.39, 50.0), (0.37, 10.0)], [(0.42, 300.0), (0.45, 20.0), (0.50, 7.0)]


def one(rows: list[dict[str, Any]], trades: pl.DataFrame | None = None, gaps: pl.DataFrame = NO_GAPS) -> dict[str, Any]:
    found = blocks_of(lazy(rows), prints() if trades is None else trades, gaps)
    assert dict(found.schema) == BLOCK_COLUMNS
    return found.row(0, named=True)


def test_a_row_speaks_until_the_next_and_the_last_as_long_as_the_one_before() -> None:
    sums = one([row(0, *BOOK), row(10, *BOOK), row(25, [(0.41, 1.0)], [(0.42, 1.0)])])
    assert (sums["rows"], sums["w_ms"], sums["w2_ms"]) == (3, 40_000, 40_000)
    assert sums["spread"] == pytest.approx(25_000 * 0.02 + 15_000 * 0.01)
    assert sums["mid"] == pytest.approx(25_000 * 0.41 + 15_000 * 0.415)
    assert sums["rel_spread"] == pytest.approx(25_000 * 0.02 / (0.41 * 0.59) + 15_000 * 0.01 / (0.415 * 0.585))


def test_depth_counts_levels_by_ticks_behind_the_best() -> None:
    sums = one([row(0, *BOOK), row(10, *BOOK)])
    assert sums["tick_e4"] == 100
    per_ms = {name: sums[name] / sums["w2_ms"] for name in ("depth_1", "depth_2", "depth_5", "depth_top3", "imbalance")}
    assert per_ms == pytest.approx(
        {"depth_1": 450.0, "depth_2": 450.0, "depth_5": 480.0, "depth_top3": 487.0, "imbalance": -0.5}
    )


def test_a_finer_price_makes_a_finer_tick() -> None:
    assert one([row(0, [(0.405, 1.0)], [(0.42, 1.0)]), row(10, *BOOK)])["tick_e4"] == 10
    assert one([row(0, [(0.4051, 1.0)], [(0.42, 1.0)]), row(10, *BOOK)])["tick_e4"] == 1


def test_what_is_stale_one_sided_or_a_pause_is_no_time_with_two_sides() -> None:
    sums = one([
        row(0, *BOOK), row(10, *BOOK, status="stale"), row(20, BOOK[0], []), row(30, *BOOK), row(100, *BOOK), row(110, *BOOK)
    ])  # fmt: skip
    # 0-10 and 100-120 with two sides, 20-30 with one, 10-20 stale, 30-100 nobody watched.
    assert (sums["w_ms"], sums["w2_ms"]) == (40_000, 30_000)


@pytest.mark.parametrize("market", ["m", ""])
def test_a_gap_cuts_the_time_before_it_and_what_lies_in_it(market: str) -> None:
    gaps = pl.DataFrame(
        {"market_id": [market, "other"], "start_ms": [T0 + 13_000, T0], "end_ms": [T0 + 35_000, T0 + 99_000]}
    )
    sums = one([row(at, *BOOK) for at in (0, 10, 20, 30, 40)], gaps=gaps)
    assert sums["w_ms"] == 10_000 + 3_000 + 10_000


def test_trades_count_where_a_row_speaks_and_are_seen_from_each_outcome() -> None:
    rows = [row(at, *BOOK) for at in (0, 10, 20)]
    rows += [row(at, *BOOK, outcome_id="no") for at in (0, 10, 20)]
    trades = pl.concat([
        prints((5, 0.42, 10, "buy"), (12, 0.40, 4, "sell"), (200, 0.5, 99, "buy")),
        prints((15, 0.6, 2, "buy"), outcome="no"),
        prints((15, 0.5, 1_000, "buy"), block=True),
    ])  # fmt: skip
    no, yes = blocks_of(lazy(rows), trades, NO_GAPS).rows(named=True)
    assert (yes["trades"], yes["volume"]) == (no["trades"], no["volume"]) == (3.0, 16.0)
    assert yes["turnover"] == pytest.approx(10 * 0.42 + 4 * 0.40 + 2 * 0.6)
    # 0.42, 0.40, then NO bought at 0.60, which is YES sold at 0.40.
    assert (yes["moves2"], yes["n_moves2"]) == pytest.approx((0.0, 1.0))


def test_a_turn_is_three_trades_of_one_stay_within_a_minute() -> None:
    rows = [row(at, *BOOK) for at in (*range(0, 100, 10), *range(200, 240, 10))]
    within = [(1, 0.42, 1, "buy"), (2, 0.40, 1, "sell"), (3, 0.42, 1, "buy")]
    sums = one(rows, prints(*within, (90, 0.9, 1, "buy"), (205, 0.1, 1, "sell"), (207, 0.9, 1, "sell")))
    assert (sums["moves2"], sums["n_moves2"]) == (pytest.approx(-0.0004), 1.0), "one pair of moves, 2 cents down and up"


def test_ranges_of_two_minutes_in_a_row_tell_a_spread() -> None:
    rows = [row(at, *BOOK) for at in range(0, 200, 10)]
    bounce = [(at, px, 1, "buy") for at in (1, 61) for px in (0.40, 0.42)]
    sums = one(rows, prints(*bounce, (121, 0.97, 1, "buy")))
    # Ranges that do not grow from one minute to two are all spread.
    assert (sums["range_spread"], sums["n_ranges"]) == (pytest.approx(0.02, rel=0.01), 1.0)


def test_a_line_says_from_when_to_when_it_was_watched() -> None:
    sums = one([row(at, *BOOK) for at in (20, 30, 40)])
    assert (sums["from_ms"] - T0, sums["to_ms"] - T0) == (20_000, 50_000)


def test_moves_of_ten_seconds_and_what_went_with_them() -> None:
    books = [([(0.40, 100.0)], [(0.42, 100.0)]), ([(0.41, 50.0)], [(0.43, 80.0)]), ([(0.41, 70.0)], [(0.43, 80.0)])]
    rows = [row(10 * n + more, *book, seq=n) for n, book in enumerate(books) for more in (0, 4)]
    sums = one(rows, prints((6, 0.42, 30, "buy"), (16, 0.41, 5, "sell")))
    assert sums["grid_ms"] == 20_000
    micro = [(0.42 * 100 + 0.40 * 100) / 200, (0.43 * 50 + 0.41 * 80) / 130, (0.43 * 70 + 0.41 * 80) / 150]
    steps = [after - before for before, after in itertools.pairwise(micro)]
    assert sums["micro2"] == pytest.approx(sum(step**2 for step in steps))
    # Bid up: all of the new size came; ask up: all of the old size went. Then twenty contracts more at the bid.
    assert (sums["ofi"], sums["ofi_abs"], sums["ofi2"]) == pytest.approx((170.0, 170.0, 150.0**2 + 20.0**2))
    assert sums["flow_mid"] == pytest.approx(30 * 0.01)
    assert sums["flow2"] == pytest.approx(30.0**2 + 5.0**2)
    assert (sums["move"], sums["move_usd"]) == pytest.approx((0.01, 30 * 0.42 + 5 * 0.41))
    assert (sums["changes"], sums["updates"]) == (2.0, 2.0)


def test_pieces_give_the_same_blocks_as_the_whole() -> None:
    rows = [row(10 * n, [(0.40 + 0.01 * (n % 3), 5.0 + n)], [(0.45, 9.0)], seq=n) for n in range(60)]
    whole = blocks_of(lazy(rows), prints((5, 0.4, 1, "buy"), (400, 0.45, 2, "buy")), NO_GAPS)
    halves = [
        blocks_of(lazy([each for each in rows if each["ts_recv"] // BLOCK_MS == block // BLOCK_MS]), trades, NO_GAPS)
        for block, trades in (
            (T0, prints((5, 0.4, 1, "buy"))),
            (T0 + BLOCK_MS, prints((400, 0.45, 2, "buy"))),
        )
    ]
    joined = join_blocks(halves)
    state = ["market_id", "outcome_id", "block", "rows", "w_ms", "spread", "depth_top3", "volume"]
    assert joined.select(state).equals(whole.select(state))
    assert join_blocks([joined, joined])["w_ms"].to_list() == [2 * ms for ms in joined["w_ms"]]


def test_nothing_gives_nothing() -> None:
    empty = blocks_of(lazy([row(0, *BOOK)]).filter(pl.col("seq") > 0), prints(), NO_GAPS)
    assert empty.is_empty()
    assert dict(empty.schema) == BLOCK_COLUMNS
