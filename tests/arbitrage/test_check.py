from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from overround.arbitrage import ExclusiveSet, Finder, Limits, Quote, check
from overround.arbitrage.check import NO_FRACTION
from overround.book import Level
from overround.fills import USD_ONE_E10
from overround.logic import (
    Certificate,
    Component,
    Confidence,
    Ending,
    Grade,
    Leg,
    Paid,
    exclusive,
    implies,
    joint,
    ladder,
    partition,
    sealed,
)
from overround.market import FeeKind, FeeSchedule, Integrity, MarketId, Venue

NOW = 1_790_000_000_000
DAY = 86_400_000
LOT = 1_000_000
FEES = {
    "kalshi": FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07"),
    "polymarket": FeeSchedule(kind=FeeKind.POLYMARKET_CURVE, taker_rate="0.05"),
}


def component(n: int, *counts, endings=()) -> Component:
    flat = [c for each in counts for c in (each if isinstance(each, list) else [each])]
    return Component(
        legs=tuple(Leg(venue=Venue.KALSHI, market_id=MarketId(f"M{i}")) for i in range(n)),
        counts=tuple(flat),
        endings=endings,
    )


def in_a_game(found: Component, *branches: tuple[Paid, ...]) -> Component:
    """The same legs, of one event, with what their words pay in branches."""
    legs = tuple(
        msgspec.structs.replace(leg, event_id="G", branches=paid)
        for leg, paid in zip(found.legs, branches, strict=True)
    )
    return msgspec.structs.replace(found, legs=legs)


def quote(yes: list[tuple[int, int]], no: list[tuple[int, int]], **known) -> Quote:
    sides = [tuple(Level(px, sz * LOT) for px, sz in side) for side in (yes, no)]
    return Quote(
        yes=sides[0],
        no=sides[1],
        **{"ts_ms": NOW - 500, "settles_ts_ms": NOW + 30 * DAY, "fee": FEES["kalshi"], **known},
    )


def finding(found: Component, quotes: list[Quote], now_ms: int = NOW, **known) -> Certificate | None:
    return Finder(found, quotes, limits=known.pop("limits", Limits()), now_ms=now_ms, **known).find(now_ms)


def dutch_book(**known) -> Certificate:
    quotes = [
        quote([(2_000, 100), (2_200, 300)], [(8_200, 50)], **known), quote([(2_500, 250), (2_600, 400)], [(7_700, 50)], **known),
        quote([(4_000, 500)], [(6_200, 50)], **known),
    ]  # fmt: skip
    found = finding(component(3, partition(range(3), premise="a tie market is listed")), quotes)
    assert found is not None
    return found


def rebalancing() -> Certificate:
    quotes = [
        quote([(5_000, 10)], [(5_200, 80), (5_300, 90)]),
        quote([(3_900, 10)], [(6_300, 200)]),
        quote([(2_400, 9)], [(7_800, 200)]),
    ]
    found = finding(component(3, exclusive(range(3))), quotes, sets=[ExclusiveSet(legs=(0, 1, 2))])
    assert found is not None
    return found


def ladder_pair() -> Certificate:
    void = Ending(name="void", pays=((0, 5_000, 5_000), (1, 5_000, 5_000)))
    step = msgspec.structs.replace(
        implies(0, 1), conditions=("the meeting is held",), confidence=Confidence.CONDITIONAL
    )
    quotes = [quote([(7_000, 10)], [(3_500, 100)]), quote([(5_500, 120)], [(4_700, 5)])]
    found = finding(component(2, step, endings=(void,)), quotes)
    assert found is not None
    return found


def conversion() -> Certificate:
    part = in_a_game(component(3, partition(range(3))), *[(Paid("tie", 3_300, 3_300),)] * 3)
    quotes = [quote([], [(px, 200)], settles_ts_ms=NOW + 3_650 * DAY) for px in (5_800, 6_200, 6_700)]
    one = ExclusiveSet(legs=(0, 1, 2), converts=True, fee_bips=12)
    found = finding(part, quotes, sets=[one], charge_capital=True)
    assert found is not None
    assert found.releases[0].fee_e10 > 0
    assert found.component.endings
    return found


