"""A circuit breaker: stop asking a host that keeps failing, then try it with one request.

============  ==========  ==========  ==========  ==========
state         success     failure     trip        due
============  ==========  ==========  ==========  ==========
closed        closed      closed      open        closed
open          open        open        open        half-open
half-open     closed      open        open        half-open
============  ==========  ==========  ==========  ==========

*trip* is the failure that makes ``threshold`` in a row, *due* the end of the pause. Answers that arrive
while the breaker is open belong to requests sent before and move nothing.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["NEXT", "BreakerState", "CircuitBreaker", "Saw"]


class BreakerState(StrEnum):
    """Whether requests go out."""

    CLOSED = "closed"
    """They do."""
    OPEN = "open"
    """They do not."""
    HALF_OPEN = "half_open"
    """One does, and its outcome decides."""


class Saw(StrEnum):
    """What the breaker learns."""

    SUCCESS = "success"
    FAILURE = "failure"
    TRIP = "trip"
    DUE = "due"


NEXT: dict[tuple[BreakerState, Saw], BreakerState] = {
    (BreakerState.CLOSED, Saw.SUCCESS): BreakerState.CLOSED,
    (BreakerState.CLOSED, Saw.FAILURE): BreakerState.CLOSED,
    (BreakerState.CLOSED, Saw.TRIP): BreakerState.OPEN,
    (BreakerState.CLOSED, Saw.DUE): BreakerState.CLOSED,
    (BreakerState.OPEN, Saw.SUCCESS): BreakerState.OPEN,
    (BreakerState.OPEN, Saw.FAILURE): BreakerState.OPEN,
    (BreakerState.OPEN, Saw.TRIP): BreakerState.OPEN,
    (BreakerState.OPEN, Saw.DUE): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, Saw.SUCCESS): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, Saw.FAILURE): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, Saw.TRIP): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, Saw.DUE): BreakerState.HALF_OPEN,
}


class CircuitBreaker:
    """The breaker of one host; time is an argument.

    Parameters
    ----------
    threshold : int
        Failures in a row that open it.
    open_ms : int
        First pause; it doubles each time the trial fails, up to ``max_open_ms``.
    max_open_ms : int
    """

    __slots__ = ("_failures", "_max_open_ns", "_open_ns", "_pause_ns", "_threshold", "_trial", "_until_ns", "state")

    def __init__(self, *, threshold: int = 5, open_ms: int = 15_000, max_open_ms: int = 120_000) -> None:
        self.state = BreakerState.CLOSED
        self._threshold = threshold
        self._open_ns = open_ms * 1_000_000
        self._max_open_ns = max(open_ms, max_open_ms) * 1_000_000
        self._pause_ns = self._open_ns
        self._failures = 0
        self._until_ns = 0
        self._trial = False

    def wait_ns(self, now_ns: int) -> int:
        """Nanoseconds until ``admit`` may say yes, 0 when it would now; changes nothing.

        While a trial runs, others wait for the length of a first pause: its outcome is not known yet.
        """
        if self.state is BreakerState.OPEN:
            return max(0, self._until_ns - now_ns)
        return self._open_ns if self._trial else 0

    def admit(self, now_ns: int) -> int:
        """Ask to send one request: 0 means go (and ``record`` or ``abandon`` it), else nanoseconds to wait."""
        wait_ns = self.wait_ns(now_ns)
        if wait_ns == 0 and self.state is BreakerState.OPEN:
            self._move(Saw.DUE, now_ns)
        if wait_ns == 0 and self.state is BreakerState.HALF_OPEN:
            self._trial = True
        return wait_ns

    def record(self, *, ok: bool, now_ns: int) -> None:
        """Tell how an admitted request ended."""
        if ok:
            self._failures = 0
            self._move(Saw.SUCCESS, now_ns)
            return
        self._failures += 1
        self._move(Saw.TRIP if self._failures >= self._threshold else Saw.FAILURE, now_ns)

    def abandon(self) -> None:
        """An admitted request ended without telling anything about the host (it was cancelled)."""
        self._trial = False

    def _move(self, saw: Saw, now_ns: int) -> None:
        before, self.state = self.state, NEXT[self.state, saw]
        if self.state is before:
            return
        self._trial = False
        if self.state is BreakerState.OPEN:
            self._pause_ns = (
                min(self._pause_ns * 2, self._max_open_ns) if before is BreakerState.HALF_OPEN else self._open_ns
            )
            self._until_ns = now_ns + self._pause_ns
