"""Several days with trades, gaps and a ledger: what is kept, what is read again, what the page shows."""

from __future__ import annotations

import asyncio
import os
import random
import re
from pathlib import Path

import msgspec
import polars as pl
import pytest
from click.testing import CliRunner

from overround.analytics import estimate
from overround.cli.app import main, root
from overround.cli.options import parse_dates
from overround.config import StorageSettings
from overround.errors import FileDamaged, NothingStored, UsageError
from overround.market import MarketId, Origin, OutcomeId, Trade
from overround.pipelines.mine import mine, mine_days
from overround.pipelines.mine_page import mine_page
from overround.storage import SNAPSHOTS, TRADES, LakePaths, SnapshotWriter, newest_stats, read_stats
from overround.storage.coverage_tables import GapRow, InclusionRow, MinuteRow
from overround.storage.coverage_writer import CoverageWriter
from overround.testing.clock import ManualClock

pytestmark = pytest.mark.long

DAYS = ["2026-01-14", "2026-01-15"]
NOON = 1_768_392_000_000  # 2026-01-14T12:00Z
HOUR = 3_600_000
DAY_MS = 24 * HOUR
MARKETS = [f"KXTEST-{n:05d}" for n in range(3)]


def record(folder: Path, start: int, *, minutes: int = 40, seed: int = 4) -> LakePaths:
    """Books and trades of three markets every ten seconds, as the collector writes them, and its ledger."""
    paths, rng = LakePaths(folder), random.Random(seed)

    async def run() -> None:
        clock = ManualClock(start)
        writer = SnapshotWriter(
            paths, "kalshi", settings=StorageSettings(), top_k=50, origin=Origin.SYNTHETIC, clock=clock
        )
        writer.start()
        keys = [writer.buffer.register(MarketId(market), (OutcomeId("yes"), OutcomeId("no"))) for market in MARKETS]
        for number, now in enumerate(range(start, start + minutes * 60_000, 10_000)):
            for place, key in enumerate(keys):
                mid = 5_000 + 100 * rng.randrange(-3, 4)
                writer.buffer.append(
                    key, now, {mid - 100 * (place + 1): 10**8, 100: 10**6}, {mid + 100: 2 * 10**8}, seq=number * 3,
                    source_ts=now - 500, stale=False, err=None, integrity="verified",
                )  # fmt: skip
                if rng.random() < 0.5:
                    writer.add_trades(
                        [
                            Trade(
                                market_id=MarketId(MARKETS[place]), outcome_id=OutcomeId("yes"), first=True, px=mid / 10_000,
                                sz_e6=5_000_000, taker_side=rng.choice(["buy", "sell"]), ts_recv_ns=(now + 3_000) * 1_000_000,
                            )
                        ]
                    )  # fmt: skip
            if number % 30 == 29:
                await writer.flush(now)
        await writer.stop()

    asyncio.run(run())
    ledger = CoverageWriter(paths, "kalshi", level=1, origin="synthetic")
    ledger.start(now_ms=start)
    end = start + minutes * 60_000
    ledger.add(
        minutes=[
            MinuteRow(
                minute, market, ("yes", "no"), 45_000, 15_000, 0, 0, 0, 0, 6, 6, 0, (1 << 60) - 1, minute + 60_000
            )
            for market in MARKETS
            for minute in range(start, end, 60_000)
        ],
        gaps=[GapRow(start + 600_000, start + 900_000, start + 610_000, MARKETS[0], "gap", "resubscribe")],
        stays=[InclusionRow(start, end, market, "warm", 0.5, "stopped") for market in MARKETS],
        now_ms=end,
    )
    assert ledger.save(now_ms=end)
    ledger.finalise(now_ms=end, all_buckets=True)
    return paths


@pytest.fixture
def lake(tmp_path: Path) -> LakePaths:
    record(tmp_path, NOON)
    return record(tmp_path, NOON + DAY_MS, seed=5)


