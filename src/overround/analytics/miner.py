"""Depth, spread and quote updates of each outcome, out of snapshot rows.

The work is cut in three, so that a day never has to be in memory at once, in whatever pieces it is stored:
``partial_of`` turns the rows of one piece (an hour, a file) into one line of sums per outcome, ``merge``
joins such lines, in any grouping, and ``stats_of`` divides at the end. A partial also carries the first and the
last quote of its outcome, so that an update that falls between two pieces is counted, once.

Definitions
-----------
counted row
    ``status`` is ``ok``, both best prices are finite, both sides have a level, and the sizes of the best three
    levels are finite. Only counted rows (``n_ok``) enter averages; NaN enters nothing.
depth
    Contracts resting in the best three levels of the bid side plus those of the ask side, of one row; a side with
    fewer levels counts what it has.
spread
    Best ask minus best bid of one row, probability.
quote update
    A row whose best bid price, best bid size, best ask price or best ask size differs from the row before, of the
    same outcome, by ``ts_recv``. All rows take part, whatever their status; a missing side is a quote of its own.
    Rows of one millisecond are ordered by ``seq``, then by the quote itself.
observed time
    Sum of the times between consecutive rows of an outcome, pauses longer than ``PAUSE_MS`` left out.

All sums are of integers (prices x 10,000, sizes x 1,000,000, rounded), so that a result repeats bit for bit
whatever the order in which threads add; 128 bits hold any number of rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from overround.market import MarketId
from overround.market.sums import NO_PRICE, PAUSE_MS, QUOTE, TOP_LEVELS, OutcomeRows, sum_rows

__all__ = ["INPUT_COLUMNS", "PARTIAL_SCHEMA", "PAUSE_MS", "RankedMarket", "Rankings"]
__all__ += ["merge", "partial_of", "partial_of_sums", "rankings", "stats_of"]

_OUTCOME = ("market_id", "outcome_id")
_BEST = ("best_bid_px", "best_bid_sz", "best_ask_px", "best_ask_sz")

INPUT_COLUMNS = (*_OUTCOME, "ts_recv", "seq", "status", *_BEST, "bid_sz", "ask_sz")
"""Columns of a snapshot row that mining reads."""

PARTIAL_SCHEMA: dict[str, pl.DataType] = {
    "market_id": pl.String(),
    "outcome_id": pl.String(),
    "n_snapshots": pl.Int64(),
    "n_ok": pl.Int64(),
    "depth_sum_e6": pl.Int128(),
    "spread_sum_e4": pl.Int64(),
    "quote_updates": pl.Int64(),
    "observed_ms": pl.Int64(),
    "first_ts": pl.Int64(),
    "last_ts": pl.Int64(),
    **{f"first_{name}": pl.Int64() for name in QUOTE},
    **{f"last_{name}": pl.Int64() for name in QUOTE},
}
"""Columns of a partial: one line per outcome, sorted by market and outcome."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedMarket:
    """One line of a ranking; its outcomes taken together.

    Attributes
    ----------
    market_id : MarketId
    n_snapshots, n_ok : int
        Rows of the outcome that has most, and counted rows of all outcomes.
    avg_depth_top3 : float or None
        Contracts, over the counted rows of all outcomes; None without any.
    avg_spread : float or None
        Probability, likewise.
    quote_updates : int
        Of the outcome that has most: outcomes mirror each other, adding them up would count each update twice.
    first_ts, last_ts : int
        First and last row, epoch ms.
    title : str
        The question; empty here, filled in by whoever holds a listing.
    """

    market_id: MarketId
    n_snapshots: int
    n_ok: int
    avg_depth_top3: float | None
    avg_spread: float | None
    quote_updates: int
    first_ts: int
    last_ts: int
    title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rankings:
    """The best markets by each measure; equals in the order of their ids.

    Attributes
    ----------
    by_depth : tuple of RankedMarket
        Deepest first; markets without a counted row are left out.
    by_spread : tuple of RankedMarket
        Tightest first; likewise.
    by_updates : tuple of RankedMarket
        Most quote updates first.
    """

    by_depth: tuple[RankedMarket, ...]
    by_spread: tuple[RankedMarket, ...]
    by_updates: tuple[RankedMarket, ...]


