"""The breaker's table, and the breaker that follows it."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from overround.net import BreakerState, CircuitBreaker
from overround.net.breaker import NEXT, Saw

S = 1_000_000_000


def test_the_table_is_complete_over_all_pairs() -> None:
    assert set(NEXT) == set(itertools.product(BreakerState, Saw))


def tripped(*, open_ms: int = 10_000) -> CircuitBreaker:
    breaker = CircuitBreaker(threshold=3, open_ms=open_ms, max_open_ms=35_000)
    for _ in range(3):
        assert breaker.admit(0) == 0
        breaker.record(ok=False, now_ns=0)
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_does_not() -> None:
    breaker = CircuitBreaker(threshold=3)
    for ok in (False, False, True, False, False):
        breaker.record(ok=ok, now_ns=0)
    assert breaker.state is BreakerState.CLOSED
    breaker.record(ok=False, now_ns=0)
    assert breaker.state is BreakerState.OPEN


def test_one_trial_goes_out_when_the_pause_ends_and_its_success_closes() -> None:
    breaker = tripped()
    assert breaker.admit(4 * S) == 6 * S
    assert breaker.wait_ns(10 * S) == 0
    assert breaker.state is BreakerState.OPEN, "asking how long changes nothing"
    assert breaker.admit(10 * S) == 0
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit(10 * S) == 10 * S
    breaker.record(ok=True, now_ns=11 * S)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.admit(11 * S) == breaker.admit(11 * S) == 0


def test_a_failed_trial_doubles_the_pause_up_to_its_bound_and_a_success_resets_it() -> None:
    breaker = tripped()
    now_ns, pauses = 0, []
    for _ in range(4):
        wait_ns = breaker.admit(now_ns)
        pauses.append(wait_ns // S)
        now_ns += wait_ns
        assert breaker.admit(now_ns) == 0
        breaker.record(ok=False, now_ns=now_ns)
    assert pauses == [10, 20, 35, 35]
    now_ns += breaker.admit(now_ns)
    breaker.admit(now_ns)
    breaker.record(ok=True, now_ns=now_ns)
    for _ in range(3):
        breaker.record(ok=False, now_ns=now_ns)
    assert breaker.admit(now_ns) == 10 * S


def test_late_answers_of_requests_sent_before_do_not_close_it() -> None:
    breaker = tripped()
    breaker.record(ok=True, now_ns=1 * S)
    breaker.record(ok=False, now_ns=2 * S)
    assert breaker.admit(3 * S) == 7 * S


def test_an_abandoned_trial_frees_the_next() -> None:
    breaker = tripped()
    assert breaker.admit(10 * S) == 0
    breaker.abandon()
    assert breaker.admit(10 * S) == 0


@given(st.lists(st.tuples(st.sampled_from(["ask", "good", "bad", "abandon"]), st.integers(0, 20 * S)), max_size=80))
def test_whatever_happens_it_opens_again_in_time(steps: list[tuple[str, int]]) -> None:
    breaker, now_ns, running = CircuitBreaker(threshold=2, open_ms=10_000, max_open_ms=40_000), 0, 0
    for step, gap_ns in steps:
        now_ns += gap_ns
        if step == "ask" and breaker.admit(now_ns) == 0:
            running += 1
        elif running and step != "ask":
            running -= 1
            if step == "abandon":
                breaker.abandon()
            else:
                breaker.record(ok=step == "good", now_ns=now_ns)
    for _ in range(running):
        breaker.record(ok=False, now_ns=now_ns)
    assert breaker.wait_ns(now_ns) <= 40 * S
    assert breaker.admit(now_ns + 40 * S) == 0
