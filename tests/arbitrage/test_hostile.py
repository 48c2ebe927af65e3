"""Large, tangled and contradictory components end within a bound, and claim nothing that is not proved."""

from __future__ import annotations

import random
import time

import msgspec
import pytest

from overround.arbitrage import Finder, Limits, Quote, check
from overround.book import Level
from overround.logic import (
    Component,
    Contradiction,
    Count,
    Leg,
    Literal,
    exclusive,
    exhaustive,
    implies,
    ladder,
    partition,
    settled,
)
from overround.market import MarketId, Venue

pytestmark = pytest.mark.long

LOT = 1_000_000


def legs(n: int) -> tuple[Leg, ...]:
    return tuple(Leg(venue=Venue.KALSHI, market_id=MarketId(f"M{i}")) for i in range(n))


def quotes(n: int, rng: random.Random) -> list[Quote]:
    made = []
    for _ in range(n):
        mid = rng.randrange(5, 95)
        asks, nos = (
            tuple(Level(100 * (px + i), rng.randrange(1, 500) * LOT) for i in range(1, 4)) for px in (mid, 100 - mid)
        )
        made.append(Quote(yes=asks, no=nos))
    return made


def grid(k: int) -> list[Count]:
    """Levels by deadlines: a higher level and an earlier date imply the rest."""
    right = [implies(k * i + j, k * i + j + 1) for i in range(k) for j in range(k - 1)]
    return right + [implies(k * i + j, k * (i + 1) + j) for i in range(k - 1) for j in range(k)]


def tangle(n: int, rng: random.Random) -> list[Count]:
    return [exhaustive(Literal(leg, rng.random() < 0.5) for leg in rng.sample(range(n), 3)) for _ in range(2 * n)]


SHAPES = {
    "ladder of 1,500": (1_500, lambda _: ladder(range(1_500))),
    "partition of 400": (400, lambda _: [partition(range(400))]),
    "touch grid 20 x 20": (400, lambda _: grid(20)),
    "cycles": (300, lambda _: [implies(i, (i + 1) % 300) for i in range(300)]),
    "tangle": (24, lambda rng: tangle(24, rng)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_component_is_answered_in_time_and_with_proof(shape: str) -> None:
    rng = random.Random(3)
    n, make = SHAPES[shape]
    start = time.process_time()
    finder = Finder(Component(legs=legs(n), counts=tuple(make(rng))), quotes(n, rng), limits=Limits(), now_ms=0)
    found = finder.find(0)
    assert time.process_time() - start < 40
    # Prices drawn at random contradict each other: that nothing were found would be the surprise.
    assert found is not None or shape == "tangle"
    assert found is None or check(found) == []


def test_contradictory_constraints_are_named() -> None:
    counts = (*ladder(range(3)), settled(0, holds=True), settled(2, holds=False))
    with pytest.raises(Contradiction, match="M0, M1, M2"):
        Finder(Component(legs=legs(3), counts=counts), quotes(3, random.Random(1)), limits=Limits(), now_ms=0)


def test_a_certificate_of_monstrous_size_is_refused_at_once() -> None:
    rng = random.Random(1)
    found = Finder(Component(legs=legs(2), counts=(implies(0, 1),)), [
        Quote(yes=(), no=(Level(4_000, 10**8),)), Quote(yes=(Level(5_000, 10**8),), no=()),
    ], limits=Limits(), now_ms=0).find(0)  # fmt: skip
    assert found is not None
    start = time.process_time()
    for component in (
        Component(legs=legs(100_000), counts=tuple(ladder(range(100_000)))),
        Component(legs=legs(2), counts=(exclusive([0] * 1_000_000),)),
        Component(legs=legs(500), counts=tuple(tangle(500, rng))),
    ):
        assert check(msgspec.structs.replace(found, component=component))
    for rate in ("1e999999999", "9" * 5_000, "nan", "1/3", "", "-1"):
        order = found.purchases[0]
        spoiled = msgspec.structs.replace(order, fee=msgspec.structs.replace(order.fee, taker_rate=rate))
        assert check(msgspec.structs.replace(found, purchases=(spoiled, found.purchases[1])))
    assert time.process_time() - start < 20
