"""Histograms and minima, against naive ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.ops import Histogram, RunningMinimum

BOUNDS = (0.1, 1.0, 5.0)


@given(st.lists(st.one_of(st.floats(-1, 10), st.sampled_from(BOUNDS))))
def test_a_histogram_counts_what_is_up_to_each_bound(values: list[float]) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.observe(value)
    expected = [(str(bound), sum(value <= bound for value in values)) for bound in BOUNDS]
    assert histogram.cumulative() == [*expected, ("+Inf", len(values))]
    assert histogram.total == pytest.approx(sum(values))


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(-50, 50)), min_size=1))
def test_the_minimum_is_that_of_one_to_two_windows(steps: list[tuple[int, int]]) -> None:
    floor, now_ms, seen = RunningMinimum(window_ms=1_000), 0, []
    for step_ms, value in steps:
        now_ms += step_ms
        seen.append((now_ms, value))
        above = floor.above(value, now_ms=now_ms)
        within_one = min(v for at, v in seen if now_ms - at < 1_000)
        within_more = min(v for at, v in seen if now_ms - at < 2_400)  # two windows and the step that ended one
        assert value - min(within_one, value) <= above <= value - within_more


def test_a_minimum_is_forgotten_after_a_long_silence() -> None:
    floor = RunningMinimum(window_ms=1_000)
    assert floor.above(-100, now_ms=0) == 0
    assert floor.above(7, now_ms=5_000) == 0
