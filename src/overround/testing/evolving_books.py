"""Synthetic books that evolve as captured ones do, for sizes and speeds of storage.

Shape, from captures (see the docs' page on performance): tick 0.01 or (3 in 10) 0.001; a median of about
22 levels a side before the cut to 50; sizes round as people's are; between two rows of a market a Poisson
number of level changes, mean 6, mostly near the touch; a tenth of the markets gives a row every 2 s, the
others every 10 s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

__all__ = ["BookSnapshot", "evolving_books", "market_ids"]

START_MS = 1_790_000_100_000


class BookSnapshot(NamedTuple):
    """One market's book at one instant, in integers, as the collector hands it over."""

    market: int
    ts_recv_ms: int
    seq: int
    source_ts: int
    bids: dict[int, int]
    asks: dict[int, int]


class _Market:
    def __init__(self, rng: Random) -> None:
        self.tick = 10 if rng.random() < 0.3 else 100
        n_ticks = 10_000 // self.tick
        self.mid = min(max(int(rng.betavariate(0.6, 0.6) * n_ticks), 2), n_ticks - 3)
        self.target = max(4, int(rng.lognormvariate(3.1, 0.7)))
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.seq = 0
        for side, sign, first, room in (
            (self.bids, -1, self.mid, self.mid),
            (self.asks, 1, self.mid + 1, n_ticks - 1 - self.mid),
        ):
            step, away = max(1.0, 0.7 * room / self.target), 0.0
            while len(side) < self.target and away < room:
                side[(first + sign * int(away)) * self.tick] = _size(rng)
                away += max(1.0, rng.expovariate(1.0 / step) if away > 4 else 1.0)

    def change(self, rng: Random) -> None:
        """One level set or removed, never crossing the other side."""
        is_bid = rng.random() < 0.5
        side = self.bids if is_bid else self.asks
        self.seq += 1
        if len(side) > 3 and rng.random() < (0.45 if len(side) > self.target else 0.2):
            by_price = sorted(side, reverse=is_bid)
            del side[by_price[min(int(rng.expovariate(0.4)), len(by_price) - 1)]]
            return
        best_bid, best_ask = max(self.bids, default=0), min(self.asks, default=10_000)
        away = int(rng.expovariate(0.35 if self.tick == 100 else 0.06)) * self.tick
        if is_bid:
            px = min(best_ask - self.tick, best_bid + self.tick) - away
        else:
            px = max(best_bid + self.tick, best_ask - self.tick) + away
        side[min(max(px, self.tick), 10_000 - self.tick)] = _size(rng)


def _size(rng: Random) -> int:
    """A size in millionths: many round numbers, the rest with two decimals, a heavy tail."""
    value, kind = rng.lognormvariate(6.5, 2.0), rng.random()
    if kind < 0.30:
        value = max(5.0, round(value / 100) * 100.0)
    elif kind < 0.55:
        value = max(5.0, round(value / 5) * 5.0)
    return round(max(value, 1.0) * 100) * 10_000


def _poisson(rng: Random, mean: float) -> int:
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count


def market_ids(n_markets: int, *, seed: int = 7) -> list[tuple[str, tuple[str, str]]]:
    """Ids as long as the venue's: a condition id and two token ids for each market."""
    rng = Random(seed)
    return [
        (
            "0x" + "".join(rng.choices("0123456789abcdef", k=64)),
            ("".join(rng.choices("123456789", k=77)), "".join(rng.choices("123456789", k=77))),
        )
        for _ in range(n_markets)
    ]


def evolving_books(
    n_markets: int, *, seed: int = 7, churn: float = 6.0, start_ms: int = START_MS
) -> Iterator[BookSnapshot]:
    """Snapshots in the order of time, without end; the dicts are live and change when iteration goes on."""
    rng = Random(seed)
    markets = [_Market(rng) for _ in range(n_markets)]
    n_hot = max(1, n_markets // 10)
    tick = 0
    while True:
        now_ms = start_ms + tick * 2_000
        for number, market in enumerate(markets):
            if number >= n_hot and (tick + number) % 5:
                continue
            for _ in range(_poisson(rng, churn)):
                market.change(rng)
            ts_ms = now_ms + rng.randrange(40)
            source_ts = ts_ms - rng.randrange(5, 80)
            yield BookSnapshot(number, ts_ms, market.seq, source_ts, market.bids, market.asks)
        tick += 1
