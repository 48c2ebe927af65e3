"""A day of the lake, put together for its page: what was recorded, mined, judged and found."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from overround.clock import Clock
from overround.errors import UNREADABLE, FileDamaged, NothingStored, StorageError
from overround.market import Market
from overround.pipelines.captions import caption_of
from overround.pipelines.coverage import CoverageReport, coverage_report
from overround.pipelines.liquidity import LiquidityMap, liquidity_maps, window_of
from overround.pipelines.mine import MinedDays, SkippedFile, mine_days
from overround.storage import COVERAGE, SNAPSHOTS, LakePaths, newest_universe, partitions, read_stats
from overround.storage.universe import read_universe

__all__ = ["DayReport", "Finding", "Quoted", "VenueDay", "day_report", "work_of"]

_Line = TypeVar("_Line")

_BINS = 300
_BINS_MS = tuple(1_000 * s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600))
_MOST_MAPS = 6


@dataclass(frozen=True, kw_only=True)
class Quoted:
    """One market's line of ``mm_viability.parquet``; dollars.

    Attributes
    ----------
    market_id, verdict, reason, policy : str
    usd_per_day, usd_per_day_lo, usd_per_day_hi, capital : float or None
    """

    market_id: str
    verdict: str
    reason: str
    policy: str
    usd_per_day: float | None
    usd_per_day_lo: float | None
    usd_per_day_hi: float | None
    capital: float | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of ``violations.parquet``: a portfolio that could not have lost; dollars at its best instant.

    Attributes
    ----------
    start_ms : int
    lived_ms : int
        At least, where ``ended`` is false.
    ended : bool
    forms, grade : str
    legs : tuple of (str, str)
        Venue and id of each market bought.
    conditions : tuple of str
    profit_usd, capital_usd : float
    return_per_year : float or None
    """

    start_ms: int
    lived_ms: int
    ended: bool
    forms: str
    grade: str
    legs: tuple[tuple[str, str], ...]
    conditions: tuple[str, ...]
    profit_usd: float
    capital_usd: float
    return_per_year: float | None


@dataclass(frozen=True, kw_only=True)
class VenueDay:
    """One venue's part.

    Attributes
    ----------
    venue : str
    mined : MinedDays or None
        None where no row was stored, or none could be read.
    begin_ms, end_ms, bin_ms : int
        The axis: whole bins from the first row to the last.
    firsts : dict of str to str
        Each mined market's outcome that prices are shown of: the first listed one, where it is known.
    maps : dict of str to LiquidityMap
        Of the most interesting markets, best first.
    coverage : CoverageReport or None
        None where no ledger was kept.
    quoted : tuple of Quoted or None
        Best first by the lower end; None before viability was judged.
    found : tuple of Finding or None
        Best first; None before they were looked for.
    skipped : tuple of SkippedFile
        Whatever could not be read.
    """

    venue: str
    mined: MinedDays | None
    begin_ms: int = 0
    end_ms: int = 0
    bin_ms: int = 1_000
    firsts: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[str, LiquidityMap] = field(default_factory=dict)
    coverage: CoverageReport | None
    quoted: tuple[Quoted, ...] | None
    found: tuple[Finding, ...] | None
    skipped: tuple[SkippedFile, ...]


@dataclass(frozen=True, kw_only=True)
class DayReport:
    """Everything that the page shows.

    Attributes
    ----------
    date : str
    venues : tuple of VenueDay
    names : dict of str to str
        Captions of listed markets.
    """

    date: str
    venues: tuple[VenueDay, ...]
    names: Mapping[str, str]

    @property
    def skipped(self) -> tuple[SkippedFile, ...]:
        """Of all venues."""
        return tuple(file for venue in self.venues for file in venue.skipped)

    @property
    def exit_code(self) -> int:
        """3 where something had to be left out."""
        return 3 if self.skipped else 0

    def summary(self) -> dict[str, Any]:
        """The figures in short, for machines."""
        return {
            "date": self.date,
            "venues": [
                {
                    "venue": day.venue,
                    "rows": day.mined.result.n_snapshots if day.mined else 0,
                    "markets": day.mined.result.n_markets if day.mined else 0,
                    "trades": day.mined.result.n_trades if day.mined else 0,
                    "verified": day.coverage.verified if day.coverage else None,
                    "quiet": day.coverage.quiet if day.coverage else None,
                    "gaps": sum(cause.gaps for cause in day.coverage.causes) if day.coverage else None,
                    "quoted": None if day.quoted is None else len(day.quoted),
                    "findings": None if day.found is None else len(day.found),
                }
                for day in self.venues
            ],
            "skipped": self.skipped,
        }


