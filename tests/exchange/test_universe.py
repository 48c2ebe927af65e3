import re
import tracemalloc
from collections import Counter

import pytest

from overround.exchange import ids
from overround.exchange.grid import KALSHI_GRIDS, kalshi_grid, uniform_grid
from overround.exchange.universe import Universe, WorldSpec, activity_share
from overround.market import Venue

PM, K = Venue.POLYMARKET, Venue.KALSHI


@pytest.fixture(scope="module")
def world() -> Universe:
    return Universe(WorldSpec(polymarket_markets=700, kalshi_markets=600, seed=11))


@pytest.mark.parametrize(("polymarket", "kalshi"), [(1, 0), (0, 1), (7, 3), (40, 40), (333, 0), (100, 501)])
def test_a_world_has_exactly_as_many_markets_as_asked(polymarket: int, kalshi: int) -> None:
    made = Universe(WorldSpec(polymarket_markets=polymarket, kalshi_markets=kalshi))
    assert len(made.listings[PM]) == polymarket
    assert len(made.listings[K]) == kalshi


def test_twenty_thousand_markets_are_made_in_seconds_and_modest_memory() -> None:
    made = Universe(WorldSpec(polymarket_markets=10_000, kalshi_markets=10_000))
    assert len(made.listings[PM]) + len(made.listings[K]) == 20_000
    tracemalloc.start()
    kept = Universe(WorldSpec(polymarket_markets=1_000, kalshi_markets=1_000, seed=2))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept.families
    assert size / 2_000 < 8_000


def test_equal_specs_make_equal_worlds_and_seeds_make_others() -> None:
    spec = WorldSpec(polymarket_markets=60, kalshi_markets=60, seed=5)
    a, b = Universe(spec), Universe(spec)
    assert a.listings == b.listings
    assert set(a.listings[PM]).isdisjoint(
        Universe(WorldSpec(polymarket_markets=60, kalshi_markets=60, seed=6)).listings[PM]
    )


def test_every_family_of_the_design_is_there(world: Universe) -> None:
    kinds = {family.kind for family in world.families}
    assert kinds >= {
        "binary", "exclusive", "augmented", "threshold", "touch", "deadline", "partition", "line", "joint", "game", "duel",
        "totals", "updown",
    }  # fmt: skip
    both = [f for f in world.families if {leg.listed.venue for leg in f.legs} == {PM, K}]
    assert {"binary", "threshold", "partition", "exclusive", "game", "deadline"} <= {f.kind for f in both}


def test_ids_have_the_shapes_of_the_venues(world: Universe) -> None:
    seen: Counter[str] = Counter()
    for family in world.families:
        for leg in family.legs:
            listed = leg.listed
            seen[listed.key] += 1
            if listed.venue is PM:
                assert re.fullmatch(r"0x[0-9a-f]{64}", listed.key)
                assert all(re.fullmatch(r"[1-9]\d{75,77}", token) for token in listed.tokens)
                seen.update(listed.tokens)
                assert listed.event.key.isdigit()
                assert bool(listed.event.neg_risk_id) == listed.event.exclusive
                if listed.event.neg_risk_id:
                    assert re.fullmatch(r"0x[0-9a-f]{62}00", listed.event.neg_risk_id)
                    assert ids.question_id(listed.event.neg_risk_id, listed.leg).endswith(f"{listed.leg:02x}")
            else:
                assert re.fullmatch(r"KX[A-Z0-9]+-[A-Z0-9]+(-[A-Z0-9.]+)?", listed.key)
                assert listed.key.startswith(listed.event.key)
                assert listed.event.key.startswith(listed.event.series + "-")
                assert listed.grid in KALSHI_GRIDS
    assert set(seen.values()) == {1}


def test_legs_of_an_event_are_numbered_without_holes(world: Universe) -> None:
    by_event: dict[tuple[str, str], list[int]] = {}
    for family in world.families:
        for leg in family.legs:
            by_event.setdefault((leg.listed.venue, leg.listed.event.key), []).append(leg.listed.leg)
    assert all(sorted(places) == list(range(len(places))) for places in by_event.values())


def test_relations_hold_in_every_state(world: Universe) -> None:
    checked: Counter[str] = Counter()
    for family in world.families:
        every = set(range(len(family.states)))
        for relation in family.relations:
            legs = [set(family.legs[place].states) for place in relation.legs]
            checked[relation.kind] += 1
            if relation.kind == "implies":
                assert legs[0] <= legs[1]
            elif relation.kind == "equivalent":
                assert legs[0] == legs[1]
            elif relation.kind in {"partition", "exclusive"}:
                assert sum(map(len, legs)) == len(set.union(*legs))
                assert (set.union(*legs) == every) is (relation.kind == "partition")
            else:
                assert legs[0] == legs[1] & legs[2]
    assert set(checked) == {"implies", "equivalent", "partition", "exclusive", "joint"}


