"""Real collectors with leases in a real PostgreSQL: killed, standing still, cut off from the database."""

from __future__ import annotations

import signal
import time
import uuid
from pathlib import Path

import polars as pl
import pytest

from overround.market import Venue
from overround.pipelines.lake import verify_lake
from overround.pipelines.prove import prove_day, span_of
from overround.storage import SNAPSHOTS, LakePaths, coverage_of, scan_snapshots
from overround.storage.coverage_tables import COVERAGE_TABLE, STATE_COLUMNS
from overround.storage.readers import partitions
from overround.testing.postgres import Postgres

from .rig import Rig, Run, rig

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(240)]
VENUE = Venue.KALSHI


def leases(server: Postgres, ttl_s: int, name: str) -> dict[str, str]:
    return {
        "OVERROUND_LEASES__URL": server.url,
        "OVERROUND_LEASES__TTL_SECS": str(ttl_s),
        "OVERROUND_LEASES__NAME": name,
        "OVERROUND_CLUSTER__SHARD": "0/2",
    }


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


def rows_of(paths: LakePaths) -> pl.DataFrame:
    return scan_snapshots(paths, VENUE).collect()


def check(paths: LakePaths) -> None:
    """Nothing twice, everything in order, every row what was recorded."""
    rows = rows_of(paths)
    assert not rows.select("market_id", "outcome_id", "ts_recv").is_duplicated().any()
    report = verify_lake(paths, venue=VENUE)
    assert report.ok, report.problems
    for day in paths.days(SNAPSHOTS, VENUE):
        proof = prove_day(paths, VENUE, span_of(day, None))
        assert not proof.findings, proof.findings[:5]
    for day in paths.days(COVERAGE_TABLE.place, VENUE):
        raw = pl.concat([part.scan() for part in partitions(paths, VENUE, date=day, table=COVERAGE_TABLE)])
        spent = (
            raw.filter(pl.col("market_id") != "")
            .group_by("market_id", "outcome_id", "minute")
            .agg(pl.sum_horizontal(pl.col(STATE_COLUMNS).sum()).alias("s"))
            .collect()
        )
        assert spent["s"].max() <= 60.001  # type: ignore[operator]
        assert coverage_of(paths, VENUE, day).collect().height == spent.height


def two_and_a_spare(made: Rig, more: dict[str, str]) -> tuple[Run, Run, Run]:
    """Collectors of both shards, and one that waits for either."""
    first = made.start(more=more, arguments=("--venue", VENUE))
    first.wait_for(lambda: any(made.paths.root.rglob(".snapshots*.wal")))
    other = made.start(more=more, arguments=("--venue", VENUE, "--shard", "1/2"))
    other.wait_for(lambda: bool(other.events("lease.taken")))
    spare = made.start(more=more, arguments=("--venue", VENUE, "--standby"))
    spare.wait_for(lambda: bool(spare.events("lease.waiting")))
    return first, other, spare


@pytest.mark.timeout(300)
def test_a_killed_collectors_share_is_taken_over_within_thirty_seconds(
    postgres: Postgres, name: str, tmp_path: Path
) -> None:
    # The defaults: a lease of 15 s.
    more = leases(postgres, 15, name)
    with rig(tmp_path) as made:
        first, other, spare = two_and_a_spare(made, more)
        time.sleep(3)
        held = shard_rows(made, "s0of2", 0)
        killed = time.monotonic()
        killed_ms = made.clock.now_ms()
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(20)
        spare.wait_for(lambda: shard_rows(made, "s0of2", killed_ms) >= held, patience_s=60)
        took_s = time.monotonic() - killed
        assert took_s < 30
        print(f"taken over within {took_s:.1f} s")
        assert spare.end() == 0
        assert other.end() == 0
        check(made.paths)
        rows = rows_of(made.paths)
        assert held <= set(rows.filter(pl.col("ts_recv") > killed_ms)["market_id"])


def shard_rows(made: Rig, shard: str, since_ms: int) -> set[str]:
    """Markets with rows in a shard's files, open ones included."""
    found: set[str] = set()
    for part in partitions(made.paths, VENUE):
        for piece in part.pieces():
            if f".{shard}." in piece.path.name:
                found |= set(piece.scan().filter(pl.col("ts_recv") > since_ms).collect()["market_id"])
    return found


