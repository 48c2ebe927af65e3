"""The archive: copies of finished days in an object store, each day with a receipt that says what is there.

Objects are named as the files are under the data folder. A receipt is written only after every object that it lists was
read back and had the file's checksum; what no receipt lists is not archived.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from overround.config import ArchiveSettings
from overround.errors import UNREADABLE, ConfigError, FileDamaged, StorageError
from overround.storage.fileops import FileOps
from overround.storage.paths import DayFolder

if TYPE_CHECKING:
    from obstore.store import ObjectStore, S3Config

__all__ = ["Archive", "ArchivedFile", "Receipt", "digest_of", "open_archive", "open_store"]

_CHUNK = 4 << 20
_RECEIPTS = "_receipts"
_SCHEMES = ("s3", "gs", "az", "file")
_RETRIES_S = 60


class ArchivedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a day.

    Attributes
    ----------
    bytes : int
    sha256 : str
    seen_ms : int
        When the file on disk was read; one that was not changed since need not be read again.
    """

    bytes: int
    sha256: str
    seen_ms: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What the archive holds of one table, venue and day.

    Attributes
    ----------
    table, venue, date : str
    origin : str
        ``live`` or ``synthetic``; empty where the lake does not say.
    files : dict of str to ArchivedFile
        By path from the day's folder, with forward slashes.
    """

    table: str
    venue: str
    date: str
    origin: str
    files: dict[str, ArchivedFile]

    @property
    def key(self) -> str:
        """The day's folder under the data folder, and the prefix of its objects."""
        return DayFolder(self.table, self.venue, self.date, Path()).key


_DECODER = msgspec.json.Decoder(Receipt)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_archive(settings: ArchiveSettings) -> Archive | None:
    """The archive of the settings; None where none is set.

    Raises
    ------
    ConfigError
        If the library is not installed, or the address is none.
    """
    return Archive(open_store(settings.url, settings), settings.url) if settings.url else None


def open_store(url: str, settings: ArchiveSettings) -> ObjectStore:
    """The store at an address, or the folder of that name.

    Parameters
    ----------
    url : str
    settings : ArchiveSettings
        Endpoint, region and keys of an S3 server.

    Raises
    ------
    ConfigError
        If the library is not installed, or the address is none.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import LocalStore, S3Store, from_url
    except ImportError as exc:
        raise ConfigError(
            f"{url} needs a library that is not installed", hint="pip install overround[archive]"
        ) from exc
    scheme, is_url, rest = url.partition("://")
    if is_url and scheme not in _SCHEMES:
        raise ConfigError(
            f"{url!r} is no address of a store", hint=f"begin it with {'://, '.join(_SCHEMES)}://, or name a folder"
        )
    try:
        if not is_url or scheme == "file":
            return LocalStore(Path(rest or url).absolute(), mkdir=True)
        if scheme != "s3":
            return from_url(url)
        given = {
            "endpoint": settings.endpoint,
            "region": settings.region,
            "access_key_id": settings.access_key_id,
            "secret_access_key": settings.secret_access_key.get_secret_value(),
        }
        return S3Store.from_url(
            url,
            config=cast("S3Config", {name: value for name, value in given.items() if value}),
            client_options={"allow_http": settings.endpoint.startswith("http://")},
            retry_config={"max_retries": 6, "retry_timeout": timedelta(seconds=_RETRIES_S)},
        )
    except (BaseError, ValueError, OSError) as exc:
        raise ConfigError(f"{url!r} cannot be used: {exc}", hint="see docs/how-to/archive.md") from exc


class Archive:
    """One object store.

    Parameters
    ----------
    store : ObjectStore
    url : str
        How the settings name it.

    Notes
    -----
    Every method raises ``StorageError`` where the store cannot be reached or refuses.
    """

    def __init__(self, store: ObjectStore, url: str) -> None:
        self._store, self.url = store, url

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as exc:
            # The store's own words go on for pages of request and answer; the first line says it.
            said = str(exc).strip().splitlines()[0][:300] if str(exc).strip() else type(exc).__name__
            raise StorageError(
                f"{self.url}: {key}: {said}", hint="is the store reachable, and are its keys right?"
            ) from exc

    def size(self, key: str) -> int | None:
        """An object's bytes; None where there is none."""
        import obstore

        with self._translated(key):
            try:
                return int(obstore.head(self._store, key)["size"])
            except FileNotFoundError:
                return None

    def put(self, key: str, path: Path) -> None:
        """Store a file; a reader sees the old object or the new, never a part."""
        import obstore

        with self._translated(key):
            obstore.put(self._store, key, path)

    def digest(self, key: str) -> str | None:
        """SHA-256 of what is really there, read back; None where there is nothing."""
        sha = hashlib.sha256()
        return sha.hexdigest() if self._each_block(key, sha.update) else None

    def fetch(self, key: str, path: Path, *, sha256: str, ops: FileOps) -> bool:
        """Bring an object to a path, whole or not at all; False where there is none.

        Raises
        ------
        FileDamaged
            If its content has another checksum; nothing is written.
        OSError
            If the disk refuses.
        """
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        sha = hashlib.sha256()
        try:
            with ops.create(temporary) as file:

                def take(block: bytes) -> None:
                    sha.update(block)
                    file.write(block)

                found = self._each_block(key, take)
                file.flush()
                ops.sync(file.fileno())
            if found and sha.hexdigest() != sha256:
                raise FileDamaged(
                    f"{self.url}: {key} has another checksum than its receipt",
                    hint="archive the day again where it is whole",
                )
            if found:
                ops.publish(temporary, path)
            return found
        finally:
            ops.remove(temporary)

    def _each_block(self, key: str, take: Callable[[bytes], object]) -> bool:
        import obstore

        with self._translated(key):
            try:
                found = obstore.get(self._store, key)
            except FileNotFoundError:
                return False
            for block in found.stream(min_chunk_size=_CHUNK):
                take(bytes(block))
            return True

    # -- receipts -----------------------------------------------------------------------------------

    def receipt(self, folder: DayFolder) -> Receipt | None:
        """What is archived of a day; None where nothing is."""
        return self._receipt(f"{_RECEIPTS}/{folder.key}.json")

    def _receipt(self, key: str) -> Receipt | None:
        blocks: list[bytes] = []
        if not self._each_block(key, blocks.append):
            return None
        try:
            return _DECODER.decode(b"".join(blocks))
        except UNREADABLE as exc:
            raise StorageError(
                f"{self.url}: {key} does not read: {exc}", hint="archive the day again, or remove the object"
            ) from exc

    def write_receipt(self, receipt: Receipt) -> None:
        """Say what is archived of a day."""
        import obstore

        key = f"{_RECEIPTS}/{receipt.key}.json"
        with self._translated(key):
            obstore.put(self._store, key, msgspec.json.encode(receipt))

    def receipts(self, *, since: str, until: str, venue: str | None = None, table: str | None = None) -> list[Receipt]:
        """What is archived of the days ``since`` to ``until``, both included; by table, venue and day."""
        import obstore

        keys = []
        with self._translated(_RECEIPTS):
            for page in obstore.list(self._store, prefix=_RECEIPTS):
                keys += [str(each["path"]) for each in page]
        found = []
        for key in sorted(keys):
            named, _, date = key.removeprefix(f"{_RECEIPTS}/").removesuffix(".json").rpartition("/date=")
            of_table, _, of_venue = named.rpartition("/venue=")
            if since <= date <= until and venue in (None, of_venue) and table in (None, of_table):
                receipt = self._receipt(key)
                if receipt is not None:
                    found.append(receipt)
        return found
