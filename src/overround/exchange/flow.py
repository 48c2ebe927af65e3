"""One market's book and what happens to it.

Both sides are handled alike in signed prices: ``px`` for a bid, ``-px`` for an ask, so that the better of two levels
of one side is always the larger one and the best level is the last of a rising list.

Each side has a cap, the best signed price that still straddles the fair value of the moment; no level ever lies beyond
it (``grid.Grid.caps``). Because bid caps lie below ask caps, a book is never locked or crossed.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, insort
from collections.abc import Callable

from overround.exchange.families import Leg
from overround.exchange.grid import Grid, kalshi_grid, uniform_grid
from overround.exchange.habits import Shape, gap_scales
from overround.exchange.model import Change, ChangeKind
from overround.exchange.truth import MarketLog, Truth
from overround.market import Venue

__all__ = ["Ladder", "MarketFlow"]

_LEVEL, _TRADE, _TICK = ChangeKind.LEVEL, ChangeKind.TRADE, ChangeKind.TICK
_ONE = 1_000_000
_FEWEST = 3
_FIX = 0.4
_RETREAT = 0.05
_EXCITE = 0.003
_EXCITED = 0.03
_REFILL = 0.93
"""Share of the cases in which a best level that went is replaced in the same millisecond."""


class Ladder:
    """One side of a book.

    Attributes
    ----------
    levels : dict of int to int
        ``px_e4`` to ``sz_e6``.
    prices : list of int
        Signed prices of the levels, rising; the last is the best.
    cap : int
        Best signed price allowed; 0 (bids) or -10,000 (asks) allow none.
    goal : int
        Signed price at which the best level wants to be; not beyond the cap.
    want : int
        Surplus ticks between cap and goal.
    pinned : int
        Signed price of a level that must not change, 0 when there is none.
    """

    __slots__ = ("cap", "goal", "levels", "pinned", "prices", "want")

    def __init__(self) -> None:
        self.levels: dict[int, int] = {}
        self.prices: list[int] = []
        self.cap = 0
        self.goal = 0
        self.want = 0
        self.pinned = 0


class MarketFlow:
    """The book of one market, its changes, and when the next one is due.

    Parameters
    ----------
    leg : Leg
    shape : Shape
    fair : float
        Probability at the start.
    rng : random.Random
        For the first book only.
    last_trade : int or None
        Price of the last print before the start.
    """

    __slots__ = (
        "_body",
        "_buyers",
        "_create",
        "_excited",
        "_gap_body",
        "_gap_tail",
        "_gaps",
        "_grid",
        "_large",
        "_log",
        "_raise",
        "_ranks",
        "_remove",
        "_rnd",
        "_rng",
        "_small",
        "_tiny",
        "_trade",
        "asks",
        "bids",
        "burst",
        "burst_gap_us",
        "due_us",
        "fair",
        "key",
        "last_trade",
        "leg",
        "shape",
        "stopped",
    )  # fmt: skip

    def __init__(self, leg: Leg, shape: Shape, fair: float, rng: random.Random, last_trade: int | None) -> None:
        self.leg = leg
        self.key = leg.listed.key
        self.shape = shape
        self.fair = fair
        self.bids = Ladder()
        self.asks = Ladder()
        self.burst = 0
        self._excited = 0
        self.burst_gap_us = 14.0
        self.due_us = -1
        self.stopped = False
        self.last_trade = last_trade
        if leg.listed.venue is Venue.KALSHI:
            self._grid: Grid = kalshi_grid(leg.listed.grid)
        else:
            leg.listed.tick_e4 = min(leg.listed.tick_e4, shape.tick_e4)
            self._grid = uniform_grid(leg.listed.tick_e4)
        self._log: MarketLog | None = None
        self._rng = rng
        self._rnd: Callable[[], float] = rng.random
        habit = shape.habit
        self._gaps, self._body, self._ranks = habit.gaps, habit.body, habit.ranks
        self._gap_body = self._gap_tail = 1.0
        self._trade = habit.trade
        self._create = habit.trade + habit.create
        self._remove = self._create + habit.remove
        self._raise = self._remove + habit.raise_
        self._buyers = shape.buyers
        self._small = int(shape.level_median * habit.removable * 1e6)
        self._large = int(shape.level_median * 5e6)
        self._tiny = int(shape.level_median * 1e4)
        self._set_caps(fair)
        self._set_wants()
        for ladder in (self.bids, self.asks):
            self._aim(ladder)
            self._fill(ladder)

    # ---------------------------------------------------------------- first book

    def _set_wants(self) -> None:
        """Decide how far behind the caps the best levels want to be, in steps of the grid."""
        rng, spread = self._rng, self.shape.spread_e4
        if not spread:
            wants = self.shape.habit.wants
            for ladder in (self.bids, self.asks):
                ladder.want = wants[int(rng.random() * len(wants))]
            return
        tick = 100 if self.leg.listed.venue is Venue.KALSHI else self.leg.listed.tick_e4
        # Near 0 or 1 one side has little room: the other one takes what is left of the spread.
        below = min(rng.uniform(0.3, 0.7) * spread, 0.9 * self.bids.cap)
        above = min(spread - below, 0.95 * (10_000 + self.asks.cap))
        self.bids.want, self.asks.want = int(below / tick), int(above / tick)

    def _aim(self, ladder: Ladder) -> None:
        """Set the goal ``want`` steps behind the cap, but on the grid."""
        goal = ladder.cap
        worse = self._grid.worse
        for _ in range(ladder.want):
            further = worse[goal]
            if further in {0, -10_000}:
                break
            goal = further
        ladder.goal = goal

    def _fill(self, ladder: Ladder) -> None:
        price = ladder.goal
        if price in {0, -10_000}:
            return
        rng, shape, worse = self._rng, self.shape, self._grid.worse
        fine = len(self._grid.prices) > 400
        found: list[int] = []
        while price not in {0, -10_000} and len(found) < shape.n_levels:
            found.append(price)
            size = self._draw_size(len(found))
            ladder.levels[abs(price)] = size
            steps = 1
            if fine:
                steps += int(rng.expovariate(1.0 / (1 + 0.35 * len(found))))
            elif shape.n_levels < 60:
                steps += int(rng.expovariate(0.9)) if rng.random() < 0.35 else 0
            elif rng.random() > shape.habit.fill:
                steps += 1
            for _ in range(steps):
                if price in {0, -10_000}:
                    break
                price = worse[price]
        ladder.prices = found[::-1]

    def _draw_size(self, rank: int) -> int:
        """A resting size; deeper levels hold somewhat more."""
        shape = self.shape
        contracts = shape.level_median * math.exp(self._rng.gauss(0.1 * min(rank, 8), shape.level_sigma))
        return self._rounded(min(contracts, 3e6))

    def _rounded(self, contracts: float) -> int:
        shape = self.shape
        if shape.whole:
            draw = self._rnd()
            unit = _ONE if draw < shape.whole else (10_000 if draw < shape.whole + 0.9 * (1 - shape.whole) else 100_000)
        else:
            unit = shape.unit if shape.unit == _ONE or self._rnd() < 0.06 else _ONE
        return max(unit, int(contracts * _ONE) // unit * unit)

    # ---------------------------------------------------------------- waking

    def begin(self, truth: Truth, opened_ms: int, rng: random.Random, rate: float) -> None:
        """Start the log and the clock of changes."""
        self._log = truth.open(self.key, opened_ms, self.bids.levels, self.asks.levels)
        self._rng = rng
        self._rnd = rng.random
        self._gap_body, self._gap_tail = gap_scales(self.shape.habit.name, rate)

    @property
    def log(self) -> MarketLog:
        """History of the book."""
        assert self._log is not None
        return self._log

    def gap_us(self) -> int:
        """Time to the next change."""
        if self.burst:
            return int(self._rnd() * self.burst_gap_us)
        at = int(self._rnd() * 2048)
        return int(self._gaps[at] * (self._gap_body if at < self._body else self._gap_tail))

    # ---------------------------------------------------------------- changes

    def fire(self, us: int, out: list[Change]) -> int | None:
        """One change at a time (microseconds); returns when the next is due, None when the market stopped."""
        if self.stopped:
            return None
        self._act(us // 1000, out)
        if self.burst:
            self.burst -= 1
            return us + int(self._rnd() * self.burst_gap_us)
        at = int(self._rnd() * 2048)
        if at < self._body:
            return us + int(self._gaps[at] * self._gap_body)
        if self._excited:
            self._excited -= 1
            return us + int(self._gaps[at] * self._gap_tail * _EXCITED)
        if self._rnd() < _EXCITE:
            self._excited = 80
        return us + int(self._gaps[at] * self._gap_tail)

    def _act(self, ms: int, out: list[Change]) -> None:
        rnd = self._rnd
        ladder = self.bids if rnd() < 0.5 else self.asks
        prices = ladder.prices
        if not prices:
            if ladder.goal not in {0, -10_000}:
                self.put(ladder, ladder.goal, self._draw_size(1), ms, out)
            return
        kind = rnd()
        if kind < self._trade:
            ladder = self.asks if rnd() < self._buyers else self.bids
            prices = ladder.prices
            if not prices:
                return
        best = prices[-1]
        if best != ladder.pinned:
            if kind < self._trade and self._hit(ladder, ms, out):
                return
            if best < ladder.goal:
                if rnd() < _FIX:
                    self.put(ladder, ladder.goal, self._draw_size(1), ms, out)
                    return
            elif best > ladder.goal and rnd() < _RETREAT and len(prices) > _FEWEST:
                self.put(ladder, best, 0, ms, out)
                return
        rank = self._ranks[int(rnd() * 256)]
        n = len(prices)
        if rank >= n:
            rank = int(rnd() * n)
        price = prices[-1 - rank]
        if price == ladder.pinned:
            if n == 1:
                return
            price = prices[-2]
        px = price if price > 0 else -price
        size = ladder.levels[px]
        shape = self.shape
        if kind < self._remove:
            if kind < self._create:
                fresh = self._gap_near(ladder, price)
                if fresh:
                    self.put(ladder, fresh, self._draw_size(rank + 1), ms, out)
                    return
            elif n > _FEWEST and size <= self._small and (rank or rnd() < 0.3):
                self.put(ladder, price, 0, ms, out)
                return
            kind = self._remove + rnd() * (1.0 - self._remove)
        clip = shape.clips[int(rnd() * 256)]
        if size > self._large:
            # Sums of changes wander; large levels are drawn back to the law of sizes.
            if size > 12 * self._large:
                clip = max(clip, size // 16 // shape.unit * shape.unit)
                kind += 0.35
            elif rnd() < 0.05:
                kind = 1.0
        elif size < self._tiny:
            kind = 0.0
        if kind < self._raise:
            new = size + clip
        else:
            new = size - clip
            if new <= 0:
                unit = shape.unit if size % _ONE or size < 2 * _ONE else _ONE
                new = int(size * (0.25 + 0.7 * rnd())) // unit * unit
                if not new:
                    new = size + clip
        if shape.whole and rnd() < shape.whole:
            new -= new % _ONE
        if new == size or not new:
            new = size + _ONE
        ladder.levels[px] = new
        log = self._log
        assert log is not None
        log.add(ms, price, new)
        out.append(
            Change(
                kind=_LEVEL, key=self.key, ts_ms=ms, number=log.number, bid=price > 0, px_e4=px, sz_e6=new,
                delta_e6=new - size,
            )
        )  # fmt: skip

    def _gap_near(self, ladder: Ladder, price: int) -> int:
        """A free price a few steps behind one, 0 when there is none."""
        worse, levels = self._grid.worse, ladder.levels
        for _ in range(4):
            price = worse[price]
            if price in {0, -10_000}:
                return 0
            if abs(price) not in levels:
                return price
        return 0

    def put(self, ladder: Ladder, price: int, size: int, ms: int, out: list[Change]) -> None:
        """Set a level; size 0 removes it."""
        px = price if price > 0 else -price
        before = ladder.levels.get(px, 0)
        if before == size:
            return
        if size:
            ladder.levels[px] = size
            if not before:
                insort(ladder.prices, price)
        else:
            del ladder.levels[px]
            if ladder.prices[-1] == price:
                ladder.prices.pop()
            else:
                del ladder.prices[bisect_left(ladder.prices, price)]
        log = self._log
        assert log is not None
        log.add(ms, price, size)
        out.append(
            Change(
                kind=_LEVEL, key=self.key, ts_ms=ms, number=log.number, bid=price > 0, px_e4=px, sz_e6=size,
                delta_e6=size - before,
            )
        )  # fmt: skip

    def _hit(self, ladder: Ladder, ms: int, out: list[Change]) -> bool:
        """A taker hits this side's best levels; False when there is too little to hit."""
        shape = self.shape
        left = shape.trades[int(self._rnd() * 256)]
        done = False
        while left > 0 and ladder.prices and ladder.prices[-1] != ladder.pinned:
            price = ladder.prices[-1]
            size = ladder.levels[abs(price)]
            taken = min(left, size)
            if taken == size and len(ladder.prices) <= _FEWEST:
                taken = size // 2 // shape.unit * shape.unit
                left = taken
            if taken <= 0:
                break
            self._take(ladder, price, size, taken, ms, out)
            left -= taken
            done = True
        if done and ladder.goal not in {0, -10_000}:
            best = ladder.prices[-1] if ladder.prices else None
            if best is None or (best < ladder.goal and self._rnd() < _REFILL):
                self.put(ladder, ladder.goal, self._draw_size(1), ms, out)
        return done

    def _take(self, ladder: Ladder, price: int, size: int, taken: int, ms: int, out: list[Change]) -> None:
        """A print of ``taken`` at a level, after the change that it makes to the book."""
        self.put(ladder, price, size - taken, ms, out)
        log = self.log
        px = abs(price)
        buys = price < 0
        log.add_print(ms, px, taken, taker_buys=buys)
        self.last_trade = px
        # The upper half of the id is the market's, the lower half the print's: unique without a generator's help.
        tag = f"{self.leg.index:08x}{log.number:012x}{px:04x}{self._rng.getrandbits(32):08x}"
        out.append(
            Change(
                kind=_TRADE, key=self.key, ts_ms=ms, number=log.number, bid=buys, px_e4=px, sz_e6=taken, trade_id=tag
            )
        )

    # ---------------------------------------------------------------- fair price

    def _set_caps(self, fair: float) -> None:
        self.fair = fair
        self.bids.cap, self.asks.cap = self._grid.caps(fair * 10_000)

    def move(self, fair: float, ms: int, out: list[Change]) -> None:
        """The fair price moved: levels beyond it go, the other side may follow."""
        before = (self.bids.cap, self.asks.cap)
        listed = self.leg.listed
        if listed.venue is Venue.POLYMARKET and listed.tick_e4 > 10 and not 0.04 <= fair <= 0.96:
            listed.tick_e4 = 10
            self.bids.want, self.asks.want = self.bids.want * 10, self.asks.want * 10
            self._grid = uniform_grid(10)
            out.append(Change(kind=_TICK, key=self.key, ts_ms=ms, number=self.log.number, tick_e4=10))
        self._set_caps(fair)
        if before == (self.bids.cap, self.asks.cap):
            return
        rnd = self._rnd
        habit = self.shape.habit
        for ladder in (self.bids, self.asks):
            struck = rnd() < habit.calm
            while ladder.prices and ladder.prices[-1] > ladder.cap and ladder.prices[-1] != ladder.pinned:
                price = ladder.prices[-1]
                size = ladder.levels[abs(price)]
                if struck:
                    # The print takes what a print takes; what is left of the level is cancelled in the same instant.
                    taken = min(size, self.shape.trades[int(rnd() * 256)])
                    self._take(ladder, price, size, taken, ms, out)
                self.put(ladder, price, 0, ms, out)
            if not self.shape.spread_e4:
                ladder.want = habit.wants[int(rnd() * len(habit.wants))]
            self._aim(ladder)
        for ladder in (self.bids, self.asks):
            if ladder.goal in {0, -10_000}:
                continue
            best = ladder.prices[-1] if ladder.prices else None
            if best is None or (best < ladder.goal and best != ladder.pinned and rnd() < _REFILL):
                self.put(ladder, ladder.goal, self._draw_size(1), ms, out)

    def shock(self, changes: int) -> None:
        """Begin a burst of that many changes within about ten milliseconds."""
        self.burst += changes
        self.burst_gap_us = max(1.0, 18_000.0 / max(self.burst, 1))

    # ---------------------------------------------------------------- plants

    def pin(self, px_e4: int, size: int, ms: int, out: list[Change], *, bid: bool) -> None:
        """Put a level over the fair price and keep it; the other side gives way."""
        ladder, other = (self.bids, self.asks) if bid else (self.asks, self.bids)
        price = px_e4 if bid else -px_e4
        while other.prices and other.prices[-1] >= -price:
            self.put(other, other.prices[-1], 0, ms, out)
        other.cap = min(other.cap, self._grid.worse[-price])
        self._aim(other)
        if not other.prices and other.goal not in {0, -10_000}:
            self.put(other, other.goal, self._draw_size(1), ms, out)
        self.put(ladder, price, size, ms, out)
        ladder.pinned = price

    def unpin(self, ms: int, out: list[Change]) -> None:
        """Take pinned levels away and let the sides aim anew."""
        for ladder in (self.bids, self.asks):
            if ladder.pinned:
                self.put(ladder, ladder.pinned, 0, ms, out)
                ladder.pinned = 0
        self._set_caps(self.fair)
        self._aim(self.bids)
        self._aim(self.asks)