CASES = {"dutch_book": dutch_book, "rebalancing": rebalancing, "monotonic_ladder": ladder_pair}
ALL_CASES = CASES | {"conversion": conversion}


@pytest.mark.parametrize("form", CASES)
def test_a_finding_is_checked_and_named(form: str) -> None:
    certificate = CASES[form]()
    assert check(certificate) == []
    assert form in certificate.forms
    assert certificate.profit_e10 > 0


def test_the_numbers_of_a_dutch_book_are_those_on_paper() -> None:
    certificate = dutch_book()
    # 100 sets at 0.20 + 0.25 + 0.40, 150 more at 0.22 + 0.25 + 0.40, 150 more at 0.22 + 0.26 + 0.40.
    assert [purchase.contracts_e6 for purchase in certificate.purchases] == [400 * LOT] * 3
    cost = 100 * 2_000 + 300 * 2_200 + 250 * 2_500 + 150 * 2_600 + 400 * 4_000
    assert certificate.cost_e10 == cost * LOT
    exact = 0.07 * (100 * 0.16 + 300 * 0.22 * 0.78 + 250 * 0.25 * 0.75 + 150 * 0.26 * 0.74 + 400 * 0.24)
    fees = certificate.fee_e10 / USD_ONE_E10
    # The exact fees, at most 0.0001 a fill of one contract more, and a cent an order.
    assert exact <= fees <= exact + 0.0001 * (1_200 + 5) + 0.03 + 1e-9
    assert certificate.payoff_e10 == 400 * USD_ONE_E10
    assert certificate.settles_ts_ms == NOW + 30 * DAY
    assert certificate.return_e6 == pytest.approx(
        certificate.profit_e10 / certificate.capital_e10 * 365 / 30 * 1e6, abs=1
    )


def test_netting_gives_back_all_but_one_of_the_contraries() -> None:
    certificate = rebalancing()
    (release,) = certificate.releases
    held = [purchase.contracts_e6 for purchase in certificate.purchases]
    assert release.cash_e10 == (sum(held) - max(held)) * 10_000
    assert certificate.capital_e10 == certificate.cost_e10 + certificate.fee_e10 - release.cash_e10


def test_a_condition_makes_it_conditional_and_a_doubt_a_matter_for_review() -> None:
    certificate = ladder_pair()
    assert (certificate.grade, certificate.conditions) == (Grade.CONDITIONAL, ("the meeting is held",))
    assert [outcome.name for outcome in certificate.states if outcome.name] == ["void"]


def test_an_ending_that_pays_nothing_kills_the_claim() -> None:
    void = Ending(name="cancelled", pays=((0, 0, 10_000), (1, 0, 10_000)))
    quotes = [quote([(7_000, 10)], [(3_500, 100)]), quote([(5_500, 120)], [(4_700, 5)])]
    assert finding(component(2, implies(0, 1), endings=(void,)), quotes) is None


HALF, NOTHING, FAIR = (Paid("cancelled", least, most) for least, most in ((5_000, 5_000), (0, 0), (0, 10_000)))


