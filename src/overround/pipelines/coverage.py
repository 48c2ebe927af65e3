"""What the ledger says of one day, put together for a reader: shares, causes, and a strip per market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
import polars as pl

from overround.errors import NothingStored
from overround.market import MarketId
from overround.pipelines.captions import captions
from overround.storage import LakePaths, coverage_of, gaps_of, inclusion_of, runs_of, shares_of
from overround.storage.coverage_tables import MINUTE_MS, STATE_COLUMNS

__all__ = ["Cause", "Cell", "CoverageReport", "GapLine", "MarketCoverage", "StayLine", "coverage_report"]

_CELL_MINUTES = (1, 2, 3, 5, 10, 15, 20, 30)
_CELLS = 96


class Cell(StrEnum):
    """What one cell of a strip shows: the first that applies."""

    HOLE = "hole"
    """The collector did not run."""
    ABSENT = "absent"
    """Not subscribed during all of it."""
    DOWN = "down"
    """Mostly no connection to the venue."""
    GAP = "gap"
    """Mostly in a gap."""
    TOUCHED = "touched"
    """A gap or a lost venue in a part of it."""
    VERIFIED = "verified"
    """Mostly verified."""
    QUIET = "quiet"
    """Mostly quiet."""
    UNVERIFIED = "unverified"
    """Mostly unverified."""


class MarketCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """One market's day.

    Attributes
    ----------
    market_id, title : str
    wanted_s : float
        Seconds in which it was wanted; the shares are parts of it.
    verified, unverified, quiet, gap, venue_down : float
    gap_s : float
        Seconds in gaps, those without a connection included.
    gaps, updates, snapshots, repairs : int
    hot_s, warm_s : float
        Seconds in each set.
    cells : list of Cell
    """

    market_id: str
    title: str
    wanted_s: float
    verified: float
    unverified: float
    quiet: float
    gap: float
    venue_down: float
    gap_s: float
    gaps: int
    updates: int
    snapshots: int
    repairs: int
    hot_s: float
    warm_s: float
    cells: list[Cell]


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """All gaps of one cause.

    Attributes
    ----------
    cause : str
    gaps, markets, open : int
        How many, of how many markets, and how many without an end.
    total_s, longest_s : float
        Of those that have an end.
    """

    cause: str
    gaps: int
    markets: int
    open: int
    total_s: float
    longest_s: float


class GapLine(msgspec.Struct, frozen=True, kw_only=True):
    """One gap."""

    market_id: str
    start_ms: int
    end_ms: int | None
    detected_ms: int
    cause: str
    repair: str
    repair_steps: int
    connection: str
    detail: str


class StayLine(msgspec.Struct, frozen=True, kw_only=True):
    """One stay in a set of the rotation."""

    start_ms: int
    end_ms: int | None
    set: str
    score: float
    reason: str


class CoverageReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one venue's day; the names of ``--json``.

    Attributes
    ----------
    venue, date : str
    ran_s, connected_s : float
        Seconds that the collector ran, and of these with a connection.
    start_ms : int
        Start of the first cell.
    cell_minutes : int
    wanted_s : float
        Market-seconds; the shares are parts of it.
    verified, unverified, quiet, gap, venue_down : float
    cells : list of Cell
        The venue's strip.
    shares_cells : list of list of float
        Of each cell: verified, quiet, unverified, gap and venue down, as parts of the wanted time.
    markets : list of MarketCoverage
        Worst first: by seconds in gaps, then by unverified seconds.
    causes : list of Cause
    gaps : list of GapLine
        Of a single market's report; else empty.
    stays : list of StayLine
        Of a single market's report; else empty.
    """

    venue: str
    date: str
    ran_s: float
    connected_s: float
    start_ms: int
    cell_minutes: int
    wanted_s: float
    verified: float
    unverified: float
    quiet: float
    gap: float
    venue_down: float
    cells: list[Cell]
    shares_cells: list[list[float]]
    markets: list[MarketCoverage]
    causes: list[Cause]
    gaps: list[GapLine] = []
    stays: list[StayLine] = []


