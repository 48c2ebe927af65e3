"""How markets of different temper behave, as tables measured on real streams.

Everything random in the flow is drawn by indexing a table of quantiles with one uniform number: it is fast, and it
states the calibrated distribution in the open. Sizes are contracts x 1,000,000, gaps microseconds.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from functools import cache

import msgspec

from overround.exchange import ids
from overround.exchange.families import Leg
from overround.market import Venue

__all__ = ["FAST", "LIVE", "PLAIN", "Habit", "Shape", "gap_scales", "shape_of"]

_ONE = 1_000_000
_GAPS = 2_048
_CLIPS = 256


def _quantiles(points: Sequence[tuple[float, float]], n: int) -> list[float]:
    """``n`` equally likely values of a law given by quantiles, straight lines between logarithms."""
    found = []
    at = 0
    for i in range(n):
        u = (i + 0.5) / n
        while at + 2 < len(points) and points[at + 1][0] <= u:
            at += 1
        (u0, x0), (u1, x1) = points[at], points[at + 1]
        low = math.log(max(x0, 1e-9))
        found.append(math.exp(low + (math.log(max(x1, 1e-9)) - low) * (u - u0) / (u1 - u0)))
    return found


def _ranks(shares: Sequence[tuple[int, int, float]], n: int = 256) -> tuple[int, ...]:
    """A table of level ranks, 0 the best, from (first, last, share) triples."""
    found: list[int] = []
    total = sum(share for _, _, share in shares)
    due = 0.0
    for first, last, share in shares:
        due += share / total * n
        width = last - first + 1
        while len(found) < round(due):
            found.append(first + (len(found) * 7) % width)
    return tuple(found)


class Habit(msgspec.Struct, frozen=True, kw_only=True):
    """The temper of a kind of market.

    Attributes
    ----------
    name : str
    gaps : tuple of float
        Equally likely times between changes, rising, microseconds.
    body : int
        Entries of ``gaps`` that belong to bursts; the others stretch with the market's rate.
    ranks : tuple of int
        Equally likely places of a change, counted from the best level.
    trade, create, remove, raise_ : float
        Shares of what a change is; the rest lowers a level.
    wants : tuple of int
        Equally likely surplus ticks between the tightest possible quote and the wanted best level, per side.
    moves_per_change : float
        How often the fair price moves.
    move_size : float
        Standard deviation of a move in log-odds.
    calm : float
        Share of a move's consequences that are trades rather than cancellations.
    fill : float
        Share of price steps that hold a level.
    removable : float
        Levels up to so many times the usual size are taken away at once; larger ones shrink first.
    """

    name: str
    gaps: tuple[float, ...]
    body: int
    ranks: tuple[int, ...]
    trade: float
    create: float
    remove: float
    raise_: float
    wants: tuple[int, ...]
    moves_per_change: float
    move_size: float
    calm: float
    fill: float
    removable: float = 4.0


LIVE = Habit(
    name="live",
    gaps=tuple(
        _quantiles(
            (
                (0.0, 0.4), (0.16, 40.0), (0.25, 460.0), (0.32, 1_000.0), (0.5, 9_500.0), (0.75, 55_000.0),
                (0.9, 300_000.0), (0.99, 6_412_000.0), (0.999, 32_000_000.0), (1.0, 200_000_000.0),
            ),
            _GAPS,
        )
    ),
    body=int(0.75 * _GAPS),
    ranks=_ranks(((0, 0, 19.0), (1, 1, 17.5), (2, 2, 11.2), (3, 3, 6.2), (4, 10, 21.0), (11, 19, 11.5), (20, 60, 8.5))),
    trade=0.102,
    create=0.04,
    remove=0.06,
    raise_=0.46,
    wants=(0,) * 248 + (1,) * 8,
    moves_per_change=1 / 140,
    move_size=0.035,
    calm=0.5,
    fill=0.94,
)  # fmt: skip
"""A game in play, or another well made market: Kalshi's NBA evening of 2026-03-18."""

FAST = Habit(
    name="fast",
    gaps=tuple(
        _quantiles(
            (
                (0.0, 0.4), (0.27, 120.0), (0.5, 800.0), (0.75, 4_700.0), (0.95, 43_000.0), (0.99, 228_000.0),
                (0.999, 900_000.0), (1.0, 3_000_000.0),
            ),
            _GAPS,
        )
    ),
    body=int(0.75 * _GAPS),
    ranks=_ranks(((0, 0, 24.0), (1, 1, 16.0), (2, 2, 12.0), (3, 3, 9.0), (4, 10, 26.0), (11, 19, 9.0), (20, 40, 4.0))),
    trade=0.0185,
    create=0.19,
    remove=0.24,
    raise_=0.33,
    wants=(0,) * 176 + (1,) * 48 + (2,) * 20 + (3,) * 8 + (4,) * 4,
    moves_per_change=1 / 40,
    move_size=0.05,
    calm=0.1,
    fill=0.75,
    removable=26.0,
)  # fmt: skip
"""A short window on a reference price: Kalshi's gold and bitcoin windows."""

