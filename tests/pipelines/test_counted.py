"""Jobs whose ends are counted in the lake."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overround.cli.app import run
from overround.clock import SystemClock
from overround.errors import NothingStored
from overround.pipelines.counted import counted
from overround.storage import EVERY_VENUE, SNAPSHOTS, LakePaths, RunCount, note_run, read_run_counts
from overround.testing.clock import ManualClock


def test_a_run_is_done_or_failed_and_a_failure_says_why(tmp_path: Path) -> None:
    paths, clock = LakePaths(tmp_path), ManualClock(1_000)
    with counted(paths, "mine", "kalshi", clock=clock):
        pass
    with pytest.raises(NothingStored), counted(paths, "mine", "kalshi", clock=clock):
        raise NothingStored("no rows")
    with counted(paths, "verify", "kalshi", clock=clock) as verified:
        verified.failed = "altered"
    with pytest.raises(KeyboardInterrupt), counted(paths, "mine", "kalshi", clock=clock):
        raise KeyboardInterrupt
    assert read_run_counts(paths) == {
        "mine": {"kalshi": RunCount(done=1, failed=1, done_ms=1_000, failed_ms=1_000, reason="no rows")},
        "verify": {"kalshi": RunCount(failed=1, failed_ms=1_000, reason="altered")},
    }


def test_runs_that_end_together_are_all_counted(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            pool.submit(note_run, paths, "scan", "kalshi", failed="x" if number % 2 else None, now_ms=number)
    count = read_run_counts(paths)["scan"]["kalshi"]
    assert (count.done, count.failed) == (20, 20)


def test_a_run_ends_as_it_would_have_where_it_cannot_be_counted(tmp_path: Path) -> None:
    absent = LakePaths(tmp_path / "absent")
    with counted(absent, "mine", "kalshi", clock=SystemClock()):
        pass
    assert not absent.root.exists()
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / ".locks").write_text("no folder")
    with counted(LakePaths(tmp_path / "lake"), "mine", "kalshi", clock=SystemClock()):
        pass
    assert [path.name for path in (tmp_path / "lake").iterdir()] == [".locks"]


def test_a_verification_that_finds_damage_has_failed(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path)
    damaged = paths.hour(SNAPSHOTS, "kalshi", "2026-01-14", "12") / "snapshots_2026-01-14T12-05.parquet"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no Parquet")
    assert run(["lake", "verify", "--data-dir", str(tmp_path)]) == 1
    count = read_run_counts(paths)["verify"][EVERY_VENUE]
    assert (count.done, count.failed) == (0, 1)
    assert damaged.name in count.reason


def test_a_run_over_all_venues_is_counted_as_one(tmp_path: Path) -> None:
    assert run(["lake", "retain", "--data-dir", str(tmp_path)]) == 0
    assert read_run_counts(LakePaths(tmp_path))["retain"][EVERY_VENUE].done == 1


@pytest.mark.parametrize(
    "command",
    [
        ["mine", "--venue", "kalshi", "--date", "2026-01-14"],
        ["verify", "--venue", "kalshi", "--date", "2026-01-14"],
        ["lake", "verify", "--venue", "kalshi", "--date", "2026-01-14"],
        ["lake", "rebuild", "--from", "journal", "--venue", "kalshi", "--date", "2026-01-14"],
    ],
)
def test_commands_that_find_nothing_have_failed(tmp_path: Path, command: list[str]) -> None:
    assert run([*command, "--data-dir", str(tmp_path)]) == 1
    ((stage, counts),) = read_run_counts(LakePaths(tmp_path)).items()
    assert stage in {command[0], command[1]}
    assert counts["kalshi"].failed == 1
    assert "2026-01-14" in counts["kalshi"].reason
