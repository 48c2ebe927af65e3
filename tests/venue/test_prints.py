"""Each trade once: what is sent twice, told for both outcomes, or late."""

from __future__ import annotations

import msgspec
import pytest

from overround.market import MarketId, OutcomeId, Trade, Venue
from overround.venue.prints import TradeDesk

T0 = 1_790_000_000_000


def print_of(**changes: object) -> Trade:
    told = Trade(
        market_id=MarketId("0xa"),
        outcome_id=OutcomeId("first"),
        first=True,
        px=0.37,
        sz_e6=10_000_000,
        taker_side="buy",
        ts_recv_ns=(T0 + 5) * 1_000_000,
        ts_venue_ms=T0,
        trade_id="0xf",
    )
    return msgspec.structs.replace(told, **changes)


def settle(*trades: Trade) -> tuple[list[Trade], int, int]:
    desk = TradeDesk(Venue.POLYMARKET)
    for trade in trades:
        desk.add("polymarket-0", [trade])
    return desk.take(now_ms=None), desk.repeated, desk.other_legs


def test_a_print_that_comes_again_is_one_trade() -> None:
    first = print_of()
    assert settle(first, print_of(ts_recv_ns=(T0 + 900) * 1_000_000)) == ([first], 1, 0)


def test_without_an_id_the_same_time_makes_it_the_same_trade() -> None:
    first, later = print_of(trade_id=None), print_of(trade_id=None, ts_venue_ms=T0 + 1)
    assert settle(first, later, print_of(trade_id=None)) == ([first, later], 1, 0)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_the_other_outcomes_leg_is_the_same_trade(side: str) -> None:
    first = print_of()
    leg = print_of(outcome_id=OutcomeId("second"), first=False, px=0.63, taker_side=side)
    assert settle(first, leg) == ([first], 0, 1)
    assert settle(leg, first) == ([leg], 0, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"px": 0.38},
        {"sz_e6": 10_000_001},
        {"trade_id": "0xe"},
        {"market_id": MarketId("0xb")},
        {"outcome_id": OutcomeId("second"), "first": False, "px": 0.37},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_differs_is_another_trade(changes: dict[str, object]) -> None:
    first, other = print_of(), print_of(**changes)
    assert settle(first, other) == ([first, other], 0, 0)
