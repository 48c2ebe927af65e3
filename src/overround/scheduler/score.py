"""How much a market deserves to be watched, as one number in [0, 1].

With a stats cache the score comes from what was recorded: depth (on a log scale), tightness of the spread
and how often the quotes change. Without, from what the listing says: volume, liquidity, how new the market
is, how close its end. The two are blended by how many rows the statistics rest on, so that a market seen
once does not jump the ranking and one never seen is judged by its listing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from overround.market import Market, MarketId

__all__ = ["MarketStats", "activity_score", "market_stats", "rank", "stats_score"]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

# Full marks: about the 99th percentile of both venues; beyond them nothing distinguishes markets for us.
FULL_DEPTH = 1e6  # contracts in the best three levels of both sides
FULL_SPREAD = 0.20  # probability; a wider book is worth nothing to a maker or taker
FULL_UPDATES_PER_MIN = 30.0
FULL_VOLUME = 1e7  # USD in 24 h
FULL_LIQUIDITY = 1e6  # USD resting
SETTLED_ROWS = 60
"""Rows at which statistics and listing weigh the same."""


class MarketStats(msgspec.Struct, frozen=True, kw_only=True):
    """What the stats cache says about one market.

    Attributes
    ----------
    n_snapshots, n_ok : int
        Rows stored, and rows with both sides, on which the averages rest.
    avg_depth_top3 : float
        Contracts in the best three levels of both sides together; NaN when unknown.
    avg_spread : float
        Probability; NaN when unknown.
    quote_updates : int
        Rows whose best prices or sizes differ from the row before.
    observed_ms : int
        Time over which these rows were taken, without the pauses between two stays.
    """

    n_snapshots: int
    n_ok: int
    avg_depth_top3: float = math.nan
    avg_spread: float = math.nan
    quote_updates: int = 0
    observed_ms: int = 0


def market_stats(rows: Iterable[Mapping[str, object]]) -> dict[MarketId, MarketStats]:
    """Read the rows of ``stats.parquet`` as one value per market.

    The outcomes of a market mirror each other, so the one with the most rows stands for all; among
    equals the first in the alphabet, whatever the order of the rows.

    Parameters
    ----------
    rows : iterable of mapping
        Columns ``market_id``, ``outcome_id``, ``n_snapshots``, ``n_ok``, ``avg_depth_top3``, ``avg_spread``, ``quote_updates``
        and, where present, ``observed_ms``; averages may be null.
    """
    best: dict[MarketId, tuple[int, str, MarketStats]] = {}
    for row in rows:
        n_snapshots = _whole(row.get("n_snapshots"))
        outcome = str(row["outcome_id"])
        market_id = MarketId(str(row["market_id"]))
        found = best.get(market_id)
        if found is not None and (-found[0], found[1]) <= (-n_snapshots, outcome):
            continue
        value = MarketStats(
            n_snapshots=n_snapshots,
            n_ok=_whole(row.get("n_ok")),
            avg_depth_top3=_real(row.get("avg_depth_top3")),
            avg_spread=_real(row.get("avg_spread")),
            quote_updates=_whole(row.get("quote_updates")),
            observed_ms=_whole(row.get("observed_ms")),
        )
        best[market_id] = (n_snapshots, outcome, value)
    return {market_id: value for market_id, (_, _, value) in best.items()}


def rank(
    markets: Iterable[Market], stats: Mapping[MarketId, MarketStats] | None, *, now_ms: int
) -> dict[MarketId, float]:
    """Score every market.

    Parameters
    ----------
    markets : iterable of Market
    stats : mapping or None
        The stats cache; None or empty before anything was mined.
    now_ms : int
        Epoch milliseconds; recency and the time to the end are measured from here.

    Returns
    -------
    dict of MarketId to float
        In [0, 1], never NaN.
    """
    known = stats or {}
    scores: dict[MarketId, float] = {}
    for market in markets:
        activity = activity_score(market, now_ms=now_ms)
        seen = known.get(market.market_id)
        if seen is None or seen.n_snapshots <= 0:
            scores[market.market_id] = activity
        else:
            weight = seen.n_snapshots / (seen.n_snapshots + SETTLED_ROWS)
            scores[market.market_id] = weight * stats_score(seen) + (1.0 - weight) * activity
    return scores


def stats_score(stats: MarketStats) -> float:
    """Score from recorded rows: 0.4 depth, 0.3 tightness, 0.3 quote updates per minute, each in [0, 1].

    Depth and tightness count only for the share of rows that had both sides, on which they were measured.
    """
    two_sided = min(1.0, stats.n_ok / stats.n_snapshots) if stats.n_snapshots > 0 else 0.0
    depth = _log_share(stats.avg_depth_top3, FULL_DEPTH)
    spread = stats.avg_spread
    tight = 1.0 - min(1.0, max(0.0, spread) / FULL_SPREAD) if math.isfinite(spread) else 0.0
    updates = stats.quote_updates / max(1.0, stats.observed_ms / 60_000)
    return two_sided * (0.4 * depth + 0.3 * tight) + 0.3 * _log_share(updates, FULL_UPDATES_PER_MIN)


def activity_score(market: Market, *, now_ms: int) -> float:
    """Score from the listing: 0.5 volume of 24 h, 0.2 liquidity, 0.15 newness, 0.15 nearness of the end.

    Newness halves with each day since the market opened (or was first seen); nearness halves with each day
    to the end, and an indicative end that has passed counts as none.
    """
    volume = _log_share(market.volume_24h_usdc, FULL_VOLUME)
    liquidity = _log_share(market.liquidity_usdc, FULL_LIQUIDITY)
    born = market.open_ts or market.first_seen_ts
    fresh = 0.5 ** ((now_ms - born) / DAY_MS) if 0 < born <= now_ms else 0.0
    end = market.expected_close_ts or market.close_ts
    near = 0.5 ** ((end - now_ms) / DAY_MS) if end is not None and end > now_ms else 0.0
    return 0.5 * volume + 0.2 * liquidity + 0.15 * fresh + 0.15 * near


def _log_share(value: float, full: float) -> float:
    if not math.isfinite(value) or value <= 0:
        return 0.0
    return min(1.0, math.log1p(value) / math.log1p(full))


def _real(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0
