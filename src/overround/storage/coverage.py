"""Reading the coverage ledger: what may be believed of each minute.

A gap overrides the minutes it covers, also those that were stored as verified before the gap was found:
nothing is rewritten on disk, so every reader comes through :func:`coverage_of`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from overround.errors import NothingStored
from overround.storage.coverage_tables import (
    COVERAGE_TABLE,
    GAPS_TABLE,
    INCLUSION_TABLE,
    MINUTE_MS,
    STATE_COLUMNS,
)
from overround.storage.coverage_writer import LOOKBACK_DAYS
from overround.storage.paths import LakePaths
from overround.storage.readers import partitions, polars_schema
from overround.storage.schema import TableSpec
from overround.timebucket import day_start_ms

__all__ = ["Shares", "coverage_of", "gaps_of", "inclusion_of", "runs_of", "shares_of", "trusted", "verified_share"]

_COUNTS = ("updates", "snapshots", "repairs")
_KEY = ("minute", "venue", "market_id", "outcome_id")
_GOOD = ("verified_s", "unverified_s", "quiet_s")
_DAY_MS = 86_400_000
_FOREVER_MS = 1 << 62
_SECONDS = 60

Dates = str | date | Iterable[str | date]


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Parts of the time in which markets were wanted; they add up to one (NaN where there was none).

    Attributes
    ----------
    verified, unverified, quiet, gap, venue_down : float
    wanted_s : float
        Outcome-seconds that they are parts of.
    """

    verified: float
    unverified: float
    quiet: float
    gap: float
    venue_down: float
    wanted_s: float


# -- minutes -----------------------------------------------------------------------------------------------


def coverage_of(paths: LakePaths, venue: str, dates: Dates, *, markets: Iterable[str] | None = None) -> pl.LazyFrame:
    """One row per outcome and minute in which it was wanted, with every gap known by now applied.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    dates : str or date, or several
        UTC days (``YYYY-MM-DD``).
    markets : iterable of str, optional
        Only these markets.

    Returns
    -------
    polars.LazyFrame
        ``minute`` (its start, ms), ``venue``, ``market_id``, ``outcome_id``, the seconds in each state
        (``STATE_COLUMNS``), ``updates``, ``snapshots``, ``repairs``; in no particular order. What is open on
        disk is read at once. An outcome without a row in a minute was not subscribed.

    Raises
    ------
    NothingStored
        If no ledger was kept on these days.
    FileDamaged
        If a file cannot be read.
    """
    days = _days(dates)
    wanted = None if markets is None else sorted(set(markets))
    rows = _minutes(paths, venue, days).filter(pl.col("market_id") != "")
    if wanted is not None:
        rows = rows.filter(pl.col("market_id").is_in(wanted))
    gaps = gaps_of(paths, venue, days, markets=wanted).collect()
    return _without_gaps(rows, gaps, days).drop("live_mask", "until_ms")


def runs_of(paths: LakePaths, venue: str, dates: Dates) -> pl.LazyFrame:
    """One row per minute in which the collector ran; of several the one that ran longest.

    Returns
    -------
    polars.LazyFrame
        ``minute``, ``venue``, ``ran_s`` and ``connected_s``. A minute without a row is a hole: nothing ran.

    Raises
    ------
    NothingStored
        If no ledger was kept on these days.
    """
    rows = _minutes(paths, venue, _days(dates)).filter(pl.col("market_id") == "")
    return rows.group_by("minute", "venue").agg(
        pl.sum_horizontal(STATE_COLUMNS).max().alias("ran_s"), pl.col("unverified_s").max().alias("connected_s")
    )


def _minutes(paths: LakePaths, venue: str, days: Sequence[str]) -> pl.LazyFrame:
    rows = _rows(paths, COVERAGE_TABLE, venue, days)
    if rows is None:
        raise NothingStored(
            f"no coverage ledger for {venue} on {', '.join(days)} under {paths.table(COVERAGE_TABLE.place)}",
            hint="`overround collect` keeps it; `overround lake ls` lists the days on disk",
        )
    # Parts of a minute stand apart until their bucket is finished.
    added = rows.group_by(_KEY).agg(
        *(pl.col(name).sum() for name in (*STATE_COLUMNS, *_COUNTS)),
        pl.col("live_mask").bitwise_or(),
        pl.col("until_ms").max(),
    )
    excess = pl.max_horizontal(1.0, pl.sum_horizontal(STATE_COLUMNS) / 60)
    return added.with_columns(pl.col(name) / excess for name in STATE_COLUMNS)


