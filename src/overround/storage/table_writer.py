"""Rows of one table, venue and shard on their way to bucket files, whatever the table.

Three steps, each of which may fail and be repeated: *add* encodes rows for the write-ahead file of their
bucket, *save* makes everything added durable, *finalise* turns an ended bucket into its Parquet file.
Rows that the disk refuses stay in memory, encoded, up to a bound.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import structlog

from overround.errors import LakeLocked, StorageError
from overround.storage.bucket import finalise_bucket
from overround.storage.columns import mask, numbers
from overround.storage.fence import is_superseded, publishing
from overround.storage.fileops import FileOps, FileShortened
from overround.storage.lock import CollectorLock
from overround.storage.manifest import ManifestLine, read_manifest
from overround.storage.paths import LakePaths, Shard
from overround.storage.schema import TableSpec
from overround.storage.wal import Wal, new_wal_id, read_wal
from overround.timebucket import Bucket, bucket_of, parse_bucket_name

__all__ = ["UNSAVED_BYTES_LIMIT", "TableCounters", "TableWriter"]

log = structlog.get_logger()

UNSAVED_BYTES_LIMIT = 256 << 20
"""Encoded rows kept in memory while the disk refuses them; beyond it the oldest are dropped, counted and reported."""

RETRY_MS = 10_000
ALERT_MS = 60_000


@dataclass(slots=True)
class TableCounters:
    """What a table writer did; plain integers, read at any time.

    Attributes
    ----------
    rows_saved : int
        Rows made durable.
    rows_unsaved, bytes_unsaved : int
        In memory only, because the disk refused them.
    rows_dropped : int
        Given up because too many waited for the disk.
    rows_removed : int
        Durable once, then removed by another's hand before their bucket ended.
    save_failures, finalise_failures : int
    wal_bytes : int
        Written to write-ahead files.
    files, file_bytes, file_rows : int
        Finished Parquet files (a file merged twice counts twice).
    last_error : str
        The system's words at the last failure; empty once a save succeeded again.
    """

    rows_saved: int = 0
    rows_unsaved: int = 0
    bytes_unsaved: int = 0
    rows_dropped: int = 0
    rows_removed: int = 0
    save_failures: int = 0
    finalise_failures: int = 0
    wal_bytes: int = 0
    files: int = 0
    file_bytes: int = 0
    file_rows: int = 0
    last_error: str = ""


@dataclass(slots=True)
class _Ended:
    """A bucket that takes no more rows and waits to become Parquet."""

    wals: list[Path] = field(default_factory=list)
    retry_ms: int = 0


class TableWriter:
    """Writes one table of one venue and shard; the caller holds the lock.

    ``token`` may be set before the first row is added.

    ``add`` and ``save`` belong to one thread at a time, ``finalise`` may run beside them in another.

    Parameters
    ----------
    paths : LakePaths
    table : TableSpec
    venue : str
    bucket_s : int
        Bucket length, seconds.
    level : int
        zstd level of finished files.
    origin : str
    shard : Shard
    ops : FileOps, optional
        A failing disk in tests.
    unsaved_limit : int
        Bytes kept in memory while the disk refuses.
    token : int
        Fencing token of our lease: once a newer owner has taken over, nothing is written any more. 0: no leases.
    """

    def __init__(
        self,
        paths: LakePaths,
        table: TableSpec,
        venue: str,
        *,
        bucket_s: int,
        level: int,
        origin: str,
        shard: Shard = (0, 1),
        ops: FileOps | None = None,
        unsaved_limit: int = UNSAVED_BYTES_LIMIT,
        token: int = 0,
    ) -> None:
        self.token = token
        self._paths, self._table, self._venue, self._shard = paths, table, venue, shard
        self._bucket_s, self._level, self._origin = bucket_s, level, origin
        self._ops = ops or FileOps()
        self._limit = unsaved_limit
        self._open: dict[int, Wal] = {}
        self._ended: dict[int, _Ended] = {}
        self._guard = threading.Lock()
        self._number = 0
        self._alerted_ms = -ALERT_MS
        self._lost_ms: tuple[int, int] | None = None
        self.counters = TableCounters()

    @property
    def name(self) -> str:
        """The table's name."""
        return self._table.name

    # -- rows in ------------------------------------------------------------------------------------

    def add(self, batch: pa.RecordBatch, *, tallies: Mapping[str, int] | None = None, now_ms: int = 0) -> None:
        """Take rows in; each goes to the bucket of its own time, however old.

        Parameters
        ----------
        batch : pyarrow.RecordBatch
            In the table's schema.
        tallies : mapping, optional
            Counts (such as ``gaps``) kept with the bucket of ``now_ms``, even when there is no row.
        now_ms : int
        """
        counted = bucket_of(now_ms, self._bucket_s).start_ms if tallies else None
        starts = numbers(batch.column(self._table.time_column))
        starts = starts - starts % (self._bucket_s * 1000)
        found: set[int] = set(np.unique(starts).tolist())
        for start in sorted(found if counted is None else found | {counted}):
            part = batch if found == {start} else batch.filter(mask(starts == start))
            self._add_part(start, part, tallies if start == counted else None)
        self._bound()

    def _add_part(self, start: int, part: pa.RecordBatch, tallies: Mapping[str, int] | None) -> None:
        with self._guard:
            wal = self._open.get(start)
            if wal is None:
                wal_id = new_wal_id()
                bucket = Bucket(start, self._bucket_s)
                path = self._paths.wal_file(self._table.place, self._venue, bucket, self._shard, wal_id)
                wal = self._open[start] = Wal(
                    path, wal_id, self._table.schema, bucket_s=self._bucket_s, token=self.token
                )
        self._number += 1
        times = numbers(part.column(self._table.time_column))
        span_ms = (int(times.min()), int(times.max())) if part.num_rows else (start, start)
        self.counters.bytes_unsaved += wal.add(part, number=self._number, tallies=tallies, span_ms=span_ms)
        self.counters.rows_unsaved += part.num_rows

    def _bound(self) -> None:
        """Give up the oldest unsaved rows past the limit; what came last is worth most."""
        while self.counters.bytes_unsaved > self._limit:
            waiting = {number: wal for wal in self._open.values() if (number := wal.oldest_unsaved) is not None}
            oldest = min(waiting, default=self._number)
            if oldest == self._number:
                return  # the newest batch is never given up
            n_rows, n_bytes, span_ms = waiting[oldest].drop_oldest()
            self._lose(*span_ms)
            self.counters.rows_dropped += n_rows
            self.counters.rows_unsaved -= n_rows
            self.counters.bytes_unsaved -= n_bytes
            log.error(
                "storage.rows_dropped",
                table=self._table.name,
                venue=self._venue,
                rows=n_rows,
                rows_dropped=self.counters.rows_dropped,
                reason=self.counters.last_error,
            )

    def _lose(self, first_ms: int, last_ms: int) -> None:
        known = self._lost_ms or (first_ms, last_ms)
        self._lost_ms = min(first_ms, known[0]), max(last_ms, known[1])

    def take_lost_ms(self) -> tuple[int, int] | None:
        """From when to when rows were given up, or removed by another's hand, since the last call."""
        lost, self._lost_ms = self._lost_ms, None
        return lost

    @property
    def unsaved_since_ms(self) -> int | None:
        """Time of the oldest row that is in memory only, or None."""
        waiting = [ms for wal in self._open.values() if (ms := wal.unsaved_since_ms) is not None]
        return min(waiting, default=None)

    def newest_row_ms(self, shard: Shard) -> int | None:
        """Time of a shard's newest row on disk; None where there is none.

        Raises
        ------
        OSError
            If the folder cannot be read.
        """
        place = self._table.place
        for date in reversed(self._paths.days(place, self._venue)):
            listed = read_manifest(self._paths.manifest(place, self._venue, date, shard))
            newest = [line.last_ts for line in listed.values() if line.rows]
            # What a full disk kept from becoming Parquet.
            for hour in self._paths.hours(place, self._venue, date):
                for wal in self._paths.wal_files(place, self._venue, date, hour):
                    if wal.shard != shard:
                        continue
                    batches = [batch for batch in read_wal(wal.path).batches if batch.num_rows]
                    newest += [int(numbers(batch.column(self._table.time_column)).max()) for batch in batches]
            if newest:
                return max(newest)
        return None

    def newest_left(self, column: str) -> dict[Shard, int]:
        """Greatest value of a column in each shard's write-ahead files: before :meth:`recover`, what runs that died wrote last.

        A run that ended cleanly leaves none, so that nothing of a run under another time (the clock was set back) is in
        them; finished files hold rows of both.

        Raises
        ------
        OSError
            If the folder cannot be read.
        """
        place = self._table.place
        found: dict[Shard, int] = {}
        for date in self._paths.days(place, self._venue):
            for hour in self._paths.hours(place, self._venue, date):
                for wal in self._paths.wal_files(place, self._venue, date, hour):
                    try:
                        batches = read_wal(wal.path).batches
                    except FileNotFoundError:
                        continue  # another shard's, finished meanwhile
                    for batch in batches:
                        if batch.num_rows:
                            found[wal.shard] = max(int(numbers(batch.column(column)).max()), found.get(wal.shard, 0))
        return found

    # -- durable ------------------------------------------------------------------------------------

    def save(self, *, now_ms: int) -> bool:
        """Make everything added durable; False when the disk refused some of it (it is kept)."""
        counters = self.counters
        refused: OSError | None = None
        for start, wal in list(self._open.items()):
            before, acknowledged = wal.length, wal.rows
            try:
                if wal.oldest_unsaved is not None and self._superseded():
                    raise OSError("another collector has taken this shard over")  # noqa: TRY301 - as if the disk said so
                saved = wal.save(self._ops)
            except FileShortened as exc:
                counters.rows_removed += acknowledged
                self._lose(start, min(now_ms, start + self._bucket_s * 1000))
                log.error("storage.rows_removed", path=str(wal.path), rows=acknowledged, reason=str(exc))  # noqa: TRY400
                refused = exc
            except OSError as exc:
                refused = exc
            else:
                counters.rows_saved += saved
                counters.rows_unsaved -= saved
                counters.wal_bytes += wal.length - before
        counters.bytes_unsaved = sum(wal.unsaved_bytes for wal in self._open.values())
        if refused is None:
            if counters.last_error:
                log.info("storage.recovered", table=self._table.name, venue=self._venue)
            counters.last_error = ""
            self._alerted_ms = -ALERT_MS
            return True
        counters.save_failures += 1
        counters.last_error = str(refused)
        if now_ms - self._alerted_ms >= ALERT_MS or now_ms < self._alerted_ms:
            self._alerted_ms = now_ms
            log.error(
                "storage.flush_failed",
                table=self._table.name,
                venue=self._venue,
                rows_in_memory=counters.rows_unsaved,
                bytes_in_memory=counters.bytes_unsaved,
                reason=str(refused),
                remedy="free disk space or mend the folder's rights; rows are kept and written then",
            )
        return False

    def _superseded(self) -> bool:
        return is_superseded(self._paths, self._venue, self._shard, self.token)

    # -- files --------------------------------------------------------------------------------------

    def recover(self, *, now_ms: int) -> int:
        """Finish what an earlier run left: its write-ahead files and half-written temporary files.

        Those of other shards that nobody runs any more are finished too.

        What cannot be finished now (a full disk) stays and is tried again.

        Returns
        -------
        int
            Write-ahead files found.
        """
        place = self._table.place
        found: dict[tuple[Shard, int], list[Path]] = {}
        for date in self._paths.days(place, self._venue):
            for hour in self._paths.hours(place, self._venue, date):
                folder = self._paths.hour(place, self._venue, date, hour)
                for temporary in folder.glob(f".{place.prefix}_*.parquet.tmp"):
                    named = parse_bucket_name(temporary.name.removeprefix(".").removesuffix(".tmp"))
                    if named and (named[1] or (0, 1)) == self._shard:
                        self._ops.remove(temporary)
                for wal in self._paths.wal_files(place, self._venue, date, hour):
                    found.setdefault((wal.shard, wal.start_ms), []).append(wal.path)
        for (shard, start), wals in sorted(found.items()):
            bucket = Bucket(start, self._bucket_s)
            if shard == self._shard:
                self._ended.setdefault(start, _Ended()).wals.extend(wals)
                self.finalise(bucket, now_ms=now_ms)
                continue
            try:
                with CollectorLock(self._paths, self._venue, shard, borrowed=True):
                    self._finalise(bucket, shard, wals, now_ms)
            except LakeLocked:
                continue  # that shard's own process is at work
            except (OSError, pa.ArrowException, StorageError) as exc:
                log.warning("storage.left_wal", venue=self._venue, shard=shard, bucket=bucket.stamp, reason=str(exc))
        if found:
            log.info(
                "storage.recovered_run",
                table=self._table.name,
                venue=self._venue,
                wals=sum(map(len, found.values())),
                files=self.counters.files,
                rows=self.counters.file_rows,
            )
        return sum(map(len, found.values()))

    def end(self, now_ms: int | None) -> list[Bucket]:
        """Buckets that are over and wholly durable, to be given to :meth:`finalise`.

        Parameters
        ----------
        now_ms : int or None
            None ends every bucket (a clean stop). A bucket that lies ahead (the clock was set back)
            stays open until the clock comes to its end.
        """
        with self._guard:
            for start, wal in list(self._open.items()):
                over = now_ms is None or now_ms >= start + self._bucket_s * 1000
                if over and wal.oldest_unsaved is None:
                    del self._open[start]
                    self._ended.setdefault(start, _Ended()).wals.append(wal.path)
            return [
                Bucket(start, self._bucket_s)
                for start, ended in sorted(self._ended.items())
                if now_ms is None or now_ms >= ended.retry_ms or ended.retry_ms - now_ms > RETRY_MS
            ]

    def finalise(self, bucket: Bucket, *, now_ms: int) -> ManifestLine | None:
        """Turn an ended bucket into its Parquet file; a failure is counted, reported and tried again later."""
        with self._guard:
            ended = self._ended.pop(bucket.start_ms, None)
        if ended is None:
            return None
        try:
            return self._finalise(bucket, self._shard, ended.wals, now_ms)
        except (OSError, pa.ArrowException, StorageError) as exc:
            self.counters.finalise_failures += 1
            log.error(  # noqa: TRY400 - the system's words say it; no trace is needed
                "storage.finalise_failed",
                table=self._table.name,
                venue=self._venue,
                bucket=bucket.stamp,
                reason=str(exc),
                remedy="its rows are safe in the write-ahead file; it is tried again",
            )
            with self._guard:
                again = self._ended.setdefault(bucket.start_ms, _Ended())
                again.wals += ended.wals
                again.retry_ms = now_ms + RETRY_MS
            return None

    def _finalise(self, bucket: Bucket, shard: Shard, wals: list[Path], now_ms: int) -> ManifestLine | None:
        with publishing(self._paths, self._venue, shard, self.token if shard == self._shard else 0):
            line = finalise_bucket(
                self._paths,
                self._table,
                self._venue,
                bucket,
                shard,
                wals,
                level=self._level,
                origin=self._origin,
                now_ms=now_ms,
                ops=self._ops,
            )
        if line is not None:
            self.counters.files += 1
            self.counters.file_bytes += line.bytes
            self.counters.file_rows += line.rows
            log.info(
                "storage.file_written",
                table=self._table.name,
                venue=self._venue,
                file=line.file,
                rows=line.rows,
                bytes=line.bytes,
                bytes_per_row=round(line.bytes / line.rows, 1),
            )
        return line
