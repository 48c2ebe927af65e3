"""What a passive quoter really earns in markets of single orders, and the record of the same markets without it.

``record_crowds`` writes the public record of crowds (``exchange.crowd``) as the collector does: rows of levels and prints.
``quoted`` puts a quoter into the same crowd, with the same makers and takers at the same times; the exchange's matching
says which of its orders are filled. It looks at the book as often as a row is stored and wants the prices that the
analysis' policy wants (``analytics.quote_px``); queues, fills, what others do about it and what comes of a fill are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from overround.analytics import HORIZONS_S, quote_px
from overround.config import StorageSettings
from overround.exchange.crowd import Crowd, CrowdSpec
from overround.exchange.matching import Order
from overround.fills import USD_ONE_E10, fill_fee
from overround.market import (
    BUY,
    PX_ONE_E4,
    SELL,
    SZ_ONE_E6,
    FeeKind,
    FeeSchedule,
    Market,
    MarketId,
    Origin,
    OutcomeId,
    TickBand,
    Trade,
)
from overround.storage import LakePaths, SnapshotWriter, write_universe
from overround.testing.clock import ManualClock
from overround.testing.markets import a_market
from overround.timebucket import date_of

__all__ = ["QuotedDay", "crowd_market", "quoted", "record_crowds"]

_OURS = "ours"
_FLUSH_MS = 300_000


def crowd_market(number: int, spec: CrowdSpec) -> Market:
    """A crowd's market as the venue lists it."""
    return a_market(number, tick_grid=(TickBand(start_e4=0, end_e4=PX_ONE_E4, step_e4=spec.tick_e4),), fee=_fee(spec))


def _fee(spec: CrowdSpec) -> FeeSchedule:
    """Makers pay a quarter of what takers pay."""
    maker = f"{float(spec.taker_rate) / 4:g}"
    return FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate=spec.taker_rate, maker_rate=maker)


def record_crowds(folder: Path, specs: Sequence[CrowdSpec], *, start_ms: int, hours: float, every_ms: int) -> LakePaths:
    """The lake of one collector that watched all of them throughout.

    Parameters
    ----------
    folder : Path
    specs : sequence of CrowdSpec
        Their markets are numbered by place.
    start_ms : int
    hours : float
    every_ms : int
        Between rows.
    """
    paths = LakePaths(folder)
    markets = [crowd_market(number, spec) for number, spec in enumerate(specs)]
    crowds = [Crowd(spec, start_ms) for spec in specs]

    async def run() -> None:
        settings = StorageSettings(outcomes="first", compression_level=1)
        writer = SnapshotWriter(
            paths, "kalshi", settings=settings, top_k=50, origin=Origin.SYNTHETIC, clock=ManualClock(start_ms)
        )
        writer.start()
        keys = [writer.buffer.register(market.market_id, market.outcome_ids) for market in markets]
        for now in range(start_ms, start_ms + int(hours * 3_600_000), every_ms):
            for market, key, crowd in zip(markets, keys, crowds, strict=True):
                crowd.advance(now)
                book = crowd.book
                writer.buffer.append(
                    key, now, book.levels(bids=True), book.levels(bids=False), seq=crowd.n_changes,
                    source_ts=crowd.changed_ms, stale=False, err=None, integrity="verified",
                )  # fmt: skip
                writer.add_trades(_trades(crowd, market.market_id))
            if (now + every_ms) // _FLUSH_MS > now // _FLUSH_MS:
                await writer.flush(now)
        await writer.stop()

    asyncio.run(run())
    write_universe(paths, "kalshi", date_of(start_ms), markets)
    return paths


def _trades(crowd: Crowd, market_id: MarketId) -> list[Trade]:
    told = [
        Trade(
            market_id=market_id, outcome_id=OutcomeId("yes"), first=True, px=one.px_e4 / PX_ONE_E4, sz_e6=one.sz_e6,
            taker_side=BUY if one.buys else SELL, ts_recv_ns=one.ts_ms * 1_000_000, book_sz_e6=one.sz_e6,
        )
        for one in crowd.prints
    ]  # fmt: skip
    crowd.prints.clear()
    return told


@dataclass(frozen=True, kw_only=True)
class QuotedDay:
    """What a quoter had of a day.

    Attributes
    ----------
    fills : int
    contracts : float
    usd : float
        Dollars a day by what fills were worth five minutes later, fees paid.
    usd_at_end : float
        Dollars a day with all that was bought and sold carried to the end and valued at the last mid.
    """

    fills: int
    contracts: float
    usd: float
    usd_at_end: float


def quoted(spec: CrowdSpec, policy: str, *, size: float, start_ms: int, hours: float, every_ms: int) -> QuotedDay:
    """Let a quoter quote; the exchange decides what becomes of it.

    Parameters
    ----------
    spec : CrowdSpec
    policy : str
        ``touch`` or ``inside``.
    size : float
        Contracts of each order.
    start_ms : int
    hours : float
    every_ms : int
        Between two looks at the book.
    """
    crowd = Crowd(spec, start_ms)
    held: dict[int, Order | None] = {1: None, -1: None}
    mids: list[tuple[int, float]] = []
    fills: list[tuple[int, int, int, int]] = []
    end_ms = start_ms + int(hours * 3_600_000)
    for now in range(start_ms, end_ms, every_ms):
        crowd.advance(now)
        fills += [
            (one.ts_ms, -1 if one.buys else 1, one.px_e4, one.sz_e6) for one in crowd.prints if one.order.owner == _OURS
        ]
        crowd.prints.clear()
        bid, ask = (crowd.book.best(bids=bids, without=_OURS) for bids in (True, False))
        two_sided = 0 < bid < ask
        if two_sided:
            mids.append((now, (bid + ask) / 2))
        for sign, order in held.items():
            at = order.px_e4 if order is not None and order.left_e6 else None
            px = quote_px(policy, sign, at, bid, ask, tick_e4=spec.tick_e4) if two_sided else None
            if px == at:
                continue
            if order is not None:
                crowd.cancel(order)
            held[sign] = None
            if px is not None:
                held[sign] = order = Order(bid=sign > 0, px_e4=px, sz_e6=round(size * SZ_ONE_E6), owner=_OURS)
                crowd.place(order)
    return _earned(fills, mids, _fee(spec), days=hours / 24)


def _earned(
    fills: Sequence[tuple[int, int, int, int]], mids: Sequence[tuple[int, float]], fee: FeeSchedule, *, days: float
) -> QuotedDay:
    later = end = usd = 0.0
    at = contracts_e6 = 0
    last = mids[-1][1] if mids else 0.0
    for ts_ms, sign, px, sz in fills:
        while at < len(mids) and mids[at][0] < ts_ms + HORIZONS_S[-1] * 1000:
            at += 1
        then = mids[at][1] if at < len(mids) else last
        contracts_e6 += sz
        later += sign * (then - px) * sz
        end += sign * (last - px) * sz
        usd += fill_fee(fee, px_e4=px, sz_e6=sz, is_taker=False, ts_ms=ts_ms) or 0
    return QuotedDay(
        fills=len(fills),
        contracts=contracts_e6 / SZ_ONE_E6 / days,
        usd=(later - usd) / USD_ONE_E10 / days,
        usd_at_end=(end - usd) / USD_ONE_E10 / days,
    )
