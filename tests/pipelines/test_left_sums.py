"""Rankings of the sums that the writer left: equal to those of the rows, and never trusted blindly."""

from __future__ import annotations

import math
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from lakes import recorded

from overround.analytics import merge, partial_of
from overround.cli.app import root
from overround.errors import UsageError
from overround.pipelines.compact import compact_lake
from overround.pipelines.mine import MineResult, mine, rank_days
from overround.pipelines.mine_hour import partial_of_files
from overround.storage import ROW_SCHEMA, SNAPSHOTS, LakePaths
from overround.storage.manifest import read_manifests
from overround.storage.sums import FileSums, left_sums, sums_of

DAY = "2026-01-14"
NAN = math.nan


@pytest.fixture
async def lake(tmp_path: Path) -> LakePaths:
    """Six files of one market."""
    return await recorded(tmp_path / "data", bucket_s=60, minutes=6)


def ranked(result: MineResult) -> tuple[object, ...]:
    return result.by_depth, result.by_spread, result.by_updates, result.n_snapshots, result.n_ok, result.hours


def kept(lake: LakePaths) -> int:
    return rank_days(lake, "kalshi", [DAY]).n_kept


# -- equal to the rows -------------------------------------------------------------------------------------

sizes = st.lists(st.sampled_from([0.0, 1.0, 2.5, 1e6, 9e12, 9.3e12, NAN, math.inf]), max_size=5)
best = st.sampled_from([(NAN, 0.0), (0.5, 1.0), (0.51, 1.0), (0.5, 9e12), (0.5, NAN)])
drawn = st.tuples(
    st.sampled_from(["a", "b"]), st.sampled_from(["no", "yes"]), st.sampled_from([0, 1, 2, 60_001, 120_002]), st.integers(0, 1),
    best, best, sizes, sizes, st.sampled_from(["ok", "stale"]),
)  # fmt: skip


def table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "ts_recv": ts, "venue": "kalshi", "market_id": market, "outcome_id": outcome, "seq": seq,
                "best_bid_px": bid[0], "best_bid_sz": bid[1], "best_ask_px": ask[0], "best_ask_sz": ask[1],
                "mid": NAN, "spread": NAN, "bid_px": bids, "bid_sz": bids, "ask_px": asks, "ask_sz": asks, "status": status,
            }
            for market, outcome, ts, seq, bid, ask, bids, asks, status in rows
        ],
        schema=ROW_SCHEMA,
    )  # fmt: skip


def summed(rows: pa.Table) -> FileSums:
    outcomes, values = sums_of(rows)
    numbers = pl.int_range(len(outcomes), eager=True).to_numpy()
    return FileSums(outcomes, numbers, values)


def lazy(rows: pa.Table) -> pl.LazyFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


@given(st.lists(st.lists(drawn, max_size=12), min_size=1, max_size=4), st.booleans())
def test_sums_of_files_are_what_the_miner_finds_in_their_rows(files: list[list[tuple[Any, ...]]], apart: bool) -> None:
    # Apart: each file's time follows the one before; otherwise they overlap, as those of two shards may.
    tables = [
        table([(*row[:2], row[2] + 150_000 * number * apart, *row[3:]) for row in rows])
        for number, rows in enumerate(files)
    ]
    of_rows = [partial_of(lazy(rows)) for rows in tables]
    for rows, partial in zip(tables, of_rows, strict=True):
        assert partial_of_files([summed(rows)]).equals(partial)
    together = [summed(rows) for rows in tables]
    random.Random(3).shuffle(together)
    assert partial_of_files(together).equals(merge(of_rows))


def test_the_rankings_are_those_of_mining(lake: LakePaths) -> None:
    whole = mine(lake, "kalshi", DAY)
    quick = rank_days(lake, "kalshi", [DAY])
    assert ranked(quick) == ranked(whole)
    assert (quick.n_files, quick.n_kept, quick.stats_path) == (6, 6, "")
    left = lake.all_sums(SNAPSHOTS, "kalshi", DAY)
    for path in left:
        path.unlink()
    of_rows = rank_days(lake, "kalshi", [DAY])
    assert (of_rows.n_files, of_rows.n_kept) == (6, 0)
    assert ranked(of_rows) == ranked(whole)


