"""Sums of one outcome over five minutes: what every statistic of a day is made of.

``blocks_of`` turns the rows and trades of one piece (an hour, a file) into one line per outcome and block of
``BLOCK_MS``; ``join_blocks`` adds lines of the same block up. A line is small and says everything that the estimators in
``estimate`` need, so a day, or a month, is read one file at a time and what was read is kept.

A row speaks for the time until the next row of its outcome, but not beyond ``PAUSE_MS`` (then nobody watched), nor into
a gap, nor at all if it was stale. The last row of a piece speaks for as long as the one before it did. A trade counts if a
row speaks for its time: so counts and the time that they are divided by come from the same stretches.

Changes of the price are taken from one row in ten seconds (``GRID_MS``): a hot market is stored every two seconds, a warm
one every ten, and the variance of a price depends on how often one looks.
"""

from __future__ import annotations

import math

import polars as pl

from overround.analytics.miner import PAUSE_MS

__all__ = ["BLOCK_COLUMNS", "BLOCK_MS", "GRID_MS", "ROW_COLUMNS", "TRADE_COLUMNS", "blocks_of", "join_blocks"]

BLOCK_MS = 300_000
GRID_MS = 10_000
_GRID_REACH_MS = 3 * GRID_MS
_LEVELS = 6
_RANGES_WITHIN = 0.05
"""Nearer to 0 or 1 than this, a price's logarithm moves in no way that ranges tell of."""
_AGE_MOST_MS = 86_400_000

_OUTCOME = ("market_id", "outcome_id")
ROW_COLUMNS = (
    *(*_OUTCOME, "ts_recv", "seq", "status", "source_ts"),
    *("best_bid_px", "best_bid_sz", "best_ask_px", "best_ask_sz", "bid_px", "bid_sz", "ask_px", "ask_sz"),
)
TRADE_COLUMNS = (*_OUTCOME, "ts_recv", "px", "sz", "taker_side", "block")

_SUMS = (
    # milliseconds: watched, with two sides, with a known age
    *("w_ms", "w2_ms", "wage_ms"),
    # over the time with two sides: spread, relative spread, depths, imbalance, mid; age over its own time
    *("spread", "rel_spread", "depth_1", "depth_2", "depth_5", "depth_top3", "imbalance", "mid", "age"),
    *("updates", "changes", "step_ms", "slots", "slot_changes", "slot_changes2"),
    *("grid_ms", "micro2", "logit2", "flow_mid", "flow2", "move", "move_usd", "ofi", "ofi_abs", "ofi_mid", "ofi2"),
    *("trades", "volume", "turnover", "one_sided", "signed", "moves2", "n_moves2", "range_spread", "n_ranges"),
)
BLOCK_COLUMNS: dict[str, pl.DataType] = {
    "market_id": pl.String(),
    "outcome_id": pl.String(),
    "block": pl.Int64(),
    "rows": pl.Int64(),
    "tick_e4": pl.Int64(),
    "from_ms": pl.Int64(),
    "to_ms": pl.Int64(),
    **{name: pl.Float64() for name in _SUMS},
}
"""Columns of a line of sums; ``from_ms`` and ``to_ms`` bound the time watched, null without any."""


