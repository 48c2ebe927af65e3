"""Sets of numbers that a threshold, a range or a single value name: intervals with exact ends."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import msgspec

__all__ = ["Interval"]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers between two ends, each of which may be open, closed or absent.

    Attributes
    ----------
    lo, hi : Decimal or None
        None reaches to infinity.
    lo_closed, hi_closed : bool
        Whether the end itself belongs to the set; meaningless for an absent end.

    Examples
    --------
    >>> above = Interval(lo=Decimal(70))
    >>> Interval(lo=Decimal(70), hi=Decimal(72), lo_closed=True).within(above)
    False
    >>> Interval(lo=Decimal(71), hi=Decimal(72), lo_closed=True).within(above)
    True
    """

    lo: Decimal | None = None
    hi: Decimal | None = None
    lo_closed: bool = False
    hi_closed: bool = False

    @property
    def empty(self) -> bool:
        """Whether no number lies in it."""
        if self.lo is None or self.hi is None:
            return False
        return self.lo > self.hi or (self.lo == self.hi and not (self.lo_closed and self.hi_closed))

    def within(self, other: Interval) -> bool:
        """Whether every number of this set is in the other."""
        if self.empty:
            return True
        low = other.lo is None or (
            self.lo is not None
            and (self.lo > other.lo or (self.lo == other.lo and (other.lo_closed or not self.lo_closed)))
        )
        high = other.hi is None or (
            self.hi is not None
            and (self.hi < other.hi or (self.hi == other.hi and (other.hi_closed or not self.hi_closed)))
        )
        return low and high

    def apart(self, other: Interval) -> bool:
        """Whether no number is in both."""
        return self.empty or other.empty or _before(self, other) or _before(other, self)

    def meets(self, following: Interval) -> bool:
        """Whether the other begins exactly where this one ends: no number between them, none in both."""
        return self.hi is not None and self.hi == following.lo and self.hi_closed != following.lo_closed

    def on_grid(self, step: Decimal) -> Interval:
        """The same set among the multiples of a step, its ends closed.

        Examples
        --------
        >>> whole = Interval(lo=Decimal("71.99")).on_grid(Decimal(1))
        >>> whole.lo, whole.lo_closed
        (Decimal('72'), True)
        """
        lo, hi = self.lo, self.hi
        if lo is not None:
            steps = (lo / step).to_integral_value(ROUND_CEILING)
            lo = (steps + (not self.lo_closed and steps * step == lo)) * step
        if hi is not None:
            steps = (hi / step).to_integral_value(ROUND_FLOOR)
            hi = (steps - (not self.hi_closed and steps * step == hi)) * step
        return Interval(lo=lo, hi=hi, lo_closed=True, hi_closed=True)


def _before(first: Interval, second: Interval) -> bool:
    if first.hi is None or second.lo is None:
        return False
    return first.hi < second.lo or (first.hi == second.lo and not (first.hi_closed and second.lo_closed))
