"""What stored files say, kept from run to run: a day that was mined before is not read again.

A file's kept sums name everything that they came of: the snapshot file's checksum, the checksums of that hour's trades, the
gaps of its time, and the version of the sums. Where one of them differs, they are made anew; what is not used any more goes.
An hour's are one file, with a checksum in front. What is reckoned from many hours' sums is kept in the same way, under what
it came of. A snapshot file that was not touched since it was hashed (size, times of
change, identity) is not hashed again; ``overround lake verify`` always does.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl
import structlog

from overround.analytics import BLOCK_COLUMNS, PARTIAL_SCHEMA
from overround.errors import UNREADABLE
from overround.storage import LakePaths
from overround.storage.fileops import FileOps

__all__ = ["MINED_VERSION", "KeptHour", "Mined", "digest_of", "file_sha256", "keep", "kept_frame", "kept_text"]

log = structlog.get_logger()

MINED_VERSION = 3
"""Grows when a sum's meaning changes."""
_WIDE = [name for name, kind in PARTIAL_SCHEMA.items() if kind == pl.Int128()]
_DIGEST = 32
_Look = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Mined:
    """Sums of one file, or of several.

    Attributes
    ----------
    partial, blocks : polars.DataFrame
        ``PARTIAL_SCHEMA`` and ``BLOCK_COLUMNS``.
    """

    partial: pl.DataFrame
    blocks: pl.DataFrame


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    """``seen``: how each file looked when it was hashed, and its checksum; the frames are Parquet, lines with their ``of``."""

    version: int
    digests: list[str]
    seen: dict[str, tuple[_Look, str]]
    partial: bytes
    blocks: bytes


_DECODER = msgspec.msgpack.Decoder(_Stored)


def digest_of(*parts: object) -> str:
    """A short name for what a result came of."""
    return hashlib.sha256(repr((MINED_VERSION, *parts)).encode()).hexdigest()[:20]


def file_sha256(path: Path) -> str:
    """Checksum of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kept_frame(path: Path, digest: str, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
    """A frame as it was made before of the same things, or made now and kept.

    Parameters
    ----------
    path : Path
        Holds the newest such frame.
    digest : str
        Of everything that the frame comes of, code included.
    make : callable
    """
    key = digest.encode()
    data = _kept(path)
    if data is not None and data.startswith(key):
        return pl.read_parquet(io.BytesIO(data[len(key) :]))
    frame = make()
    sink = io.BytesIO()
    frame.write_parquet(sink, compression="zstd")
    keep(path, key + sink.getvalue())
    return frame


def kept_text(path: Path) -> str | None:
    """What was kept there, or None if it is not there or damaged."""
    data = _kept(path)
    return None if data is None else data.decode()


def keep(path: Path, data: bytes) -> None:
    """Keep bytes behind their checksum; a disk that refuses costs time, nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        FileOps().write_whole(path, hashlib.sha256(data).digest() + data)
    except OSError as exc:
        log.warning("mine.not_kept", path=str(path), reason=str(exc))


def _kept(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        log.warning("mine.kept_unreadable", path=str(path), reason=str(exc))
        return None
    if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
        log.warning("mine.kept_unreadable", path=str(path), reason="the checksum differs")
        return None
    return data[_DIGEST:]


class KeptHour:
    """Kept results of one venue, day and hour.

    Parameters
    ----------
    paths : LakePaths
    venue, date, hour : str

    Attributes
    ----------
    digests : set of str
        What there are results of; none if the file is absent, damaged or of another version.
    """

    def __init__(self, paths: LakePaths, venue: str, date: str, hour: str) -> None:
        self._path = paths.mined(venue, date) / f"hour={hour}.sums"
        self._stored = self._read()
        self.digests = set(self._stored.digests) if self._stored else set()
        self._seen = dict(self._stored.seen) if self._stored else {}
        self._looked: dict[str, tuple[_Look, str]] = {}
        self._taken: Mined | None = None

    def _read(self) -> _Stored | None:
        data = _kept(self._path)
        if data is None:
            return None
        try:
            stored = _DECODER.decode(data)
        except UNREADABLE as exc:
            log.warning("mine.kept_unreadable", path=str(self._path), reason=str(exc))
            return None
        return stored if stored.version == MINED_VERSION else None

    def sha256(self, path: Path) -> str:
        """Checksum of a file's content, read again only if the file was touched."""
        look = _look(path)
        known = self._seen.get(path.name)
        if known is None or known[0] != look:
            known = (look, file_sha256(path))
            if _look(path) != look:
                return known[1]
        self._looked[path.name] = known
        return known[1]

    def take(self, digests: Sequence[str]) -> list[Mined]:
        """The results of these files, together."""
        if not digests or self._stored is None:
            return []
        partial, blocks = _frame(self._stored.partial, PARTIAL_SCHEMA), _frame(self._stored.blocks, BLOCK_COLUMNS)
        if self.digests - set(digests):
            partial, blocks = (each.filter(pl.col("of").is_in(list(digests))) for each in (partial, blocks))
        self._taken = Mined(partial=partial, blocks=blocks)
        return [Mined(partial=partial.drop("of"), blocks=blocks.drop("of"))]

    def save(self, known: Sequence[str], made: Mapping[str, Mined]) -> None:
        """Keep what was taken and made."""
        if not made and self.digests == set(known) and self._looked == self._seen:
            return
        partials = [] if self._taken is None else [self._taken.partial]
        blocks = [] if self._taken is None else [self._taken.blocks]
        for digest, mined in made.items():
            partials.append(mined.partial.with_columns(pl.lit(digest).alias("of")))
            blocks.append(mined.blocks.with_columns(pl.lit(digest).alias("of")))
        if not partials:
            return
        stored = _Stored(MINED_VERSION, [*known, *made], self._looked, _bytes(partials), _bytes(blocks))
        data = msgspec.msgpack.encode(stored)
        keep(self._path, data)


def _look(path: Path) -> _Look:
    """What changes when a file is touched; an object in a store has no more than size and time."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, getattr(stat, "st_ctime_ns", 0), getattr(stat, "st_ino", 0)


def _bytes(frames: Sequence[pl.DataFrame]) -> bytes:
    sink = io.BytesIO()
    # Parquet has no integers of 128 bits.
    wide = [pl.col(name).cast(pl.String) for name in _WIDE if name in frames[0].columns]
    pl.concat(frames).with_columns(wide).write_parquet(sink, compression="zstd")
    return sink.getvalue()


def _frame(data: bytes, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(data)).select(*(pl.col(name).cast(kind) for name, kind in schema.items()), "of")
