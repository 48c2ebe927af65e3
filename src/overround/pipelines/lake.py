"""What is in the lake, and whether it is in order (``overround lake ls``, ``stats`` and ``verify``)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from overround.errors import NothingStored
from overround.storage.coverage_tables import COVERAGE_TABLE, GAPS_TABLE, INCLUSION_TABLE
from overround.storage.journal import check_journal
from overround.storage.lock import CollectorLock
from overround.storage.manifest import read_manifests
from overround.storage.paths import JOURNAL, LakePaths
from overround.storage.schema import SNAPSHOT_TABLE, TableSpec
from overround.storage.trades import TRADE_TABLE
from overround.storage.verify import Problem, ProblemKind, check_day

__all__ = ["LakeEntry", "LakeStats", "TableStats", "VerifyReport", "lake_stats", "list_lake", "verify_lake"]

TABLES: tuple[TableSpec, ...] = (SNAPSHOT_TABLE, TRADE_TABLE, COVERAGE_TABLE, GAPS_TABLE, INCLUSION_TABLE)


@dataclass(frozen=True, kw_only=True)
class LakeEntry:
    """One table, venue and UTC day.

    Attributes
    ----------
    table, venue, date : str
    files : int
        Finished files.
    rows : int or None
        Rows of finished files, as their manifest says; None for the journal.
    open_files : int
        Write-ahead files of buckets that are not finished.
    bytes : int
        On disk, both kinds.
    first_ts, last_ts : int or None
        Span of the rows of finished files, ms.
    gaps : int
    unlisted : int
        Finished files that no manifest lists; their rows are not in ``rows``.
    """

    table: str
    venue: str
    date: str
    files: int
    rows: int | None
    open_files: int
    bytes: int
    first_ts: int | None = None
    last_ts: int | None = None
    gaps: int = 0
    unlisted: int = 0

    @property
    def bytes_per_row(self) -> float | None:
        """Bytes of disk per row; None without rows."""
        return self.bytes / self.rows if self.rows else None


@dataclass(frozen=True, kw_only=True)
class TableStats:
    """All days of one table and venue.

    Attributes
    ----------
    table, venue : str
    days : int
    first, last : str
        Oldest and newest day.
    files : int
    rows : int or None
        Of finished files, as their manifests say; None where a table has no manifest.
    bytes : int
    day_bytes : int or None
        Mean of the last seven days that are over; None before the first is.
    """

    table: str
    venue: str
    days: int
    first: str
    last: str
    files: int
    rows: int | None
    bytes: int
    day_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class LakeStats:
    """What a lake takes and how it grows.

    Attributes
    ----------
    tables : list of TableStats
    bytes : int
    day_bytes : int
        What all tables together grow by in a day.
    disk_free, disk_bytes : int
        Of the lake's file system.
    """

    tables: list[TableStats]
    bytes: int
    day_bytes: int
    disk_free: int
    disk_bytes: int

    @property
    def days_left(self) -> float | None:
        """Days until the disk is full, nothing being removed; None while the growth is not known."""
        return self.disk_free / self.day_bytes if self.day_bytes else None


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What :func:`verify_lake` saw.

    Attributes
    ----------
    days, files, rows, open_rows : int
    journal_files, journal_entries : int
    problems : tuple of Problem
    """

    days: int
    files: int
    rows: int
    open_rows: int
    journal_files: int
    journal_entries: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def list_lake(paths: LakePaths, *, venue: str | None = None, date: str | None = None) -> list[LakeEntry]:
    """Every table, venue and day on disk, in that order.

    Raises
    ------
    NothingStored
        If there is none.
    """
    found = [
        entry
        for table in TABLES
        for name in paths.venues(table.place)
        if venue in (None, name)
        for day in paths.days(table.place, name)
        if date in (None, day)
        # Tables that share a folder need not all have files in it.
        if (entry := _table_entry(paths, table, name, day)).files or entry.open_files or not table.place.guest
    ]
    found += [
        _journal_entry(paths, name, day)
        for name in paths.venues(JOURNAL)
        if venue in (None, name)
        for day in paths.days(JOURNAL, name)
        if date in (None, day)
    ]
    if not found:
        raise _nothing(paths, venue, date)
    return found


