"""An event loop on which a day passes in minutes, real sockets and threads included.

Time stands still while anything is ready to run, while a socket of the loop has something to read, or while a thread
that the loop waits for is at work; when everybody sleeps, it jumps to the next timer. Both ends of every
connection must belong to the loop: a peer elsewhere would see its partner live a year a minute.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

__all__ = ["WarpClock", "WarpLoop", "warped"]

_BEAT_S = 0.02


class _Jobs:
    """Counts what thread pools have been given and not yet finished, in the whole process."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.running = 0

    def began(self, future: Future[Any]) -> None:
        with self._guard:
            self.running += 1
        future.add_done_callback(self._ended)

    def _ended(self, _: Future[Any]) -> None:
        with self._guard:
            self.running -= 1


class _WarpSelector(selectors.BaseSelector):
    """Asks the system what is ready; where it would wait, it moves the time instead."""

    def __init__(self, jobs: _Jobs) -> None:
        self._real = selectors.DefaultSelector()
        self._jobs = jobs
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self._jobs.running:
            # Only a thread, or somebody outside, can go on: real time has to pass.
            return self._real.select(_BEAT_S)
        self.now_s += max(0.0, timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map() or {}


class WarpLoop(asyncio.SelectorEventLoop):
    """The standard loop on warped time; made by :func:`warped`."""

    def __init__(self, jobs: _Jobs) -> None:
        self._warp = _WarpSelector(jobs)
        super().__init__(self._warp)

    def time(self) -> float:
        """Seconds of warped time since the loop was made."""
        return self._warp.now_s


class WarpClock:
    """``Clock`` of a :class:`WarpLoop`.

    Parameters
    ----------
    loop : WarpLoop
    start_ms : int
        Wall time at the beginning, epoch milliseconds.
    """

    def __init__(self, loop: WarpLoop, *, start_ms: int) -> None:
        self._loop = loop
        self._start_ns = start_ms * 1_000_000

    def now_ms(self) -> int:
        """Wall time, epoch milliseconds."""
        return self.now_ns() // 1_000_000

    def now_ns(self) -> int:
        """Wall time, epoch nanoseconds."""
        return self._start_ns + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds that only grow."""
        return int(self._loop.time() * 1e9)

    async def sleep_ms(self, duration_ms: float) -> None:
        """Wait that many warped milliseconds."""
        await asyncio.sleep(max(0.0, duration_ms / 1000))


@contextmanager
def warped() -> Iterator[WarpLoop]:
    """A warped loop, closed afterwards; while it lives, all thread pools of the process are watched."""
    jobs = _Jobs()
    submit = ThreadPoolExecutor.submit

    def watched(self: ThreadPoolExecutor, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = submit(self, *args, **kwargs)
        jobs.began(future)
        return future

    ThreadPoolExecutor.submit = watched  # type: ignore[method-assign,assignment]
    loop = WarpLoop(jobs)
    try:
        yield loop
    finally:
        ThreadPoolExecutor.submit = submit  # type: ignore[method-assign]
        loop.close()
