"""The well-known cases, each a formula: what they find, a program must find too.

Every side of a count gives one. The literals of ``at least k hold`` pay k together; the contraries of ``at most k of n
hold`` pay n - k. Whoever gets such a bundle for less cannot lose. The names:

- ``dutch_book``: every leg of an exhaustive set, for less than a dollar;
- ``rebalancing``: the contrary of every leg of an exclusive set of n, for less than n - 1;
- ``monotonic_ladder``: the contrary of a strict leg and the loose one that it implies;
- ``equivalent``, ``complement``, ``union``, ``joint``, ``exactly``: the bundle of that relation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from overround.arbitrage.quotes import Quote, cost_e10
from overround.book import Level
from overround.fills import USD_ONE_E10
from overround.logic import Component, Count, Literal
from overround.market import SZ_ONE_E6

__all__ = ["Bundle", "Found", "best_bundles", "bundles", "forms_of"]

_LOWER = {"partition": "dutch_book", "exhaustive": "dutch_book", "implies": "monotonic_ladder"}
_UPPER = {"partition": "rebalancing", "exclusive": "rebalancing"}
_PAIRS_LIMIT = 4_096


class Bundle(NamedTuple):
    """Outcomes that pay at least ``sets`` dollars together, one contract of each."""

    form: str
    literals: tuple[Literal, ...]
    sets: int


class Found(NamedTuple):
    """A bundle that costs less than it pays: how much of it, and what it earns before an order's rounding."""

    bundle: Bundle
    contracts_e6: int
    profit_e10: int


def bundles(component: Component) -> Iterator[Bundle]:
    """Every bundle that one count, or a chain of implications, gives."""
    for count in component.counts:
        yield from _sides(count)
    yield from _chains(component)


def _sides(count: Count) -> Iterator[Bundle]:
    if count.least > 0:
        yield Bundle(_LOWER.get(count.kind, count.kind), count.literals, count.least)
    n = len(count.literals)
    if count.most < n:
        contrary = tuple(Literal(x.leg, not x.holds) for x in count.literals)
        yield Bundle(_UPPER.get(count.kind, count.kind), contrary, n - count.most)


def _chains(component: Component) -> Iterator[Bundle]:
    """What implications imply together."""
    follows: dict[Literal, list[Literal]] = {}
    for count in component.counts:
        if count.kind == "implies":
            a, b = count.literals
            follows.setdefault(Literal(a.leg, not a.holds), []).append(b)
    made = 0
    for first, level in follows.items():
        seen = {first, *level}
        while level := [x for x in dict.fromkeys(y for x in level for y in follows.get(x, ())) if x not in seen]:
            for last in level:
                seen.add(last)
                yield Bundle("monotonic_ladder", (Literal(first.leg, not first.holds), last), 1)
                made += 1
                if made == _PAIRS_LIMIT:
                    return


def best_bundles(component: Component, quotes: Sequence[Quote]) -> list[Found]:
    """Bundles that cost less than they pay, each walked as deep as it earns."""
    found = []
    for bundle in bundles(component):
        amount, profit = _walk([_offers(quotes[x.leg], x) for x in bundle.literals], bundle.sets)
        if profit > 0:
            found.append(Found(bundle, amount, profit))
    return found


def _offers(quote: Quote, literal: Literal) -> list[tuple[int, int]]:
    levels: Iterable[Level] = quote.yes if literal.holds else quote.no
    return [
        (cost_e10(quote, level.px_e4), level.sz_e6 // quote.lot_e6 * quote.lot_e6)
        for level in levels
        if level.sz_e6 >= quote.lot_e6
    ]


def _walk(offers: Sequence[list[tuple[int, int]]], sets: int) -> tuple[int, int]:
    """Buy one of each while that costs less than it pays."""
    places = [0] * len(offers)
    left = [levels[0][1] if levels else 0 for levels in offers]
    amount = profit = 0
    while all(place < len(levels) for place, levels in zip(places, offers, strict=True)):
        gain = sets * USD_ONE_E10 - sum(levels[place][0] for place, levels in zip(places, offers, strict=True))
        if gain <= 0:
            break
        step = min(left)
        amount += step
        profit += step * gain // SZ_ONE_E6
        for i, levels in enumerate(offers):
            left[i] -= step
            if not left[i]:
                places[i] += 1
                left[i] = levels[places[i]][1] if places[i] < len(levels) else 0
    return amount, profit


def forms_of(component: Component, bought: set[Literal]) -> tuple[str, ...]:
    """Names of the cases whose bundle a portfolio contains."""
    return tuple(sorted({bundle.form for bundle in bundles(component) if bought >= set(bundle.literals)}))
