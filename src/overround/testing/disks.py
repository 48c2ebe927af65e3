"""Disks that fail, for everything that writes files."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from overround.storage.fileops import FileOps

__all__ = ["Crashed", "CrashingDisk", "FailingDisk"]


class FailingDisk(FileOps):
    """A disk that refuses what it is told to refuse, in the middle of the work, and mends when told.

    Attributes
    ----------
    full : bool
        Writes put down half of their data, then fail: no space left.
    read_only : bool
        Nothing can be opened for writing.
    sync_fails : bool
        Data is written and cannot be made durable.
    refused : int
        Operations refused so far.
    """

    def __init__(self) -> None:
        self.full = False
        self.read_only = False
        self.sync_fails = False
        self.refused = 0

    def append(self, path: Path, data: Sequence[bytes], *, at: int) -> int:
        """Append, or leave half of it and fail."""
        if self.read_only:
            self._refuse(errno.EROFS)
        if self.full:
            whole = b"".join(data)
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.seek(at)
                file.write(whole[: len(whole) // 2])
            self._refuse(errno.ENOSPC)
        return super().append(path, data, at=at)

    def create(self, path: Path) -> BinaryIO:
        """Open a new file, or fail."""
        if self.read_only:
            self._refuse(errno.EROFS)
        file = super().create(path)
        if self.full:
            file.write(b"PAR1 and not much more")
            file.close()
            self._refuse(errno.ENOSPC)
        return file

    def sync(self, fd: int) -> None:
        """Sync, or fail."""
        if self.sync_fails:
            self._refuse(errno.EIO)
        super().sync(fd)

    def _refuse(self, number: int) -> None:
        self.refused += 1
        raise OSError(number, os.strerror(number))


class Crashed(BaseException):
    """The process dies here; nothing that follows may run, so nothing may catch it."""


class CrashingDisk(FileOps):
    """A disk under a process that dies before (or in the middle of) its ``n``-th operation.

    Parameters
    ----------
    after : int
        Operations that still succeed.
    """

    def __init__(self, after: int) -> None:
        self.left = after

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crashed

    def append(self, path: Path, data: Sequence[bytes], *, at: int) -> int:
        """Append, or leave half of it and fail."""
        if self.left == 0:
            whole = b"".join(data)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.seek(at)
                file.write(whole[: len(whole) * 2 // 3])
        self._step()
        return super().append(path, data, at=at)

    def create(self, path: Path) -> Any:
        """Open a new file, or fail."""
        self._step()
        return super().create(path)

    def publish(self, temporary: Path, final: Path) -> None:
        """Publish, or die before."""
        self._step()
        super().publish(temporary, final)

    def remove(self, path: Path) -> None:
        """Remove, or die before."""
        self._step()
        super().remove(path)
