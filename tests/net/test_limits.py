"""Budgets hold over every window, whatever the order of requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.net import Budgets, TokenBucket
from overround.net.limits import HostPause

S = 1_000_000_000


@given(
    requests=st.integers(1, 60),
    per_s=st.sampled_from([0.5, 1.0, 10.0]),
    fraction=st.sampled_from([0.05, 0.3, 0.5, 0.8, 1.0]),
    gaps_ns=st.lists(st.integers(0, 3 * S), min_size=1, max_size=120),
)
def test_no_window_holds_more_than_the_documented_budget(
    requests: int, per_s: float, fraction: float, gaps_ns: list[int]
) -> None:
    now_ns, sent_ns = 0, []
    bucket = TokenBucket(requests, per_s, fraction=fraction, now_ns=0)
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        sent_ns.append(now_ns + bucket.reserve(now_ns))
    assert sent_ns == sorted(sent_ns), "nobody is overtaken"
    window_ns = int(per_s * S)
    for first, start_ns in enumerate(sent_ns):
        # A nanosecond is left for the rounding of each wait.
        inside = sum(start_ns <= at_ns < start_ns + window_ns - len(sent_ns) for at_ns in sent_ns[first:])
        assert inside <= requests


@pytest.mark.parametrize("fraction", [0.05, 0.5, 1.0])
def test_a_queue_drains_at_the_share_of_the_budget(fraction: float) -> None:
    bucket = TokenBucket(300, 10, fraction=fraction, now_ns=0)
    last_ns = max(bucket.reserve(0) for _ in range(3_000))
    assert 3_000 / (last_ns / S) == pytest.approx(30 * fraction, rel=0.06)


def test_a_rested_bucket_lets_its_share_go_at_once() -> None:
    bucket = TokenBucket(400, 10, fraction=0.05, now_ns=0)
    assert [bucket.reserve(0) for _ in range(20)] == [0] * 20
    assert bucket.reserve(0) == pytest.approx(S / 2, abs=10)


def test_time_that_steps_back_gives_no_tokens() -> None:
    bucket = TokenBucket(1, 1, now_ns=5 * S)
    assert bucket.reserve(5 * S) == 0
    assert bucket.reserve(4 * S) >= S
    assert bucket.taken == 2


@pytest.mark.parametrize(("requests", "per_s", "fraction"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1.5)])
def test_a_budget_that_admits_nothing_is_refused(requests: float, per_s: float, fraction: float) -> None:
    with pytest.raises(ValueError, match="admits nothing"):
        TokenBucket(requests, per_s, fraction=fraction, now_ns=0)


def test_a_family_draws_on_every_budget_above_it() -> None:
    budgets = Budgets({"gamma": (8, 10), "gamma/markets": (4, 10)}, fraction=0.5, now_ns=0)
    assert [budgets.reserve("gamma/markets", 0) for _ in range(2)] == [0, 0]
    assert budgets.reserve("gamma/markets", 0) > 0
    assert budgets.reserve("gamma/events", 0) == 0
    assert budgets.reserve("gamma/events", 0) > 0


def test_default_serves_the_families_that_are_not_listed() -> None:
    budgets = Budgets({"default": (2, 10), "books": (100, 1)}, now_ns=0)
    assert budgets.reserve("anything", 0) == 0
    assert budgets.reserve("something/else", 0) > 0
    assert budgets.reserve("books", 0) == 0


def test_no_table_is_no_limit() -> None:
    assert [Budgets({}, now_ns=0).reserve("x", 0) for _ in range(3)] == [0, 0, 0]


def test_a_shorter_pause_never_cuts_a_longer_one() -> None:
    pause = HostPause()
    assert pause.remaining_ns(0) == 0
    pause.extend(10, status=429, now_ns=0)
    pause.extend(2, status=503, now_ns=1 * S)
    assert (pause.remaining_ns(1 * S), pause.status) == (9 * S, 429)
    assert pause.remaining_ns(20 * S) == 0
