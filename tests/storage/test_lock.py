from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from overround.errors import LakeLocked
from overround.storage import CollectorLock, LakePaths, refuse_other_counts


def test_a_lock_whose_owner_cannot_be_written_down_holds_all_the_same(paths: LakePaths) -> None:
    # As on a full disk: something stands where the file would be made.
    paths.lock("kalshi").with_suffix(".json").mkdir(parents=True)
    lock = CollectorLock(paths, "kalshi")
    lock.acquire()
    with pytest.raises(LakeLocked, match="another process"):
        CollectorLock(paths, "kalshi").acquire()


def test_two_processes_of_one_shard_are_told_apart_and_what_to_do(paths: LakePaths) -> None:
    held = CollectorLock(paths, "kalshi", (2, 4))
    held.acquire()
    with pytest.raises(LakeLocked, match="already recording kalshi shard 2/4") as refused:
        CollectorLock(paths, "kalshi", (2, 4)).acquire()
    assert refused.value.hint is not None
    assert "another shard" in refused.value.hint
    CollectorLock(paths, "kalshi", (1, 4)).acquire()


def test_collectors_that_divide_by_another_number_do_not_run_side_by_side(paths: LakePaths) -> None:
    first = CollectorLock(paths, "kalshi", (1, 2))
    first.acquire()
    refuse_other_counts(paths, "kalshi", (0, 2))
    refuse_other_counts(paths, "polymarket", (0, 1))
    for shard in ((0, 1), (0, 3)):
        with pytest.raises(LakeLocked, match="shard 1/2 of kalshi is being recorded"):
            refuse_other_counts(paths, "kalshi", shard)
    first.release()
    refuse_other_counts(paths, "kalshi", (0, 3))


def test_a_lock_borrowed_to_finish_files_is_waited_for(paths: LakePaths) -> None:
    borrowed = CollectorLock(paths, "kalshi", (0, 2), borrowed=True)
    borrowed.acquire()
    with pytest.raises(LakeLocked):
        CollectorLock(paths, "kalshi", (0, 2), borrowed=True).acquire()
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(CollectorLock(paths, "kalshi", (0, 2)).acquire)
        time.sleep(1.5)
        assert not taken.done()
        borrowed.release()
        taken.result(timeout=10)
