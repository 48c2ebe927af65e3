"""What the record says about markets. Pure: frames in, frames and values out.

Loading this package loads polars; commands import it when they run.
"""

from overround.analytics.miner import (
    INPUT_COLUMNS,
    PARTIAL_SCHEMA,
    PAUSE_MS,
    RankedMarket,
    Rankings,
    merge,
    partial_of,
    rankings,
    stats_of,
)

__all__ = [
    "INPUT_COLUMNS",
    "PARTIAL_SCHEMA",
    "PAUSE_MS",
    "RankedMarket",
    "Rankings",
    "merge",
    "partial_of",
    "rankings",
    "stats_of",
]
