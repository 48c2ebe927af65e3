"""The checker: believes no number of a certificate, solves nothing and reads no rules.

It enumerates the states anew from the constraints, walks the levels, and adds and compares integers. What it cannot show
it refuses.
"""

from __future__ import annotations

from collections.abc import Sequence

from overround.fills import USD_ONE_E10, fee_bound, order_rounding_e10
from overround.logic import (
    Certificate,
    Component,
    Confidence,
    Contradiction,
    Grade,
    Outcome,
    Purchase,
    Release,
    State,
    branch_endings,
    is_network,
    sealed,
    states,
)
from overround.market import PX_ONE_E4, FeeKind, FeeSchedule, Integrity

__all__ = [
    "BIPS_ONE",
    "LEG_LIMIT",
    "NO_FRACTION",
    "YEAR_MS",
    "check",
    "conditions_of",
    "conversion_fee_e10",
    "grade_of",
    "payoff_e10",
    "release_e10",
    "yearly_e6",
]

BIPS_ONE = 10_000
YEAR_MS = 365 * 86_400_000
LEG_LIMIT = 1_000
"""More legs are not looked at: a checker must answer in seconds, whatever it is given."""


NO_FRACTION = "no market of it is settled at a fraction"
"""A condition of constraints under which fractions can pay less than every ordinary state; see ``logic.hull``."""


def check(certificate: Certificate) -> list[str]:
    """What is wrong with a certificate; empty when it proves what it says.

    What it takes on trust is listed in it: the constraints' premises and the displayed levels.
    """
    wrong: list[str] = []
    if certificate.version != 1:
        return [f"version {certificate.version} is unknown"]
    component = certificate.component
    n = len(component.legs)
    if n > LEG_LIMIT or sum(len(count.literals) for count in component.counts) > 100 * LEG_LIMIT:
        return [f"too large to look at: {n} legs, {len(component.counts)} constraints"]
    if certificate != sealed(certificate):
        wrong.append("something was altered: the digest is another one")
    if not _sound(component):
        return ["the constraints are malformed"]
    if not certificate.purchases:
        return ["nothing is bought"]
    orders = [(purchase.leg, purchase.yes) for purchase in certificate.purchases]
    if len(set(orders)) != len(orders) or any(not 0 <= leg < n for leg, _ in orders):
        return ["an outcome is bought twice, or is none of the legs"]
    cost = fees = 0
    for purchase in certificate.purchases:
        wrong += [f"leg {purchase.leg}: {what}" for what in _walk(purchase, certificate)]
        cost += sum(level.px_e4 * level.taken_e6 for level in purchase.levels)
        fees += sum(level.fee_e10 for level in purchase.levels) + purchase.rounding_e10
    times = [purchase.book_ts_ms for purchase in certificate.purchases]
    if max(times) - min(times) > certificate.max_apart_ms:
        wrong.append(f"the books are {max(times) - min(times)} ms apart")

    try:
        listed = states(component)
    except Contradiction as exc:
        return [str(exc)]
    if listed is None:
        return ["too many states to look at each"]
    expected = [_outcome(state, certificate.purchases) for state in listed]
    if sorted(map(_key, expected)) != sorted(map(_key, certificate.states)):
        wrong.append("the states or their payoffs are not those of the constraints")
    payoffs = [outcome.payoff_e10 for outcome in certificate.states]
    least = min(outcome.payoff_e10 for outcome in expected)
    if least not in payoffs or certificate.worst != payoffs.index(least):
        wrong.append("the worst state is another one")
    released = 0
    for release in certificate.releases:
        back, kept = (
            release_e10(release, certificate.purchases),
            conversion_fee_e10(release, certificate.purchases, listed),
        )
        if (release.cash_e10, release.fee_e10) != (back, kept) or not _exclusive(component, release):
            wrong.append(f"collateral of legs {list(release.legs)}: {release.cash_e10} given back, {back} due")
        released += back
        fees += kept
    taken = [leg for release in certificate.releases for leg in release.legs]
    if len(taken) != len(set(taken)):
        wrong.append("collateral is given back twice")
    settles = [purchase.settles_ts_ms for purchase in certificate.purchases]
    last = None if None in settles else max(ts for ts in settles if ts is not None)
    profit, capital = least - cost - fees, cost + fees - released
    for name, due in {
        "cost_e10": cost,
        "fee_e10": fees,
        "payoff_e10": least,
        "profit_e10": profit,
        "capital_e10": capital,
        "settles_ts_ms": last,
        "return_e6": yearly_e6(profit, capital, certificate.found_ts_ms, last),
    }.items():
        said = getattr(certificate, name)
        if said != due:
            wrong.append(f"{name} is {said}, and should be {due}")
    if profit <= 0:
        wrong.append(f"it earns {profit / USD_ONE_E10:.4f} USD in its worst state")
    conditions, grade = conditions_of(component), grade_of(component)
    if set(certificate.conditions) != set(conditions) or certificate.grade is not grade:
        wrong.append(
            f"it is called {certificate.grade} if {list(certificate.conditions)}; it is {grade} if {list(conditions)}"
        )
    premises = {count.premise for count in component.counts if count.premise}
    if premises != set(certificate.premises):
        wrong.append("the premises are not those of the constraints")
    return wrong


