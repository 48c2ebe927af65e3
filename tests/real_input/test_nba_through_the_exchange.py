"""The recorded NBA connection, served by the exchange through Kalshi's protocol and recorded by the collector."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest

from overround.clock import SystemClock
from overround.collector import VenueRecorder, collect
from overround.config import Settings
from overround.exchange import (
    Exchange,
    ExchangeOptions,
    ExchangeThread,
    Fault,
    FaultScript,
    KalshiOptions,
    RecordedSource,
    test_signing_key,
)
from overround.market import Origin, Venue
from overround.pipelines.demo import demo_settings
from overround.pipelines.mock import pointed_at
from overround.pipelines.scan import scan_venues
from overround.pipelines.truth_check import StoredRow, stored_rows
from overround.replay import RecordedFrame, open_recording
from overround.storage import LakePaths, newest_universe, partitions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

Ladder = dict[Decimal, Decimal]
MARKETS = 18


def naive(
    frames: Iterable[RecordedFrame], wanted: set[tuple[str, int]]
) -> tuple[dict[str, dict[str, Ladder]], dict[tuple[str, int], list[tuple[Ladder, Ladder]]]]:
    """Replay with plain decimals: final books, and every state of the wanted (market, venue millisecond)."""
    books: dict[str, dict[str, Ladder]] = defaultdict(lambda: {"yes": {}, "no": {}})
    states: dict[tuple[str, int], list[tuple[Ladder, Ladder]]] = defaultdict(list)
    for entry in frames:
        message = json.loads(entry.frame)
        body = message["msg"]
        book = books[body["market_ticker"]] if message["type"].startswith("orderbook") else None
        if message["type"] == "orderbook_snapshot":
            assert book is not None
            for side in ("yes", "no"):
                book[side] = {Decimal(px): Decimal(sz) for px, sz in body.get(f"{side}_dollars_fp", [])}
        elif message["type"] == "orderbook_delta":
            assert book is not None
            ladder, px = book[body["side"]], Decimal(body["price_dollars"])
            ladder[px] = ladder.get(px, Decimal(0)) + Decimal(body["delta_fp"])
            assert ladder[px] >= 0
            if not ladder[px]:
                del ladder[px]
            key = (body["market_ticker"], venue_ms(body["ts"]))
            if key in wanted:
                states[key].append((dict(book["yes"]), dict(book["no"])))
    return books, states


def venue_ms(text: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(text).timestamp() * 1_000_000 + 0.5) // 1000


def as_text(ladder: Ladder) -> dict[int, int]:
    return {int(px * 10_000): int(sz * 1_000_000) for px, sz in ladder.items()}


def record(
    tmp_path: Path, frames: list[RecordedFrame], *, faults: FaultScript | None = None
) -> tuple[VenueRecorder, Settings]:
    clock, key = SystemClock(), test_signing_key()
    source = RecordedSource(frames, venue=Venue.KALSHI, speed=math.inf, start_at_ms=clock.now_ms())
    exchange = Exchange(
        None,
        source,
        port=0,
        clock=clock,
        faults=faults,
        kalshi_public_key=key.public_pem,
        options=ExchangeOptions(
            hold_until_markets=MARKETS, wait_for_readers=True, kalshi=KalshiOptions(clock_fields=False)
        ),
    )
    settings = demo_settings(tmp_path, markets=50, seed=1)
    kalshi = settings.venues.kalshi.model_copy(
        update={"snapshot_interval_ms_hot": 250, "max_markets_per_connection": 100}
    )
    settings = settings.model_copy(update={"venues": settings.venues.model_copy(update={"kalshi": kalshi})})
    with ExchangeThread(exchange) as thread:
        live = pointed_at(settings, thread.urls, key)

        async def main() -> list[VenueRecorder]:
            rng = random.Random(1)
            await scan_venues(live, venues=[Venue.KALSHI], clock=clock, rng=rng, origin=Origin.SYNTHETIC)
            stop = asyncio.Event()
            seen = -1

            def quiet(statuses: object) -> None:
                nonlocal seen
                now = statuses[0].frames  # type: ignore[index]
                if source.next_ms() is None and now == seen:
                    stop.set()
                seen = now

            return await collect(
                live,
                venues=[Venue.KALSHI],
                clock=clock,
                rng=rng,
                origin=Origin.SYNTHETIC,
                stop=stop,
                duration_s=800,
                on_status=quiet,
                status_ms=1_000,
            )

        (recorder,) = asyncio.run(main())
    return recorder, live


def check_final(recorder: VenueRecorder, books: dict[str, dict[str, Ladder]]) -> None:
    kept = {market: book for connection in recorder.connections for market, book in connection.feed.books.items()}
    assert len(books) == MARKETS
    for ticker, book in books.items():
        ours = kept[ticker]  # type: ignore[index]
        assert ours.bids == as_text(book["yes"]), ticker
        assert {10_000 - px: sz for px, sz in ours.asks.items()} == as_text(book["no"]), ticker


def rows_of(settings: Settings) -> list[StoredRow]:
    paths = LakePaths(settings.data_dir)
    found = newest_universe(paths, "kalshi", now_ms=SystemClock().now_ms())
    assert found is not None
    firsts = {str(market.market_id): "yes" for market in found.markets}
    return list(stored_rows((part.scan() for part in partitions(paths, "kalshi")), first_outcomes=firsts))


def slice_of(captures: Path, n_frames: int | None) -> list[RecordedFrame]:
    recording = open_recording([captures / "recordings" / "kalshi" / "ws_nba_20260318"], Venue.KALSHI)
    return list(islice(recording, n_frames))


@pytest.mark.parametrize("n_frames", [60_000, pytest.param(None, marks=pytest.mark.slow)])
def test_the_recorded_books_equal_a_naive_replay_and_nothing_is_missing(
    captures: Path, tmp_path: Path, n_frames: int | None
) -> None:
    frames = slice_of(captures, n_frames)
    recorder, settings = record(tmp_path, frames)
    counters = recorder.counters()
    assert (counters.gaps, counters.negative_levels, counters.rejected, counters.crossed) == (0, 0, 0, 0)
    rows = [row for row in rows_of(settings) if not row.second_outcome and row.source_ts is not None]
    wanted = {(row.market_id, row.source_ts) for row in rows if row.source_ts is not None}
    books, states = naive(frames, wanted)
    check_final(recorder, books)
    compared = 0
    for row in rows:
        possible = states.get((row.market_id, row.source_ts or 0))
        if possible is None:
            continue
        compared += 1
        assert any(
            dict(row.bids).items() <= as_text(yes).items()
            and dict(row.asks).items() <= {10_000 - px: sz for px, sz in as_text(no).items()}.items()
            and len(row.bids) == min(50, len(yes))
            and len(row.asks) == min(50, len(no))
            for yes, no in possible
        ), row
    assert compared > 50


def test_with_one_frame_removed_there_is_one_gap_one_repair_and_equality_again(captures: Path, tmp_path: Path) -> None:
    frames = slice_of(captures, 60_000)
    script = FaultScript((Fault(kind="drop", venue=Venue.KALSHI, params={"every": 20_000, "count": 1}),))
    recorder, _ = record(tmp_path, frames, faults=script)
    counters = recorder.counters()
    assert (counters.gaps, counters.resyncs, counters.negative_levels) == (1, 1, 0)
    assert counters.repairs == MARKETS
    assert recorder.gaps.episodes == 1
    assert recorder.gaps.n_open == 0
    books, _ = naive(frames, set())
    check_final(recorder, books)
