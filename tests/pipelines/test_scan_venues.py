"""Scans as commands run them: both venues through their own adapters, one failing, one after the other for ever."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from overround.clock import SystemClock
from overround.config import DriftSettings, MockSettings, PollingSettings, Settings
from overround.errors import AnswerMalformed, ConfigError, OverroundError, VenueUnavailable
from overround.exchange import ExchangeThread, Fault, FaultScript
from overround.market import Market, MarketId, Origin, Venue
from overround.pipelines import scan as scan_pipeline
from overround.pipelines.mock import mock_exchange
from overround.pipelines.scan import scan_every, scan_venues
from overround.storage import LakePaths, newest_universe
from overround.storage.universe import read_universe
from overround.testing.clock import ManualClock
from overround.testing.markets import a_market
from overround.venue.polymarket.profile import SHAPES as POLYMARKET_SHAPES
from overround.venue.shapes import VenueShapes

NOON = 1_768_392_000_000
HOUR = 3_600_000


@dataclass
class FakeAdapter:
    """An adapter whose venue lists two markets, or fails."""

    venue: Venue
    error: OverroundError | None = None
    closed: int = 0
    listings: int = 0
    requests: int = 0
    shapes: VenueShapes = POLYMARKET_SHAPES
    http: FakeAdapter = field(init=False)
    catalog: FakeAdapter = field(init=False)

    def __post_init__(self) -> None:
        self.http = self.catalog = self

    def counters(self) -> dict[str, int]:
        return {"requests": self.requests, "retries": 0}

    async def markets(self, *, open_only: bool = True) -> AsyncIterator[Market]:
        self.listings += 1
        self.requests += 1
        if self.error is not None:
            raise self.error
        for number in range(2):
            yield a_market(number, venue=self.venue)

    async def lookup(self, market_ids: Sequence[MarketId]) -> list[Market]:
        return []

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def adapters(monkeypatch: pytest.MonkeyPatch) -> dict[Venue, FakeAdapter]:
    made = {venue: FakeAdapter(venue) for venue in Venue}
    monkeypatch.setattr(scan_pipeline, "open_adapter", lambda venue, *_, **__: made[venue])
    return made


async def run(root: Path, *, now_ms: int = NOON) -> list[scan_pipeline.ScanSummary]:
    return await scan_venues(
        Settings(data_dir=root),
        venues=list(Venue),
        clock=ManualClock(now_ms),
        rng=random.Random(1),
        origin=Origin.SYNTHETIC,
    )


async def test_both_venues_are_scanned_and_their_clients_closed(
    tmp_path: Path, adapters: dict[Venue, FakeAdapter]
) -> None:
    summaries = await run(tmp_path)
    assert [(summary.venue, summary.total, summary.pages) for summary in summaries] == [
        ("polymarket", 2, 1),
        ("kalshi", 2, 1),
    ]
    assert [adapter.closed for adapter in adapters.values()] == [1, 1]


async def test_venue_that_fails_does_not_keep_the_other_from_being_written(
    tmp_path: Path, adapters: dict[Venue, FakeAdapter]
) -> None:
    adapters[Venue.POLYMARKET].error = VenueUnavailable("gone")
    with pytest.raises(VenueUnavailable, match="gone"):
        await run(tmp_path)
    assert LakePaths(tmp_path).universes("polymarket") == []
    assert len(LakePaths(tmp_path).universes("kalshi")) == 1
    assert [adapter.closed for adapter in adapters.values()] == [1, 1]


async def test_first_of_several_failures_is_raised(tmp_path: Path, adapters: dict[Venue, FakeAdapter]) -> None:
    for venue, adapter in adapters.items():
        adapter.error = VenueUnavailable(f"{venue} is gone")
    with pytest.raises(VenueUnavailable, match="polymarket is gone"):
        await run(tmp_path)


async def test_listings_are_kept_fresh_and_a_failure_is_retried_sooner(
    tmp_path: Path, adapters: dict[Venue, FakeAdapter]
) -> None:
    kalshi, clock = adapters[Venue.KALSHI], ManualClock(NOON)
    # Without the drift sentinel, whose naps on the same clock would look like those between scans.
    settings = Settings(
        data_dir=tmp_path, polling=PollingSettings(catalogue_secs=3_600), drift=DriftSettings(enabled=False)
    )
    task = asyncio.create_task(
        scan_every(settings, venues=[Venue.KALSHI], clock=clock, rng=random.Random(1), origin=Origin.SYNTHETIC)
    )

    async def settle(listings: int) -> None:
        for _ in range(500):
            await asyncio.sleep(0.002)
            if kalshi.listings == listings and clock.sleepers:
                return
        raise AssertionError(f"{kalshi.listings} listings, not {listings}")

    try:
        await settle(1)  # there was no universe: at once
        await clock.advance_ms(HOUR - 1)
        await settle(1)
        kalshi.error = ConfigError("no key")
        await clock.advance_ms(1)
        await settle(2)
        kalshi.error = None
        await clock.advance_ms(300_000)
        await settle(3)
        await clock.advance_ms(HOUR)
        await settle(4)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    found = newest_universe(LakePaths(tmp_path), "kalshi", now_ms=clock.now_ms())
    assert found is not None
    assert found.age_ms < 60_000


# --- through the venues' own protocols ----------------------------------------------------------------


@contextlib.contextmanager
def exchange(root: Path, *faults: Fault) -> Iterator[tuple[Settings, ExchangeThread]]:
    # 1,050 markets a venue: a page of Kalshi holds 1,000.
    settings = Settings(data_dir=root, mock=MockSettings(enabled=True, markets=2_100))
    with mock_exchange(settings, faults=FaultScript(faults)) as running:
        yield running


def active(thread: ExchangeThread, venue: Venue) -> set[str]:
    listings = thread.exchange._sources[venue].listings
    return {key for key, listed in list(listings.items()) if listed.venue is venue and listed.status == "active"}


class HastyClock(SystemClock):
    """The machine's clock, for waits that are not the point."""

    async def sleep_ms(self, duration_ms: float) -> None:
        await asyncio.sleep(max(0.0, duration_ms / 50_000))


