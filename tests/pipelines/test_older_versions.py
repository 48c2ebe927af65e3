"""Files as earlier versions of this program wrote them, and programs before it: read by everything that reads the lake."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lakes import recorded

from overround.pipelines.columns import meaning_of, since_of
from overround.pipelines.lake import verify_lake
from overround.pipelines.mine import mine
from overround.pipelines.sql import ask
from overround.pipelines.tables import lake_tables
from overround.pipelines.viability import viability_columns
from overround.storage import ROW_SCHEMA, SNAPSHOTS, STATS_SCHEMA, LakePaths, newest_stats, read_stats, scan_snapshots
from overround.storage.bucket import describe_file, read_file_meta
from overround.storage.fileops import FileOps
from overround.storage.manifest import append_line
from overround.storage.schema import SNAPSHOT_TABLE
from overround.storage.universe import read_universe

DAY = "2026-01-14"


@pytest.fixture
async def lake(tmp_path: Path) -> LakePaths:
    """Twelve minutes, of which the second bucket's file is an old one."""
    return await recorded(tmp_path, bucket_s=300, minutes=12)


def sql(paths: LakePaths, text: str) -> list[tuple]:
    with ask(paths, text) as answer:
        assert answer.skipped == ()
        return answer.result.fetchall()


def make_old(paths: LakePaths, path: Path, *, about_itself: bool) -> pa.Table:
    """Write a file again without the column that came later, with integers packed as the first version did."""
    rows = pq.read_table(path).drop_columns(["integrity"])
    schema = pa.schema([ROW_SCHEMA.field(name) for name in rows.schema.names])
    if about_itself:
        meta = read_file_meta(path)
        assert meta is not None
        # The description as it was before it named buckets and write-ahead files.
        said = {key: getattr(meta, key) for key in ("table", "schema_version", "writer", "origin")}
        schema = schema.with_metadata({b"overround": json.dumps(said).encode()})
    sink = io.BytesIO()
    pq.write_table(
        rows.cast(schema), sink, use_dictionary=["venue", "market_id", "outcome_id", "status"], compression="zstd",
        column_encoding={"ts_recv": "DELTA_BINARY_PACKED", "seq": "DELTA_BINARY_PACKED"},
    )  # fmt: skip
    path.write_bytes(sink.getvalue())
    return rows


@pytest.mark.parametrize("which", ["first", "second", "all"])
async def test_snapshots_without_the_column_that_came_later(lake: LakePaths, which: str) -> None:
    before = scan_snapshots(lake, "kalshi").collect().sort("outcome_id", "ts_recv")
    mined = mine(lake, "kalshi", DAY)
    files = lake.files_of(SNAPSHOTS)
    for path in {"first": files[:1], "second": files[1:2], "all": files}[which]:
        make_old(lake, path, about_itself=True)
        meta = read_file_meta(path)
        assert meta is not None
        line = describe_file(
            path, path.read_bytes(), SNAPSHOT_TABLE, day=lake.day(SNAPSHOTS, "kalshi", DAY), meta=meta, now_ms=1
        )
        append_line(FileOps(), lake.manifest(SNAPSHOTS, "kalshi", DAY), line)
    after = scan_snapshots(lake, "kalshi").collect().sort("outcome_id", "ts_recv")
    assert after.drop("integrity").equals(before.drop("integrity"))
    again = mine(lake, "kalshi", DAY)
    assert (again.by_depth, again.by_spread, again.n_ok, again.skipped) == (
        mined.by_depth,
        mined.by_spread,
        mined.n_ok,
        (),
    )
    assert sql(lake, "select count(*), sum(seq), count(integrity) from snapshots") == [
        (len(before), before["seq"].sum(), after["integrity"].count())
    ]
    checked = verify_lake(lake, venue="kalshi", date=DAY, top_k=50, journal=False)
    assert [problem.kind for problem in checked.problems] == []


async def test_a_file_of_another_program_needs_no_description(lake: LakePaths) -> None:
    hurt = lake.files_of(SNAPSHOTS)[1]
    make_old(lake, hurt, about_itself=False)
    assert read_file_meta(hurt) is None
    assert sql(lake, "select count(*) from snapshots")[0][0] == len(scan_snapshots(lake, "kalshi").collect())


async def test_statistics_of_the_first_version(lake: LakePaths) -> None:
    mine(lake, "kalshi", DAY)
    path = lake.stats("kalshi", DAY)
    first = pq.read_table(path).select(STATS_SCHEMA.names)
    for metadata in ({b"overround.stats_version": b"1"}, {}):
        pq.write_table(first.replace_schema_metadata(metadata), path)
        assert read_stats(lake, "kalshi", DAY).num_rows == first.num_rows
        assert newest_stats(lake, "kalshi") == first.to_pylist()
        assert sql(lake, "select sum(n_ok), count(interest), count(*) from stats") == [
            (sum(first["n_ok"].to_pylist()), 0, first.num_rows)
        ]


def test_listings_of_few_fields(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path)
    path = paths.universe("kalshi", DAY)
    path.parent.mkdir(parents=True)
    # The seven names that are fixed, and the venue.
    line = {
        "market_id": "m", "outcome_ids": ["yes", "no"], "title": "Rain?", "close_ts": None, "open_ts": 3, "status": "active",
        "tags": [], "venue": "kalshi",
    }  # fmt: skip
    path.write_text(json.dumps(line) + "\n")
    assert [market.title for market in read_universe(path)] == ["Rain?"]
    assert sql(paths, "select title, open_ts, slug, fee from universe") == [("Rain?", 3, None, None)]


@pytest.mark.parametrize("name", ["mm_viability", "propositions", "constraints", "violations"])
def test_tables_with_fewer_columns_and_with_one_more(tmp_path: Path, name: str) -> None:
    paths = LakePaths(tmp_path)
    table = next(each for each in lake_tables() if each.name == name)
    path = tmp_path / table.place.pattern.replace("venue=*", "venue=kalshi").replace("date=*", f"date={DAY}")
    path.parent.mkdir(parents=True)
    column = "market_ids" if name == "violations" else "market_id" if name != "constraints" else "key"
    value = ["m"] if name == "violations" else "m"
    pl.DataFrame({column: [value], "of_tomorrow": [1]}).write_parquet(path)
    ((found, *rest),) = sql(paths, f"select {column}, * exclude ({column}, date, venue) from {name}")
    assert found == value
    assert set(rest) == {None}


def test_every_column_is_described_and_says_since_when() -> None:
    for table in lake_tables():
        for column in table.columns:
            assert meaning_of(table.name, column.name), (table.name, column.name)
            assert 1 <= since_of(table.name, column.name) <= table.version
    with pytest.raises(KeyError, match=r"snapshots\.mystery"):
        meaning_of("snapshots", "mystery")
    assert len(viability_columns()) == len({*viability_columns()})