@pytest.mark.parametrize(
    ("branches", "grade", "conditions", "states"),
    [
        ([(HALF,), (HALF,)], Grade.PROVED, (), ["cancelled (G)"]),
        ([(NOTHING,), (NOTHING,)], Grade.PROVED, (), []),  # as where neither step is reached
        ([(NOTHING,), ()], Grade.PROVED, (), []),
        ([(HALF,), (NOTHING,)], Grade.CONDITIONAL, ("not cancelled (G)",), []),
        ([(HALF,), ()], Grade.CONDITIONAL, ("not cancelled (G)",), []),
        ([(FAIR,), (FAIR,)], Grade.CONDITIONAL, ("not cancelled (G)",), []),
    ],
)  # fmt: skip
def test_a_finding_earns_in_every_ending_that_the_words_name_or_says_that_it_must_not_come(
    branches: list[tuple[Paid, ...]], grade: Grade, conditions: tuple[str, ...], states: list[str]
) -> None:
    quotes = [quote([(7_000, 10)], [(3_500, 100)]), quote([(5_500, 120)], [(4_700, 5)])]
    found = finding(in_a_game(component(2, implies(0, 1)), *branches), quotes)
    assert found is not None
    assert (found.grade, found.conditions) == (grade, conditions)
    assert [state.name for state in found.states if state.name] == states
    assert check(found) == []
    proved = finding(in_a_game(component(2, implies(0, 1)), *branches), quotes, limits=Limits(proved_only=True))
    assert (proved is None) == (grade is not Grade.PROVED)


def test_a_set_that_pays_nothing_when_cancelled_is_no_dutch_book_and_one_that_pays_more_is_worth_the_worst_state() -> (
    None
):
    quotes = [quote([(px, 100)], []) for px in (2_000, 2_500, 4_000)]
    whole = component(3, partition(range(3)))
    void = finding(in_a_game(whole, *[(NOTHING,)] * 3), quotes)
    assert void is not None
    assert void.conditions == ("not cancelled (G)",)
    third = finding(in_a_game(whole, *[(Paid("tie", 3_200, 3_200),)] * 3), quotes)
    assert third is not None
    assert (third.grade, third.states[third.worst].name) == (Grade.PROVED, "tie (G)")
    assert third.payoff_e10 == 96 * USD_ONE_E10


def test_an_ending_of_the_words_cannot_be_left_out_or_paid_better() -> None:
    quotes = [quote([(px, 100)], []) for px in (2_000, 2_500, 4_000)]
    found = finding(in_a_game(component(3, partition(range(3))), *[(Paid("tie", 3_200, 3_200),)] * 3), quotes)
    assert found is not None
    bare = finding(component(3, partition(range(3))), quotes)
    assert bare is not None
    replace = msgspec.structs.replace
    (tie,) = found.component.endings
    for endings in ((), (replace(tie, pays=tuple((leg, 3_300, 3_300) for leg in range(3))),)):
        part = replace(found.component, endings=endings)
        assert check(sealed(replace(found, component=part)))
        assert check(sealed(replace(bare, component=part)))


# --- refusals ---


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"integrity": Integrity.GAP}, "gap"), ({"integrity": Integrity.STALE}, "stale"),
        ({"integrity": Integrity.UNVERIFIED}, "unverified"), ({"ts_ms": NOW - 6_000}, "too old"), ({"ts_ms": NOW + 1}, "too old"),
        ({"ts_ms": NOW - 4_000}, "too far from another"), ({"fee": FeeSchedule(kind=FeeKind.UNKNOWN, name="new_fees")}, ""),
        ({"yes": [Level(4_000, 500 * LOT)], "no": [Level(5_900, LOT)]}, "crossed"),
    ],
)  # fmt: skip
def test_one_unfit_book_and_there_is_no_finding(changes: dict, why: str) -> None:
    quotes = [
        quote([(2_000, 100)], [(8_200, 50)]),
        quote([(2_500, 250)], [(7_700, 50)]),
        quote([(4_000, 500)], [(6_200, 50)]),
    ]
    quotes[2] = msgspec.structs.replace(quotes[2], **changes)
    finder = Finder(component(3, partition(range(3))), quotes, limits=Limits(), now_ms=NOW)
    assert finder.find(NOW) is None
    assert why in " ".join(finder.refused.values())


