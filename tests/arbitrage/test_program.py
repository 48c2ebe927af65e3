from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.arbitrage import (
    Amounts,
    Circulation,
    Finder,
    Limits,
    Program,
    Quote,
    best_bundles,
    by_facets,
    check,
    cost_e10,
    line_of,
)
from overround.arbitrage.check import NO_FRACTION
from overround.arbitrage.oracle import model, silent
from overround.book import Level
from overround.fills import USD_ONE_E10
from overround.logic import (
    Component,
    Grade,
    Leg,
    complement,
    count_rows,
    equivalent,
    exclusive,
    implies,
    joint,
    ladder,
    partition,
    states,
    union,
)
from overround.market import FeeKind, FeeSchedule, MarketId, Venue

LOT = 1_000_000
SIZES = st.integers(1, 6)
FREE = FeeSchedule()
KALSHI = FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07")
CRYPTO = FeeSchedule(kind=FeeKind.POLYMARKET_CURVE, taker_rate="0.07")


def component(n: int, *counts) -> Component:
    flat = [c for each in counts for c in (each if isinstance(each, list) else [each])]
    return Component(
        legs=tuple(Leg(venue=Venue.KALSHI, market_id=MarketId(f"M{i}")) for i in range(n)), counts=tuple(flat)
    )


SHAPES = {
    "ladder": lambda n: component(n, ladder(range(n))),
    "partition": lambda n: component(n, partition(range(n))),
    "exclusive": lambda n: component(n, exclusive(range(n))),
    "line": lambda n: (
        component(n, partition(range(n - 2)), union(n - 2, range(2)), union(n - 1, range(1, n - 2)))
        if n > 4
        else component(n, ladder(range(n)))
    ),
    "tree": lambda n: component(n + 2, partition(range(n)), union(n, range(0, n, 2)), union(n + 1, range(1, n, 2))),
    "grid": lambda n: component(
        2 * n, ladder(range(n)), ladder(range(n, 2 * n)), [implies(i, n + i) for i in range(n)]
    ),
    "joint": lambda n: component(n, joint(0, range(1, n))),
    "pairs": lambda n: component(n, [equivalent(i, i + 1) if i % 2 else complement(i, i + 1) for i in range(n - 1)]),
    "triples": lambda n: component(n, [exclusive(pair) for pair in itertools.combinations(range(n), 2)]),
}


@st.composite
def world(draw, shapes=tuple(SHAPES), fees=(FREE, KALSHI, CRYPTO), sizes=SIZES, n_max=6):
    found = SHAPES[draw(st.sampled_from(shapes))](draw(st.integers(3, n_max)))
    quotes = []
    for _ in found.legs:
        mid = draw(st.integers(2, 97))
        half = draw(st.integers(1, 2))
        sides = []
        for best in (mid + half, 100 - mid + half):
            pxs = [px for px in range(best, best + draw(st.integers(0, 3))) if px < 100]
            sides.append(tuple(Level(px * 100, draw(sizes) * LOT) for px in pxs))
        quotes.append(Quote(yes=sides[0], no=sides[1], fee=draw(st.sampled_from(fees))))
    return found, quotes


def worth(found: Component, quotes: list[Quote], amounts: Amounts) -> float:
    """Worst payoff less costs at the program's prices, by plain enumeration."""
    cost = 0.0
    for quote, yes, no in zip(quotes, amounts.yes_e6, amounts.no_e6, strict=True):
        for levels, left in ((quote.yes, yes), (quote.no, no)):
            for level in levels:
                taken = min(left, level.sz_e6)
                cost += taken / LOT * cost_e10(quote, level.px_e4)
                left -= taken
            assert left == 0
    listed = states(found)
    assert listed is not None
    return (
        min(
            sum(a * x + b * y for a, b, x, y in zip(amounts.yes_e6, amounts.no_e6, s.yes_e4, s.no_e4, strict=True))
            for s in listed
        )
        / USD_ONE_E10
        - cost / USD_ONE_E10
    )


def profit(amounts: Amounts | None) -> float:
    return amounts.profit_usd if amounts else 0.0


@given(world())
def test_facets_states_and_lazy_states_agree(case) -> None:
    found, quotes = case
    by_states = Program(found, quotes, facets=False)
    value = profit(by_states.solve())
    if by_facets(found):
        assert profit(Program(found, quotes, facets=True).solve()) == pytest.approx(value, abs=1e-6)
    lazy = Program(found, quotes, facets=False)
    lazy._lazy, lazy._rows = True, lazy._rows[:1]
    lazy._build()
    assert profit(lazy.solve()) == pytest.approx(value, abs=1e-6)