def partial_of(rows: pl.LazyFrame) -> pl.DataFrame:
    """Sum up snapshot rows, in whatever order they come.

    Parameters
    ----------
    rows : polars.LazyFrame
        At least ``INPUT_COLUMNS``; the level lists are streamed, never held.

    Returns
    -------
    polars.DataFrame
        ``PARTIAL_SCHEMA``.

    Raises
    ------
    ValueError
        If a row has no market, outcome or time.
    """
    sizes = [
        # The first level must be there; a book of one or two levels is as deep as it is.
        size if level == 0 else size.fill_null(0.0)
        for name in ("bid_sz", "ask_sz")
        for level in range(TOP_LEVELS)
        for size in [pl.col(name).list.get(level, null_on_oob=True).alias(f"{name}{level}")]
    ]
    narrow = rows.select(
        *_OUTCOME, "ts_recv", pl.col("seq").fill_null(NO_PRICE), *_BEST, *sizes, pl.col("status").eq_missing("ok")
    ).collect(engine="streaming")
    if any(narrow[name].null_count() for name in (*_OUTCOME, "ts_recv")):
        raise ValueError("rows without market, outcome or time")
    if narrow.is_empty():
        return pl.DataFrame(schema=PARTIAL_SCHEMA)
    begins, firsts = _outcomes(narrow)
    market, outcome = (firsts[name] for name in _OUTCOME)
    rises = (market > market.shift(1)) | ((market == market.shift(1)) & (outcome > outcome.shift(1)))
    if not rises.all():
        narrow = narrow.sort(*_OUTCOME)
        begins, firsts = _outcomes(narrow)
    columns = {name: narrow[name].to_numpy() for name in narrow.columns[2:]}
    found = sum_rows(
        OutcomeRows(
            begins=begins,
            ts=columns["ts_recv"],
            seq=columns["seq"],
            quote=tuple(columns[name] for name in _BEST),
            sizes=tuple(columns[name] for name in columns if name[:-1] in {"bid_sz", "ask_sz"}),
            ok=columns["status"],
        )
    )
    return partial_of_sums(firsts.with_columns(pl.Series(name, values) for name, values in found.items()))


def _outcomes(rows: pl.DataFrame) -> tuple[npt.NDArray[np.bool_], pl.DataFrame]:
    """Where rows of another outcome than the row before begin, and which outcomes these are."""
    number = rows.select(pl.struct(_OUTCOME).rle_id()).to_series().to_numpy()
    begins = np.diff(number, prepend=-1) != 0
    return begins, rows.select(_OUTCOME)[np.flatnonzero(begins)]


def partial_of_sums(lines: pl.DataFrame) -> pl.DataFrame:
    """Sums as the writer leaves them (``market.sums``), with their market and outcome, as a partial."""
    wide = pl.col("depth_high").cast(pl.Int128) * 2**32 + pl.col("depth_low")
    return _conformed(lines.with_columns(wide.alias("depth_sum_e6")))