def test_an_unfit_leg_does_not_hide_what_the_others_give_and_comes_back_with_its_next_tick() -> None:
    found = component(4, ladder(range(4)))
    fit = [
        quote([(7_000, 10)], [(3_500, 100)]),
        quote([(5_500, 120)], [(4_700, 5)]),
        quote([(5_000, 900)], [(5_200, 5)]),
        quote([(9_000, 9)], [(1_500, 9)]),
    ]
    quotes = [fit[0], fit[1], msgspec.structs.replace(fit[2], integrity=Integrity.GAP), fit[3]]
    finder = Finder(found, quotes, limits=Limits(), now_ms=NOW)
    without = finder.find(NOW)
    assert without is not None
    assert 2 not in {purchase.leg for purchase in without.purchases}
    finder.update(2, fit[2])
    whole = finder.find(NOW)
    assert whole is not None
    assert whole.profit_e10 > without.profit_e10


def test_smallest_orders_bind_and_the_integer_program_keeps_to_them() -> None:
    """One set earns, seven are the least: only where the other six cost less than the first one earns."""
    first = quote([(2_000, 1), (8_000, 6)], [], min_contracts_e6=7 * LOT)
    dear, cheap = quote([(2_500, 1), (6_000, 90)], []), quote([(1_500, 1), (1_900, 90)], [])
    assert finding(component(2, partition(range(2))), [first, dear]) is None
    found = finding(component(2, partition(range(2))), [first, cheap])
    assert found is not None
    assert [purchase.contracts_e6 for purchase in found.purchases] == [7 * LOT, 7 * LOT]
    in_money = msgspec.structs.replace(first, min_contracts_e6=0, min_cost_e10=4 * USD_ONE_E10)
    found = finding(component(2, partition(range(2))), [in_money, cheap])
    assert found is not None
    assert found.purchases[0].contracts_e6 == 6 * LOT


def test_a_budget_is_kept() -> None:
    quotes = [quote([(2_000, 100), (2_200, 300)], []), quote([(2_500, 250)], []), quote([(4_000, 500)], [])]
    limits = Limits(budget_e10=50 * USD_ONE_E10)
    found = finding(component(3, partition(range(3))), quotes, limits=limits)
    assert found is not None
    assert 45 * USD_ONE_E10 < found.cost_e10 + found.fee_e10 <= 50 * USD_ONE_E10


def test_capital_that_earns_less_than_idle_money_is_not_locked() -> None:
    known = {"settles_ts_ms": NOW + 3_650 * DAY, "fee": FeeSchedule()}
    quotes = [quote([(4_500, 100)], [], **known), quote([(4_500, 100)], [], **known)]
    assert finding(component(2, partition(range(2))), quotes) is not None
    assert finding(component(2, partition(range(2))), quotes, charge_capital=True) is None
    # Contraries of a netted set lock next to nothing, so the same margin is worth it there.
    sold = [quote([], [(4_500, 100)], **known), quote([], [(4_500, 100)], **known)]
    netted = finding(component(2, exclusive(range(2))), sold, charge_capital=True, sets=[ExclusiveSet(legs=(0, 1))])
    converted = finding(
        component(2, exclusive(range(2))), sold, charge_capital=True, sets=[ExclusiveSet(legs=(0, 1), converts=True)]
    )
    assert netted is not None
    assert converted is not None
    assert netted.capital_e10 < 0
    assert finding(component(2, exclusive(range(2))), sold, charge_capital=True) is None


# --- mutations ---