def test_statistics_come_with_intervals_coverage_and_the_columns_the_scheduler_reads(lake: LakePaths) -> None:
    result = mine(lake, "kalshi", DAYS[0])
    stats = pl.from_arrow(read_stats(lake, "kalshi", DAYS[0]))
    assert isinstance(stats, pl.DataFrame)
    assert stats.columns[:10] == [
        "venue", "market_id", "outcome_id", "n_snapshots", "n_ok", "avg_depth_top3", "avg_spread", "quote_updates",
        "first_ts", "last_ts",
    ]  # fmt: skip
    yes = {row["market_id"]: row for row in stats.filter(outcome_id="yes").to_dicts()}
    assert [yes[market]["spread"] for market in MARKETS] == pytest.approx([0.02, 0.03, 0.04])
    assert [yes[market]["spread_ticks"] for market in MARKETS] == pytest.approx([2, 3, 4])
    assert yes[MARKETS[1]]["depth_5"] == pytest.approx(300.0)
    assert yes[MARKETS[1]]["changes_per_min"] == pytest.approx(18.0)
    assert yes[MARKETS[1]]["age_s"] == pytest.approx(0.5)
    # Five minutes of forty are a gap.
    assert yes[MARKETS[0]]["watched_s"] == pytest.approx(2_100, abs=20)
    assert yes[MARKETS[1]]["watched_s"] == pytest.approx(2_400, abs=20)
    # What was verified of the gap's minutes is taken back.
    assert yes[MARKETS[0]]["verified_share"] == pytest.approx(0.75 * 35 / 40, abs=0.01)
    assert yes[MARKETS[1]]["verified_share"] == pytest.approx(0.75)
    assert (yes[MARKETS[1]]["included_s"], yes[MARKETS[1]]["n_stays"]) == (2_400.0, 1)
    assert {row["market_id"] for row in newest_stats(lake, "kalshi")} == set(MARKETS)
    assert result.n_trades == pytest.approx(sum(row["trades_per_h"] * row["watched_s"] / 3600 for row in yes.values()))
    best = result.most_interesting[0]
    assert best.interest == pytest.approx(sum(best.parts.values()) / len(best.parts), abs=1e-4)
    assert msgspec.json.decode(msgspec.json.encode(result))["most_interesting"][0]["stats"]["spread"] > 0


def test_what_was_summed_before_is_not_read_again_unless_something_changed(lake: LakePaths) -> None:
    first = mine_days(lake, "kalshi", DAYS)
    files = first.result.n_files
    assert (first.result.n_kept, files) == (0, 16)
    again = mine_days(lake, "kalshi", DAYS)
    assert again.result.n_kept == files
    assert again.stats.equals(first.stats)
    assert again.result.by_spread == first.result.by_spread
    # The second day's trades of one hour are gone: its files are summed anew, the first day's are not.
    gone = list(lake.day(TRADES, "kalshi", DAYS[1]).rglob("trades_*.parquet"))
    for path in gone:
        path.unlink()
    fewer = mine_days(lake, "kalshi", DAYS)
    assert fewer.result.n_kept == files // 2
    assert fewer.result.n_trades < first.result.n_trades
    assert {file.path for file in fewer.result.skipped} == {str(path) for path in gone}
    (kept,) = lake.mined("kalshi", DAYS[1]).glob("*.sums")
    size = kept.stat().st_size
    assert mine_days(lake, "kalshi", DAYS).result.n_kept == files
    assert kept.stat().st_size == size, "what is not used any more is removed"


