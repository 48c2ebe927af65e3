"""A new version's collector takes over from the old one while 2,000 frames a second come in, and hands back."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import polars as pl
import pytest

from overround.market import Venue
from overround.pipelines.lake import verify_lake
from overround.pipelines.prove import prove_day, span_of
from overround.storage import COVERAGE, LakePaths, gaps_of, inclusion_of, scan_snapshots
from overround.storage.coverage_tables import COVERAGE_TABLE, STATE_COLUMNS
from overround.storage.readers import partitions
from overround.testing.postgres import Postgres

from .rig import Run, rig

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(420)]

MINUTE_MS = 60_000


def leases(server: Postgres) -> dict[str, str]:
    return {
        "OVERROUND_LEASES__URL": server.url,
        "OVERROUND_LEASES__TTL_SECS": "6",
        "OVERROUND_LEASES__NAME": uuid.uuid4().hex,
    }


def frames_per_s(run: Run) -> float:
    """Of both venues, over the run's last ten seconds."""
    newest = {line["venue"]: line["frames_per_s"] for line in run.events("collect.status")}
    return sum(newest.values())


def test_no_minute_is_lost_or_stored_twice_when_a_recording_changes_hands_and_back(
    postgres: Postgres, tmp_path: Path
) -> None:
    more = leases(postgres)
    with rig(tmp_path, markets=70, rate_scale=10.0) as made:
        old = made.start(more=more)
        old.wait_for(lambda: len(old.events("collect.status")) >= 2)
        new = made.start(more=more, arguments=("--handover",))
        old.wait_for(lambda: old.process.poll() is not None, patience_s=120, alive=False)
        assert old.process.returncode == 0, old.said()[-3000:]
        new.wait_for(lambda: len(new.events("collect.status")) >= 2)
        rates = [frames_per_s(old), frames_per_s(new)]
        back = made.start(more=more, arguments=("--handover",))
        new.wait_for(lambda: new.process.poll() is not None, patience_s=120, alive=False)
        assert new.process.returncode == 0, new.said()[-3000:]
        time.sleep(3)
        assert back.end() == 0
        paths = made.paths
        cuts = [run.events("handover.cut")[0]["cut_ms"] for run in (old, new)]
        waits = [run.events("handover.taken")[0]["waited_ms"] for run in (new, back)]
    print(f"frames/s {rates}, from the cut to the lease {waits} ms")
    assert min(rates) > 2_000
    assert all(cut % MINUTE_MS == 0 for cut in cuts)
    for venue in Venue:
        look(paths, venue, cuts)


@pytest.mark.slow  # 45 s, nearly all of it waiting; the other test hands both sockets over
def test_a_polled_venue_changes_hands_too(postgres: Postgres, tmp_path: Path) -> None:
    # Without a key Kalshi's books are asked for over REST.
    more = leases(postgres) | {
        "OVERROUND_VENUES__KALSHI__API_KEY": "",
        "OVERROUND_VENUES__KALSHI__RATE_FRACTION": "1",
    }
    venue = ("--venue", Venue.KALSHI)
    with rig(tmp_path, markets=20) as made:
        del made.environment["OVERROUND_VENUES__KALSHI__PRIVATE_KEY_PATH"]
        old = made.start(more=more, arguments=venue)
        old.wait_for(lambda: len(old.events("collect.status")) >= 1)
        new = made.start(more=more, arguments=(*venue, "--handover"))
        old.wait_for(lambda: old.process.poll() is not None, patience_s=120, alive=False)
        assert old.process.returncode == 0, old.said()[-3000:]
        (cut,) = old.events("handover.cut")
        time.sleep(4)
        assert new.end() == 0
        rows = scan_snapshots(made.paths, Venue.KALSHI).collect()
    assert not rows.select("market_id", "outcome_id", "ts_recv").is_duplicated().any()
    before, after = (rows.filter((pl.col("ts_recv") < cut["cut_ms"]) == side) for side in (True, False))
    assert set(before["market_id"]) == set(after["market_id"])
    assert len(set(after["market_id"])) > 5


def look(paths: LakePaths, venue: Venue, cuts: list[int]) -> None:
    rows = scan_snapshots(paths, venue).collect()
    key = ["market_id", "outcome_id", "ts_recv"]
    assert not rows.select(key).is_duplicated().any()
    report = verify_lake(paths, venue=venue)
    assert report.ok, report.problems
    days = paths.days(COVERAGE, venue)
    for day in days:
        proof = prove_day(paths, venue, span_of(day, None))
        assert not proof.findings, proof.findings[:5]
        assert not proof.unproved, proof.unproved[:5]
    assert gaps_of(paths, venue, days).collect().height == 0

    # No row is missing at the cuts: the two on either side of one are as far apart as any two.
    spacing = rows.sort(key).with_columns(pl.col("ts_recv").diff().over("market_id", "outcome_id").alias("apart"))
    slow = spacing.with_columns(pl.col("apart").median().over("market_id", "outcome_id").alias("usual")).filter(
        pl.col("usual") > 900
    )
    for cut in cuts:
        across = slow.filter((pl.col("ts_recv") >= cut) & (pl.col("ts_recv") - pl.col("apart") < cut))
        assert across.height > 20
        assert (across["apart"] < 1.7 * across["usual"]).all()

    # Every whole minute of every outcome is accounted for once, and verified.
    raw = pl.concat([part.scan() for day in days for part in partitions(paths, venue, date=day, table=COVERAGE_TABLE)])
    minutes = (
        raw.filter(pl.col("market_id") != "")
        .group_by("market_id", "outcome_id", "minute")
        .agg(pl.sum_horizontal(pl.col(STATE_COLUMNS).sum()).alias("s"), pl.col("verified_s", "quiet_s", "gap_s").sum())
        .collect()
    )
    first, last = min(cuts) - MINUTE_MS, max(cuts)
    held = minutes.select("market_id", "outcome_id").unique().height
    whole = minutes.filter((pl.col("minute") > first) & (pl.col("minute") < last))
    n_minutes = (last - first) // MINUTE_MS - 1
    assert whole.height == n_minutes * held
    assert whole["s"].is_between(59.999, 60.001).all(), whole.filter(~pl.col("s").is_between(59.999, 60.001))
    assert minutes["s"].max() <= 60.001  # type: ignore[operator]
    assert whole["gap_s"].sum() == 0
    assert (whole["verified_s"] + whole["quiet_s"]).min() > 55  # type: ignore[operator]

    # And by exactly one of the three: their stays meet at the cuts.
    stays = inclusion_of(paths, venue, days).collect().sort("market_id", "start_ms")
    for _, own in stays.group_by("market_id"):
        ends = own["end_ms"].to_list()
        assert own["start_ms"].to_list()[1:] == ends[:-1]
        assert set(cuts) <= set(ends)
    assert stays.height