def lake_stats(paths: LakePaths, *, today: str) -> LakeStats:
    """Files, rows, bytes and growth of every table and venue, of all that has days.

    Parameters
    ----------
    paths : LakePaths
    today : str
        The UTC day that is not over.

    Raises
    ------
    NothingStored
        If there is nothing.
    """
    by_table: dict[tuple[str, str], list[LakeEntry]] = {}
    listed = {table.name for table in TABLES} | {JOURNAL.folder}
    entries = list_lake(paths)
    for folder in paths.day_folders():
        if folder.table not in listed:
            files = folder.files()
            size = sum(map(_size, files))
            entries.append(
                LakeEntry(
                    table=folder.table,
                    venue=folder.venue,
                    date=folder.date,
                    files=len(files),
                    rows=None,
                    open_files=0,
                    bytes=size,
                )
            )
    for entry in entries:
        by_table.setdefault((entry.table, entry.venue), []).append(entry)
    tables = []
    for (table, venue), days in by_table.items():
        days.sort(key=lambda entry: entry.date)
        over = [entry.bytes for entry in days if entry.date < today][-7:]
        rows = [entry.rows for entry in days if entry.rows is not None]
        tables.append(
            TableStats(
                table=table,
                venue=venue,
                days=len(days),
                first=days[0].date,
                last=days[-1].date,
                files=sum(entry.files + entry.open_files for entry in days),
                rows=sum(rows) if rows else None,
                bytes=sum(entry.bytes for entry in days),
                day_bytes=sum(over) // len(over) if over else None,
            )
        )
    disk = shutil.disk_usage(paths.root)
    return LakeStats(
        tables=tables,
        bytes=sum(table.bytes for table in tables),
        day_bytes=sum(table.day_bytes or 0 for table in tables),
        disk_free=disk.free,
        disk_bytes=disk.total,
    )


def _table_entry(paths: LakePaths, table: TableSpec, venue: str, date: str) -> LakeEntry:
    place = table.place
    day = paths.day(place, venue, date)
    listed = read_manifests(paths.manifests(place, venue, date))
    hours = paths.hours(place, venue, date)
    files = [path for hour in hours for path in paths.bucket_files(place, venue, date, hour)]
    wals = [wal.path for hour in hours for wal in paths.wal_files(place, venue, date, hour)]
    names = [path.relative_to(day).as_posix() for path in files]
    lines = [listed[name] for name in names if name in listed]
    return LakeEntry(
        table=table.name,
        venue=venue,
        date=date,
        files=len(files),
        rows=sum(line.rows for line in lines),
        open_files=len(wals),
        bytes=sum(map(_size, [*files, *wals])),
        first_ts=min((line.first_ts for line in lines), default=None),
        last_ts=max((line.last_ts for line in lines), default=None),
        gaps=sum(line.gaps for line in lines),
        unlisted=len(files) - len(lines),
    )


def _journal_entry(paths: LakePaths, venue: str, date: str) -> LakeEntry:
    files = list(_journal_files(paths, venue, date))
    return LakeEntry(
        table=JOURNAL.folder,
        venue=venue,
        date=date,
        files=len(files),
        rows=None,
        open_files=0,
        bytes=sum(map(_size, files)),
    )


def _journal_files(paths: LakePaths, venue: str, date: str) -> Iterator[Path]:
    for hour in paths.hours(JOURNAL, venue, date):
        yield from paths.journal_files(venue, date, hour)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # finished since it was listed


def verify_lake(
    paths: LakePaths,
    *,
    venue: str | None = None,
    date: str | None = None,
    top_k: int | None = None,
    journal: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Check every file: readable, as the manifest says, of the right schema, sorted, consistent, whole.

    Parameters
    ----------
    paths : LakePaths
    venue, date : str, optional
        Check only these.
    top_k : int, optional
        Most levels a side may have; not checked when None.
    journal : bool
        Read the journals too.
    on_progress : callable, optional
        ``on_progress(done, total)`` finished files and journal files.

    Raises
    ------
    NothingStored
        If there is nothing to check.
    """
    days = files = rows = open_rows = journal_files = journal_entries = 0
    problems: list[Problem] = []
    held = list_lake(paths, venue=venue, date=date)
    total = sum(entry.files for entry in held if journal or entry.table != JOURNAL.folder)
    done = 0

    def count(path: Path) -> None:  # noqa: ARG001 - only that one more is done
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    for table in TABLES:
        for name in paths.venues(table.place):
            if venue not in (None, name):
                continue
            writing = _is_recording(paths, name)
            for day in paths.days(table.place, name):
                if date not in (None, day):
                    continue
                checked = check_day(paths, name, day, table=table, writing=writing, top_k=top_k, on_file=count)
                days += 1
                files += checked.files
                rows += checked.rows
                open_rows += checked.open_rows
                problems += checked.problems
    for name in paths.venues(JOURNAL) if journal else ():
        for day in paths.days(JOURNAL, name):
            if venue not in (None, name) or date not in (None, day):
                continue
            for path in _journal_files(paths, name, day):
                health = check_journal(path)
                journal_files += 1
                journal_entries += health.entries
                if health.damage:
                    problems.append(Problem(path=path, kind=ProblemKind.UNREADABLE, detail=health.damage))
                count(path)
    return VerifyReport(
        days=days,
        files=files,
        rows=rows,
        open_rows=open_rows,
        journal_files=journal_files,
        journal_entries=journal_entries,
        problems=tuple(problems),
    )


def _is_recording(paths: LakePaths, venue: str) -> bool:
    """Whether any collector of the venue, of whatever shard, is at work."""
    return any(CollectorLock.is_held(path) for path in paths.locks(venue))


def _nothing(paths: LakePaths, venue: str | None, date: str | None) -> NothingStored:
    what = f" of {venue}" if venue else ""
    when = f" on {date}" if date else ""
    return NothingStored(
        f"nothing is stored{what}{when} under {paths.root}", hint="`overround collect` writes the lake"
    )
