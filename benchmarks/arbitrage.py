"""Arbitrage: what a tick costs.

    python benchmarks/arbitrage.py retick        50 markets x 5 levels, re-solved after a tick, against scipy's linprog
    python benchmarks/arbitrage.py touched       1,000 markets x 5 levels: the touched component against one LP of all
    python benchmarks/arbitrage.py circulation   375 markets x 10 levels on one line, against HiGHS
    python benchmarks/arbitrage.py latency       from a book's change to a checked certificate

Both sides solve the same numbers in the same run, and their profits are compared before any time is taken.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable, Sequence

import highspy
import numpy as np
import scipy.sparse as sparse
from rounds import Stopwatch, Took, alternate, machine, markdown, median, pin
from scipy.optimize import linprog

from overround.arbitrage import Circulation, Finder, Limits, Program, Quote, line_of
from overround.arbitrage.network import compiled
from overround.book import Level
from overround.logic import Component, Count, Leg, count_rows, ladder, partition
from overround.market import FeeKind, FeeSchedule, MarketId, Venue

FREE = FeeSchedule()
KALSHI = FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07")
LOT = 1_000_000


def groups(
    n: int, levels: int, rng: np.random.Generator, *, mispriced: float = 0.3
) -> tuple[list[list[int]], list[Count], list[Quote]]:
    """Ladders and partitions of 5 to 12 markets; a share of them is mispriced."""
    members: list[list[int]] = []
    counts: list[Count] = []
    quotes: list[Quote] = []
    while len(quotes) < n:
        size = min(int(rng.integers(5, 13)), n - len(quotes))
        places = list(range(len(quotes), len(quotes) + size))
        whole = rng.random() < 0.5
        fair = rng.dirichlet(np.ones(size)) if whole else np.sort(rng.random(size))
        counts += [partition(places)] if whole else ladder(places)
        noise = 0.05 if rng.random() < mispriced else 0.0005
        members.append(places)
        quotes += [quote(float(np.clip(p + rng.normal(0, noise), 0.02, 0.98)), levels, rng) for p in fair]
    return members, counts, quotes


def quote(mid: float, levels: int, rng: np.random.Generator, half: int | None = None) -> Quote:
    half = int(rng.integers(1, 4)) * 50 if half is None else half
    at = round(mid * 1_000) * 10
    sizes = (np.ceil(rng.lognormal(5.5, 1.2, (2, levels))) * LOT).astype(int).tolist()
    asks = [at + half + 100 * i for i in range(levels)]
    nos = [10_000 - at + half + 100 * i for i in range(levels)]
    return Quote(
        yes=tuple(Level(px, sz) for px, sz in zip(asks, sizes[0], strict=True) if 0 < px < 10_000),
        no=tuple(Level(px, sz) for px, sz in zip(nos, sizes[1], strict=True) if 0 < px < 10_000),
    )


def ticked(old: Quote, rng: random.Random) -> Quote:
    """The whole book moves by half a cent."""
    by = rng.choice((-50, 50))
    return Quote(
        yes=tuple(Level(px + by, sz) for px, sz in old.yes if 0 < px + by < 10_000),
        no=tuple(Level(px - by, sz) for px, sz in old.no if 0 < px - by < 10_000),
        fee=old.fee,
    )


def component(n: int, counts: Sequence[Count]) -> Component:
    return Component(
        legs=tuple(Leg(venue=Venue.KALSHI, market_id=MarketId(f"M{i}")) for i in range(n)), counts=tuple(counts)
    )


class Scipy:
    """The same program (worst payoff folded in by duality), handed to linprog whole each time."""

    def __init__(self, whole: Component, quotes: Sequence[Quote], levels: int) -> None:
        n = len(quotes)
        rows, cols, values, cost = [], [], [], []
        self.levels, self.n = levels, n
        column = 2 * n * levels
        for signs, low, high in count_rows(whole):
            for sign, bound in ((1, high), (-1, -low)):
                if bound < sum(max(0, sign * s) for s in signs.values()):
                    rows += list(signs)
                    cols += [column] * len(signs)
                    values += [float(sign * s) for s in signs.values()]
                    cost.append(bound)
                    column += 1
        for leg in range(n):
            rows.append(leg), cols.append(column), values.append(1.0), cost.append(1.0)
            column += 1
        for leg in range(n):
            for yes in (1, 0):
                for slot in range(levels):
                    (
                        rows.append(leg),
                        cols.append((2 * leg + 1 - yes) * levels + slot),
                        values.append(1.0 if yes else -1.0),
                    )
        self.matrix = -sparse.csr_matrix((values, (rows, cols)), (n, column))
        self.cost = np.concatenate([np.zeros(2 * n * levels), cost])
        self.upper = np.full(column, np.inf)
        self.upper[: 2 * n * levels] = 0
        for leg, one in enumerate(quotes):
            self.tick(leg, one)

    def tick(self, leg: int, one: Quote) -> None:
        for yes, side in ((1, one.yes), (0, one.no)):
            first = (2 * leg + 1 - yes) * self.levels
            self.upper[first : first + self.levels] = 0
            for i, (px, sz) in enumerate(side):
                self.cost[first + i] = px / 10_000 - (0 if yes else 1)
                self.upper[first + i] = sz / LOT

    def solve(self) -> float:
        bounds = np.column_stack([np.zeros(len(self.upper)), self.upper])
        return -linprog(self.cost, A_ub=self.matrix, b_ub=np.zeros(self.n), bounds=bounds, method="highs").fun


def profit(found: object) -> float:
    return found.profit_usd if found is not None else 0.0  # type: ignore[attr-defined]


def told(cases: dict[str, list[Took]], against: str, title: str) -> None:
    base = median(one.wall for one in cases[against])
    best = min(one.wall for one in cases[against])
    print(title + "\n")
    print(
        markdown(
            ["case", "microseconds", "ratio of medians", "ratio of bests"],
            [
                [
                    name,
                    f"{median(o.wall for o in runs) * 1e6:,.1f}",
                    f"{base / median(o.wall for o in runs):.1f}",
                    f"{best / min(o.wall for o in runs):.1f}",
                ]
                for name, runs in cases.items()
            ],
        )
    )
    print()


def retick() -> None:
    rng, dice = np.random.default_rng(1), random.Random(1)
    _, counts, quotes = groups(50, 5, rng)
    whole = component(50, counts)
    program, peer = Program(whole, quotes, depth=5), Scipy(whole, quotes, 5)
    assert program.facets
    ticks = [(leg := dice.randrange(50), ticked(quotes[leg], dice)) for _ in range(60)]
    for leg, one in ticks[:25]:
        program.update(leg, one)
        peer.tick(leg, one)
        assert math.isclose(profit(program.solve()), peer.solve(), abs_tol=1e-5)

    def ours() -> Took:
        watch = Stopwatch()
        for leg, one in ticks:
            program.update(leg, one)
            program.solve()
        return watch.per(len(ticks))

    def theirs() -> Took:
        watch = Stopwatch()
        for leg, one in ticks[:20]:
            peer.tick(leg, one)
            peer.solve()
        return watch.per(20)

    took = alternate({"scipy linprog": theirs, "Program: update and solve": ours}, 7)
    told(took, "scipy linprog", "50 markets x 5 levels, one tick, re-solved")


def part_of(legs: Sequence[int], counts: Sequence[Count]) -> Component:
    """The component of these legs alone, numbered from zero."""
    new = {leg: i for i, leg in enumerate(legs)}
    inside = [c for c in counts if c.literals[0].leg in new]
    return component(
        len(legs),
        [
            Count(
                literals=tuple(x._replace(leg=new[x.leg]) for x in c.literals),
                least=c.least,
                most=c.most,
                kind=c.kind,
            )
            for c in inside
        ],
    )


def touched() -> None:
    rng, dice = np.random.default_rng(2), random.Random(2)
    members, counts, quotes = groups(1_000, 5, rng, mispriced=0.05)
    whole = component(1_000, counts)
    peer = Scipy(whole, quotes, 5)
    place = {leg: (i, j) for i, legs in enumerate(members) for j, leg in enumerate(legs)}
    parts: list[Program] = []
    lines: list[Circulation] = []
    for legs in members:
        mine = part_of(legs, counts)
        parts.append(Program(mine, [quotes[leg] for leg in legs], depth=5))
        lines.append(Circulation(*line_of(mine), [quotes[leg] for leg in legs], depth=5))  # type: ignore[misc]
    ticks = [(leg := dice.randrange(1_000), ticked(quotes[leg], dice)) for _ in range(200)]
    for engines in (parts, lines):
        values = [profit(engine.solve()) for engine in engines]
        assert math.isclose(sum(values), peer.solve(), abs_tol=1e-4), (sum(values), peer.solve())

    def run(engines: Sequence[Program | Circulation], *, always: bool) -> Callable[[], Took]:
        def once() -> Took:
            watch = Stopwatch()
            for leg, one in ticks:
                i, j = place[leg]
                if engines[i].update(j, one) or always:
                    engines[i].solve()
            return watch.per(len(ticks))

        return once

    def theirs() -> Took:
        watch = Stopwatch()
        for leg, one in ticks[:3]:
            peer.tick(leg, one)
            peer.solve()
        return watch.per(3)

    cases = {
        "scipy linprog, all in one": theirs,
        "Program of the touched component, always solved": run(parts, always=True),
        "Program of the touched component": run(parts, always=False),
        "Circulation of the touched component": run(lines, always=False),
    }
    took = alternate(cases, 7)
    told(took, "scipy linprog, all in one", f"1,000 markets x 5 levels in {len(members)} components, one tick")


def circulation() -> None:
    rng = np.random.default_rng(3)
    n, levels = 375, 10
    cells = 126
    # Ranges that tile the line, thresholds at each edge, and wider ranges: 375 markets over 126 cells.
    fair = rng.dirichlet(np.ones(cells) * 4)
    intervals = [(i, i + 1) for i in range(cells)] + [(i, cells) for i in range(1, cells)]
    while len(intervals) < n:
        a, b = sorted(rng.integers(0, cells + 1, 2).tolist())
        if b - a > 1:
            intervals.append((a, b))
    quotes = [
        quote(float(np.clip(fair[a:b].sum() + rng.normal(0, 0.004), 0.02, 0.98)), levels, rng, half=100)
        for a, b in intervals
    ]
    line = [(a, b, True) for a, b in intervals]

    def cold() -> Circulation:
        return Circulation(cells, line, quotes, depth=levels)

    # The same program over the 126 states, in columns of levels: what HiGHS gets is built once.
    matrix = np.zeros((n, cells))
    for leg, (a, b) in enumerate(intervals):
        matrix[leg, a:b] = 1
    flowing = cold()
    n_first = flowing._first
    tail, head = flowing._tail, flowing._head
    rows = np.concatenate([tail, head])
    incidence = sparse.csc_matrix(
        (np.concatenate([np.ones(len(tail)), -np.ones(len(head))]), (rows, np.tile(np.arange(len(tail)), 2))),
        (cells + 1, len(tail)),
    )
    upper = flowing._cap.astype(float)
    upper[:n_first] = np.inf
    by_states = sparse.hstack(
        [
            sparse.csc_matrix(
                np.repeat(
                    np.vstack([matrix, 1 - matrix]).reshape(2, n, cells).transpose(1, 0, 2).reshape(2 * n, cells),
                    levels,
                    0,
                ).T
            ),
            -np.ones((cells, 1)),
        ]
    ).tocsc()
    prices = np.zeros(2 * n * levels)
    sizes = np.zeros(2 * n * levels)
    for leg, one in enumerate(quotes):
        for yes, side in ((1, one.yes), (0, one.no)):
            first = (2 * leg + 1 - yes) * levels
            for i, (px, sz) in enumerate(side):
                prices[first + i], sizes[first + i] = px / 10_000, sz // LOT

    def highs(
        matrix_: sparse.csc_matrix,
        cost: np.ndarray,
        cap: np.ndarray,
        low: np.ndarray,
        row_low: float,
        row_high: float,
        *,
        presolve: str,
    ) -> highspy.Highs:
        solver = highspy.Highs()
        for name, value in {"output_flag": False, "threads": 1, "presolve": presolve}.items():
            solver.setOptionValue(name, value)
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = matrix_.shape
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = cost, low, cap
        lp.row_lower_, lp.row_upper_ = np.full(matrix_.shape[0], row_low), np.full(matrix_.shape[0], row_high)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix_.indptr, matrix_.indices, matrix_.data
        solver.passModel(lp)
        return solver

    def of_states(presolve: str = "choose") -> highspy.Highs:
        low = np.zeros(len(prices) + 1)
        low[-1] = -np.inf
        return highs(by_states, np.append(prices, -1.0), np.append(sizes, np.inf), low, 0.0, np.inf, presolve=presolve)

    def of_arcs(presolve: str = "choose") -> highspy.Highs:
        return highs(incidence, flowing._cost / 1e10, upper, np.zeros(len(upper)), 0.0, 0.0, presolve=presolve)

    assert compiled() is not None
    value = profit(flowing.solve())
    for make in (of_states, of_arcs):
        solver = make()
        solver.run()
        assert math.isclose(-solver.getInfo().objective_function_value, value, abs_tol=1e-4), (
            value,
            solver.getInfo().objective_function_value,
        )

    def timed(make: Callable[[], object], repeat: int) -> Callable[[], Took]:
        def once() -> Took:
            took = 0.0
            for _ in range(repeat):
                solver = make()
                start = time.perf_counter()
                solver.solve() if isinstance(solver, Circulation) else solver.run()  # type: ignore[attr-defined]
                took += time.perf_counter() - start
            return Took(took / repeat, took / repeat)

        return once

    cases = {
        "HiGHS, one row a state": timed(of_states, 1),
        "HiGHS, one row a state, no presolve": timed(lambda: of_states("off"), 1),
        "HiGHS on the same network": timed(of_arcs, 3),
        "HiGHS on the same network, no presolve": timed(lambda: of_arcs("off"), 3),
        "Circulation, from nothing": timed(cold, 20),
    }
    took = alternate(cases, 7)
    title = f"375 markets x 10 levels on a line of {cells} cells, earning {value:,.2f} USD, solver time alone"
    told(took, "HiGHS, one row a state", title)
    told(took, "HiGHS on the same network, no presolve", "the same, against HiGHS' best form")


def latency() -> None:
    rng, dice = np.random.default_rng(4), random.Random(4)
    members, counts, quotes = groups(1_000, 10, rng, mispriced=0.1)
    finders, place = [], {}
    for i, legs in enumerate(members):
        place |= {leg: (i, j) for j, leg in enumerate(legs)}
        mine = part_of(legs, counts)
        finders.append(Finder(mine, [quotes[leg] for leg in legs], limits=Limits(), now_ms=0, depth=10))
    for finder in finders:
        finder.find(0)
    took, found = [], []
    for _ in range(4_000):
        leg = dice.randrange(1_000)
        i, j = place[leg]
        one = ticked(quotes[leg], dice)
        start = time.perf_counter()
        finders[i].update(j, one)
        certificate = finders[i].find(0)
        (found if certificate is not None else took).append((time.perf_counter() - start) * 1e6)
    for name, runs in (("with nothing to find", took), ("to a checked certificate", found)):
        runs.sort()
        print(
            f"a tick {name}: {len(runs)} times, p50 {runs[len(runs) // 2]:,.0f} us, p99 {runs[len(runs) * 99 // 100]:,.0f} us, worst {runs[-1]:,.0f} us"
        )


if __name__ == "__main__":
    pin(1)
    print(machine("highspy", "scipy", "numba", "numpy") + "\n")
    for name in sys.argv[1:] or ("retick", "touched", "circulation", "latency"):
        {"retick": retick, "touched": touched, "circulation": circulation, "latency": latency}[name]()
