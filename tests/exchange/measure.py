"""Statistics of a generated stream, measured the way `recordings/statistics.md` measured the real ones."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import pairwise
from statistics import mean, pvariance

from overround.exchange.generator import GeneratedSource
from overround.exchange.model import ChangeKind


def quantile(values: list, share: float):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


class Measured:
    """Follows some markets of a source with books of its own."""

    def __init__(self, source: GeneratedSource, keys: list[str]) -> None:
        self.keys = set(keys)
        self.books = {k: tuple(map(dict, source.levels(k))) for k in keys}
        self.start_ms = self.end_ms = source.spec.now_ms
        self.times: dict[str, list[int]] = {k: [] for k in keys}
        self.actions: Counter[str] = Counter()
        self.distance: Counter[int] = Counter()
        self.sizes: list[int] = []
        self.trades: list[int] = []
        self.taker_yes = 0
        self.spread_time: Counter[int] = Counter()
        self.since = dict.fromkeys(keys, self.start_ms)
        self.levels_per_side: list[int] = []
        self.best_sizes: list[int] = []
        self.totals: list[int] = []
        self.crossed = 0
        self.off_best: Counter[str] = Counter()

    def take(self, changes) -> None:
        for c in changes:
            if c.key not in self.keys:
                continue
            if c.kind is ChangeKind.TRADE:
                self.trades.append(c.sz_e6)
                self.taker_yes += c.bid
                continue
            if c.kind is not ChangeKind.LEVEL:
                continue
            bids, asks = self.books[c.key]
            self.spread_time[self._spread(bids, asks)] += c.ts_ms - self.since[c.key]
            self.since[c.key] = c.ts_ms
            side = bids if c.bid else asks
            before = side.get(c.px_e4, 0)
            assert before + c.delta_e6 == c.sz_e6 >= 0
            if side:
                best = max(side) if c.bid else min(side)
                self.distance[(best - c.px_e4 if c.bid else c.px_e4 - best) // 100] += 1
            self.actions[
                "create" if not before else "remove" if not c.sz_e6 else "raise" if c.delta_e6 > 0 else "lower"
            ] += 1
            if c.sz_e6:
                side[c.px_e4] = c.sz_e6
            else:
                del side[c.px_e4]
            if bids and asks and max(bids) >= min(asks):
                self.crossed += 1
            self.times[c.key].append(c.ts_ms)
            self.sizes.append(abs(c.delta_e6))

    def sample(self, now_ms: int) -> None:
        """Look at every book at one instant."""
        self.end_ms = now_ms
        for bids, asks in self.books.values():
            for side, best in ((bids, max(bids, default=0)), (asks, min(asks, default=0))):
                self.levels_per_side.append(len(side))
                if side:
                    self.best_sizes.append(side[best])
            self.totals.append(sum(bids.values()) + sum(asks.values()))

    @staticmethod
    def _spread(bids: dict[int, int], asks: dict[int, int]) -> int:
        return (min(asks) - max(bids)) if bids and asks else -1

    def seconds(self) -> list[int]:
        """Changes in each second of each market."""
        counts: list[int] = []
        n = (self.end_ms - self.start_ms) // 1000
        for stamps in self.times.values():
            per = Counter((ts - self.start_ms) // 1000 for ts in stamps)
            counts += [per.get(s, 0) for s in range(n)]
        return counts

    def worst_within(self, window_ms: int) -> int:
        """Most changes of one market within a window."""
        worst = 0
        for stamps in self.times.values():
            begin = 0
            for at, ts in enumerate(stamps):
                while ts - stamps[begin] >= window_ms:
                    begin += 1
                worst = max(worst, at - begin + 1)
        return worst

    def gaps(self) -> list[int]:
        return [b - a for stamps in self.times.values() for a, b in pairwise(stamps)]

    def report(self) -> dict[str, object]:
        n = sum(self.actions.values())
        seconds = self.seconds()
        gaps = sorted(self.gaps())
        held = sum(self.spread_time.values())
        lives = [len(t) / ((self.end_ms - self.start_ms) / 1000) for t in self.times.values()]
        bands = Counter()
        for cents, count in self.distance.items():
            bands[
                "improves"
                if cents < 0
                else str(cents)
                if cents <= 3
                else "4-10"
                if cents <= 10
                else "11-19"
                if cents <= 19
                else "20+"
            ] += count
        m = mean(gaps) if gaps else 0
        return {
            "deltas": n,
            "rate": {q: round(quantile(lives, q), 2) for q in (0.05, 0.5, 0.95, 0.999)},
            "second": {q: quantile(seconds, q) for q in (0.5, 0.75, 0.9, 0.95, 0.99, 1.0)},
            "empty": round(seconds.count(0) / len(seconds), 3),
            "var/mean": round(pvariance(seconds) / mean(seconds), 1),
            "burst10ms": self.worst_within(10),
            "burst100ms": self.worst_within(100),
            "gap": {q: quantile(gaps, q) for q in (0.05, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)},
            "gap<1ms": round(bisect_left(gaps, 1) / len(gaps), 3),
            "gap<10ms": round(bisect_left(gaps, 10) / len(gaps), 3),
            "cv": round(pvariance(gaps) ** 0.5 / m, 2),
            "action": {k: round(v / n, 3) for k, v in self.actions.items()},
            "distance": {k: round(v / n, 3) for k, v in sorted(bands.items())},
            "spread": {k: round(v / held, 4) for k, v in self.spread_time.most_common(8)},
            "levels": {q: quantile(self.levels_per_side, q) for q in (0.05, 0.5, 0.95, 1.0)},
            "best_size": {q: quantile(self.best_sizes, q) / 1e6 for q in (0.05, 0.5, 0.95)},
            "total": quantile(self.totals, 0.5) / 1e6,
            "size": {q: quantile(self.sizes, q) / 1e6 for q in (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)},
            "fractional": round(sum(1 for s in self.sizes if s % 1_000_000) / n, 3),
            "deltas/trade": round(n / max(1, len(self.trades)), 1),
            "trade": {q: quantile(self.trades, q) / 1e6 for q in (0.05, 0.5, 0.95, 1.0)} if self.trades else None,
            "taker_yes": round(self.taker_yes / max(1, len(self.trades)), 2),
            "crossed": self.crossed,
        }