def work_of(paths: LakePaths, venues: Iterable[str], date: str) -> int:
    """How many times ``on_hour`` of a report will be called."""
    return 2 * sum(1 for venue in venues for _ in partitions(paths, venue, date=date))


def day_report(
    paths: LakePaths,
    venues: Sequence[str],
    date: str,
    *,
    top: int,
    clock: Clock,
    on_hour: Callable[[], None] = lambda: None,
) -> DayReport:
    """Mine a day, and read what else is stored of it.

    Files are read one at a time; what mining kept is not read again.

    Parameters
    ----------
    paths : LakePaths
    venues : sequence of str
    date : str
    top : int
        Markets of each table.
    clock : Clock
        Its time is that until which lasting gaps count.
    on_hour : callable, optional
        Called for each hour of a venue that is mined, and again when it is drawn.

    Raises
    ------
    NothingStored
        If no venue has a row of that day.
    FileDamaged
        If none has one that can be read.
    """
    names: dict[str, str] = {}
    found = []
    for venue in venues:
        skipped: list[SkippedFile] = []
        listed = _listed(paths, venue, date, clock.now_ms(), skipped)
        names |= {market_id: caption_of(market) for market_id, market in listed.items()}
        found.append(_venue_day(paths, venue, date, listed, skipped, top=top, clock=clock, on_hour=on_hour))
    if all(day.mined is None for day in found):
        missing = [file for day in found for file in day.skipped]
        if missing:
            raise FileDamaged(
                f"no rows of {date} can be read: {missing[0].path}: {missing[0].reason}",
                hint="`overround lake verify` names what is damaged",
            )
        raise NothingStored(
            f"no snapshots for {' or '.join(venues)} on {date} under {paths.table(SNAPSHOTS)}",
            hint="`overround collect` writes them; `overround lake ls` lists the days on disk",
        )
    return DayReport(date=date, venues=tuple(found), names=names)


def _venue_day(
    paths: LakePaths,
    venue: str,
    date: str,
    listed: Mapping[str, Market],
    skipped: list[SkippedFile],
    *,
    top: int,
    clock: Clock,
    on_hour: Callable[[], None],
) -> VenueDay:
    mined: MinedDays | None = None
    try:
        mined = mine_days(paths, venue, [date], top=top, clock=clock, on_hour=lambda *_: on_hour())
        skipped += mined.result.skipped
    except NothingStored:
        pass
    except FileDamaged as exc:
        skipped.append(SkippedFile(path=str(paths.day(SNAPSHOTS, venue, date)), reason=str(exc)))
    coverage: CoverageReport | None = None
    try:
        coverage = coverage_report(paths, venue, date, now_ms=clock.now_ms())
    except NothingStored:
        pass
    except (StorageError, OSError, *UNREADABLE, pl.exceptions.PolarsError) as exc:
        folder = str(paths.day(COVERAGE, venue, date))
        if not any(file.path == folder for file in skipped):
            skipped.append(SkippedFile(path=folder, reason=_line(exc)))
    quoted = _table(paths.mm_viability(venue, date), skipped, _quoted)
    found = _table(paths.logic(venue, date, "violations"), skipped, _found)
    day = VenueDay(
        venue=venue,
        mined=mined,
        coverage=coverage,
        quoted=None if quoted is None else tuple(quoted),
        found=None if found is None else tuple(found),
        skipped=tuple(skipped),
    )
    return day if mined is None else _drawn(paths, day, mined, listed, skipped, on_hour)


