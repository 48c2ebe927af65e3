"""Each planted arbitrage is proved from both sides: the bundle earns that much in its worst state, and weights over the
states under which every quote of the family loses, except for exactly that much, show that nothing earns more."""

from collections import Counter

import pytest

from overround.exchange.generator import GeneratedSource
from overround.exchange.planted import PlantedArbitrage
from overround.exchange.universe import WorldSpec

NOW = 1_790_000_000_000


def world(seed: int, **changes: object) -> GeneratedSource:
    spec = {
        "polymarket_markets": 130, "kalshi_markets": 130, "seed": seed, "now_ms": NOW, "planted": 10, "plant_from_s": 4.0,
        "plant_every_s": 3.0, "plant_for_s": 8.0, "rate_scale": 2.0, "economy": False,
    }  # fmt: skip
    return GeneratedSource(WorldSpec(**(spec | changes)))  # type: ignore[arg-type]


def free_money(source: GeneratedSource, family_key: str) -> float:
    """What all levels of a family give away against its weights, in e4 dollars times e6 contracts."""
    family, weights = next(found for found in source.weights() if found[0].key == family_key)
    total = 0.0
    for leg in family.legs:
        if leg.listed.key in source.listings and leg.listed.status == "active":
            fair = family.fair(leg, weights) * 10_000
            bids, asks = source.levels(leg.listed.key)
            total += sum(max(0.0, px - fair) * sz for px, sz in bids.items())
            total += sum(max(0.0, fair - px) * sz for px, sz in asks.items())
    return total


def worst_payoff(source: GeneratedSource, told: PlantedArbitrage) -> int:
    family = next(f for f, _ in source.weights() if f.key == told.family)
    by_key = {leg.listed.key: leg for leg in family.legs}
    return min(
        sum(10_000 * ((state in by_key[leg.key].states) == (leg.outcome == 0)) for leg in told.legs)
        for state in range(len(family.states))
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_plant_gives_exactly_what_it_says_while_it_stands_and_nothing_else_does(seed: int) -> None:
    source = world(seed)
    assert len(source.planted) == 10
    families = {told.family for told in source.planted}
    assert len(families) == 10
    checks = 0
    for step in range(0, 45_000, 350):
        now = NOW + step
        source.advance(now)
        for told in source.planted:
            given = free_money(source, told.family)
            if told.start_ms <= now < told.end_ms:
                checks += 1
                assert given == pytest.approx(told.contracts_e6 * told.profit_e4, rel=1e-9)
                for leg in told.legs:
                    bids, asks = source.levels(leg.key)
                    best = min(asks) if leg.outcome == 0 else max(bids)
                    assert leg.px_e4 == (best if leg.outcome == 0 else 10_000 - best)
                    assert (asks if leg.outcome == 0 else bids)[best] == leg.sz_e6 == told.contracts_e6
            else:
                assert given == pytest.approx(0, abs=1)
    assert checks > 100


@pytest.mark.parametrize("seed", range(6))
def test_a_planted_bundle_pays_at_least_its_payoff_in_every_state(seed: int) -> None:
    source = world(seed)
    for told in source.planted:
        assert worst_payoff(source, told) == told.payoff_e4
        assert told.cost_e4 == sum(leg.px_e4 for leg in told.legs)
        assert told.profit_e4 == told.payoff_e4 - told.cost_e4 >= 200
        assert told.contracts_e6 >= 50_000_000
        assert told.end_ms - told.start_ms == 8_000


def test_all_kinds_are_planted_on_both_venues_and_across() -> None:
    told = [told for seed in range(4) for told in world(seed).planted]
    kinds = Counter(t.kind for t in told)
    assert set(kinds) == {"implies", "buy_all", "equivalent", "sell_all", "joint"}
    venues = Counter(frozenset(leg.venue for leg in t.legs) for t in told)
    assert set(venues) == {frozenset({"polymarket"}), frozenset({"kalshi"}), frozenset({"polymarket", "kalshi"})}


def test_plants_are_there_whether_or_not_somebody_watches() -> None:
    asleep, awake = world(1, economy=True), world(1, economy=True)
    awake.watch(list(awake.listings))
    told = asleep.planted[0]
    for source in (asleep, awake):
        source.advance(told.start_ms)
        assert free_money(source, told.family) == pytest.approx(told.contracts_e6 * told.profit_e4)
    assert asleep.planted == awake.planted


def test_the_levels_appear_and_go_in_the_planned_milliseconds() -> None:
    source = world(2)
    told = source.planted[0]
    source.advance(told.end_ms + 1_000)
    for leg in told.legs:
        log = source.truth[leg.key]
        px = leg.px_e4 if leg.outcome == 0 else 10_000 - leg.px_e4

        def held(ms: int) -> int:
            state = log.states_at(ms)[-1]  # noqa: B023 - called at once
            return (state.asks if leg.outcome == 0 else state.bids).get(px, 0)  # noqa: B023

        assert held(told.start_ms) == held(told.end_ms - 1) == leg.sz_e6
        assert held(told.end_ms) != leg.sz_e6
        assert held(told.start_ms - 1) != leg.sz_e6


def test_open_lists_tempt_without_paying() -> None:
    """The asks of an augmented set sum to less than one: a trap, because its weights leave room for others."""
    source = world(0, planted=0, polymarket_markets=400)
    tempting = 0
    for family, weights in source.weights():
        if family.kind == "augmented":
            legs = [leg for leg in family.legs if leg.lists_ms is None]
            asks = [min(source.levels(leg.listed.key)[1], default=10_000) for leg in legs]
            fair = sum(family.fair(leg, weights) for leg in legs)
            assert fair < 1
            tempting += sum(asks) < 10_000
    assert tempting > 0