async def scan_once(settings: Settings, venue: Venue) -> scan_pipeline.ScanSummary:
    (summary,) = await scan_venues(
        settings, venues=[venue], clock=HastyClock(), rng=random.Random(1), origin=Origin.SYNTHETIC
    )
    return summary


@pytest.mark.integration
@pytest.mark.parametrize("venue", list(Venue))
@pytest.mark.parametrize(
    "faults",
    [
        [("shifted_pages", {"rows": 7})],
        [("http_status", {"count": 1, "status": 503}), ("http_cut", {"count": 1}), ("http_html", {"count": 1})],
    ],
    ids=lambda faults: "+".join(kind for kind, _ in faults),
)
async def test_paging_faults_lose_and_repeat_no_market(
    tmp_path: Path, venue: Venue, faults: list[tuple[str, dict[str, int]]]
) -> None:
    script = [Fault(kind=kind, venue=venue, params=params) for kind, params in faults]
    with exchange(tmp_path, *script) as (settings, thread):
        before = active(thread, venue)
        summary = await scan_once(settings, venue)
        lasting = before & active(thread, venue)
    markets = read_universe(Path(summary.path))
    ids = [market.market_id for market in markets]
    assert len(ids) == len(set(ids)) == summary.total
    assert lasting <= set(ids)
    assert len(lasting) > 1_000
    assert all(market.venue is venue and market.outcome_ids and market.title for market in markets)


@pytest.mark.integration
@pytest.mark.parametrize("venue", list(Venue))
async def test_cursor_that_stands_still_ends_the_scan_and_leaves_the_universe(tmp_path: Path, venue: Venue) -> None:
    with exchange(tmp_path) as (settings, _):
        first = await scan_once(settings, venue)
    before = Path(first.path).read_bytes()
    with exchange(tmp_path, Fault(kind="stuck_cursor", venue=venue)) as (stuck, _), pytest.raises(AnswerMalformed):
        await scan_once(stuck, venue)
    assert Path(first.path).read_bytes() == before
