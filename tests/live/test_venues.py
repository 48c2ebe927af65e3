"""Opt-in smoke tests against the real venues: ``uv run pytest -m live``."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from overround.book import BookShelf
from overround.clock import SystemClock
from overround.config import Settings
from overround.market import Market, MarketStatus, Origin, Venue
from overround.venue.adapters import VenueAdapter, open_adapter

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]


def adapter(venue: Venue) -> VenueAdapter:
    return open_adapter(venue, Settings(), clock=SystemClock(), rng=random.Random(1), origin=Origin.LIVE)


async def some_markets(found: VenueAdapter, n: int) -> list[Market]:
    markets = []
    async for market in found.catalog.markets():
        if market.status is MarketStatus.ACTIVE and market.accepts_orders:
            markets.append(market)
        if len(markets) >= n:
            break
    return sorted(markets, key=lambda market: -market.volume_24h_usdc)


@pytest.mark.parametrize("venue", list(Venue))
async def test_markets_are_listed_and_have_books(venue: Venue) -> None:
    found = adapter(venue)
    try:
        markets = await some_markets(found, 100)
        books = await found.book_source.books(markets[:20])
    finally:
        await found.aclose()
    assert len(markets) == 100
    assert len({market.market_id for market in markets}) == 100
    assert books
    for book in books:
        assert all(low < high for low, high in pairwise(sorted(book.bids)))
        assert book.hash_ok is not False


async def test_polymarkets_socket_sends_books_that_verify() -> None:
    found = adapter(Venue.POLYMARKET)
    clock, closed = SystemClock(), asyncio.Event()
    try:
        markets = (await some_markets(found, 300))[:10]
        feed = found.make_feed(BookShelf(), random.Random(1))
        feed.add(markets, now_ms=clock.now_ms())
        socket = await found.open_socket(on_frame=feed.receive, on_closed=lambda reason: closed.set())
        feed.opened(now_ms=clock.now_ms())
        for _ in range(100):
            outbox, feed.outbox = feed.outbox, []
            for text in outbox:
                socket.send(text)
            await asyncio.sleep(0.2)
            feed.tick(now_ms=clock.now_ms())
        await socket.close()
    finally:
        await found.aclose()
    assert sum(book.live for book in feed.books.values()) >= 8
    assert feed.counters.rejected == 0
    assert not feed.counters.unknown
