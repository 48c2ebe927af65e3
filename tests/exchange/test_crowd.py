"""A market of single orders: the same for everybody, whoever else stands in it."""

from __future__ import annotations

import msgspec

from overround.exchange.crowd import Crowd, CrowdSpec
from overround.exchange.matching import Order

HOUR = 3_600_000
LOT = 1_000_000


def told(crowd: Crowd) -> list[tuple[int, int, int, bool]]:
    return [one[:4] for one in crowd.prints]


def test_a_seed_gives_one_market_however_time_is_cut() -> None:
    once, often = (Crowd(CrowdSpec.drawn(3), 0) for _ in range(2))
    once.advance(HOUR)
    for now in range(0, HOUR + 1, 10_000):
        often.advance(now)
        bid, ask = often.book.best(bids=True), often.book.best(bids=False)
        assert not bid or not ask or bid < ask
    assert told(once) == told(often)
    assert len(told(once)) > 20
    assert once.book.levels(bids=True) == often.book.levels(bids=True)
    other = Crowd(CrowdSpec.drawn(4), 0)
    other.advance(HOUR)
    assert told(other) != told(once)


def test_an_order_that_nobody_reaches_changes_nothing() -> None:
    alone, joined = (Crowd(CrowdSpec.drawn(3), 0) for _ in range(2))
    joined.place(Order(bid=True, px_e4=10, sz_e6=LOT, owner="ours"))
    for crowd in (alone, joined):
        crowd.advance(HOUR)
    assert told(alone) == told(joined)
    assert alone.fair_e4 == joined.fair_e4


def test_an_order_in_the_way_is_filled_and_the_takers_come_all_the_same() -> None:
    spec = msgspec.structs.replace(CrowdSpec.drawn(3), followers=0.0)
    alone, joined = (Crowd(spec, 0) for _ in range(2))
    for crowd in (alone, joined):
        crowd.advance(60_000)
    px = joined.book.best(bids=True)
    ours = Order(bid=True, px_e4=px, sz_e6=10**6 * LOT, owner="ours")
    joined.place(ours)
    for crowd in (alone, joined):
        crowd.advance(HOUR)
    filled = 10**6 * LOT - ours.left_e6
    assert filled == sum(one.sz_e6 for one in joined.prints if one.order is ours) > 0
    assert alone.fair_e4 == joined.fair_e4, "who knows, knows without us"


def test_informed_takers_are_followed_by_the_price() -> None:
    """The fair price five minutes after a print has gone the taker's way where takers know, and nowhere where not."""

    def gained(informed: float) -> float:
        spec = CrowdSpec(seed=5, takes_per_h=120, informed=informed, knows_e4=200, news_per_h=1e-6)
        crowd = Crowd(spec, 0)
        fair, total = [], 0.0
        for now in range(0, 12 * HOUR, 10_000):
            crowd.advance(now)
            fair.append(crowd.fair_e4)
        for one in crowd.prints:
            at = one.ts_ms // 10_000
            if at + 31 < len(fair):
                total += (fair[at + 31] - fair[at]) * (1 if one.buys else -1)
        return total / len(crowd.prints)

    assert gained(0.0) == 0.0
    assert gained(0.5) > 40
