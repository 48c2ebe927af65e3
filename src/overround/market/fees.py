"""A market's fee schedule, as listed; the arithmetic is in ``overround.fills``."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["FeeKind", "FeeSchedule"]


class FeeKind(StrEnum):
    """Families of fee formulas."""

    NONE = "none"
    POLYMARKET_CURVE = "polymarket_curve"
    """``shares * rate * (p (1 - p)) ** exponent``, takers."""
    KALSHI_QUADRATIC = "kalshi_quadratic"
    """``rate * multiplier * contracts * p (1 - p)``, rounded up."""
    UNKNOWN = "unknown"
    """The venue names a kind we do not know; nothing may be called riskless with it."""


class FeeSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """What a fill costs on one market.

    Attributes
    ----------
    kind : FeeKind
        Formula family.
    name : str
        The venue's own word (``crypto_fees_v2``, ``quadratic_with_maker_fees``, ...).
    taker_rate, maker_rate : str
        Exact decimal texts, so that no float enters the arithmetic.
    exponent : int
        Power of ``p (1 - p)``.
    multiplier : str
        Series or event multiplier (Kalshi), exact decimal text.
    rebate_rate : str
        Share of taker fees paid to makers, exact decimal text.
    waived_until_ts : int or None
        No fee before this instant (ms).
    """

    kind: FeeKind = FeeKind.NONE
    name: str = ""
    taker_rate: str = "0"
    maker_rate: str = "0"
    exponent: int = 1
    multiplier: str = "1"
    rebate_rate: str = "0"
    waived_until_ts: int | None = None