PLAIN = msgspec.structs.replace(
    LIVE,
    name="plain",
    ranks=_ranks(((0, 0, 24.0), (1, 1, 18.0), (2, 2, 12.0), (3, 3, 8.0), (4, 10, 26.0), (11, 19, 8.0), (20, 40, 4.0))),
    trade=0.05,
    create=0.06,
    remove=0.055,
    raise_=0.38,
    wants=(0,),
    fill=0.85,
)
"""Everything else: few quotes, wide spreads."""


@cache
def gap_scales(name: str, rate: float) -> tuple[float, float]:
    """Factors for the burst part and the rest of a habit's gaps that give a mean rate (per second)."""
    habit = {"live": LIVE, "fast": FAST, "plain": PLAIN}[name]
    wanted = 1e6 / rate
    body = sum(habit.gaps[: habit.body]) / _GAPS
    tail = sum(habit.gaps[habit.body :]) / _GAPS
    if body > 0.5 * wanted:  # faster than its own bursts: everything shrinks alike
        return 0.5 * wanted / body, 0.5 * wanted / tail
    return 1.0, (wanted - body) / tail


# ------------------------------------------------------------------ sizes


def _round_clip(value: float, draw: float) -> float:
    """Round most sizes the way people and programs choose them."""
    if value >= 20 and draw < 0.6:
        step = 10.0 ** int(math.log10(value))
        return max(step / 2, round(value / (step / 2)) * (step / 2))
    return value


