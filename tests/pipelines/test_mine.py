"""Mining a lake on disk: what is read, what is left out by name, what is written for the scheduler."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest

from overround.config import StorageSettings
from overround.errors import FileDamaged, NothingStored, UsageError
from overround.market import MarketId, Origin, OutcomeId
from overround.pipelines.mine import ALL_HOURS, MineResult, mine, parse_hours
from overround.scheduler import market_stats, rank
from overround.storage import LakePaths, SnapshotWriter, newest_stats, write_universe
from overround.storage.paths import SNAPSHOTS
from overround.testing.clock import ManualClock
from overround.testing.markets import a_market, a_universe

DAY = "2026-01-14"
NOON = 1_768_392_000_000  # 2026-01-14T12:00Z
HOUR = 3_600_000
Book = tuple[int, str, dict[int, int], dict[int, int], bool]


def some_books(*, hours: int = 3, per_hour: int = 200, seed: int = 7) -> list[Book]:
    """Times, markets, bids and asks of the first outcome, and whether the book was stale."""
    rng = random.Random(seed)
    books = []
    for number in range(hours * per_hour):
        ts = NOON + number * HOUR // per_hour
        sides = []
        for first, step in ((5_000, -100), (5_100, 100)):
            depth = rng.choice([0, 1, 2, 5, 9])
            sides.append({first + step * (n + rng.randrange(2)): rng.randrange(1, 10**9) for n in range(depth)})
        books.append((ts, f"KXTEST-{rng.randrange(4):05d}", *sides, rng.random() < 0.1))
    return books


def record(root: Path, books: list[Book], *, stop: bool = True) -> LakePaths:
    """Write books through the collector's own writer."""
    paths = LakePaths(root)

    async def run() -> None:
        clock = ManualClock(books[0][0])
        writer = SnapshotWriter(
            paths, "kalshi", settings=StorageSettings(), top_k=50, origin=Origin.SYNTHETIC, clock=clock
        )
        writer.start()
        for number, (ts, market_id, bids, asks, stale) in enumerate(books):
            key = writer.buffer.register(MarketId(market_id), (OutcomeId("yes"), OutcomeId("no")))
            writer.buffer.append(key, ts, bids, asks, seq=number, source_ts=None, stale=stale, err=None, integrity=None)
            if number % 50 == 49:
                await writer.flush(ts)
        if stop:
            await writer.stop()
        else:
            await writer.flush(books[-1][0])
            await writer.settle()

    asyncio.run(run())
    return paths


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> LakePaths:
    """Three hours of four markets; read only."""
    return record(tmp_path_factory.mktemp("lake"), some_books())


def expected(books: list[Book]) -> dict[str, tuple[int, int, int, int, int]]:
    """Rows, counted rows, summed depth and spread, and updates of each market's first outcome."""
    found: dict[str, tuple[int, int, int, int, int]] = {}
    last: dict[str, tuple[object, ...]] = {}
    for _, market_id, bids, asks, stale in books:
        rows, n_ok, depth, spread, updates = found.get(market_id, (0, 0, 0, 0, 0))
        best_bid, best_ask = max(bids, default=None), min(asks, default=None)
        quote = (best_bid, bids.get(best_bid or 0), best_ask, asks.get(best_ask or 0))
        updates += market_id in last and last[market_id] != quote
        last[market_id] = quote
        if bids and asks and not stale:
            n_ok += 1
            depth += sum(bids[px] for px in sorted(bids, reverse=True)[:3])
            depth += sum(asks[px] for px in sorted(asks)[:3])
            spread += min(asks) - max(bids)
        found[market_id] = (rows + 1, n_ok, depth, spread, updates)
    return found


def check(paths: LakePaths, result: MineResult, books: list[Book]) -> None:
    stats = pq.read_table(result.stats_path).to_pylist()
    model = expected(books)
    assert [(line["market_id"], line["outcome_id"]) for line in stats] == [
        (market_id, outcome) for market_id in sorted(model) for outcome in ("no", "yes")
    ]
    for line in stats:
        rows, n_ok, depth, spread, updates = model[line["market_id"]]
        assert (line["n_snapshots"], line["n_ok"], line["quote_updates"]) == (rows, n_ok, updates)
        assert line["avg_depth_top3"] == pytest.approx(depth / n_ok / 1e6, rel=1e-12)
        assert line["avg_spread"] == pytest.approx(spread / n_ok / 1e4, rel=1e-12)
    assert result.n_snapshots == 2 * len(books)


def test_mining_a_recorded_day_gives_what_was_recorded(lake: LakePaths) -> None:
    result = mine(lake, "kalshi", DAY)
    check(lake, result, some_books())
    assert result.hours == (12, 13, 14)
    assert (result.n_markets, result.n_outcomes, result.n_files) == (4, 8, 36)
    assert not result.incomplete
    depths = [line.avg_depth_top3 or 0 for line in result.by_depth]
    assert depths == sorted(depths, reverse=True)
    assert result.stats_path == str(lake.stats("kalshi", DAY))


def test_mining_part_of_the_hours_leaves_the_others_out(lake: LakePaths) -> None:
    result = mine(lake, "kalshi", DAY, hours=parse_hours("13"))
    check(lake, result, [book for book in some_books() if NOON + HOUR <= book[0] < NOON + 2 * HOUR])
    assert result.hours == (13,)


def test_mining_again_writes_the_same_bytes(lake: LakePaths) -> None:
    first = Path(mine(lake, "kalshi", DAY).stats_path).read_bytes()
    assert Path(mine(lake, "kalshi", DAY).stats_path).read_bytes() == first


