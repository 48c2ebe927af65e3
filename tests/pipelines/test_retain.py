"""What may be removed, and that nothing else is."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.cli.app import run
from overround.config import RetentionSettings
from overround.errors import NothingStored
from overround.pipelines.lake import lake_stats
from overround.pipelines.retain import DAY_MS, HeldDay, Limit, limits_of, plan_retention, retain
from overround.storage import LakePaths
from overround.storage.fileops import FileOps
from overround.timebucket import date_of, day_start_ms

NOW = day_start_ms("2026-06-10") + 12 * 3_600_000
TABLES = ("raw", "orderbook_snapshots", "trades", "coverage", "stats", "metadata", "reports/mm_viability")


def ago(days: int) -> str:
    return date_of(NOW - days * DAY_MS)


def stored(root: Path, days: dict[str, tuple[int, ...]], *, n_bytes: int = 10) -> LakePaths:
    """A file of ``n_bytes`` for each table and each of its days ago."""
    for table, ages in days.items():
        for age in ages:
            folder = root / table / "venue=kalshi" / f"date={ago(age)}" / "hour=07"
            folder.mkdir(parents=True)
            (folder / "file").write_bytes(b"x" * n_bytes)
    return LakePaths(root)


def left(root: Path) -> set[tuple[str, str]]:
    return {(folder.table, folder.date) for folder in LakePaths(root).day_folders()}


def test_the_defaults_are_the_promised_ones() -> None:
    days = {table: limit.days for table, limit in limits_of(RetentionSettings()).items()}
    assert days == {"raw": 30, "orderbook_snapshots": 90, "trades": 90}
    assert not any(limit.bytes for limit in limits_of(RetentionSettings()).values())


def test_each_table_keeps_its_days_and_the_rest_is_kept_for_ever(tmp_path: Path) -> None:
    ages = (0, 1, 30, 31, 90, 91, 4000)
    paths = stored(tmp_path, dict.fromkeys(TABLES, ages))
    before = left(tmp_path)
    told = retain(paths, RetentionSettings(), now_ms=NOW, apply=False)
    assert left(tmp_path) == before
    done = retain(paths, RetentionSettings(), now_ms=NOW, apply=True)
    assert done.removed == told.removed
    assert (done.exit_code, done.bytes) == (0, 10 * len(done.removed))
    gone = {("raw", ago(age)) for age in (31, 90, 91, 4000)}
    gone |= {(table, ago(age)) for table in ("orderbook_snapshots", "trades") for age in (91, 4000)}
    assert before - left(tmp_path) == gone
    assert retain(paths, RetentionSettings(), now_ms=NOW, apply=True).removed == ()
    assert not list(tmp_path.rglob(".*"))


def test_a_budget_takes_the_oldest_days_first_and_never_the_open_one(tmp_path: Path) -> None:
    paths = stored(tmp_path, {"raw": (0, 1, 2, 3, 4)}, n_bytes=1000)
    settings = RetentionSettings(journal_gb=2.5e-6)
    done = retain(paths, settings, now_ms=NOW, apply=True)
    assert [day.date for day in done.removed] == [ago(4), ago(3), ago(2)]
    assert (done.exit_code, done.over_budget) == (0, {})
    tighter = retain(paths, RetentionSettings(journal_gb=0.5e-6), now_ms=NOW, apply=True)
    assert [day.date for day in tighter.removed] == [ago(1)]
    assert (tighter.exit_code, tighter.over_budget) == (3, {"raw": 500})
    assert left(tmp_path) == {("raw", ago(0))}


def test_a_day_that_just_ended_is_left_alone_for_an_hour(tmp_path: Path) -> None:
    paths = stored(tmp_path, {"raw": (1,)})
    settings = RetentionSettings(journal_gb=1e-9)
    midnight = day_start_ms(ago(0))
    assert retain(paths, settings, now_ms=midnight + 3_599_999, apply=True).removed == ()
    assert len(retain(paths, settings, now_ms=midnight + 3_600_000, apply=True).removed) == 1


def test_rows_in_a_write_ahead_file_keep_their_day(tmp_path: Path) -> None:
    paths = stored(tmp_path, {"orderbook_snapshots": (91, 92)})
    name = f".snapshots_{ago(91)}T07-00.0123456789abcdef.wal"
    (tmp_path / "orderbook_snapshots/venue=kalshi" / f"date={ago(91)}" / "hour=07" / name).write_bytes(b"rows")
    done = retain(paths, RetentionSettings(), now_ms=NOW, apply=True)
    assert [day.date for day in done.removed] == [ago(92)]
    assert [(stays.day.date, "write-ahead" in stays.reason) for stays in done.kept] == [(ago(91), True)]
    assert done.exit_code == 3


def test_only_the_named_venue_loses_days(tmp_path: Path) -> None:
    paths = stored(tmp_path, {"raw": (40,)})
    assert retain(paths, RetentionSettings(), now_ms=NOW, apply=True, venue="polymarket").removed == ()
    assert left(tmp_path)


class DiesAfterRenaming(FileOps):
    def sync_folder(self, folder: Path) -> None:
        raise KeyboardInterrupt


def test_what_a_crash_leaves_is_no_day_and_goes_with_the_next(tmp_path: Path) -> None:
    paths = stored(tmp_path, {"raw": (40, 41)})
    with pytest.raises(KeyboardInterrupt):
        retain(paths, RetentionSettings(), now_ms=NOW, apply=True, ops=DiesAfterRenaming())
    assert left(tmp_path) == {("raw", ago(40))}
    assert list(tmp_path.rglob(".removed.*"))
    retain(paths, RetentionSettings(), now_ms=NOW, apply=True)
    assert not left(tmp_path)
    assert not list(tmp_path.rglob(".removed.*"))


class Refuses(FileOps):
    def remove_folder(self, folder: Path) -> None:
        raise PermissionError(13, "Permission denied")


def test_a_day_that_the_system_keeps_is_named(tmp_path: Path) -> None:
    paths = stored(tmp_path, {"raw": (40,)})
    done = retain(paths, RetentionSettings(), now_ms=NOW, apply=True, ops=Refuses())
    assert [stays.reason for stays in done.kept] == ["the system refuses: Permission denied"]
    assert (done.removed, done.exit_code) == ((), 3)


@given(
    st.lists(
        st.tuples(st.integers(0, 120), st.sampled_from(["kalshi", "polymarket"]), st.integers(0, 50)),
        unique_by=lambda day: day[:2],
    ),
    st.integers(0, 100),
    st.integers(0, 500),
)
def test_what_stays_is_within_the_limits_and_nothing_went_for_no_reason(
    days: list[tuple[int, str, int]], keep: int, budget: int
) -> None:
    held = [
        HeldDay(table="raw", venue=venue, date=ago(age), files=1, bytes=size, open=age == 0)
        for age, venue, size in days
    ]
    gone = plan_retention(held, Limit(days=keep, bytes=budget), now_ms=NOW)
    names = {(day.venue, day.date) for day in gone}
    stays = [day for day in held if (day.venue, day.date) not in names]
    assert len(names) == len(gone) == len(held) - len(stays)
    today = date.fromisoformat(ago(0))
    old = {
        (day.venue, day.date) for day in held if keep and date.fromisoformat(day.date) < today - timedelta(days=keep)
    }
    assert old <= names
    assert all(day.open for day in held if day.date == ago(0))
    assert not any(day.open for day in gone)
    if budget:
        assert sum(day.bytes for day in stays) <= budget or all(day.open for day in stays)
    by_budget = [day for day in gone if (day.venue, day.date) not in old]
    if by_budget:
        # The last one had to go as well.
        assert budget
        assert sum(day.bytes for day in stays) + by_budget[-1].bytes > budget


def test_the_command_says_first_and_removes_when_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(tz=UTC).date()
    folder = tmp_path / "raw" / "venue=kalshi" / f"date={now - timedelta(days=31)}"
    folder.mkdir(parents=True)
    (folder / "frames").write_bytes(b"x" * 20_000)
    assert run(["lake", "retain", "--data-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "older than 30 days" in said
    assert "would be removed: 1 day, 0.00 GB; --apply removes them" in said
    assert folder.is_dir()
    assert run(["lake", "retain", "--data-dir", str(tmp_path), "--apply"]) == 0
    assert not folder.exists()
    assert "removed: 1 day" in capsys.readouterr().out
    assert run(["lake", "retain", "--data-dir", str(tmp_path / "nothing")]) == 0


def test_stats_count_days_and_growth(tmp_path: Path) -> None:
    paths = stored(tmp_path, {"stats": (1, 2, 3)}, n_bytes=100)
    with pytest.raises(NothingStored):
        lake_stats(paths, today=ago(0))
    folder = tmp_path / "raw/venue=kalshi"
    for age, size in ((0, 7), *((age, 100 * age) for age in range(1, 10))):
        name = folder / f"date={ago(age)}" / "hour=00" / f"frames_{ago(age)}T00-00.jsonl.zst"
        name.parent.mkdir(parents=True)
        name.write_bytes(b"x" * size)
    found = {each.table: each for each in lake_stats(paths, today=ago(0)).tables}
    raw, stats = found["raw"], found["stats"]
    assert (raw.days, raw.first, raw.last, raw.files) == (10, ago(9), ago(0), 10)
    assert (raw.bytes, raw.day_bytes, raw.rows) == (7 + 4500, 400, None)
    assert (stats.bytes, stats.day_bytes) == (300, 100)
    whole = lake_stats(paths, today=ago(0))
    assert (whole.bytes, whole.day_bytes) == (4807, 500)
    assert whole.days_left == whole.disk_free / 500
