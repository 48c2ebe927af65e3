"""Many small files made the few that the lake is meant to have, without changing a row (``overround lake compact``).

What counts as small: a file of a table's hour whose name is no bucket's (another program wrote it), and buckets shorter
than today's; those of an hour whose journal is there are left, because it proves them bucket by bucket. Their rows go
into the bucket files they belong to. The order of steps makes it safe to die at any instant: temporary file, read back
and compared, rename, manifest, removal of the small files. A bucket's file names what it took in, so that a small file
that is found again after a crash is removed and not taken twice.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from overround.errors import UNREADABLE, FileDamaged, StorageError
from overround.pipelines.retain import is_open, waiting_rows
from overround.storage import DayFolder, LakePaths, Shard, TableSpec, read_origin
from overround.storage.bucket import (
    WRITER,
    FileMeta,
    conformed,
    describe_file,
    file_meta_of,
    refused_by_system,
    sort_order,
    write_table,
)
from overround.storage.columns import column, numbers
from overround.storage.compare import differences
from overround.storage.fileops import FileOps
from overround.storage.manifest import ManifestLine, read_manifest
from overround.storage.schema import SNAPSHOT_TABLE
from overround.storage.sums import leave_sums
from overround.storage.trades import TRADE_TABLE
from overround.timebucket import Bucket, bucket_of, day_start_ms, parse_bucket_name

__all__ = ["Compaction", "compact_lake"]

log = structlog.get_logger()

TABLES: tuple[TableSpec, ...] = (SNAPSHOT_TABLE, TRADE_TABLE)


@dataclass(kw_only=True)
class Compaction:
    """What :func:`compact_lake` found and did.

    Attributes
    ----------
    applied : bool
        False: nothing was touched.
    before, after : int
        Files that were too many, and those that hold their rows now (or would).
    rows : int
    proved : int
        Short buckets that are left because the journal of their hour proves them bucket by bucket.
    problems : list of str
        Files that were left as they are, and why.
    """

    applied: bool
    before: int = 0
    after: int = 0
    rows: int = 0
    proved: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 3 where a file was left."""
        return 3 if self.problems else 0


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A file of one hour, read."""

    path: Path
    id: str
    meta: FileMeta | None
    rows: pa.Table
    shard: Shard

    @property
    def ids(self) -> tuple[str, ...]:
        return (*(self.meta.wals if self.meta else ()), self.id)


def compact_lake(
    paths: LakePaths,
    *,
    bucket_s: int,
    level: int,
    now_ms: int,
    apply: bool,
    venue: str | None = None,
    date: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    ops: FileOps | None = None,
) -> Compaction:
    """Bring small files of snapshots and trades into their buckets, or say which there are.

    Parameters
    ----------
    paths : LakePaths
    bucket_s : int
        Seconds per file; longer buckets are left.
    level : int
        zstd level.
    now_ms : int
        A day is left alone until an hour after its end.
    apply : bool
        False: only say.
    venue, date : str, optional
        Only these.
    on_progress : callable, optional
        ``on_progress(done, total)`` days.
    ops : FileOps, optional

    Raises
    ------
    StorageError
        If the disk refuses; everything is as before, or so that a repetition completes it.
    """
    done = Compaction(applied=apply)
    days = [
        (table, folder)
        for table in TABLES
        for folder in paths.day_folders(venue)
        if folder.table == table.place.folder and date in (None, folder.date) and not is_open(folder, now_ms=now_ms)
    ]
    for n, (table, folder) in enumerate(days):
        if on_progress is not None:
            on_progress(n, len(days))
        for hour in paths.hours(table.place, folder.venue, folder.date):
            foreign, short = _small_files(paths.hour(table.place, folder.venue, folder.date, hour), table, bucket_s)
            if short and paths.journal_files(folder.venue, folder.date, hour):
                done.proved += len(short)
                short = []
            small = sorted(foreign + short)
            if not small:
                continue
            waiting = waiting_rows(folder)
            if waiting:
                done.problems.append(f"{folder.key}: {waiting}")
                break
            try:
                _compact_hour(
                    paths, table, folder, hour, small, done,
                    bucket_s=bucket_s, level=level, now_ms=now_ms, apply=apply, ops=ops or FileOps(),
                )  # fmt: skip
            except OSError as exc:
                raise StorageError(
                    f"{folder.path}: {exc.strerror or exc}",
                    hint="free space or mend the folder's rights, and run it again",
                ) from exc
    if on_progress is not None:
        on_progress(len(days), len(days))
    return done


def _small_files(folder: Path, table: TableSpec, bucket_s: int) -> tuple[list[Path], list[Path]]:
    """Files whose names are no bucket's or that are damaged, and those of shorter buckets."""
    foreign, short = [], []
    for path in folder.glob("*.parquet"):
        try:
            with path.open("rb") as file:
                meta = file_meta_of(pq.read_metadata(file))
        except (pa.ArrowException, OSError) as exc:
            if refused_by_system(exc):
                raise
            foreign.append(path)  # named as damaged when it is read
            continue
        if _bucket_name(path, table) is None:
            foreign.append(path)
        elif meta is not None and 0 < meta.bucket_s < bucket_s:
            short.append(path)
    return foreign, short


