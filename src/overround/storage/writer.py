"""The writer of snapshots and trades: rows in, durable every few seconds, one Parquet file per bucket and table.

The event loop only swaps the buffer's arrays; making rows, writing and syncing run in one thread, the
compression of ended buckets in another, so that neither holds up the sockets nor one the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from overround.clock import Clock
from overround.config import StorageSettings
from overround.market import Origin, Trade
from overround.storage.buffer import Cut, SnapshotBuffer, rows_of
from overround.storage.fileops import FileOps
from overround.storage.lock import CollectorLock
from overround.storage.origin import claim_origin
from overround.storage.paths import LakePaths, Shard
from overround.storage.schema import SNAPSHOT_TABLE
from overround.storage.table_writer import UNSAVED_BYTES_LIMIT, TableWriter
from overround.storage.trades import TRADE_TABLE, trade_batch
from overround.timebucket import Bucket, bucket_of

__all__ = ["SnapshotWriter", "WriterStats"]

log = structlog.get_logger()

_BLOCK_BOOKS = 2_000
_LAST_TRIES = 3
_LAST_PAUSE_MS = 500
# A print waits for its change of the book, and is a row of the bucket in which it came.
_TRADES_GRACE_MS = 10_000


@dataclass(frozen=True, kw_only=True)
class WriterStats:
    """What the writer has done so far.

    Attributes
    ----------
    rows : int
        Rows taken in (both outcomes).
    rows_waiting : int
        Rows not durable yet: in the buffer, or refused by the disk.
    rows_dropped, rows_removed : int
        Given up because too many waited; removed by another's hand. Both stay 0 in good health.
    flushes, failures : int
        Flushes, and those (of rows or files) that the disk refused.
    last_flush_ms : float
        Duration of the last flush.
    files, bytes_written, file_rows : int
        Finished Parquet files, their bytes and rows.
    wal_bytes : int
        Bytes that went through write-ahead files.
    gaps : int
        Gaps noted.
    last_error : str
        The system's words while a failure lasts, else empty.
    verdicts : dict of str to int
        ``rows`` by their word in the column ``integrity``.
    trades, trades_waiting : int
        Trades taken in, and those not durable yet.
    """

    rows: int
    rows_waiting: int
    rows_dropped: int
    rows_removed: int
    flushes: int
    failures: int
    last_flush_ms: float
    files: int
    bytes_written: int
    file_rows: int
    wal_bytes: int
    gaps: int
    last_error: str
    verdicts: dict[str, int]
    trades: int = 0
    trades_waiting: int = 0


class SnapshotWriter:
    """Writes one venue's (and shard's) snapshot rows and trades.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    settings : StorageSettings
    top_k : int
        Levels stored per side.
    origin : Origin
    clock : Clock
    shard : Shard
        Number of this collector, from 0, and how many there are.
    ops : FileOps, optional
        A failing disk in tests.
    unsaved_limit : int
        Bytes kept in memory while the disk refuses rows.
    token : int
        Fencing token of our lease; 0 where there are none.
    lock : CollectorLock, optional
        Held already by whoever starts this.

    Attributes
    ----------
    buffer : SnapshotBuffer
        Where the collector appends.
    """

    def __init__(
        self,
        paths: LakePaths,
        venue: str,
        *,
        settings: StorageSettings,
        top_k: int,
        origin: Origin,
        clock: Clock,
        shard: Shard = (0, 1),
        ops: FileOps | None = None,
        unsaved_limit: int = UNSAVED_BYTES_LIMIT,
        token: int = 0,
        lock: CollectorLock | None = None,
    ) -> None:
        self.buffer = SnapshotBuffer(outcomes=settings.outcomes)
        self._paths, self._venue, self._origin, self._top_k = paths, str(venue), origin, top_k
        self._settings, self._clock, self._ops = settings, clock, ops
        self._table, self._trades = (
            TableWriter(
                paths,
                table,
                self._venue,
                bucket_s=settings.bucket_secs,
                level=settings.compression_level,
                origin=origin.value,
                shard=shard,
                ops=ops,
                unsaved_limit=unsaved_limit,
                token=token,
            )
            for table in (SNAPSHOT_TABLE, TRADE_TABLE)
        )
        self._new_trades: list[Trade] = []
        self._lock = lock or CollectorLock(paths, self._venue, shard)
        self._mutex = asyncio.Lock()
        self._rows_pool: ThreadPoolExecutor | None = None
        self._files_pool: ThreadPoolExecutor | None = None
        self._finalising: dict[tuple[str, int], Future[None]] = {}
        self._rows_taken = self._trades_taken = 0
        self._flushes = 0
        self._last_flush_ms = 0.0
        self._last_flush_ts = 0
        self._gaps = 0
        self._gaps_saved = 0
        self._left_ms: dict[Shard, int] = {}

    def start(self) -> None:
        """Take the lock, check the folder's origin, and finish what an earlier run left behind.

        Raises
        ------
        LakeLocked
            If another process records this venue and shard.
        OriginMismatch
            If the folder holds rows of the other origin.
        StorageError
            If the folder cannot be written.
        """
        self._lock.acquire()
        try:
            claim_origin(self._paths, self._origin, ops=self._ops)
            self._last_flush_ts = self._clock.now_ms()
            self._left_ms = self._table.newest_left(SNAPSHOT_TABLE.time_column)
            self._table.recover(now_ms=self._last_flush_ts)
            self._trades.recover(now_ms=self._last_flush_ts)
        except BaseException:
            self._lock.release()
            raise
        self._rows_pool = ThreadPoolExecutor(1, thread_name_prefix=f"rows-{self._venue}")
        self._files_pool = ThreadPoolExecutor(1, thread_name_prefix=f"files-{self._venue}")

    def lease(self, token: int, lock: CollectorLock) -> None:
        """Write under this lease; before :meth:`start`."""
        self._table.token = self._trades.token = token
        self._lock = lock

    def note_gaps(self, total: int) -> None:
        """Tell how many gaps there have been since the start; new ones count for the present bucket."""
        self._gaps = total

    def add_trades(self, trades: Sequence[Trade]) -> None:
        """Take trades in; each belongs to the bucket in which it came."""
        self._new_trades += trades
        self._trades_taken += len(trades)

    def due(self, now_ms: int) -> bool:
        """Whether :meth:`flush` has something to do: the bucket changed, rows or seconds have piled up."""
        if self.buffer.rows >= self._settings.flush_rows:
            return True
        since = now_ms - self._last_flush_ts
        if since < 0 or since >= self._settings.flush_secs * 1000:
            return True
        length = self._settings.bucket_secs
        return bucket_of(now_ms, length).start_ms != bucket_of(self._last_flush_ts, length).start_ms

    async def flush(self, now_ms: int) -> bool:
        """Make everything appended durable, and start turning ended buckets into Parquet.

        Nothing is raised when the disk refuses: the rows are kept, the failure is counted and reported,
        and the next flush tries again.

        Returns
        -------
        bool
            Whether every row taken so far is durable.
        """
        async with self._mutex:
            self._last_flush_ts = now_ms
            started_ns = self._clock.monotonic_ns()
            self._rows_taken += self.buffer.rows
            gaps, self._gaps_saved = self._gaps - self._gaps_saved, self._gaps
            cut = self.buffer.cut()
            trades, self._new_trades = self._new_trades, []
            # Shielded: a cancelled flush still completes in its thread, so nothing of the cut is lost.
            saved = await asyncio.shield(
                asyncio.wrap_future(self._pool(self._rows_pool).submit(self._save, cut, trades, gaps, now_ms))
            )
            self._flushes += 1
            self._last_flush_ms = (self._clock.monotonic_ns() - started_ns) / 1e6
            self._finalise_ended(now_ms)
            return saved

    async def settle(self) -> None:
        """Wait until no bucket is being turned into Parquet."""
        while self._finalising:
            await asyncio.wait([asyncio.wrap_future(future) for future in list(self._finalising.values())])
            self._reap()

    async def drain(self) -> bool:
        """Make every row durable, with a few tries; False when the disk refused to the end."""
        now_ms = self._clock.now_ms()
        for _ in range(_LAST_TRIES):
            if await self.flush(now_ms):
                return True
            await self._clock.sleep_ms(_LAST_PAUSE_MS)
        return False

    async def stop(self) -> None:
        """Make every row durable, turn every bucket into Parquet, give the lock back.

        Rows that the disk still refuses after a few tries are lost with the process; they are counted
        in ``stats`` and reported.
        """
        if self._rows_pool is None:
            return
        await self.drain()
        await self.settle()
        self._finalise_ended(None)
        await self.settle()
        for table in (self._table, self._trades):
            if table.counters.rows_unsaved:
                log.error(
                    "storage.rows_lost",
                    table=table.name,
                    venue=self._venue,
                    rows=table.counters.rows_unsaved,
                    reason=table.counters.last_error,
                )
        self.abandon()

    def abandon(self) -> None:
        """Let go without writing anything more, as a crash would; the next start takes in what is durable."""
        for pool in (self._rows_pool, self._files_pool):
            if pool is not None:
                pool.shutdown()
        self._rows_pool = self._files_pool = None
        self._lock.release()

    def take_lost_ms(self) -> tuple[int, int] | None:
        """From when to when rows of either table were given up, or removed by another's hand, since the last call."""
        lost = [span for table in (self._table, self._trades) if (span := table.take_lost_ms()) is not None]
        return (min(first for first, _ in lost), max(last for _, last in lost)) if lost else None

    @property
    def unsaved_since_ms(self) -> int | None:
        """Time of the oldest row that the disk refused so far, or None."""
        since = [ms for table in (self._table, self._trades) if (ms := table.unsaved_since_ms) is not None]
        return min(since, default=None)

    def newest_row_ms(self, shards: Iterable[Shard]) -> int | None:
        """Time of each shard's newest row on disk, the earliest of them; None where one of them has none.

        Of a shard whose run died, the newest row that this run left behind: others may be of a time before the clock was
        set back.

        Raises
        ------
        OSError
            If the folder cannot be read.
        """
        left = self._left_ms
        newest = [left[shard] if shard in left else self._table.newest_row_ms(shard) for shard in shards]
        return min((ms or 0 for ms in newest), default=0) or None

    @property
    def stats(self) -> WriterStats:
        """What has been done so far."""
        counters, trades = self._table.counters, self._trades.counters
        return WriterStats(
            rows=self._rows_taken + self.buffer.rows,
            rows_waiting=self.buffer.rows + counters.rows_unsaved,
            rows_dropped=counters.rows_dropped,
            rows_removed=counters.rows_removed,
            flushes=self._flushes,
            failures=sum(each.save_failures + each.finalise_failures for each in (counters, trades)),
            last_flush_ms=self._last_flush_ms,
            files=counters.files,
            bytes_written=counters.file_bytes,
            file_rows=counters.file_rows,
            wal_bytes=counters.wal_bytes,
            gaps=self._gaps,
            last_error=counters.last_error or trades.last_error,
            verdicts=self.buffer.verdicts(),
            trades=self._trades_taken,
            trades_waiting=len(self._new_trades) + trades.rows_unsaved,
        )

    # -- threads ------------------------------------------------------------------------------------

    def _save(self, cut: Cut, trades: Sequence[Trade], gaps: int, now_ms: int) -> bool:
        tallies = {"gaps": gaps} if gaps else None
        for block in cut.blocks(_BLOCK_BOOKS) if cut.heads or gaps else ():
            self._table.add(rows_of(block, venue=self._venue, top_k=self._top_k), tallies=tallies, now_ms=now_ms)
            tallies = None
        if trades:
            self._trades.add(trade_batch(trades, self._venue), now_ms=now_ms)
        saved = self._table.save(now_ms=now_ms)
        return self._trades.save(now_ms=now_ms) and saved

    def _finalise_ended(self, now_ms: int | None) -> None:
        self._reap()
        for table, grace_ms in ((self._table, 0), (self._trades, _TRADES_GRACE_MS)):
            for bucket in table.end(None if now_ms is None else now_ms - grace_ms):
                key = (table.name, bucket.start_ms)
                if key not in self._finalising:
                    job = self._pool(self._files_pool).submit(
                        self._finalise, table, bucket, now_ms or self._clock.now_ms()
                    )
                    self._finalising[key] = job

    @staticmethod
    def _finalise(table: TableWriter, bucket: Bucket, now_ms: int) -> None:
        table.finalise(bucket, now_ms=now_ms)

    def _reap(self) -> None:
        """Forget finished jobs; one that died of a mistake of ours says so here."""
        for key, job in list(self._finalising.items()):
            if job.done():
                del self._finalising[key]
                job.result()

    @staticmethod
    def _pool(pool: ThreadPoolExecutor | None) -> ThreadPoolExecutor:
        if pool is None:
            raise RuntimeError("the writer was not started, or has been stopped")
        return pool
