"""What a collector that lost its shard can still do to its successor's files: nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import filelock
import polars as pl
import pytest

from overround.errors import LakeLocked, StorageError
from overround.pipelines.lake import verify_lake
from overround.storage import CollectorLock, LakePaths, SnapshotWriter, raise_fence, scan_snapshots
from overround.storage.fence import read_fence
from overround.testing.clock import ManualClock

Append = Callable[..., None]
Open = Callable[..., SnapshotWriter]
SHARD = (1, 3)


def leased(open_writer: Open, paths: LakePaths, token: int, **options: Any) -> SnapshotWriter:
    lock = CollectorLock(paths, "kalshi", SHARD, leased=True)
    lock.acquire()
    raise_fence(paths, "kalshi", SHARD, token)
    writer = open_writer(shard=SHARD, token=token, lock=lock, **options)
    lock.release()  # the writer holds it, too
    return writer


def seqs(paths: LakePaths) -> list[int]:
    return scan_snapshots(paths, "kalshi").filter(pl.col("outcome_id") == "yes").sort("seq").collect()["seq"].to_list()


async def test_what_a_superseded_writer_wrote_before_counts_and_what_it_writes_after_does_not(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    old = leased(open_writer, paths, 5)
    append(old.buffer, clock.now_ms(), 1)
    assert await old.flush(clock.now_ms())
    append(old.buffer, clock.now_ms() + 1, 2)  # taken, not durable when it stops to move
    new = leased(open_writer, paths, 6)
    append(new.buffer, clock.now_ms() + 10, 3)
    assert await new.flush(clock.now_ms())
    assert seqs(paths) == [1, 3]
    # It wakes up: its rows stay with it, and it says so.
    assert not await old.flush(clock.now_ms())
    assert "taken this shard over" in old.stats.last_error
    assert old.stats.rows_waiting == 2
    assert seqs(paths) == [1, 3]
    await clock.run(old.stop())
    assert seqs(paths) == [1, 3]
    await new.stop()
    assert seqs(paths) == [1, 3]
    assert verify_lake(paths).ok


async def test_a_file_that_a_superseded_writer_gets_out_all_the_same_is_never_read(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = leased(open_writer, paths, 5)
    new = leased(open_writer, paths, 6)
    append(new.buffer, clock.now_ms(), 1)
    assert await new.flush(clock.now_ms())
    # It looked before the other came, and writes after.
    with monkeypatch.context() as patch:
        patch.setattr("overround.storage.table_writer.is_superseded", lambda *_: False)
        append(old.buffer, clock.now_ms(), 2)
        assert await old.flush(clock.now_ms())
    assert len(list(paths.root.rglob("*.wal"))) == 2
    assert seqs(paths) == [1]
    old.abandon()
    await new.stop()
    # Whoever starts next removes it, and adopts nothing of it.
    last = leased(open_writer, paths, 7)
    assert read_fence(paths.fence("kalshi", SHARD)).adopted == ()
    await last.stop()
    assert seqs(paths) == [1]
    assert not list(paths.root.rglob("*.wal"))


async def test_a_superseded_writer_replaces_no_finished_file(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append
) -> None:
    old = leased(open_writer, paths, 5)
    append(old.buffer, clock.now_ms(), 1)
    assert await old.flush(clock.now_ms())
    new = leased(open_writer, paths, 6)
    append(new.buffer, clock.now_ms() + 1, 2)
    clock.skip_ms(400_000)
    assert await new.flush(clock.now_ms())
    await new.settle()
    (file,) = paths.root.rglob("*.parquet")
    before = file.read_bytes()
    await old.flush(clock.now_ms())
    await old.settle()
    assert old.stats.failures
    assert file.read_bytes() == before
    assert seqs(paths) == [1, 2]


async def test_a_successor_waits_with_its_files_for_one_that_stands_still_in_the_middle_of_one(
    paths: LakePaths, clock: ManualClock, open_writer: Open, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overround.storage.fence._PATIENCE_S", 0.1)
    new = leased(open_writer, paths, 6)
    append(new.buffer, clock.now_ms(), 1)
    stuck = filelock.FileLock(paths.publish_lock("kalshi", SHARD))
    stuck.acquire()
    clock.skip_ms(400_000)
    assert await new.flush(clock.now_ms())
    await new.settle()
    assert new.stats.files == 0
    assert seqs(paths) == [1]
    stuck.release()
    clock.skip_ms(20_000)
    assert await new.flush(clock.now_ms())
    await new.settle()
    assert new.stats.files == 1
    assert seqs(paths) == [1]


def test_a_lease_passes_over_a_lock_of_a_lease_and_over_no_other(paths: LakePaths) -> None:
    stopped = CollectorLock(paths, "kalshi", SHARD, leased=True)
    stopped.acquire()
    heir = CollectorLock(paths, "kalshi", SHARD, leased=True)
    heir.acquire()
    stopped.release()
    assert CollectorLock.is_held(paths.lock("kalshi", SHARD))
    with pytest.raises(LakeLocked):
        CollectorLock(paths, "kalshi", SHARD).acquire()
    fixed = CollectorLock(paths, "polymarket", SHARD)
    fixed.acquire()
    with pytest.raises(LakeLocked, match="already recording polymarket shard 1/3"):
        CollectorLock(paths, "polymarket", SHARD, leased=True).acquire()


def test_an_older_token_does_not_lower_the_fence(paths: LakePaths) -> None:
    raise_fence(paths, "kalshi", SHARD, 6)
    with pytest.raises(StorageError, match=r"newer owner \(token 6, ours 5\)"):
        raise_fence(paths, "kalshi", SHARD, 5)
    paths.fence("kalshi", SHARD).write_text("nonsense")
    with pytest.raises(StorageError, match="does not say who may write"):
        raise_fence(paths, "kalshi", SHARD, 7)
