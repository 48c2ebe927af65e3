"""Shards held by leases in PostgreSQL."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Mapping, Sequence

import structlog

from overround.clock import Clock
from overround.collector.ownership import Hold, Request
from overround.config import LeaseSettings
from overround.db.leases import LeaseTable
from overround.errors import DatabaseUnavailable, LakeLocked
from overround.market import Share, Venue
from overround.storage import CollectorLock, LakePaths, raise_fence

__all__ = ["LeasedOwnership"]

log = structlog.get_logger()


class LeasedOwnership:
    """``Ownership`` by leases: one per venue and share, taken and lost together.

    Parameters
    ----------
    settings : LeaseSettings
    paths : LakePaths
    clock : Clock
        Only its monotonic time is used.
    holder : str, optional
        Who we are; by default host, process and a random number.
    """

    def __init__(self, settings: LeaseSettings, paths: LakePaths, *, clock: Clock, holder: str = "") -> None:
        self._settings, self._paths, self._clock = settings, paths, clock
        self.ttl_ms = settings.ttl_secs * 1000
        self.renew_ms: int | None = self.ttl_ms // 3
        self.holder = holder or f"{platform.node()} process {os.getpid()} ({uuid.uuid4().hex[:6]})"
        self.table = LeaseTable(
            settings.url.get_secret_value(), ttl_ms=self.ttl_ms, timeout_s=min(3.0, settings.ttl_secs / 5)
        )

    def name(self, venue: Venue, share: Share) -> str:
        """Of the lease of a venue and share."""
        return f"{self._settings.name}/{venue}/{share}"

    async def take(self, share: Share, venues: Sequence[Venue]) -> Hold:
        """See ``Ownership``."""
        hold = Hold(share=share, venues=tuple(venues), leased=True)
        await self.take_into(hold)
        hold.certain.set()
        return hold

    async def take_into(self, hold: Hold) -> None:
        """Take a hold's share, as ``take`` does."""
        share, venues = hold.share, hold.venues
        asked_ns = self._clock.monotonic_ns()
        names = [self.name(venue, share) for venue in venues]
        tokens = await self.table.take(names, self.holder)
        if tokens is None:
            rows = await self.table.look(names)
            row = max((row for row in rows if row.holder != self.holder), key=lambda row: row.left_ms, default=None)
            holder, left_s = (row.holder, row.left_ms / 1000) if row else (None, 0.0)
            raise LakeLocked(
                f"{holder or 'a successor'} holds shard {share} ({', '.join(venues)}) for another {max(0.0, left_s):.1f} s",
                hint="stop it, give this one another shard, or take over from it with --handover",
            )
        hold.tokens = dict(zip(venues, tokens, strict=True))
        hold.until_ns = asked_ns + self.ttl_ms * 1_000_000
        hold.locks = {venue: CollectorLock(self._paths, venue, share, leased=True) for venue in venues}
        try:
            for lock in hold.locks.values():
                lock.acquire()
            for venue, token in hold.tokens.items():
                raise_fence(self._paths, venue, share, token)
        except BaseException:
            await self.release(hold)
            raise
        log.info("lease.taken", share=str(share), venues=list(venues), tokens=tokens, holder=self.holder)

    async def renew(self, hold: Hold) -> bool:
        """See ``Ownership``."""
        asked_ns = self._clock.monotonic_ns()
        request: Request | None = None
        try:
            for venue, token in hold.tokens.items():
                found = await self.table.renew(self.name(venue, hold.share), self.holder, token)
                if found is None:
                    hold.until_ns = min(hold.until_ns, asked_ns)
                    log.error(
                        "lease.lost", share=str(hold.share), venue=venue, token=token, reason="another process has it"
                    )
                    return False
                if found.successor is not None:
                    both = request is None or request.ready
                    request = Request(holder=found.successor, ready=found.ready and both)
        except DatabaseUnavailable as exc:
            left_ms = (hold.until_ns - self._clock.monotonic_ns()) / 1e6
            log.warning("lease.not_renewed", share=str(hold.share), holds_for_ms=round(left_ms), reason=str(exc))
            return left_ms > 0
        hold.until_ns = asked_ns + self.ttl_ms * 1_000_000
        hold.request = request
        return True

    async def release(self, hold: Hold) -> None:
        """See ``Ownership``."""
        for lock in hold.locks.values():
            lock.release()
        try:
            for venue, token in hold.tokens.items():
                await self.table.release(self.name(venue, hold.share), self.holder, token)
        except DatabaseUnavailable as exc:
            log.warning(
                "lease.not_released", share=str(hold.share), runs_out_in_s=self._settings.ttl_secs, reason=str(exc)
            )

    # -- handing over -------------------------------------------------------------------------------

    async def holders(self, share: Share, venues: Sequence[Venue]) -> bool:
        """Whether somebody else holds any of these leases at this moment."""
        rows = await self.table.look([self.name(venue, share) for venue in venues])
        return any(row.alive and row.holder != self.holder for row in rows)

    async def ask(self, share: Share, venues: Sequence[Venue], *, ready: bool, ttl_ms: int) -> bool:
        """Tell the holder that we want its share; to be repeated. False where nobody holds all of it, or another asks."""
        names = [self.name(venue, share) for venue in venues]
        found = [await self.table.ask(name, self.holder, ready=ready, ttl_ms=ttl_ms) for name in names]
        return None not in found

    async def tell(self, hold: Hold, *, handed: Mapping[Venue, bytes] | None = None, cut_ms: int | None = None) -> bool:
        """Tell the successor what we know, or from when on it records; False when it is not there to hear it."""
        given = [
            (self.name(venue, hold.share), token, handed[venue] if handed else None)
            for venue, token in hold.tokens.items()
        ]
        return await self.table.tell(given, self.holder, cut_ms=cut_ms)

    async def handed(self, share: Share, venues: Sequence[Venue]) -> dict[Venue, bytes] | None:
        """What the holder lets us know, once it has."""
        rows = {row.name: row.handed for row in await self.table.look([self.name(venue, share) for venue in venues])}
        told = {venue: data for venue in venues if (data := rows.get(self.name(venue, share))) is not None}
        return told if len(told) == len(venues) else None

    async def cut(self, share: Share, venues: Sequence[Venue]) -> int | None:
        """From when on we record, once the holder has said so."""
        rows = await self.table.look([self.name(venue, share) for venue in venues])
        cuts = {row.cut_ms for row in rows}
        return cuts.pop() if len(cuts) == 1 else None
