"""Markets for tests, made by number."""

from __future__ import annotations

from typing import Any

import msgspec

from overround.market import Market, MarketId, MarketStatus, OutcomeId, Venue

__all__ = ["a_market", "a_universe"]


def a_market(number: int, **changes: Any) -> Market:
    """An active Kalshi market; ``changes`` are fields of ``Market``."""
    market = Market(
        market_id=MarketId(f"KXTEST-{number:05d}"),
        outcome_ids=(OutcomeId("yes"), OutcomeId("no")),
        title=f"Will test {number} pass?",
        close_ts=None,
        open_ts=None,
        status=MarketStatus.ACTIVE,
        tags=(),
        venue=Venue.KALSHI,
    )
    return msgspec.structs.replace(market, **changes)


def a_universe(count: int, *, first: int = 0, **changes: Any) -> dict[MarketId, Market]:
    """``count`` markets by id."""
    return {market.market_id: market for market in (a_market(first + n, **changes) for n in range(count))}
