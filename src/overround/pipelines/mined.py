"""What one stored file says, kept from run to run: a day that was mined before is not read again.

A kept result names everything that it came of: the snapshot file's checksum, the checksums of that hour's trades, the gaps
of its time, and the version of the sums. Where one of them differs, it is made anew; what is not used any more is removed.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import structlog

from overround.analytics import BLOCK_COLUMNS, PARTIAL_SCHEMA
from overround.storage import LakePaths
from overround.storage.fileops import FileOps

__all__ = ["MINED_VERSION", "Mined", "MinedStore", "digest_of"]

log = structlog.get_logger()

MINED_VERSION = 2
"""Grows when a sum's meaning changes."""
_WIDE = [name for name, kind in PARTIAL_SCHEMA.items() if kind == pl.Int128()]


@dataclass(frozen=True, kw_only=True)
class Mined:
    """Sums of one file.

    Attributes
    ----------
    partial, blocks : polars.DataFrame
        ``PARTIAL_SCHEMA`` and ``BLOCK_COLUMNS``.
    """

    partial: pl.DataFrame
    blocks: pl.DataFrame


def digest_of(*parts: object) -> str:
    """A short name for what a result came of."""
    return hashlib.sha256(repr((MINED_VERSION, *parts)).encode()).hexdigest()[:20]


class MinedStore:
    """Kept results of one venue and day.

    Parameters
    ----------
    paths : LakePaths
    venue, date : str

    Attributes
    ----------
    found, made : int
        Results taken from here, and put here.
    """

    def __init__(self, paths: LakePaths, venue: str, date: str) -> None:
        self._folder = paths.mined(venue, date)
        self._used: set[str] = set()
        self.found = self.made = 0

    def get(self, stem: str, digest: str) -> Mined | None:
        """A file's kept sums, if they came of the same; an unreadable one counts as none."""
        frames = []
        for kind, schema in (("partial", PARTIAL_SCHEMA), ("blocks", BLOCK_COLUMNS)):
            path = self._path(stem, digest, kind)
            try:
                frame = pl.read_parquet(io.BytesIO(path.read_bytes()))
                frames.append(frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items()))
            except FileNotFoundError:
                return None
            except (OSError, pl.exceptions.PolarsError) as exc:
                log.warning("mine.kept_unreadable", path=str(path), reason=str(exc))
                return None
        self.found += 1
        return Mined(partial=frames[0], blocks=frames[1])

    def put(self, stem: str, digest: str, mined: Mined) -> None:
        """Keep a file's sums; a disk that refuses costs time, nothing else."""
        self.made += 1
        for kind, frame in (("partial", mined.partial), ("blocks", mined.blocks)):
            path = self._path(stem, digest, kind)
            sink = io.BytesIO()
            # Parquet has no integers of 128 bits.
            frame.with_columns(pl.col(name).cast(pl.String) for name in _WIDE if name in frame.columns).write_parquet(
                sink, compression="zstd"
            )
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                FileOps().write_whole(path, sink.getvalue())
            except OSError as exc:
                log.warning("mine.not_kept", path=str(path), reason=str(exc))
                return

    def sweep(self, stems: set[str]) -> None:
        """Remove results of these files that were not asked for."""
        for path in self._folder.glob("*.parquet") if self._folder.is_dir() else ():
            if path.name not in self._used and path.name.partition("~")[0] in stems:
                path.unlink(missing_ok=True)

    def _path(self, stem: str, digest: str, kind: str) -> Path:
        name = f"{stem}~{digest}~{kind}.parquet"
        self._used.add(name)
        return self._folder / name
