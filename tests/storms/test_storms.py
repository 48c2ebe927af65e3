"""Storms over real sockets: a venue that lets in and drops, one that says 429 for minutes, one that is restarted.

The first two run on a clock that passes faster than the machine's; the exchange shares it. The restart runs in real time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from overround.clock import Clock, SystemClock
from overround.collector.recorder import VenueRecorder
from overround.config import Settings
from overround.errors import VenueError
from overround.exchange import (
    Exchange,
    ExchangeThread,
    Fault,
    FaultScript,
    GeneratedSource,
    WorldSpec,
    test_signing_key,
)
from overround.market import Integrity, Market, Origin, Venue
from overround.net import HttpClient
from overround.pipelines.demo import demo_settings
from overround.pipelines.mock import mock_exchange, pointed_at
from overround.pipelines.scan import scan_venues
from overround.storage import LakePaths
from overround.testing.clock import QuickClock
from overround.venue.adapters import VenueAdapter, open_adapter
from overround.venue.polymarket import PolymarketBooks, PolymarketCatalog

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(300)]

MINUTE_NS = 60_000_000_000


def recorder_of(adapter: VenueAdapter, settings: Settings, clock: Clock) -> VenueRecorder:
    venue = settings.venues.polymarket if adapter.venue is Venue.POLYMARKET else settings.venues.kalshi
    return VenueRecorder(
        adapter,
        settings=settings,
        venue_settings=venue,
        paths=LakePaths(settings.data_dir),
        clock=clock,
        rng=random.Random(5),
        origin=Origin.SYNTHETIC,
    )


async def stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def busiest_minute(times_ns: Sequence[int]) -> int:
    """The most attempts within any sixty seconds."""
    return max(sum(begin <= at < begin + MINUTE_NS for at in times_ns) for begin in times_ns)


# --- a venue that accepts and closes at once -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "times"), [(3, 60), pytest.param(30, 60, marks=pytest.mark.slow)], ids=["3 minutes", "30 minutes"]
)
@pytest.mark.parametrize("kind", ["close_on_open", "refuse"])
def test_a_venue_that_drops_every_connection_sees_few_attempts_a_slot(
    tmp_path: Path, kind: str, minutes: int, times: int
) -> None:
    clock = QuickClock(times)
    settings = demo_settings(tmp_path, markets=300, seed=3)
    faults = FaultScript(
        tuple(Fault(kind=kind, venue=venue, connection="all", market="all", at_ms=0) for venue in Venue)
    )
    attempts: dict[Venue, list[int]] = {venue: [] for venue in Venue}

    async def main(live: Settings) -> list[VenueRecorder]:
        await scan_venues(live, venues=tuple(Venue), clock=clock, rng=random.Random(1), origin=Origin.SYNTHETIC)
        recorders, adapters = [], []
        for venue in Venue:
            adapter = open_adapter(venue, live, clock=clock, rng=random.Random(2), origin=Origin.SYNTHETIC)
            adapters.append(adapter)

            async def counted(*, venue: Venue = venue, adapter: VenueAdapter = adapter, **callbacks: Any) -> Any:
                attempts[venue].append(clock.monotonic_ns())
                return await adapter.open_socket(**callbacks)

            recorder = recorder_of(dataclasses.replace(adapter, open_socket=counted), live, clock)
            recorder.prepare()
            recorders.append(recorder)
        tasks = [asyncio.create_task(recorder.run()) for recorder in recorders]
        await clock.sleep_ms(minutes * 60_000)
        assert not any(task.done() for task in tasks)
        await stop(*tasks)
        for adapter in adapters:
            await adapter.aclose()
        return recorders

    with mock_exchange(settings, faults=faults, clock=clock) as (live, thread):
        recorders = asyncio.run(main(live))
        told = {venue: httpx2.get(f"{thread.urls.truth_url}/{venue}/faults", timeout=10).json() for venue in Venue}
    for recorder in recorders:
        slots, times_ns = len(recorder.connections), attempts[recorder.venue]
        assert slots >= 1
        assert busiest_minute(times_ns) <= 12 * slots
        print(
            f"{recorder.venue} {kind} for {minutes} min: at most {busiest_minute(times_ns) / slots:.1f} attempts a minute"
            f" and slot, {len(times_ns) / slots / minutes:.1f} on average"
        )
        # Growing delays keep it far below that once it lasts; and it goes on trying.
        settled = [at for at in times_ns if at >= times_ns[0] + MINUTE_NS]
        assert len(settled) <= 12 * slots * (minutes - 1)
        assert len(settled) >= 2 * slots * (minutes - 1)
        if kind == "close_on_open":
            seen = [fault for fault in told[recorder.venue] if fault["kind"] == kind]
            assert sum(len(fault["connections"]) for fault in seen) == pytest.approx(len(times_ns), abs=slots)


# --- ten minutes of 429 -----------------------------------------------------------------------------------------------


class Recorded(httpx2.AsyncBaseTransport):
    """The network, with a note of every request."""

    def __init__(self, clock: Clock) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._clock = clock
        self.seen: list[tuple[int, int, int, float]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        sent_ns = self._clock.monotonic_ns()
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        body = b"".join([part async for part in response.stream])
        await response.aclose()
        wait_s = float(response.headers.get("retry-after", 0))
        self.seen.append((sent_ns, self._clock.monotonic_ns(), response.status_code, wait_s))
        return httpx2.Response(response.status_code, headers=response.headers, content=body)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.mark.parametrize("retry_after_s", [7, pytest.param(45, marks=pytest.mark.slow)])
def test_under_ten_minutes_of_429_nothing_is_asked_before_its_time(tmp_path: Path, retry_after_s: int) -> None:
    clock = QuickClock(100)
    settings = demo_settings(tmp_path, markets=300, seed=3)

    async def main(live: Settings, thread: ExchangeThread) -> Recorded:
        network = Recorded(clock)
        async with HttpClient(clock=clock, rng=random.Random(1), transport=network) as http:
            catalog = PolymarketCatalog(http, live.venues.polymarket.rest_url, clock=clock, origin=Origin.SYNTHETIC)
            books = PolymarketBooks(http, live.venues.polymarket.clob_url)
            markets: list[Market] = [market async for market in catalog.markets()][:40]
            assert markets
            network.seen.clear()
            storm = {
                "kind": "http_status",
                "venue": "polymarket",
                "duration_ms": 600_000,
                "params": {"status": 429, "retry_after": retry_after_s},
            }
            httpx2.post(thread.urls.faults_url, json=[storm], timeout=10).raise_for_status()
            over_ns = clock.monotonic_ns() + 600 * 1_000_000_000
            answered = [0]

            async def ask(n: int) -> None:
                while clock.monotonic_ns() < over_ns + 120 * 1_000_000_000:
                    try:
                        await books.books(markets[n : n + 5])
                        answered[0] += clock.monotonic_ns() > over_ns
                    except VenueError:
                        pass
                    await clock.sleep_ms(200)

            await asyncio.gather(*(ask(n) for n in range(8)))
            assert answered[0] >= 8, "the storm is over and nobody asks any more"
        return network

    with mock_exchange(settings, clock=clock) as (live, thread):
        seen = asyncio.run(main(live, thread)).seen
    limited = [each for each in seen if each[2] == 429]
    # All eight may have been on their way when the first was told to wait; from then on one goes first.
    assert 600 / (retry_after_s + 35) <= len(limited) <= 600 / retry_after_s + 8
    for _, told_ns, _, wait_s in limited:
        early = [sent_ns for sent_ns, *_ in seen if told_ns < sent_ns < told_ns + wait_s * 1e9]
        assert early == []
    print(f"10 min of 429 with Retry-After {retry_after_s}: {len(limited)} requests, none before its time")


# --- a restart --------------------------------------------------------------------------------------------------------


def two_free_ports() -> int:
    """A port that is free, and the one after it."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return int(port)
    raise AssertionError("no two free ports in a row")