@given(world(fees=(FeeSchedule(), KALSHI)))
def test_amounts_earn_in_every_state_what_the_program_says(case) -> None:
    found, quotes = case
    amounts = Program(found, quotes).solve()
    if amounts is not None and by_facets(found):
        assert worth(found, quotes, amounts) == pytest.approx(amounts.profit_usd, abs=1e-6)


@given(world(shapes=("ladder", "partition", "exclusive", "line", "tree"), n_max=8))
def test_the_circulation_equals_the_program(case) -> None:
    found, quotes = case
    line = line_of(found)
    assert line is not None
    flowing = Circulation(*line, quotes).solve()
    assert profit(flowing) == pytest.approx(profit(Program(found, quotes).solve()), abs=1e-6)
    if flowing is not None:
        assert worth(found, quotes, flowing) == pytest.approx(flowing.profit_usd, abs=1e-9)


@given(world())
def test_the_program_finds_at_least_what_closed_forms_find(case) -> None:
    found, quotes = case
    value = profit(Program(found, quotes).solve())
    for closed in best_bundles(found, quotes):
        assert value >= closed.profit_e10 / USD_ONE_E10 - 1e-6


@given(world(shapes=("ladder", "partition", "joint"), sizes=st.integers(1, 2), n_max=3, fees=(FeeSchedule(),)))
def test_no_whole_portfolio_earns_more(case) -> None:
    """Brute force over every portfolio in whole contracts."""
    found, quotes = case
    best = 0.0
    ranges = [
        range(sum(level.sz_e6 for level in side) // LOT + 1)
        for quote in quotes
        for side in (quote.yes[:1], quote.no[:1])
    ]
    thin = [Quote(yes=q.yes[:1], no=q.no[:1]) for q in quotes]
    for totals in itertools.product(*ranges):
        amounts = Amounts(tuple(x * LOT for x in totals[0::2]), tuple(x * LOT for x in totals[1::2]), 0.0)
        best = max(best, worth(found, thin, amounts))
    assert profit(Program(found, thin).solve()) == pytest.approx(best, abs=1e-6)


@given(world(), st.integers(0, 2**32))
def test_ticks_lead_where_a_fresh_solution_does(case, seed) -> None:
    found, quotes = case
    rng = random.Random(seed)
    finder = Finder(found, quotes, limits=Limits(least_profit_e10=1), now_ms=0)
    plain = Program(found, quotes)
    for _ in range(6):
        leg = rng.randrange(len(quotes))
        shift = rng.choice((-300, -100, 100, 300))

        def moved(levels, by):
            return tuple(Level(px + by, rng.randint(1, 6) * LOT) for px, _ in levels if 0 < px + by < 10_000)

        quotes = list(quotes)
        quotes[leg] = Quote(yes=moved(quotes[leg].yes, shift), no=moved(quotes[leg].no, -shift), fee=quotes[leg].fee)
        finder.update(leg, quotes[leg])
        due = plain.update(leg, quotes[leg])
        value = profit(Program(found, quotes).solve())
        if due:
            assert profit(plain.solve()) == pytest.approx(value, abs=1e-6)
        else:
            assert value == 0
        assert profit(finder.engine.solve()) == pytest.approx(value, abs=1e-6)
        certificate = finder.find(0)
        if certificate is not None:
            assert not check(certificate)
            assert certificate.profit_e10 / USD_ONE_E10 <= value + 1e-4  # the venue may round a fill down


def test_plain_and_compiled_network_simplex_agree(monkeypatch) -> None:
    rng = random.Random(5)
    for _ in range(20):
        n = rng.randint(3, 30)
        found = component(n, ladder(range(n)))
        quotes = []
        for i in range(n):
            mid = int(10_000 * (i + 1) / (n + 1)) // 100 * 100 + rng.choice((-600, 0, 600))
            mid = min(9_700, max(300, mid))
            quotes.append(
                Quote(
                    yes=tuple(Level(mid + 100 * k, rng.randint(1, 500) * LOT) for k in range(1, 3)),
                    no=tuple(Level(10_000 - mid + 100 * k, rng.randint(1, 500) * LOT) for k in range(1, 3)),
                )
            )
        line = line_of(found)
        fast = Circulation(*line, quotes).solve()
        with monkeypatch.context() as patch:
            patch.setattr("overround.arbitrage.circulation.compiled", lambda: None)
            slow = Circulation(*line, quotes).solve()
        assert fast == slow
        assert profit(fast) == pytest.approx(profit(Program(found, quotes).solve()), abs=1e-5)


def test_networks_are_told_from_other_constraints() -> None:
    assert all(by_facets(SHAPES[name](5)) for name in ("ladder", "partition", "exclusive", "tree", "grid", "pairs"))
    assert not any(by_facets(SHAPES[name](5)) for name in ("joint", "triples"))
    # One and the same pair, once equal and once opposite: an odd circle of signs.
    assert not by_facets(component(3, equivalent(0, 1), equivalent(1, 2), complement(0, 2)))


def least_of_fractions(found: Component, yes: list[int], no: list[int]) -> float:
    """The least that contracts pay when legs may settle anywhere between 0 and 1 that the constraints allow."""
    rows = count_rows(found)
    columns = [
        [(row, float(signs[leg])) for row, (signs, _, _) in enumerate(rows) if leg in signs]
        for leg in range(len(found.legs))
    ]
    highs = silent()
    model(
        highs, costs=[b - a for a, b in zip(yes, no, strict=True)], lower=[0.0] * len(columns), upper=[1.0] * len(columns),
        columns=columns, row_lower=[low for _, low, _ in rows], row_upper=[high for _, _, high in rows],
    )  # fmt: skip
    highs.run()
    return sum(no) - float(highs.getInfo().objective_function_value)


@given(world())
def test_what_is_called_proved_holds_for_fractions_too(case) -> None:
    found, quotes = case
    certificate = Finder(found, quotes, limits=Limits(least_profit_e10=1), now_ms=0).find(0)
    if certificate is None:
        return
    yes, no = ([0] * len(certificate.component.legs) for _ in range(2))
    for order in certificate.purchases:
        (yes if order.yes else no)[order.leg] += order.contracts_e6
    least = least_of_fractions(certificate.component, yes, no)
    if certificate.grade is Grade.PROVED:
        assert least * 10_000 == pytest.approx(certificate.payoff_e10, rel=1e-9, abs=1)
    else:
        assert certificate.conditions == (NO_FRACTION,)


@given(world(shapes=("ladder", "partition", "joint")), st.integers(0, 2**32))
def test_new_fees_lots_and_more_levels_lead_where_a_fresh_solution_does(case, seed) -> None:
    found, quotes = case
    rng = random.Random(seed)
    quotes = list(quotes)
    kept = [Program(found, quotes)]
    line = line_of(found)
    if line is not None:
        kept.append(Circulation(*line, quotes))
    for _ in range(4):
        leg = rng.randrange(len(quotes))
        sides = [
            tuple(
                Level(100 * px, rng.randint(1, 9) * LOT) for px in sorted(rng.sample(range(2, 99), rng.randint(1, 6)))
            )
            for _ in range(2)
        ]
        quotes[leg] = Quote(
            yes=sides[0], no=sides[1], fee=rng.choice((FREE, KALSHI, CRYPTO)), lot_e6=rng.choice((1, 1, 2)) * LOT
        )
        value = profit(Program(found, quotes).solve())
        for engine in kept:
            if engine.update(leg, quotes[leg]):
                assert profit(engine.solve()) == pytest.approx(value, abs=1e-5)
            else:
                assert profit(engine.solve()) == pytest.approx(value, abs=1e-5)
                assert value == 0 or isinstance(engine, Circulation)


@pytest.mark.parametrize("order", [(2, 0, 4, 1, 3), (4, 1, 0, 3, 2), (1, 3, 0, 2, 4)])
def test_the_order_of_a_line_is_found_however_its_legs_are_listed(order: tuple[int, ...]) -> None:
    """Five cells in any order, and the four pairs of neighbours: no tree, and no other order but its mirror."""
    place = {cell: leg for leg, cell in enumerate(order)}
    pairs = [union(5 + i, (place[i], place[i + 1])) for i in range(4)]
    found = component(9, partition(range(5)), *pairs)
    line = line_of(found)
    assert line is not None
    n_cells, intervals = line
    assert n_cells == 5
    assert sorted(after - first for first, after, _ in intervals[5:]) in ([2, 2, 2, 2], [2, 2, 2, 3])
    rng = random.Random(order[0])
    quotes = [
        Quote(yes=(Level(rng.randint(10, 60) * 100, 5 * LOT),), no=(Level(rng.randint(40, 90) * 100, 5 * LOT),))
        for _ in range(9)
    ]
    assert profit(Circulation(*line, quotes).solve()) == pytest.approx(profit(Program(found, quotes).solve()), abs=1e-6)


def test_what_lies_on_no_line_is_left_to_the_program() -> None:
    assert line_of(component(3, exclusive((0, 1)), exclusive((1, 2)), exclusive((0, 2)))) is not None
    # Each two of three may hold together, and all three: a circle of pairs.
    assert line_of(component(3)) is None
