"""A recording changes hands while it runs: the new collector's books stand before the old one lets go.

::

    new   asks ── follows the same markets ── books stand: ready ─────────────┐ from the cut on ── has the lease, writes
    old        └─ tells what it holds, stops rotating ─────── names the cut ──┘ stores what it has, gives the lease back, leaves

The cut is the beginning of a minute, by the old collector's clock: it takes the rows before it, the new one those from it
on, and each accounts for its own minutes. The new one keeps its first rows in memory until the old one has given the lease
back (or died, and the lease has run out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from overround.clock import Clock
from overround.collector.ownership import Hold
from overround.errors import DatabaseUnavailable, LakeLocked, StorageError
from overround.market import MarketId, Share, Venue
from overround.scheduler import RotationState

if TYPE_CHECKING:
    from overround.collector.leased import LeasedOwnership
    from overround.collector.recorder import VenueRecorder

__all__ = ["Handed", "ask_for", "give", "is_taken", "succeed"]

log = structlog.get_logger()

MINUTE_MS = 60_000
POLL_MS = 500
# The cut is named so long before it comes: time enough for the new one to read it.
NOTICE_MS = 3_000
# Rows that are due just before the cut are taken by then.
LAST_ROWS_MS = 100
# A successor is heard of so often, and forgotten after so long.
ALIVE_MS = 10_000
# The new one's books have so long to stand.
READY_S = 120
# The old one has so long to store what it has.
STORED_S = 120


class Handed(msgspec.Struct, frozen=True, kw_only=True):
    """What the old collector lets the new one know of a venue.

    Attributes
    ----------
    rotation : RotationState
    live : tuple of MarketId
        Markets whose books are right.
    """

    rotation: RotationState
    live: tuple[MarketId, ...]


def _decoded(data: bytes) -> Handed:
    """See ``Handed``.

    Raises
    ------
    StorageError
        If another version wrote it that this one cannot read.
    """
    try:
        return msgspec.json.decode(data, type=Handed)
    except msgspec.MsgspecError as exc:
        raise StorageError(
            f"what the running collector hands over does not read: {exc}", hint="stop it, then start this one"
        ) from exc


# -- the old one -----------------------------------------------------------------------------------------------


async def give(ownership: LeasedOwnership, hold: Hold, recorders: Sequence[VenueRecorder], *, clock: Clock) -> None:
    """Wait for a successor, let it get ready, and return when the cut has come."""
    told_to = ""
    while True:
        await clock.sleep_ms(POLL_MS)
        request = hold.request
        if request is None or request.holder != told_to:
            if told_to:
                log.warning("handover.given_up", successor=told_to, share=str(hold.share))
            told_to = ""
            for recorder in recorders:
                recorder.frozen = request is not None
            if request is not None:
                handed = {recorder.venue: msgspec.json.encode(recorder.handed()) for recorder in recorders}
                if await _tell(ownership, hold, handed=handed):
                    told_to = request.holder
                    log.info("handover.asked", successor=told_to, share=str(hold.share))
            continue
        now_ms = clock.now_ms()
        left_ms = MINUTE_MS - now_ms % MINUTE_MS
        if not request.ready or not NOTICE_MS <= left_ms < NOTICE_MS + 2 * POLL_MS:
            continue
        cut_ms = now_ms + left_ms
        if await _tell(ownership, hold, cut_ms=cut_ms):
            log.info("handover.cut", successor=told_to, share=str(hold.share), cut_ms=cut_ms)
            for recorder in recorders:
                recorder.end_at(cut_ms)
            await clock.sleep_ms(max(0, cut_ms - clock.now_ms()) + LAST_ROWS_MS)
            return


async def _tell(
    ownership: LeasedOwnership, hold: Hold, *, handed: Mapping[Venue, bytes] | None = None, cut_ms: int | None = None
) -> bool:
    """Tell the successor, all venues at once; False when it is not there to hear it."""
    try:
        return await ownership.tell(hold, handed=handed, cut_ms=cut_ms)
    except DatabaseUnavailable as exc:
        log.warning("handover.not_told", share=str(hold.share), reason=str(exc))
        # Whether the cut was taken in nobody can say: not recording beyond it twice comes first.
        return cut_ms is not None


async def is_taken(ownership: LeasedOwnership, hold: Hold, *, clock: Clock) -> bool:
    """Whether the successor has taken what was given back; waits for it as long as it may take."""
    ends_ns = clock.monotonic_ns() + ALIVE_MS * 1_000_000
    while clock.monotonic_ns() < ends_ns:
        try:
            if await ownership.holders(hold.share, tuple(hold.tokens)):
                return True
        except DatabaseUnavailable as exc:
            log.warning("handover.not_seen", share=str(hold.share), reason=str(exc))
        await clock.sleep_ms(POLL_MS)
    return False


# -- the new one -----------------------------------------------------------------------------------------------


async def ask_for(
    ownership: LeasedOwnership, share: Share, venues: Sequence[Venue], *, clock: Clock
) -> dict[Venue, Handed] | None:
    """Ask the collector that records a share to hand it over; None where there is none.

    Raises
    ------
    LakeLocked
        If it does not answer, or somebody else has asked before us.
    DatabaseUnavailable
    """
    ends_ns = clock.monotonic_ns() + READY_S * 1_000_000_000
    while clock.monotonic_ns() < ends_ns:
        if not await ownership.holders(share, venues):
            return None
        if not await ownership.ask(share, venues, ready=False, ttl_ms=ALIVE_MS):
            raise LakeLocked(
                f"shard {share} is being handed over to another collector already", hint="see its log; try again later"
            )
        told = await ownership.handed(share, venues)
        if told is not None:
            return {venue: _decoded(data) for venue, data in told.items()}
        await clock.sleep_ms(POLL_MS)
    raise LakeLocked(
        f"the collector of shard {share} does not answer",
        hint="is it of a version that hands over? stop it, then start this one",
    )


async def succeed(ownership: LeasedOwnership, hold: Hold, recorders: Sequence[VenueRecorder], *, clock: Clock) -> None:
    """Report ready when the books stand, begin at the cut, and take the lease as soon as it is given back.

    Raises
    ------
    LakeLocked
        If the books do not come, or the share goes to somebody else; nothing was written.
    DatabaseUnavailable
    """
    venues = [recorder.venue for recorder in recorders]
    ends_ns = clock.monotonic_ns() + READY_S * 1_000_000_000
    ready = False
    cut_ms: int | None = None
    while cut_ms is None:
        await clock.sleep_ms(POLL_MS)
        missing = sum(recorder.n_awaited for recorder in recorders)
        if not ready and not missing:
            ready = True
            log.info("handover.ready", share=str(hold.share), markets=sum(len(r.handed().live) for r in recorders))
        if not ready and clock.monotonic_ns() > ends_ns:
            raise LakeLocked(
                f"{missing} books of shard {hold.share} did not come within {READY_S} s: nothing was taken over",
                hint="the running collector goes on; look at this one's log",
            )
        if not await ownership.ask(hold.share, venues, ready=ready, ttl_ms=ALIVE_MS):
            # It died, or gave up: whoever is first has the share, and waiting for its end is no hand-over.
            cut_ms = await ownership.cut(hold.share, venues) or clock.now_ms()
        else:
            cut_ms = await ownership.cut(hold.share, venues)
    await clock.sleep_ms(max(0, cut_ms - clock.now_ms()))
    for recorder in recorders:
        recorder.begin_at(cut_ms)
    ends_ns = clock.monotonic_ns() + STORED_S * 1_000_000_000
    while True:
        try:
            await ownership.take_into(hold)
        except LakeLocked:
            if clock.monotonic_ns() > ends_ns:
                raise
            with_us = await ownership.ask(hold.share, venues, ready=True, ttl_ms=ALIVE_MS)
            await clock.sleep_ms(POLL_MS if with_us else 0)
        else:
            break
    log.info("handover.taken", share=str(hold.share), cut_ms=cut_ms, waited_ms=clock.now_ms() - cut_ms)
    hold.certain.set()