def merge(partials: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Join partials of different times (or different outcomes) into one.

    The result does not depend on the order of the partials, nor on how they are grouped, as long as the
    time spans of one outcome do not overlap; where they do, updates between them are counted as if each partial
    were followed by the one that begins next.

    Parameters
    ----------
    partials : iterable of polars.DataFrame
        Of ``PARTIAL_SCHEMA``; none gives an empty partial.
    """
    frames = [frame for frame in partials if frame.height]
    if not frames:
        return pl.DataFrame(schema=PARTIAL_SCHEMA)
    ends = [f"first_{name}" for name in QUOTE] + [f"last_{name}" for name in QUOTE]
    lines = pl.concat(frames).sort(*_OUTCOME, "first_ts", "last_ts", *ends, "n_snapshots", "depth_sum_e6")
    same = _same_outcome_as_before()
    between_ms = pl.col("first_ts") - pl.col("last_ts").shift(1)
    joined = lines.with_columns(
        same.alias("follows"),
        same.shift(-1, fill_value=False).not_().alias("is_last"),
        (same & pl.any_horizontal(pl.col(f"first_{name}") != pl.col(f"last_{name}").shift(1) for name in QUOTE)).alias(
            "updated"
        ),
        pl.when(same & between_ms.is_between(0, PAUSE_MS)).then(between_ms).otherwise(0).alias("between_ms"),
    )
    merged = joined.group_by(*_OUTCOME).agg(
        *(pl.col(name).sum() for name in ("n_snapshots", "n_ok", "depth_sum_e6", "spread_sum_e4")),
        pl.col("quote_updates").sum() + pl.col("updated").sum().cast(pl.Int64),
        pl.col("observed_ms").sum() + pl.col("between_ms").sum(),
        pl.col("first_ts").min(),
        pl.col("last_ts").max(),
        *(pl.col(f"first_{name}").filter(pl.col("follows").not_()).max() for name in QUOTE),
        *(pl.col(f"last_{name}").filter("is_last").max() for name in QUOTE),
    )
    return _conformed(merged)


def stats_of(partial: pl.DataFrame, *, venue: str) -> pl.DataFrame:
    """Statistics of every outcome, as ``stats.parquet`` stores them.

    Parameters
    ----------
    partial : polars.DataFrame
        Of ``PARTIAL_SCHEMA``.
    venue : str

    Returns
    -------
    polars.DataFrame
        ``venue, market_id, outcome_id, n_snapshots, n_ok, avg_depth_top3, avg_spread, quote_updates, first_ts,
        last_ts, observed_ms``, sorted by market and outcome; averages are null where no row counts.
    """
    return partial.sort(*_OUTCOME).select(
        pl.lit(venue).alias("venue"),
        *_OUTCOME,
        "n_snapshots",
        "n_ok",
        _average("depth_sum_e6", 1e6).alias("avg_depth_top3"),
        _average("spread_sum_e4", 1e4).alias("avg_spread"),
        "quote_updates",
        "first_ts",
        "last_ts",
        "observed_ms",
    )


def rankings(partial: pl.DataFrame, *, top: int) -> Rankings:
    """The ``top`` markets by depth, by spread and by quote updates.

    Parameters
    ----------
    partial : polars.DataFrame
        Of ``PARTIAL_SCHEMA``.
    top : int
        Length of each ranking.
    """
    markets = (
        partial.group_by("market_id")
        .agg(
            pl.col("n_snapshots", "quote_updates").max(),
            pl.col("n_ok", "depth_sum_e6", "spread_sum_e4").sum(),
            pl.col("first_ts").min(),
            pl.col("last_ts").max(),
        )
        .with_columns(
            _average("depth_sum_e6", 1e6).alias("avg_depth_top3"), _average("spread_sum_e4", 1e4).alias("avg_spread")
        )
        .drop("depth_sum_e6", "spread_sum_e4")
    )
    counted = markets.filter(pl.col("n_ok") > 0)
    return Rankings(
        by_depth=_best(counted, "avg_depth_top3", top, descending=True),
        by_spread=_best(counted, "avg_spread", top, descending=False),
        by_updates=_best(markets, "quote_updates", top, descending=True),
    )


def _best(markets: pl.DataFrame, measure: str, top: int, *, descending: bool) -> tuple[RankedMarket, ...]:
    lines = markets.sort(measure, "market_id", descending=[descending, False]).head(top)
    return tuple(RankedMarket(**line) for line in lines.iter_rows(named=True))


def _average(sums: str, scale: float) -> pl.Expr:
    """Sum over counted rows; null where there are none."""
    return pl.when(pl.col("n_ok") > 0).then(pl.col(sums).cast(pl.Float64) / (pl.col("n_ok") * scale))


def _conformed(partial: pl.DataFrame) -> pl.DataFrame:
    return partial.select(pl.col(name).cast(dtype) for name, dtype in PARTIAL_SCHEMA.items()).sort(*_OUTCOME)


def _same_outcome_as_before() -> pl.Expr:
    """Whether a row of a sorted frame belongs to the outcome of the row before."""
    equal = [pl.col(name).eq_missing(pl.col(name).shift(1)) for name in _OUTCOME]
    return pl.all_horizontal(*equal) & (pl.int_range(pl.len()) > 0)