# -- never blindly -----------------------------------------------------------------------------------------


def test_a_line_that_is_damaged_costs_time_and_nothing_else(lake: LakePaths) -> None:
    before = ranked(rank_days(lake, "kalshi", [DAY]))
    (path,) = lake.all_sums(SNAPSHOTS, "kalshi", DAY)
    whole = path.read_bytes()
    for at in range(3, len(whole), len(whole) // 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert ranked(rank_days(lake, "kalshi", [DAY])) == before
    path.write_bytes(whole[: -len(whole) // 9])
    assert kept(lake) == 5
    assert ranked(rank_days(lake, "kalshi", [DAY])) == before


def test_files_that_were_copied_or_touched_are_hashed_and_changed_ones_named(lake: LakePaths, tmp_path: Path) -> None:
    copied = LakePaths(tmp_path / "copy")
    shutil.copytree(lake.root, copied.root, copy_function=shutil.copyfile)
    assert kept(copied) == 6
    path = sorted(copied.root.rglob("snapshots_*.parquet"))[2]
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    os.utime(path, ns=(1, 1))
    found = rank_days(copied, "kalshi", [DAY])
    assert (found.n_files, found.n_kept, found.incomplete) == (5, 5, True)
    assert [file.path for file in found.skipped] == [str(path)]


def test_a_file_of_which_the_manifest_says_otherwise_is_not_answered_by_old_sums(lake: LakePaths) -> None:
    day = lake.day(SNAPSHOTS, "kalshi", DAY)
    listed = read_manifests(lake.manifests(SNAPSHOTS, "kalshi", DAY))
    sums = left_sums(lake.all_sums(SNAPSHOTS, "kalshi", DAY), day, listed)
    assert sums.keys() == listed.keys()
    listed.pop(min(listed))
    assert left_sums(lake.all_sums(SNAPSHOTS, "kalshi", DAY), day, listed).keys() == listed.keys()


async def test_restarts_and_open_buckets_are_in_the_rankings(tmp_path: Path) -> None:
    lake = await recorded(tmp_path, bucket_s=300, minutes=7, clean=False)
    assert ranked(rank_days(lake, "kalshi", [DAY])) == ranked(mine(lake, "kalshi", DAY))
    again = await recorded(tmp_path, bucket_s=300, minutes=7)
    found = rank_days(again, "kalshi", [DAY])
    assert ranked(found) == ranked(mine(again, "kalshi", DAY))
    assert (found.n_files, found.n_kept) == (2, 2)


async def test_compacting_leaves_sums_of_what_it_wrote(lake: LakePaths) -> None:
    before = ranked(rank_days(lake, "kalshi", [DAY]))
    done = compact_lake(lake, bucket_s=300, level=1, now_ms=1_768_392_000_000 + 200_000_000, apply=True)
    assert (done.before, done.after, done.problems) == (5, 1, [])
    found = rank_days(lake, "kalshi", [DAY])
    assert (found.n_files, found.n_kept) == (2, 2)
    assert ranked(found) == before


def test_the_command_prints_only_rankings_and_writes_nothing(lake: LakePaths) -> None:
    asked = ["mine", "--venue", "kalshi", "--date", DAY, "--data-dir", str(lake.root), "--rankings"]
    done = CliRunner().invoke(root, asked)
    assert done.exit_code == 0, done.output
    assert "deepest" in done.stdout
    assert "most interesting" not in done.stdout
    assert not lake.stats("kalshi", DAY).exists()
    refused = CliRunner().invoke(root, [*asked, "--out", "page.html"])
    assert (refused.exit_code, isinstance(refused.exception, UsageError)) in {(2, False), (1, True)}
