"""What trading costs and whether it happens: exact fee arithmetic of both venues, and a resting order's queue."""

from overround.fills.fates import LevelFates
from overround.fills.fees import (
    KALSHI_CENT_E10,
    KALSHI_UNIT_E10,
    USD_ONE_E10,
    FillFee,
    RoundingLedger,
    fee_bound,
    fill_fee,
    order_rounding_e10,
    usd_text,
)
from overround.fills.queue import Episode, LevelNews, QueuedOrder, fit_cancels_ahead

__all__ = [
    "KALSHI_CENT_E10",
    "KALSHI_UNIT_E10",
    "USD_ONE_E10",
    "Episode",
    "FillFee",
    "LevelFates",
    "LevelNews",
    "QueuedOrder",
    "RoundingLedger",
    "fee_bound",
    "fill_fee",
    "fit_cancels_ahead",
    "order_rounding_e10",
    "usd_text",
]