def conditions_of(component: Component) -> tuple[str, ...]:
    """What has to hold for the constraints to hold, and for their states to be all there are.

    An ending that the words name is one of the states, or it is a condition that it does not come.
    """
    said = dict.fromkeys(what for count in component.counts for what in count.conditions)
    here = {ending.name for ending in component.endings}
    left = [f"not {ending.name}" for ending in branch_endings(component) if ending.name not in here]
    return (*said, *left, *(() if is_network(component) else (NO_FRACTION,)))


def grade_of(component: Component) -> Grade:
    """How far what follows from the constraints may be relied on."""
    if any(count.confidence is Confidence.DOUBTFUL for count in component.counts):
        return Grade.REVIEW
    certain = all(count.confidence is Confidence.CERTAIN for count in component.counts)
    return Grade.PROVED if certain and not conditions_of(component) else Grade.CONDITIONAL


def _sound(component: Component) -> bool:
    n = len(component.legs)
    said = {ending.name: set(ending.pays) for ending in branch_endings(component)}
    return (
        all(
            0 <= count.least <= count.most <= len(count.literals) and all(0 <= x.leg < n for x in count.literals)
            for count in component.counts
        )
        and all(
            0 <= leg < n and 0 <= least <= most <= PX_ONE_E4
            for ending in component.endings
            for leg, least, most in ending.pays
        )
        and all(set(ending.pays) == said.get(ending.name, set(ending.pays)) for ending in component.endings)
    )


def _walk(purchase: Purchase, certificate: Certificate) -> list[str]:
    """What is wrong with one order."""
    wrong: list[str] = []
    if not _readable(purchase.fee):
        return [f"its fees cannot be read: {purchase.fee.taker_rate[:20]!r}"]
    before = None
    last_px = 0
    for level in purchase.levels:
        if not last_px < level.px_e4 < PX_ONE_E4:
            return [*wrong, f"a level at {level.px_e4} after one at {last_px}"]
        if not 0 < level.taken_e6 <= level.sz_e6:
            return [*wrong, f"{level.taken_e6} taken of {level.sz_e6}"]
        # A level may keep a remainder under a lot; all else is taken before the next price is paid.
        if before is not None and before.sz_e6 - before.taken_e6 >= purchase.lot_e6:
            wrong.append(f"{level.px_e4} is paid while {before.px_e4} is still offered")
        due = fee_bound(purchase.fee, px_e4=level.px_e4, sz_e6=level.taken_e6, ts_ms=purchase.book_ts_ms)
        if due is None or level.fee_e10 != due:
            wrong.append(f"fee {level.fee_e10}, due is {due}")
        before, last_px = level, level.px_e4
    contracts, cost = purchase.contracts_e6, sum(level.px_e4 * level.taken_e6 for level in purchase.levels)
    if purchase.lot_e6 <= 0 or contracts <= 0 or contracts % purchase.lot_e6:
        wrong.append(f"{contracts} is no whole number of lots of {purchase.lot_e6}")
    if contracts < purchase.min_contracts_e6 or cost < purchase.min_cost_e10:
        wrong.append("the order is smaller than the venue takes")
    if purchase.rounding_e10 != order_rounding_e10(purchase.fee):
        wrong.append(f"rounding {purchase.rounding_e10}, due is {order_rounding_e10(purchase.fee)}")
    age = certificate.found_ts_ms - purchase.book_ts_ms
    if not 0 <= age <= certificate.max_age_ms:
        wrong.append(f"its book is {age} ms old")
    if purchase.integrity in {Integrity.STALE, Integrity.GAP, Integrity.SUSPECT}:
        wrong.append(f"its book is {purchase.integrity}")
    if purchase.fee.kind is FeeKind.UNKNOWN:
        wrong.append("its fees are of an unknown kind")
    return wrong


