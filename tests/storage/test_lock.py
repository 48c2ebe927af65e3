from __future__ import annotations

import pytest

from overround.errors import LakeLocked
from overround.storage import CollectorLock, LakePaths


def test_a_lock_whose_owner_cannot_be_written_down_holds_all_the_same(paths: LakePaths) -> None:
    # As on a full disk: something stands where the file would be made.
    paths.lock("kalshi").with_suffix(".json").mkdir(parents=True)
    lock = CollectorLock(paths, "kalshi")
    lock.acquire()
    with pytest.raises(LakeLocked, match="another process"):
        CollectorLock(paths, "kalshi").acquire()
