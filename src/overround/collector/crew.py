"""The recorders of a run: begun and ended venue by venue, and told of changed settings while they record."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import structlog

from overround.clock import Clock
from overround.collector.handover import Handed
from overround.collector.ownership import Hold
from overround.collector.recorder import VenueRecorder
from overround.config import Settings, VenueSettings
from overround.errors import ConfigError, NothingStored, OverroundError
from overround.market import WHOLE, Origin, Venue
from overround.storage import LakePaths
from overround.venue.adapters import VenueAdapter, open_adapter

__all__ = ["Change", "Changes", "Crew"]

log = structlog.get_logger()

# Within this a recorder that cannot begin (another process holds its lock) has said so.
BEGINS_S = 1.0


@dataclass(kw_only=True)
class Change:
    """Settings and venues that are to hold from now on; ``taken`` is told which venues could not begin, and why."""

    settings: Settings
    venues: Sequence[Venue]
    taken: asyncio.Future[dict[Venue, str]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Changes:
    """Changes on their way to a running collector."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Change] = asyncio.Queue()

    async def hand_over(self, settings: Settings, venues: Sequence[Venue]) -> dict[Venue, str]:
        """Have a change taken; returns why venues could not begin."""
        change = Change(settings=settings, venues=venues)
        self._waiting.put_nowait(change)
        return await change.taken

    async def next(self) -> Change:
        """The next change; for the collector."""
        return await self._waiting.get()


class Crew:
    """One recorder per venue, with its adapter and its task.

    Attributes
    ----------
    recorders : list of VenueRecorder
        Those that record, in the order they began.
    ended : list of VenueRecorder
        Those whose venue was switched off.
    tasks : dict of Venue to asyncio.Task
    """

    def __init__(
        self,
        paths: LakePaths,
        *,
        clock: Clock,
        rng: Random,
        origin: Origin,
        clock_steps: int,
        hold: Hold | None = None,
        handed: Mapping[Venue, Handed] | None = None,
    ) -> None:
        self.recorders: list[VenueRecorder] = []
        self.ended: list[VenueRecorder] = []
        self.tasks: dict[Venue, asyncio.Task[None]] = {}
        self._adapters: dict[Venue, VenueAdapter] = {}
        self._paths = paths
        self._clock = clock
        self._rng = rng
        self._origin = origin
        self._clock_steps = clock_steps
        self._hold = hold
        self._handed = handed

    def hire(self, venue: Venue, settings: Settings) -> None:
        """Make a venue's recorder ready.

        Raises
        ------
        NothingStored
            If the venue has no universe file.
        ConfigError
            If its key is none, or leases are held and none for this venue.
        """
        if self._hold is not None and self._hold.leased and venue not in self._hold.venues:
            raise ConfigError(
                f"no lease is held for {venue}", hint="start the collector anew: leases are taken at the start"
            )
        adapter = open_adapter(venue, settings, clock=self._clock, rng=self._rng, origin=self._origin)
        self._adapters[venue] = adapter
        recorder = VenueRecorder(
            adapter,
            settings=settings,
            venue_settings=settings_of(venue, settings),
            paths=self._paths,
            clock=self._clock,
            rng=self._rng,
            origin=self._origin,
            hold=self._hold,
        )
        recorder.clock_steps = self._clock_steps
        if self._handed is not None:
            recorder.follow(self._handed[venue])
        if not recorder.prepare() and recorder.share == WHOLE:
            raise NothingStored(
                f"the universe of {venue} under {settings.data_dir} lists no market",
                hint="run `overround scan` again",
            )
        if not adapter.can_stream:
            log.warning(
                "venue.polled",
                venue=venue,
                reason="no key configured: public books are polled, integrity unverified",
                remedy="set venues.kalshi.api_key and private_key_path",
            )
        self.recorders.append(recorder)

    def begin(self) -> None:
        """Start every recorder that does not record yet."""
        for recorder in self.recorders:
            if recorder.venue not in self.tasks:
                self.tasks[recorder.venue] = asyncio.create_task(recorder.run(), name=str(recorder.venue))

    async def take(self, change: Change) -> list[Venue]:
        """Follow a change; a venue that cannot begin costs the others nothing. Returns the venues that record now."""
        for recorder in list(self.recorders):
            if recorder.venue not in change.venues:
                await self._dismiss(recorder)
            else:
                recorder.adjust(change.settings, settings_of(recorder.venue, change.settings))
        failed: dict[Venue, str] = {}
        for venue in change.venues:
            if venue not in self.tasks:
                try:
                    await self._add(venue, change.settings)
                except OverroundError as exc:
                    failed[venue] = f"{exc}; {exc.hint}" if exc.hint else str(exc)
        if not change.taken.done():
            change.taken.set_result(failed)
        return [venue for venue in change.venues if venue not in failed]

    async def end(self) -> None:
        """Stop all recorders; what the first one failed of is raised.

        Raises
        ------
        OverroundError
            If a recorder ended by itself.
        """
        for task in self.tasks.values():
            task.cancel()
        for result in await asyncio.gather(*self.tasks.values(), return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def aclose(self) -> None:
        """Close what the adapters hold."""
        for adapter in self._adapters.values():
            await adapter.aclose()

    async def _add(self, venue: Venue, settings: Settings) -> None:
        try:
            self.hire(venue, settings)
            self.begin()
            done, _ = await asyncio.wait({self.tasks[venue]}, timeout=BEGINS_S)
            for task in done:
                task.result()
            log.info("venue.switched_on", venue=venue)
        except OverroundError:
            self.tasks.pop(venue, None)
            self.recorders[:] = [recorder for recorder in self.recorders if recorder.venue is not venue]
            adapter = self._adapters.pop(venue, None)
            if adapter is not None:
                await adapter.aclose()
            raise

    async def _dismiss(self, recorder: VenueRecorder) -> None:
        """Stop one recorder as a clean stop does, everything stored."""
        task = self.tasks.pop(recorder.venue)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, Exception):
            log.error("collect.venue_failed", venue=recorder.venue, exc_info=result)
        self.recorders.remove(recorder)
        self.ended.append(recorder)
        status = recorder.status()
        log.info("venue.switched_off", venue=recorder.venue, rows=status.rows, rows_waiting=status.rows_waiting)
        await self._adapters.pop(recorder.venue).aclose()


def settings_of(venue: Venue, settings: Settings) -> VenueSettings:
    """The table of a venue."""
    return settings.venues.polymarket if venue is Venue.POLYMARKET else settings.venues.kalshi
