"""Reading files that may end anywhere."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

from overround.errors import RecordingError
from overround.replay.lines import LineReader

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINES = [b'{"n":%d,"text":"some words that compress"}' % n for n in range(5_000)]
DATA = b"\n".join(LINES) + b"\n"


def read(path: Path, data: bytes) -> tuple[list[bytes], LineReader]:
    path.write_bytes(data)
    reader = LineReader(path)
    return list(reader), reader


@pytest.mark.parametrize(
    "packed",
    [
        DATA,
        gzip.compress(DATA),
        gzip.compress(DATA[:70_000]) + gzip.compress(DATA[70_000:]),
        gzip.compress(DATA) + b"\0" * 512,
        zstd.compress(DATA),
        zstd.compress(DATA[:70_001]) + zstd.compress(DATA[70_001:]),
    ],
    ids=["plain", "gzip", "gzip members", "gzip padded", "zstd", "zstd frames"],
)
def test_every_packing_gives_the_same_lines(tmp_path: Path, packed: bytes) -> None:
    lines, reader = read(tmp_path / "a", packed)
    assert lines == LINES
    assert (reader.line, reader.torn, reader.open_ended) == (len(LINES), "", False)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_a_cut_file_gives_what_comes_before_the_cut(tmp_path: Path, pack) -> None:
    packed = pack(DATA)
    lines, reader = read(tmp_path / "a", packed[: len(packed) * 2 // 3])
    assert 0 < len(lines) < len(LINES)
    assert lines[:-1] == LINES[: len(lines) - 1]
    assert LINES[len(lines) - 1].startswith(lines[-1])
    assert "no end" in reader.torn


def test_a_wrong_checksum_costs_no_line(tmp_path: Path) -> None:
    packed = gzip.compress(DATA)
    lines, reader = read(tmp_path / "a", packed[:-8] + b"wrong!!!")
    assert lines == LINES
    assert reader.torn == "damaged gzip data"


def test_a_last_line_without_its_end_is_said_to_be_open(tmp_path: Path) -> None:
    lines, reader = read(tmp_path / "a", DATA[:-10])
    assert lines[-1] == LINES[-1][:-9]
    assert reader.open_ended


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert read(tmp_path / "a", b"")[0] == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="nowhere"):
        list(LineReader(tmp_path / "nowhere"))
