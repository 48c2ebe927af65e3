"""Keeping a collector that lost its lease from writing after its successor.

A process may stand still for any time and go on as if nothing had happened: its locks are held, its clock has moved, and
whatever it checked before may no longer hold. So each lease has a number that grows (its token), write-ahead files carry the
token of whoever wrote them, and a successor notes its own beside the lake's locks, together with the write-ahead files that
it found and takes over. From then on those of an older token that are not in the note do not count: no reader sees them,
nothing makes Parquet of them. No clock is compared with another.

Finishing a bucket reads what the file holds already and replaces it, so that is done under a lock of its own, and after a
look at the note: whoever has been superseded leaves it alone. A collector that stands still inside it holds up its successor's files,
whose rows are safe in write-ahead files meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import msgspec

from overround.errors import UNREADABLE, StorageError
from overround.storage.fileops import FileOps
from overround.storage.paths import COVERAGE, GAPS, INCLUSION, SNAPSHOTS, TRADES, LakePaths, Shard, WalFile

__all__ = ["Fence", "fence_of_file", "is_superseded", "publishing", "raise_fence", "read_fence"]

_PATIENCE_S = 5.0


class Fence(msgspec.Struct, frozen=True):
    """Who may write.

    Attributes
    ----------
    token : int
        Of the newest owner; 0 where there were no leases.
    adopted : tuple of str
        Write-ahead files of older tokens that count all the same.
    """

    token: int = 0
    adopted: tuple[str, ...] = ()

    def admits(self, token: int, wal_id: str) -> bool:
        """Whether a write-ahead file counts."""
        return token == 0 or token >= self.token or wal_id in self.adopted


def read_fence(path: Path) -> Fence:
    """The note; the least one where there is none.

    Raises
    ------
    StorageError
        If it does not read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Fence)
    except FileNotFoundError:
        return Fence()
    except UNREADABLE as exc:
        raise StorageError(
            f"{path} does not say who may write: {exc}", hint=f"remove {path} while nothing records"
        ) from exc


def fence_of_file(path: Path) -> Fence:
    """The note that concerns a write-ahead file, found by where it lies."""
    venue = next(folder for folder in path.parents if folder.name.startswith("venue="))
    paths = LakePaths(venue.parent.parent)
    wal = paths.wal_named(path)
    return read_fence(paths.fence(venue.name.removeprefix("venue="), wal.shard)) if wal is not None else Fence()


def all_wal_files(paths: LakePaths, venue: str, shard: Shard) -> Iterator[WalFile]:
    """Write-ahead files of a shard, of all tables."""
    for place in (SNAPSHOTS, TRADES, COVERAGE, GAPS, INCLUSION):
        for date in paths.days(place, venue):
            for hour in paths.hours(place, venue, date):
                yield from (wal for wal in paths.wal_files(place, venue, date, hour) if wal.shard == shard)


def is_superseded(paths: LakePaths, venue: str, shard: Shard, token: int) -> bool:
    """Whether a newer owner has taken over; never so without leases (token 0)."""
    return token > 0 and read_fence(paths.fence(venue, shard)).token > token


def raise_fence(paths: LakePaths, venue: str, shard: Shard, token: int) -> None:
    """Note that this token writes from now on, and take over the write-ahead files that are there.

    Parameters
    ----------
    paths : LakePaths
    venue : str
    shard : Shard
    token : int

    Raises
    ------
    StorageError
        If a newer owner is at work.
    OSError
        If the folder cannot be written.
    """
    path = paths.fence(venue, shard)
    held = read_fence(path)
    if held.token > token:
        raise StorageError(
            f"shard {shard[0]}/{shard[1]} of {venue} has a newer owner (token {held.token}, ours {token})",
            hint="was the lease's table emptied? then remove " + str(path),
        )
    adopted = {wal.wal_id for wal in all_wal_files(paths, venue, shard) if held.admits(_token_of(wal.path), wal.wal_id)}
    FileOps().write_whole(path, msgspec.json.encode(Fence(token, tuple(sorted(adopted)))) + b"\n")


def _token_of(path: Path) -> int:
    from overround.storage.wal import read_wal_token  # which asks this module whether a file counts

    try:
        return read_wal_token(path)
    except FileNotFoundError:
        return 0


@contextmanager
def publishing(paths: LakePaths, venue: str, shard: Shard, token: int) -> Iterator[None]:
    """Finish a bucket, alone and only if nobody has taken over; without leases (token 0) there is nobody else.

    Raises
    ------
    StorageError
        If a newer owner is at work, or the lock is held for long.
    """
    if token == 0:
        yield
        return
    lock = filelock.FileLock(paths.publish_lock(venue, shard))
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except filelock.Timeout:
        raise StorageError("an earlier owner of the shard stands still while it finishes a file") from None
    try:
        if is_superseded(paths, venue, shard, token):
            raise StorageError(f"shard {shard[0]}/{shard[1]} of {venue} has a newer owner than token {token}")
        yield
    finally:
        lock.release()
