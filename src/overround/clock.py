"""Time as an argument: the one place that reads it, and the port through which others do."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Port through which shells learn the time and wait; a fake stands in ``testing``."""

    def now_ms(self) -> int:
        """Wall time, milliseconds since the epoch, UTC."""
        ...

    def now_ns(self) -> int:
        """Wall time, nanoseconds since the epoch, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that never steps back; only differences mean anything."""
        ...

    async def sleep_ms(self, duration_ms: float) -> None:
        """Wait that many milliseconds (at once when not positive)."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Wall time, milliseconds since the epoch, UTC."""
        return time.time_ns() // 1_000_000

    def now_ns(self) -> int:
        """Wall time, nanoseconds since the epoch, UTC."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that never steps back."""
        return time.monotonic_ns()

    async def sleep_ms(self, duration_ms: float) -> None:
        """Wait that many milliseconds (at once when not positive)."""
        await asyncio.sleep(max(0.0, duration_ms / 1000))
