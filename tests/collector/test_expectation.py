from __future__ import annotations

import math
import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overround.collector.expectation import MESSAGES_DUE, RISE, Expectation, Rate

HALF_LIFE = 600_000


def expectation(**changed: int) -> Expectation:
    return Expectation(0, **{"shortest_ms": 3_000, "longest_ms": 45_000, "half_life_ms": HALF_LIFE} | changed)


@pytest.mark.parametrize("per_s", [0.05, 1.0, 20.0])
def test_a_steady_rate_is_learnt_without_bias_from_the_first_minutes_on(per_s: float) -> None:
    rate, step = Rate(0), int(1_000 / per_s)
    for now_ms in range(step, 120_000 + step, step):
        rate.add(1, now_ms)
    assert rate.per_s(120_000) == pytest.approx(per_s, rel=0.15)
    assert rate.per_s(120_000 + 3_600_000) < per_s / 100, "an hour of silence is forgotten"


def test_time_that_does_not_count_leaves_the_rate_as_it_was() -> None:
    rate = Rate(0)
    for now_ms in range(0, 300_000, 1_000):
        rate.add(1, now_ms)
    before = rate.per_s(300_000)
    rate.skip(7_200_000)
    assert rate.per_s(300_000 + 7_200_000) == pytest.approx(before)


def test_a_shard_that_speaks_every_second_is_soon_suspicious_at_its_shortest_silence() -> None:
    steady = expectation()
    for now_ms in range(0, 3_600_000, 200):
        steady.heard(1, now_ms)
    assert steady.limit_ms(3_600_000) == 3_000


def test_a_silence_in_which_little_was_due_is_ordinary() -> None:
    slow = expectation()
    for now_ms in range(0, 3_600_000, 4_000):
        slow.heard(1, now_ms)
    assert slow.limit_ms(3_600_000) == pytest.approx(MESSAGES_DUE * 4_000, rel=0.05)
    assert slow.limit_ms(3_600_000, rate_per_s=0.0) == 45_000, "its markets have closed: nothing is due"


def test_an_outlasted_limit_rises_and_falls_again_by_its_half_life() -> None:
    bursty = expectation()
    now_ms = 0
    for _ in range(4):
        for _ in range(100):
            now_ms += 50
            bursty.heard(1, now_ms)
        now_ms += 30_000
        bursty.heard(1, now_ms)
    risen = bursty.limit_ms(now_ms)
    assert risen > 30_000
    assert bursty.limit_ms(now_ms + HALF_LIFE) == pytest.approx(max(3_000, risen / 2), rel=0.2)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.2, 4)), min_size=1, max_size=6),
    st.integers(0, 1_000),
)
def test_no_stream_is_suspected_more_often_than_the_half_life_allows(
    laws: list[tuple[float, float]], seed: int
) -> None:
    """Whatever the gaps are: a suspicion multiplies the limit by 1.5, and a half-life halves it."""
    rng = random.Random(seed)
    gaps = [max(1, int(rng.lognormvariate(6 + mu, sigma))) for mu, sigma in laws for _ in range(300)]
    watched = expectation()
    suspicions = 0
    now_ms = 0
    for now_ms in accumulate(gaps):
        silence_ms = watched.silence_ms(now_ms)
        suspicions += silence_ms > watched.limit_ms(now_ms) and silence_ms < 45_000
        watched.heard(1, now_ms)
    allowed = (math.log(45_000 / 3_000) + now_ms / HALF_LIFE * math.log(2)) / math.log(RISE) + 1
    assert suspicions <= allowed
