"""One process per venue and shard: the lock that keeps two collectors out of each other's files."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import filelock
import msgspec

from overround.errors import UNREADABLE, LakeLocked, StorageError
from overround.storage.paths import LakePaths, Shard

__all__ = ["CollectorLock", "refuse_other_counts"]


# Whoever asks whether a lock is held has it for an instant; who borrows one to finish files, for longer.
_ASKED_S = 1.0
_BORROWED_S = 60.0


class _Owner(msgspec.Struct, frozen=True):
    """Who holds a lock."""

    pid: int = 0
    host: str = ""
    borrowed: bool = False
    leased: bool = False


class CollectorLock:
    """Held while this process records a venue and shard; the system frees it when the process dies.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    shard : Shard
    borrowed : bool
        Taken to finish a dead shard's files: whoever is to record that shard waits for it to be given back.
    leased : bool
        Our lease says that the shard is ours: a process that held it under an earlier lease and stands still since is
        passed over.
    """

    def __init__(
        self, paths: LakePaths, venue: str, shard: Shard = (0, 1), *, borrowed: bool = False, leased: bool = False
    ) -> None:
        self._venue, self._shard, self._root = venue, shard, paths.root
        self._borrowed, self._leased = borrowed, leased
        self._path = paths.lock(venue, shard)
        self._lock = filelock.FileLock(self._path)

    def acquire(self) -> None:
        """Take the lock; fine when we hold it already.

        Raises
        ------
        LakeLocked
            If another process holds it; the message names that process.
        StorageError
            If the folder cannot be written.
        """
        if self._lock.is_locked:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._wait()
        except OSError as exc:
            raise StorageError(
                f"{self._root} cannot be written: {exc.strerror or exc}",
                hint="choose another data_dir, or mend its rights",
            ) from exc
        # The owner is named beside the lock: a locked file cannot be read on Windows. The name is a courtesy, the lock
        # is held without it: a start on a full disk goes on, and records once there is room.
        with contextlib.suppress(OSError):
            owner = _Owner(pid=os.getpid(), host=platform.node(), borrowed=self._borrowed, leased=self._leased)
            self._owner_file().write_bytes(msgspec.json.encode(owner))

    def _wait(self) -> None:
        """Take the lock, waiting for those who only ask whether it is held, and for a borrower."""
        began = time.monotonic()
        while True:
            try:
                self._lock.acquire(timeout=0 if self._borrowed else _ASKED_S)
            except filelock.Timeout:
                owner = self._owner()
                if self._leased and owner.leased:
                    # Its lock stays with the file's old self; the name is free for a new one.
                    self._path.unlink(missing_ok=True)
                    continue
                if self._borrowed or not owner.borrowed or time.monotonic() - began > _BORROWED_S:
                    raise self._refusal(owner) from None
            else:
                return

    def release(self) -> None:
        """Give the lock back; fine when it is not held."""
        if self._lock.is_locked:
            # Another's name is not ours to remove.
            if self._owner().pid == os.getpid():
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

    def _owner(self) -> _Owner:
        try:
            return msgspec.json.decode(self._owner_file().read_bytes(), type=_Owner)
        except (OSError, *UNREADABLE):
            return _Owner()

    def _refusal(self, by: _Owner) -> LakeLocked:
        owner = f"process {by.pid}" if by.pid else "another process"
        what = self._venue if self._shard[1] == 1 else f"{self._venue} shard {self._shard[0]}/{self._shard[1]}"
        return LakeLocked(
            f"{owner} is already recording {what} into {self._root}",
            hint=f"stop {owner}, {'give this one another shard, ' if self._shard[1] > 1 else ''}"
            "or record into another folder (data_dir)",
        )


def refuse_other_counts(paths: LakePaths, venue: str, shard: Shard) -> None:
    """Refuse to record beside collectors that divide the markets by another number.

    Raises
    ------
    LakeLocked
        If one of them runs: markets would be recorded twice.
    """
    for path in paths.locks(venue):
        theirs = paths.lock_shard(path)
        if theirs is not None and theirs[1] != shard[1] and CollectorLock.is_held(path):
            raise LakeLocked(
                f"shard {theirs[0]}/{theirs[1]} of {venue} is being recorded into {paths.root}: beside it {shard[0]}/{shard[1]}"
                " would record markets a second time",
                hint="stop all collectors of the venue before their number changes",
            )
