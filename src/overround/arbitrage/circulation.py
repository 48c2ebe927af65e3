"""The same profit as a cheapest circulation, where the states lie on a line.

Cut the line into cells, one a state. A leg that holds on the cells ``i .. j - 1`` is an arc between the boundaries ``i``
and ``j``: buying it leads from ``i`` to ``j`` at its price, buying its contrary leads back at that price less one dollar.
A dollar of cash leads over the whole line, and a cell may be paid more than is needed. The cheapest circulation costs
what is earned for sure, with the sign turned, and flows are whole lots because capacities are.

Thresholds, ranges and dates over one measurement are intervals by nature. The sets of a laminar family (a team in a
division in a conference) are intervals too, once the leaves of its tree stand in the order of the tree.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence

import numpy as np

from overround.arbitrage.network import AT_LOWER, IN_TREE, compiled, pivot
from overround.arbitrage.program import Amounts
from overround.arbitrage.quotes import Quote, cost_e10
from overround.fills import USD_ONE_E10
from overround.logic import STATE_LIMIT, Component, states
from overround.market import PX_ONE_E4, SZ_ONE_E6

__all__ = ["Circulation", "Line", "line_of"]

Line = list[tuple[int, int, bool]]
"""By leg: first cell, cell after the last, and whether the leg holds inside (or outside) them."""

_NEVER = USD_ONE_E10 * 4
"""Price of a level that is not there."""
_FREELY = 1 << 40
_CELLS = 2_000_000
"""States times legs among which an order is looked for."""


def line_of(component: Component) -> tuple[int, Line] | None:
    """Cells of a line on which every leg is an interval or the rest of one; None where no order was found.

    Three orders are tried: as enumerated, as a tree's leaves, and by the second eigenvector of the states' common legs,
    which finds the order wherever there is one and it is unique (Atkins, Boman and Hendrickson 1998).
    """
    limit = _CELLS // max(1, len(component.legs))
    listed = None if component.endings or limit < 2 else states(component, limit=min(limit, STATE_LIMIT))
    if listed is None:
        return None
    wins = np.array([[pay == PX_ONE_E4 for pay in state.yes_e4] for state in listed]).reshape(len(listed), -1)
    for order in _orders(wins):
        line = _intervals(wins[order])
        if line is not None:
            return len(listed), line
    return None


def _orders(wins: np.ndarray) -> Iterator[np.ndarray]:
    n = len(wins)
    yield np.arange(n)
    by_size = np.argsort(-wins.sum(0), kind="stable")
    yield np.lexsort(tuple(wins[:, leg] for leg in by_size[::-1]))
    if 2 < n <= 512:
        # Legs that hold in most states are turned round, so that "above" and "below" count alike.
        sets = np.where(wins.sum(0) * 2 > n, ~wins, wins).astype(float)
        common = sets @ sets.T
        yield np.argsort(np.linalg.eigh(np.diag(common.sum(0)) - common)[1][:, 1], kind="stable")


def _intervals(wins: np.ndarray) -> Line | None:
    n = len(wins)
    line: Line = []
    for column in wins.T:
        for holds in (True, False):
            cells = np.flatnonzero(column == holds)
            if not len(cells):
                line.append((0, n, not holds))
                break
            if cells[-1] - cells[0] + 1 == len(cells):
                line.append((int(cells[0]), int(cells[-1]) + 1, holds))
                break
        else:
            return None
    return line


class Circulation:
    """A component on a line, kept solved between ticks.

    Parameters
    ----------
    n_cells : int
    line : list of (int, int, bool)
        As ``line_of`` gives them.
    quotes : sequence of Quote
    depth : int or None
        Levels kept on each side; None takes all that are displayed.
    """

    def __init__(self, n_cells: int, line: Line, quotes: Sequence[Quote], *, depth: int | None = None) -> None:
        self.quotes = list(quotes)
        self.line = line
        self.n_cells = n_cells
        self._depth = depth
        self.solved = 0
        """How often pivots were looked for."""
        self._costs: list[dict[int, int]] = [{} for _ in quotes]
        self._build()

    def _build(self) -> None:
        n = self.n_cells
        self.lot_e6 = max((quote.lot_e6 for quote in self.quotes), default=SZ_ONE_E6)
        most = max((len(side) for quote in self.quotes for side in (quote.yes, quote.no)), default=1)
        self.slots = max(1, most if self._depth is None else self._depth)
        self._first = n + 2
        n_arcs = self._first + 2 * len(self.quotes) * self.slots
        self._tail, self._head = np.zeros(n_arcs, np.int64), np.zeros(n_arcs, np.int64)
        self._cap, self._cost = np.zeros(n_arcs, np.int64), np.full(n_arcs, _NEVER)
        self._tail[:n], self._head[:n], self._cost[:n] = np.arange(1, n + 1), np.arange(n), 0
        dollar = self._per_lot(USD_ONE_E10)
        self._tail[n : n + 2], self._head[n : n + 2], self._cost[n : n + 2] = (n, 0), (0, n), (-dollar, dollar)
        for leg, (first, after, holds) in enumerate(self.line):
            for yes in (True, False):
                arcs = self._arcs_of(leg, yes=yes)
                self._tail[arcs], self._head[arcs] = (first, after) if yes == holds else (after, first)
            self._write(leg)
        self._cap[: self._first] = _FREELY
        self._restart()

    def _restart(self) -> None:
        """Nothing flows; the tree is the line itself, along which cells may be paid too much."""
        n = self.n_cells
        self._flow = np.zeros(len(self._tail), np.int64)
        self._state = np.full(len(self._tail), AT_LOWER, np.int64)
        self._state[:n] = IN_TREE
        nodes = np.arange(n + 1)
        self._parent, self._pred, self._upward = nodes - 1, nodes - 1, np.ones(n + 1, np.int64)
        self._deep, self._potential = nodes.copy(), np.zeros(n + 1, np.int64)
        self._child = np.append(nodes[1:], -1)
        self._after, self._before = np.full(n + 1, -1), np.full(n + 1, -1)
        self._optimal = False

    def _per_lot(self, usd_e10: int) -> int:
        return -(-usd_e10 * self.lot_e6 // SZ_ONE_E6)

    def _arcs_of(self, leg: int, *, yes: bool) -> slice:
        first = self._first + (2 * leg + (not yes)) * self.slots
        return slice(first, first + self.slots)

    def _write(self, leg: int) -> None:
        """A leg's prices and sizes into its arcs."""
        quote, costs = self.quotes[leg], self._costs[leg]
        for yes, levels in ((True, quote.yes[: self.slots]), (False, quote.no[: self.slots])):
            arcs = self._arcs_of(leg, yes=yes)
            back = 0 if yes == self.line[leg][2] else self._per_lot(USD_ONE_E10)
            found = []
            for level in levels:
                cost = costs.get(level.px_e4)
                if cost is None:
                    cost = costs[level.px_e4] = self._per_lot(cost_e10(quote, level.px_e4))
                found.append(cost - back)
            end = arcs.start + len(levels)
            self._cost[arcs.start : end] = found
            self._cap[arcs.start : end] = [level.sz_e6 // self.lot_e6 for level in levels]
            self._cost[end : arcs.stop] = _NEVER
            self._cap[end : arcs.stop] = 0

    def update(self, leg: int, quote: Quote) -> bool:
        """Take over a leg's new quote; False where the present circulation stays the cheapest."""
        before = self.quotes[leg]
        self.quotes[leg] = quote
        if before.fee != quote.fee or before.lot_e6 != quote.lot_e6:
            self._costs = [{} for _ in self.quotes]
            self._build()
            return True
        if self._depth is None and max(len(quote.yes), len(quote.no)) > self.slots:
            self._build()
            return True
        arcs = slice(self._arcs_of(leg, yes=True).start, self._arcs_of(leg, yes=False).stop)
        kept = bool((self._state[arcs] == AT_LOWER).all())
        self._write(leg)
        if not kept:
            # Something of this leg is bought, or prices it: what flows may no longer be for sale.
            self._restart()
            return True
        if not self._optimal:
            return True
        reduced = self._cost[arcs] + self._potential[self._tail[arcs]] - self._potential[self._head[arcs]]
        self._optimal = bool((reduced >= 0).all())
        return not self._optimal

    def solve(self) -> Amounts | None:
        """The best portfolio for the present quotes; None where nothing is certain to be earned."""
        if not self._optimal:
            fast = compiled() or pivot
            n_arcs = len(self._tail)
            steps = fast(
                self._tail, self._head, self._cap, self._cost, self._flow, self._state, self._parent, self._pred,
                self._upward, self._deep, self._potential, self._child, self._after, self._before,
                np.zeros(self.n_cells + 1, np.int64), max(8, int(0.3 * n_arcs**0.5)), 50 * n_arcs + 1_000,
            )  # fmt: skip
            self.solved += 1
            if steps < 0:
                raise RuntimeError(f"a circulation of {n_arcs} arcs did not end")
            self._optimal = True
        bought = np.flatnonzero(self._flow)
        # Python's integers: flows times prices may pass 2**63.
        profit = -sum(map(operator.mul, self._flow[bought].tolist(), self._cost[bought].tolist()))
        if profit <= 0:
            return None
        totals = self._flow[self._first :].reshape(-1, self.slots).sum(1) * self.lot_e6
        return Amounts(tuple(totals[0::2].tolist()), tuple(totals[1::2].tolist()), profit / USD_ONE_E10)
