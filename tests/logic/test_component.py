from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.logic import (
    Component,
    Constraint,
    Contradiction,
    Count,
    Ending,
    Leg,
    Literal,
    Relation,
    SetEvidence,
    complement,
    components,
    counts_of,
    equivalent,
    exactly,
    exclusive,
    exhaustive,
    implies,
    joint,
    ladder,
    outcome_set,
    partition,
    project,
    settled,
    states,
    union,
)
from overround.market import MarketId, Venue

ONE = 10_000


def legs(n: int) -> tuple[Leg, ...]:
    return tuple(Leg(venue=Venue.KALSHI, market_id=MarketId(f"M{i}")) for i in range(n))


def component(n: int, *counts: Count | list[Count], endings: tuple[Ending, ...] = ()) -> Component:
    flat = [c for each in counts for c in (each if isinstance(each, list) else [each])]
    return Component(legs=legs(n), counts=tuple(flat), endings=endings)


def wins(found: Component) -> set[tuple[int, ...]]:
    listed = states(found)
    assert listed is not None
    rows = [tuple(pay // ONE for pay in s.yes_e4) for s in listed if not s.name]
    assert len(rows) == len(set(rows))
    return set(rows)


def by_hand(found: Component) -> set[tuple[int, ...]]:
    return {
        row
        for row in itertools.product((0, 1), repeat=len(found.legs))
        if all(c.least <= sum(row[x.leg] == x.holds for x in c.literals) <= c.most for c in found.counts)
    }


@pytest.mark.parametrize(
    ("found", "n_states"),
    [
        (component(5, ladder(range(5))), 6),
        (component(5, partition(range(5))), 5),
        (component(5, exclusive(range(5))), 6),
        (component(3, exhaustive(range(3))), 7),
        (component(2, complement(0, 1)), 2),
        (component(2, equivalent(0, 1)), 2),
        (component(3, joint(0, (1, 2))), 4),
        (component(3, joint(0, (1, Literal(2, holds=False)))), 4),
        (component(4, union(0, (1, 2, 3))), 4),
        (component(5, exactly(2, range(5))), 10),
        (component(3, ladder(range(3)), settled(1, holds=True)), 2),
        (component(30, partition(range(10)), ladder(range(10, 30))), 10 * 21),
    ],
    ids=lambda value: value.counts[0].kind if isinstance(value, Component) else str(value),
)
def test_each_relation_has_the_states_it_should(found: Component, n_states: int) -> None:
    assert len(wins(found)) == n_states
    if len(found.legs) < 12:
        assert wins(found) == by_hand(found)


@st.composite
def any_component(draw: st.DrawFn) -> Component:
    n = draw(st.integers(1, 7))
    literal = st.builds(Literal, st.integers(0, n - 1), st.booleans())
    counts = draw(
        st.lists(
            st.builds(
                lambda xs, a, b: Count(literals=tuple(xs), least=min(a, b), most=max(a, b), kind="any"),
                st.lists(literal, max_size=5),
                st.integers(0, 4),
                st.integers(0, 5),
            ),
            max_size=5,
        )
    )
    return component(n, counts)


@given(any_component())
def test_enumeration_equals_brute_force(found: Component) -> None:
    expected = by_hand(found)
    if expected:
        assert wins(found) == expected
    else:
        with pytest.raises(Contradiction):
            states(found)


@given(any_component(), st.randoms(use_true_random=False))
def test_a_projection_forgets_no_state(found: Component, rng: random.Random) -> None:
    places = sorted(rng.sample(range(len(found.legs)), rng.randint(1, len(found.legs))))
    kept = {tuple(row[place] for place in places) for row in by_hand(found)}
    assert kept <= by_hand(project(found, places))


@given(any_component())
def test_parts_have_the_product_of_states_of_the_whole(found: Component) -> None:
    expected = by_hand(found)
    parts = components(found.legs, [c for c in found.counts if c.literals])
    assert sorted(leg.market_id for part in parts for leg in part.legs) == sorted(leg.market_id for leg in found.legs)
    product = 1
    for part in parts:
        product *= len(by_hand(part))
    if all(c.least == 0 for c in found.counts if not c.literals):
        assert product == len(expected)


def test_a_long_ladder_and_a_wide_set_are_quick_and_a_large_product_is_refused() -> None:
    assert len(wins(component(1_000, ladder(range(1_000))))) == 1_001
    assert len(wins(component(1_000, partition(range(1_000))))) == 1_000
    assert states(component(40, *(exclusive((2 * i, 2 * i + 1)) for i in range(20)))) is None


COMPLETE = SetEvidence(exhaustive_by="a tie market is listed", listed=3, indices=(0, 1, 2), mids_sum_e4=10_050)


def test_a_complete_set_is_a_partition() -> None:
    counts, refused = outcome_set(range(3), COMPLETE)
    assert not refused
    assert counts == [partition(range(3), premise="a tie market is listed")]


@pytest.mark.parametrize(
    "lacking",
    [
        {"exhaustive_by": ""},
        {"augmented": True},
        {"listed": 4},
        {"listed": None},
        {"indices": (0, 1, 3)},
        {"indices": (0, 1, 1)},
        {"mids_sum_e4": 9_499},
    ],
    ids=lambda value: next(iter(value)),
)
def test_what_is_lacking_leaves_the_state_in_which_no_leg_pays(lacking: dict[str, object]) -> None:
    import msgspec

    counts, refused = outcome_set(range(3), msgspec.structs.replace(COMPLETE, **lacking))
    assert len(refused) == 1
    assert (0, 0, 0) in wins(component(3, counts))
    assert (1, 1, 0) not in wins(component(3, counts))


def test_an_ending_pays_what_its_rules_say_and_anything_where_they_are_silent() -> None:
    void = Ending(name="cancelled", pays=((0, 5_000, 5_000), (1, 2_000, 9_000)))
    listed = states(component(3, partition(range(3)), endings=(void,)))
    assert listed is not None
    assert (listed[-1].name, listed[-1].yes_e4, listed[-1].no_e4) == ("cancelled", (5_000, 2_000, 0), (5_000, 1_000, 0))


def test_counts_that_cannot_hold_are_named() -> None:
    with pytest.raises(Contradiction, match="M0, M1"):
        states(component(2, implies(0, 1), settled(0, holds=True), settled(1, holds=False)))


def said(relation: Relation, *names: str, antecedent: int | None = None, consequent: int | None = None) -> Constraint:
    """Names with a bang mean the second outcome."""
    mentioned = tuple(
        Leg(venue=Venue.KALSHI, market_id=MarketId(name.strip("!")), index=name.count("!")) for name in names
    )
    return Constraint(relation=relation, legs=mentioned, antecedent=antecedent, consequent=consequent)


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (said(Relation.IMPLIES, "A", "B", antecedent=1, consequent=0), {(0, 0), (1, 0), (1, 1)}),
        (said(Relation.IMPLIES, "A", "!B", antecedent=0, consequent=1), {(0, 0), (0, 1), (1, 0)}),
        (said(Relation.MONOTONIC_LADDER, "A", "B", "C"), {(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)}),
        (said(Relation.EQUIVALENT, "A", "!B", "C"), {(0, 1, 0), (1, 0, 1)}),
        (said(Relation.COMPLEMENT, "A", "B"), {(0, 1), (1, 0)}),
        (said(Relation.MUTUALLY_EXCLUSIVE, "A", "B"), {(0, 0), (0, 1), (1, 0)}),
        (said(Relation.EXHAUSTIVE, "A", "B"), {(1, 1), (0, 1), (1, 0)}),
        (said(Relation.PARTITION, "A", "B", "C"), {(0, 0, 1), (0, 1, 0), (1, 0, 0)}),
        (said(Relation.JOINT, "A", "B", "!C"), {(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 0)}),
    ],
)
def test_a_constraint_becomes_counts_that_say_the_same(constraint: Constraint, expected: set[tuple[int, ...]]) -> None:
    named, counts = counts_of([constraint])
    assert all(leg.index == 0 for leg in named)
    assert wins(Component(legs=tuple(named), counts=tuple(counts))) == expected