def _drawn(
    paths: LakePaths,
    day: VenueDay,
    mined: MinedDays,
    listed: Mapping[str, Market],
    skipped: list[SkippedFile],
    on_hour: Callable[[], None],
) -> VenueDay:
    """The day with its times, and with maps of the most interesting markets."""
    result, blocks = mined.result, mined.blocks
    times = pl.DataFrame(read_stats(paths, day.venue, result.date).select(["first_ts", "last_ts"]))
    begin_ms, end_ms = int(times["first_ts"].min() or 0), int(times["last_ts"].max() or 0)  # type: ignore[arg-type]
    bin_ms = next((ms for ms in _BINS_MS if (end_ms - begin_ms) / ms < _BINS), _BINS_MS[-1])
    begin_ms -= begin_ms % bin_ms
    n_bins = (end_ms - begin_ms) // bin_ms + 1
    firsts: dict[str, str] = {
        str(market_id): _first(listed.get(str(market_id)), outcome_ids)
        for market_id, outcome_ids in blocks.group_by("market_id").agg(pl.col("outcome_id").unique().sort()).iter_rows()
    }
    windows = {}
    for market in result.most_interesting[:_MOST_MAPS]:
        key = (str(market.market_id), firsts[market.market_id])
        window = window_of(blocks.filter(pl.col("market_id") == key[0], pl.col("outcome_id") == key[1]))
        if window is not None:
            windows[key] = window
    maps, unread = liquidity_maps(
        paths, day.venue, result.date, windows, begin_ms=begin_ms, bin_ms=bin_ms, n_bins=n_bins,
        without={file.path for file in skipped}, on_hour=on_hour,
    )  # fmt: skip
    return dataclasses.replace(
        day,
        begin_ms=begin_ms,
        end_ms=begin_ms + n_bins * bin_ms,
        bin_ms=bin_ms,
        firsts=firsts,
        maps={market_id: drawn for (market_id, _), drawn in maps.items()},
        skipped=(*skipped, *unread),
    )


def _first(market: Market | None, stored: Sequence[str]) -> str:
    """The outcome whose prices are shown: the first listed, else Kalshi's yes, else whichever is stored."""
    wanted = str(market.outcome_ids[0]) if market is not None and market.outcome_ids else "yes"
    return wanted if wanted in stored else stored[0]


def _listed(paths: LakePaths, venue: str, date: str, now_ms: int, skipped: list[SkippedFile]) -> dict[str, Market]:
    """The day's listing, else the newest."""
    path = paths.universe(venue, date)
    try:
        if path.is_file():
            return {str(market.market_id): market for market in read_universe(path)}
        newest = newest_universe(paths, venue, now_ms=now_ms)
    except NothingStored:
        return {}
    except (StorageError, OSError, *UNREADABLE) as exc:
        skipped.append(SkippedFile(path=str(path), reason=_line(exc)))
        return {}
    return {str(market.market_id): market for market in newest.markets} if newest else {}


def _table(path: Path, skipped: list[SkippedFile], line: Callable[[dict[str, Any]], _Line]) -> list[_Line] | None:
    """A small table's lines; None where it was not written."""
    if not path.is_file():
        return None
    try:
        return [line(row) for row in pl.read_parquet(io.BytesIO(path.read_bytes())).to_dicts()]
    except (pl.exceptions.PolarsError, OSError, KeyError, TypeError, *UNREADABLE) as exc:
        skipped.append(SkippedFile(path=str(path), reason=_line(exc)))
        return []


def _quoted(row: dict[str, Any]) -> Quoted:
    return Quoted(**{field.name: row[field.name] for field in dataclasses.fields(Quoted)})


def _found(row: dict[str, Any]) -> Finding:
    until_ms = row["last_ts"] if row["end_ts"] is None else row["end_ts"]
    return Finding(
        start_ms=row["start_ts"],
        lived_ms=until_ms - row["start_ts"],
        ended=row["end_ts"] is not None,
        forms=", ".join(row["forms"]) or "portfolio",
        grade=row["grade"],
        legs=tuple(zip(row["venues"], row["market_ids"], strict=True)),
        conditions=tuple(row["conditions"]),
        profit_usd=row["profit_usd"],
        capital_usd=row["capital_usd"],
        return_per_year=row["return_per_year"],
    )


def _line(exc: BaseException) -> str:
    return str(exc).partition("\n")[0] or type(exc).__name__