def blocks_of(rows: pl.LazyFrame, trades: pl.DataFrame, gaps: pl.DataFrame) -> pl.DataFrame:
    """Sum up one piece.

    Parameters
    ----------
    rows : polars.LazyFrame
        Snapshot rows, in any order, with at least ``ROW_COLUMNS``.
    trades : polars.DataFrame
        Those of the same time, with at least ``TRADE_COLUMNS``; those matched off the book are left out.
    gaps : polars.DataFrame
        ``market_id`` (empty: all markets), ``start_ms``, ``end_ms``.

    Returns
    -------
    polars.DataFrame
        ``BLOCK_COLUMNS``, sorted by market, outcome and block.
    """
    held = _held(rows, gaps)
    if held.is_empty():
        return pl.DataFrame(schema=BLOCK_COLUMNS)
    prints = _prints(trades, held)
    grid = _grid(held, prints)
    key = [*_OUTCOME, "block"]
    w, w2 = pl.col("w_ms"), pl.col("w2_ms")
    lines = held.group_by(key, maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("rows"),
        pl.col("tick_e4").min(),
        pl.col("ts_recv").filter(w > 0).min().alias("from_ms"),
        pl.col("until").filter(w > 0).max().alias("to_ms"),
        w.sum(),
        w2.sum(),
        pl.col("w_ms").filter(pl.col("age").is_not_null()).sum().alias("wage_ms"),
        *(
            (pl.col(name) * w2).sum().alias(name)
            for name in ("spread", "rel_spread", "depth_1", "depth_2", "depth_5", "depth_top3", "imbalance", "mid")
        ),
        (pl.col("age") * w).sum().alias("age"),
        *(pl.col(name).sum() for name in ("updates", "changes", "step_ms")),
    )
    lines = lines.join(_slots(held), on=key, how="left", maintain_order="left")
    lines = lines.join(grid, on=key, how="left", maintain_order="left")
    lines = lines.join(_traded(prints), on=key, how="left", maintain_order="left")
    lines = lines.join(_minutes(held, prints), on=key, how="left", maintain_order="left")
    return _conformed(lines)


