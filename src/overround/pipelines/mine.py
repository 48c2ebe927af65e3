"""One day's mining: snapshot rows in, ``stats.parquet`` and three rankings out."""

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

from overround.analytics import RankedMarket, Rankings, merge, partial_of, rankings, stats_of
from overround.clock import Clock, SystemClock
from overround.errors import UNREADABLE, FileDamaged, NothingStored, StorageError, UsageError
from overround.storage import SNAPSHOTS, LakePaths, partitions, write_stats
from overround.storage.manifest import ManifestLine, read_manifests
from overround.storage.readers import Partition, Piece
from overround.storage.universe import read_universe

__all__ = ["ALL_HOURS", "MineResult", "SkippedFile", "mine", "parse_hours"]

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
class MineResult:
    """What one day's rows say, and how much of the day that is.

    Attributes
    ----------
    venue, date : str
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
    clock = clock or SystemClock()
    began_ns = clock.monotonic_ns()
    _check(date, hours, top)
    partial = merge([])
    skipped: list[SkippedFile] = []
    with_rows: list[int] = []
    n_files = 0
    for partition in partitions(paths, venue, date=date, hours=hours):
        mined = list(_mined(partition, skipped))
        hourly = merge(mined)
        n_files += len(mined)
        if hourly.height:
            with_rows.append(int(partition.hour))
        partial = merge([partial, hourly])
        if on_hour is not None:
            on_hour(partition.hour, int(hourly["n_snapshots"].sum()))
    skipped += _missing(paths, venue, date, hours)
    if partial.is_empty():
        raise _nothing(paths, venue, date, hours, skipped)
    stats_path = write_stats(paths, venue, date, stats_of(partial, venue=str(venue)).to_arrow())
    best = _titled(rankings(partial, top=top), paths, venue, date)
    result = MineResult(
        venue=str(venue),
        date=date,
        hours=tuple(with_rows),
        n_snapshots=int(partial["n_snapshots"].sum()),
        n_ok=int(partial["n_ok"].sum()),
        n_markets=partial["market_id"].n_unique(),
        n_outcomes=partial.height,
        n_files=n_files,
        by_depth=best.by_depth,
        by_spread=best.by_spread,
        by_updates=best.by_updates,
        stats_path=str(stats_path),
        skipped=tuple(skipped),
        incomplete=bool(skipped),
        took_ms=(clock.monotonic_ns() - began_ns) // 1_000_000,
    )
    log.info(
        "mine.done",
        venue=result.venue,
        date=date,
        rows=result.n_snapshots,
        files=n_files,
        skipped=len(skipped),
        took_ms=result.took_ms,
    )
    return result


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


def _mined(partition: Partition, skipped: list[SkippedFile]) -> Iterator[pl.DataFrame]:
    """Partials of a partition's files; those that cannot be trusted or read go into ``skipped``."""
    paths, venue, date = partition.paths, partition.venue, partition.date
    day, lines = paths.day(SNAPSHOTS, venue, date), _manifest(paths, venue, date)
    for piece in partition.pieces():
        try:
            try:
                _check_sum(piece, day, lines)
            except FileDamaged:
                # The file may have been replaced since the manifest was read, and then its line was too.
                _check_sum(piece, day, _manifest(paths, venue, date))
            yield _partial(piece)
        except (pl.exceptions.PolarsError, StorageError, OSError) as exc:
            reason = str(exc).partition("\n")[0] or type(exc).__name__
            log.warning("mine.file_skipped", path=str(piece.path), reason=reason)
            skipped.append(SkippedFile(path=str(piece.path), reason=reason))


def _check_sum(piece: Piece, day: Path, lines: Mapping[str, ManifestLine]) -> None:
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


def _missing(paths: LakePaths, venue: str, date: str, hours: Sequence[int]) -> list[SkippedFile]:
    """Files that were finished once and are gone."""
    folders = tuple(f"hour={hour:02d}/" for hour in hours)
    named = [
        paths.day(SNAPSHOTS, venue, date) / name for name in _manifest(paths, venue, date) if name.startswith(folders)
    ]
    return [SkippedFile(path=str(path), reason="the file is missing") for path in sorted(named) if not path.is_file()]


def _manifest(paths: LakePaths, venue: str, date: str) -> dict[str, ManifestLine]:
    return read_manifests(paths.manifests(SNAPSHOTS, venue, date))


def _partial(piece: Piece) -> pl.DataFrame:
    partial = partial_of(piece.scan())
    keys = partial.select(pl.col("market_id", "outcome_id", "first_ts", "last_ts").null_count())
    if sum(keys.row(0)):
        # A foreign file: its missing columns were read as nulls.
        raise FileDamaged(f"{piece.path} holds rows without market, outcome or time")
    return partial


def _nothing(
    paths: LakePaths, venue: str, date: str, hours: Sequence[int], skipped: Sequence[SkippedFile]
) -> StorageError | UsageError:
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
