"""Waits between attempts, and turns to connect."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overround.net import ConnectionPacer, parse_retry_after, reconnect_delays_ms
from overround.net.backoff import MAX_RETRY_AFTER_S
from overround.testing.clock import ManualClock


@given(seed=st.integers(0, 10_000))
def test_delays_lie_between_half_the_first_and_a_doubling_capped_bound(seed: int) -> None:
    delays = list(itertools.islice(reconnect_delays_ms(random.Random(seed)), 20))
    bounds = [min(60_000, 500 * 2**n) for n in range(20)]
    assert all(250 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))


def test_delays_are_spread_over_nearly_the_whole_range() -> None:
    late = [next(itertools.islice(reconnect_delays_ms(random.Random(seed)), 9, None)) for seed in range(400)]
    assert min(late) < 3_000
    assert max(late) > 57_000


def test_the_same_seed_gives_the_same_delays() -> None:
    one, two = (list(itertools.islice(reconnect_delays_ms(random.Random(3)), 8)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("0", 0.0),
        (" 2.5 ", 2.5),
        ("-3", 0.0),
        ("Thu, 01 Jan 2026 00:00:10 GMT", 10.0),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
        ("99999999999", MAX_RETRY_AFTER_S),
        ("inf", MAX_RETRY_AFTER_S),
        ("nan", None),
        ("tomorrow", None),
        ("", None),
        (None, None),
    ],
)
def test_a_wait_is_read_in_both_forms_and_stays_sane(header: str | None, wait_s: float | None) -> None:
    assert parse_retry_after(header, now_ms=1_767_225_600_000) == wait_s


async def opens(clock: ManualClock, pacer: ConnectionPacer, slot: str, count: int) -> list[float]:
    """When a slot opens its connections, if each is closed again at once."""
    at_ms = []
    for _ in range(count):
        await pacer.acquire(slot)
        at_ms.append(clock.monotonic_ns() / 1e6)
    return at_ms


def most_in_window(at_ms: list[float], window_ms: float) -> int:
    return max(sum(start <= at < start + window_ms - 0.01 for at in at_ms) for start in at_ms)


async def test_a_server_that_accepts_and_closes_at_once_sees_at_most_twelve_attempts_a_minute() -> None:
    clock = ManualClock()
    pacer = ConnectionPacer(clock, opens_per_s=1_000)
    at_ms = await clock.run(opens(clock, pacer, "polymarket-0", 60))
    assert most_in_window(at_ms, 60_000) == 12
    assert at_ms[-1] - at_ms[0] == pytest.approx(4 * 60_000, abs=100)


async def test_a_host_sees_at_most_so_many_a_second_from_all_slots() -> None:
    clock = ManualClock()
    pacer = ConnectionPacer(clock, opens_per_s=2, rng=random.Random(1))
    found = await clock.run(asyncio.gather(*(opens(clock, pacer, f"slot-{n}", 3) for n in range(10))))
    at_ms = sorted(at for slot in found for at in slot)
    assert len(at_ms) == pacer.turns == 30
    assert most_in_window(at_ms, 1_000) <= 2
    assert at_ms[-1] - at_ms[0] < 29 * 500 * 1.2 + 10


async def test_a_slot_that_used_up_its_minute_keeps_nobody_waiting() -> None:
    clock = ManualClock()
    pacer = ConnectionPacer(clock, opens_per_s=10, attempts_per_min=2)
    greedy = asyncio.create_task(opens(clock, pacer, "greedy", 3))
    await clock.advance_ms(1_000)
    assert not greedy.done()
    waited_ms = await pacer.acquire("calm")
    assert waited_ms == 0
    await clock.advance_ms(60_000)
    assert greedy.done()


async def test_a_named_wait_holds_every_turn() -> None:
    clock = ManualClock()
    pacer = ConnectionPacer(clock, opens_per_s=10)
    pacer.hold(30)
    assert await clock.run(pacer.acquire("a")) == 30_000
    assert await clock.run(pacer.acquire("b")) == 100


@pytest.mark.parametrize("limits", [{"opens_per_s": 0}, {"attempts_per_min": 0}])
def test_a_pace_that_never_opens_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ConnectionPacer(ManualClock(), **limits)