@cache
def _clips(points: tuple[tuple[float, float], ...], scale: float, fractional: float, unit: int) -> tuple[int, ...]:
    """A table of sizes; that share of them carries a fraction of ``unit``."""
    rng = random.Random(ids.stream_seed("clips", points, scale, fractional))
    found = []
    for value in _quantiles(points, _CLIPS):
        whole = rng.random() >= fractional
        size = _round_clip(value * scale, rng.random()) if whole else value * scale
        found.append(max(_ONE, round(size) * _ONE) if whole else max(unit, int(size * _ONE) // unit * unit))
    rng.shuffle(found)
    return tuple(found)


_DELTAS_LIVE = (
    (0.0, 1.0),
    (0.05, 5.0),
    (0.25, 110.0),
    (0.5, 900.0),
    (0.75, 5_000.0),
    (0.95, 30_000.0),
    (1.0, 400_000.0),
)
_DELTAS_FAST = ((0.0, 0.02), (0.05, 0.1), (0.5, 30.0), (0.95, 200.0), (1.0, 4_000.0))
_DELTAS_PM = ((0.0, 1.0), (0.05, 5.0), (0.25, 22.0), (0.5, 120.0), (0.75, 600.0), (0.95, 6_000.0), (1.0, 80_000.0))
_TRADES_LIVE = ((0.0, 1.0), (0.05, 2.0), (0.5, 47.0), (0.95, 1_336.0), (1.0, 60_000.0))
_TRADES_FAST = ((0.0, 0.05), (0.5, 10.0), (0.95, 100.0), (1.0, 1_500.0))
_TRADES_PM = ((0.0, 1.0), (0.5, 10.0), (0.9, 146.0), (0.99, 1_665.0), (1.0, 40_000.0))

_SPREAD_PM = ((0.0, 0.0008), (0.08, 0.0015), (0.25, 0.013), (0.5, 0.08), (0.75, 0.83), (1.0, 0.97))
_SPREAD_KALSHI = ((0.0, 0.004), (0.25, 0.011), (0.5, 0.04), (0.75, 0.08), (0.9, 0.53), (1.0, 0.9))


def _at(points: Sequence[tuple[float, float]], u: float) -> float:
    for (u0, x0), (u1, x1) in itertools.pairwise(points):
        if u <= u1:
            return math.exp(math.log(x0) + (math.log(x1) - math.log(x0)) * (u - u0) / (u1 - u0))
    return points[-1][1]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What one market's book looks like.

    Attributes
    ----------
    habit : Habit
    spread_e4 : int
        Usual distance of the best levels from each other, beyond the tightest possible; 0 on well made markets.
    n_levels : int
        Levels per side, as far as prices go.
    level_median, level_sigma : float
        Log-normal law of resting sizes, contracts.
    clips, trades : tuple of int
        Equally likely sizes of changes and of trades.
    unit : int
        Smallest step of a size.
    buyers : float
        Share of takers that buy the first outcome.
    whole : float
        Share of absolute sizes rounded to whole contracts (Polymarket); 0 leaves sums as they are.
    tick_e4 : int
        Tick at the start (Polymarket).
    """

    habit: Habit
    spread_e4: int
    n_levels: int
    level_median: float
    level_sigma: float
    clips: tuple[int, ...]
    trades: tuple[int, ...]
    unit: int
    buyers: float = 0.5
    whole: float
    tick_e4: int


def shape_of(leg: Leg, fair: float, seed: int) -> Shape:
    """The shape of a market's book, from its venue, kind and rank."""
    key = leg.listed.key
    noise = [ids.number_of(seed, key, "shape", i) for i in range(5)]
    fast = leg.listed.event.family == "updown"
    busy = fast or leg.rate > 0.25 or leg.rank < 0.08
    rank = min(0.999, max(0.0, leg.rank + 0.16 * (noise[0] - 0.5)))
    if leg.listed.venue is Venue.KALSHI:
        return _kalshi(leg, rank, noise, fast=fast, busy=busy)
    return _polymarket(rank, noise, fair, fast=fast, busy=busy)


def _kalshi(leg: Leg, rank: float, noise: list[float], *, fast: bool, busy: bool) -> Shape:
    if fast:
        return Shape(
            habit=FAST, spread_e4=0, n_levels=int(8 + 24 * noise[1]), level_median=30.0, level_sigma=2.0,
            clips=_clips(_DELTAS_FAST, 1.0, 0.06, 10_000), trades=_clips(_TRADES_FAST, 1.0, 0.1, 10_000),
            unit=10_000, whole=0.0, tick_e4=100,
        )  # fmt: skip
    scale = (0.3, 0.6, 0.8, 1.2)[int(noise[2] * 4)]
    if busy:
        return Shape(
            habit=LIVE, spread_e4=0, n_levels=98, level_median=1_300.0 * scale, level_sigma=2.0,
            clips=_clips(_DELTAS_LIVE, scale, 0.0, 10_000), trades=_clips(_TRADES_LIVE, scale, 0.0, 10_000),
            unit=_ONE, buyers=0.77, whole=0.0, tick_e4=100,
        )  # fmt: skip
    spread = _at(_SPREAD_KALSHI, rank)
    fine = leg.listed.event.family == "line"
    return Shape(
        habit=PLAIN, spread_e4=max(0, round(spread * 10_000) - 100),
        n_levels=max(2, int(15 * math.exp(1.0 * (2 * noise[1] - 1)))), level_median=500.0, level_sigma=1.9,
        clips=_clips(_DELTAS_PM, 1.0, 0.05 if fine else 0.0, 10_000), trades=_clips(_TRADES_PM, 1.0, 0.05 if fine else 0.0, 10_000),
        unit=10_000 if fine else _ONE, whole=0.0, tick_e4=100,
    )  # fmt: skip


def _polymarket(rank: float, noise: list[float], fair: float, *, fast: bool, busy: bool) -> Shape:
    edge = fair > 0.96 or fair < 0.04
    tick = 10 if edge or (noise[3] < 0.22 and not fast) else 100
    clips = _clips(_DELTAS_PM, 1.0, 0.3, 10_000)
    trades = _clips(_TRADES_PM, 1.0, 0.4, 10_000)
    if busy:
        spread = _at(((0.0, 0.001), (0.25, 0.004), (0.5, 0.01), (0.95, 0.05), (1.0, 0.08)), noise[0])
        return Shape(
            habit=FAST if fast else LIVE, spread_e4=0 if fast else max(0, round(spread * 10_000) - tick),
            n_levels=int(24 + 44 * noise[1] ** 1.3), level_median=150.0 if fast else 330.0, level_sigma=1.6 if fast else 2.3,
            clips=clips, trades=trades, unit=10_000, whole=0.61, tick_e4=tick,
        )  # fmt: skip
    spread = _at(_SPREAD_PM, rank)
    return Shape(
        habit=PLAIN, spread_e4=max(0, round(spread * 10_000) - tick),
        n_levels=max(2, int(11 * math.exp(0.9 * (2 * noise[1] - 1)))), level_median=60.0, level_sigma=1.9,
        clips=clips, trades=trades, unit=10_000, whole=0.36, tick_e4=tick,
    )  # fmt: skip