def test_a_damaged_kept_file_costs_time_and_nothing_else(lake: LakePaths) -> None:
    first = mine_days(lake, "kalshi", DAYS[:1])
    (kept,) = lake.mined("kalshi", DAYS[0]).glob("*.sums")
    whole = kept.read_bytes()
    for at in range(0, len(whole), len(whole) // 12):
        kept.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        again = mine_days(lake, "kalshi", DAYS[:1])
        assert again.result.n_kept == 0
        assert again.stats.equals(first.stats)
    kept.write_bytes(whole[: len(whole) // 2])
    assert mine_days(lake, "kalshi", DAYS[:1]).stats.equals(first.stats)
    assert kept.read_bytes() == whole, "it is made again"


def test_files_that_are_added_changed_and_removed_are_seen(lake: LakePaths, tmp_path: Path) -> None:
    assert mine(lake, "kalshi", DAYS[0]).n_kept == 0
    record(tmp_path, NOON + 40 * 60_000, minutes=10, seed=6)
    added = mine(lake, "kalshi", DAYS[0])
    # The new files' trades are the hour's, and what an hour's trades are is part of every file's sums.
    assert (added.n_files, added.n_kept, added.n_snapshots) == (10, 0, 1_800)
    files = sorted(lake.day(SNAPSHOTS, "kalshi", DAYS[0]).rglob("snapshots_*.parquet"))
    stat, whole = files[3].stat(), files[3].read_bytes()
    files[3].write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    os.utime(files[3], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    changed = mine(lake, "kalshi", DAYS[0])
    assert [file.path for file in changed.skipped] == [str(files[3])]
    assert (changed.n_files, changed.n_kept) == (9, 9)
    files[3].unlink()
    removed = mine(lake, "kalshi", DAYS[0])
    assert [file.reason for file in removed.skipped] == ["the file is missing"]
    assert (removed.n_files, removed.n_kept) == (9, 9)
    files[3].write_bytes(whole)
    back = mine(lake, "kalshi", DAYS[0])
    assert (back.n_files, back.n_kept, back.incomplete) == (10, 9, False)
    assert back.by_depth == added.by_depth


def test_a_damaged_file_in_the_middle_ends_the_command_with_3_and_its_name(
    lake: LakePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = lake.bucket_files(SNAPSHOTS, "kalshi", DAYS[0], "12")[3]
    victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.raises(SystemExit) as ended:
        main(["mine", "--venue", "kalshi", "--date", "..".join(DAYS), "--data-dir", str(lake.root), "--json"])
    told = msgspec.json.decode(capsys.readouterr().out.splitlines()[-1])
    assert (ended.value.code, told["incomplete"], told["n_files"]) == (3, True, 15)
    assert [file["path"] for file in told["skipped"]] == [str(victim)]


def test_a_late_gap_takes_its_time_back_from_kept_sums(lake: LakePaths) -> None:
    before = mine(lake, "kalshi", DAYS[0])
    ledger = CoverageWriter(lake, "kalshi", level=1, origin="synthetic")
    ledger.start(now_ms=NOON + HOUR)
    ledger.add(
        gaps=[GapRow(NOON + 1_500_000, NOON + 1_800_000, NOON + 1_800_000, MARKETS[1], "suspect")], now_ms=NOON + HOUR
    )
    assert ledger.save(now_ms=NOON + HOUR)
    ledger.finalise(now_ms=NOON + HOUR, all_buckets=True)
    after = mine(lake, "kalshi", DAYS[0])

    def watched(result: object) -> dict[str, float]:
        return {each.market_id: each.stats["watched_s"] for each in result.most_interesting}  # type: ignore[attr-defined]

    assert watched(before)[MARKETS[1]] - watched(after)[MARKETS[1]] == pytest.approx(300, abs=10)
    assert watched(before)[MARKETS[2]] == watched(after)[MARKETS[2]]
    assert 0 < after.n_kept < after.n_files


def test_days_without_rows_are_passed_over_as_long_as_one_has_some(lake: LakePaths) -> None:
    result = mine_days(lake, "kalshi", parse_dates("2026-01-13..2026-01-16")).result
    assert (result.date, result.n_files) == ("2026-01-13..2026-01-16", 16)
    with pytest.raises(NothingStored, match=r"2026-01-11\.\.2026-01-12"):
        mine_days(lake, "kalshi", parse_dates("2026-01-11..2026-01-12"))


@pytest.mark.parametrize("text", ["2026-01-15..2026-01-14", "2026-01-15..", "..", "2024-01-01..2026-01-01", "soon"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"days|no date"):
        parse_dates(text)


def test_the_page_needs_nothing_else_and_the_command_writes_it(lake: LakePaths, tmp_path: Path) -> None:
    days = mine_days(lake, "kalshi", DAYS)
    page = mine_page(days.result, days.blocks)
    assert not re.search(r"(src|href)=|https?:|@import|url\(", page)
    assert all(market in page for market in MARKETS)
    assert "prefers-color-scheme:dark" in page
    out = tmp_path / "page.html"
    done = CliRunner().invoke(
        root, ["mine", "--venue", "kalshi", "--date", "..".join(DAYS), "--data-dir", str(lake.root), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "most interesting" in done.stdout
    assert done.stdout.index("deepest") < done.stdout.index("most interesting")
    assert out.read_text() == page


def test_without_its_gaps_a_day_is_not_measured(lake: LakePaths) -> None:
    (gaps,) = (lake.root / "coverage" / "venue=kalshi" / f"date={DAYS[0]}").glob("gaps_*.parquet")
    gaps.write_bytes(gaps.read_bytes()[:-40])
    with pytest.raises(FileDamaged, match="the gaps of kalshi up to 2026-01-14 cannot be read"):
        mine(lake, "kalshi", DAYS[0])
    assert not lake.stats("kalshi", DAYS[0]).exists()


def test_statistics_are_reckoned_again_only_where_something_is_new(
    lake: LakePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = mine_days(lake, "kalshi", DAYS)
    asked: list[int] = []

    def counting(blocks: pl.DataFrame) -> pl.DataFrame:
        asked.append(blocks.height)
        return estimate(blocks)

    monkeypatch.setattr("overround.pipelines.mine.estimate", counting)
    assert mine_days(lake, "kalshi", DAYS).stats.equals(first.stats)
    assert asked == []
    for path in lake.root.glob(".mined/**/*.stats"):
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)
    assert mine_days(lake, "kalshi", DAYS).stats.equals(first.stats)
    assert len(asked) == 3  # each day, and both together


def test_a_days_file_is_written_again_where_it_is_not_as_it_would_be_written(lake: LakePaths) -> None:
    mine(lake, "kalshi", DAYS[0])
    stored = lake.stats("kalshi", DAYS[0])
    whole, written_ns = stored.read_bytes(), stored.stat().st_mtime_ns
    mine(lake, "kalshi", DAYS[0])
    assert stored.stat().st_mtime_ns == written_ns
    stored.write_bytes(whole[:-1] + b"?")
    mine(lake, "kalshi", DAYS[0])
    assert stored.read_bytes() == whole
    stored.unlink()
    mine(lake, "kalshi", DAYS[0])
    assert stored.read_bytes() == whole
