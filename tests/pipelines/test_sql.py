"""SQL over a lake: every table, open buckets and damaged files, and no way out of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest
from lakes import recorded

from overround.cli.app import run
from overround.errors import ConfigError, NothingStored, UsageError
from overround.market import Market, MarketId, MarketStatus, OutcomeId, Venue
from overround.pipelines.mine import mine
from overround.pipelines.sql import RUN_COLUMNS, QueryRefused, ask, sql_columns
from overround.pipelines.tables import lake_tables
from overround.storage import LakePaths, note_run, scan_snapshots, write_universe
from overround.storage.paths import FilePlace

DAY = "2026-01-14"


def rows(paths: LakePaths, text: str) -> list[tuple]:
    with ask(paths, text) as answer:
        assert answer.skipped == ()
        return answer.result.fetchall()


@pytest.fixture
async def lake(tmp_path: Path) -> LakePaths:
    """Twelve minutes of a market: two whole buckets and a part of one."""
    return await recorded(tmp_path / "lake", bucket_s=300, minutes=12)


async def test_snapshots_are_those_that_our_reader_gives(lake: LakePaths) -> None:
    expected = scan_snapshots(lake, "kalshi").collect()
    found = rows(lake, "select count(*), sum(ts_recv), sum(seq), sum(len(ask_px)) from snapshots")
    assert found == [
        (len(expected), expected["ts_recv"].sum(), expected["seq"].sum(), expected["ask_px"].list.len().sum())
    ]
    assert rows(lake, "select distinct venue, date::varchar, hour from snapshots") == [("kalshi", DAY, 12)]
    assert rows(lake, f"select count(*) from snapshots where date <> '{DAY}' or hour <> 12 or venue <> 'kalshi'") == [
        (0,)
    ]


async def test_rows_of_an_open_bucket_are_there_once(tmp_path: Path) -> None:
    paths = await recorded(tmp_path, bucket_s=300, minutes=12, clean=False)
    assert [path for path in paths.root.rglob("*.wal") if "snapshots" in path.name]
    assert paths.files_of(lake_tables()[0].place)
    expected = scan_snapshots(paths, "kalshi").collect()
    assert rows(paths, "select count(*), count(distinct (market_id, outcome_id, ts_recv)) from snapshots") == [
        (len(expected), len(expected))
    ]


async def test_every_table_has_its_columns_without_any_file(tmp_path: Path) -> None:
    described = rows(LakePaths(tmp_path), "select table_name, column_name, data_type from information_schema.columns")
    found: dict[str, dict[str, str]] = {}
    for name, column, kind in described:
        found.setdefault(name, {})[column] = kind
    runs = found.pop("pipeline_runs")
    assert found == {table.name: sql_columns(table) for table in lake_tables()}
    assert runs == RUN_COLUMNS
    counts = " union all ".join(f"select count(*) from {name}" for name in (*found, "pipeline_runs"))
    assert rows(LakePaths(tmp_path), counts) == [(0,)] * (len(found) + 1)


def test_every_file_that_paths_name_is_found_again(tmp_path: Path) -> None:
    paths = LakePaths(tmp_path)
    made = {
        "universe": paths.universe("kalshi", DAY),
        "stats": paths.stats("kalshi", DAY),
        "mm_viability": paths.mm_viability("kalshi", DAY),
        "rules": paths.rules("kalshi", DAY),
        **{name: paths.logic("kalshi", DAY, name) for name in ("propositions", "constraints", "violations")},
        "review_queue": paths.review_queue("kalshi", DAY),
        "review_decisions": paths.review_decisions("kalshi"),
        "quarantine": paths.quarantine_file("kalshi", DAY, "w1"),
    }
    for path in made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = {table.name: paths.files_of(table.place) for table in lake_tables() if isinstance(table.place, FilePlace)}
    assert found == {name: [path] for name, path in made.items()}


async def test_lines_statistics_and_runs_are_tables(lake: LakePaths) -> None:
    market = Market(
        market_id=MarketId("m"), outcome_ids=(OutcomeId("yes"), OutcomeId("no")), title='Rain, "maybe"?', close_ts=None,
        open_ts=5, status=MarketStatus.ACTIVE, tags=("weather",), venue=Venue.KALSHI, first_seen_ts=7,
    )  # fmt: skip
    write_universe(lake, "kalshi", DAY, [market])
    mine(lake, "kalshi", DAY)
    note_run(lake, "mine", "kalshi", failed="it's late", now_ms=9)
    assert rows(lake, "select title, outcome_ids, close_ts, fee->>'kind', date::varchar, venue from universe") == [
        (market.title, ["yes", "no"], None, "none", DAY, "kalshi")
    ]
    stored = pl.read_parquet(lake.stats("kalshi", DAY))
    assert (
        rows(lake, "select n_snapshots, watched_s from stats order by outcome_id")
        == stored.select("n_snapshots", "watched_s").rows()
    )
    assert set(stored.columns) <= set(sql_columns(next(one for one in lake_tables() if one.name == "stats")))
    assert rows(lake, "select job, venue, failed, reason from pipeline_runs") == [("mine", "kalshi", 1, "it's late")]


OUT = [
    "select * from read_text('/etc/passwd')",
    "select * from read_csv('/etc/passwd')",
    "select * from read_blob('/proc/self/environ')",
    "from '/etc/passwd'",
    "from glob('/*')",
    "from read_parquet('http://127.0.0.1:1/x.parquet')",
    "from read_json('{other}')",
    "from read_text('lake://_origin.json')",
    "from sniff_csv('/etc/passwd')",
    "with x as (copy (select 1) to '{out}') select * from x",
    "with x as (copy (select 1 as a) to '{stored}' (format parquet, use_tmp_file false)) select * from x",
    "explain analyze copy (select 1) to '{out}'",
    "from query('with x as (copy (select 1) to ''{out}'') select * from x')",
]
WRITES = [
    "copy (select 1) to '{out}'",
    "copy snapshots to '{stored}' (format parquet, use_tmp_file false)",
    "attach '{out}'",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "reset memory_limit",
    "export database '{out}'",
    "create table x as select 1",
    "create secret (type s3)",
    "drop view snapshots",
    "pragma enable_profiling",
    "select 1; select 2",
    "",
]


@pytest.mark.parametrize("text", OUT + WRITES)
async def test_no_statement_leaves_the_lake(lake: LakePaths, tmp_path: Path, text: str) -> None:
    stored = lake.files_of(lake_tables()[0].place)[0]
    other = tmp_path / "other.json"
    other.write_text('{"a": 1}')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    named = text.format(out=tmp_path / "out", stored=stored, other=other)
    with pytest.raises((UsageError, QueryRefused)):
        rows(lake, named)
    # And by the name under which the query sees the file.
    if "{stored}" in text:
        with pytest.raises((UsageError, QueryRefused)):
            rows(lake, text.format(stored=f"lake://{stored.relative_to(lake.root).as_posix()}") + " -- snapshots")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


async def test_python_and_its_variables_are_out_of_reach(lake: LakePaths) -> None:
    frame = pl.DataFrame({"a": [1]})
    with pytest.raises(QueryRefused, match="frame"):
        rows(lake, "select * from frame")
    assert len(frame) == 1


async def test_a_damaged_file_is_left_out_by_name(lake: LakePaths, capsys: pytest.CaptureFixture[str]) -> None:
    whole = rows(lake, "select count(*) from snapshots")[0][0]
    first, hurt, *_ = lake.files_of(lake_tables()[0].place)
    held = pq.read_metadata(hurt).num_rows
    hurt.write_bytes(hurt.read_bytes()[:-20])
    assert run(["sql", "select count(*) from snapshots", "--json", "--data-dir", str(lake.root)]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == [{"count_star()": whole - held}]
    assert str(hurt) in err
    assert str(first) not in err


async def test_a_file_that_is_gone_is_named_where_it_would_have_been_read(tmp_path: Path) -> None:
    paths = await recorded(tmp_path, bucket_s=300, minutes=70)
    gone = paths.files_of(lake_tables()[0].place)[1]
    assert gone.parent.name == "hour=12"
    gone.unlink()
    with ask(paths, "select count(*) from snapshots") as answer:
        assert [(each.path, each.reason) for each in answer.skipped] == [(str(gone), "the file is missing")]
    with ask(paths, "select count(*) from snapshots where hour = 13") as answer:
        assert answer.result.fetchall()[0][0] > 0
        assert answer.skipped == ()


async def test_a_file_of_another_schema_is_left_out_by_name(lake: LakePaths) -> None:
    whole = rows(lake, "select count(*) from snapshots")
    ours = lake.files_of(lake_tables()[0].place)[1]
    columns = pl.read_parquet(ours, hive_partitioning=False)
    # Another program's file in a bucket of its own: with all that a row needs it is taken, without it is not.
    for frame, taken in ((columns.drop("integrity"), len(columns)), (columns.select("market_id", "mid"), 0)):
        foreign = ours.with_name("snapshots_2026-01-14T12-55.parquet")
        frame.write_parquet(foreign)
        with ask(lake, "select count(*) from snapshots") as answer:
            assert answer.result.fetchall() == [(whole[0][0] + taken,)]
            assert [each.path for each in answer.skipped] == ([] if taken else [str(foreign)])
    assert answer.skipped[0].reason.startswith("it has no column ts_recv, ")


async def test_what_cannot_be_opened_is_named_without_a_trace(lake: LakePaths) -> None:
    hurt = lake.files_of(lake_tables()[0].place)[1]
    hurt.unlink()
    hurt.mkdir()
    with ask(lake, "select count(*) from snapshots") as answer:
        assert [each.path for each in answer.skipped] == [str(hurt)]
        assert answer.skipped[0].reason.startswith(f"{hurt} cannot be read: ")


async def test_damage_inside_a_page_is_traced_to_its_file(lake: LakePaths) -> None:
    whole = rows(lake, "select count(seq) from snapshots")[0][0]
    hurt = lake.files_of(lake_tables()[0].place)[1]
    about = pq.read_metadata(hurt).row_group(0)
    column = next(each for each in map(about.column, range(about.num_columns)) if each.path_in_schema == "seq")
    data = bytearray(hurt.read_bytes())
    begin, end = column.data_page_offset, column.data_page_offset + column.total_compressed_size
    data[begin:end] = bytes(255 - byte for byte in data[begin:end])
    hurt.write_bytes(data)
    with ask(lake, "select count(seq), sum(seq) from snapshots") as answer:
        assert answer.result.fetchall()[0][0] == whole - about.num_rows
        assert [each.path for each in answer.skipped] == [str(hurt)]
    # What is asked wrongly is nobody's damage.
    with pytest.raises(QueryRefused, match="nope"):
        rows(lake, "select nope from snapshots")


async def test_a_line_that_is_none_is_named_with_its_file(lake: LakePaths) -> None:
    path = lake.universe("kalshi", DAY)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"market_id": "a"}\n{"market_id": \n')
    with ask(lake, "select market_id from universe") as answer:
        assert [each.path for each in answer.skipped] == [str(path)]


async def test_what_is_written_is_what_was_asked_for(
    lake: LakePaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "select ts_recv, best_bid_px, bid_px, date, now() as at from snapshots order by ts_recv, outcome_id"
    stored = scan_snapshots(lake, "kalshi").sort("ts_recv", "outcome_id").collect()
    for form in ("csv", "json", "parquet"):
        assert run(["sql", text, "--out", str(tmp_path / f"x.{form}"), "--data-dir", str(lake.root)]) == 0
    assert f"{len(stored)} rows" in capsys.readouterr().err
    parquet = pl.read_parquet(tmp_path / "x.parquet")
    assert parquet["bid_px"].to_list() == stored["bid_px"].to_list()
    lines = msgspec.json.decode((tmp_path / "x.json").read_bytes())
    assert [line["bid_px"] for line in lines] == stored["bid_px"].to_list()
    assert [line["best_bid_px"] for line in lines] == stored["best_bid_px"].fill_nan(None).to_list()
    table = pl.read_csv(tmp_path / "x.csv")
    assert [json.loads(cell) for cell in table["bid_px"]] == stored["bid_px"].to_list()
    assert table["date"].to_list() == [DAY] * len(stored)
    assert not list(tmp_path.glob(".*"))
    # A query that fails leaves the file that was there.
    assert (
        run(["sql", "select nope from snapshots", "--out", str(tmp_path / "x.csv"), "--data-dir", str(lake.root)]) == 1
    )
    assert len(pl.read_csv(tmp_path / "x.csv")) == len(stored)


async def test_the_screen_shows_a_table_and_says_where_it_ends(
    lake: LakePaths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = tmp_path / "q.sql"
    query.write_text("select seq as number_of_changes from snapshots;\n")
    assert run(["sql", "--file", str(query), "--limit", "2", "--data-dir", str(lake.root)]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert "number_of_changes" in out
    assert "the first 2 rows" in err
    assert run(["sql", "--tables"]) == 0
    out = capsys.readouterr().out
    assert all(table.name in out for table in lake_tables())
    assert run(["sql", "explain select 1", "--data-dir", str(lake.root)]) == 0
    assert run(["sql", "select 1 +", "--data-dir", str(lake.root)]) == 1
    assert "^" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["select 1", "--out", "x.xlsx"], ["select 1", "--format", "parquet"], ["select 1", "--json", "--format", "csv"],
     [" "], ["select 1", "--memory", "much"], ["select 1", "--out", "x.csv", "--format", "table"]],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused(lake: LakePaths, arguments: list[str]) -> None:
    assert run(["sql", *arguments, "--data-dir", str(lake.root)]) == 2


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(NothingStored, match="nowhere"), ask(LakePaths(tmp_path / "nowhere"), "select 1"):
        pass


async def test_without_the_library_the_extra_is_named(lake: LakePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError) as raised, ask(lake, "select 1"):
        pass
    assert "overround[lakesql]" in str(raised.value.hint)


async def test_what_needs_more_memory_than_allowed_goes_to_disk_or_says_so(lake: LakePaths) -> None:
    sort = "select count(*) from (select a.range x, hash(a.range * b.range) h from range(2000) a, range(1000) b order by h)"
    with ask(lake, sort, memory="60MB", threads=1) as answer:
        assert answer.result.fetchall() == [(2_000_000,)]
    assert not list(lake.root.rglob("*duckdb*"))
