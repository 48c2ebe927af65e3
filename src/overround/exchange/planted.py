"""Arbitrage of known size, planted at a known time.

By weak duality no portfolio over quotes that straddle the fair prices of one weighting can earn for sure. A plant
therefore changes two things at its start: the family's weights become ones under which the chosen relation is tight,
and one level per leg of the bundle steps over its fair price, so that the steps add up to the planned profit. While it
stands, every other quote of the family still straddles those weights. Hence the best sure profit before fees is
exactly ``contracts`` times ``profit_e4``: the bundle reaches it, and the weights bound it from above.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from overround.exchange import ids
from overround.exchange.families import Family, Relation
from overround.exchange.universe import Universe, WorldSpec

__all__ = ["Pin", "Plant", "PlantedArbitrage", "PlantedLeg", "plan_plants"]

_ONE_E4 = 10_000
_STEP = 100
"""Planted prices are whole cents, which lie on every grid of both venues."""
_LEAD_MS = 5_000


class PlantedLeg(msgspec.Struct, frozen=True, kw_only=True):
    """One purchase of a planted bundle.

    Attributes
    ----------
    venue : str
    key : str
        Market key.
    outcome : int
        0 buys the first outcome at its ask, 1 the second one at its ask (which is 1 - bid of the first).
    px_e4 : int
        Price paid for that outcome.
    sz_e6 : int
        Size of the planted level.
    """

    venue: str
    key: str
    outcome: int
    px_e4: int
    sz_e6: int


class PlantedArbitrage(msgspec.Struct, frozen=True, kw_only=True):
    """What can be earned for sure, before fees.

    Attributes
    ----------
    name : str
    kind : str
        ``implies``, ``equivalent``, ``buy_all``, ``sell_all`` or ``joint``.
    family : str
        Key of the family.
    start_ms, end_ms : int
        The levels appear in the millisecond ``start_ms`` and are gone in ``end_ms``.
    contracts_e6 : int
        Sets that can be bought.
    cost_e4, payoff_e4, profit_e4 : int
        Per set: price of all legs, the least they pay in any state, and the difference.
    legs : tuple of PlantedLeg
    """

    name: str
    kind: str
    family: str
    start_ms: int
    end_ms: int
    contracts_e6: int
    cost_e4: int
    payoff_e4: int
    profit_e4: int
    legs: tuple[PlantedLeg, ...]


class Pin(msgspec.Struct, frozen=True):
    """One level that a plant puts over the fair price of a leg."""

    leg: int
    bid: bool
    px_e4: int


class Plant(msgspec.Struct, frozen=True, kw_only=True):
    """A planted arbitrage with what the generator needs to stage it."""

    told: PlantedArbitrage
    pins: tuple[Pin, ...]
    weights: tuple[float, ...]


def plan_plants(universe: Universe, spec: WorldSpec) -> dict[int, list[Plant]]:
    """Choose families, bundles and times; the answer is by ``Family.index``.

    The kinds take turns, over the busiest families first, so that a collector's hot set meets them.
    """
    rng = random.Random(ids.stream_seed(spec.seed, "plants"))
    found: dict[int, list[Plant]] = {}
    kinds = ("implies", "buy_all", "equivalent", "sell_all", "joint")
    families = sorted(
        (family for family in universe.families if family.relations),
        key=lambda family: (-sum(leg.rate for leg in family.legs), family.index),
    )
    used: set[int] = set()
    for nth in range(spec.planted):
        start = spec.now_ms + int((spec.plant_from_s + nth * spec.plant_every_s) * 1000)
        end = start + int(spec.plant_for_s * 1000)
        for turn in range(len(kinds)):
            plant = _plan(families, kinds[(nth + turn) % len(kinds)], nth, start, end, used, rng)
            if plant is not None:
                found.setdefault(plant[0], []).append(plant[1])
                break
    return found


def _plan(
    families: Sequence[Family], kind: str, nth: int, start: int, end: int, used: set[int], rng: random.Random
) -> tuple[int, Plant] | None:
    for family in families:
        if family.index in used or family.close_ms < end + _LEAD_MS:
            continue
        if any(leg.listed.close_ms < end + _LEAD_MS for leg in family.legs):
            continue
        fitting = [relation for relation in family.relations if _fits(family, relation, kind)]
        rng.shuffle(fitting)
        for relation in fitting:
            staged = _STAGES[kind](family, relation, rng)
            if staged is not None:
                used.add(family.index)
                return family.index, _told(family, kind, nth, start, end, rng, *staged)
    return None


def _fits(family: Family, relation: Relation, kind: str) -> bool:
    if any(family.legs[place].lists_ms is not None for place in relation.legs):
        return False
    if kind == "buy_all":
        return relation.kind == "partition" and len(relation.legs) <= 12
    if kind == "sell_all":
        return relation.kind in {"partition", "exclusive"} and 2 < len(relation.legs) <= 12
    return relation.kind == kind


_Staged = tuple[tuple[Pin, ...], list[float], int]
"""Pins, weights, and the least payoff of a set."""


def _told(
    family: Family,
    kind: str,
    nth: int,
    start: int,
    end: int,
    rng: random.Random,
    pins: tuple[Pin, ...],
    weights: list[float],
    payoff: int,
) -> Plant:
    contracts = rng.choice((60, 100, 150, 250, 400, 800)) * 1_000_000
    legs = []
    for pin in pins:
        listed = family.legs[pin.leg].listed
        legs.append(
            PlantedLeg(
                venue=listed.venue.value,
                key=listed.key,
                outcome=1 if pin.bid else 0,
                px_e4=_ONE_E4 - pin.px_e4 if pin.bid else pin.px_e4,
                sz_e6=contracts,
            )
        )
    cost = sum(leg.px_e4 for leg in legs)
    told = PlantedArbitrage(
        name=f"planted-{nth}", kind=kind, family=family.key, start_ms=start, end_ms=end, contracts_e6=contracts,
        cost_e4=cost, payoff_e4=payoff, profit_e4=payoff - cost, legs=tuple(legs),
    )  # fmt: skip
    return Plant(told=told, pins=pins, weights=tuple(weights))


def _weights(family: Family) -> list[float]:
    return family.process.weights(0)


def _pair(family: Family, relation: Relation, rng: random.Random) -> _Staged | None:
    """Sell the first leg over the fair price, buy the second one under it; their fair prices are made equal."""
    first, second = (family.legs[place] for place in relation.legs)
    weights = _weights(family)
    between = set(second.states) - set(first.states)
    moved = sum(weights[s] for s in between)
    for s in between:
        weights[s] = 0.0
    held = family.fair(first, weights)
    if not 0.05 < held < 0.93:
        return None
    # What lay between goes to the states outside, so that the two prices meet at the first leg's.
    outside = [s for s in range(len(weights)) if s not in second.states]
    if not outside:
        return None
    for s in outside:
        weights[s] += moved / len(outside)
    profit = rng.choice((200, 300, 400, 600))
    fair = family.fair(first, weights) * _ONE_E4
    ask = int((fair - profit / 2) // _STEP) * _STEP
    bid = ask + profit
    if ask < _STEP or bid > _ONE_E4 - _STEP or not ask < fair < bid:
        return None
    pins = (Pin(relation.legs[0], bid=True, px_e4=bid), Pin(relation.legs[1], bid=False, px_e4=ask))
    return pins, weights, _ONE_E4


def _spread_over(family: Family, relation: Relation, total: int) -> tuple[list[int], list[float]] | None:
    """Whole-cent prices that sum to ``total``, near the fair ones, and weights in proportion to them."""
    weights = _weights(family)
    fairs = [family.fair(family.legs[place], weights) for place in relation.legs]
    room = total - _STEP * len(fairs)
    if room <= 0:
        return None
    scale = room / sum(fairs)
    prices = [_STEP + int(fair * scale // _STEP) * _STEP for fair in fairs]
    order = sorted(range(len(fairs)), key=lambda i: -(fairs[i] * scale % _STEP))
    for i in order[: (total - sum(prices)) // _STEP]:
        prices[i] += _STEP
    if sum(prices) != total or max(prices) > 9_300:
        return None
    # Each leg's states share its new weight as they shared its old one; states of no leg get nothing.
    fresh = [0.0] * len(weights)
    for place, price, fair in zip(relation.legs, prices, fairs, strict=True):
        states = family.legs[place].states
        for s in states:
            part = weights[s] / fair if fair > 0 else 1 / len(states)
            fresh[s] += price / total * part
    return prices, fresh


def _buy_all(family: Family, relation: Relation, rng: random.Random) -> _Staged | None:
    profit = rng.choice((200, 300, 400, 600))
    spread = _spread_over(family, relation, _ONE_E4 - profit)
    if spread is None:
        return None
    prices, weights = spread
    pins = tuple(Pin(place, bid=False, px_e4=px) for place, px in zip(relation.legs, prices, strict=True))
    return pins, weights, _ONE_E4


def _sell_all(family: Family, relation: Relation, rng: random.Random) -> _Staged | None:
    profit = rng.choice((200, 300, 400, 600))
    spread = _spread_over(family, relation, _ONE_E4 + profit)
    if spread is None:
        return None
    prices, weights = spread
    pins = tuple(Pin(place, bid=True, px_e4=px) for place, px in zip(relation.legs, prices, strict=True))
    return pins, weights, _ONE_E4 * (len(prices) - 1)


def _joint(family: Family, relation: Relation, rng: random.Random) -> _Staged | None:
    """Sell both marginals, buy the joint: y_A + y_B - 1 <= y_C, tight when nothing lies outside both."""
    joint, a, b = (family.legs[place] for place in relation.legs)
    weights = _weights(family)
    both = joint.states[0]
    only_a = next(s for s in a.states if s != both)
    only_b = next(s for s in b.states if s != both)
    neither = next(s for s in range(len(weights)) if s not in {both, only_a, only_b})
    profit = rng.choice((300, 600))
    ask = min(5_000, max(1_000, int(weights[both] * 50) * 200))
    bid_a = min(8_500, max(ask + 1_500, int((weights[both] + weights[only_a]) * 100) * 100))
    bid_b = _ONE_E4 + ask + profit - bid_a
    fresh = [0.0] * len(weights)
    fresh[both] = (ask + profit / 3) / _ONE_E4
    fresh[only_a] = (bid_a - profit / 3) / _ONE_E4 - fresh[both]
    fresh[only_b] = (bid_b - profit / 3) / _ONE_E4 - fresh[both]
    fresh[neither] = 0.0
    if min(fresh) < 0 or bid_b > _ONE_E4 - _STEP:
        return None
    pins = (
        Pin(relation.legs[0], bid=False, px_e4=ask),
        Pin(relation.legs[1], bid=True, px_e4=bid_a),
        Pin(relation.legs[2], bid=True, px_e4=bid_b),
    )
    return pins, fresh, _ONE_E4


_STAGES = {"implies": _pair, "equivalent": _pair, "buy_all": _buy_all, "sell_all": _sell_all, "joint": _joint}