@pytest.mark.parametrize("down_s", [2.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_after_a_restart_two_hundred_subscriptions_are_live_and_verified_within_thirty_seconds(
    tmp_path: Path, down_s: float
) -> None:
    clock = SystemClock()
    key = test_signing_key()
    source = GeneratedSource(WorldSpec(polymarket_markets=260, kalshi_markets=260, seed=9), now_ms=clock.now_ms())
    port = two_free_ports()

    def exchange() -> ExchangeThread:
        # The markets live on while nobody serves them, as a venue's do.
        made = Exchange(
            source, source, port=port, clock=clock, kalshi_public_key=key.public_pem, kalshi_key_id=key.key_id
        )
        return ExchangeThread(made).start()

    base = demo_settings(tmp_path, markets=520, seed=9)
    many = {"max_subs_per_venue": 200, "hot_count": 100, "rotation_period_secs": 3_600}
    base = base.model_copy(
        update={
            "venues": base.venues.model_copy(
                update={
                    "polymarket": base.venues.polymarket.model_copy(update=many | {"max_tokens_per_connection": 200}),
                    "kalshi": base.venues.kalshi.model_copy(update=many | {"max_markets_per_connection": 100}),
                }
            )
        }
    )

    def proved(recorder: VenueRecorder, since_ms: int) -> int:
        """Markets whose book is live, proved, and proved by what came after ``since_ms``."""
        count = 0
        for connection in recorder.connections:
            feed = connection.feed
            for market_id, book in feed.books.items():
                proven_ms = feed.proven_ms(market_id)
                count += (
                    book.live
                    and book.integrity is Integrity.VERIFIED
                    and proven_ms is not None
                    and proven_ms >= since_ms
                )
        return count

    async def all_proved(recorders: Sequence[VenueRecorder], since_ms: int, *, patience_s: float) -> float:
        began_ns = clock.monotonic_ns()
        while (passed_s := (clock.monotonic_ns() - began_ns) / 1e9) < patience_s:
            if all(proved(recorder, since_ms) >= 200 for recorder in recorders):
                return passed_s
            await asyncio.sleep(0.05)
        counts = {recorder.venue.value: proved(recorder, since_ms) for recorder in recorders}
        raise AssertionError(f"after {patience_s} s only {counts} of 200 are live and verified")

    async def main(live: Settings, thread: ExchangeThread) -> tuple[float, ExchangeThread]:
        await scan_venues(live, venues=tuple(Venue), clock=clock, rng=random.Random(1), origin=Origin.SYNTHETIC)
        adapters = [
            open_adapter(venue, live, clock=clock, rng=random.Random(2), origin=Origin.SYNTHETIC) for venue in Venue
        ]
        recorders = [recorder_of(adapter, live, clock) for adapter in adapters]
        for recorder in recorders:
            recorder.prepare()
        tasks = [asyncio.create_task(recorder.run()) for recorder in recorders]
        await all_proved(recorders, 0, patience_s=60)
        await asyncio.to_thread(thread.stop)
        await asyncio.sleep(down_s)
        assert sum(proved(recorder, 0) for recorder in recorders) == 0
        thread = await asyncio.to_thread(exchange)
        took_s = await all_proved(recorders, clock.now_ms(), patience_s=30)
        for recorder in recorders:
            assert recorder.gaps.n_open == 0
        await stop(*tasks)
        for adapter in adapters:
            await adapter.aclose()
        return took_s, thread

    thread = exchange()
    try:
        took_s, thread = asyncio.run(main(pointed_at(base, thread.urls, key), thread))
    finally:
        thread.stop()
    assert took_s <= 30
    print(f"200 subscriptions on each venue live and verified {took_s:.1f} s after the restart")
