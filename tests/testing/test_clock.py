"""The manual clock is a clock, and moves only when told."""

from __future__ import annotations

import asyncio
import time

import pytest

from overround.clock import Clock, SystemClock
from overround.testing.clock import ManualClock, QuickClock


async def sleeper(clock: Clock, log: list[tuple[str, int]], name: str, *durations_ms: float) -> None:
    for duration_ms in durations_ms:
        await clock.sleep_ms(duration_ms)
        log.append((name, clock.now_ms()))


@pytest.mark.parametrize("make", [SystemClock, ManualClock])
async def test_every_clock_keeps_the_ports_promises(make: type[Clock]) -> None:
    clock: Clock = make()
    assert clock.now_ns() // 1_000_000 - clock.now_ms() in {-1, 0, 1}
    before_ns = clock.monotonic_ns()
    await clock.sleep_ms(0)
    await clock.sleep_ms(-5)
    task = asyncio.create_task(clock.sleep_ms(20))
    if isinstance(clock, ManualClock):
        await clock.advance_ms(20)
    await asyncio.wait_for(task, 5)
    # Windows' timers are coarse.
    assert clock.monotonic_ns() - before_ns >= 15_000_000


async def test_sleepers_wake_in_order_each_at_its_own_time_and_may_sleep_again() -> None:
    clock, log = ManualClock(start_ms=0), []
    tasks = [
        asyncio.create_task(sleeper(clock, log, "a", 10, 10, 10)),
        asyncio.create_task(sleeper(clock, log, "b", 15)),
        asyncio.create_task(sleeper(clock, log, "c", 100)),
    ]
    await clock.advance_ms(30)
    assert log == [("a", 10), ("b", 15), ("a", 20), ("a", 30)]
    assert clock.now_ms() == 30
    assert clock.sleepers == 1
    assert clock.next_due_ms() == 70
    await clock.advance_ms(70)
    assert log[-1] == ("c", 100)
    await asyncio.gather(*tasks)
    assert clock.slept_ms == [10, 15, 100, 10, 10]


async def test_nobody_wakes_before_the_time_is_up() -> None:
    clock, log = ManualClock(start_ms=0), []
    task = asyncio.create_task(sleeper(clock, log, "a", 10.5))
    await clock.advance_ms(10)
    assert log == []
    await clock.advance_ms(0.5)
    assert log == [("a", 10)]
    await task


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep_ms(10))
    await clock.settle()
    task.cancel()
    await asyncio.wait({task})
    assert clock.sleepers == 0
    await clock.advance_ms(100)
    assert clock.next_due_ms() is None


async def test_run_costs_no_time_however_long_the_work_sleeps() -> None:
    clock, log = ManualClock(start_ms=0), []
    began = time.monotonic()
    await clock.run(sleeper(clock, log, "a", 3_600_000, 3_600_000))
    assert log == [("a", 3_600_000), ("a", 7_200_000)]
    assert time.monotonic() - began < 2


async def test_run_passes_on_errors_and_gives_up_on_work_that_hangs() -> None:
    async def fail() -> None:
        raise KeyError("x")

    clock = ManualClock()
    with pytest.raises(KeyError):
        await clock.run(fail())
    with pytest.raises(TimeoutError):
        await clock.run(asyncio.Event().wait(), give_up_s=0.05)


async def test_the_wall_may_step_back_while_the_other_only_grows() -> None:
    clock = ManualClock(start_ms=1_000)
    before_ns = clock.monotonic_ns()
    clock.step_wall_ms(-600)
    clock.skip_ms(100)
    assert clock.now_ms() == 500
    assert clock.monotonic_ns() - before_ns == 100_000_000


async def test_a_quick_clock_passes_so_many_times_faster_and_sleeps_accordingly() -> None:
    clock = QuickClock(1_000)
    began_ns, began_ms = time.monotonic_ns(), clock.now_ms()
    await clock.sleep_ms(20_000)
    assert clock.now_ms() - began_ms >= 20_000
    assert (time.monotonic_ns() - began_ns) / 1e9 >= 0.02
    assert clock.now_ns() // 1_000_000 >= began_ms + 20_000
