from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overround.collector.placement import Placement
from overround.market import MarketId


def ids(*numbers: int) -> list[MarketId]:
    return [MarketId(str(number)) for number in numbers]


def test_markets_spread_evenly_over_the_reserved_connections() -> None:
    placement = Placement(100)
    placement.reserve(200)
    placement.put(ids(*range(50)))
    assert placement.loads == (25, 25)


@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 30), max_size=10)), max_size=20))
def test_no_connection_is_over_its_capacity_and_every_market_has_one_place(
    capacity: int, moves: list[tuple[bool, set[int]]]
) -> None:
    placement, held = Placement(capacity), set[int]()
    for put, numbers in moves:
        if put:
            placement.put(ids(*numbers))
            held |= numbers
        else:
            placement.take(ids(*numbers))
            held -= numbers
        assert max(placement.loads, default=0) <= capacity
        assert sum(placement.loads) == len(placement) == len(held)
        assert all(placement.slot_of(market_id) is not None for market_id in ids(*held))


def test_a_market_stays_where_it_is() -> None:
    placement = Placement(1)
    placement.put(ids(1, 2))
    before = placement.slot_of(MarketId("2"))
    placement.take(ids(1))
    assert placement.put(ids(2)) == {}
    assert placement.slot_of(MarketId("2")) == before
