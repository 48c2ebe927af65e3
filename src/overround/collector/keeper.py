"""The shell around the accountant: when its rows are made durable, and by which thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog

from overround.clock import Clock
from overround.collector.ledger import CoverageLedger, Entries
from overround.config import StorageSettings
from overround.market import WHOLE, Origin, Share
from overround.storage import CoverageWriter, LakePaths, LeftOpen, Shard

__all__ = ["LedgerKeeper"]

log = structlog.get_logger()

LOOP_MS = 250
FINALISE_MS = 60_000
# Gaps and stays are few, and what they say matters most: durable within about a second.
_SOON_MS = 1_000
_SETTLE_AT_MOST_MS = 10_000
# A flush a second per so many markets keeps the open hour's file small where a whole venue is held.
_MS_PER_MARKET = 10
_LAST_TRIES = 3
_LAST_PAUSE_MS = 500


class LedgerKeeper:
    """Keeps one venue's ledger; the caller holds the collector's lock between ``start`` and ``stop``.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    settings : StorageSettings
    origin : Origin
    clock : Clock
    share : Share
        Of the markets.
    token : int
        Fencing token of our lease; 0 where there are none.

    Attributes
    ----------
    ledger : CoverageLedger
    """

    def __init__(
        self,
        paths: LakePaths,
        venue: str,
        *,
        settings: StorageSettings,
        origin: Origin,
        clock: Clock,
        share: Share = WHOLE,
        token: int = 0,
    ) -> None:
        self.ledger = CoverageLedger(share=share)
        self._venue = str(venue)
        self._clock = clock
        self._settle_ms = min(settings.flush_secs * 1000, _SETTLE_AT_MOST_MS)
        self._writer = CoverageWriter(
            paths, venue, level=settings.compression_level, origin=origin.value, shard=share, token=token
        )
        self._pool: ThreadPoolExecutor | None = None
        self._settled_ms = self._minutes_ms = self._soon_ms = self._finalised_ms = 0

    def start(self, *, newest_row_ms: Callable[[Iterable[Shard]], int | None] | None = None) -> None:
        """Finish what an earlier run left, and begin.

        Parameters
        ----------
        newest_row_ms : callable, optional
            Time of the newest snapshot on disk of each of some shards, the earliest of them; asked where the earlier
            run died.

        Raises
        ------
        OSError
            If the folder cannot be read.
        """
        now_ms = self._clock.now_ms()
        self.ledger.start(self._open(now_ms, newest_row_ms), now_ms=now_ms)

    async def follow(
        self,
        token: int,
        *,
        begun_ms: int,
        newest_row_ms: Callable[[Iterable[Shard]], int | None],
    ) -> None:
        """Write what the ledger has accounted for since a collector that handed over to us ended, under our own lease.

        Parameters
        ----------
        token : int
        begun_ms : int
            Since when; the ledger was started with it.
        newest_row_ms : callable
            See ``start``; asked where the earlier collector died meanwhile.
        """
        self._writer.lease(token)
        # Aside: books change and rows are taken meanwhile, and reading what is there took a second or two.
        left = await asyncio.to_thread(self._open, self._clock.now_ms(), newest_row_ms)
        self.ledger.adopt(left, until_ms=begun_ms)

    def _open(self, now_ms: int, newest_row_ms: Callable[[Iterable[Shard]], int | None] | None) -> LeftOpen:
        left = self._writer.start(now_ms=now_ms)
        if left.crashed:
            if newest_row_ms is not None:
                left = replace(left, rows_until_ms=newest_row_ms(left.shards) or 0)
            log.warning(
                "ledger.collector_was_down",
                venue=self._venue,
                since_ms=left.died_ms,
                markets=len(left.stays),
                open_gaps=len(left.gaps),
            )
        self._settled_ms = self._minutes_ms = self._soon_ms = self._finalised_ms = now_ms
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"ledger-{self._venue}")
        return left

    async def run(self) -> None:
        """Settle and write until cancelled."""
        while True:
            await self._clock.sleep_ms(LOOP_MS)
            await self.flush(self._clock.now_ms())

    async def flush(self, now_ms: int) -> None:
        """Do what is due: settle the accounts, make rows durable, finish files."""
        if _passed(now_ms, self._settled_ms, self._settle_ms):
            self.ledger.settle(now_ms=now_ms)
            self._settled_ms = now_ms
        every_ms = min(60_000, max(self._settle_ms, len(self.ledger) * _MS_PER_MARKET))
        minutes = _passed(now_ms, self._minutes_ms, every_ms)
        if not minutes and not (self.ledger.urgent and _passed(now_ms, self._soon_ms, _SOON_MS)):
            return
        if minutes:
            self._minutes_ms = now_ms
        self._soon_ms = now_ms
        finalise = _passed(now_ms, self._finalised_ms, FINALISE_MS)
        if finalise:
            self._finalised_ms = now_ms
        entries = self.ledger.take(minutes=minutes)
        # Shielded: what was taken is written even if this task is cancelled meanwhile.
        await asyncio.shield(self._submit(entries, now_ms, finalise=finalise))

    async def stop(self) -> None:
        """Close the books and make everything durable; rows that the disk still refuses are lost and reported."""
        if self._pool is None:
            return
        now_ms = self._clock.now_ms()
        self.ledger.stop(now_ms=now_ms)
        entries = self.ledger.take()
        for _ in range(_LAST_TRIES):
            if await self._submit(entries, now_ms):
                break
            entries = Entries(minutes=[], gaps=[], stays=[])
            await self._clock.sleep_ms(_LAST_PAUSE_MS)
        await asyncio.wrap_future(self._pool.submit(self._writer.finalise, now_ms=now_ms, all_buckets=True))
        if self._writer.rows_unsaved:
            log.error("ledger.rows_lost", venue=self._venue, rows=self._writer.rows_unsaved)
        self._pool.shutdown()
        self._pool = None

    @property
    def failures(self) -> int:
        """Times that the disk refused rows or files of the ledger."""
        return self._writer.failures

    @property
    def rows_waiting(self) -> int:
        """Rows of the ledger that are in memory only, because the disk refused them."""
        return self._writer.rows_unsaved

    def _submit(self, entries: Entries, now_ms: int, *, finalise: bool = False) -> asyncio.Future[bool]:
        if self._pool is None:
            raise RuntimeError("the keeper was not started, or has been stopped")
        return asyncio.wrap_future(self._pool.submit(self._write, entries, now_ms, finalise=finalise))

    def _write(self, entries: Entries, now_ms: int, *, finalise: bool) -> bool:
        self._writer.add(minutes=entries.minutes, gaps=entries.gaps, stays=entries.stays, now_ms=now_ms)
        saved = self._writer.save(now_ms=now_ms)
        if finalise:
            self._writer.finalise(now_ms=now_ms)
        return saved


def _passed(now_ms: int, since_ms: int, interval_ms: int) -> bool:
    """Whether so much time has passed; also when the clock was set back."""
    return not 0 <= now_ms - since_ms < interval_ms
