"""Small files appear whole, whoever else writes them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from overround.storage.fileops import FileOps


def test_writers_at_the_same_time_leave_one_whole_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "universe.jsonl"
    contents = [bytes([65 + number]) * 200_000 for number in range(4)]
    failures: list[Exception] = []

    def write(data: bytes) -> None:
        try:
            for _ in range(15):
                FileOps().write_whole(path, data)
                assert path.read_bytes() in contents
        except Exception as exc:  # noqa: BLE001 - a thread's end
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [file.name for file in tmp_path.iterdir()] == ["universe.jsonl"]


def test_refused_write_keeps_the_old_content_and_leaves_no_rubbish(tmp_path: Path) -> None:
    class FullDisk(FileOps):
        def sync(self, fd: int) -> None:
            raise OSError(28, "No space left on device")

    path = tmp_path / "stats.parquet"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        FullDisk().write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["stats.parquet"]
