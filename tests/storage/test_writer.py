"""The snapshot writer keeps every row it took, exactly once, on disks and clocks that misbehave."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from overround.errors import FileDamaged, LakeLocked, OriginMismatch, StorageError
from overround.market import Origin
from overround.storage import SNAPSHOTS, LakePaths, SnapshotWriter, scan_snapshots
from overround.storage.manifest import read_manifests
from overround.testing.clock import ManualClock
from overround.testing.disks import FailingDisk

Open = Callable[..., SnapshotWriter]
Append = Callable[..., None]

DAY = "2026-01-14"


def seqs(paths: LakePaths) -> list[int]:
    """``seq`` of every stored row of the first outcome, the open bucket included."""
    rows = scan_snapshots(paths, "kalshi").collect()
    assert sorted(rows.filter(outcome_id="yes")["seq"]) == sorted(rows.filter(outcome_id="no")["seq"])
    return sorted(rows.filter(outcome_id="yes")["seq"].to_list())


def parquet_names(paths: LakePaths) -> list[str]:
    return sorted(path.name for path in paths.root.rglob("*.parquet"))


def leftovers(paths: LakePaths) -> list[str]:
    return sorted(path.name for path in paths.root.rglob("*") if path.suffix in {".wal", ".tmp", ".damaged"})


async def test_a_clean_stop_leaves_one_file_per_bucket_and_nothing_else(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    for seq in range(400):
        append(writer.buffer, clock.now_ms(), seq)
        clock.skip_ms(1_500)
        if writer.due(clock.now_ms()):
            assert await writer.flush(clock.now_ms())
    await writer.stop()
    assert parquet_names(paths) == [f"snapshots_2026-01-14T12-{minute}.parquet" for minute in ("05", "10")]
    assert leftovers(paths) == []
    assert seqs(paths) == list(range(400))
    stats = writer.stats
    assert (stats.rows, stats.file_rows, stats.rows_waiting, stats.failures, stats.files) == (800, 800, 0, 0, 2)
    lines = read_manifests(paths.manifests(SNAPSHOTS, "kalshi", DAY))
    assert sum(line.rows for line in lines.values()) == 800
    assert stats.bytes_written == sum(line.bytes for line in lines.values())


def test_a_flush_is_due_when_the_bucket_changes_or_rows_or_seconds_pile_up(
    clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer(settings={"flush_rows": 6, "flush_secs": 5})
    now = clock.now_ms()
    assert not writer.due(now)
    assert not writer.due(now + 4_999)
    assert writer.due(now + 5_000)
    for seq in range(3):
        assert not writer.due(now)
        append(writer.buffer, now, seq)
    assert writer.due(now)
    clock.skip_ms(298_000)
    late = open_writer(venue="polymarket")
    assert not late.due(clock.now_ms() + 999)
    assert late.due(clock.now_ms() + 1_000)  # 12:10:00 begins a bucket


async def test_readers_see_flushed_rows_of_the_open_bucket_once(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    for seq in range(3):
        append(writer.buffer, clock.now_ms(), seq)
        await writer.flush(clock.now_ms())
        assert seqs(paths) == list(range(seq + 1))
    assert parquet_names(paths) == []


async def test_a_restart_inside_a_bucket_merges_into_its_one_file(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    for run in range(3):
        writer = open_writer()
        assert seqs(paths) == list(range(run)) if run else True
        append(writer.buffer, clock.now_ms(), run)
        clock.skip_ms(1_000)
        if run == 1:
            assert await writer.flush(clock.now_ms())
            writer.abandon()  # a crash: the rows are in the write-ahead file only
        else:
            await writer.stop()
    assert parquet_names(paths) == ["snapshots_2026-01-14T12-05.parquet"]
    assert seqs(paths) == [0, 1, 2]
    assert leftovers(paths) == []


async def test_what_a_crash_left_is_finished_at_the_next_start(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    append(writer.buffer, clock.now_ms(), 1)
    await writer.flush(clock.now_ms())
    folder = paths.hour(SNAPSHOTS, "kalshi", DAY, "12")
    (folder / ".snapshots_2026-01-14T12-00.parquet.tmp").write_bytes(b"half")
    writer.abandon()
    clock.skip_ms(3_600_000)
    again = open_writer()
    assert parquet_names(paths) == ["snapshots_2026-01-14T12-05.parquet"]
    assert leftovers(paths) == []
    assert again.stats.files == 1


@pytest.mark.parametrize("fault", ["full", "read_only", "sync_fails"])
async def test_rows_wait_in_memory_while_the_disk_refuses_and_are_written_without_a_hand(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append, fault: str
) -> None:
    disk = FailingDisk()
    writer = open_writer(ops=disk)
    append(writer.buffer, clock.now_ms(), 0)
    assert await writer.flush(clock.now_ms())
    setattr(disk, fault, True)
    for seq in range(1, 70):  # over the end of the bucket
        append(writer.buffer, clock.now_ms(), seq)
        clock.skip_ms(5_000)
        assert not await writer.flush(clock.now_ms())
    stats = writer.stats
    assert stats.rows_waiting == 138
    assert stats.failures >= 69
    assert stats.last_error
    visible = seqs(paths)  # what is not acknowledged may be read already, but never twice
    assert len(visible) == len(set(visible))
    assert 0 in visible
    setattr(disk, fault, False)
    assert await writer.flush(clock.now_ms())
    assert (writer.stats.rows_waiting, writer.stats.last_error) == (0, "")
    assert seqs(paths) == list(range(70))
    await writer.stop()
    assert seqs(paths) == list(range(70))
    assert leftovers(paths) == []
    assert len(parquet_names(paths)) == 2


async def test_a_bucket_that_cannot_become_parquet_stays_readable_and_is_tried_again(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    class NoParquet(FailingDisk):
        def publish(self, temporary: Path, final: Path) -> None:
            if self.full:
                self._refuse(28)
            super().publish(temporary, final)

        def append(self, path: Path, data: list[bytes], *, at: int) -> int:  # type: ignore[override]
            return FailingDisk.__mro__[1].append(self, path, data, at=at)

    disk = NoParquet()
    writer = open_writer(ops=disk)
    append(writer.buffer, clock.now_ms(), 1)
    disk.full = True
    clock.skip_ms(300_000)
    assert await writer.flush(clock.now_ms())
    await writer.settle()
    assert (writer.stats.failures, parquet_names(paths), seqs(paths)) == (1, [], [1])
    disk.full = False
    assert await writer.flush(clock.now_ms())  # too early for another try
    await writer.settle()
    assert parquet_names(paths) == []
    clock.skip_ms(10_000)
    assert await writer.flush(clock.now_ms())
    await writer.settle()
    assert (parquet_names(paths), seqs(paths)) == (["snapshots_2026-01-14T12-05.parquet"], [1])


async def test_only_past_the_bound_are_the_oldest_rows_given_up_and_counted(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    disk = FailingDisk()
    writer = open_writer(ops=disk, unsaved_limit=20_000)
    disk.full = True
    began_ms = clock.now_ms()
    for seq in range(40):
        append(writer.buffer, clock.now_ms(), seq)
        clock.skip_ms(5_000)
        await writer.flush(clock.now_ms())
    disk.full = False
    assert await writer.flush(clock.now_ms())
    kept = seqs(paths)
    assert kept == list(range(40 - len(kept), 40))
    assert 0 < len(kept) < 40
    assert writer.stats.rows_dropped == 2 * (40 - len(kept))
    assert writer.take_lost_ms() == (began_ms, began_ms + 5_000 * (39 - len(kept)))


async def test_rows_stamped_after_the_clock_stepped_back_go_to_their_own_bucket(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    for step_ms in (0, 300_000, -3_600_000, 10_000, 7_200_000, -3_500_000):
        clock.step_wall_ms(step_ms)
        append(writer.buffer, clock.now_ms(), clock.now_ms() // 1000)
        assert writer.due(clock.now_ms()) or step_ms in {0, 10_000}
        assert await writer.flush(clock.now_ms())
        await writer.settle()
    before = seqs(paths)
    await writer.stop()
    assert seqs(paths) == before
    assert len(before) == 6
    assert leftovers(paths) == []
    for path in paths.root.rglob("*.parquet"):
        stamps = pq.ParquetFile(path).read()["ts_recv"].to_pylist()
        assert {paths.root.joinpath(path).name} == {
            f"snapshots_{DAY}T{ts // 3_600_000 % 24:02d}-{ts // 300_000 % 12 * 5:02d}.parquet" for ts in stamps
        }


async def test_late_rows_of_a_finished_bucket_are_merged_into_its_file(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    old_ms = clock.now_ms()
    append(writer.buffer, old_ms, 1)
    clock.skip_ms(300_000)
    await writer.flush(clock.now_ms())
    await writer.settle()
    assert parquet_names(paths) == ["snapshots_2026-01-14T12-05.parquet"]
    append(writer.buffer, old_ms + 1, 2)
    append(writer.buffer, clock.now_ms(), 3)
    await writer.flush(clock.now_ms())
    await writer.settle()
    assert seqs(paths) == [1, 2, 3]
    assert pq.ParquetFile(next(paths.root.rglob("*.parquet"))).read()["seq"].to_pylist() == [1, 2, 1, 2]


async def test_gaps_are_counted_with_their_bucket_and_survive_a_crash(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    append(writer.buffer, clock.now_ms(), 1)
    writer.note_gaps(2)
    await writer.flush(clock.now_ms())
    writer.note_gaps(5)
    await writer.flush(clock.now_ms())
    writer.abandon()
    clock.skip_ms(400_000)
    writer = open_writer()
    append(writer.buffer, clock.now_ms(), 2)
    writer.note_gaps(1)
    await writer.stop()
    lines = read_manifests(paths.manifests(SNAPSHOTS, "kalshi", DAY))
    assert [line.gaps for _, line in sorted(lines.items())] == [5, 1]


async def test_a_cancelled_flush_loses_nothing(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    for seq in range(20):
        append(writer.buffer, clock.now_ms(), seq)
        task = asyncio.create_task(writer.flush(clock.now_ms()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await writer.stop()
    assert seqs(paths) == list(range(20))


@pytest.mark.parametrize("full", [False, True])
async def test_the_newest_row_on_disk_is_known_whether_its_bucket_was_finished_or_not(
    clock: ManualClock, open_writer: Open, append: Append, full: bool
) -> None:
    disk = FailingDisk()
    writer = open_writer(ops=disk)
    assert writer.newest_row_ms([(0, 1)]) is None
    for seq in range(3):
        append(writer.buffer, clock.now_ms(), seq)
        clock.skip_ms(400_000)
    newest_ms = clock.now_ms() - 400_000
    await writer.flush(clock.now_ms())
    await writer.settle()
    disk.full = full
    append(writer.buffer, newest_ms + 1, 9)
    assert await writer.flush(clock.now_ms()) is not full
    writer.abandon()
    assert open_writer(ops=disk).newest_row_ms([(0, 1)]) == newest_ms + (not full)


async def test_the_newest_row_of_a_run_that_died_is_known_though_the_clock_was_set_back_before(
    clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    append(writer.buffer, clock.now_ms(), 1)
    await writer.stop()
    clock.step_wall_ms(-3_600_000)
    writer = open_writer()
    newest_ms = clock.now_ms()
    append(writer.buffer, newest_ms, 2)
    assert await writer.flush(newest_ms)
    writer.abandon()
    assert open_writer().newest_row_ms([(0, 1)]) == newest_ms


async def test_rows_removed_by_another_hand_are_counted_and_later_rows_are_kept(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writer = open_writer()
    append(writer.buffer, clock.now_ms(), 1)
    await writer.flush(clock.now_ms())
    next(paths.root.rglob("*.wal")).unlink()
    append(writer.buffer, clock.now_ms(), 2)
    assert not await writer.flush(clock.now_ms())
    assert writer.stats.rows_removed == 2
    first_ms, last_ms = writer.take_lost_ms() or (0, 0)
    assert first_ms <= clock.now_ms() <= last_ms
    assert writer.take_lost_ms() is None
    append(writer.buffer, clock.now_ms(), 3)
    assert await writer.flush(clock.now_ms())
    await writer.stop()
    assert seqs(paths) == [2, 3]


async def test_a_stop_on_a_dead_disk_ends_says_what_is_lost_and_frees_the_lock(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    disk = FailingDisk()
    writer = open_writer(ops=disk)
    append(writer.buffer, clock.now_ms(), 1)
    disk.read_only = True
    await clock.run(writer.stop())
    assert writer.stats.rows_waiting == 2
    assert clock.slept_ms == [500.0] * 3
    open_writer()


async def test_a_start_on_a_full_disk_leaves_the_leftovers_for_later(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    died = [open_writer(shard=shard) for shard in ((0, 1), (1, 2))]
    for number, writer in enumerate(died):
        append(writer.buffer, clock.now_ms(), number, market=f"KX-{number}")
        await writer.flush(clock.now_ms())
    for writer in died:
        writer.abandon()
    disk = FailingDisk()
    disk.full = True
    writer = open_writer(ops=disk)
    assert (parquet_names(paths), writer.stats.failures, seqs(paths)) == ([], 1, [0, 1])
    disk.full = False
    clock.skip_ms(400_000)
    assert await writer.flush(clock.now_ms())
    await writer.settle()
    assert parquet_names(paths) == ["snapshots_2026-01-14T12-05.parquet"]
    assert seqs(paths) == [0, 1]  # the other shard's rows wait for a start that can finish them


async def test_shards_write_their_own_files_and_are_read_together(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    writers = [open_writer(shard=(number, 2)) for number in range(2)]
    for number, writer in enumerate(writers):
        append(writer.buffer, clock.now_ms(), number, market=f"KX-{number}")
        await writer.flush(clock.now_ms())
    assert seqs(paths) == [0, 1]
    for writer in writers:
        await writer.stop()
    assert parquet_names(paths) == [f"snapshots_2026-01-14T12-05.s{number}of2.parquet" for number in range(2)]
    assert seqs(paths) == [0, 1]


async def test_a_shard_that_runs_no_more_is_finished_by_whoever_starts_next(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    running, dead = open_writer(shard=(0, 3)), open_writer(shard=(1, 3))
    for seq, writer in enumerate((running, dead)):
        append(writer.buffer, clock.now_ms(), seq)
        await writer.flush(clock.now_ms())
    dead.abandon()
    open_writer()
    assert parquet_names(paths) == ["snapshots_2026-01-14T12-05.s1of3.parquet"]
    assert len(leftovers(paths)) == 1
    assert seqs(paths) == [0, 1]


def test_a_second_collector_of_the_same_venue_is_refused_with_the_firsts_pid(
    paths: LakePaths, open_writer: Open
) -> None:
    open_writer()
    with pytest.raises(LakeLocked, match=f"process {os.getpid()} is already recording kalshi") as refused:
        open_writer()
    assert refused.value.hint is not None
    assert "data_dir" in refused.value.hint
    open_writer(venue="polymarket")
    open_writer(shard=(1, 2))


def test_a_lock_dies_with_its_process(paths: LakePaths, open_writer: Open) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from overround.storage import CollectorLock, LakePaths\n"
        "lock = CollectorLock(LakePaths(Path(sys.argv[1])), 'kalshi'); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(paths.root)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == b"held"
        with pytest.raises(LakeLocked, match=f"process {other.pid} "):
            open_writer()
        other.kill()
        other.wait()
    open_writer()


def test_writing_never_loads_pandas_or_polars_into_the_collector(paths: LakePaths) -> None:
    # Loading them in the first flush would stop the event loop for a second.
    script = """
