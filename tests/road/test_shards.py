"""Several collectors of one lake: readers need not know how many there were."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from overround.clock import SystemClock
from overround.collector import VenueRecorder, collect
from overround.config import ClusterSettings, MockSettings, Settings
from overround.market import MarketId, Origin, Share, Venue
from overround.pipelines.coverage import coverage_report
from overround.pipelines.demo import demo_settings
from overround.pipelines.lake import TABLES, list_lake, verify_lake
from overround.pipelines.mine import mine
from overround.pipelines.mock import mock_exchange
from overround.pipelines.prove import span_of
from overround.pipelines.rebuild_lake import rebuild_lake
from overround.pipelines.scan import scan_venues
from overround.storage import (
    SNAPSHOTS,
    LakePaths,
    claim_origin,
    coverage_of,
    gaps_of,
    inclusion_of,
    runs_of,
    scan_snapshots,
)
from overround.storage.coverage_tables import COVERAGE_TABLE
from overround.storage.readers import partitions
from overround.storage.table_writer import TableWriter
from overround.timebucket import parse_bucket_name

from .lakes import prove
from .road import compare

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(180)]

SHARES = [Share(number, 3) for number in range(3)]
ALL = {"max_subs_per_venue": 200, "hot_count": 10, "snapshot_interval_ms_hot": 500, "snapshot_interval_ms_warm": 1_000}


def all_held(settings: Settings) -> Settings:
    venues = settings.venues
    parts = {name: getattr(venues, name).model_copy(update=ALL) for name in ("polymarket", "kalshi")}
    return settings.model_copy(update={"venues": venues.model_copy(update=parts)})


def under(settings: Settings, data_dir: Path, share: Share) -> Settings:
    return settings.model_copy(update={"data_dir": data_dir, "cluster": ClusterSettings(shard=str(share))})


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> tuple[LakePaths, list[list[VenueRecorder]]]:
    """Three collectors of both venues at the same time, compared with the exchange's truth."""
    folder = tmp_path_factory.mktemp("sharded")
    settings = all_held(demo_settings(folder, markets=180, seed=4))
    settings = settings.model_copy(update={"mock": MockSettings(enabled=True, markets=180, seed=4)})
    clock, rng = SystemClock(), random.Random(3)
    with mock_exchange(settings) as (live, thread):

        async def main() -> list[list[VenueRecorder]]:
            await scan_venues(live, venues=tuple(Venue), clock=clock, rng=rng, origin=Origin.SYNTHETIC)
            return await asyncio.gather(
                *(
                    collect(
                        under(live, folder, share),
                        venues=tuple(Venue),
                        clock=clock,
                        rng=random.Random(share.number),
                        origin=Origin.SYNTHETIC,
                        stop=asyncio.Event(),
                        duration_s=12,
                    )
                    for share in SHARES
                )
            )

        recorders = asyncio.run(main())
        for venue in Venue:
            check = compare(live, venue, thread.urls.truth_url)
            assert check.books_checked == check.books_equal > 300, check.first_differences
    return LakePaths(folder), recorders


@pytest.mark.parametrize("venue", list(Venue))
def test_every_market_is_recorded_once_and_by_its_owner(
    sharded: tuple[LakePaths, list[list[VenueRecorder]]], venue: Venue
) -> None:
    paths, _ = sharded
    listed: set[str] = set()
    for day in paths.days(SNAPSHOTS, venue):
        for hour in paths.hours(SNAPSHOTS, venue, day):
            for path in paths.bucket_files(SNAPSHOTS, venue, day, hour):
                named = parse_bucket_name(path.name)
                assert named is not None
                assert named[1] in SHARES
                markets = set(pl.read_parquet(path, hive_partitioning=False)["market_id"])
                assert all(Share(*named[1]).owns(MarketId(market)) for market in markets)
                listed |= markets
    rows = scan_snapshots(paths, venue).collect()
    assert set(rows["market_id"]) == listed
    assert not rows.select("market_id", "outcome_id", "ts_recv").is_duplicated().any()
    assert len(listed) > 60


@pytest.mark.parametrize("venue", list(Venue))
def test_the_deep_check_proves_every_row_of_every_shard(
    sharded: tuple[LakePaths, list[list[VenueRecorder]]], venue: Venue
) -> None:
    paths, recorders = sharded
    assert verify_lake(paths, venue=venue).ok
    proof = prove(paths, venue)
    assert (proof.findings, proof.unproved, proof.notes, proof.exit_code) == ([], [], [], 0)
    assert proof.proved == proof.rows == sum(r.status().rows for group in recorders for r in group if r.venue is venue)
    assert proof.runs == 3
    assert proof.unproved_minutes == 0


