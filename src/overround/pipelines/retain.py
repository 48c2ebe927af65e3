"""Removing what is older, or takes more disk, than the settings allow (``overround lake retain``).

Whole days of a table go, oldest first. A day that is still written, or whose rows wait in a write-ahead file, stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from overround.config import RetentionSettings
from overround.storage import JOURNAL, SNAPSHOTS, TRADES, DayFolder, LakePaths
from overround.storage.fileops import FileOps
from overround.timebucket import day_start_ms

__all__ = [
    "DAY_MS",
    "HeldDay",
    "KeptDay",
    "Limit",
    "Retention",
    "is_open",
    "limits_of",
    "plan_retention",
    "retain",
    "waiting_rows",
]

log = structlog.get_logger()

DAY_MS = 86_400_000
SETTLING_MS = 3_600_000
"""After its end a day is left alone for so long: its last bucket is being finished."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What one table may keep; 0 is no limit.

    Attributes
    ----------
    days : int
        Whole UTC days before today.
    bytes : int
    """

    days: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class HeldDay:
    """One day of a table on disk.

    Attributes
    ----------
    table, venue, date : str
    files, bytes : int
    open : bool
        It is still written: it counts, and stays.
    why : str
        Why it must go; empty where it may stay.
    """

    table: str
    venue: str
    date: str
    files: int
    bytes: int
    open: bool = False
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class KeptDay:
    """A day that should go and stays.

    Attributes
    ----------
    day : HeldDay
    reason : str
    """

    day: HeldDay
    reason: str


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What :func:`retain` found and did.

    Attributes
    ----------
    applied : bool
        False: nothing was touched.
    removed : tuple of HeldDay
        Days that went, or would go.
    kept : tuple of KeptDay
        Days that should have gone.
    over_budget : dict of str to int
        Bytes that a table takes beyond its budget all the same.
    """

    applied: bool
    removed: tuple[HeldDay, ...]
    kept: tuple[KeptDay, ...]
    over_budget: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """Bytes that went, or would go."""
        return sum(day.bytes for day in self.removed)

    @property
    def exit_code(self) -> int:
        """0, or 3 where something stays that should go."""
        return 3 if self.kept or self.over_budget else 0


def limits_of(settings: RetentionSettings) -> dict[str, Limit]:
    """Limits by table; a table that is not named is kept for ever."""
    return {
        place.folder: Limit(days=days, bytes=int(gb * 1e9))
        for place, days, gb in (
            (JOURNAL, settings.journal_days, settings.journal_gb),
            (SNAPSHOTS, settings.snapshots_days, settings.snapshots_gb),
            (TRADES, settings.trades_days, settings.trades_gb),
        )
    }


def plan_retention(days: Sequence[HeldDay], limit: Limit, *, now_ms: int) -> list[HeldDay]:
    """The days of one table that must go, oldest first, each with its reason.

    Parameters
    ----------
    days : sequence of HeldDay
        All days of the table.
    limit : Limit
    now_ms : int

    Examples
    --------
    >>> january = [HeldDay(table="raw", venue="kalshi", date=f"2026-01-0{n}", files=1, bytes=n) for n in (1, 2, 3)]
    >>> noon = 1_767_614_400_000  # of 5 January: the 4th and the 3rd are kept, and of these no more than 2 bytes
    >>> [(day.date, day.why) for day in plan_retention(january, Limit(days=2, bytes=2), now_ms=noon)]
    [('2026-01-01', 'older than 2 days'), ('2026-01-02', 'older than 2 days'), ('2026-01-03', 'over 0.0 GB')]
    """
    today = now_ms // DAY_MS
    gone, held = [], sum(day.bytes for day in days)
    for day in sorted(days, key=lambda day: (day.date, day.venue)):
        if day.open:
            continue
        if limit.days and day_start_ms(day.date) // DAY_MS < today - limit.days:
            why = f"older than {limit.days} days"
        elif limit.bytes and held > limit.bytes:
            why = f"over {limit.bytes / 1e9:.1f} GB"
        else:
            continue
        held -= day.bytes
        gone.append(replace(day, why=why))
    return gone


def is_open(folder: DayFolder, *, now_ms: int) -> bool:
    """Whether a day's files are still written, or its last bucket may be being finished."""
    return now_ms < day_start_ms(folder.date) + DAY_MS + SETTLING_MS


def waiting_rows(folder: DayFolder) -> str:
    """Why a day that has ended must be left alone; empty where nobody writes into it any more."""
    if any(folder.path.rglob(".*.wal")):
        return "rows wait in a write-ahead file: the next `overround collect` takes them in"
    return ""


def retain(
    paths: LakePaths,
    settings: RetentionSettings,
    *,
    now_ms: int,
    apply: bool,
    venue: str | None = None,
    unarchived: Callable[[DayFolder], str] | None = None,
    ops: FileOps | None = None,
) -> Retention:
    """Remove the days that must go, or say which they are.

    Parameters
    ----------
    paths : LakePaths
    settings : RetentionSettings
    now_ms : int
    apply : bool
        False: only say.
    venue : str, optional
        Remove days of this venue only; budgets still count all.
    unarchived : callable, optional
        Says of a day why it is not safe in the archive; empty where it is.
    ops : FileOps, optional
    """
    ops = ops or FileOps()
    removed: list[HeldDay] = []
    kept: list[KeptDay] = []
    over: dict[str, int] = {}
    folders = paths.day_folders()
    for table, limit in limits_of(settings).items():
        held = {
            (folder.venue, folder.date): (_held(folder, is_open(folder, now_ms=now_ms)), folder)
            for folder in folders
            if folder.table == table
        }
        taken = sum(day.bytes for day, _ in held.values())
        for day in plan_retention([day for day, _ in held.values()], limit, now_ms=now_ms):
            if venue not in (None, day.venue):
                continue
            _, folder = held[day.venue, day.date]
            reason = waiting_rows(folder) or (unarchived(folder) if unarchived is not None else "")
            if not reason and apply:
                try:
                    ops.remove_folder(folder.path)
                    log.info(
                        "retain.removed", table=table, venue=day.venue, date=day.date, bytes=day.bytes, why=day.why
                    )
                except OSError as exc:
                    reason = f"the system refuses: {exc.strerror or exc}"
            if reason:
                kept.append(KeptDay(day=day, reason=reason))
            else:
                removed.append(day)
                taken -= day.bytes
        if limit.bytes and taken > limit.bytes and venue is None:
            over[table] = taken - limit.bytes
    return Retention(applied=apply, removed=tuple(removed), kept=tuple(kept), over_budget=over)


def _held(folder: DayFolder, is_open: bool) -> HeldDay:  # noqa: FBT001 - named by its place
    sizes = [path.stat().st_size for path in folder.files()]
    return HeldDay(
        table=folder.table, venue=folder.venue, date=folder.date, files=len(sizes), bytes=sum(sizes), open=is_open
    )