def leaves(node: object, path: tuple = ()) -> Iterator[tuple[tuple, object]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from leaves(value, (*path, i))
    else:
        yield path, node


def altered(certificate: Certificate, path: tuple, value: object, *, reseal: bool) -> Certificate | None:
    tree = msgspec.json.decode(msgspec.json.encode(certificate))
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    try:
        changed = msgspec.convert(tree, Certificate)
    except msgspec.ValidationError:
        return None
    return sealed(changed) if reseal else changed


@pytest.mark.parametrize("form", ALL_CASES)
def test_every_altered_number_is_refused(form: str) -> None:
    certificate = ALL_CASES[form]()
    n = 0
    for path, value in leaves(msgspec.json.decode(msgspec.json.encode(certificate))):
        if isinstance(value, int):
            for other in [not value] if isinstance(value, bool) else [value + 1, value - 1, value * 2 + 3]:
                changed = altered(certificate, path, other, reseal=False)
                assert changed is None or check(changed), path
                n += 1
    assert n > 150


TRUSTED = {
    "base_rate_e6",
    "sz_e6",
    "max_age_ms",
    "max_apart_ms",
    "min_contracts_e6",
    "min_cost_e10",
    "integrity",
    "index",
}
"""What the checker cannot know better: what was displayed, and what the reader asked for."""


@pytest.mark.parametrize("form", ALL_CASES)
def test_an_altered_number_under_a_new_digest_is_refused_where_it_carries_the_claim(form: str) -> None:
    certificate = ALL_CASES[form]()
    for path, value in leaves(msgspec.json.decode(msgspec.json.encode(certificate))):
        if not isinstance(value, int) or path[-1] in TRUSTED or "exponent" in path:
            continue
        for other in [not value] if isinstance(value, bool) else [value + 1, value - 1, value * 2 + 3]:
            changed = altered(certificate, path, other, reseal=True)
            if changed is None:
                continue
            if path[-1] in {"book_ts_ms", "found_ts_ms", "settles_ts_ms"}:
                continue  # moved a little, they stay within what is allowed, and the claim the same
            assert check(changed), (path, other)


def test_claims_beyond_the_proof_are_refused() -> None:
    certificate = dutch_book()
    replace = msgspec.structs.replace
    first = certificate.purchases[0]
    forged = {
        "less is offered": replace(
            certificate,
            purchases=(replace(first, levels=(replace(first.levels[0], sz_e6=1),)), *certificate.purchases[1:]),
        ),
        "a better price skipped": replace(
            certificate, purchases=(replace(first, levels=first.levels[1:]), *certificate.purchases[1:])
        ),
        "a state left out": replace(certificate, states=certificate.states[1:]),
        "the tie forgotten": replace(
            certificate, component=component(3, exclusive(range(3), premise="a tie market is listed"))
        ),
        "old books": replace(certificate, found_ts_ms=NOW + 60_000),
        "a gap": replace(certificate, purchases=(replace(first, integrity=Integrity.GAP), *certificate.purchases[1:])),
        "a condition hidden": replace(certificate, conditions=("it does not rain",)),
        "called conditional": replace(certificate, grade=Grade.CONDITIONAL),
        "nothing bought": replace(certificate, purchases=()),
        "a twin": replace(certificate, purchases=(first, *certificate.purchases)),
        "another premise": replace(certificate, premises=("somebody said so",)),
        "an old version": replace(certificate, version=2),
        "free of fees": replace(
            certificate, purchases=tuple(replace(p, fee=FeeSchedule()) for p in certificate.purchases)
        ),
    }
    for what, one in forged.items():
        assert check(sealed(one)), what


def test_a_joint_is_proved_by_the_one_constraint_that_carries_it() -> None:
    sold = [quote([(3_000, 100)], []), quote([], [(3_500, 100)]), quote([], [(2_500, 100)])]
    found = finding(component(3, joint(0, (1, 2))), sold)
    assert found is not None
    assert (found.grade, len(found.component.counts), found.forms) == (Grade.PROVED, 1, ("joint",))


def test_where_fractions_can_pay_less_than_every_state_it_is_a_condition_that_there_are_none() -> None:
    """No two of three may win: at a half each, the contraries of all three pay 1.5 and not 2."""
    apart = [exclusive(pair) for pair in ((0, 1), (0, 2), (1, 2))]
    sold = [quote([], [(6_000, 100)]) for _ in range(3)]
    found = finding(component(3, apart), sold)
    assert found is not None
    assert (found.grade, found.conditions) == (Grade.CONDITIONAL, (NO_FRACTION,))
    bold = msgspec.structs.replace(found, grade=Grade.PROVED, conditions=())
    assert "it is called proved" in check(sealed(bold))[0]
    together = finding(component(3, exclusive(range(3))), sold)
    assert together is not None
    assert together.grade is Grade.PROVED
