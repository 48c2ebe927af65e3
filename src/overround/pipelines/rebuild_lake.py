"""Snapshot rows and trades written again from the journal, for instance after a parser was mended."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import structlog

from overround.clock import Clock
from overround.collector.runs import JournalRun, Replayed, replay_run
from overround.errors import NothingStored, StorageError, UsageError
from overround.market import Origin, Trade, Venue
from overround.pipelines.prove import Span, UnprovedStretch, counted, prove_day, runs_of
from overround.storage.buffer import rows_of
from overround.storage.fileops import FileOps
from overround.storage.lock import CollectorLock
from overround.storage.manifest import append_line, read_manifests
from overround.storage.origin import claim_origin, read_origin
from overround.storage.paths import SNAPSHOTS, LakePaths, Shard
from overround.storage.schema import SNAPSHOT_TABLE, TableSpec
from overround.storage.table_writer import TableWriter
from overround.storage.trades import TRADE_TABLE, trade_batch
from overround.timebucket import Bucket, parse_bucket_name

__all__ = ["RebuildResult", "rebuild_lake"]

log = structlog.get_logger()

TAIL_MS = 5_000
STAGING = ".rebuild"
TABLES = (SNAPSHOT_TABLE, TRADE_TABLE)


class RebuildResult(msgspec.Struct, kw_only=True):
    """What was written.

    Attributes
    ----------
    venue, date : str
    folder : str
        The data folder that holds the rebuilt files.
    files, rows, frames, runs : int
        Files and rows of snapshots.
    trade_files, trades : int
    kept : list of str
        In place only: files left as they are, because not all of their time can be rebuilt.
    holes : list of UnprovedStretch
        Stretches that the journal does not give.
    seconds : float
    notes : list of str
    """

    venue: str
    date: str
    folder: str
    files: int = 0
    rows: int = 0
    frames: int = 0
    runs: int = 0
    kept: list[str] = msgspec.field(default_factory=list)
    holes: list[UnprovedStretch] = msgspec.field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = msgspec.field(default_factory=list)
    trade_files: int = 0
    trades: int = 0

    @property
    def exit_code(self) -> int:
        """3 where a stretch could not be rebuilt or a file was left as it is, else 0."""
        return 3 if self.holes or self.kept else 0


def rebuild_lake(
    paths: LakePaths,
    venue: Venue,
    span: Span,
    *,
    out: Path | None,
    overwrite: bool = False,
    level: int,
    clock: Clock,
    on_progress: Callable[[int, int], None] | None = None,
) -> RebuildResult:
    """Write a day's files of snapshots and trades, or those of some of its hours, again from the journal.

    Parameters
    ----------
    paths : LakePaths
        The lake that holds the journal.
    venue : Venue
    span : Span
    out : Path or None
        Data folder to write into; None writes into the lake itself, one finished file after the other.
    overwrite : bool
        Replace files of the span that ``out`` holds already.
    level : int
        zstd level of the files.
    clock : Clock
    on_progress : callable, optional
        ``on_progress(done, total)`` journal files; in place twice, since what cannot be proved is left alone.

    Raises
    ------
    NothingStored
        If there is no journal of the span.
    UsageError
        If ``out`` holds files of the span already, or is the lake itself.
    LakeLocked
        If the lake is being recorded into and would be written in place.
    OriginMismatch
        If ``out`` holds rows of the other origin.
    """
    started = time.perf_counter()
    if out is not None and out.resolve() == paths.root.resolve():
        raise UsageError(f"{out} is the lake itself", hint="name another folder, or say --in-place")
    runs = runs_of(paths, str(venue), span)
    if not runs:
        raise NothingStored(
            f"no journal of {venue} {span.text} under {paths.root}",
            hint="was it switched off (`journal = false`) or removed? `overround lake ls` lists what there is",
        )
    origin = read_origin(paths) or Origin.LIVE
    if out is not None:
        target = LakePaths(out)
        _make_room(target, str(venue), span, overwrite=overwrite)
        claim_origin(target, origin)
        result = _write(paths, target, venue, span, runs, origin, level=level, clock=clock, on_progress=on_progress)
    else:
        locks = [CollectorLock(paths, str(venue), shard) for shard in sorted({run.shard for run in runs})]
        try:
            for lock in locks:
                lock.acquire()
            result = _write_in_place(
                paths, venue, span, runs, origin, level=level, clock=clock, on_progress=on_progress
            )
        finally:
            for lock in locks:
                lock.release()
    result.seconds = time.perf_counter() - started
    return result


def _make_room(target: LakePaths, venue: str, span: Span, *, overwrite: bool) -> None:
    held = _files_of(target, venue, span)
    if held and not overwrite:
        raise UsageError(
            f"{target.root} holds {len(held)} files of {venue} on {span.date} already",
            hint="name an empty folder, or say --overwrite",
        )
    for path in held:
        path.unlink()


def _files_of(paths: LakePaths, venue: str, span: Span) -> list[Path]:
    return [
        path
        for table in TABLES
        for hour in paths.hours(table.place, venue, span.date)
        if int(hour) in span.hours
        for path in paths.bucket_files(table.place, venue, span.date, hour)
    ]


def _write_in_place(
    paths: LakePaths,
    venue: Venue,
    span: Span,
    runs: list[JournalRun],
    origin: Origin,
    *,
    level: int,
    clock: Clock,
    on_progress: Callable[[int, int], None] | None,
) -> RebuildResult:
    """Build everything aside, then put one whole file after the other in its place.

    A crash leaves every file either old or new; at worst one is new and not in the manifest yet, which the same
    command mends.
    """
    for shard in sorted({run.shard for run in runs}):
        # Rows that a crash left in write-ahead files belong to the files that are about to be replaced.
        for table in TABLES:
            writer = TableWriter(
                paths, table, str(venue), bucket_s=_bucket_s(paths, venue, span), level=level,
                origin=origin.value, shard=shard,
            )  # fmt: skip
            writer.recover(now_ms=clock.now_ms())
    # What the journal cannot give must not be lost: files with such rows, or with holes, stay.
    unproved = prove_day(paths, venue, span, on_progress=on_progress).unproved
    staging = LakePaths(paths.root / STAGING)
    shutil.rmtree(staging.root, ignore_errors=True)
    try:
        result = _write(paths, staging, venue, span, runs, origin, level=level, clock=clock, on_progress=on_progress)
        result.folder = str(paths.root)
        result.files, result.rows = _publish(paths, staging, venue, span, SNAPSHOT_TABLE, unproved, result.kept)
        result.trade_files, result.trades = _publish(paths, staging, venue, span, TRADE_TABLE, unproved, result.kept)
        # Of these the journal gave not a row.
        days = [staging.manifests(table.place, str(venue), span.date) for table in TABLES]
        names = {f"{path.parent.name}/{path.name}" for path in _files_of(paths, str(venue), span)}
        result.kept = sorted({*result.kept, *names.difference(*map(read_manifests, days))})
        result.holes = unproved
    finally:
        shutil.rmtree(staging.root, ignore_errors=True)
    log.info("lake.rebuilt", venue=venue, date=span.date, files=result.files, kept=len(result.kept))
    return result


def _publish(
    paths: LakePaths,
    staging: LakePaths,
    venue: Venue,
    span: Span,
    table: TableSpec,
    unproved: Sequence[UnprovedStretch],
    kept: list[str],
) -> tuple[int, int]:
    """Put a table's files in their places; those that ``unproved`` touches stay. Returns files and rows."""
    ops, place = FileOps(), table.place
    files = rows = 0
    for name, line in sorted(read_manifests(staging.manifests(place, str(venue), span.date)).items()):
        built = staging.day(place, str(venue), span.date) / name
        named = parse_bucket_name(built.name)
        final = paths.day(place, str(venue), span.date) / name
        if named is None:
            continue
        start_ms, shard = named[0], named[1] or (0, 1)
        end_ms = start_ms + line.bucket_s * 1000
        if final.exists() and any(each.from_ms < end_ms and each.to_ms >= start_ms for each in unproved):
            kept.append(name)
            continue
        final.parent.mkdir(parents=True, exist_ok=True)
        ops.publish(built, final)
        append_line(ops, paths.manifest(place, str(venue), span.date, shard), line)
        files += 1
        rows += line.rows
    return files, rows


