"""A lake in an object store, read where it lies.

`ObjectPath` is so much of ``pathlib.Path`` as the readers use: what lists, and what reads. All else of the lake does not know
the difference. Nothing is ever written there: what commands make of such a lake (statistics, reports, what mining keeps) lies
in a local folder, its *work folder*.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from overround.config import ArchiveSettings
from overround.errors import StorageError
from overround.storage.archive import open_store
from overround.storage.paths import FilePlace, LakePaths, TablePlace, remote_url

if TYPE_CHECKING:
    from obstore import ReadableFile
    from obstore.store import ObjectStore

__all__ = ["ObjectPath", "RemoteLake", "open_lake", "open_ranges"]

_HELD_BYTES = 64 << 20
"""Of objects that were read whole: a file's checksum and its rows come of one reading."""
_RANGE_BYTES = 1 << 20
_DERIVED = {"stats", "mm_viability"}
"""Tables that reading makes; they are written to the work folder, and read there first."""


class _Stat(NamedTuple):
    """Of an object, in the words of ``os.stat``."""

    st_size: int
    st_mtime_ns: int

    @property
    def st_mtime(self) -> float:
        return self.st_mtime_ns / 1e9


class _Objects:
    """One store; each listing is made once, each object read once while it is in hand."""

    def __init__(self, store: ObjectStore, url: str, options: dict[str, str]) -> None:
        self.store, self.url, self.options = store, url, options
        self._levels: dict[str, tuple[set[str], dict[str, _Stat]]] = {}
        self._trees: dict[str, dict[str, _Stat]] = {}
        self._held: OrderedDict[str, bytes] = OrderedDict()

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as exc:
            said = str(exc).strip().partition("\n")[0][:300]
            raise StorageError(
                f"{self.url}/{key}: {said}", hint="is the store reachable, and are its keys right? ([archive])"
            ) from exc

    def level(self, key: str) -> tuple[set[str], dict[str, _Stat]]:
        """Names of the folders, and the files, right under a key."""
        import obstore

        if key not in self._levels:
            with self._translated(key):
                found = obstore.list_with_delimiter(self.store, prefix=key or None)
            folders = {PurePosixPath(each).name for each in found["common_prefixes"]}
            self._levels[key] = folders, {PurePosixPath(each["path"]).name: _stat(each) for each in found["objects"]}
        return self._levels[key]

    def tree(self, key: str) -> dict[str, _Stat]:
        """Every file under a key, by its path from there."""
        import obstore

        if key not in self._trees:
            found: dict[str, _Stat] = {}
            with self._translated(key):
                for page in obstore.list(self.store, prefix=key or None):
                    found |= {str(each["path"])[len(key) + 1 if key else 0 :]: _stat(each) for each in page}
            self._trees[key] = found
        return self._trees[key]

    def read(self, key: str) -> bytes:
        """An object's content."""
        import obstore

        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        with self._translated(key):
            content = bytes(obstore.get(self.store, key).bytes())
        self._held[key] = content
        while len(self._held) > 1 and sum(map(len, self._held.values())) > _HELD_BYTES:
            self._held.popitem(last=False)
        return content

    def holds(self, key: str) -> bool:
        return key in self._held

    def ranges(self, key: str) -> BinaryIO:
        """An object as a file of which only what is asked for is fetched."""
        import obstore

        with self._translated(key):
            return cast("BinaryIO", _Ranges(obstore.open_reader(self.store, key, buffer_size=_RANGE_BYTES)))


class _Ranges(io.RawIOBase):
    """The library's reader of ranges as a file."""

    def __init__(self, reader: ReadableFile) -> None:
        super().__init__()
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def readinto(self, buffer: Any) -> int:
        data = memoryview(self._reader.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)


def _stat(meta: Any) -> _Stat:
    changed: datetime = meta["last_modified"]
    return _Stat(int(meta["size"]), int(changed.timestamp() * 1e9))


_OPEN: dict[str, _Objects] = {}
"""Stores in use, by their address with one slash, as paths spell it."""


