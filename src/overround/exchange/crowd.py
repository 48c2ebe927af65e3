"""One market of single orders whose every parameter is known: makers, takers, news, and those who knew them before.

A fair price walks by news and by what informed takers know. Makers come at random times, stand so many ticks off the fair
price or join the best, and leave by chance (some soon), or when the fair price has passed them, if they are wary. Takers
take at random times; a share of them knows where the fair price will go within the next two minutes. Who is left on the
wrong side of the fair price is taken by a sniper a moment later.

All that is drawn is drawn in the order of the market's own events and depends on no order: with an order of one's own in
the book the same makers and takers come at the same times, want the same, and find another book.
"""

from __future__ import annotations

import heapq
import math
import random
from typing import NamedTuple

import msgspec

from overround.exchange.matching import Match, MatchingBook, Order
from overround.market import PX_ONE_E4, SZ_ONE_E6

__all__ = ["Crowd", "CrowdSpec", "Printed"]

_ALL_E6 = 10**6 * SZ_ONE_E6
_LEAST_E4, _MOST_E4 = 600, 9_400
_DRIFT_AT_S = (2.0, 10.0, 30.0, 90.0)
"""When what an informed taker knew becomes the fair price, a quarter each."""
_SNIPED_AFTER_S = 1.0


class CrowdSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a market is like.

    Attributes
    ----------
    seed : int
    fair : float
        At the start, probability.
    tick_e4 : int
    joins_per_min : float
        Makers' orders, both sides together.
    join_sz, take_sz : float
        Mean contracts of a maker's order and of a taker's.
    lifetime_s : float
        Mean, of those that are not fleeting.
    fleeting : float
        Share of makers' orders that stay a tenth as long: cancels then fall on the young.
    off_ticks : int
        Between the fair price and the nearest maker.
    spread_out : float
        Mean ticks that makers stand behind that.
    followers : float
        Share of makers who join the best price, whatever the fair one.
    wary : float
        Share of makers who leave when the fair price passes them.
    takes_per_h : float
    modest : float
        Share of takers who take no more than the best price shows; the others reach about as far as makers spread out.
    informed : float
        Share of takers who know.
    knows_e4 : float
        How far the fair price then goes their way.
    news_per_h, news_e4 : float
        Jumps of the fair price, and their standard deviation.
    taker_rate : str
        Of ``p (1 - p)``, a taker's fee.
    edge_e4 : float
        What a sniper wants beyond it.
    """

    seed: int
    fair: float = 0.5
    tick_e4: int = 100
    joins_per_min: float = 4.0
    join_sz: float = 60.0
    lifetime_s: float = 300.0
    fleeting: float = 0.3
    off_ticks: int = 1
    spread_out: float = 1.0
    followers: float = 0.3
    wary: float = 0.7
    takes_per_h: float = 60.0
    take_sz: float = 40.0
    modest: float = 0.3
    informed: float = 0.2
    knows_e4: float = 100.0
    news_per_h: float = 10.0
    news_e4: float = 60.0
    taker_rate: str = "0"
    edge_e4: float = 50.0

    @classmethod
    def drawn(cls, seed: int) -> CrowdSpec:
        """Some market: quiet or busy, honest or not, tight or wide."""
        rng = random.Random(f"crowd/{seed}")

        def between(low: float, high: float) -> float:
            return low * math.exp(math.log(high / low) * rng.random())

        fine = rng.random() < 0.3
        return cls(
            seed=seed,
            fair=rng.uniform(0.15, 0.85),
            tick_e4=10 if fine else 100,
            joins_per_min=between(3, 16),
            join_sz=between(20, 200),
            lifetime_s=between(120, 1200),
            fleeting=rng.uniform(0, 0.7),
            off_ticks=rng.randrange(4, 20) if fine else rng.randrange(1, 4),
            spread_out=between(2, 10) if fine else between(0.5, 3),
            followers=rng.uniform(0, 0.6),
            wary=rng.uniform(0.3, 0.95),
            takes_per_h=between(10, 200),
            take_sz=between(10, 150),
            modest=rng.uniform(0, 0.6),
            informed=rng.uniform(0, 0.5),
            knows_e4=between(50, 250),
            news_per_h=between(1, 30),
            news_e4=between(30, 150),
            taker_rate=rng.choice(["0", "0.02", "0.07"]),
            edge_e4=between(20, 200),
        )


class Printed(NamedTuple):
    """A print: one maker's order, as Kalshi tells them, with that order."""

    ts_ms: int
    px_e4: int
    sz_e6: int
    buys: bool
    order: Order


