"""From a solver's amounts to a certificate that the checker accepts, in exact numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from overround.arbitrage.check import (
    LEG_LIMIT,
    YEAR_MS,
    check,
    conditions_of,
    conversion_fee_e10,
    grade_of,
    payoff_e10,
    release_e10,
    yearly_e6,
)
from overround.arbitrage.closed import forms_of
from overround.arbitrage.program import Amounts
from overround.arbitrage.quotes import ExclusiveSet, Limits, Quote
from overround.book import Level
from overround.fills import USD_ONE_E10, fee_bound, order_rounding_e10
from overround.logic import (
    Certificate,
    Component,
    Grade,
    Literal,
    Outcome,
    Purchase,
    Release,
    State,
    Walked,
    branch_endings,
    extraordinary,
    project,
    sealed,
    states,
)

__all__ = ["certify"]


def certify(
    component: Component,
    quotes: Sequence[Quote],
    amounts: Amounts,
    *,
    now_ms: int,
    limits: Limits,
    sets: Sequence[ExclusiveSet] = (),
    charged: bool = False,
) -> Certificate | None:
    """The proof of a portfolio, or None where there is none.

    The constraints that go into it are as few as carry the profit: one of them, those among the legs bought, those on the
    ways between them, all. Where the words name endings besides, it has to earn in them, too; one in which it does not
    becomes a condition.
    """
    bought = {
        Literal(leg, yes)
        for yes, all_e6 in ((True, amounts.yes_e6), (False, amounts.no_e6))
        for leg, n in enumerate(all_e6)
        if n
    }
    best: Certificate | None = None
    for places, part in _parts(component, sorted({x.leg for x in bought})):
        if states(part) is None:
            continue
        found = _write(part, places, quotes, amounts, now_ms, limits, sets, charged=charged)
        if found is None:
            continue
        sure = found.grade is Grade.PROVED or not limits.proved_only
        if best is None or (sure, found.profit_e10) > (best.grade is Grade.PROVED, best.profit_e10):
            best = found
            rounding = sum(purchase.rounding_e10 for purchase in found.purchases)
            if sure and found.profit_e10 + rounding >= 0.9999 * amounts.profit_usd * USD_ONE_E10:
                break
    if best is None or best.profit_e10 < limits.least_profit_e10 or check(best):
        return None
    return best


def _parts(component: Component, legs: list[int]) -> Iterator[tuple[list[int], Component]]:
    """Ever more of the component, with the places of its legs."""
    bought = project(component, legs)
    whole = [count for count in bought.counts if len({x.leg for x in count.literals}) == len(legs) > 1]
    for count in whole if len(bought.counts) > 1 else ():
        yield legs, msgspec.structs.replace(bought, counts=(count,))
    yield legs, bought
    for places in _circles(component, legs):
        if len(places) <= LEG_LIMIT:
            yield places, project(component, places)


def _circles(component: Component, legs: list[int]) -> list[list[int]]:
    """Ever more legs: those on shortest ways between the ones bought, all."""
    beside: dict[int, set[int]] = {}
    for count in component.counts:
        members = {x.leg for x in count.literals}
        for leg in members:
            beside.setdefault(leg, set()).update(members)
    on_way = set(legs)
    # Only the ways from the first leg: they tie all others together.
    came = {legs[0]: legs[0]} if legs else {}
    reached = list(came)
    for leg in reached:
        for other in sorted(beside.get(leg, ())):
            if other not in came:
                came[other] = leg
                reached.append(other)
    for leg in legs:
        while leg in came and leg != came[leg]:
            on_way.add(leg)
            leg = came[leg]
    circles = [sorted(on_way), list(range(len(component.legs)))]
    return [circle for i, circle in enumerate(circles) if circle not in [legs, *circles[:i]]]


def _write(
    part: Component,
    places: Sequence[int],
    quotes: Sequence[Quote],
    amounts: Amounts,
    now_ms: int,
    limits: Limits,
    sets: Sequence[ExclusiveSet],
    *,
    charged: bool,
) -> Certificate | None:
    purchases = []
    for leg, place in enumerate(places):
        for yes, wanted in ((True, amounts.yes_e6[place]), (False, amounts.no_e6[place])):
            if wanted:
                order = _order(leg, yes, wanted, quotes[place])
                if order is None:
                    return None
                purchases.append(order)
    all_bought = tuple(purchases)
    cost = sum(level.px_e4 * level.taken_e6 for order in purchases for level in order.levels)
    fees = sum(sum(level.fee_e10 for level in order.levels) + order.rounding_e10 for order in purchases)
    earns = [
        ending for ending in branch_endings(part) if payoff_e10(extraordinary(part, ending), all_bought) > cost + fees
    ]
    part = msgspec.structs.replace(part, endings=(*part.endings, *earns))
    listed = states(part)
    assert listed is not None
    outcomes = tuple(
        Outcome(
            name=state.name,
            pays_e4=tuple(zip(state.yes_e4, state.no_e4, strict=True)),
            payoff_e10=payoff_e10(state, all_bought),
        )
        for state in listed
    )
    worst = min(range(len(outcomes)), key=lambda i: outcomes[i].payoff_e10)
    payoff = outcomes[worst].payoff_e10
    if payoff <= cost + fees:
        return None
    settles = [order.settles_ts_ms for order in purchases]
    last = None if None in settles else max(ts for ts in settles if ts is not None)
    worth = None if last is None or not charged else limits.base_rate_e6 / 1e6 * max(0, last - now_ms) / YEAR_MS
    releases = _releases(part, places, all_bought, sets, listed, worth)
    if payoff <= cost + fees + sum(release.fee_e10 for release in releases):
        releases = tuple(release for release in releases if not release.fee_e10)
    fees += sum(release.fee_e10 for release in releases)
    capital = cost + fees - sum(release.cash_e10 for release in releases)
    return sealed(
        Certificate(
            found_ts_ms=now_ms,
            grade=grade_of(part),
            forms=forms_of(part, {Literal(order.leg, order.yes) for order in purchases}),
            component=part,
            purchases=all_bought,
            releases=releases,
            states=outcomes,
            worst=worst,
            cost_e10=cost,
            fee_e10=fees,
            payoff_e10=payoff,
            profit_e10=payoff - cost - fees,
            capital_e10=capital,
            settles_ts_ms=last,
            return_e6=yearly_e6(payoff - cost - fees, capital, now_ms, last),
            base_rate_e6=limits.base_rate_e6,
            premises=tuple(dict.fromkeys(count.premise for count in part.counts if count.premise)),
            conditions=conditions_of(part),
            max_age_ms=limits.max_age_ms,
            max_apart_ms=limits.max_apart_ms,
        )
    )


def _order(leg: int, yes: bool, wanted_e6: int, quote: Quote) -> Purchase | None:  # noqa: FBT001 - a literal's two halves
    """Walk a ladder from its best price, in whole lots of each level; None when it does not hold so much."""
    walked = []
    left = wanted_e6
    levels: Sequence[Level] = quote.yes if yes else quote.no
    for level in levels:
        taken = min(left, level.sz_e6 // quote.lot_e6 * quote.lot_e6)
        if taken:
            fee = fee_bound(quote.fee, px_e4=level.px_e4, sz_e6=taken, ts_ms=quote.ts_ms)
            if fee is None:
                return None
            walked.append(Walked(px_e4=level.px_e4, sz_e6=level.sz_e6, taken_e6=taken, fee_e10=fee))
            left -= taken
    if left:
        return None
    return Purchase(
        leg=leg,
        yes=yes,
        outcome_id=quote.outcome_ids[0 if yes else 1],
        levels=tuple(walked),
        rounding_e10=order_rounding_e10(quote.fee),
        fee=quote.fee,
        lot_e6=quote.lot_e6,
        min_contracts_e6=quote.min_contracts_e6,
        min_cost_e10=quote.min_cost_e10,
        book_ts_ms=quote.ts_ms,
        integrity=quote.integrity,
        settles_ts_ms=quote.settles_ts_ms,
    )


def _releases(
    part: Component,
    places: Sequence[int],
    purchases: tuple[Purchase, ...],
    sets: Sequence[ExclusiveSet],
    listed: Sequence[State],
    worth: float | None,
) -> tuple[Release, ...]:
    """Collateral that comes back at once, one set after the other.

    ``worth`` is what a dollar earns that comes back, None where it is not charged for: then a conversion that costs
    anything is left to whoever needs the money.
    """
    new = {place: leg for leg, place in enumerate(places)}
    whole = [
        {x.leg for x in c.literals} for c in part.counts if c.least == c.most == 1 and all(x.holds for x in c.literals)
    ]
    exclusive = [{x.leg for x in count.literals if x.holds} for count in part.counts if count.most <= 1]
    found = []
    for one in sets:
        members = {new[leg] for leg in one.legs if leg in new}
        legs = tuple(sorted({order.leg for order in purchases if not order.yes} & members))
        fits = members in whole if one.converts else any(set(legs) <= among for among in exclusive)
        if len(legs) < 2 or not fits:
            continue
        premise = (
            f"neg-risk conversion, which keeps {one.fee_bips / 100:g} %"
            if one.converts
            else "collateral of mutually exclusive contraries"
        )
        bare = Release(legs=legs, premise=premise, cash_e10=0, converts=one.converts, fee_bips=one.fee_bips)
        release = msgspec.structs.replace(
            bare,
            cash_e10=release_e10(bare, purchases),
            fee_e10=conversion_fee_e10(bare, purchases, listed),
        )
        if not release.fee_e10 or release.fee_e10 < release.cash_e10 * (worth or 0.0):
            found.append(release)
    return tuple(found)
