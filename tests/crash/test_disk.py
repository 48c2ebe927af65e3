"""Disks that refuse, under the whole collector: nothing that was acknowledged is lost, one says so, nobody mends it by hand."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overround.pipelines.lake import verify_lake

from .rig import Rig, Run, rig
from .small_disk import fill, mounted
from .witness import Verdict, compare, ledger_faults

pytestmark = [
    pytest.mark.long,
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform == "win32", reason="signals: Windows has no SIGTERM to send"),
]

OUTAGE_S = float(os.environ.get("OVERROUND_TESTS_OUTAGE_S", "4"))


def n_durable(run: Run) -> int:
    """Rows that the process called durable so far."""
    return sum(taken.durable for taken in run.witness().rows.values())


def is_busy(run: Run) -> bool:
    """Both venues' rows and frames have become durable."""
    seen = run.witness()
    return all(
        len(kind) == 2 and all(taken.durable > 10 for taken in kind.values()) for kind in (seen.rows, seen.frames)
    )


def alarms_missing(run: Run, *, ledger_refused: bool) -> list[str]:
    """Ways in which a refusal should have shown, in the log at once and in the counters, and did not."""
    missing = []
    for name in ("storage.flush_failed", "journal.flush_failed"):
        missing += [f"{name} at {line['level']}" for line in run.events(name) if line["level"] != "error"]
        missing += [f"{name} says no remedy" for line in run.events(name) if not line["remedy"]]
    for line in run.events("collect.stopped"):
        counted = [
            line["flush_failures"],
            line["journal_failures"],
            *([line["ledger_failures"]] if ledger_refused else []),
        ]
        missing += [f"{line['venue']} counted {counted}"] if not all(counted) else []
        left = [line["rows_waiting"], line["journal_waiting"], line["ledger_waiting"]]
        missing += [f"{line['venue']} left {left} behind"] if any(left) else []
    return missing if run.events("collect.stopped") else ["no last status"]


def refused(run: Run) -> bool:
    """Rows and frames of both venues were refused, and the log says so."""
    rows = {line["venue"] for line in run.events("storage.flush_failed") if line["table"] == "orderbook_snapshots"}
    frames = {line["venue"] for line in run.events("journal.flush_failed")}
    return len(rows) == len(frames) == 2


def recovered(run: Run, before: int) -> bool:
    """Both say that the disk takes rows and frames again, and it does."""
    rows = {line["venue"] for line in run.events("storage.recovered") if line["table"] == "orderbook_snapshots"}
    frames = {line["venue"] for line in run.events("journal.recovered")}
    return len(rows) == len(frames) == 2 and n_durable(run) > before


def end_and_compare(held: Rig, run: Run, *, ledger_refused: bool = True) -> Verdict:
    """A clean stop after the outage has lost nothing at all, and the ledger accounts for every second of it."""
    assert run.end() == 0, run.said()[-3000:]
    lives = [(each.witness(), each.killed_ms) for each in held.runs]
    verdict = compare(held.paths, lives)
    assert verdict.problems == []
    assert ledger_faults(held.paths, lives, verdict.lost) == []
    assert alarms_missing(run, ledger_refused=ledger_refused) == []
    report = verify_lake(held.paths)
    assert report.problems == ()
    assert report.open_rows == 0
    return verdict


@pytest.mark.parametrize("how", ["full", "read_only", "sync_fails"])
def test_a_disk_that_refuses_for_a_while_costs_no_row_and_no_frame(tmp_path: Path, how: str) -> None:
    with rig(tmp_path / "rig") as held:
        # The bucket ends meanwhile: neither its file nor the next one's can be made.
        held.bucket_ends_in(7_000)
        run = held.start()
        run.wait_for(lambda: is_busy(run))
        before = n_durable(run)
        run.disk.write_text(how)
        run.wait_for(lambda: refused(run), patience_s=30)
        time.sleep(OUTAGE_S)
        at_worst = n_durable(run)
        run.disk.unlink()
        run.wait_for(lambda: recovered(run, at_worst), patience_s=30)
        verdict = end_and_compare(held, run)
        assert verdict.rows_durable == verdict.rows_taken > before


