"""Intervals against the set they name, number by number."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from overround.logic import Interval

ENDS = st.none() | st.integers(-4, 4).map(Decimal)
INTERVALS = st.builds(Interval, lo=ENDS, hi=ENDS, lo_closed=st.booleans(), hi_closed=st.booleans())
PROBES = [Decimal(n) / 4 for n in range(-24, 25)]


def has(interval: Interval, number: Decimal) -> bool:
    low = interval.lo is None or number > interval.lo or (interval.lo_closed and number == interval.lo)
    high = interval.hi is None or number < interval.hi or (interval.hi_closed and number == interval.hi)
    return low and high


@given(INTERVALS, INTERVALS)
def test_within_and_apart_are_what_the_numbers_say(a: Interval, b: Interval) -> None:
    assert a.within(b) == all(has(b, number) for number in PROBES if has(a, number))
    assert a.apart(b) == (not any(has(a, number) and has(b, number) for number in PROBES))


@given(INTERVALS, INTERVALS)
def test_meeting_intervals_leave_no_number_out_and_none_in_both(a: Interval, b: Interval) -> None:
    if a.meets(b) and not a.empty and not b.empty:
        assert a.apart(b)
        between = [n for n in PROBES if (a.lo is None or n > a.lo) and (b.hi is None or n < b.hi)]
        assert all(has(a, n) or has(b, n) for n in between)


@given(INTERVALS)
def test_the_grid_keeps_the_whole_numbers_of_the_set(a: Interval) -> None:
    whole = a.on_grid(Decimal(1))
    assert all(has(a, Decimal(n)) == has(whole, Decimal(n)) for n in range(-6, 7))
