"""Which markets are worth a closer look: one number, and the parts it is made of."""

from __future__ import annotations

import polars as pl

__all__ = ["INTEREST_PARTS", "interest"]

INTEREST_PARTS: dict[str, tuple[str, int]] = {
    "activity": ("changes_per_min", 1),
    "turnover": ("turnover_per_h", 1),
    "depth": ("depth_top3", 1),
    "tightness": ("rel_spread", -1),
    "movement": ("logit_volatility", 1),
    "two_sidedness": ("two_sided", 1),
}
"""Each part by its name: the statistic it ranks, and whether more or less of it is better."""


def interest(stats: pl.DataFrame) -> pl.DataFrame:
    """Rank markets against each other.

    A part is the share of markets that a market beats in it (half of those it equals), [0, 1]; a statistic that is not known
    beats none. ``interest`` is the mean of the parts. Of a market's outcomes the one watched longest speaks, among
    equals the first by its id.

    Parameters
    ----------
    stats : polars.DataFrame
        What ``estimate`` gives.

    Returns
    -------
    polars.DataFrame
        ``market_id``, ``outcome_id``, ``interest`` and a column per part, best first, equals in the order of their ids.
    """
    markets = (
        stats.sort("market_id", pl.col("watched_s").fill_null(0), "outcome_id", descending=[False, True, False])
        .group_by("market_id", maintain_order=True)
        .first()
    )
    n = max(1, markets.height)
    parts = [
        ((pl.col(column) * sign).fill_null(float("-inf")).rank("average") - 0.5).truediv(n).round(4).alias(part)
        for part, (column, sign) in INTEREST_PARTS.items()
    ]
    return (
        markets.select("market_id", "outcome_id", *parts)
        .with_columns(pl.mean_horizontal(*INTEREST_PARTS).round(4).alias("interest"))
        .sort("interest", "market_id", descending=[True, False])
    )
