"""What a fill costs, exactly.

Money is an integer here: ``usd_e10``, dollars times 10**10, because that is the unit of ``px_e4 * sz_e6`` and
so every product, rounding and sum is exact. Rates come as decimal texts from the market's own schedule;
nothing is a constant of the venue.

Kalshi, per fill of C contracts at P (the price paid; P and 1 - P cost the same):

1. trade fee = rate * multiplier * C * P * (1 - P), rounded up to 0.0001 dollars;
2. the balance changes by the cash less that fee, rounded down (away from the member) to the member's
   precision, 0.0001 for direct members since 2026-05-28 and 0.01 for others; the difference is a rounding fee;
3. rounding fees add up within one order; once the sum exceeds 0.01, 0.01 of it is given back.

Before 2026 the fee of an order was rounded up to a whole cent (``KALSHI_CENT_E10`` as the unit).

Polymarket, takers only: fee = shares * rate * (p * (1 - p)) ** exponent, rounded to 0.00001 dollars.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from overround.market import PX_ONE_E4, SZ_ONE_E6, FeeKind, FeeSchedule

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

USD_ONE_E10 = PX_ONE_E4 * SZ_ONE_E6
KALSHI_UNIT_E10 = USD_ONE_E10 // 10_000
KALSHI_CENT_E10 = USD_ONE_E10 // 100
_POLYMARKET_UNIT_E10 = USD_ONE_E10 // 100_000


def fill_fee(
    schedule: FeeSchedule,
    *,
    px_e4: int,
    sz_e6: int,
    is_taker: bool,
    ts_ms: int | None = None,
    unit_e10: int = KALSHI_UNIT_E10,
) -> int | None:
    """Fee of one fill by the venue's formula and rounding.

    Parameters
    ----------
    schedule : FeeSchedule
        The market's schedule, as listed at the time of the fill.
    px_e4, sz_e6 : int
        Price paid and contracts.
    is_taker : bool
        Whether the fill took liquidity.
    ts_ms : int, optional
        Time of the fill, for a schedule that is waived until an instant; without it a waiver is not applied.
    unit_e10 : int
        What Kalshi's fee is rounded up to.

    Returns
    -------
    int or None
        ``usd_e10``; None when the schedule is of an unknown kind, so that nobody mistakes it for free.

    Raises
    ------
    ValueError
        If price or size lie outside their range.

    Examples
    --------
    >>> crypto = FeeSchedule(kind=FeeKind.POLYMARKET_CURVE, taker_rate="0.07")
    >>> usd_text(fill_fee(crypto, px_e4=5000, sz_e6=100_000_000, is_taker=True))
    '1.75'
    """
    if not 0 <= px_e4 <= PX_ONE_E4 or sz_e6 < 0:
        raise ValueError(f"no fill: px_e4={px_e4}, sz_e6={sz_e6}")
    if schedule.kind is FeeKind.UNKNOWN:
        return None
    if schedule.kind is FeeKind.NONE:
        return 0
    if schedule.waived_until_ts is not None and ts_ms is not None and ts_ms < schedule.waived_until_ts:
        return 0
    rate = _exact(schedule.taker_rate if is_taker else schedule.maker_rate) * _exact(schedule.multiplier)
    # p (1 - p) is an integer over 10**8; a price of 0 or 1 costs nothing.
    variance = Fraction(px_e4 * (PX_ONE_E4 - px_e4), PX_ONE_E4 * PX_ONE_E4)
    exact = rate * variance**schedule.exponent * sz_e6 * PX_ONE_E4
    if schedule.kind is FeeKind.KALSHI_QUADRATIC:
        return -(-exact // unit_e10) * unit_e10
    # The venue says "rounded" and not how: half goes up, as in its own examples no case decides.
    return (exact * 2 + _POLYMARKET_UNIT_E10) // (2 * _POLYMARKET_UNIT_E10) * _POLYMARKET_UNIT_E10


def fee_bound(schedule: FeeSchedule, *, px_e4: int, sz_e6: int, ts_ms: int | None = None) -> int | None:
    """The most that a taker pays for a level, whatever resting orders of a contract or more it is made of.

    Each fill's fee is rounded by itself; a level of n contracts is n fills at most, and each adds a unit at most.

    Returns
    -------
    int or None
        ``usd_e10``; None when the schedule is of an unknown kind.
    """
    fee = fill_fee(schedule, px_e4=px_e4, sz_e6=sz_e6, is_taker=True, ts_ms=ts_ms)
    if fee is None or schedule.kind is FeeKind.NONE:
        return fee
    unit = KALSHI_UNIT_E10 if schedule.kind is FeeKind.KALSHI_QUADRATIC else _POLYMARKET_UNIT_E10
    return fee + unit * -(-sz_e6 // SZ_ONE_E6)


def order_rounding_e10(schedule: FeeSchedule) -> int:
    """The most that the rounding of an order's balance adds: a cent on Kalshi, because what is beyond is given back.

    Before 2026, when fees were rounded up to a cent once an order, the same cent covers that.
    """
    return KALSHI_CENT_E10 if schedule.kind is FeeKind.KALSHI_QUADRATIC else 0


class FillFee(NamedTuple):
    """What one Kalshi fill cost in all, ``usd_e10``."""

    trade_e10: int
    rounding_e10: int
    rebate_e10: int
    balance_change_e10: int
    """Cash less trade fee, rounded down; without the rebate."""

    @property
    def net_e10(self) -> int:
        """Trade fee plus rounding fee less rebate; never negative."""
        return self.trade_e10 + self.rounding_e10 - self.rebate_e10


class RoundingLedger:
    """The rounding fees of one Kalshi order, and what is given back of them.

    Parameters
    ----------
    precision_e10 : int
        The member's balance precision: 0.0001 dollars for direct members, 0.01 for others.
    """

    def __init__(self, *, precision_e10: int = KALSHI_UNIT_E10) -> None:
        self.precision_e10 = precision_e10
        self.sum_e10 = 0

    def charge(self, trade_fee_e10: int, *, cash_e10: int) -> FillFee:
        """Book one fill.

        Parameters
        ----------
        trade_fee_e10 : int
            From ``fill_fee``.
        cash_e10 : int
            Money that the fill moves without fees: ``-px_e4 * sz_e6`` for a purchase, positive for a sale.
        """
        exact = cash_e10 - trade_fee_e10
        change = exact // self.precision_e10 * self.precision_e10
        rounding = exact - change
        self.sum_e10 += rounding
        rebate = 0
        if self.sum_e10 > KALSHI_CENT_E10:
            rebate = min(KALSHI_CENT_E10, trade_fee_e10 + rounding)
            self.sum_e10 -= rebate
        return FillFee(trade_fee_e10, rounding, rebate, change)


def usd_text(usd_e10: int) -> str:
    """Shortest decimal text of a ``usd_e10``."""
    sign, (whole, rest) = "-" if usd_e10 < 0 else "", divmod(abs(usd_e10), USD_ONE_E10)
    return f"{sign}{whole}.{rest:010d}".rstrip("0") if rest else f"{sign}{whole}"


@lru_cache(maxsize=256)
def _exact(text: str) -> Fraction:
    return Fraction(text)
