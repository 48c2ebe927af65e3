"""What trading costs: exact fee arithmetic of both venues."""

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

__all__ = [
    "KALSHI_CENT_E10",
    "KALSHI_UNIT_E10",
    "USD_ONE_E10",
    "FillFee",
    "RoundingLedger",
    "fee_bound",
    "fill_fee",
    "order_rounding_e10",
    "usd_text",
]