class Crowd:
    """One market in time.

    Parameters
    ----------
    spec : CrowdSpec
    start_ms : int

    Attributes
    ----------
    book : MatchingBook
    fair_e4 : float
    n_changes, changed_ms : int
        Changes of the book so far, and when the last was.
    prints : list of Printed
        Since the start, or since whoever reads them cleared the list.
    """

    def __init__(self, spec: CrowdSpec, start_ms: int) -> None:
        self.spec = spec
        self.book = MatchingBook()
        self.fair_e4 = spec.fair * PX_ONE_E4
        self.n_changes, self.changed_ms = 0, start_ms
        self.prints: list[Printed] = []
        self._now = start_ms
        self._heap: list[tuple[float, int, str, object]] = []
        self._n = 0
        # Streams of their own: none is drawn from more often because another found a different book.
        self._rngs = {what: random.Random(f"{spec.seed}/{what}") for what in ("join", "take", "news", "snipe")}
        for what in ("join", "take", "news"):
            self._plan(what, start_ms)
        for _ in range(int(spec.joins_per_min * spec.lifetime_s / 60)):
            self._join(start_ms, None)

    def advance(self, now_ms: int) -> None:
        """Let happen what happens until then."""
        heap = self._heap
        while heap and heap[0][0] <= now_ms:
            at, _, what, about = heapq.heappop(heap)
            self._now = int(at)
            if what in {"join", "take", "news"}:
                self._plan(what, at)
            getattr(self, f"_{what}")(at, about)
        self._now = now_ms

    def place(self, order: Order) -> None:
        """Somebody's order, now."""
        self._printed(self.book.place(order), buys=order.bid)
        self._changed()

    def cancel(self, order: Order) -> None:
        """Take it back."""
        if self.book.cancel(order):
            self._changed()

    # -- inside -------------------------------------------------------------------------------------------

    def _note(self, at: float, what: str, about: object = None) -> None:
        self._n += 1
        heapq.heappush(self._heap, (at, self._n, what, about))

    def _plan(self, what: str, at: float) -> None:
        spec = self.spec
        per_h = {"join": spec.joins_per_min * 60, "take": spec.takes_per_h, "news": spec.news_per_h}[what]
        self._note(at + self._rngs[what].expovariate(per_h) * 3_600_000, what)

    def _join(self, at: float, about: object) -> None:  # noqa: ARG002 - all events are alike
        spec, rng = self.spec, self._rngs["join"]
        bid, follows, wary = rng.random() < 0.5, rng.random() < spec.followers, rng.random() < spec.wary
        behind = int(rng.expovariate(1 / spec.spread_out))
        sz = _contracts(rng, spec.join_sz)
        stays_s = rng.expovariate(1 / spec.lifetime_s) * (0.1 if rng.random() < spec.fleeting else 1.0)
        tick, sign = spec.tick_e4, 1 if bid else -1
        px = self.book.best(bids=bid) if follows else 0
        if not px:
            near = (self.fair_e4 - sign * spec.off_ticks * tick) / tick
            px = (math.floor(near) if bid else math.ceil(near)) * tick - sign * behind * tick
        order = Order(bid=bid, px_e4=min(max(px, tick), PX_ONE_E4 - tick), sz_e6=sz, wary=wary)
        self.place(order)
        if order.left_e6:
            self._note(at + stays_s * 1000, "leave", order)

    def _leave(self, at: float, about: object) -> None:  # noqa: ARG002
        assert isinstance(about, Order)
        self.cancel(about)

    def _take(self, at: float, about: object) -> None:  # noqa: ARG002
        spec, rng = self.spec, self._rngs["take"]
        buys, knows, sz = rng.random() < 0.5, rng.random() < spec.informed, _contracts(rng, spec.take_sz)
        modest, reach = rng.random() < spec.modest, int(rng.expovariate(1 / spec.spread_out))
        best, sign = self.book.best(bids=not buys), 1 if buys else -1
        if modest and best:
            sz = min(sz, self.book.levels(bids=not buys)[best])
        limit = best + sign * reach * spec.tick_e4
        self._printed(self.book.take(buys=buys, sz_e6=sz, limit_e4=limit), buys=buys)
        if knows:
            for later_s in _DRIFT_AT_S:
                quarter = (1 if buys else -1) * spec.knows_e4 / len(_DRIFT_AT_S)
                self._note(at + later_s * 1000, "drift", quarter)

    def _drift(self, at: float, about: object) -> None:
        assert isinstance(about, float)
        self._move(at, about)

    def _news(self, at: float, about: object) -> None:  # noqa: ARG002
        self._move(at, self._rngs["news"].gauss(0.0, self.spec.news_e4))

    def _move(self, at: float, by_e4: float) -> None:
        self.fair_e4 = min(max(self.fair_e4 + by_e4, _LEAST_E4), _MOST_E4)
        for bids in (True, False):
            bound = math.floor(self.fair_e4) if bids else math.ceil(self.fair_e4)
            for order in self.book.orders(bids=bids, better_than_e4=bound):
                if order.wary:
                    self.cancel(order)
        self._note(at + self._rngs["snipe"].expovariate(1 / _SNIPED_AFTER_S) * 1000, "snipe")

    def _snipe(self, at: float, about: object) -> None:  # noqa: ARG002
        spec = self.spec
        cost_e4 = float(spec.taker_rate) * self.fair_e4 * (1 - self.fair_e4 / PX_ONE_E4) + spec.edge_e4
        for buys in (True, False):
            limit = math.floor(self.fair_e4 - cost_e4) if buys else math.ceil(self.fair_e4 + cost_e4)
            self._printed(self.book.take(buys=buys, sz_e6=_ALL_E6, limit_e4=limit), buys=buys)

    def _printed(self, matches: list[Match], *, buys: bool) -> None:
        for order, sz_e6 in matches:
            self.prints.append(Printed(self._now, order.px_e4, sz_e6, buys, order))
            self._changed()

    def _changed(self) -> None:
        self.n_changes += 1
        self.changed_ms = self._now


def _contracts(rng: random.Random, mean: float) -> int:
    """Whole contracts, a few large orders among many small ones."""
    return max(1, round(mean * rng.lognormvariate(-0.32, 0.8))) * SZ_ONE_E6
