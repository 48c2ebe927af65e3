"""Names of things."""

from __future__ import annotations

from enum import StrEnum
from typing import NewType

__all__ = ["MarketId", "OutcomeId", "Venue"]

MarketId = NewType("MarketId", str)
"""Polymarket: condition id (``0x`` and 64 hex digits). Kalshi: market ticker."""

OutcomeId = NewType("OutcomeId", str)
"""Polymarket: token id (decimal text of 76 to 78 digits). Kalshi: ``yes`` or ``no``."""


class Venue(StrEnum):
    """The venues, as paths and columns spell them."""

    POLYMARKET = "polymarket"
    KALSHI = "kalshi"
