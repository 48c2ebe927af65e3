"""A recorded connection served through the real protocol: our own numbers, the recording's books."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from handmade import T0, Client
from websockets.asyncio.client import connect

from overround.exchange.recorded import RecordedSource
from overround.exchange.server import Exchange
from overround.exchange.settings import ExchangeOptions
from overround.exchange.thread import ExchangeThread
from overround.market import Venue
from overround.testing.clock import ManualClock

Ladders = dict[str, dict[str, Decimal]]


class Naive:
    """Books out of Kalshi frames, with nothing but dicts; insists on whole numbers per sid."""

    def __init__(self, *, numbered: bool) -> None:
        self.books: dict[str, Ladders] = {}
        self.trades = 0
        self.deltas = 0
        self._numbered = numbered
        self._due: dict[int, int] = {}

    def apply(self, frame: dict[str, Any]) -> None:
        if self._numbered and "seq" in frame:
            assert frame["seq"] == self._due.get(frame["sid"], 0) + 1
            self._due[frame["sid"]] = frame["seq"]
        msg = frame.get("msg", {})
        if frame["type"] == "orderbook_snapshot":
            self.books[msg["market_ticker"]] = {
                side: {px: Decimal(sz) for px, sz in msg.get(f"{side}_dollars_fp", [])} for side in ("yes", "no")
            }
        elif frame["type"] == "orderbook_delta":
            side = self.books[msg["market_ticker"]][msg["side"]]
            size = side.pop(msg["price_dollars"], Decimal(0)) + Decimal(msg["delta_fp"])
            assert size >= 0
            if size:
                side[msg["price_dollars"]] = size
            self.deltas += 1
        self.trades += frame["type"] == "trade"


def _gold(captures: Path) -> tuple[Path, list[dict[str, Any]]]:
    path = min((captures / "recordings/kalshi/ws_gold15m").rglob("*.gz"), key=lambda p: p.stat().st_size)
    with gzip.open(path, "rt") as lines:
        events = [json.loads(line)["event"] for line in lines if line.strip()]
    return path, events


def test_a_recording_served_frame_by_frame_ends_on_the_recorded_book(captures: Path) -> None:
    path, events = _gold(captures)
    replay = Naive(numbered=False)
    for event in events:
        replay.apply(event)
    clock = ManualClock(T0)
    source = RecordedSource.open([path], Venue.KALSHI, speed=math.inf, start_at_ms=T0)
    exchange = Exchange(None, source, clock=clock, options=ExchangeOptions(hold_until_markets=1))
    exchange.desk.start(T0)
    client = Client(exchange.hubs[Venue.KALSHI])
    served = Naive(numbered=True)
    assert list(exchange.step(T0)) == [], "nothing happens before somebody listens"
    channels = ["orderbook_delta", "trade"]
    for frame in client.subscribe(*source.listings, channels=channels):
        served.apply(frame)
    for _ in exchange.step(T0):
        for frame in client.take():
            served.apply(frame)
    assert served.books == replay.books
    assert served.trades == replay.trades
    assert served.deltas > 1_000
    assert source.next_ms() is None


@pytest.mark.integration
async def test_a_recording_reaches_a_real_socket_whole_at_any_speed(captures: Path) -> None:
    path, events = _gold(captures)
    replay = Naive(numbered=False)
    for event in events:
        replay.apply(event)
    source = RecordedSource.open([path], Venue.KALSHI, speed=math.inf, start_at_ms=time.time_ns() // 1_000_000)
    options = ExchangeOptions(hold_until_markets=1, wait_for_readers=True, buffer_bytes=200_000)
    served = Naive(numbered=True)
    with ExchangeThread(Exchange(None, source, port=0, options=options)) as thread:
        async with connect(thread.urls.kalshi_ws_url, proxy=None, compression=None) as ws:
            params = {"channels": ["orderbook_delta", "trade"], "market_tickers": list(source.listings)}
            await ws.send(json.dumps({"id": 1, "cmd": "subscribe", "params": params}))
            while served.trades < replay.trades or served.books != replay.books:
                served.apply(json.loads(await asyncio.wait_for(ws.recv(), 5)))
    assert served.trades == replay.trades


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_nba_connection_is_served_without_a_hole(captures: Path) -> None:
    folder = captures / "recordings/kalshi/ws_nba_20260318"
    replay = Naive(numbered=False)
    for path in sorted(folder.glob("*.gz")):
        with gzip.open(path, "rt") as lines:
            for line in lines:
                if not line.isspace():
                    replay.apply(json.loads(line))
    clock = ManualClock(T0)
    source = RecordedSource.open([folder], Venue.KALSHI, speed=math.inf, start_at_ms=T0)
    exchange = Exchange(None, source, clock=clock, options=ExchangeOptions(hold_until_markets=18))
    client = Client(exchange.hubs[Venue.KALSHI])
    served = Naive(numbered=True)
    for frame in client.subscribe(*source.listings, channels=["orderbook_delta", "trade"]):
        served.apply(frame)
    for _ in exchange.step(T0):
        for frame in client.take():
            served.apply(frame)
    clock.skip_ms(5_000)
    for _ in exchange.step(T0 + 5_000):
        pass
    for frame in client.take():
        served.apply(frame)
    assert len(served.books) == 18
    assert served.books == replay.books
    assert (served.trades, source.negative_levels) == (replay.trades, 0)