def _readable(fee: FeeSchedule) -> bool:
    """Whether a schedule's texts are plain short numbers: a checker must not be kept busy by what it is given."""
    texts = (fee.taker_rate, fee.maker_rate, fee.multiplier)
    return all(len(text) <= 12 and text.replace(".", "", 1).isdecimal() for text in texts) and 0 <= fee.exponent <= 8


def payoff_e10(state: State, purchases: tuple[Purchase, ...]) -> int:
    """What a portfolio pays in a state, exactly."""
    return sum(
        (state.yes_e4 if purchase.yes else state.no_e4)[purchase.leg] * purchase.contracts_e6 for purchase in purchases
    )


def _outcome(state: State, purchases: tuple[Purchase, ...]) -> Outcome:
    pays = tuple(zip(state.yes_e4, state.no_e4, strict=True))
    return Outcome(name=state.name, pays_e4=pays, payoff_e10=payoff_e10(state, purchases))


def _key(outcome: Outcome) -> tuple[object, ...]:
    return outcome.name, outcome.pays_e4, outcome.payoff_e10


def release_e10(release: Release, purchases: tuple[Purchase, ...]) -> int:
    """Collateral due back: of contraries over an exclusive set all but the largest holding, a dollar each."""
    held = [purchase.contracts_e6 for purchase in purchases if not purchase.yes and purchase.leg in release.legs]
    return (sum(held) - max(held, default=0)) * (BIPS_ONE - release.fee_bips) * PX_ONE_E4 // BIPS_ONE


def conversion_fee_e10(release: Release, purchases: tuple[Purchase, ...], listed: Sequence[State]) -> int:
    """The most that a conversion keeps in any state: its share of what the contraries would have paid."""
    held = tuple(purchase for purchase in purchases if not purchase.yes and purchase.leg in release.legs)
    return -(-max(payoff_e10(state, held) for state in listed) * release.fee_bips // BIPS_ONE)


def _exclusive(component: Component, release: Release) -> bool:
    """Whether at most one leg of the set wins, and for a conversion exactly one."""
    if not 0 <= release.fee_bips <= (BIPS_ONE if release.converts else 0):
        return False
    return any(
        count.most <= 1
        and (count.least == 1 or not release.converts)
        and set(release.legs) <= {literal.leg for literal in count.literals if literal.holds}
        and (all(literal.holds for literal in count.literals) or not release.converts)
        for count in component.counts
    )


def yearly_e6(profit_e10: int, capital_e10: int, found_ts_ms: int, settles_ts_ms: int | None) -> int | None:
    """Profit per dollar locked as a yearly rate, millionths rounded down."""
    if settles_ts_ms is None or settles_ts_ms <= found_ts_ms or capital_e10 <= 0:
        return None
    return profit_e10 * 1_000_000 * YEAR_MS // (capital_e10 * (settles_ts_ms - found_ts_ms))
