"""The manifest: one line per finished file, in the folder of its day.

Lines are appended and synced; the last line of a file wins; a torn last line is passed over. Each shard
writes its own manifest, so no two processes append to one file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from overround.errors import UNREADABLE
from overround.storage.fileops import FileOps

__all__ = ["ManifestLine", "append_line", "read_manifest", "read_manifests"]


class ManifestLine(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one finished file.

    Attributes
    ----------
    file : str
        Path from the day's folder, with forward slashes.
    rows, bytes : int
    first_ts, last_ts : int
        Smallest and largest time of its rows, ms.
    sha256 : str
    schema_version : int
    writer : str
        Program and version.
    origin : str
        ``live`` or ``synthetic``.
    gaps : int
        Gaps that began while the bucket was recorded.
    bucket_s : int
        Length of the bucket, seconds.
    written_ts : int
        When the file was finished, ms.
    wals : tuple of str
        Identities of the write-ahead files whose rows it holds.
    """

    file: str
    rows: int
    bytes: int
    first_ts: int
    last_ts: int
    sha256: str
    schema_version: int
    writer: str
    origin: str
    gaps: int = 0
    bucket_s: int = 0
    written_ts: int = 0
    wals: tuple[str, ...] = ()


_DECODER = msgspec.json.Decoder(ManifestLine)


def append_line(ops: FileOps, path: Path, line: msgspec.Struct) -> None:
    """Append a line, durably; a torn line left by a crash is closed first."""
    data = msgspec.json.encode(line) + b"\n"
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size:
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    data = b"\n" + data
    except FileNotFoundError:
        size = 0
    ops.append(path, [data], at=size)


def read_manifest(path: Path) -> dict[str, ManifestLine]:
    """Newest line of every file named; empty when there is no manifest."""
    lines: dict[str, ManifestLine] = {}
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return lines
    for raw in text.splitlines():
        try:
            line = _DECODER.decode(raw)
        except UNREADABLE:
            continue  # torn by a crash; the file's next line tells
        lines[line.file] = line
    return lines


def read_manifests(paths: Iterable[Path]) -> dict[str, ManifestLine]:
    """The lines of several shards' manifests together."""
    lines: dict[str, ManifestLine] = {}
    for path in paths:
        lines.update(read_manifest(path))
    return lines