def test_rows_of_the_open_bucket_are_mined_too(tmp_path: Path) -> None:
    books = some_books(hours=1)
    paths = record(tmp_path, books, stop=False)
    assert paths.wal_files(SNAPSHOTS, "kalshi", DAY, "12")
    check(paths, mine(paths, "kalshi", DAY), books)


@pytest.mark.parametrize(
    "damage", ["cut", "emptied", "overwritten", "scrambled", "foreign", "foreign without a manifest", "removed"]
)
def test_damaged_file_is_left_out_by_name_and_the_result_says_so(tmp_path: Path, damage: str) -> None:
    books = some_books()
    paths = record(tmp_path, books)
    victim = paths.bucket_files(SNAPSHOTS, "kalshi", DAY, "13")[4]
    data = victim.read_bytes()
    if damage.startswith("foreign"):
        pl.DataFrame({"a": [1, 2]}).write_parquet(victim)
        if damage.endswith("manifest"):
            paths.manifest(SNAPSHOTS, "kalshi", DAY).unlink()
    elif damage == "removed":
        victim.unlink()
    else:
        middle = len(data) // 3
        victim.write_bytes(
            {
                "cut": data[: len(data) // 2],
                "emptied": b"",
                "overwritten": b"not parquet at all" * 100,
                "scrambled": data[:middle] + bytes(range(256)) + data[middle + 256 :],
            }[damage]
        )
    result = mine(paths, "kalshi", DAY)
    assert [Path(file.path) for file in result.skipped] == [victim]
    assert result.skipped[0].reason
    assert result.incomplete
    lost = range(NOON + HOUR + 20 * 60_000, NOON + HOUR + 25 * 60_000)
    check(paths, result, [book for book in books if book[0] not in lost])


def test_lake_of_damaged_files_only_is_an_error_that_names_one(tmp_path: Path) -> None:
    paths = record(tmp_path, some_books(hours=1, per_hour=10))
    files = paths.bucket_files(SNAPSHOTS, "kalshi", DAY, "12")
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(FileDamaged, match=files[0].name):
        mine(paths, "kalshi", DAY)
    assert not paths.stats("kalshi", DAY).exists()


def test_day_without_rows_is_an_error_with_a_remedy(lake: LakePaths) -> None:
    with pytest.raises(NothingStored, match="no snapshots for kalshi on 2026-01-15 under") as caught:
        mine(lake, "kalshi", "2026-01-15")
    assert "overround collect" in (caught.value.hint or "")


def test_hours_without_rows_are_an_error_that_names_those_that_have_some(lake: LakePaths) -> None:
    with pytest.raises(NothingStored, match="in hours 0-2,7") as caught:
        mine(lake, "kalshi", DAY, hours=(0, 1, 2, 7))
    assert "12-14" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "hours"),
    [("all", ALL_HOURS), ("0-23", ALL_HOURS), ("7,9-11", (7, 9, 10, 11)), (" 3 , 3-4", (3, 4)), ("00", (0,))],
)
def test_hours_are_read_as_written(text: str, hours: tuple[int, ...]) -> None:
    assert parse_hours(text) == hours


@pytest.mark.parametrize("text", ["24", "5-24", "11-9", "", "7,", "-1", "x", "1-2-3", "7;9", "１"])
def test_hours_that_no_day_has_are_refused_by_value(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_hours(text)
    assert repr(text.strip()) in str(caught.value) or text in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("date", "changes"),
    [("2026-13-01", {}), ("20260114", {}), ("yesterday", {}), (DAY, {"hours": (24,)}), (DAY, {"hours": ()}), (DAY, {"top": 0})],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(lake: LakePaths, date: str, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        mine(lake, "kalshi", date, **changes)  # type: ignore[arg-type]


def test_rankings_carry_the_questions_and_go_to_json(tmp_path: Path) -> None:
    paths = record(tmp_path, some_books(hours=1))
    write_universe(paths, "kalshi", "2026-01-13", [a_market(n) for n in range(3)])
    result = mine(paths, "kalshi", DAY, top=4)
    titles = {line.market_id: line.title for line in result.by_updates}
    assert titles == {f"KXTEST-{n:05d}": f"Will test {n} pass?" if n < 3 else "" for n in range(4)}
    decoded = msgspec.json.decode(msgspec.json.encode(result))
    assert decoded["by_depth"][0]["market_id"] == result.by_depth[0].market_id


def test_damaged_listing_costs_the_questions_only(tmp_path: Path) -> None:
    paths = record(tmp_path, some_books(hours=1))
    write_universe(paths, "kalshi", DAY, [a_market(1)])
    paths.universe("kalshi", DAY).write_text("{not a market")
    assert {line.title for line in mine(paths, "kalshi", DAY).by_depth} == {""}


def test_each_hour_is_told_when_it_is_done(lake: LakePaths) -> None:
    told: list[tuple[str, int]] = []
    mine(lake, "kalshi", DAY, on_hour=lambda hour, rows: told.append((hour, rows)))
    assert told == [("12", 400), ("13", 400), ("14", 400)]


def test_the_scheduler_reads_what_was_mined(tmp_path: Path) -> None:
    paths = record(tmp_path, some_books(hours=1))
    result = mine(paths, "kalshi", DAY)
    stats = market_stats(newest_stats(paths, "kalshi"))
    assert set(stats) == {line.market_id for line in result.by_updates}
    assert all(value.observed_ms > 0 for value in stats.values())
    markets = a_universe(8)
    scores = rank(markets.values(), stats, now_ms=NOON)
    assert sorted(scores, key=lambda market_id: -scores[market_id])[:4] == sorted(
        stats, key=lambda market_id: -scores[market_id]
    )
