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
    partial_of_sums,
    rankings,
    stats_of,
)
from overround.analytics.viability import (
    HORIZONS_S,
    IMAGINED,
    JUDGED_FROM_S,
    POLICIES,
    QUOTE_COLUMNS,
    QUOTE_ESTIMATES,
    Quoter,
    QuoterPrints,
    QuoterRows,
    RewardRule,
    quote_px,
    reward_share,
    verdict_of,
)

__all__ = [
    "BLOCK_COLUMNS",
    "BLOCK_MS",
    "ESTIMATES",
    "GRID_MS",
    "HORIZONS_S",
    "IMAGINED",
    "INPUT_COLUMNS",
    "INTEREST_PARTS",
    "JUDGED_FROM_S",
    "PARTIAL_SCHEMA",
    "PAUSE_MS",
    "POLICIES",
    "QUOTE_COLUMNS",
    "QUOTE_ESTIMATES",
    "ROW_COLUMNS",
    "TRADE_COLUMNS",
    "Estimate",
    "Quoter",
    "QuoterPrints",
    "QuoterRows",
    "RankedMarket",
    "Rankings",
    "RewardRule",
    "blocks_of",
    "estimate",
    "interest",
    "join_blocks",
    "merge",
    "partial_of",
    "partial_of_sums",
    "quote_px",
    "rankings",
    "reward_share",
    "stats_of",
    "verdict_of",
]
