"""The journal: every frame as it came, from which everything else can be rebuilt.

JSON lines in zstd, one file per bucket. Each flush ends a block, so a torn file reads up to its last
flush. A line is one of::

    {"recv_ns":1768392301500000000,"conn":"polymarket-0","frame":{"event_type":"book",...}}
    {"recv_ns":1768392301600000000,"conn":"polymarket-0","text":"PONG"}
    {"sent_ns":1768392301500000000,"conn":"polymarket-0","frame":{"type":"market",...}}
    {"sent_ns":1768392301500000000,"conn":"polymarket-0","text":"PING"}
    {"ns":1768392301400000000,"conn":"polymarket-0","event":"opened"}

(and ``"base64"`` instead of ``"text"`` for a frame that is no UTF-8). ``frame`` holds the venue's bytes verbatim; only line breaks between its tokens become blanks. Times are
nanoseconds since the epoch; ``conn`` tells the connection (and subscription shard).

``frame`` is called in the socket's callback: it appends three objects to a list, the line's template, its time and its
bytes. Formatting, compressing and writing happen in ``flush``, which may run in another thread.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from overround.clock import Clock
from overround.errors import UNREADABLE
from overround.storage.fileops import FileOps, FileShortened
from overround.storage.paths import LakePaths, Shard
from overround.timebucket import Bucket, bucket_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["FrameJournal", "JournalEntry", "JournalHealth", "JournalLines", "check_journal", "read_journal"]

log = structlog.get_logger()

PENDING_LIMIT = 256 << 20
"""Bytes of frames kept while the disk refuses them; beyond it the oldest are dropped, counted and reported."""

_PER_ENTRY = 3  # template, nanoseconds, bytes
_MARK = b'{"ns":%d,%b\n'
_CHUNK = 512 * _PER_ENTRY  # about 300 kB of frames: joining one holds the interpreter a tenth of a millisecond
_READ = 1 << 20
# Connections stamp their frames a little out of order; only more than this is a clock set back.
_JITTER_NS = 2_000_000_000
_ALERT_NS = 60_000_000_000


class JournalEntry(msgspec.Struct, frozen=True):
    """One line of a journal.

    Attributes
    ----------
    conn : str
        The connection.
    recv_ns, sent_ns, ns : int or None
        Which of them is set tells what the line is: a frame received, a frame sent, an event.
    frame : msgspec.Raw
        JSON as it was on the wire; empty when it was no JSON.
    text : str or None
        A frame that was no JSON.
    base64 : bytes or None
        A frame that was no UTF-8 either.
    event : str
        ``opened``, ``closed``, ...; its further fields are in ``line``.
    line : bytes
        The whole line.
    """

    conn: str = ""
    recv_ns: int | None = None
    sent_ns: int | None = None
    ns: int | None = None
    frame: msgspec.Raw = msgspec.Raw()
    text: str | None = None
    base64: bytes | None = None
    event: str = ""
    line: bytes = b""

    @property
    def at_ns(self) -> int:
        """Time of the line, whatever it is."""
        return next((ns for ns in (self.recv_ns, self.sent_ns, self.ns) if ns is not None), 0)

    @property
    def wire(self) -> bytes:
        """The frame's bytes, JSON or not; empty for an event."""
        if self.text is not None:
            return self.text.encode()
        return self.base64 if self.base64 is not None else bytes(self.frame)


_DECODER = msgspec.json.Decoder(JournalEntry)


class _Segment(NamedTuple):
    """Entries of one bucket, three objects each, in a list that the next bucket's never enter."""

    bucket: Bucket
    parts: list[Any]


