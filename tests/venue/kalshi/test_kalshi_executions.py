"""Prints find the changes of the book that they made, in whatever order the two are told, and no others."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from overround.market import Trade
from overround.venue.kalshi.executions import Executions
from overround.venue.kalshi.prints import trade_of
from overround.venue.kalshi.state import Sizes
from overround.venue.kalshi.wire import TradeMsg
from overround.venue.recent import Frame

T0 = 1_790_000_000_000
SLOT = "kalshi-0"


class Wire:
    """Frames of one connection, a millisecond apart."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.trades: list[Trade] = []
        self.seq = [0, 0]

    @property
    def recv_ns(self) -> int:
        return (T0 + len(self.frames)) * 1_000_000

    def change(self, side: str, cents: int, contracts: float, ts_ms: int, ticker: str = "KX-A") -> int:
        self.seq[0] += 1
        msg = {
            "market_ticker": ticker,
            "price_dollars": f"{cents / 100:.4f}",
            "delta_fp": f"{contracts:.2f}",
            "side": side,
            "ts_ms": ts_ms,
        }
        body = {"type": "orderbook_delta", "sid": 1, "seq": self.seq[0], "msg": msg}
        self.frames.append((f"{SLOT}.1", self.recv_ns, json.dumps(body, separators=(",", ":")).encode()))
        return self.seq[0]

    def trade(
        self, taker: str, yes_cents: int, contracts: float, ts_ms: int, ticker: str = "KX-A", *, block: bool = False
    ) -> Trade:
        msg = TradeMsg(
            market_ticker=ticker,
            yes_price_dollars=f"{yes_cents / 100:.4f}",
            no_price_dollars=f"{1 - yes_cents / 100:.4f}",
            count_fp=f"{contracts:.2f}",
            trade_id=f"t{len(self.frames)}",
            taker_outcome_side=taker,
            is_block_trade=block,
            ts_ms=ts_ms,
        )
        trade = trade_of(msg, self.recv_ns, Sizes())
        self.trades.append(trade)
        self.frames.append((f"{SLOT}.1", self.recv_ns, b'{"type":"trade"}'))
        return trade


def join(wire: Wire, *, batch: int = 10_000, until: int | None = None) -> Sequence[Trade]:
    """All trades, joined; given to the join with the batch of frames that holds them."""
    executions = Executions()
    done: list[Trade] = []
    left = list(wire.trades)
    for start in range(0, len(wire.frames), batch):
        part = wire.frames[start : start + batch]
        executions.see(part)
        new = [trade for trade in left if trade.ts_recv_ns <= part[-1][1]]
        left = left[len(new) :]
        executions.add(SLOT, new)
        done += executions.take(now_ms=part[-1][1] // 1_000_000)
    return [*done, *executions.take(now_ms=until)]


def test_a_taker_of_yes_takes_from_no_at_the_complement_and_a_taker_of_no_from_yes() -> None:
    wire = Wire()
    bought = wire.change("no", 60, -30, T0)
    sold = wire.change("yes", 40, -20, T0 + 5)
    wire.trade("yes", 40, 30, T0)
    wire.trade("no", 40, 20, T0 + 5)
    yes, no = join(wire)
    assert (yes.outcome_id, yes.px, yes.book_sz_e6, yes.book_seq) == ("yes", 0.4, 30_000_000, bought)
    assert (no.outcome_id, no.px, no.book_sz_e6, no.book_seq) == ("no", 0.6, 20_000_000, sold)


def test_what_does_not_fit_in_side_price_time_market_or_sign_explains_nothing() -> None:
    wire = Wire()
    wire.change("yes", 60, -10, T0)
    wire.change("no", 61, -10, T0)
    wire.change("no", 60, -10, T0 - 1)
    wire.change("no", 60, +10, T0)
    wire.change("no", 60, -10, T0, "KX-AB")
    wire.trade("yes", 40, 10, T0)
    wire.change("no", 60, -10, T0 + 1)
    (trade,) = join(wire)
    assert (trade.book_sz_e6, trade.book_seq) == (0, None)


def test_a_change_explains_no_more_than_it_took_and_prints_share_it_in_their_order() -> None:
    wire = Wire()
    seq = wire.change("no", 60, -25, T0)
    for contracts in (10, 10, 10):
        wire.trade("yes", 40, contracts, T0)
    trades = join(wire)
    assert [trade.book_sz_e6 for trade in trades] == [10_000_000, 10_000_000, 5_000_000]
    assert {trade.book_seq for trade in trades} == {seq}


def test_a_cancellation_of_the_same_instant_is_left_over_and_a_change_told_twice_counts_once() -> None:
    wire = Wire()
    wire.change("no", 60, -10, T0)
    wire.frames.append((*wire.frames[-1][:1], wire.recv_ns, wire.frames[-1][2]))
    wire.trade("yes", 40, 20, T0)
    (trade,) = join(wire)
    assert trade.book_sz_e6 == 10_000_000


def test_a_block_trade_and_one_without_a_side_are_not_joined() -> None:
    wire = Wire()
    wire.change("no", 60, -10, T0)
    wire.trade("yes", 40, 10, T0, block=True)
    wire.trade("", 40, 10, T0)
    block, sideless = join(wire)
    assert (block.block, block.book_sz_e6) == (True, None)
    assert (sideless.taker_side, sideless.book_sz_e6) == (None, None)


def test_a_print_waits_five_seconds_for_its_change() -> None:
    wire = Wire()
    trade = wire.trade("yes", 40, 10, T0)
    executions = Executions()
    executions.add(SLOT, [trade])
    executions.see(wire.frames)
    assert executions.take(now_ms=T0 + 4_999) == []
    (given_up,) = executions.take(now_ms=T0 + 5_000)
    assert (given_up.book_sz_e6, given_up.book_seq) == (0, None)


@pytest.mark.parametrize("seed", range(20))
def test_every_sweep_is_explained_however_frames_and_batches_fall(seed: int) -> None:
    rng = random.Random(seed)
    wire = Wire()
    ts_ms = T0
    for _ in range(120):
        ts_ms += rng.randrange(3)
        ticker = rng.choice(("KX-A", "KX-B"))
        levels = rng.sample(range(30, 70), rng.randrange(1, 5))
        sizes = [rng.randrange(1, 50) for _ in levels]
        frames = [("change", px, sz) for px, sz in zip(levels, sizes, strict=True)]
        frames += [("trade", px, sz) for px, sz in zip(levels, sizes, strict=True)]
        if rng.random() < 0.3:
            rng.shuffle(frames)
        for kind, px, sz in frames:
            for _ in range(rng.randrange(3)):
                # Others' business at the same time: elsewhere in the book, or in another market.
                wire.change("yes", rng.randrange(1, 20), -1, ts_ms, rng.choice(("KX-A", "KX-B", "KX-C")))
            if kind == "change":
                wire.change("no", 100 - px, -sz, ts_ms, ticker)
            else:
                wire.trade("yes", px, sz, ts_ms, ticker)
        ts_ms += 1
    trades = join(wire, batch=rng.choice((7, 50, 100_000)))
    assert len(trades) == len(wire.trades)
    assert all(trade.book_sz_e6 == trade.sz_e6 for trade in trades)
