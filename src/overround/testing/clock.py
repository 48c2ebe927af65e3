"""Clocks for tests: one that stands still until it is moved, and one that runs faster than the machine's."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["ManualClock", "QuickClock"]

T = TypeVar("T")

# How often the loop is yielded to before its tasks count as settled. Deep chains of awaits (an HTTP client on an
# in-memory transport takes about 25 hops) must reach their next sleep or their end within it.
SETTLE_HOPS = 60


class ManualClock:
    """``Clock`` whose time moves only when a test moves it.

    Sleepers wait on a heap and wake in the order of their times, each at exactly its own time, and what
    they do next (sleeping again included) happens before the next one wakes.

    Parameters
    ----------
    start_ms : int
        Wall time at the beginning, epoch milliseconds.

    Attributes
    ----------
    slept_ms : list of float
        Every positive duration that was asked for, in order.
    """

    def __init__(self, start_ms: int = 1_767_225_600_000) -> None:
        self._wall_ns = start_ms * 1_000_000
        self._monotonic_ns = 1_000_000_000
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self.slept_ms: list[float] = []

    def now_ms(self) -> int:
        """Wall time, epoch milliseconds."""
        return self._wall_ns // 1_000_000

    def now_ns(self) -> int:
        """Wall time, epoch nanoseconds."""
        return self._wall_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds that only grow."""
        return self._monotonic_ns

    async def sleep_ms(self, duration_ms: float) -> None:
        """Wait until the clock has been moved that far; a duration that is not positive only yields."""
        if duration_ms <= 0:
            await asyncio.sleep(0)
            return
        self.slept_ms.append(duration_ms)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Rounded up: a sleeper that wakes early would see its deadline still ahead.
        due_ns = self._monotonic_ns + int(-(-duration_ms * 1_000_000 // 1))
        heapq.heappush(self._sleepers, (due_ns, next(self._order), future))
        await future

    @property
    def sleepers(self) -> int:
        """How many tasks are asleep."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def next_due_ms(self) -> float | None:
        """Milliseconds until the next sleeper wakes, None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return (self._sleepers[0][0] - self._monotonic_ns) / 1_000_000 if self._sleepers else None

    def step_wall_ms(self, by_ms: int) -> None:
        """Step the wall clock (backwards too, as a time server may); nobody wakes."""
        self._wall_ns += by_ms * 1_000_000

    def skip_ms(self, by_ms: float) -> None:
        """Move the time without waking anybody, for code that never sleeps."""
        self._move(int(by_ms * 1_000_000))

    async def settle(self) -> None:
        """Let every task run until it sleeps or waits for something outside."""
        for _ in range(SETTLE_HOPS):
            await asyncio.sleep(0)

    async def advance_ms(self, by_ms: float) -> None:
        """Move the time, waking sleepers on the way."""
        end_ns = self._monotonic_ns + int(by_ms * 1_000_000)
        await self.settle()
        while self.next_due_ms() is not None and self._sleepers[0][0] <= end_ns:
            await self._wake_next()
        self._move(end_ns - self._monotonic_ns)
        await self.settle()

    async def run(self, work: Awaitable[T], *, give_up_s: float = 20.0) -> T:
        """Await ``work``, moving the time to the next sleeper whenever everybody waits.

        Work that waits for real sockets gets real time for it; work that sleeps costs none.

        Raises
        ------
        TimeoutError
            If nothing moves for ``give_up_s`` seconds of real time.
        """
        task = asyncio.ensure_future(_as_coroutine(work))
        try:
            async with asyncio.timeout(give_up_s):
                while not task.done():
                    await self.settle()
                    if task.done():
                        break
                    if self.next_due_ms() is not None:
                        await self._wake_next()
                    else:
                        await asyncio.wait({task}, timeout=0.005)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _wake_next(self) -> None:
        due_ns, _, future = heapq.heappop(self._sleepers)
        self._move(max(0, due_ns - self._monotonic_ns))
        if not future.done():
            future.set_result(None)
        await self.settle()

    def _move(self, by_ns: int) -> None:
        self._monotonic_ns += by_ns
        self._wall_ns += by_ns


class QuickClock:
    """``Clock`` on which time passes so many times faster, for storms over real sockets.

    What really takes time (a round trip on loopback, a flush) takes ``times`` as long by this clock, so only
    durations far above that can be asserted.

    Parameters
    ----------
    times : float
    """

    def __init__(self, times: float) -> None:
        self._times = times
        self._wall_ns = time.time_ns()
        self._monotonic_ns = time.monotonic_ns()

    def now_ms(self) -> int:
        """Wall time, epoch milliseconds."""
        return self.now_ns() // 1_000_000

    def now_ns(self) -> int:
        """Wall time, epoch nanoseconds."""
        return self._wall_ns + self.monotonic_ns() - self._monotonic_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds that only grow."""
        return self._monotonic_ns + int((time.monotonic_ns() - self._monotonic_ns) * self._times)

    async def sleep_ms(self, duration_ms: float) -> None:
        """Wait that many of its milliseconds."""
        await asyncio.sleep(max(0.0, duration_ms / 1000 / self._times))


async def _as_coroutine(work: Awaitable[T]) -> T:
    return await work
