"""``overround mm-viability`` over a recorded lake."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec
import polars as pl
import pytest
from click.testing import CliRunner
from test_mine_days import DAYS, MARKETS, NOON, record

from overround.cli.app import root, run
from overround.errors import FileDamaged, NothingStored
from overround.market import FeeKind, FeeSchedule
from overround.pipelines.viability import mm_viability, viability_columns
from overround.pipelines.viability_page import viability_page
from overround.storage import LakePaths, write_universe
from overround.testing.markets import a_market
from overround.timebucket import day_start_ms

DAY = DAYS[0]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> LakePaths:
    """Forty minutes of three markets whose quotes jump about: takers never know anything."""
    paths = record(tmp_path_factory.mktemp("lake"), NOON, minutes=90)
    markets = [a_market(n, close_ts=day_start_ms(DAYS[1]) + (3_600_000 if n == 2 else 10**9)) for n in range(3)]
    write_universe(paths, "kalshi", DAY, markets)
    return paths


def test_every_market_gets_its_figures_and_a_verdict(lake: LakePaths) -> None:
    result = mm_viability(lake, "kalshi", DAY, size=2.0, cancels_ahead=1.0)
    assert (result.n_markets, result.exit_code) == (3, 0)
    lines = {line.market_id: line for line in result.markets}
    assert set(lines) == set(MARKETS)
    assert lines[MARKETS[2]].verdict == "closing"
    for line in result.markets:
        assert line.title
        assert line.reason
        assert line.stats["quoted_spread"] > 0.015
        assert line.stats["size"] == 2.0
    frame = pl.read_parquet(result.path)
    assert result.path == str(lake.mm_viability("kalshi", DAY))
    assert frame["market_id"].to_list() == [line.market_id for line in result.markets]
    assert {
        "version",
        "verdict",
        "reason",
        "touch_markout_300s",
        "touch_markout_300s_lo",
        "capital",
        "inventory_risk",
    } <= set(frame.columns)
    assert frame["reason"].null_count() == 0
    # Every figure is stored, and the schema that others read by names every one.
    assert set(result.markets[0].stats) < set(frame.columns)
    assert dict(frame.schema) == viability_columns()


def test_the_first_markets_gap_takes_its_time_away(lake: LakePaths) -> None:
    stats = {line.market_id: line.stats for line in mm_viability(lake, "kalshi", DAY, write=False).markets}
    assert stats[MARKETS[1]]["watched_s"] - stats[MARKETS[0]]["watched_s"] == pytest.approx(300, abs=15)


def test_the_command_as_it_is_documented(lake: LakePaths, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    argv = ["mm-viability", "--venue", "kalshi", "--date", DAY, "--data-dir", str(lake.root)]
    for more in (
        ["--hours", "all", "--fee-estimate", "0.0", "--top", "20", "--write-report", "true"],
        ["--hours", "--fee-estimate", "--top", "--write-report"],
    ):
        done = CliRunner().invoke(root, [*argv, *more, "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert "dollars a day" in done.stdout
        assert "mm_viability.parquet" in done.stdout
    page = out.read_text()
    assert not re.search(r"(src|href)=|https?:|@import|url\(", page)
    assert all(market in page for market in MARKETS)
    as_json = CliRunner().invoke(root, [*argv, "--json"])
    told = msgspec.json.decode(as_json.stdout)
    assert (told["path"], len(told["markets"])) == ("", 3)
    assert viability_page(mm_viability(lake, "kalshi", DAY, fee_usd=0.0)) == page


def copied(lake: LakePaths, folder: Path) -> LakePaths:
    shutil.copytree(lake.root, folder / "lake")
    return LakePaths(folder / "lake")


@pytest.mark.parametrize("how", ["torn", "another", "gone"])
def test_a_damaged_file_is_left_out_by_name(
    lake: LakePaths, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied(lake, tmp_path)
    path, other = sorted(copy.root.rglob("snapshots_*.parquet"))[2:4]
    if how == "torn":
        path.write_bytes(b"PAR1 torn")
    elif how == "another":
        shutil.copyfile(other, path)  # reads well, and is not what the manifest describes
    else:
        path.unlink()
    result = mm_viability(copy, "kalshi", DAY, write=False)
    assert [file.path for file in result.skipped] == [str(path)]
    assert (result.incomplete, result.exit_code) == (True, 3)
    argv = ["mm-viability", "--venue", "kalshi", "--date", DAY, "--data-dir", str(copy.root)]
    assert run(argv) == 3
    assert "left out: " in capsys.readouterr().out


@pytest.mark.parametrize("table", ["orderbook_snapshots", "trades"])
def test_a_file_of_a_foreign_schema_is_left_out_by_name(lake: LakePaths, tmp_path: Path, table: str) -> None:
    copy = copied(lake, tmp_path)
    (hour, *_) = sorted((copy.root / table).glob("venue=kalshi/date=*/hour=*"))
    path = hour / f"{table.removeprefix('orderbook_')}_{DAY}T12-01.parquet"
    pl.DataFrame({"a": [1, 2]}).write_parquet(path)
    result = mm_viability(copy, "kalshi", DAY, write=False)
    assert [file.path for file in result.skipped] == [str(path)]
    assert result.exit_code == 3


def test_an_hour_whose_trades_are_damaged_is_left_out_whole(lake: LakePaths, tmp_path: Path) -> None:
    copy = copied(lake, tmp_path)
    path = sorted(copy.root.rglob("trades_*.parquet"))[2]
    path.write_bytes(b"PAR1 torn")
    whole, part = (mm_viability(paths, "kalshi", DAY, write=False) for paths in (lake, copy))
    assert [file.path for file in part.skipped] == [str(path)]
    assert whole.markets[0].stats["watched_s"] - part.markets[0].stats["watched_s"] > 3_000


def test_where_no_file_can_be_read_that_is_said(lake: LakePaths, tmp_path: Path) -> None:
    copy = copied(lake, tmp_path)
    for path in copy.root.rglob("snapshots_*.parquet"):
        path.write_bytes(b"PAR1 torn")
    with pytest.raises(FileDamaged, match="can be read"):
        mm_viability(copy, "kalshi", DAY)
    with pytest.raises(NothingStored, match="in hours 3"):
        mm_viability(lake, "kalshi", DAY, hours=[3])


def test_whoever_is_not_listed_is_not_taken_for_free_of_fees(lake: LakePaths, tmp_path: Path) -> None:
    copy = copied(lake, tmp_path)
    shutil.rmtree(copy.root / "metadata")
    (line, *_) = mm_viability(copy, "kalshi", DAY, size=2.0, write=False).markets
    assert (line.verdict, line.usd_per_day) == ("fees unknown", None)
    (line, *_) = mm_viability(copy, "kalshi", DAY, size=2.0, fee_usd=0.01, write=False).markets
    assert line.usd_per_day is not None


def test_schedules_and_sizes_are_those_of_the_day(lake: LakePaths, tmp_path: Path) -> None:
    """What is listed a day later costs more and wants larger orders: nothing of it counts."""
    copy = copied(lake, tmp_path)
    fee = FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07", maker_rate="0.07")
    write_universe(copy, "kalshi", DAYS[1], [a_market(n, fee=fee, min_size_e6=7_000_000) for n in range(3)])
    then, now = (mm_viability(paths, "kalshi", DAY, size=2.0, write=False) for paths in (lake, copy))
    assert [line.usd_per_day for line in then.markets] == [line.usd_per_day for line in now.markets]
    write_universe(copy, "kalshi", DAY, [a_market(n, fee=fee, min_size_e6=7_000_000) for n in range(3)])
    (line, *_) = mm_viability(copy, "kalshi", DAY, size=2.0, write=False).markets
    assert line.stats["size"] == 7.0
    assert line.stats["touch_fees"] > 0


def test_a_day_without_rows_says_so(lake: LakePaths) -> None:
    with pytest.raises(NothingStored, match="2026-01-20"):
        mm_viability(lake, "kalshi", "2026-01-20")
