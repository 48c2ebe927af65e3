"""A wall clock that does not jump while something is recorded.

Feeds, rotation, rows and the ledger reckon with wall time: a clock that is set back by an hour would stop their
deadlines for that hour, one that is set forward would make everything look dead. So a recording sees the wall clock as
it was at its start, carried on by the monotonic clock; small corrections are followed, and a step is told to whoever
keeps the recording, who ends it and begins a new one under the new time.
"""

from __future__ import annotations

from overround.clock import Clock

__all__ = ["SteadyClock"]

STEP_NS = 1_000_000_000
"""Corrections below this are followed at once: time servers make them, and every deadline is longer."""


class SteadyClock:
    """``Clock`` over another one whose steps it holds back.

    Parameters
    ----------
    base : Clock
    """

    def __init__(self, base: Clock) -> None:
        self._base = base
        # Bound once: the stamp of every frame asks.
        self._monotonic_ns = base.monotonic_ns
        self._anchor_ns = base.now_ns() - base.monotonic_ns()

    def now_ms(self) -> int:
        """Wall time as it was at the start, carried on; milliseconds."""
        return (self._monotonic_ns() + self._anchor_ns) // 1_000_000

    def now_ns(self) -> int:
        """Wall time as it was at the start, carried on; nanoseconds."""
        return self._monotonic_ns() + self._anchor_ns

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that never steps back."""
        return self._monotonic_ns()

    async def sleep_ms(self, duration_ms: float) -> None:
        """Wait that many milliseconds."""
        await self._base.sleep_ms(duration_ms)

    def follow(self) -> int:
        """Take over a small correction of the machine's clock, and tell a step.

        Returns
        -------
        int
            Milliseconds that the machine's clock is ahead of this one (behind: negative); 0 unless it was stepped.
        """
        ahead_ns = self._base.now_ns() - self.now_ns()
        if abs(ahead_ns) >= STEP_NS:
            return ahead_ns // 1_000_000
        self._anchor_ns += ahead_ns
        return 0