import asyncio, sys
from pathlib import Path
from overround.config import StorageSettings
from overround.market import Origin
from overround.storage import LakePaths, SnapshotWriter, newest_stats
from overround.testing.clock import ManualClock

async def main():
    clock = ManualClock()
    paths = LakePaths(Path(sys.argv[1]))
    writer = SnapshotWriter(paths, "kalshi", settings=StorageSettings(), top_k=5, origin=Origin.LIVE, clock=clock)
    writer.start()
    key = writer.buffer.register("m", ("yes", "no"))
    for ts in (clock.now_ms(), clock.now_ms() + 300_000):
        writer.buffer.append(key, ts, {1: 1}, {2: 1}, seq=1, source_ts=None, stale=False, err=None, integrity=None)
    await writer.flush(clock.now_ms())
    await writer.stop()
    newest_stats(paths, "kalshi")

asyncio.run(main())
print(sorted({"pandas", "polars", "duckdb"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script, str(paths.root)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(parquet_names(paths)) == 2


def test_live_and_synthetic_rows_never_share_a_folder(paths: LakePaths, open_writer: Open) -> None:
    open_writer(origin=Origin.SYNTHETIC).abandon()
    with pytest.raises(OriginMismatch, match="holds synthetic rows, these would be live"):
        open_writer()
    open_writer(origin=Origin.SYNTHETIC)  # the refusal left no lock behind


def test_an_origin_file_that_says_nothing_is_named_with_a_remedy(paths: LakePaths, open_writer: Open) -> None:
    paths.root.mkdir()
    paths.origin().write_text("{}")
    with pytest.raises(FileDamaged, match=r"_origin\.json does not say") as damaged:
        open_writer()
    assert '"origin": "live"' in str(damaged.value.hint)


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path, open_writer: Open) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="cannot be written") as refused:
        open_writer(paths=LakePaths(tmp_path / "file"))
    assert refused.value.hint


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    mount = shutil.which("mount")
    where = tmp_path / "tiny"
    where.mkdir()
    if mount is None or sys.platform != "linux":
        pytest.skip("tmpfs: no mount command")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("tmpfs: not allowed to mount")
    yield where
    subprocess.run(["umount", str(where)], check=True)


async def test_a_truly_full_disk_costs_no_row(
    tiny_disk: Path, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    paths = LakePaths(tiny_disk / "data")
    writer = open_writer(paths=paths)
    filler = tiny_disk / "filler"
    filler.write_bytes(b"x" * 900_000)
    refused = 0
    for seq in range(600):
        append(writer.buffer, clock.now_ms(), seq)
        clock.skip_ms(1_000)
        if writer.due(clock.now_ms()):
            refused += not await writer.flush(clock.now_ms())
    assert refused
    filler.unlink()
    assert await writer.flush(clock.now_ms())
    await writer.stop()
    assert seqs(paths) == list(range(600))
    assert leftovers(paths) == []
    assert Counter(seqs(paths)).most_common(1)[0][1] == 1
    writer.abandon()