def _read(path: Path, table: TableSpec, folder: DayFolder, hour: str, bucket_s: int) -> _Source:
    """A file whose rows belong where it lies; ``FileDamaged`` where they do not."""
    data = path.read_bytes()
    try:
        meta = file_meta_of(pq.read_metadata(io.BytesIO(data)))
        rows = conformed(pq.read_table(io.BytesIO(data), use_threads=False), table, keep_all=True)
    except FileDamaged:
        raise
    except (pa.ArrowException, OSError, *UNREADABLE) as exc:
        raise FileDamaged(f"it is no readable Parquet file: {str(exc).splitlines()[0]}") from exc
    others = set(map(str, rows.column("venue").unique().to_pylist())) - {folder.venue}
    if others:
        raise FileDamaged(f"it holds rows of {', '.join(sorted(others))}")
    named = _bucket_name(path, table)
    start_ms = day_start_ms(folder.date) + int(hour) * 3_600_000
    within = (
        Bucket(start_ms, 3600) if named is None else bucket_of(named[0], max(bucket_s, meta.bucket_s if meta else 0))
    )
    times = numbers(rows.column(table.time_column).combine_chunks())
    outside = int(np.count_nonzero((times < within.start_ms) | (times >= within.end_ms)))
    if outside:
        raise FileDamaged(f"{outside} rows are of another time")
    shard = named[1] if named is not None else None
    return _Source(path=path, id=hashlib.sha256(data).hexdigest()[:16], meta=meta, rows=rows, shard=shard or (0, 1))


def _bucket_name(path: Path, table: TableSpec) -> tuple[int, Shard | None] | None:
    return parse_bucket_name(path.name) if path.name.startswith(f"{table.place.prefix}_") else None


def _compact_hour(
    paths: LakePaths,
    table: TableSpec,
    folder: DayFolder,
    hour: str,
    small: list[Path],
    done: Compaction,
    *,
    bucket_s: int,
    level: int,
    now_ms: int,
    apply: bool,
    ops: FileOps,
) -> None:
    sources = []
    for path in small:
        try:
            sources.append(_read(path, table, folder, hour, bucket_s))
        except FileDamaged as exc:
            done.problems.append(f"{path.relative_to(paths.root).as_posix()}: {exc}")
    targets: dict[Path, list[tuple[_Source, pa.Table]]] = {}
    for source in sources:
        for bucket, rows in _by_bucket(source.rows, table, bucket_s):
            target = paths.bucket_file(table.place, folder.venue, bucket, source.shard)
            targets.setdefault(target, []).append((source, rows))
    # A short bucket that is alone in its longer one, at its beginning, keeps its file.
    targets = {target: parts for target, parts in targets.items() if any(source.path != target for source, _ in parts)}
    at_target = {source.path: source for source in sources}
    try:
        held = {
            target: at_target.get(target) or _read(target, table, folder, hour, bucket_s)
            for target in targets
            if target.exists()
        }
    except FileDamaged as exc:
        done.problems.append(f"{folder.key}/hour={hour}: a bucket's file cannot be added to: {exc}")
        return
    moving = {source.path: source for parts in targets.values() for source, _ in parts}
    done.before += len(moving.keys() | held.keys())
    done.after += len(targets)
    done.rows += sum(source.rows.num_rows for source in moving.values())
    if not apply:
        return
    gone = [path for path in moving if path not in targets]
    origin = str(read_origin(paths) or "")
    for target, parts in targets.items():
        at = held.get(target)
        known = set(at.meta.wals) if at is not None and at.meta is not None else set()
        new = [(source, rows) for source, rows in parts if source.path != target and source.id not in known]
        line = _write(
            paths, table, folder, target, at, new, bucket_s=bucket_s, level=level, now_ms=now_ms, origin=origin, ops=ops
        )
        _set_lines(paths, table, folder, target, line, gone, ops)
        log.info(
            "compact.file_written",
            table=table.name,
            venue=folder.venue,
            file=line.file,
            rows=line.rows,
            from_files=len(new),
        )
    for path in gone:
        ops.remove(path)


