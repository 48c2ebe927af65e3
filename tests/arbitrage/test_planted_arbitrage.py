"""Every planted arbitrage is found, to the tenth of a cent, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from overround.arbitrage import Finder, Limits, Quote, check
from overround.book import Level, mirror
from overround.exchange.families import Family
from overround.exchange.generator import GeneratedSource
from overround.exchange.planted import PlantedArbitrage
from overround.exchange.universe import WorldSpec
from overround.fills import USD_ONE_E10
from overround.logic import Certificate, Component, Count, Leg, equivalent, exclusive, implies, joint, partition
from overround.market import FeeKind, FeeSchedule, Integrity, MarketId, Venue

pytestmark = pytest.mark.long

NOW = 1_790_000_000_000
SEEDS = range(56)
FREE = FeeSchedule()
FEES = {
    Venue.KALSHI: FeeSchedule(kind=FeeKind.KALSHI_QUADRATIC, taker_rate="0.07"),
    Venue.POLYMARKET: FeeSchedule(kind=FeeKind.POLYMARKET_CURVE, taker_rate="0.05"),
}


def world(seed: int) -> GeneratedSource:
    return GeneratedSource(
        WorldSpec(
            polymarket_markets=90,
            kalshi_markets=90,
            seed=seed,
            now_ms=NOW,
            planted=8,
            plant_from_s=1.0,
            plant_every_s=0.5,
            plant_for_s=6.0,
            economy=True,
            windows=False,
        )
    )


def component(family: Family, places: Sequence[int]) -> Component:
    """What holds by construction, among the legs that are listed."""
    new = {place: i for i, place in enumerate(places)}
    counts: list[Count] = []
    for relation in family.relations:
        here = [new[place] for place in relation.legs if place in new]
        missing = len(here) < len(relation.legs)
        match relation.kind:
            case "partition" | "exclusive":
                counts.append(exclusive(here) if missing or relation.kind == "exclusive" else partition(here))
            case "implies" if not missing:
                counts.append(implies(*here))
            case "equivalent" if not missing:
                counts.append(equivalent(*here))
            case "joint" if not missing:
                counts += joint(here[0], here[1:])
    listed = [family.legs[place].listed for place in places]
    return Component(
        legs=tuple(Leg(venue=each.venue, market_id=MarketId(each.key)) for each in listed), counts=tuple(counts)
    )


def quote(
    source: GeneratedSource, family: Family, place: int, *, fees: bool, integrity: Integrity, ts_ms: int
) -> Quote:
    listed = family.legs[place].listed
    bids, asks = source.levels(listed.key)
    return Quote(
        yes=tuple(Level(px, asks[px]) for px in sorted(asks)),
        no=tuple(mirror(Level(px, bids[px]) for px in sorted(bids, reverse=True))),
        fee=FEES[listed.venue] if fees else FREE,
        ts_ms=ts_ms,
        integrity=integrity,
    )


def findings(
    source: GeneratedSource,
    now_ms: int,
    *,
    fees: bool,
    spoil: tuple[Integrity, int] = (Integrity.VERIFIED, 0),
    frozen: dict[str, Quote] | None = None,
) -> dict[str, Certificate]:
    """The best finding of each family, on books of one verdict and age; ``frozen`` markets show what they are given."""
    integrity, age = spoil
    found = {}
    for family in source.universe.families:
        places = [
            i
            for i, leg in enumerate(family.legs)
            if leg.listed.key in source.listings and leg.listed.status == "active"
        ]
        if not family.relations or len(places) < 2:
            continue
        quotes = []
        for place in places:
            held = (frozen or {}).get(family.legs[place].listed.key)
            quotes.append(held or quote(source, family, place, fees=fees, integrity=integrity, ts_ms=now_ms - age))
        certificate = Finder(component(family, places), quotes, limits=Limits(), now_ms=now_ms).find(now_ms)
        if certificate is not None:
            assert check(certificate) == []
            found[family.key] = certificate
    return found


def after_fees(told: PlantedArbitrage) -> float:
    """What a bundle earns when each contract pays the formula's fee, and each order its rounding."""
    fee = 0.0
    for leg in told.legs:
        p = leg.px_e4 / 10_000
        kalshi = leg.venue == "kalshi"
        fee += (
            told.contracts_e6 / 1e6 * ((0.07 if kalshi else 0.05) * p * (1 - p) + (0.0001 if kalshi else 0.00001))
            + 0.011 * kalshi
        )
    return told.contracts_e6 / 1e6 * told.profit_e4 / 1e4 - fee


@pytest.mark.parametrize("seed", SEEDS)
def test_every_plant_is_found_with_its_profit_and_nothing_is_invented(seed: int) -> None:
    source = world(seed)
    now = NOW + 5_500
    source.advance(now)
    standing = {told.family: told for told in source.planted if told.start_ms <= now < told.end_ms}
    assert len(standing) >= 6
    free = findings(source, now, fees=False)
    assert set(free) == set(standing)
    for key, told in standing.items():
        tick_e10 = told.contracts_e6 * 10
        assert abs(free[key].profit_e10 - told.contracts_e6 * told.profit_e4) <= tick_e10
    paid = findings(source, now, fees=True)
    assert set(paid) <= set(standing)
    for key, told in standing.items():
        net = after_fees(told)
        if net > 0.02:
            tick = told.contracts_e6 / 1e9
            assert net - tick <= paid[key].profit_e10 / USD_ONE_E10 <= told.contracts_e6 * told.profit_e4 / USD_ONE_E10
    # Before the first one and after the last one there is nothing.
    if seed % 8 == 0:
        assert findings(world(seed), NOW, fees=False) == {}


@pytest.mark.parametrize(
    "spoil", [(Integrity.GAP, 0), (Integrity.STALE, 0), (Integrity.SUSPECT, 0), (Integrity.VERIFIED, 5_001)]
)
def test_on_stale_or_gapped_books_nothing_is_found(spoil: tuple[Integrity, int]) -> None:
    source = world(1)
    source.advance(NOW + 5_500)
    assert findings(source, NOW + 5_500, fees=False)
    assert findings(source, NOW + 5_500, fees=False, spoil=spoil) == {}


@pytest.mark.parametrize("seed", range(0, 56, 7))
def test_missed_updates_invent_nothing_where_verdicts_are_heeded(seed: int) -> None:
    """Every other market missed all since the plants stood: beside fresh books its old one tempts; its verdict forbids it."""
    source = world(seed)
    source.advance(NOW + 5_500)
    now = NOW + 14_000
    old = {
        leg.listed.key: quote(source, family, place, fees=False, integrity=Integrity.GAP, ts_ms=now)
        for family in source.universe.families
        for place, leg in enumerate(family.legs)
        if place % 2 == 0 and leg.listed.key in source.listings
    }
    source.advance(now)
    assert not any(told.end_ms > now for told in source.planted)
    assert findings(source, now, fees=False) == {}
    assert findings(source, now, fees=False, frozen=old) == {}
    trusting = {key: msgspec.structs.replace(one, integrity=Integrity.VERIFIED) for key, one in old.items()}
    assert findings(source, now, fees=False, frozen=trusting)
