"""Silence over real sockets, on a loop whose time jumps: the collector finds it, dates it, mends it.

Everything has its default settings; how soon it is found on real streams is measured by ``benchmarks/silence.py``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from overround.collector.recorder import VenueRecorder
from overround.config import Settings
from overround.exchange import Exchange, Fault, GeneratedSource, WorldSpec, test_signing_key
from overround.market import Origin, Venue
from overround.pipelines.mock import pointed_at
from overround.pipelines.scan import scan_venues
from overround.storage import LakePaths
from overround.storage.coverage import gaps_of
from overround.testing.warp import WarpClock, warped
from overround.venue.adapters import open_adapter

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(120)]

START_MS = 1_790_000_000_000
DAY = "2026-09-21"
MARKETS = 24


class Seen(msgspec.Struct, kw_only=True):
    """What a run left: gaps as rows, and when things happened (epoch milliseconds)."""

    gaps: list[dict[str, Any]] = []
    fault_ms: int = 0
    found_ms: int = 0
    market: str = ""
    first_missed_ms: int = 0
    counters: Any = None
    canaries: int = 0
    hidden: int = 0


def settings_of(folder: Path) -> Settings:
    base = Settings(data_dir=folder)
    few = {"max_subs_per_venue": MARKETS, "hot_count": MARKETS, "rotation_period_secs": 3_600}
    venues = {name: getattr(base.venues, name).model_copy(update=few) for name in ("polymarket", "kalshi")}
    return base.model_copy(update={"venues": base.venues.model_copy(update=venues)})


class Stage:
    """One venue's real exchange and real recorder on a warped loop."""

    def __init__(self, venue: Venue, folder: Path) -> None:
        self.venue, self.folder = venue, folder
        self.seen = Seen()

    def play(self, kind: str, found: Callable[[Any], object], *, at_once: bool = False, **params: Any) -> Seen:
        """Record, inject, wait until it is found and mended; ``at_once``: in force before anybody connects."""
        with warped() as loop:
            asyncio.set_event_loop(loop)
            self.clock = WarpClock(loop, start_ms=START_MS)
            try:
                loop.run_until_complete(self._play(kind, found, params, at_once=at_once))
                loop.run_until_complete(loop.shutdown_default_executor())
            finally:
                asyncio.set_event_loop(None)
        self.seen.gaps = gaps_of(LakePaths(self.folder), self.venue, DAY).collect().to_dicts()
        return self.seen

    async def _play(self, kind: str, found: Callable[[Any], object], params: dict[str, Any], *, at_once: bool) -> None:
        clock, venue, key = self.clock, self.venue, test_signing_key()
        spec = WorldSpec(
            polymarket_markets=MARKETS, kalshi_markets=MARKETS, seed=5, now_ms=clock.now_ms(), windows=False, planted=0,
        )  # fmt: skip
        source = self.source = GeneratedSource(spec, now_ms=clock.now_ms())
        exchange = Exchange(
            source, source, port=0, clock=clock, kalshi_public_key=key.public_pem, kalshi_key_id=key.key_id
        )
        async with exchange:
            live = pointed_at(settings_of(self.folder), exchange.urls, key)
            await scan_venues(live, venues=[venue], clock=clock, rng=random.Random(1), origin=Origin.SYNTHETIC)
            adapter = open_adapter(venue, live, clock=clock, rng=random.Random(2), origin=Origin.SYNTHETIC)
            recorder = self.recorder = VenueRecorder(
                adapter, settings=live, venue_settings=getattr(live.venues, venue.value),
                paths=LakePaths(self.folder), clock=clock, rng=random.Random(5), origin=Origin.SYNTHETIC,
            )  # fmt: skip
            recorder.prepare()
            fault = Fault(kind=kind, venue=venue, connection="any" if at_once else 1, params=params)
            if at_once:
                # Of a market that is rarely heard of: a change without a book would tell at once.
                self.seen.market = source.markets(venue)[-1]
                exchange.desk.add(msgspec.structs.replace(fault, market=self.seen.market))
                await clock.sleep_ms(200)
            task = asyncio.create_task(recorder.run())
            try:
                await self.until(lambda: self._n_live() >= MARKETS - at_once, within_s=20)
                await clock.sleep_ms(0 if at_once else 60_000)
                assert at_once or not found(recorder.silence.counters)
                if kind == "mute_token":
                    self.seen.market = self._steady_market()
                    fault = msgspec.structs.replace(fault, market=self.seen.market)
                self.seen.fault_ms = clock.now_ms()
                if not at_once:
                    exchange.desk.add(fault)
                await self.until(lambda: bool(found(recorder.silence.counters)), within_s=100)
                self.seen.found_ms = clock.now_ms()
                await self.until(lambda: self._n_live() == MARKETS and not recorder.gaps.n_open, within_s=30)
                await self._books_equal_truth()
                self.seen.hidden = exchange.desk.report(venue)[0]["frames"]
                self.seen.counters = recorder.silence.counters
                witness = recorder.silence.witness
                self.seen.canaries = 0 if witness is None else len(witness.feed.books)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await adapter.aclose()

    def books(self) -> dict[str, Any]:
        return {m: book for one in self.recorder.connections for m, book in one.feed.books.items()}

    def _n_live(self) -> int:
        return sum(book.live for book in self.books().values())

    def _steady_market(self) -> str:
        """One that changes, and that is no canary."""
        witness = self.recorder.silence.witness
        canaries = set() if witness is None else set(witness.feed.books)
        quiet_first = sorted((book.seq, m) for m, book in self.books().items() if m not in canaries)
        return quiet_first[len(quiet_first) // 2][1]

    async def until(self, met: Callable[[], bool], *, within_s: float) -> None:
        deadline_ms = self.clock.now_ms() + within_s * 1_000
        while not met():
            assert self.clock.now_ms() < deadline_ms, f"not within {within_s} simulated seconds"
            market = self.seen.market
            if market and not self.seen.first_missed_ms and self.source.last_change_ms(market) > self.seen.fault_ms:
                self.seen.first_missed_ms = self.source.last_change_ms(market)
            await self.clock.sleep_ms(50)

    async def _books_equal_truth(self) -> None:
        """Every book is seen equal to the venue's; frames may be on their way at any one look."""
        missing = set(self.books())

        def looked() -> bool:
            for market_id in list(missing):
                book = self.books()[market_id]
                if (book.bids, book.asks) == self.source.levels(market_id):
                    missing.discard(market_id)
            return not missing

        await self.until(looked, within_s=20)


@pytest.mark.parametrize("venue", Venue)
def test_a_frozen_connection_is_found_dated_from_its_last_frame_and_replaced(venue: Venue, tmp_path: Path) -> None:
    seen = Stage(venue, tmp_path).play("silence", lambda counters: counters.freezes)
    assert seen.found_ms - seen.fault_ms <= 15_000
    assert seen.canaries == 2
    assert (seen.counters.freezes, seen.counters.mutes) == (1, 0)
    frozen = [gap for gap in seen.gaps if gap["cause"] == "frozen"]
    assert len(frozen) >= MARKETS / 2
    for gap in frozen:
        # At the last frame, or at a proof of the book's own; never after the freeze.
        assert seen.fault_ms - 60_000 <= gap["start_ms"] <= seen.fault_ms + 100
        assert gap["start_ms"] < gap["detected_ms"] <= gap["end_ms"] <= seen.found_ms + 30_000


@pytest.mark.parametrize("venue", Venue)
def test_a_mute_market_is_found_dated_from_its_last_proof_and_revived(venue: Venue, tmp_path: Path) -> None:
    seen = Stage(venue, tmp_path).play("mute_token", lambda counters: counters.mutes, revive=1.0)
    assert seen.found_ms - seen.first_missed_ms <= 60_000
    assert (seen.counters.freezes, seen.counters.mutes) == (0, 1)
    gap, *others = seen.gaps
    assert (gap["cause"], gap["market_id"], others) == ("mute", seen.market, [])
    assert gap["start_ms"] <= seen.first_missed_ms
    assert gap["start_ms"] < gap["detected_ms"] <= gap["end_ms"] <= seen.found_ms + 15_000


@pytest.mark.parametrize("venue", Venue)
def test_a_first_book_that_never_came_is_asked_for_again(venue: Venue, tmp_path: Path) -> None:
    """By the watch, or by the feed where a number is missing or a change comes without a book."""
    stage = Stage(venue, tmp_path)
    seen = stage.play(
        "missing_first_book",
        lambda counters: counters.missing_books or stage.books()[stage.seen.market].live,
        at_once=True,
        count=1,
    )
    assert seen.hidden == 1, "the exchange did keep it back"
    assert seen.found_ms - START_MS <= 15_000
    assert (seen.counters.freezes, seen.counters.mutes) == (0, 0)
