"""kill -9 at any instant: what was called durable is there exactly once, and the ledger shows the hole.

The instants: half of them anywhere in the collector's life (its start, when it takes over what the last life left,
included), half of them inside a file operation that is drawn beforehand: before it, half way through, or just after.
The clock is moved on between lives, so that many of them see a bucket end.

What a kill cannot show is a missing sync (the system keeps what was written); for that there are disks that forget, in tests/storage.
"""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from overround.pipelines.lake import verify_lake
from overround.storage.verify import ProblemKind

from .rig import Rig, Run, rig
from .witness import Verdict, compare, ledger_faults

pytestmark = [
    pytest.mark.long,
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform == "win32", reason="signals: Windows has no kill -9"),
]

DEFAULT_KILLS = 20
KILLS_PER_LAKE = 25
LONGEST_LIFE_S = 3.5
# Between a file's new name and its line in the manifest the two disagree; the next start writes the line.
LEFT_BY_A_CRASH = {
    ProblemKind.LEFT_WAL, ProblemKind.HALF_FILE, ProblemKind.UNLISTED, ProblemKind.CHECKSUM, ProblemKind.MANIFEST,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A moment inside a file operation, and how often it may come to pass before the process dies."""

    table: str
    kind: str
    op: str
    stage: str
    most: int


MOMENTS = [
    Moment(table="orderbook_snapshots", kind="wal", op="append", stage="before", most=6),
    Moment(table="orderbook_snapshots", kind="wal", op="append", stage="half", most=6),
    Moment(table="orderbook_snapshots", kind="wal", op="append", stage="after", most=6),
    Moment(table="orderbook_snapshots", kind="parquet", op="create", stage="before", most=2),
    Moment(table="orderbook_snapshots", kind="parquet", op="create", stage="half", most=2),
    Moment(table="orderbook_snapshots", kind="parquet", op="publish", stage="before", most=2),
    Moment(table="orderbook_snapshots", kind="parquet", op="publish", stage="after", most=2),
    Moment(table="orderbook_snapshots", kind="manifest", op="append", stage="before", most=2),
    Moment(table="orderbook_snapshots", kind="manifest", op="append", stage="half", most=2),
    Moment(table="orderbook_snapshots", kind="manifest", op="append", stage="after", most=2),
    Moment(table="orderbook_snapshots", kind="wal", op="remove", stage="before", most=2),
    Moment(table="orderbook_snapshots", kind="wal", op="remove", stage="after", most=2),
    Moment(table="coverage", kind="wal", op="append", stage="before", most=8),
    Moment(table="coverage", kind="wal", op="append", stage="half", most=8),
    Moment(table="coverage", kind="wal", op="append", stage="after", most=8),
    Moment(table="coverage", kind="parquet", op="create", stage="half", most=4),
    Moment(table="coverage", kind="parquet", op="publish", stage="before", most=4),
    Moment(table="coverage", kind="parquet", op="publish", stage="after", most=4),
    Moment(table="coverage", kind="manifest", op="append", stage="half", most=4),
    Moment(table="coverage", kind="wal", op="remove", stage="before", most=4),
    Moment(table="raw", kind="journal", op="append", stage="before", most=4),
    Moment(table="raw", kind="journal", op="append", stage="half", most=4),
    Moment(table="raw", kind="journal", op="append", stage="after", most=4),
]


def live_and_die(held: Rig, rng: random.Random) -> Run:
    """One life, from a drawn start to a drawn death."""
    aimed = rng.random() < 0.5
    moment = rng.choice(MOMENTS) if aimed else None
    die = None
    if moment is not None:
        nth = rng.randint(1, moment.most)
        die = {"table": moment.table, "kind": moment.kind, "op": moment.op, "stage": moment.stage, "nth": nth}
    if rng.random() < 0.5:
        # The bucket ends a little after the start.
        held.bucket_ends_in(700 + rng.uniform(0, LONGEST_LIFE_S * 700))
    run = held.start(die=die)
    until = time.monotonic() + 60
    while not (run.out.exists() and run.out.stat().st_size) and run.process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.002)
    if aimed or rng.random() < 0.6:
        # Counted from the first durable row: on a busy machine a few seconds from the start see none.
        until = time.monotonic() + 60
        while b"\nrows_durable" not in run.out.read_bytes() and run.process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.01)
    until = time.monotonic() + (LONGEST_LIFE_S + 1 if aimed else rng.uniform(0, LONGEST_LIFE_S))
    while time.monotonic() < until and run.process.poll() is None:
        time.sleep(0.001)
    held.kill(run)
    return run


def kill_and_check(folder: Path, *, kills: int, seed: int) -> Verdict:
    rng = random.Random(seed)
    with rig(folder, seed=seed) as held:
        for number in range(kills):
            run = live_and_die(held, rng)
            if number % 4 == 3:
                assert_crash_is_readable(held, run)
        last = held.start()
        last.begun()
        last.wait_for(lambda: sum(len(taken.entries) for taken in last.witness().rows.values()) > 100)
        assert last.end() == 0, last.said()[-3000:]
        lives = [(run.witness(), run.killed_ms) for run in held.runs]
        verdict = compare(held.paths, lives)
        assert verdict.problems == []
        assert ledger_faults(held.paths, lives, verdict.lost) == []
        report = verify_lake(held.paths)
        assert report.problems == ()
        assert report.open_rows == 0
        assert report.rows >= verdict.rows_held
        assert_kills_hit_a_busy_collector(held, verdict)
        print_figures(held, verdict)
    return verdict


def assert_crash_is_readable(held: Rig, run: Run) -> None:
    """What a crash leaves is read like any lake, before anybody repairs it."""
    verdict = compare(held.paths, [(each.witness(), each.killed_ms) for each in held.runs])
    assert verdict.problems == [], run.died_of
    wrong = [p for p in verify_lake(held.paths).problems if p.kind not in LEFT_BY_A_CRASH]
    assert wrong == [], run.died_of


def assert_kills_hit_a_busy_collector(held: Rig, verdict: Verdict) -> None:
    """Otherwise nothing would have been shown."""
    busy = [run for run in held.runs if any(taken.durable for taken in run.witness().rows.values())]
    assert len(busy) >= len(held.runs) / 4
    assert verdict.rows_durable > 20 * len(held.runs)
    assert verdict.frames_durable > 20 * len(held.runs)
    # An acknowledged row is there whatever its age; one that was not acknowledged is young: a flush comes every second.
    assert verdict.oldest_lost_ms < 15_000


def print_figures(held: Rig, verdict: Verdict) -> None:
    inside = sum(run.died_of not in {"", "random instant"} for run in held.runs)
    print(
        f"\nkills: {len(held.runs) - 1}, {inside} of them inside a file operation; rows taken in {verdict.rows_taken:,}, "
        f"called durable {verdict.rows_durable:,}, held {verdict.rows_held:,} (both outcomes); frames taken in "
        f"{verdict.frames_taken:,}, durable {verdict.frames_durable:,}, held {verdict.frames_held:,}; "
        f"oldest row lost {verdict.oldest_lost_ms} ms before its kill"
    )


@pytest.mark.timeout(7_200)
def test_what_was_durable_survives_every_kill_exactly_once(tmp_path: Path) -> None:
    kills = int(os.environ.get("OVERROUND_TESTS_KILLS", DEFAULT_KILLS))
    for done in range(0, kills, KILLS_PER_LAKE):
        kill_and_check(tmp_path / f"rig-{done}", kills=min(KILLS_PER_LAKE, kills - done), seed=5 + done)
