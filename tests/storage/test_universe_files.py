"""Listings: merged within a day, stable, found whatever their day."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from overround.errors import FileDamaged, NothingStored
from overround.market import Market, MarketStatus
from overround.storage import LakePaths, newest_universe, write_universe
from overround.storage.universe import read_universe
from overround.testing.disks import FailingDisk
from overround.testing.markets import a_market

HOUR = 3_600_000
DAY1, DAY2 = "2026-01-14", "2026-01-15"


def seen(number: int, at_ms: int, **changes: object) -> Market:
    return a_market(number, first_seen_ts=at_ms, last_seen_ts=at_ms, **changes)


def test_a_line_has_the_fixed_names_first_and_the_file_is_sorted(paths: LakePaths) -> None:
    change = write_universe(paths, "kalshi", DAY1, [seen(3, 5), seen(1, 5), seen(2, 5)])
    assert change.path == paths.root / "metadata/venue=kalshi/date=2026-01-14/universe.jsonl"
    lines = change.path.read_bytes().splitlines()
    assert list(msgspec.json.decode(lines[0]))[:7] == [
        "market_id",
        "outcome_ids",
        "title",
        "close_ts",
        "open_ts",
        "status",
        "tags",
    ]
    assert [msgspec.json.decode(line)["market_id"][-1] for line in lines] == ["1", "2", "3"]
    assert (change.markets, change.listed, change.new, change.vanished) == (3, 3, 3, 0)


def test_scanning_again_the_same_day_keeps_first_seen_and_marks_what_vanished(paths: LakePaths) -> None:
    write_universe(paths, "kalshi", DAY1, [seen(1, 100), seen(2, 100)])
    change = write_universe(paths, "kalshi", DAY1, [seen(2, 200, title="new words"), seen(3, 200)])
    held = {market.market_id[-1]: market for market in read_universe(change.path)}
    assert (change.new, change.vanished, change.markets) == (1, 1, 3)
    assert (held["1"].status, held["1"].first_seen_ts, held["1"].last_seen_ts) == (MarketStatus.VANISHED, 100, 100)
    assert (held["2"].title, held["2"].first_seen_ts, held["2"].last_seen_ts) == ("new words", 100, 200)
    assert (held["3"].first_seen_ts, held["3"].status) == (200, MarketStatus.ACTIVE)


def test_a_market_that_comes_back_is_listed_again_with_its_first_time(paths: LakePaths) -> None:
    for at_ms, numbers in ((1, (1, 2)), (2, (2,)), (3, (1, 2))):
        write_universe(paths, "kalshi", DAY1, [seen(number, at_ms) for number in numbers])
    back = read_universe(paths.universe("kalshi", DAY1))[0]
    assert (back.status, back.first_seen_ts, back.last_seen_ts) == (MarketStatus.ACTIVE, 1, 3)


def test_a_new_day_starts_without_the_vanished_but_remembers_first_seen(paths: LakePaths) -> None:
    write_universe(paths, "kalshi", DAY1, [seen(1, 100), seen(2, 100)])
    change = write_universe(paths, "kalshi", DAY2, [seen(2, 900), seen(4, 900)])
    assert [market.first_seen_ts for market in read_universe(change.path)] == [100, 900]
    assert (change.new, change.vanished) == (1, 0)


def test_the_newest_day_is_found_with_its_age_and_without_the_vanished(paths: LakePaths) -> None:
    write_universe(paths, "kalshi", DAY1, [seen(1, 5 * HOUR)])
    write_universe(paths, "kalshi", DAY2, [seen(2, 10 * HOUR), seen(3, 10 * HOUR)])
    write_universe(paths, "kalshi", DAY2, [seen(2, 11 * HOUR)])
    (paths.root / "metadata/venue=kalshi/date=latest").mkdir()
    found = newest_universe(paths, "kalshi", now_ms=36 * HOUR)
    assert found is not None
    assert [market.market_id[-1] for market in found.markets] == ["2"]
    assert (found.age_ms, found.path) == (25 * HOUR, paths.universe("kalshi", DAY2))
    assert newest_universe(paths, "kalshi", now_ms=0) is not None


def test_nothing_is_read_again_while_the_newest_is_known(paths: LakePaths) -> None:
    path = write_universe(paths, "kalshi", DAY1, [seen(1, 5)]).path
    first = newest_universe(paths, "kalshi", now_ms=9)
    assert first is not None
    assert newest_universe(paths, "kalshi", now_ms=9, known=first.version) is None
    write_universe(paths, "kalshi", DAY1, [seen(1, 6)])
    os.utime(path, ns=(1, 2))
    again = newest_universe(paths, "kalshi", now_ms=9, known=first.version)
    assert again is not None
    assert again.version != first.version


def test_a_venue_never_scanned_is_told_what_to_do(paths: LakePaths) -> None:
    with pytest.raises(NothingStored, match="no universe of kalshi") as none:
        newest_universe(paths, "kalshi", now_ms=0)
    assert none.value.hint == "`overround scan` writes it"
    assert none.value.exit_code == 1


def test_a_damaged_line_is_named(paths: LakePaths) -> None:
    path = write_universe(paths, "kalshi", DAY1, [seen(1, 5), seen(2, 5)]).path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileDamaged, match="line 2 is no market"):
        newest_universe(paths, "kalshi", now_ms=0)


def test_a_refused_write_leaves_the_earlier_listing_whole(paths: LakePaths) -> None:
    path = write_universe(paths, "kalshi", DAY1, [seen(1, 5)]).path
    before = path.read_bytes()
    disk = FailingDisk()
    disk.full = True
    with pytest.raises(OSError, match="space"):
        write_universe(paths, "kalshi", DAY1, [seen(2, 6)], ops=disk)
    assert path.read_bytes() == before


def test_every_field_of_a_market_survives_the_file(paths: LakePaths) -> None:
    market = seen(1, 5, tags=("a", "b"), close_ts=None, best_bid_px=0.1, rules_text="„x“\n")
    path = write_universe(paths, "kalshi", DAY1, [market]).path
    assert read_universe(path) == [market]
    assert Path(path).read_bytes().count(b"\n") == 1
