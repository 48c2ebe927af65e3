"""Names for markets in a ranking, out of the newest listing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from overround.analytics import RankedMarket
from overround.errors import NothingStored, StorageError
from overround.market import Market, MarketId
from overround.pipelines.mine import MineResult
from overround.storage import LakePaths, newest_universe

__all__ = ["caption_of", "captions", "with_captions"]


def with_captions(result: MineResult, paths: LakePaths, now_ms: int) -> MineResult:
    """The same result with each market's question; unchanged where the venue has no readable listing."""
    known = captions(paths, result.venue, now_ms)
    return dataclasses.replace(
        result,
        by_depth=_named(result.by_depth, known),
        by_spread=_named(result.by_spread, known),
        by_updates=_named(result.by_updates, known),
        most_interesting=tuple(
            dataclasses.replace(market, title=known.get(market.market_id, market.title))
            for market in result.most_interesting
        ),
    )


def captions(paths: LakePaths, venue: str, now_ms: int) -> dict[MarketId, str]:
    """Every listed market's caption; none where the venue has no readable listing."""
    try:
        found = newest_universe(paths, venue, now_ms=now_ms)
    except (NothingStored, StorageError):
        return {}
    return {market.market_id: caption_of(market) for market in found.markets} if found else {}


def caption_of(market: Market) -> str:
    """The question, with its leg where the question alone does not tell it."""
    if market.label and market.label.lower() not in market.title.lower():
        return f"{market.label}: {market.title}"
    return market.title


def _named(ranked: Sequence[RankedMarket], known: Mapping[MarketId, str]) -> tuple[RankedMarket, ...]:
    return tuple(dataclasses.replace(market, title=known.get(market.market_id, market.title)) for market in ranked)
