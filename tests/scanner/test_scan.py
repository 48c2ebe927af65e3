"""Scans: whole listings are merged, anything else leaves the universe as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overround.errors import AnswerMalformed, OriginMismatch, VenueError, VenueUnavailable
from overround.market import Market, MarketId, MarketStatus, Origin, Venue
from overround.scanner import ScanSummary, scan
from overround.storage import LakePaths, newest_universe
from overround.storage.universe import read_universe
from overround.testing.clock import ManualClock
from overround.testing.markets import a_market

NOON = 1_768_392_000_000
HOUR = 3_600_000
DAY = "2026-01-14"


class ScriptedCatalog:
    """``MarketCatalog`` that lists what it is told, and may fail after some of it."""

    def __init__(
        self,
        markets: Sequence[Market],
        *,
        fails_after: int | None = None,
        refused: int = 0,
        by_id: Sequence[Market] = (),
        mute: bool = False,
    ) -> None:
        self.listed, self.fails_after, self.refused = list(markets), fails_after, refused
        self.by_id, self.mute = list(by_id), mute
        self.asked: list[list[MarketId]] = []
        self.answers = 0

    async def markets(self, *, open_only: bool = True) -> AsyncIterator[Market]:
        for number, market in enumerate(self.listed):
            if number == self.fails_after:
                raise VenueUnavailable("the host is gone")
            if number % 10 == 0:
                self.answers += 1
                await asyncio.sleep(0)
            yield market

    async def lookup(self, market_ids: Sequence[MarketId]) -> list[Market]:
        self.asked.append(list(market_ids))
        if self.mute:
            raise VenueUnavailable("the host is gone")
        return [market for market in self.by_id if market.market_id in market_ids]


async def run(root: Path, catalog: ScriptedCatalog, *, now_ms: int = NOON, origin: Origin = Origin.LIVE) -> ScanSummary:
    clock = ManualClock(now_ms)
    return await scan(
        catalog, LakePaths(root), Venue.KALSHI, clock=clock, origin=origin, requests=lambda: catalog.answers
    )


def stored(root: Path, date: str = DAY) -> dict[str, Market]:
    return {market.market_id: market for market in read_universe(LakePaths(root).universe("kalshi", date))}


def some(count: int, first: int = 0, **changes: object) -> list[Market]:
    return [a_market(first + number, **changes) for number in range(count)]


async def test_scan_writes_every_market_once_in_a_stable_order(tmp_path: Path) -> None:
    summary = await run(tmp_path, ScriptedCatalog([*reversed(some(25)), *some(3)]))
    assert (summary.total, summary.new, summary.repeated, summary.pages) == (25, 25, 3, 3)
    assert summary.path == str(LakePaths(tmp_path).universe("kalshi", DAY))
    lines = Path(summary.path).read_bytes().splitlines()
    ids = [msgspec.json.decode(line)["market_id"] for line in lines]
    assert ids == sorted(ids)
    assert len(ids) == 25
    assert list(msgspec.json.decode(lines[0]))[:7] == [
        "market_id", "outcome_ids", "title", "close_ts", "open_ts", "status", "tags"
    ]  # fmt: skip


async def test_second_scan_of_a_day_merges(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(30)))
    later = [*some(1, title="Another question?"), *some(27, 1, volume_usdc=5.0), *some(2, 100)]
    summary = await run(tmp_path, ScriptedCatalog(later), now_ms=NOON + HOUR)
    assert (summary.total, summary.new, summary.changed, summary.vanished) == (30, 2, 1, 2)
    found = stored(tmp_path)
    assert len(found) == 32
    kept, gone, added = (found[f"KXTEST-{n:05d}"] for n in (5, 29, 100))
    assert (kept.first_seen_ts, kept.last_seen_ts, kept.volume_usdc) == (NOON, NOON + HOUR, 5.0)
    assert (gone.status, gone.first_seen_ts, gone.last_seen_ts) == (MarketStatus.VANISHED, NOON, NOON)
    assert added.first_seen_ts == NOON + HOUR


async def test_market_that_comes_back_is_listed_again_with_its_first_time(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(5)))
    await run(tmp_path, ScriptedCatalog(some(4)), now_ms=NOON + HOUR)
    summary = await run(tmp_path, ScriptedCatalog(some(5)), now_ms=NOON + 2 * HOUR)
    assert (summary.new, summary.changed, summary.vanished) == (0, 1, 0)
    back = stored(tmp_path)["KXTEST-00004"]
    assert (back.status, back.first_seen_ts) == (MarketStatus.ACTIVE, NOON)


async def test_vanished_market_is_reported_once(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(5)))
    vanished = [(await run(tmp_path, ScriptedCatalog(some(4)), now_ms=NOON + n)).vanished for n in (1, 2, 3)]
    assert vanished == [1, 0, 0]


async def test_missing_markets_are_asked_for_by_id(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(30)))
    by_id = [
        a_market(26, status=MarketStatus.PAUSED),
        a_market(27),  # slipped through the listing
        a_market(28, status=MarketStatus.RESOLVED, result="yes"),
    ]
    catalog = ScriptedCatalog(some(26), by_id=by_id)
    summary = await run(tmp_path, catalog, now_ms=NOON + HOUR)
    assert catalog.asked == [[market.market_id for market in some(4, 26)]]
    assert (summary.total, summary.paused, summary.vanished, summary.kept) == (26, 2, 2, 0)
    found = stored(tmp_path)
    assert [found[market.market_id].status for market in some(4, 26)] == [
        MarketStatus.PAUSED, MarketStatus.ACTIVE, MarketStatus.VANISHED, MarketStatus.VANISHED,
    ]  # fmt: skip
    paused = found["KXTEST-00026"]
    assert (paused.first_seen_ts, paused.last_seen_ts) == (NOON, NOON + HOUR)
    again = ScriptedCatalog(some(27), by_id=by_id)
    assert (await run(tmp_path, again, now_ms=NOON + 2 * HOUR)).changed == 1
    assert again.asked == [["KXTEST-00027"]], "what has left is not asked for for ever"
    assert stored(tmp_path)["KXTEST-00026"].status is MarketStatus.ACTIVE


async def test_without_an_answer_by_id_the_listing_counts_and_a_pause_goes_on(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(30)))
    paused = [a_market(29, status=MarketStatus.PAUSED)]
    await run(tmp_path, ScriptedCatalog(some(29), by_id=paused), now_ms=NOON + 1)
    summary = await run(tmp_path, ScriptedCatalog(some(28), mute=True), now_ms=NOON + 2)
    assert (summary.vanished, summary.paused) == (1, 1)
    statuses = [stored(tmp_path)[market.market_id].status for market in some(2, 28)]
    assert statuses == [MarketStatus.VANISHED, MarketStatus.PAUSED]


async def test_nobody_is_asked_about_a_listing_that_is_not_whole(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(30)))
    cut = ScriptedCatalog(some(5), by_id=some(30))
    assert (await run(tmp_path, cut, now_ms=NOON + 1)).kept == 25
    assert cut.asked == []


async def test_new_day_starts_a_new_file_and_remembers_the_first_time(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(5)))
    summary = await run(tmp_path, ScriptedCatalog(some(5, 1)), now_ms=NOON + 24 * HOUR)
    assert (summary.new, summary.vanished) == (1, 0)
    found = stored(tmp_path, "2026-01-15")
    assert "KXTEST-00000" not in found
    assert found["KXTEST-00001"].first_seen_ts == NOON


async def test_scanning_twice_without_a_change_changes_nothing_but_the_time(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(5)))
    summary = await run(tmp_path, ScriptedCatalog(some(5)), now_ms=NOON + 1)
    assert (summary.new, summary.changed, summary.vanished) == (0, 0, 0)


@given(size=st.integers(1, 40), data=st.data())
@settings(max_examples=40, deadline=None)
def test_listing_that_fails_anywhere_leaves_the_file_untouched(
    tmp_path_factory: pytest.TempPathFactory, size: int, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("lake")
    path = LakePaths(root).universe("kalshi", DAY)
    if data.draw(st.booleans()):
        asyncio.run(run(root, ScriptedCatalog(some(7))))
    before = path.read_bytes() if path.exists() else None
    catalog = ScriptedCatalog(some(size, 3), fails_after=data.draw(st.integers(0, size - 1)))
    with pytest.raises(VenueError):
        asyncio.run(run(root, catalog, now_ms=NOON + HOUR))
    assert (path.read_bytes() if path.exists() else None) == before
    assert [file.name for file in path.parent.glob("*")] in ([], ["universe.jsonl"])


async def test_empty_listing_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(3)))
    before = LakePaths(tmp_path).universe("kalshi", DAY).read_bytes()
    with pytest.raises(AnswerMalformed, match="kalshi listed no market"):
        await run(tmp_path, ScriptedCatalog([]), now_ms=NOON + 1)
    assert LakePaths(tmp_path).universe("kalshi", DAY).read_bytes() == before


async def test_records_that_do_not_read_make_nothing_vanish(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(30)))
    summary = await run(tmp_path, ScriptedCatalog(some(28), refused=1), now_ms=NOON + 1)
    assert (summary.vanished, summary.kept, summary.incomplete) == (0, 2, True)
    missing = stored(tmp_path)["KXTEST-00029"]
    assert (missing.status, missing.last_seen_ts) == (MarketStatus.ACTIVE, NOON)
    whole = await run(tmp_path, ScriptedCatalog(some(28)), now_ms=NOON + 2)
    assert (whole.vanished, whole.incomplete) == (2, False)


@pytest.mark.parametrize("date_shift_ms", [HOUR, 24 * HOUR])
async def test_live_listing_cut_to_a_fraction_makes_nothing_vanish(tmp_path: Path, date_shift_ms: int) -> None:
    await run(tmp_path, ScriptedCatalog(some(100)))
    summary = await run(tmp_path, ScriptedCatalog(some(40)), now_ms=NOON + date_shift_ms)
    assert (summary.total, summary.vanished, summary.kept) == (40, 0, 60)
    assert "60 missing and kept" in str(summary)
    found = newest_universe(LakePaths(tmp_path), "kalshi", now_ms=NOON + date_shift_ms)
    assert found is not None
    assert len(found.markets) == 100


async def test_markets_whose_end_has_passed_may_leave_in_masses(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog([*some(90, close_ts=NOON + 1), *some(10, 500)]))
    summary = await run(tmp_path, ScriptedCatalog(some(10, 500)), now_ms=NOON + HOUR)
    assert (summary.vanished, summary.kept) == (90, 0)


async def test_synthetic_venue_may_shrink_at_will(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(100)), origin=Origin.SYNTHETIC)
    summary = await run(tmp_path, ScriptedCatalog(some(5)), now_ms=NOON + 1, origin=Origin.SYNTHETIC)
    assert (summary.vanished, summary.kept) == (95, 0)


async def test_listing_of_the_other_origin_is_refused_before_the_venue_is_asked(tmp_path: Path) -> None:
    await run(tmp_path, ScriptedCatalog(some(2)), origin=Origin.SYNTHETIC)
    catalog = ScriptedCatalog(some(2))
    with pytest.raises(OriginMismatch):
        await run(tmp_path, catalog)
    assert catalog.answers == 0


async def test_summary_reads_as_one_line_and_goes_to_json(tmp_path: Path) -> None:
    summary = await run(tmp_path, ScriptedCatalog(some(1_200), refused=2))
    assert str(summary).startswith("kalshi: 1,200 markets (1,200 new, 0 changed, 0 vanished, 2 not readable; 120 pages")
    assert "\n" not in str(summary)
    assert msgspec.json.decode(msgspec.json.encode(summary))["total"] == 1_200


async def test_progress_is_told_while_pages_come_in(tmp_path: Path) -> None:
    told: list[int] = []
    await scan(
        ScriptedCatalog(some(2_500)),
        LakePaths(tmp_path),
        Venue.KALSHI,
        clock=ManualClock(NOON),
        origin=Origin.LIVE,
        progress=told.append,
    )
    assert told == [1_000, 2_000]