def join_blocks(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Lines of several pieces, each outcome's block once."""
    if not parts:
        return pl.DataFrame(schema=BLOCK_COLUMNS)
    lines = pl.concat(parts).sort(*_OUTCOME, "block", "rows")
    repeated = lines.select(pl.struct(*_OUTCOME, "block").is_duplicated().any()).item()
    if not repeated:
        return lines
    joined = lines.group_by(*_OUTCOME, "block", maintain_order=True).agg(
        pl.col("rows").sum(),
        pl.col("tick_e4").min(),
        pl.col("from_ms").min(),
        pl.col("to_ms").max(),
        *(pl.col(name).sum() for name in _SUMS),
    )
    return _conformed(joined)


def _conformed(lines: pl.DataFrame) -> pl.DataFrame:
    return lines.select(
        (pl.col(name).fill_null(0.0) if name in _SUMS else pl.col(name)).cast(dtype)
        for name, dtype in BLOCK_COLUMNS.items()
    ).sort(*_OUTCOME, "block")


# -- rows --------------------------------------------------------------------------------------------------


def _held(rows: pl.LazyFrame, gaps: pl.DataFrame) -> pl.DataFrame:
    """Rows in order, with the time each speaks for and what it says."""
    narrow = rows.select(
        *_OUTCOME,
        "ts_recv",
        "seq",
        "status",
        "source_ts",
        *(_e4(f"best_{side}_px").alias(f"{side}_e4") for side in ("bid", "ask")),
        *(pl.col(f"best_{side}_sz").alias(f"{side}_sz0") for side in ("bid", "ask")),
        *(
            pl.col(f"{side}_{what}").list.get(level, null_on_oob=True).alias(f"{side}_{what}{level}")
            for side in ("bid", "ask")
            for what in ("px", "sz")
            for level in range(_LEVELS)
            if (what, level) != ("sz", 0)
        ),
    ).collect(engine="streaming")
    narrow = narrow.sort(*_OUTCOME, "ts_recv", "seq", "bid_e4", "ask_e4", nulls_last=True)
    if narrow.is_empty():
        return narrow
    next_gap, in_gap = _gap_columns(narrow, gaps)
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in _OUTCOME).fill_null(value=False)
    block_end = (pl.col("ts_recv") // BLOCK_MS + 1) * BLOCK_MS
    held = narrow.with_columns(next_gap, in_gap, same.alias("follows")).with_columns(
        pl.col("follows").shift(-1, fill_value=False).alias("leads"),
        pl.when("follows").then(pl.col("ts_recv") - pl.col("ts_recv").shift(1)).alias("before_ms"),
    )
    step = (
        pl.when("leads")
        .then(pl.col("ts_recv").shift(-1) - pl.col("ts_recv"))
        .otherwise(pl.min_horizontal(pl.col("before_ms").fill_null(0), block_end - pl.col("ts_recv")))
    )
    two = (pl.col("status") == "ok") & (pl.col("ask_e4") > pl.col("bid_e4"))
    good = pl.col("status").is_in(["ok", "partial", "empty"]) & ~pl.col("in_gap")
    held = held.with_columns(
        pl.when(good & (step <= PAUSE_MS))
        .then(pl.min_horizontal(step, (pl.col("next_gap") - pl.col("ts_recv")).fill_null(PAUSE_MS)))
        .otherwise(0)
        .cast(pl.Float64)
        .alias("w_ms"),
        (two & good).fill_null(value=False).alias("two"),
        good.fill_null(value=False).alias("good"),
        (pl.col("ts_recv") // BLOCK_MS * BLOCK_MS).alias("block"),
    )
    fits = [
        pl.all_horizontal((pl.col(name) % tick == 0).fill_null(value=True) for name in ("bid_e4", "ask_e4"))
        for tick in (100, 10)
    ]
    ticks = held.group_by(_OUTCOME).agg(
        pl.when(fits[0]).then(100).when(fits[1]).then(10).otherwise(1).min().cast(pl.Int64).alias("tick_e4")
    )
    held = held.join(ticks, on=_OUTCOME, how="left", maintain_order="left")
    bid, ask = pl.col("bid_e4") / 1e4, pl.col("ask_e4") / 1e4
    bid_sz, ask_sz = pl.col("bid_sz0"), pl.col("ask_sz0")
    mid, total = (bid + ask) / 2, bid_sz + ask_sz
    micro = (ask * bid_sz + bid * ask_sz) / total
    pair = pl.col("follows") & pl.col("good") & pl.col("good").shift(1) & (pl.col("before_ms") <= PAUSE_MS)
    quote = ("bid_e4", "ask_e4", "bid_sz0", "ask_sz0")
    changed = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in quote)

    until = pl.col("ts_recv") + pl.col("w_ms").cast(pl.Int64)

    def where_two(value: pl.Expr) -> pl.Expr:
        return pl.when("two").then(value)

    return held.with_columns(
        until.alias("until"),
        (pl.col("follows") & (pl.col("ts_recv") == until.shift(1))).not_().cum_sum().alias("stay"),
        pl.when("two").then("w_ms").otherwise(0.0).alias("w2_ms"),
        where_two(ask - bid).alias("spread"),
        where_two((ask - bid) / (mid * (1 - mid))).alias("rel_spread"),
        *(where_two(_depth(ticks_away)).alias(f"depth_{ticks_away}") for ticks_away in (1, 2, 5)),
        where_two(pl.sum_horizontal(f"{side}_sz{level}" for side in ("bid", "ask") for level in range(3))).alias(
            "depth_top3"
        ),
        where_two((bid_sz - ask_sz) / total).alias("imbalance"),
        where_two(mid).alias("mid"),
        where_two(micro).alias("micro"),
        (pl.col("ts_recv") - pl.col("source_ts")).clip(0, _AGE_MOST_MS).cast(pl.Float64).alias("age"),
        (pair & changed).cast(pl.Float64).alias("updates"),
        pl.when(pair)
        .then((pl.col("seq") - pl.col("seq").shift(1)).clip(0))
        .otherwise(0)
        .cast(pl.Float64)
        .alias("changes"),
        pl.when(pair).then("before_ms").otherwise(0).cast(pl.Float64).alias("step_ms"),
    )


def _depth(ticks_away: int) -> pl.Expr:
    """Contracts no more than so many ticks behind the best price, on both sides."""
    depth: pl.Expr = pl.lit(0.0)
    for side, sign in (("bid", -1), ("ask", 1)):
        best = pl.col(f"{side}_e4")
        for level in range(min(_LEVELS, ticks_away + 1)):
            behind = (_e4(f"{side}_px{level}") - best) * sign
            near = behind <= ticks_away * pl.col("tick_e4")
            depth += pl.when(near).then(pl.col(f"{side}_sz{level}")).otherwise(0.0).fill_null(0.0)
    return depth


def _e4(name: str) -> pl.Expr:
    return (pl.col(name) * 1e4).round().cast(pl.Int64, strict=False)


def _gap_columns(rows: pl.DataFrame, gaps: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """For each row the start of the next gap of its market, and whether it lies in one."""
    nothing = pl.Series("next_gap", [None] * rows.height, pl.Int64), pl.Series("in_gap", [False] * rows.height)
    if gaps.is_empty() or rows.is_empty():
        return nothing
    times = rows["ts_recv"].to_numpy()
    first, last = int(times.min()), int(times.max())
    near = gaps.select("market_id", "start_ms", "end_ms").filter(
        pl.col("start_ms") <= last, pl.col("end_ms").fill_null(last + 1) >= first
    )
    if near.is_empty():
        return nothing
    markets = rows.select("market_id").unique()
    all_markets = markets.join(near.filter(pl.col("market_id") == "").drop("market_id"), how="cross")
    near = pl.concat([near.filter(pl.col("market_id") != ""), all_markets.select(near.columns)])
    near = near.with_columns(pl.col("end_ms").fill_null(last + 1)).sort("start_ms")
    reached = near.with_columns(pl.col("end_ms").cum_max().over("market_id"))
    keyed = rows.select("market_id", "ts_recv").with_row_index("at").sort("ts_recv", "at")
    joined = keyed.join_asof(
        reached, left_on="ts_recv", right_on="start_ms", by="market_id", check_sortedness=False
    ).join_asof(
        near.select("market_id", pl.col("start_ms").alias("next_gap")),
        left_on="ts_recv",
        right_on="next_gap",
        by="market_id",
        strategy="forward",
        coalesce=False,
        check_sortedness=False,
    )
    joined = joined.sort("at")
    return joined["next_gap"], (joined["end_ms"] > joined["ts_recv"]).fill_null(value=False).alias("in_gap")


# -- trades ------------------------------------------------------------------------------------------------


def _prints(trades: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Trades seen from each outcome that has rows, as far as a row speaks for their time."""
    told = trades.select(TRADE_COLUMNS).filter(~pl.col("block")).rename({"outcome_id": "traded"})
    outcomes = held.select(_OUTCOME).unique()
    same = pl.col("traded") == pl.col("outcome_id")
    side = pl.when(pl.col("taker_side") == "buy").then(1.0).when(pl.col("taker_side") == "sell").then(-1.0).otherwise(0)
    seen = told.join(outcomes, on="market_id").with_columns(
        (pl.col("px") * pl.col("sz")).alias("usd"),
        pl.when(same).then("px").otherwise(1 - pl.col("px")).alias("px"),
        (pl.when(same).then(1.0).otherwise(-1.0) * side).alias("side"),
    )
    watched = held.select(*_OUTCOME, pl.col("ts_recv").alias("row_ts"), "until", "stay")
    watched = watched.sort("row_ts", maintain_order=True)
    return (
        seen.sort("ts_recv", *_OUTCOME, "px", "sz", "side")
        .join_asof(watched, left_on="ts_recv", right_on="row_ts", by=list(_OUTCOME), check_sortedness=False)
        .filter(pl.col("ts_recv") < pl.col("until"))
        .sort(*_OUTCOME, "ts_recv", maintain_order=True)
        .with_columns((pl.col("ts_recv") // BLOCK_MS * BLOCK_MS).alias("block"))
    )


def _traded(prints: pl.DataFrame) -> pl.DataFrame:
    # Of three trades within a minute: longer ones say more of the price than of the spread, and fit in few stays.
    step, near = pl.col("px").diff(), pl.col("ts_recv") - pl.col("ts_recv").shift(2) <= PAUSE_MS
    return (
        prints.with_columns(pl.when(near).then(step * step.shift(1)).over("stay").alias("turn"))
        .group_by(*_OUTCOME, "block", maintain_order=True)
        .agg(
            pl.len().cast(pl.Float64).alias("trades"),
            pl.col("sz").sum().alias("volume"),
            pl.col("usd").sum().alias("turnover"),
            pl.col("turn").sum().alias("moves2"),
            pl.col("turn").is_not_null().sum().cast(pl.Float64).alias("n_moves2"),
        )
    )


def _minutes(held: pl.DataFrame, prints: pl.DataFrame) -> pl.DataFrame:
    """How one-sided the trades of each minute were, and the spread that the ranges of two minutes in a row tell.

    Of minutes watched throughout: for a part looks more one-sided, and has less of a range.
    """
    key = [*_OUTCOME, "block", "minute"]
    minute = (pl.col("ts_recv") // 60_000).alias("minute")
    watched = held.group_by(*_OUTCOME, "block", minute).agg(pl.col("w_ms").sum()).filter(pl.col("w_ms") >= 54_000)
    return (
        prints.group_by(*_OUTCOME, "block", minute, maintain_order=True)
        .agg(
            (pl.col("side") * pl.col("sz")).sum().abs().alias("net"),
            pl.col("sz").filter(pl.col("side") != 0).sum(),
            pl.col("px").max().alias("high"),
            pl.col("px").min().alias("low"),
        )
        .join(watched, on=key, how="semi")
        .sort(key)
        .with_columns(_range_spread().over(*_OUTCOME, "block").alias("range_spread"))
        .group_by(*_OUTCOME, "block", maintain_order=True)
        .agg(
            pl.col("net").sum().alias("one_sided"),
            pl.col("sz").sum().alias("signed"),
            pl.col("range_spread").sum(),
            pl.col("range_spread").is_not_null().sum().cast(pl.Float64).alias("n_ranges"),
        )
    )


def _range_spread() -> pl.Expr:
    """Corwin and Schultz's spread of a minute and the one before; in probability, for theirs is a part of the price."""
    high, low = pl.col("high"), pl.col("low")
    apt = (pl.col("minute").diff() == 1) & (pl.min_horizontal(low, low.shift(1)) >= _RANGES_WITHIN)
    apt &= pl.max_horizontal(high, high.shift(1)) <= 1 - _RANGES_WITHIN
    own = (high / low).log() ** 2
    beta = own + own.shift(1)
    gamma = (pl.max_horizontal(high, high.shift(1)) / pl.min_horizontal(low, low.shift(1))).log() ** 2
    root2 = 3 - 2 * math.sqrt(2)
    alpha = ((2 * beta).sqrt() - beta.sqrt()) / root2 - (gamma / root2).sqrt()
    price = (high + low + high.shift(1) + low.shift(1)) / 4
    return pl.when(apt).then((2 * (alpha.exp() - 1) / (1 + alpha.exp()) * price).clip(0))


# -- ten-second grid ---------------------------------------------------------------------------------------


def _slots(held: pl.DataFrame) -> pl.DataFrame:
    """How unevenly changes of the book fall on slots of ten seconds that were watched throughout."""
    slots = (
        held.group_by(*_OUTCOME, "block", pl.col("ts_recv") // GRID_MS, maintain_order=True)
        .agg(pl.col("changes").sum(), pl.col("step_ms").sum())
        .filter(pl.col("step_ms") >= 0.75 * GRID_MS)
        .with_columns((pl.col("changes") * GRID_MS / pl.col("step_ms")).alias("changes"))
    )
    return slots.group_by(*_OUTCOME, "block", maintain_order=True).agg(
        pl.len().cast(pl.Float64).alias("slots"),
        pl.col("changes").sum().alias("slot_changes"),
        (pl.col("changes") ** 2).sum().alias("slot_changes2"),
    )


def _grid(held: pl.DataFrame, prints: pl.DataFrame) -> pl.DataFrame:
    """Moves from one ten-second row to the next, and what was traded and quoted between them."""
    rows = (
        held.filter("two")
        .with_columns((pl.col("ts_recv") // GRID_MS).alias("slot"))
        .group_by(*_OUTCOME, "slot", maintain_order=True)
        .first()
    )
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in _OUTCOME).fill_null(value=False)
    before_ms = pl.col("ts_recv") - pl.col("ts_recv").shift(1)
    bid, ask, bid_sz, ask_sz = (pl.col(name) for name in ("bid_e4", "ask_e4", "bid_sz0", "ask_sz0"))
    ofi = (
        pl.when(bid >= bid.shift(1)).then(bid_sz).otherwise(0.0)
        - pl.when(bid <= bid.shift(1)).then(bid_sz.shift(1)).otherwise(0.0)
        - pl.when(ask <= ask.shift(1)).then(ask_sz).otherwise(0.0)
        + pl.when(ask >= ask.shift(1)).then(ask_sz.shift(1)).otherwise(0.0)
    )
    micro = pl.col("micro").clip(1e-4, 1 - 1e-4)
    logit = (micro / (1 - micro)).log()
    pairs = (
        rows.with_columns(
            pl.when(same & (before_ms <= _GRID_REACH_MS)).then(before_ms).cast(pl.Float64).alias("dt"),
            (pl.col("ts_recv").shift(1)).alias("since"),
            (pl.col("mid") - pl.col("mid").shift(1)).alias("dmid"),
            (pl.col("micro") - pl.col("micro").shift(1)).alias("dmicro"),
            (logit - logit.shift(1)).alias("dlogit"),
            ofi.alias("e"),
        )
        .filter(pl.col("dt").is_not_null())
        .with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("pair"))
    )
    # A print belongs to the pair whose later row is the next one at or after it.
    flows = (
        prints.sort("ts_recv")
        .join_asof(
            pairs.select(*_OUTCOME, "pair", "since", pl.col("ts_recv").alias("row_ts")).sort("row_ts"),
            left_on="ts_recv",
            right_on="row_ts",
            by=list(_OUTCOME),
            strategy="forward",
            check_sortedness=False,
        )
        .filter(pl.col("ts_recv") > pl.col("since"))
        .sort("pair", "ts_recv", "px", "sz")
        .group_by("pair", maintain_order=True)
        .agg((pl.col("side") * pl.col("sz")).sum().alias("flow"), pl.col("usd").sum())
    )
    flow, dmid = pl.col("flow"), pl.col("dmid")
    return (
        pairs.join(flows, on="pair", how="left", maintain_order="left")
        .group_by(*_OUTCOME, "block", maintain_order=True)
        .agg(
            pl.col("dt").sum().alias("grid_ms"),
            (pl.col("dmicro") ** 2).sum().alias("micro2"),
            (pl.col("dlogit") ** 2).sum().alias("logit2"),
            (flow * dmid).sum().alias("flow_mid"),
            (flow**2).sum().alias("flow2"),
            dmid.abs().filter(pl.col("usd") > 0).sum().alias("move"),
            pl.col("usd").sum().alias("move_usd"),
            pl.col("e").sum().alias("ofi"),
            pl.col("e").abs().sum().alias("ofi_abs"),
            (pl.col("e") * dmid).sum().alias("ofi_mid"),
            (pl.col("e") ** 2).sum().alias("ofi2"),
        )
    )