class FrameJournal:
    """Writes one venue's (and shard's) raw frames.

    One thread calls ``frame``, ``sent`` and ``mark``; ``flush`` and ``close`` may be called from another.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    level : int
        zstd level.
    bucket_s : int
        Seconds per file.
    clock : Clock
    shard : Shard
    ops : FileOps, optional
        A failing disk in tests.
    pending_limit : int
        Bytes kept while the disk refuses them.
    run_id : str
        Identity of the recording run. When given, every file begins with an event ``file`` that names it and counts
        the run's files, so that a missing one shows and their order does not rest on the clock.

    Attributes
    ----------
    bytes_written : int
        Compressed bytes on disk.
    dropped : int
        Lines given up because the disk refused for too long.
    failures : int
        Writes that the disk refused.
    files : int
        Files begun.
    last_error : str
        The system's words while a failure lasts, else empty.
    """

    def __init__(
        self,
        paths: LakePaths,
        venue: str,
        *,
        level: int,
        bucket_s: int,
        clock: Clock,
        shard: Shard = (0, 1),
        ops: FileOps | None = None,
        pending_limit: int = PENDING_LIMIT,
        run_id: str = "",
    ) -> None:
        self._paths, self._venue, self._shard = paths, str(venue), shard
        self._run_id = run_id
        self._level, self._bucket_s, self._clock = level, bucket_s, clock
        self._ops, self._limit = ops or FileOps(), pending_limit
        self._segments: deque[_Segment] = deque()
        self._from_ns = self._to_ns = 0
        self._turn(clock.now_ns())
        self._templates: dict[str, bytes] = {}
        self._flushing = threading.Lock()
        self._backlog: deque[_Segment] = deque()
        self._file: _JournalFile | None = None
        self._alerted_ns = 0
        self.dropped = 0
        self._missing = 0
        self.failures = 0
        self.files = 0
        self.bytes_written = 0
        self.last_error = ""

    def frame(self, conn: str, recv_ns: int, frame: bytes, is_json: bool) -> None:  # noqa: FBT001 - the hot call
        """Keep a received frame; ``is_json`` says whether it is JSON (else it is kept as text)."""
        if not self._from_ns <= recv_ns < self._to_ns:
            self._turn(recv_ns)
        if not is_json:
            key, frame = _as_text(frame)
            self._put((_template(conn, b"recv_ns", key), recv_ns, frame))
            return
        try:
            self._put((self._templates[conn], recv_ns, frame))
        except KeyError:
            self._templates[conn] = template = _template(conn, b"recv_ns", b"frame")
            self._put((template, recv_ns, frame))

    def sent(self, conn: str, ns: int, text: str) -> None:
        """Keep a frame that we sent."""
        if not self._from_ns <= ns < self._to_ns:
            self._turn(ns)
        raw = text.encode()
        try:
            msgspec.json.decode(raw, type=msgspec.Raw)
            key, body = b"frame", raw
        except UNREADABLE:
            key, body = _as_text(raw)
        self._put((_template(conn, b"sent_ns", key), ns, body))

    def mark(self, conn: str, ns: int, event: str, **fields: object) -> None:
        """Keep an event of a connection (opened, closed, ...) with further fields."""
        if not self._from_ns <= ns < self._to_ns:
            self._turn(ns)
        self._put((_MARK, ns, msgspec.json.encode({"conn": conn, "event": event} | fields)[1:]))

    @property
    def pending_bytes(self) -> int:
        """Bytes of frames not compressed yet (counted when asked, not at every frame)."""
        waiting = [segment.parts for queue in (self._backlog, self._segments) for segment in list(queue)]
        return sum(_n_bytes(parts) for parts in waiting)

    @property
    def unsaved_bytes(self) -> int:
        """Bytes that are in memory only because the disk refused them, compressed or not; 0 in good health."""
        if not self.last_error:
            return 0
        return self.pending_bytes + (self._file.unsaved if self._file is not None else 0)

    def flush(self) -> bool:
        """Compress and write everything taken in; False when the disk refuses (it is kept).

        Compressing releases the interpreter, so this belongs in a thread beside the event loop.
        """
        with self._flushing:
            return self._flush(end=False)

    def close(self) -> bool:
        """Write everything and end the file; frames that come later open another."""
        with self._flushing:
            return self._flush(end=True)

    # -- inside -------------------------------------------------------------------------------------

    def _turn(self, ns: int) -> None:
        """Begin the next bucket's list."""
        bucket = bucket_of(ns // 1_000_000, self._bucket_s)
        self._from_ns, self._to_ns = bucket.start_ms * 1_000_000 - _JITTER_NS, bucket.end_ms * 1_000_000
        segment = _Segment(bucket, [])
        self._put = segment.parts.extend
        self._segments.append(segment)

    def _flush(self, *, end: bool) -> bool:
        self._take()
        try:
            while self._backlog:
                self._write(self._backlog[0])
                self._backlog.popleft()
            if self._file is not None:
                self._save(self._file, end=end)
        except OSError as exc:
            self._refused(exc)
            return False
        if end:
            self._file = None
        if self.last_error:
            log.info("journal.recovered", venue=self._venue)
            self.last_error = ""
        return True

    def _take(self) -> None:
        """Move what was taken in so far to the backlog, in chunks."""
        for segment in list(self._segments):
            # Only the last list still grows, at its end: a slice and its deletion are safe beside that.
            n_parts = len(segment.parts)
            for start in range(0, n_parts, _CHUNK):
                self._backlog.append(_Segment(segment.bucket, segment.parts[start : min(start + _CHUNK, n_parts)]))
            del segment.parts[:n_parts]
        while len(self._segments) > 1 and not self._segments[0].parts:
            self._segments.popleft()

    def _write(self, chunk: _Segment) -> None:
        """Compress one chunk into its bucket's file; nothing is changed when the disk refuses."""
        file = self._file
        if file is not None and (file.bucket != chunk.bucket or file.unsaved > _READ):
            self._save(file, end=file.bucket != chunk.bucket)
        if file is None or file.bucket != chunk.bucket:
            file = self._file = self._begin(chunk.bucket)
        if self._missing:
            # Where entries were given up, a line says so: what follows does not continue what stands before.
            hole = {"ns": self._clock.now_ns(), "conn": "", "event": "dropped", "entries": self._missing}
            self._missing = 0
            file.add(msgspec.json.encode(hole) + b"\n")
        file.add(_lines_of(chunk.parts))

    def _begin(self, bucket: Bucket) -> _JournalFile:
        run = 0
        # Taken, not looked for: while a recording changes hands two processes keep journals of one shard.
        while not self._ops.claim(path := self._paths.journal_file(self._venue, bucket, self._shard, run)):
            run += 1
        file = _JournalFile(path, bucket, level=self._level)
        if self._run_id:
            head = {"ns": self._clock.now_ns(), "conn": "", "event": "file", "run": self._run_id, "number": self.files}
            file.add(msgspec.json.encode(head) + b"\n")
        self.files += 1
        return file

    def _save(self, file: _JournalFile, *, end: bool) -> None:
        try:
            self.bytes_written += file.save(self._ops, end=end)
        except FileShortened as exc:
            # Somebody removed or cut the file: what was in it is gone; go on in a new one.
            log.error("journal.removed", path=str(file.path), reason=str(exc))  # noqa: TRY400
            self._file = None
            raise

    def _refused(self, exc: OSError) -> None:
        self.failures += 1
        self.last_error = str(exc)
        dropped, pending = 0, self.pending_bytes
        while self._backlog and pending > self._limit:
            parts = self._backlog.popleft().parts
            pending -= _n_bytes(parts)
            dropped += len(parts) // _PER_ENTRY
        self.dropped += dropped
        self._missing += dropped
        now_ns = self._clock.monotonic_ns()
        if dropped or self._alerted_ns == 0 or now_ns - self._alerted_ns >= _ALERT_NS:
            self._alerted_ns = now_ns
            log.error(
                "journal.flush_failed",
                venue=self._venue,
                bytes_in_memory=self.pending_bytes,
                entries_dropped=dropped,
                reason=str(exc),
                remedy="free disk space or mend the folder's rights; frames are kept and written then",
            )


class _JournalFile:
    """One zstd file under way; keeps compressed bytes that the disk refused."""

    def __init__(self, path: Path, bucket: Bucket, *, level: int) -> None:
        self.path, self.bucket = path, bucket
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: level,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        self._compressor = zstd.ZstdCompressor(options=options)
        self._blocks: list[bytes] = []
        self._length = 0
        self._dirty = False
        self._ended = False
        self.unsaved = 0

    def add(self, data: bytes) -> None:
        self._keep(self._compressor.compress(data))
        self._dirty = True

    def save(self, ops: FileOps, *, end: bool) -> int:
        """Write what is compressed, up to a whole block; returns the bytes written."""
        if end and not self._ended:
            self._keep(self._compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME))
            self._ended, self._dirty = True, False
        elif self._dirty:
            self._keep(self._compressor.flush(zstd.ZstdCompressor.FLUSH_BLOCK))
            self._dirty = False
        if not self._blocks:
            return 0
        before = self._length
        self._length = ops.append(self.path, self._blocks, at=before)
        self._blocks.clear()
        self.unsaved = 0
        return self._length - before

    def _keep(self, block: bytes) -> None:
        if block:
            self._blocks.append(block)
            self.unsaved += len(block)


