"""The write-ahead file of a bucket: rows are durable here before they are Parquet.

One Arrow IPC stream with lz4 buffers, one record batch per flush. The stream has no end marker while it
is open; a torn last batch (a crash in the middle of a write) is dropped when reading. Any Arrow library
reads it (``pyarrow.ipc.open_stream``).

A file that took a stream's rows in names its ``wal_id``, so rows are never taken in twice whatever the
instant of a crash.
"""

from __future__ import annotations

import io
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import structlog

from overround.errors import UNREADABLE
from overround.storage.fence import fence_of_file
from overround.storage.fileops import FileOps, FileShortened

__all__ = ["Wal", "WalContent", "new_wal_id", "read_wal"]

log = structlog.get_logger()

_ID_KEY = b"overround.wal_id"
_BUCKET_KEY = b"overround.bucket_s"
_TOKEN_KEY = b"overround.token"


def new_wal_id() -> str:
    """An identity that no other write-ahead file has: 16 hex digits."""
    return uuid.uuid4().hex[:16]


class _Drain(io.RawIOBase):
    """A file object that keeps what Arrow writes until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        block = bytes(data)
        self._blocks.append(block)
        return len(block)

    def take(self) -> bytes:
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)


class _Message(NamedTuple):
    """One encoded batch that is not on disk yet; ``number`` tells its age among all files' messages."""

    number: int
    n_rows: int
    data: bytes
    first_ms: int
    last_ms: int


class Wal:
    """Writes one write-ahead file; keeps what a failing disk refuses, and tries again.

    Parameters
    ----------
    path : Path
    wal_id : str
    schema : pyarrow.Schema
    bucket_s : int
        Length of the bucket, kept for whoever finds the file.
    token : int
        Fencing token of the writer's lease; 0 where there are no leases.

    Attributes
    ----------
    rows : int
        Rows on disk.
    length : int
        Bytes on disk.
    """

    def __init__(self, path: Path, wal_id: str, schema: pa.Schema, *, bucket_s: int, token: int = 0) -> None:
        self.path, self.wal_id = path, wal_id
        self.rows = 0
        self.length = 0
        told = {_ID_KEY: wal_id, _BUCKET_KEY: str(bucket_s)} | ({_TOKEN_KEY: str(token)} if token else {})
        named = schema.with_metadata({key: value.encode() for key, value in told.items()})
        self._drain = _Drain()
        self._stream = pa.ipc.new_stream(
            pa.PythonFile(self._drain, mode="w"), named, options=pa.ipc.IpcWriteOptions(compression="lz4")
        )
        self._header = named.serialize().to_pybytes()
        self._fresh = True
        self._schema = schema
        self._unsaved: deque[_Message] = deque()

    def add(
        self,
        batch: pa.RecordBatch,
        *,
        number: int,
        tallies: Mapping[str, int] | None = None,
        span_ms: tuple[int, int] = (0, 0),
    ) -> int:
        """Encode a batch, with the first and last time of its rows, for the next :meth:`save`; returns its bytes."""
        counts = {name.encode(): str(count).encode() for name, count in (tallies or {}).items()}
        self._stream.write_batch(batch, custom_metadata=counts or None)
        data = self._drain.take()
        if self._fresh:
            # The stream writes its schema before the first batch; it is kept apart, so that a file that
            # has to be started again has it too.
            data = data.removeprefix(self._header)
            self._fresh = False
        self._unsaved.append(_Message(number, batch.num_rows, data, *span_ms))
        return len(data)

    def save(self, ops: FileOps) -> int:
        """Write and sync everything added; returns the number of rows that became durable.

        Raises
        ------
        FileShortened
            If rows acknowledged earlier are gone by another's hand; what is in memory goes to a new
            file at the next call.
        OSError
            If the disk refuses; everything is kept for the next call.
        """
        if not self._unsaved:
            return 0
        blocks = [message.data for message in self._unsaved]
        try:
            self.length = ops.append(self.path, blocks if self.length else [self._header, *blocks], at=self.length)
        except FileShortened:
            self.length = self.rows = 0
            raise
        saved = sum(message.n_rows for message in self._unsaved)
        self.rows += saved
        self._unsaved.clear()
        return saved

    def drop_oldest(self) -> tuple[int, int, tuple[int, int]]:
        """Give up the oldest unsaved batch; returns its rows and bytes, and the first and last time of its rows."""
        message = self._unsaved.popleft()
        return message.n_rows, len(message.data), (message.first_ms, message.last_ms)

    @property
    def oldest_unsaved(self) -> int | None:
        """Number of the oldest batch that is not on disk, or None."""
        return self._unsaved[0].number if self._unsaved else None

    @property
    def unsaved_since_ms(self) -> int | None:
        """Time of the oldest row that is in memory only, or None."""
        return min((message.first_ms for message in self._unsaved if message.n_rows), default=None)

    @property
    def unsaved_bytes(self) -> int:
        """Bytes in memory only."""
        return sum(len(message.data) for message in self._unsaved)


