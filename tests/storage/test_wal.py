"""What a write-ahead file holds survives, whatever happened to its tail."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from overround.storage.fileops import FileOps, FileShortened
from overround.storage.wal import Wal, new_wal_id, read_wal
from overround.testing.disks import FailingDisk

SCHEMA = pa.schema([pa.field("ts_recv", pa.int64(), nullable=False), pa.field("word", pa.string())])


def batch(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(numbers, pa.int64()), pa.array([f"w{n}" for n in numbers])], schema=SCHEMA)


def numbers_in(path: Path) -> list[int]:
    return [number for part in read_wal(path).batches for number in part.column(0).to_pylist()]


@pytest.fixture
def wal(tmp_path: Path) -> Wal:
    return Wal(tmp_path / "x.wal", new_wal_id(), SCHEMA, bucket_s=300)


def test_saved_batches_read_back_with_their_identity_and_sums(wal: Wal) -> None:
    wal.add(batch(1, 2), number=1, tallies={"gaps": 2})
    assert wal.save(FileOps()) == 2
    wal.add(batch(), number=2, tallies={"gaps": 3})
    wal.add(batch(3), number=3)
    assert wal.save(FileOps()) == 1
    content = read_wal(wal.path)
    assert (content.wal_id, content.bucket_s, content.tallies, content.torn) == (wal.wal_id, 300, {"gaps": 5}, False)
    assert numbers_in(wal.path) == [1, 2, 3]
    assert all(part.schema.equals(SCHEMA, check_metadata=True) for part in content.batches)


def test_any_arrow_library_reads_the_file_as_one_stream(wal: Wal) -> None:
    for number in range(3):
        wal.add(batch(number), number=number)
        wal.save(FileOps())
    with pa.OSFile(str(wal.path)) as file:
        assert pa.ipc.open_stream(file).read_all()["word"].to_pylist() == ["w0", "w1", "w2"]


def test_a_file_cut_at_any_byte_gives_the_whole_batches_before_the_cut(wal: Wal) -> None:
    ends = []
    for number in range(4):
        wal.add(batch(*range(number * 3, number * 3 + 3)), number=number)
        wal.save(FileOps())
        ends.append(wal.length)
    data = wal.path.read_bytes()
    for length in range(len(data)):
        wal.path.write_bytes(data[:length])
        whole = sum(end <= length for end in ends)
        assert numbers_in(wal.path) == list(range(whole * 3))


def test_zeros_after_the_last_batch_are_no_batch(wal: Wal) -> None:
    # What a file system may leave after a loss of power: the length is there, the data is not.
    wal.add(batch(7), number=1)
    wal.save(FileOps())
    with wal.path.open("ab") as file:
        file.write(b"\0" * 4096)
    assert numbers_in(wal.path) == [7]


@pytest.mark.parametrize("fault", ["full", "read_only", "sync_fails"])
def test_what_the_disk_refuses_is_kept_and_written_later(wal: Wal, fault: str) -> None:
    disk = FailingDisk()
    wal.add(batch(1), number=1)
    wal.save(disk)
    setattr(disk, fault, True)
    for number in (2, 3):
        wal.add(batch(number), number=number)
        with pytest.raises(OSError, match=r"space|Read-only|error"):
            wal.save(disk)
    assert wal.oldest_unsaved == 2
    setattr(disk, fault, False)
    wal.add(batch(4), number=4)
    assert wal.save(disk) == 3
    assert numbers_in(wal.path) == [1, 2, 3, 4]


def test_a_first_save_that_fails_leaves_nothing_in_the_way(wal: Wal) -> None:
    disk = FailingDisk()
    disk.full = True
    wal.add(batch(1), number=1)
    with pytest.raises(OSError, match="space"):
        wal.save(disk)
    disk.full = False
    wal.save(disk)
    assert numbers_in(wal.path) == [1]


def test_a_file_that_somebody_removed_is_begun_again_and_the_loss_is_told(wal: Wal) -> None:
    wal.add(batch(1), number=1)
    wal.save(FileOps())
    wal.path.unlink()
    wal.add(batch(2), number=2)
    with pytest.raises(FileShortened):
        wal.save(FileOps())
    assert wal.save(FileOps()) == 1
    assert numbers_in(wal.path) == [2]


def test_the_oldest_unsaved_batch_can_be_given_up_without_spoiling_the_rest(wal: Wal) -> None:
    for number in range(3):
        wal.add(batch(number), number=number, span_ms=(10 * number, 10 * number + 5))
    assert wal.unsaved_since_ms == 0
    n_rows, n_bytes, span_ms = wal.drop_oldest()
    assert (n_rows, span_ms) == (1, (0, 5))
    assert wal.unsaved_since_ms == 10
    assert n_bytes > 0
    wal.save(FileOps())
    assert numbers_in(wal.path) == [1, 2]
