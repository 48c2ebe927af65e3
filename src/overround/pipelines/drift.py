"""What is known of the venues' drift, for a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from overround.errors import NothingStored
from overround.market import Drift, DriftSort, DriftState
from overround.storage import LakePaths, count_quarantined, read_drift
from overround.timebucket import date_of

__all__ = ["DriftReport", "FoundDrift", "WatchedVenue", "drift_report"]


class FoundDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One departure of one venue; see ``market.Drift``.

    Attributes
    ----------
    venue : str
    sort : DriftSort
    name, expected, sample : str
        What departs, what is documented, and a value or the beginning of a message.
    first_ms, last_ms : int
        When it was first and last seen.
    count : int
        Times seen: in the sample only, but for unknown events and rejected messages.
    accepted_ms : int or None
    quarantined : int
        Messages set aside for it in ``files``; one that departs in several ways is there for the first of them.
    files : tuple of str
        Quarantine files of the first and the last day that have such messages.
    """

    venue: str
    sort: DriftSort
    name: str
    expected: str
    sample: str
    first_ms: int
    last_ms: int
    count: int
    accepted_ms: int | None
    quarantined: int
    files: tuple[str, ...]


class WatchedVenue(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue's messages are held against, and what was set aside of them.

    Attributes
    ----------
    venue : str
    samples, kinds, fields : int
        Messages examined so far, kinds of them, and fields watched.
    first_ms, last_ms : int
        When the first and the last of them came; 0 where nothing was examined.
    accepted : int
        Departures left out of the report because they were accepted.
    quarantine : str
        Folder of the messages set aside.
    quarantined_files, quarantined_bytes : int
        Of all days.
    """

    venue: str
    samples: int
    kinds: int
    fields: int
    first_ms: int
    last_ms: int
    accepted: int
    quarantine: str
    quarantined_files: int
    quarantined_bytes: int


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """What departs from the documents or from what was usual.

    Attributes
    ----------
    found : tuple of FoundDrift
        Latest first.
    venues : tuple of WatchedVenue
    """

    found: tuple[FoundDrift, ...]
    venues: tuple[WatchedVenue, ...]

    @property
    def news(self) -> int:
        """Departures that nobody has accepted."""
        return sum(entry.accepted_ms is None for entry in self.found)


def drift_report(
    paths: LakePaths, venues: Sequence[str], *, since_ms: int = 0, with_accepted: bool = False
) -> DriftReport:
    """Everything last seen at or after a time.

    Raises
    ------
    NothingStored
        If none of the venues was ever watched.
    FileDamaged
    """
    states = {venue: read_drift(paths, venue) for venue in venues if paths.drift(venue).is_file()}
    if not states:
        raise NothingStored(
            f"nothing is known of drift under {paths.root / 'drift'}",
            hint="`overround collect` and `overround scan` watch while they run ([drift] enabled)",
        )
    counted = cache(_counted)
    found: list[FoundDrift] = []
    watched: list[WatchedVenue] = []
    for venue, state in states.items():
        recent = [drift for drift in state.found.values() if drift.last_ms >= since_ms]
        shown = [drift for drift in recent if with_accepted or drift.accepted_ms is None]
        for drift in shown:
            key = (drift.sort.value, drift.name)
            files = [path for path in _files(paths, venue, drift) if counted(path)[key]]
            found.append(
                FoundDrift(
                    venue=venue,
                    sort=drift.sort,
                    name=drift.name,
                    expected=drift.detail,
                    sample=drift.sample,
                    first_ms=drift.first_ms,
                    last_ms=drift.last_ms,
                    count=drift.count,
                    accepted_ms=drift.accepted_ms,
                    quarantined=sum(counted(path)[key] for path in files),
                    files=tuple(str(path) for path in files),
                )
            )
        watched.append(_watched(paths, venue, state, accepted=len(recent) - len(shown)))
    found.sort(key=lambda entry: (-entry.last_ms, entry.venue, entry.sort, entry.name))
    return DriftReport(found=tuple(found), venues=tuple(watched))


def _files(paths: LakePaths, venue: str, drift: Drift) -> list[Path]:
    days = {date_of(drift.first_ms), date_of(drift.last_ms)}
    return [path for day in sorted(days) for path in paths.quarantine_files(venue, day)]


def _counted(path: Path) -> Counter[tuple[str, str]]:
    try:
        return count_quarantined(path)
    except FileNotFoundError:  # tidied away meanwhile
        return Counter()


def _watched(paths: LakePaths, venue: str, state: DriftState, *, accepted: int) -> WatchedVenue:
    kinds = [kind for kind in state.kinds.values() if kind.samples]
    aside = [path for day in paths.quarantine_days(venue) for path in paths.quarantine_files(venue, day)]
    return WatchedVenue(
        venue=venue,
        samples=sum(kind.samples for kind in kinds),
        kinds=len(kinds),
        fields=sum(len(kind.fields) for kind in kinds),
        first_ms=min((kind.first_ms for kind in kinds), default=0),
        last_ms=max((kind.last_ms for kind in kinds), default=0),
        accepted=accepted,
        quarantine=str(paths.quarantine(venue)),
        quarantined_files=len(aside),
        quarantined_bytes=sum(path.stat().st_size for path in aside),
    )