@dataclass(frozen=True, kw_only=True)
class WalContent:
    """What a write-ahead file holds.

    Attributes
    ----------
    wal_id : str
        Empty when not even the head of the file is whole.
    bucket_s : int
        Seconds; 0 when unknown.
    batches : list of pyarrow.RecordBatch
    tallies : dict of str to int
        Sums of the counts stored with the batches.
    torn : bool
        Whether a last, unfinished batch was dropped.
    """

    wal_id: str
    bucket_s: int
    batches: list[pa.RecordBatch]
    tallies: dict[str, int]
    torn: bool

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return sum(batch.num_rows for batch in self.batches)


def read_wal(path: Path) -> WalContent:
    """Read every whole batch of a write-ahead file; none where its writer had been superseded.

    Raises
    ------
    FileNotFoundError
        If it is gone (its bucket was finalised meanwhile).
    """
    data = path.read_bytes()
    batches: list[pa.RecordBatch] = []
    tallies: dict[str, int] = {}
    try:
        stream = pa.ipc.open_stream(data)
        metadata = stream.schema.metadata or {}
        wal_id, bucket_s = metadata.get(_ID_KEY, b"").decode(), int(metadata.get(_BUCKET_KEY, b"0"))
        token = int(metadata.get(_TOKEN_KEY, b"0"))
    except (pa.ArrowException, OSError, StopIteration, *UNREADABLE):
        return WalContent(wal_id="", bucket_s=0, batches=[], tallies={}, torn=bool(data))
    if token and not fence_of_file(path).admits(token, wal_id):
        log.warning("storage.superseded", path=str(path), token=token)
        return WalContent(wal_id=wal_id, bucket_s=bucket_s, batches=[], tallies={}, torn=False)
    torn = False
    while True:
        try:
            batch, counts = stream.read_next_batch_with_custom_metadata()
            batch.validate(full=True)
            numbers = {name.decode(): int(count) for name, count in (counts or {}).items()}
        except StopIteration:
            break
        except (pa.ArrowException, OSError, *UNREADABLE):
            torn = True
            break
        batches.append(batch)
        for name, count in numbers.items():
            tallies[name] = tallies.get(name, 0) + count
    return WalContent(
        wal_id=wal_id,
        bucket_s=bucket_s,
        batches=[batch.replace_schema_metadata(None) for batch in batches],
        tallies=tallies,
        torn=torn,
    )


def read_wal_token(path: Path) -> int:
    """Fencing token of whoever wrote a write-ahead file; 0 where there were no leases, or its head is torn.

    Raises
    ------
    FileNotFoundError
        If it is gone.
    """
    try:
        with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
            return int((stream.schema.metadata or {}).get(_TOKEN_KEY, b"0"))
    except (pa.ArrowException, StopIteration, *UNREADABLE):
        return 0
