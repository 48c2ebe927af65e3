"""Scans of one or more venues, once or for as long as a collector runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

import structlog

from overround.clock import Clock
from overround.config import Settings
from overround.errors import NothingStored, OverroundError, StorageError
from overround.market import Origin, Share, Venue
from overround.pipelines.counted import count_run
from overround.scanner import ScanSummary, scan
from overround.storage import LakePaths, newest_universe
from overround.venue.adapters import VenueAdapter, open_adapter
from overround.venue.sentinel import DriftSentinel

__all__ = ["scan_every", "scan_venues"]

log = structlog.get_logger()

RETRY_S = 300
"""After a failed scan the next one comes so soon, if the period is longer."""


async def scan_venues(
    settings: Settings,
    *,
    venues: Sequence[Venue],
    clock: Clock,
    rng: Random,
    origin: Origin,
    progress: Callable[[Venue, int], None] | None = None,
) -> list[ScanSummary]:
    """List the venues, at the same time, into the lake.

    A venue that fails does not keep the others from being listed and written; its error is raised when all
    have ended.

    Parameters
    ----------
    settings : Settings
    venues : sequence of Venue
    clock : Clock
    rng : Random
    origin : Origin
    progress : callable, optional
        Called now and then with a venue and its number of markets so far.

    Raises
    ------
    OverroundError
        The first venue's error, in the order given.
    """
    paths = LakePaths(settings.data_dir)
    ends = await asyncio.gather(
        *(
            _scan_one(settings, venue, paths, clock=clock, rng=rng, origin=origin, progress=progress)
            for venue in venues
        ),
        return_exceptions=True,
    )
    failures = [end for end in ends if isinstance(end, BaseException)]
    for failure in failures[1:]:
        log.error("scan.failed", reason=str(failure))
    if failures:
        raise failures[0]
    return [end for end in ends if isinstance(end, ScanSummary)]


async def scan_every(settings: Settings, *, venues: Sequence[Venue], clock: Clock, rng: Random, origin: Origin) -> None:
    """Keep the listings fresh until cancelled.

    Each venue is listed when its newest universe is ``polling.catalogue_secs`` old. A failed scan is reported
    and tried again; the universe is then as it was. Of several collectors the first lists for all; each further one
    steps in five minutes after the one before it did not.
    """
    paths = LakePaths(settings.data_dir)
    async with asyncio.TaskGroup() as tasks:
        for venue in venues:
            tasks.create_task(_keep_fresh(settings, venue, paths, clock=clock, rng=rng, origin=origin))


async def _keep_fresh(
    settings: Settings, venue: Venue, paths: LakePaths, *, clock: Clock, rng: Random, origin: Origin
) -> None:
    period_ms = settings.polling.catalogue_secs * 1000
    patience_ms = period_ms + Share.parse(settings.cluster.shard).number * RETRY_S * 1000
    while True:
        while (left_ms := patience_ms - await asyncio.to_thread(_age_ms, paths, venue, clock.now_ms())) > 0:
            await clock.sleep_ms(left_ms)
        try:
            await _scan_one(settings, venue, paths, clock=clock, rng=rng, origin=origin, progress=None)
        except OverroundError as exc:
            log.warning("scan.failed", venue=venue.value, reason=str(exc), hint=exc.hint)
            await clock.sleep_ms(min(period_ms, RETRY_S * 1000))


def _age_ms(paths: LakePaths, venue: Venue, now_ms: int) -> float:
    try:
        found = newest_universe(paths, venue, now_ms=now_ms)
    except (NothingStored, StorageError):
        return float("inf")
    return float("inf") if found is None else found.age_ms


async def _scan_one(
    settings: Settings,
    venue: Venue,
    paths: LakePaths,
    *,
    clock: Clock,
    rng: Random,
    origin: Origin,
    progress: Callable[[Venue, int], None] | None,
) -> ScanSummary:
    adapter = open_adapter(venue, settings, clock=clock, rng=rng, origin=origin)
    sentinel = watcher = None
    if settings.drift.enabled:
        sentinel = DriftSentinel(paths, venue, adapter.shapes, settings=settings.drift, clock=clock)
        adapter.http.tap = sentinel.answer
        watcher = asyncio.create_task(sentinel.run())
    try:
        summary = await scan(
            adapter.catalog,
            paths,
            venue,
            clock=clock,
            origin=origin,
            requests=lambda: _answers(adapter),
            progress=None if progress is None else lambda count: progress(venue, count),
        )
    except Exception as exc:
        await asyncio.to_thread(count_run, paths, "scan", venue, failed=str(exc), clock=clock)
        raise
    else:
        await asyncio.to_thread(count_run, paths, "scan", venue, failed=None, clock=clock)
        return summary
    finally:
        await adapter.aclose()
        if sentinel is not None and watcher is not None:
            watcher.cancel()
            await sentinel.close()


def _answers(adapter: VenueAdapter) -> int:
    counters = adapter.http.counters()
    return counters["requests"] - counters["retries"]