def coverage_report(
    paths: LakePaths, venue: str, date: str, *, market: str | None = None, now_ms: int
) -> CoverageReport:
    """Put one day of the ledger together.

    Parameters
    ----------
    paths : LakePaths
    venue, date : str
    market : str, optional
        One market's id, or a beginning of it that no other has.
    now_ms : int
        Until when gaps and stays that last are counted.

    Raises
    ------
    NothingStored
        If no ledger was kept on that day, or not of this market.
    FileDamaged
        If a file cannot be read.
    """
    runs = runs_of(paths, venue, date).sort("minute").collect()
    rows = coverage_of(paths, venue, date)
    # Both outcomes of a market have the same figures.
    minutes = (
        rows.group_by("market_id", "minute")
        .agg(pl.col(name).first() for name in (*STATE_COLUMNS, "updates", "snapshots", "repairs"))
        .collect()
    )
    found_id = None
    if market is not None:
        found_id = _one_market(minutes["market_id"].unique().to_list(), market, venue, date)
        minutes = minutes.filter(pl.col("market_id") == found_id)
    only = None if found_id is None else [found_id]
    gaps = gaps_of(paths, venue, date, markets=only).collect()
    stays = inclusion_of(paths, venue, date, markets=only).collect()
    times = [*runs["minute"].to_list(), *minutes["minute"].to_list()]
    start_ms, end_ms = min(times), max(times) + MINUTE_MS
    cell_minutes = _cell_minutes((end_ms - start_ms) // MINUTE_MS)
    cell_ms = cell_minutes * MINUTE_MS
    start_ms -= start_ms % cell_ms
    n_cells = -(-(end_ms - start_ms) // cell_ms)
    ran = _by_cell(runs, start_ms, cell_ms, ["ran_s"], n_cells)["ran_s"]
    shares = shares_of(minutes)
    whole = _by_cell(minutes, start_ms, cell_ms, list(STATE_COLUMNS), n_cells)
    lasted = _lasted(gaps, now_ms)
    return CoverageReport(
        venue=venue,
        date=date,
        ran_s=float(runs["ran_s"].sum()),
        connected_s=float(runs["connected_s"].sum()),
        start_ms=start_ms,
        cell_minutes=cell_minutes,
        wanted_s=shares.wanted_s,
        verified=shares.verified,
        unverified=shares.unverified,
        quiet=shares.quiet,
        gap=shares.gap,
        venue_down=shares.venue_down,
        cells=[_cell([whole[name][n] for name in STATE_COLUMNS], ran[n]) for n in range(n_cells)],
        shares_cells=[_parts([whole[name][n] for name in STATE_COLUMNS]) for n in range(n_cells)],
        markets=_markets(minutes, gaps, _lasted(stays, now_ms), ran, start_ms, cell_ms, captions(paths, venue, now_ms)),
        causes=_causes(lasted),
        gaps=[_line(GapLine, row) for row in gaps.to_dicts()] if found_id else [],
        stays=[_line(StayLine, row) for row in stays.to_dicts()] if found_id else [],
    )


def _one_market(known: Sequence[str], asked: str, venue: str, date: str) -> str:
    if asked in known:
        return asked
    begun = [market_id for market_id in known if market_id.startswith(asked)]
    if len(begun) == 1:
        return begun[0]
    what = f"{len(begun)} markets begin with {asked!r}" if begun else f"the ledger of {venue} has no market {asked!r}"
    raise NothingStored(
        f"{what} on {date}",
        hint=f"`overround coverage --venue {venue} --date {date} --json` lists the ids",
    )


def _cell_minutes(n_minutes: int) -> int:
    return next((minutes for minutes in _CELL_MINUTES if n_minutes <= minutes * _CELLS), _CELL_MINUTES[-1])


def _by_cell(
    frame: pl.DataFrame, start_ms: int, cell_ms: int, names: Sequence[str], n_cells: int
) -> dict[str, list[float]]:
    """Sums of the columns by cell."""
    sums = frame.group_by(((pl.col("minute") - start_ms) // cell_ms).alias("cell")).agg(
        pl.col(name).sum() for name in names
    )
    found = {name: [0.0] * n_cells for name in names}
    for row in sums.to_dicts():
        for name in names:
            found[name][row["cell"]] = row[name]
    return found


def _cell(seconds: Sequence[float], ran_s: float) -> Cell:
    verified, unverified, quiet, gap, _, down = seconds
    wanted = verified + unverified + quiet + gap + down
    if wanted <= 0:
        return Cell.ABSENT if ran_s > 0 else Cell.HOLE
    if gap + down > wanted / 2:
        return Cell.DOWN if down > gap else Cell.GAP
    if gap + down > 0:
        return Cell.TOUCHED
    most = max(verified, quiet, unverified)
    return Cell.VERIFIED if most == verified else Cell.QUIET if most == quiet else Cell.UNVERIFIED


def _parts(seconds: Sequence[float]) -> list[float]:
    verified, unverified, quiet, gap, _, down = seconds
    wanted = verified + unverified + quiet + gap + down
    return [part / wanted if wanted else 0.0 for part in (verified, quiet, unverified, gap, down)]


def _markets(
    minutes: pl.DataFrame,
    gaps: pl.DataFrame,
    stays: pl.DataFrame,
    ran: Sequence[float],
    start_ms: int,
    cell_ms: int,
    titles: Mapping[MarketId, str],
) -> list[MarketCoverage]:
    n_gaps = dict(gaps.group_by("market_id").len().iter_rows())
    n_of_venue = n_gaps.get("", 0)
    in_set = {
        (market_id, name): seconds
        for market_id, name, seconds in stays.group_by("market_id", "set").agg(pl.col("lasted_s").sum()).iter_rows()
    }
    sums = {
        row["market_id"]: row
        for row in minutes.group_by("market_id")
        .agg(pl.col(name).sum() for name in (*STATE_COLUMNS, "updates", "snapshots", "repairs"))
        .to_dicts()
    }
    cells: dict[str, list[list[float]]] = {market_id: [[0.0] * 6 for _ in ran] for market_id in sums}
    by_cell = minutes.group_by("market_id", ((pl.col("minute") - start_ms) // cell_ms).alias("cell")).agg(
        pl.col(name).sum() for name in STATE_COLUMNS
    )
    for market_id, cell, *seconds in by_cell.iter_rows():
        cells[market_id][cell] = seconds
    found = []
    for market_id, row in sums.items():
        wanted = sum(row[name] for name in STATE_COLUMNS) - row["not_subscribed_s"]

        def share(name: str, row: dict[str, Any] = row, wanted: float = wanted) -> float:
            return row[name] / wanted if wanted else 0.0

        found.append(
            MarketCoverage(
                market_id=market_id,
                title=titles.get(MarketId(market_id), ""),
                wanted_s=wanted,
                verified=share("verified_s"),
                unverified=share("unverified_s"),
                quiet=share("quiet_s"),
                gap=share("gap_s"),
                venue_down=share("venue_down_s"),
                gap_s=row["gap_s"] + row["venue_down_s"],
                gaps=n_gaps.get(market_id, 0) + n_of_venue,
                updates=row["updates"],
                snapshots=row["snapshots"],
                repairs=row["repairs"],
                hot_s=in_set.get((market_id, "hot"), 0.0),
                warm_s=in_set.get((market_id, "warm"), 0.0),
                cells=[_cell(seconds, ran_s) for seconds, ran_s in zip(cells[market_id], ran, strict=True)],
            )
        )
    return sorted(found, key=lambda one: (-one.gap_s, -one.unverified * one.wanted_s, one.market_id))


def _lasted(stretches: pl.DataFrame, now_ms: int) -> pl.DataFrame:
    """The stretches with their length so far."""
    return stretches.with_columns(
        ((pl.col("end_ms").fill_null(now_ms) - pl.col("start_ms")) / 1000).clip(0).alias("lasted_s")
    )


def _causes(gaps: pl.DataFrame) -> list[Cause]:
    ended = pl.col("lasted_s").filter(pl.col("end_ms").is_not_null())
    rows = gaps.group_by("cause").agg(
        pl.len().alias("gaps"),
        pl.col("market_id").filter(pl.col("market_id") != "").n_unique().alias("markets"),
        pl.col("end_ms").null_count().alias("open"),
        ended.sum().alias("total_s"),
        ended.max().fill_null(0.0).alias("longest_s"),
    )
    return [Cause(**row) for row in rows.sort("total_s", "cause", descending=[True, False]).to_dicts()]


def _line(kind: type[Any], row: Mapping[str, Any]) -> Any:
    return kind(**{name: row[name] for name in kind.__struct_fields__})