def test_a_kill_while_the_disk_refuses_loses_only_what_was_never_acknowledged(tmp_path: Path) -> None:
    how = "full"
    with rig(tmp_path / "rig") as held:
        run = held.start()
        run.wait_for(lambda: is_busy(run))
        run.disk.write_text(how)
        run.wait_for(lambda: refused(run), patience_s=30)
        held.kill(run)
        # The next life begins while the disk still refuses, and records once it does not.
        again = held.start()
        again.disk.write_text(how)
        again.wait_for(lambda: refused(again), patience_s=30)
        again.disk.unlink()
        again.wait_for(lambda: recovered(again, 0), patience_s=30)
        verdict = end_and_compare(held, again)
        assert verdict.rows_durable > 40


def test_a_stop_while_the_disk_is_full_says_what_was_lost_and_ends(tmp_path: Path) -> None:
    with rig(tmp_path / "rig") as held:
        run = held.start()
        run.wait_for(lambda: is_busy(run))
        run.disk.write_text("full")
        run.wait_for(lambda: refused(run), patience_s=30)
        assert run.end() == 3
        ended_ms = held.clock.now_ms()
        assert {line["venue"] for line in run.events("storage.rows_lost")} == {"polymarket", "kalshi"}
        again = held.start()
        again.wait_for(lambda: is_busy(again))
        assert again.end() == 0
        lives = [(run.witness(), ended_ms), (again.witness(), None)]
        verdict = compare(held.paths, lives)
        assert verdict.problems == []
        assert verdict.lost
        assert ledger_faults(held.paths, lives, verdict.lost) == []
        assert verify_lake(held.paths).problems == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "small", megabytes=24) as folder:
        yield folder


def test_a_real_disk_that_is_full_for_a_while_costs_no_row_and_no_frame(tmp_path: Path, small_disk: Path) -> None:
    with rig(tmp_path / "rig", data_dir=small_disk / "lake") as held:
        run = held.start()
        run.wait_for(lambda: is_busy(run))
        ballast = fill(small_disk)
        run.wait_for(lambda: refused(run), patience_s=30)
        time.sleep(OUTAGE_S)
        at_worst = n_durable(run)
        ballast.unlink()
        run.wait_for(lambda: recovered(run, at_worst), patience_s=30)
        end_and_compare(held, run)


def test_a_start_on_a_full_disk_records_once_there_is_room(tmp_path: Path, small_disk: Path) -> None:
    with rig(tmp_path / "rig", data_dir=small_disk / "lake") as held:
        run = held.start()
        run.wait_for(lambda: is_busy(run))
        ballast = fill(small_disk)
        run.wait_for(lambda: refused(run), patience_s=30)
        held.kill(run)
        again = held.start()
        again.wait_for(lambda: refused(again), patience_s=30)
        ballast.unlink()
        again.wait_for(lambda: recovered(again, 0), patience_s=30)
        end_and_compare(held, again)


def test_folders_made_read_only_cost_no_row_and_no_frame(tmp_path: Path) -> None:
    prefix: tuple[str, ...] = ()
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("rights: root ignores them, and setpriv is not here")
        # Root without its capabilities is held by a folder's rights like anybody.
        prefix = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    with rig(tmp_path / "rig") as held:
        # Files that stand are still written; a new bucket needs new ones.
        held.bucket_ends_in(8_000)
        run = held.start(prefix=prefix)
        run.wait_for(lambda: is_busy(run))
        folders = [path for path in held.paths.root.rglob("*") if path.is_dir() and path.name != ".locks"]
        for folder in folders:
            folder.chmod(0o555)
        run.wait_for(lambda: refused(run), patience_s=90)
        time.sleep(OUTAGE_S)
        at_worst = n_durable(run)
        for folder in folders:
            folder.chmod(0o755)
        run.wait_for(lambda: recovered(run, at_worst), patience_s=30)
        # The ledger's quarter of an hour had its file already.
        end_and_compare(held, run, ledger_refused=False)
