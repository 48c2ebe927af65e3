"""Prints and changes of captured Kalshi streams agree: what was executed is told apart from what was cancelled."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest

from overround.market import Trade, Venue
from overround.replay import open_recording
from overround.venue.kalshi.executions import Executions
from overround.venue.kalshi.prints import trade_of
from overround.venue.kalshi.state import Sizes
from overround.venue.kalshi.wire import TradeFrame
from overround.venue.recent import Frame

decode = msgspec.json.Decoder(TradeFrame).decode

CASES = {
    "gold": "recordings/kalshi/ws_gold15m/KXGOLD15M-26AUG102015-15.2026-08-11.ndjson.gz",
    "nba": "recordings/kalshi/ws_nba_20260318/KXNBAGAME-26MAR18ATLDAL-ATL.ndjson.gz",
}


@pytest.mark.parametrize("name", list(CASES))
def test_prints_are_explained_by_the_book(captures: Path, name: str) -> None:
    recording = open_recording([captures / CASES[name]], venue=Venue.KALSHI)
    executions, trades, sizes = Executions(), list[Trade](), Sizes()
    batch: list[Frame] = []
    frames = (each for each in itertools.islice(recording, 60_000) if each.frame)
    for number, each in enumerate(frames):
        # Where no receive time was kept, a millisecond for ten frames.
        recv_ns = each.recv_ns or 1_790_000_000_000_000_000 + number * 100_000
        batch.append(("kalshi-0.1", recv_ns, each.frame))
        if b'"trade"' in each.frame[:40]:
            executions.add("kalshi-0", [trade_of(decode(each.frame).msg, recv_ns, sizes)])
        if len(batch) == 500:
            executions.see(batch)
            trades += executions.take(now_ms=recv_ns // 1_000_000)
            batch = []
    executions.see(batch)
    trades += executions.take(now_ms=None)
    explained = sum(trade.book_sz_e6 == trade.sz_e6 for trade in trades)
    assert len(trades) > 500
    # 855 of 858 groups of two such windows agree exactly.
    assert explained >= 0.995 * len(trades), f"{explained} of {len(trades)}"