class ObjectPath(PurePosixPath):
    """The name of an object, or of what would be a folder."""

    __slots__ = ()

    def __str__(self) -> str:
        return remote_url(super().__str__()) or super().__str__()

    def _home(self) -> tuple[_Objects, str]:
        text = super().__str__()
        for root, objects in _OPEN.items():
            if text == root or text.startswith(f"{root}/"):
                return objects, text[len(root) + 1 :]
        raise FileNotFoundError(f"{text} lies in no store that is open")

    def is_dir(self) -> bool:
        """Whether anything lies under it."""
        objects, key = self._home()
        return not key or self.name in objects.level(key.rpartition("/")[0])[0]

    def is_file(self) -> bool:
        """Whether it is an object."""
        objects, key = self._home()
        return bool(key) and self.name in objects.level(key.rpartition("/")[0])[1]

    def exists(self) -> bool:
        """Whether it is either."""
        return self.is_dir() or self.is_file()

    def stat(self) -> _Stat:
        """Size and time; ``FileNotFoundError`` where there is nothing."""
        objects, key = self._home()
        found = objects.level(key.rpartition("/")[0])[1].get(self.name)
        if found is None:
            raise FileNotFoundError(f"{self} is not there")
        return found

    def iterdir(self) -> Iterator[ObjectPath]:
        """What lies right under it."""
        objects, key = self._home()
        folders, files = objects.level(key)
        return iter([self / name for name in (*sorted(folders), *sorted(files))])

    def glob(self, pattern: str) -> Iterator[ObjectPath]:
        """What matches, without ``**``; a day's folder is listed at once, what is above it level by level."""
        first, _, rest = pattern.partition("/")
        objects, key = self._home()
        if any(part.startswith("date=") for part in self.parts):
            wanted = pattern.split("/")
            for name in sorted(objects.tree(key)):
                parts = name.split("/")
                if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
                    yield self / name
        elif rest:
            for name in sorted(objects.level(key)[0]):
                if fnmatchcase(name, first):
                    yield from (self / name).glob(rest)
        else:
            yield from (path for path in self.iterdir() if fnmatchcase(path.name, first))

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """Files anywhere under it whose name matches."""
        objects, key = self._home()
        return (self / name for name in sorted(objects.tree(key)) if fnmatchcase(name.rpartition("/")[2], pattern))

    def read_bytes(self) -> bytes:
        """The content, whole."""
        objects, key = self._home()
        return objects.read(key)

    def open(self, mode: str = "rb") -> BinaryIO:
        """The content as a file, fetched whole."""
        if mode != "rb":
            raise StorageError(f"{self} lies in an object store and can only be read")
        return io.BytesIO(self.read_bytes())

    def ranges(self) -> BinaryIO:
        """The content as a file of which only what is read is fetched."""
        objects, key = self._home()
        return io.BytesIO(objects.read(key)) if objects.holds(key) else objects.ranges(key)

    def parquet_source(self) -> tuple[str | BinaryIO, dict[str, str]]:
        """What polars may scan, and with which options: content that is in hand, or the address."""
        objects, key = self._home()
        return (io.BytesIO(objects.read(key)), {}) if objects.holds(key) else (str(self), objects.options)


def open_ranges(path: Path) -> BinaryIO:
    """A file of which only what is read is fetched, wherever it lies."""
    found: object = path
    return found.ranges() if isinstance(found, ObjectPath) else path.open("rb")


class RemoteLake(LakePaths):
    """A lake in an object store, and the local folder of what is made of it.

    Parameters
    ----------
    root : ObjectPath
    work : Path
    """

    def __init__(self, root: ObjectPath, work: Path) -> None:
        self.root = cast("Path", root)
        self.work = LakePaths(work)

    @property
    def made(self) -> Path:
        """The work folder."""
        return self.work.root

    def files_of(self, place: TablePlace | FilePlace) -> list[Path]:
        """A table's files, those of the work folder in place of the store's."""
        found = {path.relative_to(self.root).as_posix(): path for path in super().files_of(place)}
        found |= {path.relative_to(self.work.root).as_posix(): path for path in self.work.files_of(place)}
        return [found[name] for name in sorted(found)]

    def name_of(self, path: Path) -> str:
        """A file's path from whichever of the two folders it is in."""
        return path.relative_to(self.work.root if isinstance(path, Path) else self.root).as_posix()

    def mined(self, venue: str, date: str) -> Path:
        """In the work folder."""
        return self.work.mined(venue, date)

    def pipeline_runs(self) -> Path:
        """In the work folder."""
        return self.work.pipeline_runs()

    def pipeline_runs_lock(self) -> Path:
        """In the work folder."""
        return self.work.pipeline_runs_lock()

    def _daily(self, table: str, venue: str, date: str) -> Path:
        made = self.work._daily(table, venue, date)
        return made if table in _DERIVED else super()._daily(table, venue, date)


def _work_of(url: str) -> str:
    return url.replace("://", "_").replace("/", "_")


def open_lake(data_dir: Path, settings: ArchiveSettings, work_dir: Path) -> LakePaths:
    """The lake that a setting names: a folder, or an address in an object store.

    Parameters
    ----------
    data_dir : Path
        A folder, or ``s3://bucket/prefix``, ``gs://…``, ``az://…``.
    settings : ArchiveSettings
        Endpoint, region and keys of an S3 server.
    work_dir : Path
        Holds a folder for each address.

    Raises
    ------
    ConfigError
        If the library is not installed, or the address is none.
    """
    url = remote_url(data_dir.as_posix())
    if url is None:
        return LakePaths(data_dir)
    url = url.rstrip("/")
    root = ObjectPath(url)
    key = PurePosixPath(url).as_posix()
    if key not in _OPEN:
        _OPEN[key] = _Objects(open_store(url, settings), url, _scan_options(url, settings))
    return RemoteLake(root, work_dir / _work_of(url))


def _scan_options(url: str, settings: ArchiveSettings) -> dict[str, str]:
    """What polars' own reader of stores has to know; it finds the rest in the environment, as the library does."""
    if not url.startswith("s3://"):
        return {}
    given = {
        "aws_endpoint_url": settings.endpoint,
        "aws_region": settings.region,
        "aws_access_key_id": settings.access_key_id,
        "aws_secret_access_key": settings.secret_access_key.get_secret_value(),
        "aws_allow_http": "true" if settings.endpoint.startswith("http://") else "",
    }
    return {name: value for name, value in given.items() if value}
