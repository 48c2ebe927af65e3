"""Ends asked for at a bad moment, and two processes on one lake."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from overround.pipelines.lake import verify_lake
from overround.storage import COVERAGE, gaps_of

from .rig import rig
from .test_disk import is_busy
from .witness import compare, ledger_faults, ledger_problems, unrecorded_losses

pytestmark = [
    pytest.mark.long,
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform == "win32", reason="signals: Windows has no SIGTERM to send"),
]


@pytest.mark.parametrize("where", [r"snapshots_.*\.wal", r"_manifest.*", r"frames_.*"])
def test_a_stop_in_the_middle_of_a_flush_loses_nothing(tmp_path: Path, where: str) -> None:
    with rig(tmp_path / "rig") as held:
        held.bucket_ends_in(6_000)
        run = held.start()
        run.wait_for(lambda: is_busy(run))
        # Every write takes its time from now on; the stop falls into one of them.
        run.disk.write_text("slow")
        run.wait_for(lambda: re.search(rf"^lingers\|\.?{where}$", run.out.read_text(), re.MULTILINE))
        assert run.end(signal.SIGTERM) == 0, run.said()[-3000:]
        lives = [(run.witness(), None)]
        verdict = compare(held.paths, lives)
        assert verdict.problems == []
        assert ledger_faults(held.paths, lives, verdict.lost) == []
        assert verdict.rows_durable == verdict.rows_taken > 20
        report = verify_lake(held.paths)
        assert (report.problems, report.open_rows) == ((), 0)
        assert not list(held.paths.root.rglob("*.wal"))


def test_a_second_process_is_refused_by_name_and_disturbs_nobody(tmp_path: Path) -> None:
    with rig(tmp_path / "rig") as held:
        first = held.start()
        first.wait_for(lambda: is_busy(first))
        second = held.start()
        assert second.process.wait(60) == 2
        assert f"process {first.process.pid} is already recording" in second.said()
        one_venue = held.start(arguments=("--venue", "kalshi"))
        assert one_venue.process.wait(60) == 2
        before = sum(taken.durable for taken in first.witness().rows.values())
        first.wait_for(lambda: sum(taken.durable for taken in first.witness().rows.values()) > before + 20)
        assert first.end() == 0, first.said()[-3000:]
        verdict = compare(held.paths, [(each.witness(), None) for each in held.runs])
        assert verdict.problems == []
        assert ledger_faults(held.paths, [(first.witness(), None)], verdict.lost) == []
        assert verify_lake(held.paths).problems == ()


def test_two_processes_record_a_venue_each_into_one_lake(tmp_path: Path) -> None:
    with rig(tmp_path / "rig") as held:
        runs = [held.start(arguments=("--venue", venue)) for venue in ("polymarket", "kalshi")]
        for run in runs:
            run.wait_for(lambda: any(taken.durable > 20 for taken in run.witness().rows.values()))  # noqa: B023
        held.kill(runs[0])
        # The survivor's lock is not the other's: a new process takes over the dead one's venue.
        runs.append(held.start(arguments=("--venue", "polymarket")))
        runs[2].wait_for(lambda: any(taken.durable > 20 for taken in runs[2].witness().rows.values()))
        assert [run.end() for run in runs[1:]] == [0, 0]
        verdict = compare(held.paths, [(each.witness(), each.killed_ms) for each in held.runs])
        assert verdict.problems == []
        assert unrecorded_losses(held.paths, verdict.lost) == []
        polymarket = [(each.witness(), each.killed_ms) for each in (runs[0], runs[2])]
        assert ledger_problems(held.paths, polymarket, "polymarket") == []
        assert (
            gaps_of(held.paths, "kalshi", held.paths.days(COVERAGE, "kalshi"))
            .filter(cause="collector_down")
            .collect()
            .is_empty()
        )
        assert verify_lake(held.paths).problems == ()