def _template(conn: str, time: bytes, key: bytes) -> bytes:
    """A line without its time and its frame; a percent sign in the name is doubled."""
    return b'{"%b":%%d,"conn":%b,"%b":%%b}\n' % (time, msgspec.json.encode(conn).replace(b"%", b"%%"), key)


def _n_bytes(parts: list[Any]) -> int:
    return sum(map(len, parts[2::_PER_ENTRY]))


def _lines_of(parts: list[Any]) -> bytes:
    """The entries as lines, formatted at one go: half the price of a line at a time."""
    values = parts.copy()
    del values[::_PER_ENTRY]
    frames = values[1::2]
    if _has_breaks(frames):
        # A raw line break cannot stand inside a JSON text, only between tokens; Kalshi ends each frame with one.
        frames = [frame[:-1] + b" " if frame[-1:] == b"\n" else frame for frame in frames]
        if _has_breaks(frames):
            frames = [frame.replace(b"\n", b" ").replace(b"\r", b" ") for frame in frames]
        values[1::2] = frames
    return b"".join(parts[::_PER_ENTRY]) % tuple(values)


def _has_breaks(frames: list[bytes]) -> bool:
    # Looking through all of them at once costs a tenth of looking at each, and a quarter of counting breaks in the lines.
    joined = b"".join(frames)
    return b"\n" in joined or b"\r" in joined


