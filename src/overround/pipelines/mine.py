"""Mining: snapshot rows and trades in, ``stats.parquet``, rankings and statistics with their intervals out."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date as calendar_date
from pathlib import Path

import polars as pl
import structlog

from overround.analytics import (
    ESTIMATES,
    INTEREST_PARTS,
    RankedMarket,
    Rankings,
    estimate,
    interest,
    join_blocks,
    merge,
    rankings,
    stats_of,
)
from overround.clock import Clock, SystemClock
from overround.errors import UNREADABLE, FileDamaged, NothingStored, StorageError, UsageError
from overround.market import MarketId
from overround.pipelines.mine_hour import (
    DayRanked,
    HourMined,
    HourTask,
    SkippedFile,
    check_sum,
    manifest_of,
    mine_hour,
    rank_day,
)
from overround.pipelines.mined import digest_of, file_sha256, keep, kept_frame, kept_text
from overround.storage import (
    COVERAGE,
    SNAPSHOTS,
    TRADES,
    LakePaths,
    TablePlace,
    coverage_of,
    gaps_of,
    inclusion_of,
    partitions,
    write_stats,
)
from overround.storage.stats import STATS_VERSION
from overround.storage.universe import read_universe
from overround.timebucket import day_start_ms

__all__ = [
    "ALL_HOURS",
    "MeasuredMarket",
    "MineResult",
    "MinedDays",
    "SkippedFile",
    "check_sum",
    "manifest_of",
    "mine",
    "mine_days",
    "missing_files",
    "nothing_stored",
    "parse_hours",
    "rank_days",
    "stats_columns",
    "with_coverage",
]

log = structlog.get_logger()

ALL_HOURS = tuple(range(24))
_HOURS = re.compile(r"([0-9]{1,2})(?:-([0-9]{1,2}))?")


@dataclass(frozen=True, kw_only=True)
class MeasuredMarket:
    """One market's statistics, of the outcome that was watched longest.

    Attributes
    ----------
    market_id, outcome_id, title : str
    interest : float
        [0, 1]; the mean of ``parts``.
    parts : dict of str to float
    stats : dict of str to float or None
        What ``analytics.estimate`` gives, by name: values, bounds, standard errors, how much was watched and verified.
    """

    market_id: MarketId
    outcome_id: str
    interest: float
    parts: dict[str, float]
    stats: dict[str, float | None]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class EngineCost:
    """What mining elsewhere came to.

    Attributes
    ----------
    engine : str
    processors : int
        Of the cluster, when the run began.
    tasks, lost : int
        Done, and lost on the way and given out again.
    took_s, work_s : float
        From the first word with the cluster to the last result, and processor time of all tasks done.
    bytes_out, bytes_back : int
        Of tasks and of results; what workers read from the data folder is not in it.
    """

    engine: str
    processors: int
    tasks: int = 0
    lost: int = 0
    took_s: float = 0.0
    work_s: float = 0.0
    bytes_out: int = 0
    bytes_back: int = 0


@dataclass(frozen=True, kw_only=True)
class MineResult:
    """What the rows of a day, or of several, say, and how much of the time that is.

    Attributes
    ----------
    venue, date : str
        Of several days the first and the last, ``D..D``.
    hours : tuple of int
        UTC hours that hold rows, among those asked for.
    n_snapshots, n_ok : int
        Rows read, and those that averages rest on.
    n_markets, n_outcomes, n_files : int
    by_depth, by_spread, by_updates : tuple of RankedMarket
        Deepest, tightest, busiest first.
    stats_path : str
    skipped : tuple of SkippedFile
        Damaged files: their rows are missing from everything above.
    incomplete : bool
        Whether anything was skipped; a command then ends with exit code 3.
    took_ms : int
    most_interesting : tuple of MeasuredMarket
        Best first.
    n_trades : int
        Trades that statistics rest on, each market's once.
    n_kept : int
        Files whose sums an earlier run had kept.
    cost : EngineCost or None
        Of mining elsewhere than here.
    """

    venue: str
    date: str
    hours: tuple[int, ...]
    n_snapshots: int
    n_ok: int
    n_markets: int
    n_outcomes: int
    n_files: int
    by_depth: tuple[RankedMarket, ...]
    by_spread: tuple[RankedMarket, ...]
    by_updates: tuple[RankedMarket, ...]
    stats_path: str
    skipped: tuple[SkippedFile, ...] = ()
    incomplete: bool = False
    took_ms: int = 0
    most_interesting: tuple[MeasuredMarket, ...] = ()
    n_trades: int = 0
    n_kept: int = 0
    cost: EngineCost | None = None


@dataclass(frozen=True, kw_only=True)
class MinedDays:
    """A result with what it was made of, for whoever draws it.

    Attributes
    ----------
    result : MineResult
    blocks, stats : polars.DataFrame
        Five-minute sums, and every outcome's statistics.
    """

    result: MineResult
    blocks: pl.DataFrame
    stats: pl.DataFrame


Engine = Callable[[Iterable[HourTask]], Iterable[HourMined]]
"""Does the work of tasks wherever it can, and gives what they found in their order."""


def in_turn(tasks: Iterable[HourTask]) -> Iterator[HourMined]:
    """The engine of one machine: an hour after the other."""
    return map(mine_hour, tasks)


@dataclass(frozen=True, kw_only=True)
class _Day:
    """One day's sums."""

    date: str
    partial: pl.DataFrame
    blocks: pl.DataFrame
    hours: list[int]
    n_files: int
    n_kept: int
    digests: list[str]

    @property
    def digest(self) -> str:
        """Of what the day's statistics come of; empty where some rows still wait for their file."""
        return digest_of(STATS_VERSION, self.date, *self.digests) if all(self.digests) else ""