def _bucket_s(paths: LakePaths, venue: Venue, span: Span) -> int:
    lines = read_manifests(paths.manifests(SNAPSHOTS, str(venue), span.date)).values()
    return max((line.bucket_s for line in lines), default=0) or 300


def _write(
    source: LakePaths,
    target: LakePaths,
    venue: Venue,
    span: Span,
    runs: list[JournalRun],
    origin: Origin,
    *,
    level: int,
    clock: Clock,
    on_progress: Callable[[int, int], None] | None,
) -> RebuildResult:
    """Replay the runs and write their rows as the collector's writer does."""
    result = RebuildResult(venue=str(venue), date=span.date, folder=str(target.root))
    day = source.day(SNAPSHOTS, str(venue), span.date)
    gaps = {
        (day / name).name: line.gaps
        for name, line in read_manifests(source.manifests(SNAPSHOTS, str(venue), span.date)).items()
    }
    count = counted(runs, on_progress)
    for run in runs:
        replayed = Replayed(run_id=run.run_id, shard=run.shard)
        files = _Files(target, str(venue), run.shard, origin, level, clock, gaps)
        trades = _TradeFiles(target, venue, run.shard, origin, level, clock, span, replayed)
        for cut in replay_run(run, replayed, until_ms=span.to_ms + TAIL_MS, on_part=count, on_trades=trades.add):
            settings = replayed.settings
            assert settings is not None
            batch = rows_of(cut, venue=str(venue), top_k=settings.top_k)
            if span.holds(batch.column("ts_recv")[0].as_py()):
                files.add(batch, settings.bucket_s)
        files.close()
        trades.close()
        result.files += files.n_files
        result.rows += files.n_rows
        result.trade_files += trades.n_files
        result.trades += trades.n_rows
        result.frames += replayed.frames
        result.runs += 1
        if replayed.diverged:
            result.notes.append(f"run {run.run_id}: {replayed.diverged}")
        result.holes += [
            UnprovedStretch(from_ms=hole.from_ms, to_ms=hole.to_ms, rows=0, why=hole.why)
            for hole in replayed.holes
            if hole.to_ms >= span.from_ms and hole.from_ms < span.to_ms
        ]
    count(None)
    return result


