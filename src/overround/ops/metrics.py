"""Figures of a running process: plain numbers where things happen, read only when somebody asks.

A labelled metric object costs as much as decoding a message; ``counters.gaps += 1`` costs nothing. So every part counts
in its own integers, and whoever shows them reads them at that moment.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["Histogram", "RunningMinimum"]


class Histogram:
    """How many values fell into which bucket.

    Parameters
    ----------
    bounds : sequence of float
        Upper bounds of the buckets, ascending; a last bucket takes everything above.

    Examples
    --------
    >>> histogram = Histogram((0.1, 1.0))
    >>> for seconds in (0.05, 0.1, 7.0):
    ...     histogram.observe(seconds)
    >>> histogram.cumulative()
    [('0.1', 2), ('1.0', 2), ('+Inf', 3)]
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, int]]:
        """Values up to each bound, as Prometheus names and counts them."""
        below, found = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            below += count
            found.append((bound, below))
        return found


class RunningMinimum:
    """How far values lie above the least one of the last one to two windows.

    A venue's clock and ours differ by an unknown amount, which drifts. The least difference seen lately stands for it.

    Parameters
    ----------
    window_ms : int

    Examples
    --------
    >>> floor = RunningMinimum(window_ms=1_000)
    >>> [floor.above(value, now_ms=ms) for value, ms in ((-40, 0), (-30, 500), (-45, 1_200), (-20, 2_500))]
    [0, 10, 0, 25]
    """

    __slots__ = ("_before", "_from_ms", "_least", "_window_ms")

    def __init__(self, *, window_ms: int = 600_000) -> None:
        self._window_ms = window_ms
        self._from_ms: int | None = None
        self._least = self._before = float("inf")

    def above(self, value: float, *, now_ms: int) -> float:
        """Take a value in; returns its distance from the minimum, 0 if it is the least itself."""
        if self._from_ms is None:
            self._from_ms = now_ms
        elif now_ms - self._from_ms >= self._window_ms:
            self._before = self._least if now_ms - self._from_ms < 2 * self._window_ms else float("inf")
            self._least, self._from_ms = float("inf"), now_ms
        self._least = min(self._least, value)
        return value - min(self._least, self._before)
