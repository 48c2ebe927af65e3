"""Lines out of a plain, gzip or zstd file, as far as it reads.

A recording may end in the middle of anything: a killed recorder leaves half a compressed block or half a
line. What comes before the cut is used, and the cut is reported with its place, never passed over. Files
are told apart by their first bytes, not by their names, and are read in chunks, so that memory does not
grow with the file.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from overround.errors import RecordingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["Damage", "LineReader"]

_CHUNK = 1 << 18
# Recorded frames compress 20 to 100 times: many files are open at once while they are merged, and each
# holds one inflated chunk.
_PACKED_CHUNK = 1 << 14
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class Damage(NamedTuple):
    """Where a file stops being readable, or which line is not.

    Attributes
    ----------
    path : Path
    line : int
        Number of the first line concerned, from 1.
    what : str
        What is wrong, in words.
    cut : bool
        The file ends there; otherwise only that line was left out.
    """

    path: Path
    line: int
    what: str
    cut: bool

    def __str__(self) -> str:
        if self.cut:
            return f"{self.path} is cut at line {self.line} ({self.what}); everything before it was used"
        return f"{self.path} line {self.line} was left out: {self.what}"


class LineReader:
    """Iterates over a file's lines without their line ends.

    Parameters
    ----------
    path : Path
        Plain, gzip or zstd; several compressed members after each other are read as one.

    Attributes
    ----------
    line : int
        Number of the line handed out last, from 1.
    torn : str
        Why the file ended before its end, or empty; known once the lines are exhausted.
    open_ended : bool
        The last line had no line end, so it may be cut; known once the lines are exhausted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 0
        self.torn = ""
        self.open_ended = False

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        for chunk in self._chunks():
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                self.line += 1
                yield line
        if rest:
            self.open_ended = True
            self.line += 1
            yield rest

    def _chunks(self) -> Iterator[bytes]:
        """Decompressed bytes as far as they read."""
        try:
            with self.path.open("rb") as file:
                first = file.read(_PACKED_CHUNK)
                if first.startswith(_GZIP):
                    yield from self._gunzipped(file.read, first)
                elif first.startswith(_ZSTD):
                    yield from self._unzstd(file.read, first)
                else:
                    while first:
                        yield first
                        first = file.read(_CHUNK)
        except OSError as exc:
            raise RecordingError(
                f"{self.path} cannot be read: {exc.strerror or exc}", hint="check the path and its permissions"
            ) from exc

    def _gunzipped(self, read: _Read, data: bytes) -> Iterator[bytes]:
        """Bytes of one gzip member after the other."""
        while data:
            inflater = zlib.decompressobj(wbits=31)
            while data and not inflater.eof:
                before = inflater.copy()
                try:
                    out = inflater.decompress(data)
                except zlib.error:
                    self.torn = "damaged gzip data"
                    yield _salvaged(before, data)
                    return
                if out:
                    yield out
                data = read(_PACKED_CHUNK) if not inflater.eof else inflater.unused_data
            if not inflater.eof:
                self.torn = "the gzip stream has no end"
                return
            # A member may be followed by zeros as padding, or by the next member.
            data = data.lstrip(b"\0") or read(_PACKED_CHUNK).lstrip(b"\0")

    def _unzstd(self, read: _Read, data: bytes) -> Iterator[bytes]:
        """Bytes of one zstd frame after the other."""
        while data:
            inflater = zstd.ZstdDecompressor()
            while data and not inflater.eof:
                try:
                    out = inflater.decompress(data)
                except zstd.ZstdError:
                    self.torn = "damaged zstd data"
                    return
                if out:
                    yield out
                data = read(_PACKED_CHUNK) if not inflater.eof else inflater.unused_data
            if not inflater.eof:
                self.torn = "the zstd stream has no end"
                return
            data = data or read(_PACKED_CHUNK)


def _salvaged(inflater: zlib._Decompress, data: bytes) -> bytes:
    """What a chunk that does not inflate as a whole gives byte by byte."""
    out = bytearray()
    for at in range(len(data)):
        try:
            out += inflater.decompress(data[at : at + 1])
        except zlib.error:
            break
    return bytes(out)


class _Read(Protocol):
    """The read method of a binary file."""

    def __call__(self, size: int, /) -> bytes: ...
