"""Whether intervals exclude each other and whether together they leave no number out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from overround.logic import Interval

__all__ = ["TO_HIGHER", "Tiling", "settle_ends", "tiling"]

TO_HIGHER = re.compile(
    r"(?:exactly between|exactly on|on the boundary|between two).{0,80}?(?:higher|upper|greater)|resolve to the higher (?:range|bracket)",
    re.IGNORECASE | re.DOTALL,
)
_ROUNDED = re.compile(r"\bround(?:ed|ing)?\b", re.IGNORECASE)


class Tiling(msgspec.Struct, frozen=True, kw_only=True):
    """How intervals lie beside each other.

    Attributes
    ----------
    apart : bool
        No number is in two of them, with every shared end belonging to one of both.
    shared_ends : bool
        A number where two of them meet belongs to either, as far as the words tell.
    whole : bool
        No number lies between the lowest and the highest.
    low_open, high_open : bool
        The lowest has no lower end (or begins at the least possible number), the highest no upper end.
    intervals : tuple of Interval
        As settled, in the order given.
    step : Decimal or None
        The grid on which they were compared.
    """

    apart: bool
    shared_ends: bool
    whole: bool
    low_open: bool
    high_open: bool
    intervals: tuple[Interval, ...]
    step: Decimal | None = None

    @property
    def complete(self) -> bool:
        """Every number is in exactly one of them."""
        return self.apart and self.whole and self.low_open and self.high_open


def settle_ends(intervals: Sequence[Interval], rules: str) -> tuple[list[Interval], bool]:
    """Give each number where two ranges meet to one of them, upward where the rules say so.

    Returns
    -------
    list of Interval, bool
        In the order given; whether an end is left that the words give to both.
    """
    upward = TO_HIGHER.search(rules) is not None
    settled, shared = list(intervals), False
    starts = {one.lo for one in intervals if one.lo is not None}
    ends = {one.hi for one in intervals if one.hi is not None}
    for place, one in enumerate(settled):
        if upward:
            settled[place] = Interval(
                lo=one.lo, hi=one.hi,
                lo_closed=one.lo_closed or one.lo in ends,
                hi_closed=one.hi_closed and (one.hi not in starts or one.lo == one.hi),
            )  # fmt: skip
    if not upward:
        closed_lo = {one.lo for one in settled if one.lo is not None and one.lo_closed and one.lo != one.hi}
        for place, one in enumerate(settled):
            if one.hi is not None and one.hi_closed and one.hi in closed_lo and one.lo != one.hi:
                settled[place], shared = Interval(lo=one.lo, hi=one.hi, lo_closed=one.lo_closed), True
    return settled, shared


def tiling(intervals: Sequence[Interval], *, rules: str, step: Decimal | None, counting: bool) -> Tiling:
    """How intervals lie, after their shared ends are settled.

    Parameters
    ----------
    intervals : sequence of Interval
    rules : str
        For the words on shared ends and on rounding.
    step : Decimal or None
        Distance of neighbouring values as written; None where the numbers are continuous.
    counting : bool
        Nothing below 0 can happen.

    Examples
    --------
    >>> low, mid, high = (
    ...     Interval(hi=Decimal(7), hi_closed=True),
    ...     Interval(lo=Decimal(8), hi=Decimal(9), lo_closed=True, hi_closed=True),
    ...     Interval(lo=Decimal(10), lo_closed=True),
    ... )
    >>> tiling([low, mid, high], rules="", step=Decimal(1), counting=False).complete
    True
    >>> tiling([low, high], rules="", step=Decimal(1), counting=False).complete
    False
    """
    settled, shared = settle_ends(intervals, rules)
    singles = sorted({one.lo for one in settled if one.lo is not None and one.lo == one.hi})
    if len(singles) >= 2 and _ROUNDED.search(rules):
        gaps = {second - first for first, second in itertools.pairwise(singles)}
        if step is None or min(gaps) > step:
            step = min(gaps)
    order = sorted(
        settled, key=lambda one: (one.lo is not None, one.lo or Decimal(0), one.hi is None, one.hi or Decimal(0))
    )
    apart = whole = True
    for first, second in itertools.pairwise(order):
        apart = apart and first.apart(second)
        whole = whole and _adjacent(first, second, step)
    lowest, highest = order[0], order[-1]
    at_zero = counting and lowest.lo is not None and (lowest.lo < 0 or (lowest.lo == 0 and lowest.lo_closed))
    return Tiling(
        apart=apart, shared_ends=shared, whole=whole, low_open=lowest.lo is None or at_zero, high_open=highest.hi is None,
        intervals=tuple(settled), step=step,
    )  # fmt: skip


def _adjacent(first: Interval, second: Interval, step: Decimal | None) -> bool:
    if first.meets(second):
        return True
    if step is None:
        return False
    lower, upper = first.on_grid(step), second.on_grid(step)
    return lower.hi is not None and upper.lo is not None and upper.lo - lower.hi == step
