"""Messages set aside because they were refused or are not as documented.

One file per writer and UTC day, lines as in the journal (``recv_ns``, ``conn`` and ``frame``, ``text`` or ``base64``) with
``why`` and ``name`` after them, so that whatever reads a journal reads these too: after a parser was mended they can be
replayed. A record of a REST answer has a ``conn`` that begins with ``rest:`` and belongs to no connection.

Bounded three ways (bytes a day, messages of one name a day and a minute): a venue that changes everything at once fills
no disk. What is beyond is counted, and is in the raw journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from overround.errors import UNREADABLE
from overround.storage.fileops import FileOps, FileShortened
from overround.storage.paths import LakePaths
from overround.timebucket import date_of

__all__ = ["Quarantine", "QuarantineEntry", "count_quarantined", "read_quarantine"]

log = structlog.get_logger()

ENTRY_BYTES_MAX = 1 << 20
PENDING_BYTES_MAX = 4 << 20
PER_NAME_AND_MINUTE = 10
_ALERT_MS = 60_000


class QuarantineEntry(msgspec.Struct, frozen=True):
    """One message set aside.

    Attributes
    ----------
    recv_ns : int
    conn : str
        The connection, or ``rest:`` and the path of an answer.
    why, name : str
        Sort of departure, and what departs.
    frame : msgspec.Raw
        JSON as it came; empty when it was no JSON.
    text : str or None
        A frame that was no JSON.
    base64 : bytes or None
        A frame that was no UTF-8 either.
    """

    recv_ns: int
    conn: str = ""
    why: str = ""
    name: str = ""
    frame: msgspec.Raw = msgspec.Raw()
    text: str | None = None
    base64: bytes | None = None

    @property
    def wire(self) -> bytes:
        """The message's bytes."""
        if self.text is not None:
            return self.text.encode()
        return self.base64 if self.base64 is not None else bytes(self.frame)


class _Label(msgspec.Struct, frozen=True):
    """The end of a line: why it is there."""

    why: str
    name: str


_DECODER = msgspec.json.Decoder(QuarantineEntry)
_LABEL = msgspec.json.Decoder(_Label)
_WHY = b',"why":'


class Quarantine:
    """Writes one process's messages of one venue; ``put`` in the loop, ``flush`` where blocking is allowed.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    writer : str
        Part of the file's name that no other process uses.
    bytes_per_day, per_name_and_day : int
    ops : FileOps, optional
        A failing disk in tests.

    Attributes
    ----------
    kept, turned_away : int
        Messages taken in, and those beyond a bound.
    """

    def __init__(
        self,
        paths: LakePaths,
        venue: str,
        *,
        writer: str,
        bytes_per_day: int,
        per_name_and_day: int,
        ops: FileOps | None = None,
    ) -> None:
        self._paths, self._venue, self._writer = paths, str(venue), writer
        self._bytes_max, self._per_name = bytes_per_day, per_name_and_day
        self._ops = ops or FileOps()
        self._date = ""
        self._length = self._others = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._names: dict[str, int] = {}
        self._minute = -1
        self._in_minute: dict[str, int] = {}
        self._alerted_ms = 0
        self.kept = 0
        self.turned_away = 0

    def put(self, *, now_ms: int, recv_ns: int, conn: str, message: bytes, why: str, name: str) -> bool:
        """Set one message aside; False if a bound forbids it."""
        if now_ms // 60_000 != self._minute:
            self._minute = now_ms // 60_000
            self._in_minute.clear()
            self._turn(date_of(now_ms))
        key = f"{why} {name}"
        allowed = (
            self._in_minute.get(key, 0) < PER_NAME_AND_MINUTE
            and self._names.get(key, 0) < self._per_name
            and len(message) <= ENTRY_BYTES_MAX
            and self._pending_bytes < PENDING_BYTES_MAX
            and self._others + self._length + self._pending_bytes + len(message) <= self._bytes_max
        )
        if not allowed:
            self.turned_away += 1
            return False
        self._in_minute[key] = self._in_minute.get(key, 0) + 1
        self._names[key] = self._names.get(key, 0) + 1
        self.kept += 1
        line = _line(recv_ns, conn, message, why, name)
        self._pending.append(line)
        self._pending_bytes += len(line)
        return True

    @property
    def pending(self) -> bool:
        """Whether there is something to flush."""
        return bool(self._pending)

    def flush(self, now_ms: int) -> bool:
        """Write what was set aside, durably; False when the disk refuses (it is kept)."""
        if not self._pending:
            return True
        lines, self._pending = self._pending, []
        size, self._pending_bytes = self._pending_bytes, 0
        path = self._paths.quarantine_file(self._venue, self._date, self._writer)
        try:
            self._length = self._ops.append(path, lines, at=self._length)
        except OSError as exc:
            if isinstance(exc, FileShortened):
                self._length = 0  # somebody removed the file: begin anew
            self._pending = lines + self._pending
            self._pending_bytes += size
            if now_ms - self._alerted_ms >= _ALERT_MS:
                self._alerted_ms = now_ms
                log.error("quarantine.flush_failed", venue=self._venue, path=str(path), reason=str(exc))  # noqa: TRY400
            return False
        return True

    def _turn(self, date: str) -> None:
        if date == self._date:
            return
        if self._date:
            self.flush(0)
        self._date = date
        self._names.clear()
        own = self._paths.quarantine_file(self._venue, date, self._writer)
        self._length = _size(own)
        self._others = sum(_size(path) for path in self._paths.quarantine_files(self._venue, date) if path != own)


def read_quarantine(path: Path) -> Iterator[QuarantineEntry]:
    """The messages of one file; a torn last line (a crash) is left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    with path.open("rb") as lines:
        for line in lines:
            try:
                yield _DECODER.decode(line)
            except UNREADABLE:
                continue


def count_quarantined(path: Path) -> Counter[tuple[str, str]]:
    """How many messages of one file were set aside for each sort and name; the messages themselves are not decoded.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    found: Counter[tuple[str, str]] = Counter()
    with path.open("rb") as lines:
        for line in lines:
            _, mark, tail = line.rpartition(_WHY)
            try:
                label = _LABEL.decode(b"{" + mark[1:] + tail)
            except UNREADABLE:
                continue  # torn by a crash
            found[label.why, label.name] += 1
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _line(recv_ns: int, conn: str, message: bytes, why: str, name: str) -> bytes:
    head = b'{"recv_ns":%d,"conn":%b,' % (recv_ns, msgspec.json.encode(conn))
    tail = _WHY + b'%b,"name":%b}\n' % (msgspec.json.encode(why), msgspec.json.encode(name))
    try:
        message.decode()
        msgspec.json.decode(message, type=msgspec.Raw)
        # A line break in a JSON text stands between its tokens, where a blank says the same.
        body = b'"frame":' + message.replace(b"\n", b" ").replace(b"\r", b" ")
    except UnicodeDecodeError:
        body = b'"base64":' + msgspec.json.encode(message)
    except UNREADABLE:
        body = b'"text":' + msgspec.json.encode(message.decode())
    return head + body + tail