def test_a_collector_that_stood_still_finds_its_share_taken_and_writes_nothing_more(
    postgres: Postgres, name: str, tmp_path: Path
) -> None:
    more = leases(postgres, 4, name)
    with rig(tmp_path) as made:
        first, other, spare = two_and_a_spare(made, more)
        time.sleep(2)
        first.process.send_signal(signal.SIGSTOP)
        stopped_ms = made.clock.now_ms()
        spare.wait_for(lambda: bool(spare.events("lease.taken")))
        spare.wait_for(lambda: len(shard_rows(made, "s0of2", stopped_ms)) > 5)
        taken_ms = made.clock.now_ms()
        first.process.send_signal(signal.SIGCONT)
        first.wait_for(lambda: bool(first.events("lease.ended")))
        first.wait_for(lambda: bool(first.events("collect.stopped")))
        # It waits for its share, and does not get it while the other lives.
        first.wait_for(lambda: bool(first.events("lease.waiting")))
        time.sleep(3)
        assert len(first.events("lease.taken")) == 1
        # The other is gone: it has it back.
        spare.process.send_signal(signal.SIGKILL)
        spare.process.wait(20)
        killed_ms = made.clock.now_ms()
        first.wait_for(lambda: len(first.events("lease.taken")) == 2)
        first.wait_for(lambda: len(shard_rows(made, "s0of2", killed_ms)) > 5)
        assert first.end() in {0, 3}
        assert other.end() == 0
        tokens = [run.events("lease.taken")[-1]["tokens"] for run in (spare, first)]
        assert tokens == [[2], [3]]
        check(made.paths)
        rows = rows_of(made.paths)
        assert rows.filter(pl.col("ts_recv").is_between(stopped_ms + 500, taken_ms)).height


def test_without_the_database_recording_goes_on_until_the_lease_ends_and_again_once_it_is_back(
    postgres: Postgres, name: str, tmp_path: Path
) -> None:
    more = leases(postgres, 6, name)
    with rig(tmp_path) as made:
        run = made.start(more=more, arguments=("--venue", VENUE))
        run.wait_for(lambda: any(made.paths.root.rglob(".snapshots*.wal")))
        time.sleep(2)
        postgres.stop()
        try:
            away_ms = made.clock.now_ms()
            run.wait_for(lambda: bool(run.events("lease.not_renewed")))
            run.wait_for(lambda: bool(run.events("lease.ended")))
            run.wait_for(lambda: bool(run.events("lease.waiting")))
            ended_ms = made.clock.now_ms()
            late = made.start(more=more, arguments=("--venue", VENUE, "--shard", "1/2"))
            assert late.process.wait(60) == 1
            assert "PostgreSQL (127.0.0.1:" in late.said()
            assert "hint:" in late.said()
        finally:
            postgres.start()
        run.wait_for(lambda: len(run.events("lease.taken")) == 2)
        back_ms = made.clock.now_ms()
        run.wait_for(lambda: len(shard_rows(made, "s0of2", back_ms)) > 5)
        assert run.end() == 0
        check(made.paths)
        times = rows_of(made.paths)["ts_recv"]
        # It went on without the database for most of a lease, and then paused.
        assert times.filter(times.is_between(away_ms + 2_000, away_ms + 6_500)).len()
        assert not times.filter(times.is_between(ended_ms + 500, back_ms - 500)).len()


def test_a_second_process_is_told_who_has_the_share(postgres: Postgres, name: str, tmp_path: Path) -> None:
    more = leases(postgres, 2, name)
    with rig(tmp_path) as made:
        first = made.start(more=more, arguments=("--venue", VENUE))
        first.wait_for(lambda: any(made.paths.root.rglob(".snapshots*.wal")))
        second = made.start(more=more, arguments=("--venue", VENUE))
        assert second.process.wait(60) == 2
        assert f"process {first.process.pid}" in second.said()
        assert "holds shard 0/2 (kalshi)" in second.said()
        assert first.end() == 0
        check(made.paths)
