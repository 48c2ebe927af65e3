"""Log files: a day each, kept for so long, written beside the recording and never in its way.

Lines go through a queue to a thread, so that a slow disk holds nothing up. What cannot be written is said once on the
log's stream, and tried again with the next line.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import logging.handlers
import queue
import sys
import time
from io import TextIOWrapper
from pathlib import Path

import filelock
import structlog

__all__ = ["LogFiles"]

log = structlog.get_logger()

REMEDY = "mend the folder's rights or free space, or name another in [logging] directory; the log goes on without files"
DAY_S = 86_400
WAITING_LINES = 10_000
GOODBYE_S = 5
MOST_NAMES = 100


class LogFiles:
    """The files of one process: ``NAME.log`` with every line, ``NAME.errors.log`` with errors alone, JSON.

    At the first line of a new UTC day the file of the old one is given its date (``collect.log.2026-11-21``), and files whose
    newest line is too old are removed. A second process of the same name writes ``NAME-2.log``.

    Parameters
    ----------
    directory : Path
        Made if it is not there.
    name : str
    days, error_days : int
        How long lines are kept.
    max_mb : int
        A day's lines beyond so many megabytes are left out, and that is said; errors never are.
    """

    def __init__(
        self, directory: Path, name: str, *, days: int = 30, error_days: int = 90, max_mb: int = 1_000
    ) -> None:
        self.directory = directory
        self.dropped = 0
        self._closed = False
        self._lock: filelock.FileLock | None = None
        with contextlib.suppress(OSError):  # `open` says so
            directory.mkdir(parents=True, exist_ok=True)
            name, self._lock = _own_name(directory, name)
        self._all = _DayFile(directory / f"{name}.log", days=days, max_bytes=max_mb << 20)
        self._errors = _DayFile(directory / f"{name}.errors.log", days=error_days)
        self._errors.setLevel(logging.ERROR)
        self._queue: queue.Queue[logging.LogRecord] = queue.Queue(WAITING_LINES)
        self._writer = _Writer(self._queue, self._all, self._errors, respect_handler_level=True)
        self._writer.start()

    @property
    def path(self) -> Path:
        """The file that holds every line."""
        return Path(self._all.baseFilename)

    def open(self) -> None:
        """Begin, so that a folder that cannot be written is said at the start; later lines try again by themselves."""
        try:
            for each in (self._all, self._errors):
                each.begin()
        except OSError as exc:
            log.warning("logging.file_unwritable", path=str(self.path), reason=str(exc), remedy=REMEDY)

    def write(self, line: str, level: int) -> None:
        """Queue a line."""
        try:
            self._queue.put_nowait(logging.makeLogRecord({"msg": line, "levelno": level}))
        except queue.Full:
            self.dropped += 1  # a disk that stands still; the stream has these lines

    def close(self) -> None:
        """Write what is queued; fine when it is done already."""
        if self._closed:
            return
        self._closed = True
        try:
            self._writer.stop()
        except queue.Full:
            return  # the disk still stands: what it did not take is lost with this process
        for each in (self._all, self._errors):
            each.close()
        if self._lock is not None:
            self._lock.release()


class _Writer(logging.handlers.QueueListener):
    def enqueue_sentinel(self) -> None:
        """Wait for room, but not for ever."""
        assert isinstance(self.queue, queue.Queue)
        self.queue.put(None, timeout=GOODBYE_S)


class _DayFile(logging.handlers.TimedRotatingFileHandler):
    def __init__(self, path: Path, *, days: int, max_bytes: int = 0) -> None:
        super().__init__(path, when="midnight", utc=True, backupCount=days, delay=True, encoding="utf-8")
        self.failed = False
        self._reason = ""
        self._max_bytes = max_bytes
        self._full = False

    def getFilesToDelete(self) -> list[str]:  # noqa: N802 - the library's name
        """Files without a line younger than the retention: by age, not by number, for a process may rest for weeks."""
        oldest_s = time.time() - self.backupCount * DAY_S
        path = Path(self.baseFilename)
        dated = path.parent.glob(f"{glob.escape(path.name)}.????-??-??")
        return [str(old) for old in dated if old.stat().st_mtime < oldest_s]

    def begin(self) -> None:
        """Open the file, and remove what is too old now: a short command may never see a midnight."""
        self.failed = True
        self.stream = self.stream or self._open()
        for old in self.getFilesToDelete():
            Path(old).unlink(missing_ok=True)
        self.failed = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._max_bytes and self.stream is not None:
            full = self.stream.tell() > self._max_bytes and not self.shouldRollover(record)
            if full and not self._full:
                log.warning("logging.file_full", path=self.baseFilename, remedy="lines are left out until midnight UTC")
            self._full = full
            if full:
                return
        failed, self.failed = self.failed, False
        super().emit(record)
        if failed and not self.failed:
            log.info("logging.file_recovered", path=self.baseFilename)
        elif self.failed and not failed:
            log.warning("logging.file_unwritable", path=self.baseFilename, reason=self._reason, remedy=REMEDY)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - the library's name
        """Note what failed; the recording goes on, and so does the log on its stream."""
        self.failed, self._reason = True, str(sys.exc_info()[1])

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


def _own_name(directory: Path, name: str) -> tuple[str, filelock.FileLock]:
    """The first of NAME, NAME-2, … that no other process writes to, and the lock that says so."""
    for number in range(1, MOST_NAMES):
        ours = name if number == 1 else f"{name}-{number}"
        lock = filelock.FileLock(directory / f".{ours}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            continue
        return ours, lock
    raise OSError(f"{MOST_NAMES} processes log into {directory}")
