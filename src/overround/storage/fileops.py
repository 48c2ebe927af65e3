"""The few operations by which the lake changes files; the port through which tests make disks fail."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

__all__ = ["FileOps", "FileShortened"]

_BINARY = getattr(os, "O_BINARY", 0)


class FileShortened(OSError):
    """A file is shorter than what was acknowledged as written to it: somebody cut or removed it."""


class FileOps:
    """File operations of the machine's own file system; all are durable when they return."""

    def append(self, path: Path, data: Sequence[bytes], *, at: int) -> int:
        """Write blocks from offset ``at`` on, cut off whatever lay beyond, and sync.

        A failed call leaves the file at ``at`` bytes, or longer with rubbish that the next call cuts off.

        Parameters
        ----------
        path : Path
            Created, with its folders, when ``at`` is 0.
        data : sequence of bytes
        at : int
            Bytes that are known to be good.

        Returns
        -------
        int
            The file's new length.

        Raises
        ------
        FileShortened
            If the file is absent or has fewer than ``at`` bytes.
        OSError
            If the system refuses.
        """
        if at == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | _BINARY | (0 if at else os.O_CREAT), 0o666)
        except FileNotFoundError as exc:
            if at == 0:
                raise
            raise FileShortened(f"{path} has gone") from exc
        try:
            size = os.fstat(fd).st_size
            if size < at:
                raise FileShortened(f"{path} has {size} bytes, {at} were written")
            try:
                if size > at:
                    os.ftruncate(fd, at)
                os.lseek(fd, at, os.SEEK_SET)
                for block in data:
                    self._write_all(fd, block)
                self.sync(fd)
            except OSError:
                self._cut(fd, at)
                raise
            length = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if at == 0:
            self.sync_folder(path.parent)
        return length

    def claim(self, path: Path) -> bool:
        """Make an empty file; False where there is a file already, whoever made it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.open("xb").close()
        except FileExistsError:
            return False
        return True

    def create(self, path: Path) -> BinaryIO:
        """Open a new (or emptied) file for writing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")

    def publish(self, temporary: Path, final: Path) -> None:
        """Give a finished, synced temporary file its name, replacing what had it."""
        temporary.replace(final)
        self.sync_folder(final.parent)

    def write_whole(self, path: Path, data: bytes) -> None:
        """Write a small file so that a reader sees the old content or the new, never a part."""
        # A name of its own: a scan and a running collector may write the same listing at the same time.
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with self.create(temporary) as file:
                file.write(data)
                file.flush()
                self.sync(file.fileno())
            self.publish(temporary, path)
        except OSError:
            self.remove(temporary)
            raise

    def remove(self, path: Path) -> None:
        """Remove a file; fine when it is gone already."""
        path.unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder and all in it; readers see it whole or not at all.

        What a crash leaves behind is hidden, and removed by the next call for a folder beside it.
        """
        for left in folder.parent.glob(".removed.*"):
            shutil.rmtree(left)
        aside = folder.with_name(f".removed.{folder.name}")
        folder.replace(aside)
        self.sync_folder(folder.parent)
        shutil.rmtree(aside)

    def sync(self, fd: int) -> None:
        """Make a file's content durable."""
        os.fsync(fd)

    def sync_folder(self, folder: Path) -> None:
        """Make names inside a folder durable (Windows does so by itself)."""
        if os.name == "nt":
            return
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    @staticmethod
    def _write_all(fd: int, block: bytes) -> None:
        view = memoryview(block)
        while view:
            view = view[os.write(fd, view) :]

    @staticmethod
    def _cut(fd: int, at: int) -> None:
        try:
            os.ftruncate(fd, at)
        except OSError:
            return  # the next append cuts