def _without_gaps(rows: pl.LazyFrame, gaps: pl.DataFrame, days: Sequence[str]) -> pl.LazyFrame:
    """Move the seconds that a gap covers from the good states to ``gap_s``."""
    pieces = _pieces(gaps, days)
    if not pieces.height:
        return rows
    of_venue = pieces.filter(pl.col("market_id") == "").drop("market_id").lazy()
    of_market = pieces.filter(pl.col("market_id") != "").lazy()
    key = ("minute", "market_id")
    named = [of_market.select(*key, "from_ms", "to_ms")]
    if pieces.filter(pl.col("market_id") == "").height:
        there = rows.select(key).unique()
        named.append(there.join(of_venue, on="minute").select(*key, "from_ms", "to_ms"))
    covered = _disjoint(pl.concat(named), key)
    lost = (
        rows.select(*_KEY, "live_mask", "gap_s", "venue_down_s")
        .join(covered, on=key)
        .with_columns(
            pl.struct("live_mask", "from_ms", "to_ms").map_batches(_held_right, return_dtype=pl.Float64).alias("_right")
        )
        .group_by(_KEY)
        .agg(
            pl.col("_right").sum(),
            # What the collector knew of the gaps stands in gap_s already, or in venue_down_s: it leaves no market
            # that is wanted without a gap while the venue is down.
            (
                (pl.col("to_ms") - pl.col("from_ms")).sum() / 1000
                - pl.col("gap_s").first()
                - pl.col("venue_down_s").first()
            ).alias("_unknown"),
        )
        .select(*_KEY, pl.min_horizontal("_right", pl.max_horizontal(0.0, "_unknown")).alias("_lost"))
    )
    good = pl.sum_horizontal(_GOOD)
    taken = pl.min_horizontal(pl.col("_lost").fill_null(0.0), good)
    kept = pl.when(good > 0).then((good - taken) / good).otherwise(1.0)
    return (
        rows.join(lost, on=_KEY, how="left", nulls_equal=True)
        .with_columns(kept.alias("_kept"), taken.alias("_taken"))
        .with_columns(*(pl.col(name) * pl.col("_kept") for name in _GOOD), pl.col("gap_s") + pl.col("_taken"))
        .drop("_kept", "_taken", "_lost")
    )


def _pieces(gaps: pl.DataFrame, days: Sequence[str]) -> pl.DataFrame:
    """Gaps cut at minutes: ``market_id``, ``minute``, and from and to in milliseconds of that minute."""
    found = []
    for day in days:
        start = day_start_ms(day)
        clipped = gaps.select(
            "market_id",
            pl.col("start_ms").clip(start, start + _DAY_MS).alias("from"),
            pl.col("end_ms").fill_null(_FOREVER_MS).clip(start, start + _DAY_MS).alias("to"),
        ).filter(pl.col("to") > pl.col("from"))
        first = pl.col("from") // MINUTE_MS * MINUTE_MS
        found.append(
            clipped.with_columns(pl.int_ranges(first, pl.col("to"), MINUTE_MS).alias("minute"))
            .explode("minute")
            .select(
                "market_id",
                "minute",
                (pl.col("from") - pl.col("minute")).clip(0, MINUTE_MS).alias("from_ms"),
                (pl.col("to") - pl.col("minute")).clip(0, MINUTE_MS).alias("to_ms"),
            )
        )
    return pl.concat(found)