def parse_hours(text: str) -> tuple[int, ...]:
    """Read hours of a day: ``all``, ``0-23``, ``7,9-11``.

    Returns
    -------
    tuple of int
        Each hour once, rising.

    Raises
    ------
    UsageError
        If the text is none of these, or names an hour that no day has.

    Examples
    --------
    >>> parse_hours("7,9-11")
    (7, 9, 10, 11)
    """
    if text.strip().lower() == "all":
        return ALL_HOURS
    hours: set[int] = set()
    for part in text.split(","):
        found = _HOURS.fullmatch(part.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (-1, -1)
        if found is None or first > last or last > 23:
            shown = repr(part.strip()) if part.strip() == text.strip() else f"{part.strip()!r} in {text!r}"
            raise UsageError(
                f"--hours {shown} names no hours of a day",
                hint="use all, 0-23, or a list such as 7,9-11 (0 to 23, UTC)",
            )
        hours.update(range(first, last + 1))
    return tuple(sorted(hours))


def mine(
    paths: LakePaths,
    venue: str,
    date: str,
    *,
    hours: Sequence[int] = ALL_HOURS,
    top: int = 10,
    clock: Clock | None = None,
    on_hour: Callable[[str, int], None] | None = None,
) -> MineResult:
    """Rank one day's markets and write ``stats.parquet``, which the scheduler reads.

    Rows are read one file at a time, open buckets included, and summed up exactly, so memory does not grow
    with the day. The file always describes the hours asked for: mining a part of a day replaces what
    an earlier run wrote for all of it.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    date : str
        UTC day, ``YYYY-MM-DD``.
    hours : sequence of int
        UTC hours, 0 to 23.
    top : int
        Length of each ranking.
    clock : Clock, optional
        Measures ``took_ms``.
    on_hour : callable, optional
        Called with each finished hour (``HH``) and its number of rows.

    Raises
    ------
    UsageError
        If an hour, the date or ``top`` is out of range.
    NothingStored
        If there is no row in these hours.
    FileDamaged
        If no file of these hours can be read.
    """
    return mine_days(paths, venue, [date], hours=hours, top=top, clock=clock, on_hour=on_hour).result


def mine_days(
    paths: LakePaths,
    venue: str,
    dates: Sequence[str],
    *,
    hours: Sequence[int] = ALL_HOURS,
    top: int = 10,
    clock: Clock | None = None,
    on_hour: Callable[[str, int], None] | None = None,
    engine: Engine = in_turn,
) -> MinedDays:
    """Mine several days: each writes its own ``stats.parquet``, the result speaks of all of them together.

    What was summed up of a file is kept (see ``mined``), so that only files that are new or changed are read again.
    Days without rows are passed over, as long as one has some.

    Parameters
    ----------
    paths, venue, hours, top, clock, on_hour
        See `mine`.
    dates : sequence of str
        UTC days, in order.
    engine : callable
        Turns tasks into what they found, in the same order; here and one after another by default.

    Raises
    ------
    UsageError, NothingStored, FileDamaged
        As `mine`, if no day has a row that can be read.
    """
    clock = clock or SystemClock()
    began_ns = clock.monotonic_ns()
    for date in dates:
        _check(date, hours, top)
    skipped: list[SkippedFile] = []
    days: list[_Day] = []
    stats_path = Path()
    for day in _days(engine(_tasks(paths, venue, dates, hours)), skipped, on_hour):
        days.append(day)
        stats_path = _write(paths, venue, day, skipped)
    for date, place in itertools.product(dates, (SNAPSHOTS, TRADES)):
        skipped += missing_files(paths, venue, date, hours, place)
    if not days:
        raise nothing_stored(paths, venue, dates, hours, skipped)
    partial = merge(day.partial for day in days)
    blocks = join_blocks([day.blocks for day in days])
    stats = with_coverage(_estimated(paths, venue, days, blocks), paths, venue, [day.date for day in days], [])
    firsts = blocks.group_by("market_id").agg(pl.col("outcome_id").min())
    result = _result(
        paths, venue, dates, partial, days,
        top=top, skipped=skipped, took_ms=(clock.monotonic_ns() - began_ns) // 1_000_000,
    )  # fmt: skip
    result = dataclasses.replace(
        result,
        stats_path=str(stats_path),
        most_interesting=_measured(stats, top),
        n_trades=int(blocks.join(firsts, on=["market_id", "outcome_id"], how="semi")["trades"].sum()),
    )
    log.info(
        "mine.done",
        venue=result.venue,
        date=result.date,
        rows=result.n_snapshots,
        files=result.n_files,
        kept=result.n_kept,
        skipped=len(skipped),
        took_ms=result.took_ms,
    )
    return MinedDays(result=result, blocks=blocks, stats=stats)


def rank_days(
    paths: LakePaths,
    venue: str,
    dates: Sequence[str],
    *,
    hours: Sequence[int] = ALL_HOURS,
    top: int = 10,
    clock: Clock | None = None,
) -> MineResult:
    """Only the three rankings, in an instant, out of the sums that the collector left beside its files.

    Rows are read only of files without such sums, or that are not what these were made of. Nothing is written, and
    the result has neither statistics nor trades.

    Parameters
    ----------
    paths, venue, dates, hours, top, clock
        See `mine_days`.

    Raises
    ------
    UsageError, NothingStored, FileDamaged
        As `mine_days`.
    """
    clock = clock or SystemClock()
    began_ns = clock.monotonic_ns()
    for date in dates:
        _check(date, hours, top)
    days = [rank_day(paths, venue, date, hours) for date in dates]
    skipped = [file for day in days for file in day.skipped]
    for date in dates:
        skipped += missing_files(paths, venue, date, hours, SNAPSHOTS)
    partial = merge(day.partial for day in days)
    if partial.is_empty():
        raise nothing_stored(paths, venue, dates, hours, skipped)
    return _result(
        paths, venue, dates, partial, days,
        top=top, skipped=skipped, took_ms=(clock.monotonic_ns() - began_ns) // 1_000_000,
    )  # fmt: skip


def _result(
    paths: LakePaths,
    venue: str,
    dates: Sequence[str],
    partial: pl.DataFrame,
    days: Sequence[_Day | DayRanked],
    *,
    top: int,
    skipped: Sequence[SkippedFile],
    took_ms: int,
) -> MineResult:
    """What the partial of these days says by itself."""
    best = _titled(rankings(partial, top=top), paths, venue, dates[-1])
    return MineResult(
        venue=str(venue),
        date=_span(dates),
        hours=tuple(sorted({hour for day in days for hour in day.hours})),
        n_snapshots=int(partial["n_snapshots"].sum()),
        n_ok=int(partial["n_ok"].sum()),
        n_markets=partial["market_id"].n_unique(),
        n_outcomes=partial.height,
        n_files=sum(day.n_files for day in days),
        by_depth=best.by_depth,
        by_spread=best.by_spread,
        by_updates=best.by_updates,
        stats_path="",
        skipped=tuple(skipped),
        incomplete=bool(skipped),
        took_ms=took_ms,
        n_kept=sum(day.n_kept for day in days),
    )


def _tasks(paths: LakePaths, venue: str, dates: Sequence[str], hours: Sequence[int]) -> Iterator[HourTask]:
    for date in dates:
        try:
            gaps = gaps_of(paths, venue, [date]).select("market_id", "start_ms", "end_ms").collect()
        except pl.exceptions.PolarsError as exc:
            # What is not known to be a gap would be measured as if it had been watched.
            raise FileDamaged(
                f"the gaps of {venue} up to {date} cannot be read: {str(exc).partition(chr(10))[0]}",
                hint=f"`overround lake verify` names the file under {paths.day(COVERAGE, venue, date)}",
            ) from exc
        for partition in partitions(paths, venue, date=date, hours=hours):
            yield HourTask(paths=paths, venue=venue, date=date, hour=partition.hour, gaps=gaps)


def _days(
    mined: Iterable[HourMined], skipped: list[SkippedFile], on_hour: Callable[[str, int], None] | None
) -> Iterator[_Day]:
    """Days that have rows, out of hours in order."""
    for date, found in itertools.groupby(mined, key=lambda hour: hour.date):
        hours = []
        for hour in found:
            hours.append(hour)
            skipped += hour.skipped
            if on_hour is not None:
                on_hour(hour.hour, int(hour.partial["n_snapshots"].sum()))
        # One hour's are joined already.
        alone = len(hours) == 1
        day = _Day(
            date=date,
            partial=hours[0].partial if alone else merge(hour.partial for hour in hours),
            blocks=hours[0].blocks if alone else join_blocks([hour.blocks for hour in hours]),
            hours=[int(hour.hour) for hour in hours if hour.partial.height],
            n_files=sum(hour.n_files for hour in hours),
            n_kept=sum(hour.n_kept for hour in hours),
            digests=[hour.digest for hour in hours],
        )
        if not day.partial.is_empty():
            yield day


def _write(paths: LakePaths, venue: str, day: _Day, skipped: list[SkippedFile]) -> Path:
    """Write a day's ``stats.parquet``, unless it is there as it would be written."""
    measures = with_coverage(_estimated(paths, venue, [day], day.blocks), paths, venue, [day.date], skipped)
    if not day.digest:
        return _write_stats(paths, venue, day, measures)
    mark, target = paths.mined(venue, day.date) / "stats.mark", paths.stats(venue, day.date)
    made_of = digest_of(day.digest, measures.hash_rows(seed=0).to_numpy().tobytes())
    if kept_text(mark) != f"{made_of} {file_sha256(target) if target.exists() else None}":
        _write_stats(paths, venue, day, measures)
        keep(mark, f"{made_of} {file_sha256(target)}".encode())
    return target


def _write_stats(paths: LakePaths, venue: str, day: _Day, measures: pl.DataFrame) -> Path:
    return write_stats(paths, venue, day.date, stats_frame(day.partial, measures, venue).to_arrow())


def _estimated(paths: LakePaths, venue: str, days: Sequence[_Day], blocks: pl.DataFrame) -> pl.DataFrame:
    """Statistics of these days together, reckoned again only where something is new."""
    digests = [day.digest for day in days]
    if not all(digests):
        return estimate(blocks)
    place = paths.mined(venue, days[-1].date) / f"since-{days[0].date}.stats"
    return kept_frame(place, digest_of(*digests), lambda: estimate(blocks))


def stats_frame(partial: pl.DataFrame, measures: pl.DataFrame, venue: str) -> pl.DataFrame:
    """What ``stats.parquet`` holds: bounds and standard errors in half the width, for they are no more certain."""
    key = ["market_id", "outcome_id"]
    stats = stats_of(partial, venue=str(venue)).join(measures, on=key, how="left", maintain_order="left")
    ranked = interest(measures).select("market_id", "interest")
    narrow = [f"{one.name}{end}" for one in ESTIMATES for end in ("_lo", "_hi", "_se")]
    narrow += ["spread_ticks_lo", "spread_ticks_hi"]
    stats = stats.join(ranked, on="market_id", how="left", maintain_order="left")
    return stats.with_columns(pl.col(narrow).cast(pl.Float32))


def stats_columns() -> dict[str, pl.DataType]:
    """Names and types of the columns of ``stats.parquet``."""
    nowhere = with_coverage(estimate(join_blocks([])), LakePaths(Path()), "", ["1970-01-01"], [])
    return dict(stats_frame(merge([]), nowhere, "").schema)


def with_coverage(
    stats: pl.DataFrame, paths: LakePaths, venue: str, dates: Sequence[str], skipped: list[SkippedFile]
) -> pl.DataFrame:
    """Statistics with what the ledger says: the share of the wanted time that is verified, and the time in the sets."""
    key = ["market_id", "outcome_id"]
    wanted = pl.sum_horizontal("verified_s", "unverified_s", "quiet_s", "gap_s", "venue_down_s")
    begin, end = day_start_ms(dates[0]), day_start_ms(dates[-1]) + 86_400_000
    stays = pl.DataFrame(schema={"market_id": pl.String, "included_s": pl.Float64, "n_stays": pl.Int64})
    try:
        stays = (
            inclusion_of(paths, venue, dates)
            .with_columns(
                pl.col("start_ms").clip(lower_bound=begin), pl.col("end_ms").fill_null(end).clip(upper_bound=end)
            )
            .group_by("market_id")
            .agg(
                ((pl.col("end_ms") - pl.col("start_ms")).clip(0).sum() / 1000).alias("included_s"),
                pl.len().cast(pl.Int64).alias("n_stays"),
            )
            .collect()
        )
        verified = (
            coverage_of(paths, venue, dates)
            .group_by(key)
            .agg((pl.col("verified_s").sum() / wanted.sum()).round(6).alias("verified_share"))
            .collect()
        )
    except (NothingStored, FileDamaged, pl.exceptions.PolarsError) as exc:
        verified = pl.DataFrame(schema={"market_id": pl.String, "outcome_id": pl.String, "verified_share": pl.Float64})
        if not isinstance(exc, NothingStored):
            # Without it nothing is known to be verified; the gaps are asked for by themselves.
            reason = f"{str(exc).partition(chr(10))[0]}; `overround lake verify` names the file"
            skipped.append(SkippedFile(path=str(paths.day(COVERAGE, venue, dates[0])), reason=reason))
    return (
        stats.join(verified, on=key, how="left", maintain_order="left")
        .join(stays, on="market_id", how="left", maintain_order="left")
        .with_columns(pl.col("verified_share").fill_nan(None))
    )


def _measured(stats: pl.DataFrame, top: int) -> tuple[MeasuredMarket, ...]:
    key = ["market_id", "outcome_id"]
    ranked = interest(stats).head(top)
    by_key = {(row["market_id"], row["outcome_id"]): row for row in stats.join(ranked, on=key, how="semi").to_dicts()}
    return tuple(
        MeasuredMarket(
            market_id=MarketId(row["market_id"]),
            outcome_id=row["outcome_id"],
            interest=row["interest"],
            parts={part: row[part] for part in INTEREST_PARTS},
            stats={
                name: value for name, value in by_key[row["market_id"], row["outcome_id"]].items() if name not in key
            },
        )
        for row in ranked.iter_rows(named=True)
    )


def _check(date: str, hours: Sequence[int], top: int) -> None:
    try:
        well_formed = calendar_date.fromisoformat(date).isoformat() == date
    except ValueError:
        well_formed = False
    if not well_formed:
        raise UsageError(f"date {date!r} is no day", hint="write it as YYYY-MM-DD (UTC)")
    wrong = [hour for hour in hours if not 0 <= hour <= 23]
    if wrong or not hours:
        raise UsageError(
            f"hour {wrong[0]} is in no day" if wrong else "no hours are given", hint="hours are 0 to 23, UTC"
        )
    if top < 1:
        raise UsageError(f"top {top} is not positive", hint="name how many markets each ranking shows")


def missing_files(
    paths: LakePaths, venue: str, date: str, hours: Sequence[int], place: TablePlace
) -> list[SkippedFile]:
    """Files that were finished once and are gone."""
    folders = tuple(f"hour={hour:02d}/" for hour in hours)
    named = [
        paths.day(place, venue, date) / name
        for name in manifest_of(paths, venue, date, place)
        if name.startswith(folders)
    ]
    return [SkippedFile(path=str(path), reason="the file is missing") for path in sorted(named) if not path.is_file()]


def nothing_stored(
    paths: LakePaths, venue: str, dates: Sequence[str], hours: Sequence[int], skipped: Sequence[SkippedFile]
) -> StorageError | UsageError:
    """Why there is nothing to tell of these hours."""
    days = _span(dates)
    if skipped:
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        return FileDamaged(
            f"no file of {venue} on {days} can be read: {skipped[0].path}{more}",
            hint="`overround lake verify` names what is damaged",
        )
    stored = sorted({int(partition.hour) for date in dates for partition in partitions(paths, venue, date=date)})
    where = paths.table(SNAPSHOTS)
    if stored and len(set(hours)) < 24:
        return NothingStored(
            f"no snapshots for {venue} on {days} in hours {_spans(hours)} under {where}",
            hint=f"there are hours {_spans(stored)}",
        )
    return NothingStored(
        f"no snapshots for {venue} on {days} under {where}",
        hint="`overround collect` writes them; `overround lake ls` lists the days on disk",
    )


def _span(dates: Sequence[str]) -> str:
    return dates[0] if len(dates) == 1 else f"{dates[0]}..{dates[-1]}"


def _spans(hours: Sequence[int]) -> str:
    """Hours in the form that ``parse_hours`` reads."""
    spans: list[list[int]] = []
    for hour in sorted(set(hours)):
        if spans and hour == spans[-1][1] + 1:
            spans[-1][1] = hour
        else:
            spans.append([hour, hour])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def _titled(best: Rankings, paths: LakePaths, venue: str, date: str) -> Rankings:
    """The rankings with the markets' questions, as far as a listing tells them."""
    titles: dict[str, str] = {}
    listing = paths.universe(venue, date)
    known: list[Path] = [listing] if listing.is_file() else paths.universes(venue)[-1:]
    for path in known:
        try:
            titles = {market.market_id: market.title for market in read_universe(path)}
        except (StorageError, OSError, *UNREADABLE) as exc:
            # A ranking without questions is still a ranking.
            log.warning("mine.no_titles", path=str(path), reason=str(exc))

    def named(lines: tuple[RankedMarket, ...]) -> tuple[RankedMarket, ...]:
        return tuple(dataclasses.replace(line, title=titles.get(line.market_id, "")) for line in lines)

    return Rankings(by_depth=named(best.by_depth), by_spread=named(best.by_spread), by_updates=named(best.by_updates))
