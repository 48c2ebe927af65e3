"""A bucket's end: its write-ahead files become one sorted Parquet file, exactly once.

The order of steps is what makes it safe to die at any instant: temporary file, sync, rename, manifest
line, removal of the write-ahead files. The Parquet file names the write-ahead files that it took in; one
that is found again after a crash is passed over and removed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog

from overround import __version__
from overround.errors import UNREADABLE, FileDamaged
from overround.storage.columns import column, ranks
from overround.storage.fileops import FileOps
from overround.storage.manifest import ManifestLine, append_line, read_manifest
from overround.storage.paths import LakePaths, Shard
from overround.storage.schema import TableSpec
from overround.storage.sums import leave_sums
from overround.storage.wal import WalContent, read_wal
from overround.timebucket import Bucket

__all__ = [
    "FileMeta",
    "conformed",
    "describe_file",
    "finalise_bucket",
    "read_file_meta",
    "refused_by_system",
    "sort_order",
    "write_table",
]

log = structlog.get_logger()

_META_KEY = b"overround"
WRITER = f"overround {__version__}"
# No head of a write-ahead file is longer: one that is torn inside its head never held a row.
_HEAD_BYTES = 16_384


class FileMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What a Parquet file of ours says about itself.

    Attributes
    ----------
    table : str
    schema_version : int
    writer, origin : str
    bucket_s : int
    gaps : int
    wals : tuple of str
        Write-ahead files whose rows it holds.
    """

    table: str
    schema_version: int
    writer: str
    origin: str
    bucket_s: int = 0
    gaps: int = 0
    wals: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Written:
    """A finished Parquet file's size and checksum."""

    n_bytes: int
    sha256: str


def read_file_meta(path: Path) -> FileMeta | None:
    """A file's own description; None when it carries none (foreign files).

    Raises
    ------
    FileDamaged
        If it is no readable Parquet file.
    FileNotFoundError
        If it is gone.
    """
    try:
        with path.open("rb") as file:
            return file_meta_of(pq.read_metadata(file))
    except (pa.ArrowException, OSError, *UNREADABLE) as exc:
        if refused_by_system(exc):
            raise
        raise FileDamaged(f"{path} is no readable Parquet file: {exc}") from exc


def file_meta_of(metadata: pq.FileMetaData) -> FileMeta | None:
    """Our description inside a Parquet footer; None when there is none."""
    found = (metadata.metadata or {}).get(_META_KEY)
    return msgspec.json.decode(found, type=FileMeta) if found else None


def refused_by_system(exc: Exception) -> bool:
    """Whether an error is the system's (no such file, no right, no space), not about the content read."""
    return isinstance(exc, OSError) and exc.errno is not None


