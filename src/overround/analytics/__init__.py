"""What the record says about markets. Pure: frames in, frames and values out.

Loading this package loads polars; commands import it when they run.
"""

from overround.analytics.blocks import (
    BLOCK_COLUMNS,
    BLOCK_MS,
    GRID_MS,
    ROW_COLUMNS,
    TRADE_COLUMNS,
    blocks_of,
    join_blocks,
)
from overround.analytics.estimate import ESTIMATES, Estimate, estimate
from overround.analytics.interest import INTEREST_PARTS, interest
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
    "BLOCK_COLUMNS",
    "BLOCK_MS",
    "ESTIMATES",
    "GRID_MS",
    "INPUT_COLUMNS",
    "INTEREST_PARTS",
    "PARTIAL_SCHEMA",
    "PAUSE_MS",
    "ROW_COLUMNS",
    "TRADE_COLUMNS",
    "Estimate",
    "RankedMarket",
    "Rankings",
    "blocks_of",
    "estimate",
    "interest",
    "join_blocks",
    "merge",
    "partial_of",
    "rankings",
    "stats_of",
]
