"""Who may record a share of the markets: a port, and its form without a database.

A hold is asked for and kept; it says until when it is certain, on this machine's monotonic clock, and rows are taken
before that instant only. So nothing has to be asked on the road of the data, and a process that stood still finds its
hold run out by itself, before anybody tells it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from overround.errors import LakeLocked
from overround.market import Share, Venue
from overround.storage import CollectorLock, LakePaths

__all__ = ["Hold", "LakeOwnership", "Ownership", "Request"]


@dataclass(kw_only=True)
class Request:
    """A successor that wants to take a share over while it is recorded.

    Attributes
    ----------
    holder : str
    ready : bool
        Its books stand.
    """

    holder: str
    ready: bool


@dataclass(kw_only=True)
class Hold:
    """A share that is ours.

    Attributes
    ----------
    share : Share
    venues : sequence of Venue
    leased : bool
        By a lease, which may be lost.
    tokens : mapping of Venue to int
        Fencing tokens; 0 where the lake's lock is all there is.
    until_ns : int
        On the monotonic clock: certain before this.
    request : Request or None
        Somebody wants it.
    locks : mapping of Venue to CollectorLock
        The lake's locks, held.
    certain : Event
        Set once it is ours; a successor's recording begins before.
    """

    share: Share
    venues: Sequence[Venue] = ()
    leased: bool = False
    tokens: Mapping[Venue, int] = field(default_factory=dict)
    until_ns: int = sys.maxsize
    request: Request | None = None
    locks: Mapping[Venue, CollectorLock] = field(default_factory=dict, repr=False)
    certain: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


class Ownership(Protocol):
    """Port through which a collector learns which share it may record.

    Attributes
    ----------
    renew_ms : int or None
        How often a hold has to be renewed; None: never.
    """

    renew_ms: int | None

    async def take(self, share: Share, venues: Sequence[Venue]) -> Hold:
        """Take a share.

        Raises
        ------
        LakeLocked
            If somebody else has it.
        StorageError
            If nobody can be asked, or the lake cannot be written.
        """
        ...

    async def renew(self, hold: Hold) -> bool:
        """Keep a hold; False when somebody else has it, or nobody could be asked.

        Where nobody could be asked the hold stays certain until ``until_ns`` and may be renewed later.
        """
        ...

    async def release(self, hold: Hold) -> None:
        """Give a share back; fine when it is lost already."""
        ...


class LakeOwnership:
    """Fixed shards: whoever locks a shard in the lake has it, until it ends or dies."""

    renew_ms: int | None = None

    def __init__(self, paths: LakePaths) -> None:
        self._paths = paths

    async def take(self, share: Share, venues: Sequence[Venue]) -> Hold:
        """See ``Ownership``."""
        locks = {venue: CollectorLock(self._paths, venue, share) for venue in venues}
        try:
            for lock in locks.values():
                lock.acquire()
        except LakeLocked:
            for lock in locks.values():
                lock.release()
            raise
        hold = Hold(share=share, venues=tuple(venues), tokens=dict.fromkeys(venues, 0), locks=locks)
        hold.certain.set()
        return hold

    async def renew(self, hold: Hold) -> bool:  # noqa: ARG002 - a lock holds by itself
        """See ``Ownership``."""
        return True

    async def release(self, hold: Hold) -> None:
        """See ``Ownership``."""
        for lock in hold.locks.values():
            lock.release()
