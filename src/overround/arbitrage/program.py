"""The largest profit that is certain, as a linear program over every displayed level.

Columns are purchases, in lots, at each level of both outcomes of each leg. What the portfolio pays in its worst state
enters in one of two ways:

- *by facets*: where the constraints describe the 0/1 states' convex hull exactly (network matrices: ladders, deadline
  and touch grids, single sets and partitions, unions that share no more than a ladder does), the worst payoff is itself
  a linear program, whose dual is folded in: one row a leg, one multiplier a constraint;
- *by states*: one row for each state, all of them where they are few, else those that an integer program finds worst,
  one at a time, until the worst one is already there.

The model stays alive between ticks. A change of a leg's book changes costs and bounds of that leg's columns, and HiGHS
goes on from its last basis. Where nothing could be earned, the row duals are prices that no offer beats; a change that
leaves them unbeaten needs no solution at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from overround.arbitrage.oracle import model, silent, worst_wins
from overround.arbitrage.quotes import ExclusiveSet, Quote, cost_e10
from overround.fills import USD_ONE_E10, order_rounding_e10
from overround.logic import Component, State, count_rows, extraordinary, is_network, normal_states, ordinary, states
from overround.market import PX_ONE_E4, SZ_ONE_E6

__all__ = ["Amounts", "Program", "by_facets"]

_TOLERANCE_USD = 1e-7
_LAZY_ROUNDS = 100
_LAZY_START = 64
_CELLS = 200_000
"""States times legs that are written out at most."""


class Amounts(NamedTuple):
    """Contracts of each leg's outcomes, in millionths, and the solver's own word on what they earn."""

    yes_e6: tuple[int, ...]
    no_e6: tuple[int, ...]
    profit_usd: float


def by_facets(component: Component) -> bool:
    """Whether the worst payoff can be folded in by duality: the constraints alone describe the hull of the states."""
    return not component.endings and is_network(component)


class Program:
    """One component's program, kept alive between ticks.

    Parameters
    ----------
    component : Component
    quotes : sequence of Quote
        One for each leg.
    sets : sequence of ExclusiveSet
        Where money can be had back early; matters only if ``charge`` is positive.
    budget_usd : float or None
    charge : float
        What a dollar that stays locked until settlement has to earn.
    depth : int or None
        Levels kept on each side; None takes all that are displayed.
    """

    def __init__(
        self,
        component: Component,
        quotes: Sequence[Quote],
        *,
        sets: Sequence[ExclusiveSet] = (),
        budget_usd: float | None = None,
        charge: float = 0.0,
        depth: int | None = None,
        facets: bool | None = None,
    ) -> None:
        self.component = component
        self.quotes = list(quotes)
        self.lot_e6 = max((quote.lot_e6 for quote in quotes), default=SZ_ONE_E6)
        self.lot = self.lot_e6 / SZ_ONE_E6
        self.facets = by_facets(component) if facets is None else facets
        self._sets = sets if charge > 0 else ()
        self._budget, self._charge, self._depth = budget_usd, charge, depth
        self._costs: list[dict[int, float]] = [{} for _ in quotes]
        self.solved = 0
        """How often the solver ran."""
        listed = None if self.facets else states(component, limit=max(_LAZY_START, _CELLS // max(1, len(quotes))))
        self._lazy = listed is None and not self.facets
        self._rows = [] if self.facets else list(listed or self._first_states())
        self._build()

    def _first_states(self) -> list[State]:
        first: list[State] = []
        for wins in normal_states(self.component, steps=_LAZY_START * (len(self.component.legs) + 8)):
            if wins is None or len(first) == _LAZY_START:
                break
            first.append(ordinary(wins))
        return [*first, *(extraordinary(self.component, ending) for ending in self.component.endings)]

    # --- the model ---

    def _build(self) -> None:
        n = len(self.quotes)
        most = max((len(side) for quote in self.quotes for side in (quote.yes, quote.no)), default=1)
        self.slots = max(1, self._depth if self._depth is not None else most)
        self._columns: list[list[tuple[int, float]]] = []
        self._dirty: set[int] = set()
        self._fair: list[float] | None = None
        self._back: dict[int, float] = {}
        self._n_orders = 2 * n * self.slots
        self._gross, self._outlay = [0.0] * self._n_orders, [0.0] * self._n_orders
        rows_of_legs = n if self.facets else len(self._rows)
        self._budget_row = rows_of_legs
        self._row_lower = [0.0] * rows_of_legs
        self._row_upper = [math.inf] * rows_of_legs
        self._row_lower.append(-math.inf)
        self._row_upper.append(math.inf if self._budget is None else self._budget)
        for leg in range(n):
            for yes in (1.0, 0.0):
                entry = self._paid({leg: (yes, 1.0 - yes)})
                self._columns += [list(entry) for _ in range(self.slots)]
        self._objective, self._upper = [0.0] * self._n_orders, [0.0] * self._n_orders
        if self.facets:
            self._add_multipliers()
        else:
            self._columns.append([(row, -1.0) for row in range(len(self._rows))])
            self._objective.append(1.0)
            self._upper.append(math.inf)
        for one in self._sets:
            self._add_releases(one)
        self._lower = [0.0] * len(self._columns)
        if not self.facets:
            self._lower[self._n_orders] = -math.inf
        for leg in range(n):
            self._price(leg)
        if self._budget is not None:
            for column in range(self._n_orders):
                self._columns[column].append((self._budget_row, self._outlay[column]))
        self._highs = silent(presolve="off")
        model(
            self._highs, costs=self._objective, lower=self._lower, upper=self._upper, columns=self._columns,
            row_lower=self._row_lower, row_upper=self._row_upper,
        )  # fmt: skip

    def _paid(self, held: dict[int, tuple[float, float]], cash: float = 0.0) -> list[tuple[int, float]]:
        """Entries of a column that adds contracts (yes, no) of some legs and cash."""
        if self.facets:
            return [(leg, (yes - no) * self.lot) for leg, (yes, no) in held.items() if yes != no]
        entries = []
        for row, state in enumerate(self._rows):
            pays = sum(yes * state.yes_e4[leg] + no * state.no_e4[leg] for leg, (yes, no) in held.items()) / PX_ONE_E4
            if pays + cash:
                entries.append((row, (pays + cash) * self.lot))
        return entries

    def _sure(self, held: dict[int, tuple[float, float]], cash: float = 0.0) -> float:
        """What a column earns whatever happens, where the rows do not say it."""
        return (sum(no for _, no in held.values()) + cash) * self.lot if self.facets else 0.0

    def _add_multipliers(self) -> None:
        """The dual of the worst payoff: a multiplier for each side of each count, and for each leg being at most one."""
        sides = []
        for signs, low, high in count_rows(self.component):
            if high < sum(max(0, sign) for sign in signs.values()):
                sides.append((signs, high))
            if low > sum(min(0, sign) for sign in signs.values()):
                sides.append(({leg: -sign for leg, sign in signs.items()}, -low))
        sides += [({leg: 1}, 1) for leg in range(len(self.quotes))]
        for coefficients, bound in sides:
            self._columns.append([(leg, float(sign)) for leg, sign in coefficients.items()])
            self._objective.append(-bound)
            self._upper.append(math.inf)

    def _add_releases(self, one: ExclusiveSet) -> None:
        """Conversions, merges and netting: what they give back now need not be charged for."""
        n_rows = len(self._row_lower)
        if not one.converts:
            # Collateral back: the sum of the contraries less the most of any; the position itself stays.
            for i, leg in enumerate(one.legs):
                for column in self._slots_of(leg, 0):
                    self._columns[column].append((n_rows + i, -1.0))
                    self._back[column] = self._charge
            self._add_rows(len(one.legs))
            self._columns.append([(n_rows + i, 1.0) for i in range(len(one.legs))])
            self._objective.append(-self._charge * self.lot)
            self._upper.append(math.inf)
            return
        # What is given away must be held: a row for each outcome of each leg.
        self._add_rows(2 * len(one.legs))
        held_row = {leg: (n_rows + 2 * i, n_rows + 2 * i + 1) for i, leg in enumerate(one.legs)}
        for leg, (yes_row, no_row) in held_row.items():
            for row, yes in ((yes_row, 1), (no_row, 0)):
                for column in self._slots_of(leg, yes):
                    self._columns[column].append((row, 1.0))
        left = 1.0 - one.fee_bips / 10_000
        merges = [({leg: (-1.0, -1.0)}, 1.0) for leg in one.legs]
        converts = [
            ({other: (left, 0.0) if other != leg else (0.0, -1.0) for other in one.legs}, 0.0) for leg in one.legs
        ]
        for change, cash in merges + converts:
            taken = [
                (row, amount)
                for leg, amounts in change.items()
                for row, amount in zip(held_row[leg], amounts, strict=True)
                if amount
            ]
            self._columns.append([*self._paid(change, cash), *taken])
            self._objective.append(self._sure(change, cash) + self._charge * cash * self.lot)
            self._upper.append(math.inf)

    def _add_rows(self, n: int) -> None:
        self._row_lower += [0.0] * n
        self._row_upper += [math.inf] * n

    def _slots_of(self, leg: int, yes: int) -> range:
        first = (2 * leg + 1 - yes) * self.slots
        return range(first, first + self.slots)

    # --- ticks ---

    def _price(self, leg: int) -> range:
        """Write a leg's costs and sizes into its columns."""
        quote, costs = self.quotes[leg], self._costs[leg]
        for yes, levels in ((1, quote.yes), (0, quote.no)):
            columns = self._slots_of(leg, yes)
            sure = self.lot if self.facets and not yes else 0.0
            for column, level in zip(columns, levels, strict=False):
                cost = costs.get(level.px_e4)
                if cost is None:
                    cost = costs[level.px_e4] = cost_e10(quote, level.px_e4) / USD_ONE_E10
                self._gross[column] = cost * (1 + self._charge) - self._back.get(column, 0.0)
                self._objective[column] = sure - self._gross[column] * self.lot
                self._upper[column] = level.sz_e6 // self.lot_e6
                self._outlay[column] = cost * self.lot
            for column in columns[len(levels) :]:
                self._upper[column] = 0.0
        return range(2 * leg * self.slots, 2 * (leg + 1) * self.slots)

    def update(self, leg: int, quote: Quote) -> bool:
        """Take over a leg's new quote; False where nothing can have appeared, so that no solution is due."""
        before = self.quotes[leg]
        self.quotes[leg] = quote
        if before.fee != quote.fee or before.lot_e6 != quote.lot_e6:
            self._costs[leg] = {}
            self.lot_e6 = max(each.lot_e6 for each in self.quotes)
            self.lot = self.lot_e6 / SZ_ONE_E6
            self._build()
            return True
        if self._depth is None and max(len(quote.yes), len(quote.no)) > self.slots:
            self._build()
            return True
        columns = self._price(leg)
        self._dirty.update(columns)
        if self._fair is None:
            return True
        for yes, levels in ((1, quote.yes), (0, quote.no)):
            first = self._slots_of(leg, yes)[0]
            cheapest = min((self._gross[first + i] for i in range(min(len(levels), self.slots))), default=math.inf)
            if cheapest < self._fair[2 * leg + 1 - yes] - 1e-9:
                return True
        return False

    def solve(self) -> Amounts | None:
        """The best portfolio for the present quotes; None where nothing is certain to be earned."""
        self._push()
        for _ in range(_LAZY_ROUNDS):
            self._highs.run()
            self.solved += 1
            profit = self._highs.getInfo().objective_function_value
            if not math.isfinite(profit) or profit <= _TOLERANCE_USD:
                self._keep_fair()
                return None
            self._fair = None
            values = self._highs.getSolution().col_value
            found = self._amounts(values, profit)
            if not self._lazy or not self._add_worst(found):
                return found
        return None

    def _push(self) -> None:
        """Tell the solver what changed since it last ran."""
        if not self._dirty:
            return
        columns = np.array(sorted(self._dirty), np.int32)
        n = len(columns)
        self._highs.changeColsCost(n, columns, np.array([self._objective[c] for c in columns]))
        self._highs.changeColsBounds(n, columns, np.zeros(n), np.array([self._upper[c] for c in columns], float))
        if self._budget is not None:
            for column in columns:
                self._highs.changeCoeff(self._budget_row, int(column), self._outlay[column])
        self._dirty.clear()

    def _keep_fair(self) -> None:
        """Prices that no offer beats: each first level's cost and what it lacks to be worth buying."""
        duals = self._highs.getSolution().col_dual
        self._fair = [self._gross[first] + duals[first] / self.lot for first in range(0, self._n_orders, self.slots)]

    def _amounts(self, values: Sequence[float], profit: float) -> Amounts:
        totals = [
            int(sum(values[first : first + self.slots]) + 1e-6) * self.lot_e6
            for first in range(0, self._n_orders, self.slots)
        ]
        return Amounts(tuple(totals[0::2]), tuple(totals[1::2]), profit)

    def _add_worst(self, found: Amounts) -> bool:
        """Add the portfolio's worst state; False when the program knew it already."""
        wins = worst_wins(self.component, found.yes_e6, found.no_e6)
        if wins is None:
            return False
        state = ordinary(wins)
        if state in self._rows:
            return False
        self._rows.append(state)
        if self._sets:
            self._build()
        else:
            self._add_state(state)
        return True

    def _add_state(self, state: State) -> None:
        """One row more, from the present basis on."""
        row = len(self._row_lower)
        self._add_rows(1)
        paid = [pay / PX_ONE_E4 * self.lot for both in zip(state.yes_e4, state.no_e4, strict=True) for pay in both]
        columns = [order * self.slots + slot for order, pay in enumerate(paid) if pay for slot in range(self.slots)]
        values = [paid[column // self.slots] for column in columns] + [-1.0]
        columns.append(self._n_orders)
        for column, value in zip(columns, values, strict=True):
            self._columns[column].append((row, value))
        self._highs.addRow(0.0, math.inf, len(columns), np.array(columns, np.int32), np.array(values))

    def solve_whole(self, *, time_limit_s: float = 2.0) -> Amounts | None:
        """The best portfolio in whole lots that keeps to the smallest orders, by integer program."""
        self._push()
        columns = [list(column) for column in self._columns]
        objective, upper, lower = list(self._objective), list(self._upper), list(self._lower)
        row_lower, row_upper = list(self._row_lower), list(self._row_upper)
        whole = list(range(self._n_orders))
        for order in range(2 * len(self.quotes)):
            quote = self.quotes[order // 2]
            slots = range(order * self.slots, (order + 1) * self.slots)
            place, row = len(columns), len(row_lower)
            least = -(-quote.min_contracts_e6 // self.lot_e6)
            most = sum(upper[column] for column in slots)
            entries = [(row, -float(least)), (row + 1, most), (row + 2, -quote.min_cost_e10 / USD_ONE_E10)]
            for column in slots:
                px = (quote.no if order % 2 else quote.yes)[column - slots[0]].px_e4 if upper[column] else 0
                columns[column] += [(row, 1.0), (row + 1, -1.0), (row + 2, px / PX_ONE_E4 * self.lot)]
            columns.append(entries)
            objective.append(-order_rounding_e10(quote.fee) / USD_ONE_E10)
            upper.append(1.0)
            lower.append(0.0)
            row_lower += [0.0] * 3
            row_upper += [math.inf] * 3
            whole.append(place)
        highs = silent(time_limit=time_limit_s)
        model(
            highs, costs=objective, lower=lower, upper=upper, columns=columns, row_lower=row_lower,
            row_upper=row_upper, whole=whole,
        )  # fmt: skip
        highs.run()
        profit = highs.getInfo().objective_function_value
        if not math.isfinite(profit) or profit <= _TOLERANCE_USD:
            return None
        return self._amounts(highs.getSolution().col_value, profit)