def _as_text(frame: bytes) -> tuple[bytes, bytes]:
    """Key and JSON text for a frame that is no JSON."""
    try:
        return b"text", msgspec.json.encode(frame.decode())
    except UnicodeDecodeError:
        return b"base64", msgspec.json.encode(frame)


class JournalHealth(NamedTuple):
    """What a journal file holds.

    Attributes
    ----------
    entries : int
        Lines that read.
    ended : bool
        Whether the file was ended (it is not while it is written, nor after a crash).
    damage : str
        What is wrong with it; empty for a whole or merely unfinished file.
    """

    entries: int
    ended: bool
    damage: str


def check_journal(path: Path) -> JournalHealth:
    """Read a journal file through.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    reader = JournalLines(path)
    n_entries = n_bad = 0
    for line in reader:
        try:
            _DECODER.decode(line)
            n_entries += 1
        except UNREADABLE:
            n_bad += 1
    damage = reader.damage or (f"{n_bad} lines are no journal entries" if n_bad else "")
    return JournalHealth(n_entries, reader.ended, damage)


def read_journal(path: Path) -> Iterator[JournalEntry]:
    """Entries of a journal file, up to the last whole line where it is torn.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    reader = JournalLines(path)
    for line in reader:
        try:
            entry = _DECODER.decode(line)
        except UNREADABLE as exc:
            log.warning("journal.line_damaged", path=str(path), reason=str(exc))
            continue
        yield msgspec.structs.replace(entry, line=line) if entry.event else entry
    if reader.damage:
        log.warning("journal.torn", path=str(path), reason=reader.damage)


class JournalLines:
    """Whole lines of a zstd file of one frame or several; ``damage`` and ``ended`` tell afterwards how it ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.damage = ""
        self.ended = False

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        for data in self._blocks():
            *lines, rest = (rest + data).split(b"\n")
            yield from lines

    def _blocks(self) -> Iterator[bytes]:
        """Decompressed pieces, up to the last one that decompresses."""
        decompressor = zstd.ZstdDecompressor()
        frame_at = at = 0
        with self._path.open("rb") as file:
            while block := file.read(_READ):
                while block:
                    try:
                        data = decompressor.decompress(block)
                    except zstd.ZstdError as exc:
                        self.damage, self.ended = str(exc), False
                        yield self._before_damage(frame_at, at, block)
                        return
                    yield data
                    self.ended = decompressor.eof
                    rest = decompressor.unused_data if decompressor.eof else b""
                    at += len(block) - len(rest)
                    if decompressor.eof:
                        frame_at, decompressor = at, zstd.ZstdDecompressor()
                    block = rest

    def _before_damage(self, frame_at: int, at: int, block: bytes) -> bytes:
        """What a block holds before the damage in it: its frame is decompressed again, the block byte by byte."""
        decompressor = zstd.ZstdDecompressor()
        with self._path.open("rb") as file:
            file.seek(frame_at)
            while frame_at < at:
                again = file.read(min(_READ, at - frame_at))
                frame_at += len(again)
                decompressor.decompress(again)
        pieces = []
        try:
            for number in range(len(block)):
                pieces.append(decompressor.decompress(block[number : number + 1]))  # noqa: PERF401 - up to the damage
        except (zstd.ZstdError, EOFError):
            pass
        return b"".join(pieces)
