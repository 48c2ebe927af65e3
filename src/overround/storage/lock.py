"""One process per venue and shard: the lock that keeps two collectors out of each other's files."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from types import TracebackType
from typing import Self

import filelock
import msgspec

from overround.errors import UNREADABLE, LakeLocked, StorageError
from overround.storage.paths import LakePaths, Shard

__all__ = ["CollectorLock"]


class CollectorLock:
    """Held while this process records a venue and shard; the system frees it when the process dies.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    shard : Shard
    """

    def __init__(self, paths: LakePaths, venue: str, shard: Shard = (0, 1)) -> None:
        self._venue, self._shard, self._root = venue, shard, paths.root
        self._path = paths.lock(venue, shard)
        self._lock = filelock.FileLock(self._path)

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        LakeLocked
            If another process holds it; the message names that process.
        StorageError
            If the folder cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise self._refusal() from None
        except OSError as exc:
            raise StorageError(
                f"{self._root} cannot be written: {exc.strerror or exc}",
                hint="choose another data_dir, or mend its rights",
            ) from exc
        # The owner is named beside the lock: a locked file cannot be read on Windows. The name is a courtesy, the lock
        # is held without it: a start on a full disk goes on, and records once there is room.
        with contextlib.suppress(OSError):
            self._owner_file().write_bytes(msgspec.json.encode({"pid": os.getpid(), "host": platform.node()}))

    def release(self) -> None:
        """Give the lock back; fine when it is not held."""
        if self._lock.is_locked:
            self._owner_file().unlink(missing_ok=True)
            self._lock.release()

    @staticmethod
    def is_held(path: Path) -> bool:
        """Whether a process holds a lock file; asking does not disturb it."""
        lock = filelock.FileLock(path)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return True
        except OSError:
            return False  # a folder that cannot be written is not being recorded into
        lock.release()
        return False

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _owner_file(self) -> Path:
        return self._path.with_suffix(".json")

    def _refusal(self) -> LakeLocked:
        try:
            pid = msgspec.json.decode(self._owner_file().read_bytes(), type=dict[str, object]).get("pid")
        except (OSError, *UNREADABLE):
            pid = None
        owner = f"process {pid}" if pid else "another process"
        what = self._venue if self._shard[1] == 1 else f"{self._venue} shard {self._shard[0]} of {self._shard[1]}"
        return LakeLocked(
            f"{owner} is already recording {what} into {self._root}",
            hint=f"stop {owner}, or record into another folder (data_dir)",
        )
