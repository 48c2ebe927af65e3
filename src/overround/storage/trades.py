"""The trades table: every print once, in the outcome that was traded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from overround.market import SZ_ONE_E6, Trade
from overround.storage.columns import column, mask, optional, texts
from overround.storage.paths import TRADES
from overround.storage.schema import TableSpec

__all__ = ["TRADE_SCHEMA", "TRADE_TABLE", "trade_batch"]

_FIELDS: list[pa.Field[Any]] = [
    pa.field("ts_recv", pa.int64(), nullable=False),
    pa.field("venue", pa.string(), nullable=False),
    pa.field("market_id", pa.string(), nullable=False),
    pa.field("outcome_id", pa.string(), nullable=False),
    pa.field("first", pa.bool_(), nullable=False),
    pa.field("px", pa.float64(), nullable=False),
    pa.field("sz", pa.float64(), nullable=False),
    pa.field("taker_side", pa.string()),
    pa.field("source_ts", pa.int64()),
    pa.field("trade_id", pa.string()),
    pa.field("block", pa.bool_(), nullable=False),
    pa.field("book_sz", pa.float64()),
    pa.field("book_seq", pa.int64()),
]
TRADE_SCHEMA = pa.schema(_FIELDS)

TRADE_TABLE = TableSpec(
    place=TRADES,
    schema=TRADE_SCHEMA,
    version=1,
    time_column="ts_recv",
    sort_key=("market_id", "ts_recv", "outcome_id"),
    dictionary=("venue", "market_id", "outcome_id", "taker_side", "px"),
)


def trade_batch(trades: Sequence[Trade], venue: str) -> pa.RecordBatch:
    """Trades as a batch of rows."""
    sizes = np.array([trade.sz_e6 for trade in trades], np.int64)
    return pa.RecordBatch.from_arrays(
        [
            column(np.array([trade.ts_recv_ns // 1_000_000 for trade in trades], np.int64)),
            texts([venue] * len(trades)),
            texts([trade.market_id for trade in trades]),
            texts([trade.outcome_id for trade in trades]),
            mask(np.array([trade.first for trade in trades], np.bool_)),
            column(np.array([trade.px for trade in trades], np.float64)),
            column(sizes / SZ_ONE_E6),
            texts([trade.taker_side for trade in trades]),
            optional([trade.ts_venue_ms for trade in trades]),
            texts([trade.trade_id for trade in trades]),
            mask(np.array([trade.block for trade in trades], np.bool_)),
            optional([trade.book_sz_e6 for trade in trades], scale=SZ_ONE_E6),
            optional([trade.book_seq for trade in trades]),
        ],
        schema=TRADE_SCHEMA,
    )
