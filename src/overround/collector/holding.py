"""Getting a share and keeping it: the waits around an ``Ownership``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from overround.clock import Clock
from overround.collector.ownership import Hold, LakeOwnership, Ownership
from overround.config import Settings
from overround.errors import ConfigError, DatabaseUnavailable, LakeLocked
from overround.market import Share, Venue
from overround.storage import LakePaths

if TYPE_CHECKING:
    from overround.collector.leased import LeasedOwnership

__all__ = ["all_shares", "keep", "leased", "ownership_of", "require_leases", "take_one"]

log = structlog.get_logger()

ASK_MS = 2_000
# A lease that could not be renewed is tried again so soon.
RETRY_MS = 1_000


def ownership_of(settings: Settings, paths: LakePaths, *, clock: Clock) -> Ownership:
    """By leases where ``leases.url`` is set, else by the lake's locks.

    Raises
    ------
    ConfigError
        If leases are wanted and cannot be had here.
    """
    if not settings.leases.url.get_secret_value():
        return LakeOwnership(paths)
    from overround.collector.leased import LeasedOwnership

    return LeasedOwnership(settings.leases, paths, clock=clock)


def require_leases(settings: Settings, doing: str) -> None:
    """Refuse what cannot be done without leases.

    Raises
    ------
    ConfigError
        If shards are fixed.
    """
    if not settings.leases.url.get_secret_value():
        raise ConfigError(f"{doing} needs leases", hint="set leases.url to a PostgreSQL database")


def leased(ownership: Ownership) -> LeasedOwnership:
    """The same, with its leases.

    Raises
    ------
    ConfigError
        If shards are fixed.
    """
    from overround.collector.leased import LeasedOwnership

    if not isinstance(ownership, LeasedOwnership):
        raise ConfigError("handing over needs leases", hint="set leases.url to a PostgreSQL database")
    return ownership


def all_shares(settings: Settings) -> list[Share]:
    """Every shard of the settings' number.

    Raises
    ------
    ConfigError
        If shards are fixed: nobody could tell which of them is free.
    """
    require_leases(settings, "standing by")
    total = Share.parse(settings.cluster.shard).total
    return [Share(number, total) for number in range(total)]


async def take_one(
    ownership: Ownership,
    shares: Sequence[Share],
    venues: Sequence[Venue],
    *,
    clock: Clock,
    ended: asyncio.Future[None],
    patient: bool,
) -> Hold | None:
    """Take one of the shares; None when the end comes first.

    Parameters
    ----------
    ownership : Ownership
    shares : sequence of Share
        Tried in this order.
    venues : sequence of Venue
    clock : Clock
    ended : Future
    patient : bool
        Wait for as long as it takes, also for a database that does not answer; else for the time in which the lease
        of a dead process runs out.

    Raises
    ------
    LakeLocked
        If somebody else keeps it.
    DatabaseUnavailable
        If nobody can be asked.
    """
    began_ns, told = clock.monotonic_ns(), False
    # A lease that is renewed meanwhile is a living process's.
    patience_ms = 4 * ownership.renew_ms if ownership.renew_ms is not None else 0
    while not ended.done():
        refusal: LakeLocked | DatabaseUnavailable | None = None
        for share in shares:
            try:
                return await ownership.take(share, venues)
            except (LakeLocked, DatabaseUnavailable) as exc:
                refusal = exc
        assert refusal is not None
        waited_ms = (clock.monotonic_ns() - began_ns) / 1e6
        if not patient and (isinstance(refusal, DatabaseUnavailable) or waited_ms >= patience_ms):
            raise refusal
        if not told or isinstance(refusal, DatabaseUnavailable):
            log.warning("lease.waiting", shares=[str(share) for share in shares], reason=str(refusal))
            told = True
        pause = asyncio.create_task(clock.sleep_ms(ASK_MS))
        await asyncio.wait({pause, ended}, return_when=asyncio.FIRST_COMPLETED)
        pause.cancel()
    return None


async def keep(ownership: Ownership, hold: Hold, *, clock: Clock) -> None:
    """Renew a hold until it is lost; then returns."""
    if ownership.renew_ms is None:
        await asyncio.Event().wait()
        return
    await hold.certain.wait()
    whole_ms = 0.0
    while True:
        left_ms = (hold.until_ns - clock.monotonic_ns()) / 1e6
        # Less is left than a renewal would have given: the last one failed.
        failed, whole_ms = left_ms < whole_ms - ownership.renew_ms / 2, max(whole_ms, left_ms)
        await clock.sleep_ms(max(10.0, min(RETRY_MS if failed else ownership.renew_ms, left_ms)))
        if not await ownership.renew(hold):
            log.error(
                "lease.ended",
                share=str(hold.share),
                remedy="none needed: what was recorded is stored; recording begins anew once the shard can be had",
            )
            return
