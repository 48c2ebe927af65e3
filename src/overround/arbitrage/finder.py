"""What changes on a book, and what can be earned since: one component at a time.

A component on a line is kept as a circulation, every other one as a program. Only what a tick touches is looked at
again, and only where its new offers beat the prices that the last solution left.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from overround.arbitrage.certify import certify
from overround.arbitrage.circulation import Circulation, line_of
from overround.arbitrage.closed import best_bundles
from overround.arbitrage.network import compiled
from overround.arbitrage.program import Amounts, Program
from overround.arbitrage.quotes import ExclusiveSet, Limits, Quote, unusable
from overround.fills import USD_ONE_E10
from overround.logic import Certificate, Component, Grade

__all__ = ["Finder"]

_YEAR_MS = 365 * 86_400_000
_BUNDLES = 16
_FEW_LEGS = 12
"""Portfolios of so few legs are proved whole, or not at all."""


class Finder:
    """The findings of one component.

    Parameters
    ----------
    component : Component
    quotes : sequence of Quote
        One for each leg.
    limits : Limits
    now_ms : int
        The time from which capital is charged for, if at all.
    sets : sequence of ExclusiveSet
    charge_capital : bool
        Whether a dollar that stays locked has to earn the base rate, too.
    depth : int or None
        Levels looked at on each side; None takes all.
    """

    def __init__(
        self,
        component: Component,
        quotes: Sequence[Quote],
        *,
        limits: Limits,
        now_ms: int,
        sets: Sequence[ExclusiveSet] = (),
        charge_capital: bool = False,
        depth: int | None = None,
    ) -> None:
        self.component, self.limits, self.sets = component, limits, tuple(sets)
        self.quotes = list(quotes)
        charge = 0.0
        known = [quote.settles_ts_ms for quote in quotes if quote.settles_ts_ms is not None]
        if charge_capital and known:
            charge = limits.base_rate_e6 / 1e6 * max(0, max(known) - now_ms) / _YEAR_MS
        plain = limits.budget_e10 is None and not charge and compiled() is not None
        line = line_of(component) if plain else None
        self.engine: Program | Circulation
        if line is not None:
            self.engine = Circulation(*line, quotes, depth=depth)
        else:
            budget = None if limits.budget_e10 is None else limits.budget_e10 / 1e10
            self.engine = Program(component, quotes, sets=self.sets, budget_usd=budget, charge=charge, depth=depth)
        self._charged = charge_capital
        self._due = True
        self.refused: dict[int, str] = {}
        """Legs left out since their last tick, and why."""
        self.withheld: Certificate | None = None
        """What the last look found that holds only under conditions, where that is not asked for."""

    def update(self, leg: int, quote: Quote) -> None:
        """Take over a leg's new quote."""
        self.quotes[leg] = quote
        self.refused.pop(leg, None)
        self._due |= self.engine.update(leg, quote)

    def seen(self, leg: int, ts_ms: int) -> None:
        """A leg's book is known to have stood unchanged until then."""
        quote = self.quotes[leg]
        if ts_ms > quote.ts_ms:
            quote = msgspec.structs.replace(quote, ts_ms=ts_ms)
            if leg in self.refused:
                self.update(leg, quote)
            else:
                self.quotes[leg] = quote

    def find(self, now_ms: int) -> Certificate | None:
        """The best finding on the present books, checked; None where there is none.

        Legs whose books are not fit to be believed are left out until their next tick; ``refused`` says why.
        """
        if not self._due:
            return None
        self.withheld = None
        while True:
            amounts = self.engine.solve()
            self._due = amounts is not None
            if amounts is None:
                return None
            unfit = unusable(self._used(amounts), self.limits, now_ms=now_ms)
            if not unfit:
                break
            self.refused.update(unfit)
            for leg in unfit:
                self.engine.update(leg, msgspec.structs.replace(self.quotes[leg], yes=(), no=()))
        found = self._certify(amounts, now_ms)
        if found is None and self._too_small(amounts):
            whole = self._program().solve_whole()
            found = None if whole is None else self._certify(whole, now_ms)
        if found is None and (self.withheld is not None or len(self._used(amounts)) > _FEW_LEGS):
            found = self._largest_bundle(now_ms)
        return found

    def _too_small(self, amounts: Amounts) -> bool:
        """Whether an order of the portfolio is smaller than its venue takes."""
        for quote, *both in zip(self.quotes, amounts.yes_e6, amounts.no_e6, strict=True):
            for levels, wanted in zip((quote.yes, quote.no), both, strict=True):
                cost, left = 0, wanted
                for px_e4, sz_e6 in levels:
                    cost += px_e4 * min(left, sz_e6)
                    left -= min(left, sz_e6)
                if wanted and (wanted < quote.min_contracts_e6 or cost < quote.min_cost_e10):
                    return True
        return False

    def _largest_bundle(self, now_ms: int) -> Certificate | None:
        """Where the whole is too large to be proved state by state: the best of the well-known cases that is not."""
        closed = sorted(best_bundles(self.component, self.engine.quotes), key=lambda one: -one.profit_e10)
        for bundle, contracts_e6, profit_e10 in closed[:_BUNDLES]:
            yes, no = ([0] * len(self.quotes) for _ in range(2))
            for leg, holds in bundle.literals:
                (yes if holds else no)[leg] += contracts_e6
            amounts = Amounts(tuple(yes), tuple(no), profit_e10 / USD_ONE_E10)
            if not unusable(self._used(amounts), self.limits, now_ms=now_ms):
                found = self._certify(amounts, now_ms)
                if found is not None:
                    return found
        return None

    def _used(self, amounts: Amounts) -> dict[int, Quote]:
        both = zip(self.quotes, amounts.yes_e6, amounts.no_e6, strict=True)
        return {leg: quote for leg, (quote, yes, no) in enumerate(both) if yes or no}

    def _program(self) -> Program:
        """The engine that knows smallest orders, on the same quotes."""
        if isinstance(self.engine, Program):
            return self.engine
        return Program(self.component, self.engine.quotes)

    def _certify(self, amounts: Amounts, now_ms: int) -> Certificate | None:
        found = certify(
            self.component,
            self.quotes,
            amounts,
            now_ms=now_ms,
            limits=self.limits,
            sets=self.sets,
            charged=self._charged,
        )
        if found is not None and self.limits.proved_only and found.grade is not Grade.PROVED:
            self.withheld, found = found, None
        return found
