"""Neg-risk conversions: what they give back, what they keep, and where they are not believed in."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import pytest

from overround.arbitrage import ExclusiveSet, Finder, Limits, Program, Quote, check
from overround.book import Level
from overround.fills import USD_ONE_E10
from overround.logic import Certificate, Component, Leg, exclusive, partition, sealed
from overround.market import FeeSchedule, MarketId, Venue

NOW, DAY, LOT = 1_790_000_000_000, 86_400_000, 1_000_000
RATE = Limits(base_rate_e6=100_000)


def legs(n: int) -> tuple[Leg, ...]:
    return tuple(Leg(venue=Venue.POLYMARKET, market_id=MarketId(f"M{i}")) for i in range(n))


def quote(yes: int, no: int, sizes: tuple[int, int], days: int = 365) -> Quote:
    sides = [(Level(px, sz * LOT),) for px, sz in zip((yes, no), sizes, strict=True)]
    return Quote(yes=sides[0], no=sides[1], fee=FeeSchedule(), ts_ms=NOW, settles_ts_ms=NOW + days * DAY)


def sold(n: int, cost_e4: int, held: Sequence[int], days: int = 365) -> list[Quote]:
    """Contraries at ``cost_e4`` a set of n."""
    px = [cost_e4 // n + (i < cost_e4 % n) for i in range(n)]
    return [quote(9_999, each, (1, size), days) for each, size in zip(px, held, strict=True)]


def find(part: Component, quotes: Sequence[Quote], *, fee_bips: int = 0, charge: bool = True) -> Certificate | None:
    one = ExclusiveSet(legs=tuple(range(len(quotes))), converts=True, fee_bips=fee_bips)
    return Finder(part, quotes, limits=RATE, now_ms=NOW, sets=[one], charge_capital=charge).find(NOW)


@pytest.mark.parametrize("fee_bips", [0, 5, 37])
@pytest.mark.parametrize("seed", range(20))
def test_a_conversion_leaves_each_state_what_the_contraries_pay_less_what_it_keeps(seed: int, fee_bips: int) -> None:
    """By hand: sets of equal amounts are converted one after the other, as the contract does."""
    rng = random.Random(seed)
    n = rng.randint(3, 6)
    held = [rng.randint(20, 90) for _ in range(n)]
    found = find(
        Component(legs=legs(n), counts=(partition(range(n)),)), sold(n, (n - 1) * 10_000 - 700, held), fee_bips=fee_bips
    )
    assert found is not None
    (release,) = found.releases
    assert release.converts
    amounts = {order.leg: order.contracts_e6 for order in found.purchases}
    cash, yes, done = 0.0, [0.0] * n, 0
    left = 1 - fee_bips / 10_000
    for amount in sorted(set(amounts.values())):
        among = [leg for leg, each in amounts.items() if each >= amount]
        step, done = amount - done, amount
        cash += (len(among) - 1) * step * left
        for leg in set(range(n)) - set(among):
            yes[leg] += step * left
    assert release.cash_e10 == int(cash * 10_000)
    for winner in range(n):
        before = sum(each for leg, each in amounts.items() if leg != winner) * 10_000
        assert cash * 10_000 + yes[winner] * 10_000 >= before - release.fee_e10 - 1
    assert found.capital_e10 == found.cost_e10 + found.fee_e10 - release.cash_e10
    assert check(found) == []


@pytest.mark.parametrize("seed", range(40))
def test_the_program_with_conversions_finds_at_least_the_closed_forms(seed: int) -> None:
    """All contraries, converted at once; and the leg that all other contraries and a conversion give."""
    rng = random.Random(seed)
    n, size, charge = rng.randint(2, 6), rng.randint(1, 50), rng.choice([0.01, 0.05, 0.2])
    fee_bips = rng.choice([0, 0, 10, 100])
    left = 1 - fee_bips / 10_000
    mids = [rng.random() for _ in range(n)]
    mids = [0.02 + 0.9 * mid / sum(mids) for mid in mids]
    quotes = [
        quote(round((mid + rng.uniform(-0.04, 0.05)) * 1_000) * 10 or 10, round((1 - mid + rng.uniform(-0.04, 0.05)) * 1_000) * 10, (size, size))
        for mid in mids
    ]  # fmt: skip
    quotes = [msgspec.structs.replace(one, no=(Level(min(9_990, one.no[0].px_e4), size * LOT),), yes=(Level(max(10, one.yes[0].px_e4), size * LOT),)) for one in quotes]  # fmt: skip
    one = ExclusiveSet(legs=tuple(range(n)), converts=True, fee_bips=fee_bips)
    part = Component(legs=legs(n), counts=(partition(range(n)),))
    amounts = Program(part, quotes, sets=[one], charge=charge).solve()
    best = 0.0 if amounts is None else amounts.profit_usd
    yes, no = (
        sum(side[0].px_e4 for side in sides) / 10_000 for sides in zip(*((q.yes, q.no) for q in quotes), strict=True)
    )
    assert best >= size * ((n - 1) * left * (1 + charge) - no * (1 + charge)) - 1e-6
    assert best >= size * (1 - yes * (1 + charge)) - 1e-6
    for leg in range(n):
        # Contraries of all others become this leg and n - 2 in cash, and its own contrary is bought besides.
        others = no - quotes[leg].no[0].px_e4 / 10_000
        pair = (others + quotes[leg].no[0].px_e4 / 10_000) * (1 + charge)
        assert best >= size * ((n - 2) * left * (1 + charge) + left * (1 + charge) - pair) - 1e-6


def test_a_fee_is_paid_only_for_money_that_is_worth_more() -> None:
    part = Component(legs=legs(3), counts=(partition(range(3)),))
    for days, fee_bips, charge, converted in (
        (365, 0, False, True),
        (365, 100, False, False),  # nobody asked what money earns
        (365, 100, True, True),  # 10 % a year on two of three dollars for 1 %
        (20, 100, True, False),
    ):
        found = find(part, sold(3, 19_300, [50] * 3, days), fee_bips=fee_bips, charge=charge)
        assert found is not None
        assert bool(found.releases) is converted, (days, fee_bips, charge)
        if converted and fee_bips:
            assert found.releases[0].fee_e10 == 50 * 2 * USD_ONE_E10 // 100
            assert found.profit_e10 == 50 * 700 * LOT - found.releases[0].fee_e10


def test_only_a_set_of_which_exactly_one_wins_is_converted_and_no_word_of_it_can_be_altered() -> None:
    quotes = sold(3, 19_300, [50] * 3)
    bare = find(Component(legs=legs(3), counts=(exclusive(range(3)),)), quotes, charge=False)
    assert bare is not None
    assert bare.releases == ()
    found = find(Component(legs=legs(3), counts=(partition(range(3)),)), quotes, fee_bips=100)
    assert found is not None
    (release,) = found.releases
    replace = msgspec.structs.replace
    forged = [
        replace(found, component=bare.component, states=bare.states, premises=bare.premises, worst=bare.worst),
        *(
            replace(found, releases=(replace(release, **change),))
            for change in (
                {"fee_bips": 99}, {"fee_bips": 0, "fee_e10": 0}, {"converts": False}, {"fee_e10": release.fee_e10 - 1},
                {"cash_e10": release.cash_e10 + 1}, {"legs": (0, 1)}, {"fee_bips": -100}, {"fee_bips": 20_000},
            )
        ),
    ]  # fmt: skip
    assert all(check(sealed(one)) for one in forged)
