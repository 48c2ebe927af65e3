"""Seeded days of the generated exchange, seen throughout and as a rotation sees them.

The exchange's own source is run through a day without a wire: its books are looked at every ``EVERY_MS`` and its prints
noted. The scheduler decides meanwhile, as in the collector, which few markets are held; its stays cut the rotated sample out
of the same rows and prints. So one day gives two data sets that differ in nothing but who was watching when.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from overround.exchange.generator import GeneratedSource
from overround.exchange.model import ChangeKind
from overround.exchange.universe import WorldSpec
from overround.market import PX_ONE_E4, SZ_ONE_E6, Market, MarketId, Venue
from overround.scheduler import Limits, RotationState, plan_rotation
from overround.testing.markets import a_market

__all__ = ["EVERY_MS", "RotatedDay", "rotated_day", "stays_of"]

EVERY_MS = 10_000
_PLAN_MS = 30_000
_LEVELS = 6


@dataclass(frozen=True, kw_only=True)
class RotatedDay:
    """One day of some markets.

    Attributes
    ----------
    rows, trades : polars.DataFrame
        As the lake's readers give them, first outcome only, seen throughout.
    stays : polars.DataFrame
        ``market_id``, ``start_ms``, ``end_ms``: when the rotation held each market.
    markets : mapping of MarketId to Market
        As they were listed when the day began.
    """

    rows: pl.DataFrame
    trades: pl.DataFrame
    stays: pl.DataFrame
    markets: Mapping[MarketId, Market]

    def sampled(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows or trades of the stays alone."""
        return (
            frame.sort("ts_recv", maintain_order=True)
            .join_asof(
                self.stays.sort("start_ms"),
                left_on="ts_recv",
                right_on="start_ms",
                by="market_id",
                check_sortedness=False,
            )
            .filter(pl.col("ts_recv") < pl.col("end_ms"))
            .drop("start_ms", "end_ms")
        )


def rotated_day(
    seed: int, *, hours: float = 24, n_markets: int = 12, max_subs: int = 4, hot_count: int = 1, rate_scale: float = 1.0
) -> RotatedDay:
    """Make one day.

    Parameters
    ----------
    seed : int
    hours : float
    n_markets : int
        Looked at; of a world of four times as many, spread over its ranks.
    max_subs, hot_count : int
        What the rotation may hold at a time, and what of it always.
    rate_scale : float
        Speed of the world.
    """
    source = GeneratedSource(
        WorldSpec(
            polymarket_markets=8, kalshi_markets=4 * n_markets, seed=seed, windows=False, planted=0,
            keep_truth_s=60.0, rate_scale=rate_scale,
        )
    )  # fmt: skip
    begin = WorldSpec().now_ms
    end = begin + int(hours * 3_600_000)
    lasting = [key for key in source.markets(Venue.KALSHI) if source.listings[key].close_ms > end + 3_600_000]
    keys = lasting[:: max(1, len(lasting) // n_markets)][:n_markets]
    source.watch(keys)
    chosen = set(keys)
    markets = {
        MarketId(key): a_market(
            n,
            market_id=MarketId(key),
            close_ts=end + 7_200_000,
            volume_24h_usdc=source.listings[key].volume_24h_usdc,
            liquidity_usdc=source.listings[key].liquidity_usdc,
        )
        for n, key in enumerate(keys)
    }
    scores = {MarketId(key): 1.0 - place / len(keys) for place, key in enumerate(keys)}
    limits = Limits(max_subs=max_subs, hot_count=hot_count, rotation_period_ms=180_000, churn_per_minute=20)
    rows: list[tuple[object, ...]] = []
    trades: list[tuple[object, ...]] = []
    seq = dict.fromkeys(keys, 0)
    changed = dict.fromkeys(keys, begin)
    told: dict[str, tuple[object, ...]] = {}
    for now in range(begin, end, EVERY_MS):
        for change in source.advance(now):
            if change.key not in chosen:
                continue
            if change.kind is ChangeKind.LEVEL:
                seq[change.key] += 1
                changed[change.key] = change.ts_ms
                told.pop(change.key, None)
            elif change.kind is ChangeKind.TRADE:
                side = "buy" if change.bid else "sell"
                px, sz = change.px_e4 / PX_ONE_E4, change.sz_e6 / SZ_ONE_E6
                trades.append((change.key, "yes", change.ts_ms, px, sz, side, False))
        for key in keys:
            if key not in told:
                told[key] = _book(*source.levels(key))
            rows.append((key, "yes", now, seq[key], changed[key], *told[key]))
    return RotatedDay(
        rows=pl.DataFrame(rows, schema=_ROWS, orient="row"),
        trades=pl.DataFrame(trades, schema=_TRADES, orient="row"),
        stays=stays_of(markets, scores, limits, begin, end),
        markets=markets,
    )


def stays_of(
    markets: Mapping[MarketId, Market], scores: Mapping[MarketId, float], limits: Limits, begin_ms: int, end_ms: int
) -> pl.DataFrame:
    """When the scheduler would hold each market, started with nothing held."""
    state = RotationState()
    held: dict[MarketId, int] = {}
    stays: list[tuple[str, int, int]] = []
    for now in range(begin_ms, end_ms, _PLAN_MS):
        plan, state = plan_rotation(state, markets=markets, scores=scores, now_ms=now, limits=limits)
        for market_id in plan.add:
            held[market_id] = now
        stays += [(market_id, held.pop(market_id), now) for market_id in plan.remove]
    stays += [(market_id, since, end_ms) for market_id, since in held.items()]
    return pl.DataFrame(stays, schema=_STAYS, orient="row")


_ROWS: dict[str, Any] = {
    "market_id": pl.String, "outcome_id": pl.String, "ts_recv": pl.Int64, "seq": pl.Int64, "source_ts": pl.Int64,
    "status": pl.String, "best_bid_px": pl.Float64, "best_bid_sz": pl.Float64, "best_ask_px": pl.Float64,
    "best_ask_sz": pl.Float64, "bid_px": pl.List(pl.Float64), "bid_sz": pl.List(pl.Float64),
    "ask_px": pl.List(pl.Float64), "ask_sz": pl.List(pl.Float64),
}  # fmt: skip
_STAYS: dict[str, Any] = {"market_id": pl.String, "start_ms": pl.Int64, "end_ms": pl.Int64}
_TRADES: dict[str, Any] = {
    "market_id": pl.String, "outcome_id": pl.String, "ts_recv": pl.Int64, "px": pl.Float64, "sz": pl.Float64,
    "taker_side": pl.String, "block": pl.Boolean,
}  # fmt: skip


def _book(bids: dict[int, int], asks: dict[int, int]) -> tuple[object, ...]:
    """Status, best prices and levels of a book."""
    bid_px, ask_px = sorted(bids, reverse=True)[:_LEVELS], sorted(asks)[:_LEVELS]
    bid_sz, ask_sz = [bids[px] / SZ_ONE_E6 for px in bid_px], [asks[px] / SZ_ONE_E6 for px in ask_px]
    bid, ask = [px / PX_ONE_E4 for px in bid_px], [px / PX_ONE_E4 for px in ask_px]
    status = "ok" if bid and ask else "partial" if bid or ask else "empty"
    best = [(px[0], sz[0]) if px else (math.nan, 0.0) for px, sz in ((bid, bid_sz), (ask, ask_sz))]
    return (status, *best[0], *best[1], bid, bid_sz, ask, ask_sz)