def _disjoint(pieces: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
    """The same stretches without their overlaps."""
    before = pl.col("to_ms").cum_max().shift(1).over(key, order_by="from_ms")
    return (
        pieces.sort(*key, "from_ms")
        .with_columns(pl.max_horizontal("from_ms", before.fill_null(0)).alias("from_ms"))
        .filter(pl.col("to_ms") > pl.col("from_ms"))
    )


def _held_right(stretch: pl.Series) -> pl.Series:
    """Seconds of a stretch of a minute during which the book was held to be right."""
    fields = stretch.struct
    mask = fields.field("live_mask").to_numpy().astype(np.int64)
    start, end = fields.field("from_ms").to_numpy(), fields.field("to_ms").to_numpy()
    total = np.zeros(len(mask))
    for second in range(_SECONDS):
        overlap = np.minimum(end, second * 1000 + 1000) - np.maximum(start, second * 1000)
        total += np.where((mask >> second) & 1, np.maximum(overlap, 0), 0)
    return pl.Series(total / 1000)


# -- shares ------------------------------------------------------------------------------------------------


def shares_of(frame: pl.LazyFrame | pl.DataFrame) -> Shares:
    """What part of the time in which the outcomes were wanted each state had.

    Parameters
    ----------
    frame : polars frame
        Rows of :func:`coverage_of`.
    """
    sums = frame.lazy().select(pl.col(name).sum() for name in STATE_COLUMNS).collect().row(0, named=True)
    wanted = sum(sums.values()) - sums["not_subscribed_s"]

    def share(name: str) -> float:
        return float(sums[name] / wanted) if wanted > 0 else float("nan")

    return Shares(
        verified=share("verified_s"),
        unverified=share("unverified_s"),
        quiet=share("quiet_s"),
        gap=share("gap_s"),
        venue_down=share("venue_down_s"),
        wanted_s=float(wanted),
    )


def verified_share(frame: pl.LazyFrame | pl.DataFrame) -> float:
    """Verified time over the time in which the outcomes were wanted, [0, 1]; NaN where there was none.

    Parameters
    ----------
    frame : polars frame
        Rows of :func:`coverage_of`.
    """
    return shares_of(frame).verified


# -- gaps and stays ----------------------------------------------------------------------------------------


def gaps_of(paths: LakePaths, venue: str, dates: Dates, *, markets: Iterable[str] | None = None) -> pl.LazyFrame:
    """Gaps that touch the days, each once.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    dates : str or date, or several
    markets : iterable of str, optional
        Only gaps of these markets and of the whole venue.

    Returns
    -------
    polars.LazyFrame
        Columns of ``GAPS_TABLE``, by start. ``end_ms`` is null where the gap lasts (or nobody closed it);
        an empty ``market_id`` means the whole venue. Empty where there is no gap.
    """
    return _touching(paths, GAPS_TABLE, venue, _days(dates), markets, also_venue=True)


def inclusion_of(paths: LakePaths, venue: str, dates: Dates, *, markets: Iterable[str] | None = None) -> pl.LazyFrame:
    """When each market was in a set of the rotation, as far as it touches the days.

    Returns
    -------
    polars.LazyFrame
        Columns of ``INCLUSION_TABLE``, by start; ``end_ms`` is null while a stay lasts.
    """
    return _touching(paths, INCLUSION_TABLE, venue, _days(dates), markets, also_venue=False)


def _touching(
    paths: LakePaths,
    table: TableSpec,
    venue: str,
    days: Sequence[str],
    markets: Iterable[str] | None,
    *,
    also_venue: bool,
) -> pl.LazyFrame:
    starts = [day_start_ms(day) for day in days]
    first = min(starts) - LOOKBACK_DAYS * _DAY_MS
    stored = [day for day in paths.days(table.place, venue) if first <= day_start_ms(day) <= max(starts)]
    rows = _rows(paths, table, venue, stored)
    if rows is None:
        return pl.LazyFrame(schema=polars_schema(table))
    # Of the rows of one stretch the one with the latest end tells; an open one only where there is no other.
    rows = rows.sort("end_ms", nulls_last=False, maintain_order=True).unique(
        subset=list(table.sort_key), keep="last", maintain_order=True
    )
    touches = [
        (pl.col("start_ms") < start + _DAY_MS) & (pl.col("end_ms").fill_null(_FOREVER_MS) > start) for start in starts
    ]
    rows = rows.filter(pl.any_horizontal(touches))
    if markets is not None:
        ids = [*sorted(set(markets)), *([""] if also_venue else [])]
        rows = rows.filter(pl.col("market_id").is_in(ids))
    return rows.sort("start_ms", "market_id")


def trusted(rows: pl.LazyFrame, gaps: pl.LazyFrame | pl.DataFrame, *, time_column: str = "ts_recv") -> pl.LazyFrame:
    """Rows that no gap covers, whatever was thought of them when they were stored.

    Parameters
    ----------
    rows : polars.LazyFrame
        With ``market_id`` and a time in milliseconds, such as snapshot rows of one venue.
    gaps : polars frame
        Rows of :func:`gaps_of` for the same venue and at least the same days.
    time_column : str

    Returns
    -------
    polars.LazyFrame
        The same columns; rows at or after a gap's start and before its end are left out.
    """
    whole = gaps.lazy().collect().select("market_id", "start_ms", pl.col("end_ms").fill_null(_FOREVER_MS))
    of_venue = whole.filter(pl.col("market_id") == "")
    of_market = whole.filter(pl.col("market_id") != "")
    for part, by in ((of_venue, None), (of_market, "market_id")):
        if not part.height:
            continue
        spans = _merged(part)
        rows = (
            rows.sort(time_column)
            .join_asof(
                (spans if by else spans.drop("market_id")).lazy(),
                left_on=time_column,
                right_on="start_ms",
                by=by,
                check_sortedness=False,
            )
            .filter(pl.col("end_ms").is_null() | (pl.col(time_column) >= pl.col("end_ms")))
            .drop("start_ms", "end_ms", strict=False)
        )
    return rows


def _merged(gaps: pl.DataFrame) -> pl.DataFrame:
    """Overlapping gaps of one market as one, by start."""
    by_start = gaps.sort("start_ms")
    reached = pl.col("end_ms").cum_max().shift(1).over("market_id").fill_null(-1)
    return (
        by_start.with_columns((pl.col("start_ms") > reached).cum_sum().over("market_id").alias("_run"))
        .group_by("market_id", "_run")
        .agg(pl.col("start_ms").min(), pl.col("end_ms").max())
        .drop("_run")
        .sort("start_ms")
    )


# -- files -------------------------------------------------------------------------------------------------


def _rows(paths: LakePaths, table: TableSpec, venue: str, days: Iterable[str]) -> pl.LazyFrame | None:
    """Rows as they stand on disk, parts and superseded ones included; None where there is no folder."""
    frames = [part.scan() for day in days for part in partitions(paths, venue, date=day, table=table)]
    return pl.concat(frames, how="vertical") if frames else None


def _days(dates: Dates) -> list[str]:
    if isinstance(dates, str | date):
        dates = [dates]
    return sorted({str(day) for day in dates})
