"""Mining: snapshot rows and trades in, ``stats.parquet``, rankings and statistics with their intervals out."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date as calendar_date
from pathlib import Path

import polars as pl
import structlog

from overround.analytics import (
    ESTIMATES,
    INTEREST_PARTS,
    PAUSE_MS,
    TRADE_COLUMNS,
    RankedMarket,
    Rankings,
    blocks_of,
    estimate,
    interest,
    join_blocks,
    merge,
    partial_of,
    rankings,
    stats_of,
)
from overround.clock import Clock, SystemClock
from overround.errors import UNREADABLE, FileDamaged, NothingStored, StorageError, UsageError
from overround.market import MarketId
from overround.pipelines.mined import Mined, MinedStore, digest_of
from overround.storage import (
    COVERAGE,
    SNAPSHOTS,
    TRADE_TABLE,
    TRADES,
    LakePaths,
    TablePlace,
    coverage_of,
    gaps_of,
    inclusion_of,
    partitions,
    write_stats,
)
from overround.storage.manifest import ManifestLine, read_manifests
from overround.storage.readers import Partition, Piece
from overround.storage.universe import read_universe
from overround.timebucket import day_start_ms

__all__ = [
    "ALL_HOURS",
    "MeasuredMarket",
    "MineResult",
    "MinedDays",
    "SkippedFile",
    "mine",
    "mine_days",
    "parse_hours",
    "stats_columns",
]
__all__ += ["check_sum", "manifest_of", "missing_files", "nothing_stored", "with_coverage"]

log = structlog.get_logger()

ALL_HOURS = tuple(range(24))
_HOURS = re.compile(r"([0-9]{1,2})(?:-([0-9]{1,2}))?")


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """A stored file that could not be mined.

    Attributes
    ----------
    path : str
    reason : str
        One line.
    """

    path: str
    reason: str


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


@dataclass(kw_only=True)
class _Day:
    """One day's sums."""

    date: str
    partial: pl.DataFrame
    blocks: pl.DataFrame
    hours: list[int]
    n_files: int
    n_kept: int


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
    for date in dates:
        day = _day(paths, venue, date, hours, skipped, on_hour)
        if not day.partial.is_empty():
            days.append(day)
            stats_path = _write(paths, venue, day, skipped)
    if not days:
        raise nothing_stored(paths, venue, dates[0], hours, skipped)
    partial = merge(day.partial for day in days)
    blocks = join_blocks([day.blocks for day in days])
    stats = with_coverage(estimate(blocks), paths, venue, [day.date for day in days], [])
    best = _titled(rankings(partial, top=top), paths, venue, days[-1].date)
    firsts = blocks.group_by("market_id").agg(pl.col("outcome_id").min())
    result = MineResult(
        venue=str(venue),
        date=dates[0] if len(dates) == 1 else f"{dates[0]}..{dates[-1]}",
        hours=tuple(sorted({hour for day in days for hour in day.hours})),
        n_snapshots=int(partial["n_snapshots"].sum()),
        n_ok=int(partial["n_ok"].sum()),
        n_markets=partial["market_id"].n_unique(),
        n_outcomes=partial.height,
        n_files=sum(day.n_files for day in days),
        by_depth=best.by_depth,
        by_spread=best.by_spread,
        by_updates=best.by_updates,
        stats_path=str(stats_path),
        skipped=tuple(skipped),
        incomplete=bool(skipped),
        took_ms=(clock.monotonic_ns() - began_ns) // 1_000_000,
        most_interesting=_measured(stats, top),
        n_trades=int(blocks.join(firsts, on=["market_id", "outcome_id"], how="semi")["trades"].sum()),
        n_kept=sum(day.n_kept for day in days),
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


def _day(
    paths: LakePaths,
    venue: str,
    date: str,
    hours: Sequence[int],
    skipped: list[SkippedFile],
    on_hour: Callable[[str, int], None] | None,
) -> _Day:
    """One day's sums, one file at a time."""
    day = _Day(date=date, partial=merge([]), blocks=join_blocks([]), hours=[], n_files=0, n_kept=0)
    store = MinedStore(paths, venue, date)
    gaps = gaps_of(paths, venue, [date]).select("market_id", "start_ms", "end_ms").collect()
    blocks: list[pl.DataFrame] = []
    stems: set[str] = set()
    for partition in partitions(paths, venue, date=date, hours=hours):
        trades = _Trades(paths, venue, date, int(partition.hour), skipped)
        mined = list(_mined(partition, skipped, trades=trades, gaps=gaps, store=store, stems=stems))
        hourly = merge(each.partial for each in mined)
        blocks += [each.blocks for each in mined]
        day.n_files += len(mined)
        if hourly.height:
            day.hours.append(int(partition.hour))
        day.partial = merge([day.partial, hourly])
        if on_hour is not None:
            on_hour(partition.hour, int(hourly["n_snapshots"].sum()))
    day.blocks, day.n_kept = join_blocks(blocks), store.found
    for place in (SNAPSHOTS, TRADES):
        skipped += missing_files(paths, venue, date, hours, place)
    store.sweep(stems)
    return day


class _Trades:
    """Trades of one hour, read when the first file that needs them is not kept."""

    def __init__(self, paths: LakePaths, venue: str, date: str, hour: int, skipped: list[SkippedFile]) -> None:
        self._parts = list(partitions(paths, venue, date=date, hours=[hour], table=TRADE_TABLE))
        self._lines = manifest_of(paths, venue, date, TRADES)
        self._day = paths.day(TRADES, venue, date)
        self._skipped = skipped
        self._rows: pl.DataFrame | None = None
        pieces = [piece for part in self._parts for piece in part.pieces()]
        self._pieces = pieces
        self.digest = digest_of(
            *sorted(
                (piece.path.name, getattr(self._lines.get(piece.path.relative_to(self._day).as_posix()), "sha256", ""))
                for piece in pieces
            ),
            [sum(content.n_rows for content in piece.waiting) for piece in pieces],
        )

    def rows(self) -> pl.DataFrame:
        """``TRADE_COLUMNS``; a file that cannot be read is named and left out."""
        if self._rows is None:
            found = []
            for piece in self._pieces:
                try:
                    check_sum(piece, self._day, self._lines)
                    found.append(piece.scan().select(TRADE_COLUMNS).collect())
                except (*UNREADABLE, OSError, pl.exceptions.PolarsError, FileDamaged) as exc:
                    self._skipped.append(SkippedFile(path=str(piece.path), reason=str(exc).splitlines()[0]))
            empty = pl.DataFrame(schema=_TRADES)
            self._rows = pl.concat(found) if found else empty
        return self._rows


_TRADES: dict[str, pl.DataType] = {
    "market_id": pl.String(),
    "outcome_id": pl.String(),
    "ts_recv": pl.Int64(),
    "px": pl.Float64(),
    "sz": pl.Float64(),
    "taker_side": pl.String(),
    "block": pl.Boolean(),
}


def _write(paths: LakePaths, venue: str, day: _Day, skipped: list[SkippedFile]) -> Path:
    measures = with_coverage(estimate(day.blocks), paths, venue, [day.date], skipped)
    return write_stats(paths, venue, day.date, stats_frame(day.partial, measures, venue).to_arrow())


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
    try:
        verified = (
            coverage_of(paths, venue, dates)
            .group_by(key)
            .agg((pl.col("verified_s").sum() / wanted.sum()).round(6).alias("verified_share"))
            .collect()
        )
    except (NothingStored, FileDamaged, pl.exceptions.PolarsError) as exc:
        verified = pl.DataFrame(schema={"market_id": pl.String, "outcome_id": pl.String, "verified_share": pl.Float64})
        if not isinstance(exc, NothingStored):
            # Without it nothing is known to be verified; gaps stand in files of their own.
            reason = f"{str(exc).partition(chr(10))[0]}; `overround lake verify` names the file"
            skipped.append(SkippedFile(path=str(paths.day(COVERAGE, venue, dates[0])), reason=reason))
    begin, end = day_start_ms(dates[0]), day_start_ms(dates[-1]) + 86_400_000
    stays = (
        inclusion_of(paths, venue, dates)
        .with_columns(pl.col("start_ms").clip(lower_bound=begin), pl.col("end_ms").fill_null(end).clip(upper_bound=end))
        .group_by("market_id")
        .agg(
            ((pl.col("end_ms") - pl.col("start_ms")).clip(0).sum() / 1000).alias("included_s"),
            pl.len().cast(pl.Int64).alias("n_stays"),
        )
        .collect()
    )
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


def _mined(
    partition: Partition,
    skipped: list[SkippedFile],
    *,
    trades: _Trades,
    gaps: pl.DataFrame,
    store: MinedStore,
    stems: set[str],
) -> Iterator[Mined]:
    """Sums of a partition's files; those that cannot be trusted or read go into ``skipped``."""
    paths, venue, date = partition.paths, partition.venue, partition.date
    day, lines = paths.day(SNAPSHOTS, venue, date), manifest_of(paths, venue, date)
    for piece in partition.pieces():
        try:
            try:
                check_sum(piece, day, lines)
            except FileDamaged:
                # The file may have been replaced since the manifest was read, and then its line was too.
                check_sum(piece, day, manifest_of(paths, venue, date))
            stems.add(piece.path.stem)
            line = lines.get(piece.path.relative_to(day).as_posix())
            kept = None
            digest = ""
            if line is not None and not piece.waiting:
                digest = digest_of(line.sha256, trades.digest, _near(gaps, line.first_ts, line.last_ts))
                kept = store.get(piece.path.stem, digest)
            if kept is None:
                kept = Mined(partial=_partial(piece), blocks=blocks_of(piece.scan(), trades.rows(), gaps))
                if digest:
                    store.put(piece.path.stem, digest, kept)
            yield kept
        except (pl.exceptions.PolarsError, StorageError, OSError) as exc:
            reason = str(exc).partition("\n")[0] or type(exc).__name__
            log.warning("mine.file_skipped", path=str(piece.path), reason=reason)
            skipped.append(SkippedFile(path=str(piece.path), reason=reason))


def _near(gaps: pl.DataFrame, first_ms: int, last_ms: int) -> list[tuple[object, ...]]:
    """Gaps that touch a file's time."""
    touching = gaps.filter(
        pl.col("start_ms") <= last_ms + PAUSE_MS, pl.col("end_ms").is_null() | (pl.col("end_ms") >= first_ms)
    )
    return touching.sort("market_id", "start_ms").rows()


def check_sum(piece: Piece, day: Path, lines: Mapping[str, ManifestLine]) -> None:
    """Hold a finished file against its line in the manifest: damage need not show when a file is decoded.

    A file beside a write-ahead file may be newer than its line, and a foreign file has none.
    """
    if piece.waiting:
        return
    line = lines.get(piece.path.relative_to(day).as_posix())
    if line is None:
        return
    with piece.path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != line.sha256:
            raise FileDamaged(f"{piece.path} is not the file that the manifest describes")


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


def manifest_of(paths: LakePaths, venue: str, date: str, place: TablePlace = SNAPSHOTS) -> dict[str, ManifestLine]:
    """What the day's manifests say of each file."""
    return read_manifests(paths.manifests(place, venue, date))


def _partial(piece: Piece) -> pl.DataFrame:
    partial = partial_of(piece.scan())
    keys = partial.select(pl.col("market_id", "outcome_id", "first_ts", "last_ts").null_count())
    if sum(keys.row(0)):
        # A foreign file: its missing columns were read as nulls.
        raise FileDamaged(f"{piece.path} holds rows without market, outcome or time")
    return partial


def nothing_stored(
    paths: LakePaths, venue: str, date: str, hours: Sequence[int], skipped: Sequence[SkippedFile]
) -> StorageError | UsageError:
    """Why there is nothing to tell of these hours."""
    if skipped:
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        return FileDamaged(
            f"no file of {venue} on {date} can be read: {skipped[0].path}{more}",
            hint="`overround lake verify` names what is damaged",
        )
    stored = [partition.hour for partition in partitions(paths, venue, date=date)]
    where = paths.table(SNAPSHOTS)
    if stored and len(set(hours)) < 24:
        return NothingStored(
            f"no snapshots for {venue} on {date} in hours {_spans(hours)} under {where}",
            hint=f"that day has hours {_spans([int(hour) for hour in stored])}",
        )
    return NothingStored(
        f"no snapshots for {venue} on {date} under {where}",
        hint="`overround collect` writes them; `overround lake ls` lists the days on disk",
    )


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
