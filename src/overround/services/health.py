"""Whether a recording is well, judged from its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from overround.collector import VenueStatus
from overround.config import MonitoringSettings
from overround.market import Integrity

__all__ = ["Health", "State", "VenueHealth", "judge"]

State = Literal["ok", "degraded", "failing"]

_FLUSH_PATIENCE_MS = 60_000
_ORDER: tuple[State, ...] = ("ok", "degraded", "failing")


class VenueHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One venue.

    Attributes
    ----------
    venue : str
    state : str
        ``ok``, ``degraded`` (it records, but not everything, or not verified) or ``failing`` (it does not record).
    problems : list of str
        What is wrong, one line each, with the remedy.
    connected, connections : int
        Connections that stand, of those wanted.
    live, subscriptions : int
        Markets with a right book, of those held.
    verified_share : float or None
        Part of the live books that are verified now; None without books, and where nothing can be verified.
    verified_minutes : float or None
        Part of the wanted market-minutes since the start.
    oldest_book_s, last_flush_s : float
        Longest time since a live book was proved; time since the last durable flush.
    open_gaps : int
    breakers : dict of str to str
        Circuit breaker by host.
    """

    venue: str
    state: State
    problems: list[str]
    connected: int
    connections: int
    live: int
    subscriptions: int
    verified_share: float | None
    verified_minutes: float | None
    oldest_book_s: float
    last_flush_s: float
    open_gaps: int
    breakers: dict[str, str]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A whole collector.

    Attributes
    ----------
    state : str
        The worst of its venues', or of the disk's.
    ready : bool
        Whether every venue has a connection and a book.
    problems : list of str
        Those that concern no single venue.
    disk_free_bytes : int
    disk_free_share : float
    up_s : float
        Seconds since the recording began.
    version : str
    venues : list of VenueHealth
    """

    state: State
    ready: bool
    problems: list[str]
    disk_free_bytes: int
    disk_free_share: float
    up_s: float
    version: str
    venues: list[VenueHealth]


def judge(
    statuses: Sequence[VenueStatus],
    settings: MonitoringSettings,
    *,
    disk_free_bytes: int,
    disk_total_bytes: int,
    up_s: float,
    version: str,
) -> Health:
    """Judge a collector.

    Parameters
    ----------
    statuses : sequence of VenueStatus
        Empty while it starts.
    settings : MonitoringSettings
        The thresholds.
    disk_free_bytes, disk_total_bytes : int
        Of the lake's file system.
    up_s : float
        Seconds since the recording began.
    version : str
    """
    venues = [_judge_venue(status, settings) for status in statuses]
    share = disk_free_bytes / disk_total_bytes if disk_total_bytes else 0.0
    problems = []
    state: State = "ok"
    if share < settings.min_free_disk_share:
        state = "degraded"
        problems.append(
            f"the lake's disk has {share:.1%} left ({disk_free_bytes / 1e9:.1f} GB): free space or move data_dir"
        )
    return Health(
        state=max([state, *(venue.state for venue in venues)], key=_ORDER.index),
        ready=bool(statuses) and all(status.connected and status.live for status in statuses),
        problems=problems,
        disk_free_bytes=disk_free_bytes,
        disk_free_share=round(share, 4),
        up_s=round(up_s, 1),
        version=version,
        venues=venues,
    )


def _judge_venue(status: VenueStatus, settings: MonitoringSettings) -> VenueHealth:
    failing, degraded = [], []
    if not status.connected:
        failing.append("no connection: see connection.refused in the log; is the venue reachable from here?")
    elif status.connected < status.connections:
        degraded.append(f"{status.connections - status.connected} of {status.connections} connections are down")
    if status.flush_failures and status.last_flush_age_ms > _FLUSH_PATIENCE_MS:
        failing.append(
            f"nothing was made durable for {status.last_flush_age_ms / 1000:.0f} s, {status.rows_waiting} rows wait: "
            "free disk space or mend the folder's rights"
        )
    books = sum(status.book_verdicts.values())
    verified = status.book_verdicts.get(Integrity.VERIFIED, 0) / books if books else None
    if status.mode == "polling":
        verified = None  # public books of REST carry nothing that could be verified
    if verified is not None and verified < settings.min_verified_share:
        degraded.append(
            f"{verified:.0%} of the live books are verified (at least {settings.min_verified_share:.0%} wanted): "
            "`overround coverage` shows where and since when"
        )
    degraded += [
        f"the circuit breaker of {host} is {state}: the host kept failing and is asked rarely"
        for host, state in status.breakers.items()
        if state != "closed"
    ]
    if status.warning:
        degraded.append(status.warning)
    return VenueHealth(
        venue=str(status.venue),
        state="failing" if failing else "degraded" if degraded else "ok",
        problems=failing + degraded,
        connected=status.connected,
        connections=status.connections,
        live=status.live,
        subscriptions=status.subscriptions,
        verified_share=verified,
        verified_minutes=None if math.isnan(status.verified_minutes) else round(status.verified_minutes, 4),
        oldest_book_s=status.oldest_book_ms / 1000,
        last_flush_s=status.last_flush_age_ms / 1000,
        open_gaps=status.open_gaps,
        breakers=status.breakers,
    )