def test_flags_say_what_the_logic_is(world: Universe) -> None:
    for family in world.families:
        groups: dict[str, list[set[int]]] = {}
        for leg in family.legs:
            groups.setdefault(f"{leg.listed.venue}{leg.listed.event.key}", []).append(set(leg.states))
            if leg.listed.event.augmented:
                assert family.kind == "augmented"
                assert leg.listed.event.exclusive
        for leg in family.legs:
            legs = groups[f"{leg.listed.venue}{leg.listed.event.key}"]
            if leg.listed.event.exclusive:  # at most one leg of the event wins, in every state
                assert sum(map(len, legs)) == len(set.union(*legs))


def test_weights_are_probabilities_and_stay_so(world: Universe) -> None:
    import random

    rng = random.Random(1)
    for family in world.families[:150]:
        for step in range(30):
            weights = family.process.weights(world.spec.now_ms + step * 1_000)
            assert len(weights) == len(family.states)
            assert min(weights) >= 0
            assert sum(weights) == pytest.approx(1)
            family.process.kick(rng, 0.3)


def test_texts_are_complete_and_speak_of_their_market(world: Universe) -> None:
    for family in world.families:
        for leg in family.legs:
            listed = leg.listed
            assert len(listed.title) > 8
            assert len(listed.rules) > 150
            assert listed.source
            assert (
                listed.source.split()[-1].strip(".") in listed.rules
                or listed.source[:20] in listed.rules
                or family.kind == "line"
            )
            assert "{" not in listed.rules + listed.title + listed.label


def test_questions_are_never_asked_twice_on_a_venue(world: Universe) -> None:
    asked = Counter(
        (leg.listed.venue, leg.listed.event.key, leg.listed.title, leg.listed.label)
        for f in world.families
        for leg in f.legs
    )
    assert max(asked.values()) == 1
    rules = Counter(
        (leg.listed.venue, leg.listed.rules)
        for f in world.families
        for leg in f.legs
        if f.kind not in {"duel", "updown", "line"}
    )
    assert max(rules.values()) == 1


def test_partitions_tile_the_line_as_kalshi_writes_strikes(world: Universe) -> None:
    for family in world.families:
        if family.kind != "partition":
            continue
        rows = [leg.listed for leg in family.legs if leg.listed.venue is K]
        if not rows:
            continue
        assert [row.strike_type for row in rows] == ["less"] + ["between"] * (len(rows) - 2) + ["greater"]
        edge = int(rows[0].cap_strike)
        for row in rows[1:-1]:
            assert int(row.floor_strike) == edge
            edge = int(row.cap_strike) + 1
        assert int(rows[-1].floor_strike) == edge - 1


def test_activity_is_as_concentrated_as_measured() -> None:
    shares = [activity_share(rank) for rank in range(1, 36_001)]
    assert sum(shares[:40]) == pytest.approx(0.495)
    assert sum(shares[:200]) == pytest.approx(0.70)
    assert sum(shares[:1_000]) == pytest.approx(0.92)
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) > 0


def test_volume_follows_activity(world: Universe) -> None:
    for venue in Venue:
        listed = sorted(
            (leg for f in world.families for leg in f.legs if leg.listed.venue is venue), key=lambda leg: leg.rank
        )
        volumes = [leg.listed.volume_24h_usdc for leg in listed]
        assert sum(v == 0 for v in volumes) / len(volumes) == pytest.approx(0.62, abs=0.02)
        assert sum(volumes[:40]) / sum(volumes) > 0.4


@pytest.mark.parametrize("grid", [kalshi_grid(name) for name in KALSHI_GRIDS] + [uniform_grid(100), uniform_grid(10)])
def test_caps_straddle_every_price_and_never_meet(grid) -> None:
    for tenth in range(1, 100_000, 37):
        fair = tenth / 10
        bid, ask = grid.caps(fair)
        assert bid < fair <= -ask
        assert bid == 0 or bid in grid.prices
        assert ask == -10_000 or -ask in grid.prices
        assert grid.better[bid] == -ask or bid == 0
    for px in grid.prices:
        assert grid.better[px] == 10_000 or grid.worse[grid.better[px]] == px
        assert grid.worse[px] < px < grid.better[px]
        assert grid.worse[-px] < -px < grid.better[-px]