def conformed(rows: pa.Table, table: TableSpec, *, keep_all: bool = False) -> pa.Table:
    """The rows in the table's present schema: columns it gained since are null.

    Parameters
    ----------
    rows : pyarrow.Table
    table : TableSpec
    keep_all : bool
        Refuse rows with further columns (a later version's) instead of leaving these out.

    Raises
    ------
    FileDamaged
        If a column has another type, or one that may not be null is absent, or one would be lost.
    """
    further = [name for name in rows.schema.names if name not in table.schema.names]
    if keep_all and further:
        raise FileDamaged(f"columns of a later version would be lost: {', '.join(further)}", hint="update overround")
    columns: list[Any] = []
    for field in table.schema:
        at = rows.schema.get_field_index(field.name)
        if at < 0:
            if not field.nullable:
                raise FileDamaged(f"column {field.name} is absent")
            columns.append(pa.nulls(rows.num_rows, field.type))
        else:
            column = rows.column(at)
            try:
                columns.append(column if column.type == field.type else column.cast(field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
                raise FileDamaged(f"column {field.name} is {column.type}, not {field.type}") from exc
    return pa.Table.from_arrays(columns, schema=table.schema)


def sort_order(rows: pa.Table, key: Sequence[str]) -> npt.NDArray[np.int64]:
    """Positions that sort the rows by ``key``; rows of equal key keep their order."""
    keys = [ranks(rows.column(name)) for name in key]
    return np.lexsort(keys[::-1]).astype(np.int64)


class _Hashing(io.RawIOBase):
    """Passes writes on and hashes them, so that a finished file need not be read again."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._hash = hashlib.sha256()
        self.n_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hash.update(data)
        n_bytes = self._file.write(data)
        self.n_bytes += n_bytes
        return n_bytes

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def write_table(file: BinaryIO, rows: pa.Table, table: TableSpec, *, level: int, meta: FileMeta) -> Written:
    """Write rows, sorted by the table's key, as one Parquet file.

    Parameters
    ----------
    file : binary file
        Open for writing; neither synced nor closed here.
    rows : pyarrow.Table
        In the table's schema, in any order.
    table : TableSpec
    level : int
        zstd level.
    meta : FileMeta
    """
    rows = rows.combine_chunks()
    order = sort_order(rows, table.sort_key)
    sink = _Hashing(file)
    nested = {field.name for field in table.schema if pa.types.is_nested(field.type)}
    writer = pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"),
        rows.schema,
        compression="zstd",
        compression_level=level,
        use_dictionary=list(table.dictionary),  # type: ignore[arg-type]  # the stubs forget the list form
        # Extremes of the elements of lists serve no reader and cost a tenth of the writing.
        write_statistics=[name for name in table.schema.names if name not in nested],
        store_schema=False,
        sorting_columns=[pq.SortingColumn(table.schema.get_field_index(name)) for name in table.sort_key],
    )
    with writer:
        for part in np.array_split(order, max(1, round(len(order) / table.row_group_rows))):
            writer.write_table(rows.take(column(part)))
        writer.add_key_value_metadata({_META_KEY.decode(): msgspec.json.encode(meta).decode()})
    return Written(n_bytes=sink.n_bytes, sha256=sink.hexdigest())


def finalise_bucket(
    paths: LakePaths,
    table: TableSpec,
    venue: str,
    bucket: Bucket,
    shard: Shard,
    wals: Sequence[Path],
    *,
    level: int,
    origin: str,
    now_ms: int,
    ops: FileOps,
) -> ManifestLine | None:
    """Turn a bucket's write-ahead files into its Parquet file, merging with what the file holds already.

    Returns
    -------
    ManifestLine or None
        None when there was no row at all.

    Raises
    ------
    OSError
        If the disk refuses; everything is as before, or so that a repetition completes it.
    FileDamaged
        If rows are of another table or of a later version; nothing is touched.
    """
    target = paths.bucket_file(table.place, venue, bucket, shard)
    held, earlier = _held(target, table)
    contents = {path: read_wal(path) for path in wals if path.exists()}
    known = set(held.wals) if held else set()
    new = [content for content in contents.values() if content.n_rows and content.wal_id not in known]
    line: ManifestLine | None = None
    if new:
        line = _merge(
            paths, table, venue, bucket, shard, held, earlier, new, level=level, origin=origin, now_ms=now_ms, ops=ops
        )
    elif held is not None:
        line = _complete_manifest(paths, table, venue, bucket, shard, held, now_ms=now_ms, ops=ops)
    for path, content in contents.items():
        if content.wal_id or path.stat().st_size < _HEAD_BYTES:
            ops.remove(path)
        else:
            aside = path.with_name(f"{path.name}.damaged")
            log.error("storage.wal_damaged", path=str(path), moved_to=aside.name)
            path.replace(aside)
    return line


def _held(target: Path, table: TableSpec) -> tuple[FileMeta | None, pa.Table | None]:
    """What the bucket's Parquet file holds already; a damaged one is moved aside, never overwritten."""
    try:
        meta = read_file_meta(target)
        with target.open("rb") as file:
            rows = pq.read_table(file)
    except FileNotFoundError:
        return None, None
    except (FileDamaged, pa.ArrowException, OSError) as exc:
        if refused_by_system(exc):
            raise
        aside = target.with_name(f"{target.name}.damaged")
        target.replace(aside)
        log.error("storage.file_damaged", path=str(target), moved_to=aside.name, reason=str(exc))  # noqa: TRY400
        return None, None
    return (
        meta or FileMeta(table=table.name, schema_version=0, writer="", origin=""),
        conformed(rows, table, keep_all=True),
    )


def _merge(
    paths: LakePaths,
    table: TableSpec,
    venue: str,
    bucket: Bucket,
    shard: Shard,
    held: FileMeta | None,
    earlier: pa.Table | None,
    new: Sequence[WalContent],
    *,
    level: int,
    origin: str,
    now_ms: int,
    ops: FileOps,
) -> ManifestLine:
    target = paths.bucket_file(table.place, venue, bucket, shard)
    parts = [] if earlier is None else [earlier]
    parts += [conformed(pa.Table.from_batches(content.batches), table, keep_all=True) for content in new]
    rows = pa.concat_tables(parts)
    if table.compact is not None:
        rows = table.compact(rows)
    meta = FileMeta(
        table=table.name,
        schema_version=table.version,
        writer=WRITER,
        origin=origin,
        bucket_s=max([bucket.length_s, *([held.bucket_s] if held else []), *(content.bucket_s for content in new)]),
        gaps=(held.gaps if held else 0) + sum(content.tallies.get("gaps", 0) for content in new),
        wals=(*(held.wals if held else ()), *(content.wal_id for content in new)),
    )
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with ops.create(temporary) as file:
            written = write_table(file, rows, table, level=level, meta=meta)
            file.flush()
            ops.sync(file.fileno())
    except OSError:
        ops.remove(temporary)  # a full disk needs the space
        raise
    ops.publish(temporary, target)
    day = paths.day(table.place, venue, bucket.date)
    if table.summed:
        path = paths.sums(table.place, venue, bucket.date, shard)
        leave_sums(ops, path, rows, target=target, day=day, sha256=written.sha256)
    times = rows.column(table.time_column)
    line = ManifestLine(
        file=target.relative_to(paths.day(table.place, venue, bucket.date)).as_posix(),
        rows=rows.num_rows,
        bytes=written.n_bytes,
        first_ts=pc.min(times).as_py(),
        last_ts=pc.max(times).as_py(),
        sha256=written.sha256,
        schema_version=meta.schema_version,
        writer=meta.writer,
        origin=meta.origin,
        gaps=meta.gaps,
        bucket_s=meta.bucket_s,
        written_ts=now_ms,
        wals=meta.wals,
    )
    append_line(ops, paths.manifest(table.place, venue, bucket.date, shard), line)
    return line


def _complete_manifest(
    paths: LakePaths,
    table: TableSpec,
    venue: str,
    bucket: Bucket,
    shard: Shard,
    meta: FileMeta,
    *,
    now_ms: int,
    ops: FileOps,
) -> ManifestLine:
    """The line of a file whose writer may have died between the rename and the manifest."""
    target = paths.bucket_file(table.place, venue, bucket, shard)
    manifest = paths.manifest(table.place, venue, bucket.date, shard)
    name = target.relative_to(paths.day(table.place, venue, bucket.date)).as_posix()
    line = read_manifest(manifest).get(name)
    data = target.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if line is not None and line.sha256 == digest:
        return line
    line = describe_file(target, data, table, day=paths.day(table.place, venue, bucket.date), meta=meta, now_ms=now_ms)
    append_line(ops, manifest, line)
    return line


def describe_file(path: Path, data: bytes, table: TableSpec, *, day: Path, meta: FileMeta, now_ms: int) -> ManifestLine:
    """The manifest's line of a finished file, from its content.

    Parameters
    ----------
    path : Path
    data : bytes
        All of the file.
    table : TableSpec
    day : Path
        The day's folder, from which the line names the file.
    meta : FileMeta
    now_ms : int
    """
    times = pq.read_table(pa.BufferReader(data), columns=[table.time_column]).column(0)
    return ManifestLine(
        file=path.relative_to(day).as_posix(),
        rows=len(times),
        bytes=len(data),
        first_ts=pc.min(times).as_py(),
        last_ts=pc.max(times).as_py(),
        sha256=hashlib.sha256(data).hexdigest(),
        schema_version=meta.schema_version,
        writer=meta.writer,
        origin=meta.origin,
        gaps=meta.gaps,
        bucket_s=meta.bucket_s,
        written_ts=now_ms,
        wals=meta.wals,
    )