def _by_bucket(rows: pa.Table, table: TableSpec, bucket_s: int) -> Iterator[tuple[Bucket, pa.Table]]:
    times = numbers(rows.column(table.time_column).combine_chunks())
    starts = times - times % (bucket_s * 1000)
    for start in np.unique(starts):
        yield Bucket(int(start), bucket_s), rows.take(column(np.flatnonzero(starts == start)))


def _write(
    paths: LakePaths,
    table: TableSpec,
    folder: DayFolder,
    target: Path,
    held: _Source | None,
    parts: list[tuple[_Source, pa.Table]],
    *,
    bucket_s: int,
    level: int,
    now_ms: int,
    origin: str,
    ops: FileOps,
) -> ManifestLine:
    """The bucket's file with all rows, under its name; its line for the manifest."""
    metas = [
        source.meta for source in ([held] if held else []) + [source for source, _ in parts] if source.meta is not None
    ]
    meta = FileMeta(
        table=table.name,
        schema_version=table.version,
        writer=WRITER,
        origin=origin,
        bucket_s=max([bucket_s, *(each.bucket_s for each in metas)]),
        gaps=sum(each.gaps for each in metas),
        wals=(*(held.meta.wals if held and held.meta else ()), *(each for source, _ in parts for each in source.ids)),
    )
    rows = pa.concat_tables([*([held.rows] if held else []), *(rows for _, rows in parts)]).combine_chunks()
    rows = rows.take(column(sort_order(rows, table.sort_key)))
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with ops.create(temporary) as file:
            write_table(file, rows, table, level=level, meta=meta)
            file.flush()
            ops.sync(file.fileno())
        back = pq.read_table(temporary, use_threads=False)
        differs = (
            next(differences(rows, conformed(back, table)), None)
            if back.num_rows == rows.num_rows
            else "the number of rows"
        )
        if differs is not None:
            raise StorageError(
                f"{temporary} does not read back as written: {differs}", hint="check the disk; nothing was replaced"
            )
        ops.publish(temporary, target)
    finally:
        ops.remove(temporary)
    line = describe_file(target, target.read_bytes(), table, day=folder.path, meta=meta, now_ms=now_ms)
    if table.summed:
        named = parse_bucket_name(target.name)
        sums = paths.sums(table.place, folder.venue, folder.date, (named[1] if named else None) or (0, 1))
        leave_sums(ops, sums, rows, target=target, day=folder.path, sha256=line.sha256)
    return line


def _set_lines(
    paths: LakePaths,
    table: TableSpec,
    folder: DayFolder,
    target: Path,
    line: ManifestLine,
    gone: list[Path],
    ops: FileOps,
) -> None:
    """The manifest with the new file's line and without those of the files that go; the day is over, nobody appends."""
    named = parse_bucket_name(target.name)
    path = paths.manifest(table.place, folder.venue, folder.date, (named[1] if named else None) or (0, 1))
    lines = read_manifest(path)
    for each in gone:
        lines.pop(each.relative_to(folder.path).as_posix(), None)
    lines[line.file] = line
    ops.write_whole(path, b"".join(msgspec.json.encode(lines[name]) + b"\n" for name in sorted(lines)))