class _Files:
    """One run's rows on their way into bucket files; a bucket is finished when the next begins."""

    def __init__(
        self, paths: LakePaths, venue: str, shard: Shard, origin: Origin, level: int, clock: Clock, gaps: dict[str, int]
    ) -> None:
        self._paths, self._venue, self._shard = paths, venue, shard
        self._origin, self._level, self._clock, self._gaps = origin, level, clock, gaps
        self._writer: TableWriter | None = None
        self._bucket: Bucket | None = None
        self.n_files = self.n_rows = 0

    def add(self, batch: pa.RecordBatch, bucket_s: int) -> None:
        """Take rows of one bucket."""
        length_ms = bucket_s * 1000
        bucket = Bucket(batch.column("ts_recv")[0].as_py() // length_ms * length_ms, bucket_s)
        tallies = None
        if bucket != self._bucket:
            self.close()
            self._bucket = bucket
            name = self._paths.bucket_file(SNAPSHOTS, self._venue, bucket, self._shard).name
            # How many gaps began meanwhile was counted once, when it was recorded.
            tallies = {"gaps": n} if (n := self._gaps.pop(name, 0)) else None
        if self._writer is None:
            self._writer = TableWriter(
                self._paths,
                SNAPSHOT_TABLE,
                self._venue,
                bucket_s=bucket_s,
                level=self._level,
                origin=self._origin.value,
                shard=self._shard,
            )
        self._writer.add(batch, tallies=tallies, now_ms=bucket.start_ms)
        _save(self._writer, self._paths, self._clock)

    def close(self) -> None:
        """Turn what was taken into finished files."""
        writer, self._writer = self._writer, None
        if writer is not None:
            _save(writer, self._paths, self._clock)
            self.n_files += _finish(writer, self._clock)
            self.n_rows += writer.counters.rows_saved


class _TradeFiles:
    """One run's trades on their way into bucket files, which are finished at the end: a trade may come late."""

    def __init__(
        self,
        paths: LakePaths,
        venue: Venue,
        shard: Shard,
        origin: Origin,
        level: int,
        clock: Clock,
        span: Span,
        replayed: Replayed,
    ) -> None:
        self._paths, self._venue, self._shard, self._origin = paths, str(venue), shard, origin
        self._level, self._clock, self._span, self._replayed = level, clock, span, replayed
        self._writer: TableWriter | None = None
        self.n_files = self.n_rows = 0

    def add(self, trades: list[Trade]) -> None:
        """Take those of the span."""
        mine = [trade for trade in trades if self._span.holds(trade.ts_recv_ns // 1_000_000)]
        settings = self._replayed.settings
        if not mine or settings is None:
            return
        if self._writer is None:
            self._writer = TableWriter(
                self._paths,
                TRADE_TABLE,
                self._venue,
                bucket_s=settings.bucket_s,
                level=self._level,
                origin=self._origin.value,
                shard=self._shard,
            )
        self._writer.add(trade_batch(mine, self._venue))
        _save(self._writer, self._paths, self._clock)

    def close(self) -> None:
        """Turn what was taken into finished files."""
        if self._writer is not None:
            self.n_files = _finish(self._writer, self._clock)
            self.n_rows = self._writer.counters.rows_saved


def _save(writer: TableWriter, paths: LakePaths, clock: Clock) -> None:
    if not writer.save(now_ms=clock.now_ms()):
        raise StorageError(f"{paths.root} cannot be written: {writer.counters.last_error}")


def _finish(writer: TableWriter, clock: Clock) -> int:
    """Finish every bucket; returns how many."""
    buckets = writer.end(None)
    for bucket in buckets:
        if writer.finalise(bucket, now_ms=clock.now_ms()) is None:
            raise StorageError(f"bucket {bucket.stamp} cannot be written: see the log")
    return len(buckets)
