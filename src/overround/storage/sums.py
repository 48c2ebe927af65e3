"""What the writer leaves of each file of snapshots: the sums of ``market.sums``, so that a ranking opens no list of levels.

A line stands in a file beside the manifest, one for each shard and day, and is worth nothing by itself: it names the content
that it came of (a checksum, which must be the manifest's), and how the file looked when it was finished (size, time of change).
A file that looks otherwise, because it was copied or touched, is hashed; one that differs, or has no line, is read anew.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from overround.errors import UNREADABLE
from overround.market.sums import SUM_NAMES, TOP_LEVELS, OutcomeRows, sum_rows
from overround.storage.columns import column, numbers, ranks, texts
from overround.storage.fileops import FileOps
from overround.storage.manifest import ManifestLine, append_line

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["FileSums", "leave_sums", "left_sums", "sums_of"]

log = structlog.get_logger()

SUMS_VERSION = 1
"""Grows when a sum's meaning changes; lines of another version are passed over."""


class FileSums(NamedTuple):
    """Sums of one file.

    Attributes
    ----------
    outcomes : list of (str, str)
        Markets and outcomes; all files of a shard and day share one list.
    numbers : array of int64
        Which of them the columns of ``values`` are of.
    values : array of int64, shape (len(SUM_NAMES), len(numbers))
    """

    outcomes: Sequence[tuple[str, str]]
    numbers: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """One file's sums as they are stored.

    Lines number outcomes in the order in which sound lines name them: ``known`` were named before, ``named`` are new. The arrays
    are compressed; ``check`` is a digest of all else.
    """

    file: str
    sha256: str
    size: int
    mtime_ns: int
    version: int
    known: int
    named: bytes
    index: bytes
    values: bytes
    check: str = ""

    def digest(self) -> str:
        about = f"{self.file} {self.sha256} {self.size} {self.mtime_ns} {self.version} {self.known} {len(self.named)}"
        parts = (about.encode(), self.named, self.index, self.values)
        return hashlib.sha256(b"\n".join(parts)).hexdigest()[:16]


_DECODER = msgspec.json.Decoder(_Line)
_OUTCOMES = msgspec.json.Decoder(list[tuple[str, str]])


def _lines(path: Path) -> tuple[list[_Line], list[tuple[str, str]]]:
    """Sound lines of one file, and the outcomes that they number."""
    lines: list[_Line] = []
    outcomes: list[tuple[str, str]] = []
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        text = b""
    for raw in text.splitlines():
        try:
            line = _DECODER.decode(raw)
            if line.version == SUMS_VERSION and line.known == len(outcomes) and line.check == line.digest():
                outcomes += _OUTCOMES.decode(zstd.decompress(line.named)) if line.named else ()
                lines.append(line)
        except UNREADABLE:
            continue  # torn by a crash
    return lines, outcomes


def sums_of(rows: pa.Table) -> tuple[list[tuple[str, str]], npt.NDArray[np.int64]]:
    """Sums of snapshot rows in the table's schema, in any order: the outcomes, sorted, and a column for each."""
    rows = rows.combine_chunks()
    market, outcome = ranks(rows.column("market_id")), ranks(rows.column("outcome_id"))
    status = rows.column("status").combine_chunks()
    ts, seq = (numbers(rows.column(name).combine_chunks()) for name in ("ts_recv", "seq"))
    order = np.lexsort((ts, outcome, market))
    market, outcome = market[order], outcome[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (market[1:] != market[:-1]) | (outcome[1:] != outcome[:-1])
    quote = [rows.column(f"best_{side}_{what}").combine_chunks() for side in ("bid", "ask") for what in ("px", "sz")]
    sizes = [size for side in ("bid", "ask") for size in _first_sizes(rows.column(f"{side}_sz"))]
    found = sum_rows(
        OutcomeRows(
            begins=begins,
            ts=ts[order],
            seq=seq[order],
            quote=tuple(numbers(each)[order] for each in quote),
            sizes=tuple(size[order] for size in sizes),
            ok=numbers(pc.equal(status, texts(["ok"])[0]).cast(pa.int8()))[order] == 1,
        )
    )
    at = column(order[begins])
    markets, outcomes = ([str(each) for each in rows.column(name).take(at)] for name in ("market_id", "outcome_id"))
    return list(zip(markets, outcomes, strict=True)), np.array([found[name] for name in SUM_NAMES])


def _first_sizes(levels: pa.ChunkedArray[Any]) -> list[npt.NDArray[np.float64]]:
    """The first levels of each list: NaN for a first one that is not there, 0 for a further one."""
    lists: Any = levels.combine_chunks()
    offsets, sizes = numbers(lists.offsets), numbers(lists.values)
    starts, lengths = offsets[:-1].astype(np.int64), np.diff(offsets)
    if not len(sizes):
        sizes = np.zeros(1)
    return [
        np.where(lengths > level, sizes[np.minimum(starts + level, len(sizes) - 1)], 0.0 if level else np.nan)
        for level in range(TOP_LEVELS)
    ]


def leave_sums(ops: FileOps, path: Path, rows: pa.Table, *, target: Path, day: Path, sha256: str) -> None:
    """Add a finished file's line; a disk that refuses costs a later reader time, nothing else.

    Parameters
    ----------
    ops : FileOps
    path : Path
        Where the lines stand.
    rows : pyarrow.Table
        All rows of the file.
    target : Path
        The file, under its name.
    day : Path
        The day's folder.
    sha256 : str
        Of the file's content.
    """
    outcomes, values = sums_of(rows)
    try:
        numbered = {outcome: number for number, outcome in enumerate(_lines(path)[1])}
        known = len(numbered)
        index = np.array([numbered.setdefault(outcome, len(numbered)) for outcome in outcomes], "<i4")
        named = list(numbered)[known:]
        stat = target.stat()
        line = _Line(
            file=target.relative_to(day).as_posix(),
            sha256=sha256,
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            version=SUMS_VERSION,
            known=known,
            named=zstd.compress(msgspec.json.encode(named)) if named else b"",
            index=zstd.compress(index.tobytes()),
            values=zstd.compress(values.astype("<i8").tobytes()),
        )
        append_line(ops, path, msgspec.structs.replace(line, check=line.digest()))
    except OSError as exc:
        log.warning("storage.sums_not_left", file=target.name, reason=str(exc))


def left_sums(paths: Iterable[Path], day: Path, listed: Mapping[str, ManifestLine]) -> dict[str, FileSums]:
    """Sums of the files that are still what they were made of, by their names in the manifest.

    Parameters
    ----------
    paths : iterable of Path
        All shards' lines of a day.
    day : Path
    listed : mapping of str to ManifestLine
    """
    found: dict[str, FileSums] = {}
    for path in paths:
        lines, outcomes = _lines(path)
        newest = {line.file: line for line in lines}
        for name, line in newest.items():
            if name in listed and listed[name].sha256 == line.sha256 and _is_of(line, day / name):
                index = np.frombuffer(zstd.decompress(line.index), "<i4").astype(np.int64)
                values = np.frombuffer(zstd.decompress(line.values), "<i8")
                found[name] = FileSums(outcomes, index, values.reshape(len(SUM_NAMES), -1))
    return found


def _is_of(line: _Line, file: Path) -> bool:
    """Whether the file is what the sums were made of: it looks as it did, or has the same content."""
    try:
        stat = file.stat()
        if stat.st_size != line.size:
            return False
        if stat.st_mtime_ns == line.mtime_ns:
            return True
        with file.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest() == line.sha256
    except OSError:
        return False