@pytest.mark.parametrize("venue", list(Venue))
def test_a_rebuild_gives_the_same_files(
    sharded: tuple[LakePaths, list[list[VenueRecorder]]], venue: Venue, tmp_path: Path
) -> None:
    paths, _ = sharded
    for day in paths.days(SNAPSHOTS, venue):
        rebuild_lake(paths, venue, span_of(day, None), out=tmp_path / "again", level=3, clock=SystemClock())
    key = ["market_id", "outcome_id", "ts_recv"]
    again = LakePaths(tmp_path / "again")
    assert scan_snapshots(paths, venue).sort(key).collect().equals(scan_snapshots(again, venue).sort(key).collect())
    assert names(paths, venue) == names(again, venue)


def names(paths: LakePaths, venue: Venue) -> list[str]:
    return sorted(path.name for path in paths.table(SNAPSHOTS, venue).rglob("*.parquet"))


@pytest.mark.parametrize("venue", list(Venue))
def test_one_collectors_lake_divided_among_three_is_read_as_before(
    recorded: Path, tmp_path: Path, venue: Venue
) -> None:
    whole, parts = LakePaths(recorded), LakePaths(tmp_path / "parts")
    divide(whole, parts, str(venue))
    (day, *_) = whole.days(SNAPSHOTS, venue)
    now_ms = SystemClock().now_ms()
    assert verify_lake(parts).ok
    mined = [mine(paths, venue, day, top=20) for paths in (whole, parts)]
    assert mined[1].n_files == 3 * mined[0].n_files
    assert replace(mined[1], n_files=0, stats_path="", took_ms=0, by_depth=(), by_spread=(), by_updates=()) == replace(
        mined[0], n_files=0, stats_path="", took_ms=0, by_depth=(), by_spread=(), by_updates=()
    )
    for ranking in ("by_depth", "by_spread", "by_updates"):
        ours, theirs = getattr(mined[0], ranking), getattr(mined[1], ranking)
        assert [replace(entry, title="") for entry in ours] == [replace(entry, title="") for entry in theirs]
    stats = [pl.read_parquet(paths.stats(venue, day)) for paths in (whole, parts)]
    assert stats[0].equals(stats[1])
    for table in (coverage_of, gaps_of, inclusion_of, runs_of):
        found: list[Any] = []
        for paths in (whole, parts):
            frame = table(paths, str(venue), day).collect()
            found.append(frame.sort(frame.columns).with_columns(pl.selectors.float().round(6)))
        assert found[0].equals(found[1]), table.__name__
    reports = [coverage_report(paths, venue, day, now_ms=now_ms) for paths in (whole, parts)]
    for name in ("ran_s", "connected_s", "wanted_s", "verified", "quiet", "gap", "causes", "cells"):
        assert getattr(reports[0], name) == pytest.approx(getattr(reports[1], name)) or getattr(
            reports[0], name
        ) == getattr(reports[1], name)
    entries = [
        {
            entry.table: (entry.rows, entry.first_ts, entry.last_ts)
            for entry in list_lake(paths, venue=str(venue), date=day)
        }
        for paths in (whole, parts)
    ]
    del entries[0]["raw"]
    # The venue's own minutes are kept by each collector.
    own = runs_of(whole, str(venue), day).collect().height
    coverage = COVERAGE_TABLE.name
    assert entries[1][coverage][0] == (entries[0][coverage][0] or 0) + 2 * own
    assert {**entries[0], coverage: None} == {**entries[1], coverage: None}


def divide(whole: LakePaths, parts: LakePaths, venue: str) -> None:
    """Write a lake's tables as three collectors would have, each its share."""
    claim_origin(parts, Origin.SYNTHETIC)
    for table in TABLES:
        for share in SHARES:
            bucket_s = {SNAPSHOTS.folder: 60}.get(table.place.folder, 900 if table is COVERAGE_TABLE else 3_600)
            writer = TableWriter(
                parts, table, venue, bucket_s=bucket_s, level=3, origin="synthetic", shard=share
            )  # fmt: skip
            for part in partitions(whole, venue, table=table):
                rows = part.scan().collect()
                mine_ = pl.Series([bool(m) and share.owns(MarketId(m)) for m in rows["market_id"]], dtype=pl.Boolean)
                if table is COVERAGE_TABLE:
                    of_venue = rows.filter(pl.col("market_id") == "").with_columns(
                        pl.lit(str(share)).alias("outcome_id")
                    )
                    rows = pl.concat([rows.filter(mine_), of_venue])
                else:
                    rows = rows.filter(mine_)
                for batch in rows.to_arrow().cast(table.schema).to_batches():
                    writer.add(batch)
            assert writer.save(now_ms=0)
            for bucket in writer.end(None):
                assert writer.finalise(bucket, now_ms=0) is not None
