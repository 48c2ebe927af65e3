"""When to try again: growing random delays, the wait a server names, and the pace of opening connections."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from random import Random

from overround.clock import Clock

__all__ = ["MAX_RETRY_AFTER_S", "ConnectionPacer", "parse_retry_after", "reconnect_delays_ms"]

MAX_RETRY_AFTER_S = 3_600.0
"""A longer wait than an hour is taken as an hour: a mistyped header must not silence a recorder for a year."""

MINUTE_NS = 60_000_000_000


def reconnect_delays_ms(rng: Random, first_ms: float = 500, cap_ms: float = 60_000) -> Iterator[float]:
    """Delays before the next attempts, without end: exponential, spread over nearly their whole range, capped.

    The n-th delay is uniform between half of ``first_ms`` and ``first_ms * 2**n`` (at most ``cap_ms``), so
    that clients that failed together do not come back together, and none comes back at once.

    Giving up, and going back to the start, are the caller's decisions. A server that accepts and then
    closes must not be asked again at once, so start anew (make a new generator) only after the connection
    has carried real data *and* has stood for a while; accepting alone proves nothing.

    Parameters
    ----------
    rng : Random
    first_ms, cap_ms : float
        Upper bounds of the first and of every later delay.

    Yields
    ------
    float
        Milliseconds.
    """
    floor_ms = min(first_ms, cap_ms) / 2
    step_ms = min(first_ms, cap_ms)
    while True:
        yield rng.uniform(floor_ms, step_ms)
        step_ms = min(cap_ms, step_ms * 2)


def parse_retry_after(value: str | None, *, now_ms: int) -> float | None:
    """Seconds to wait according to a ``Retry-After`` header, in both of its forms.

    Parameters
    ----------
    value : str or None
        Seconds, or an HTTP date.
    now_ms : int
        Wall time to which a date is compared.

    Returns
    -------
    float or None
        Not negative, at most ``MAX_RETRY_AFTER_S``; None when the header is absent or unreadable.

    Examples
    --------
    >>> parse_retry_after("7", now_ms=0)
    7.0
    >>> parse_retry_after("Thu, 01 Jan 1970 00:00:30 GMT", now_ms=10_000)
    20.0
    >>> parse_retry_after("soon", now_ms=0) is None
    True
    """
    if value is None:
        return None
    text = value.strip()
    try:
        wait_s = float(text)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(text).timestamp() - now_ms / 1000
        except (ValueError, OverflowError):
            return None
    if math.isnan(wait_s):  # A float to Python, nothing to us.
        return None
    return min(max(0.0, wait_s), MAX_RETRY_AFTER_S)


class ConnectionPacer:
    """Turns to open a connection to one host, shared by all slots that connect there.

    Two limits hold whatever happens after a turn was given, even if the server accepts and closes at
    once: the host sees at most ``opens_per_s`` attempts a second, and one slot makes at most
    ``attempts_per_min`` in any minute.

    Parameters
    ----------
    clock : Clock
    opens_per_s : float
    attempts_per_min : int
    rng : Random, optional
        Stretches each distance by up to a fifth, so that several processes do not march in step.
    """

    def __init__(
        self, clock: Clock, *, opens_per_s: float = 1.5, attempts_per_min: int = 12, rng: Random | None = None
    ) -> None:
        if opens_per_s <= 0 or attempts_per_min <= 0:
            raise ValueError(f"{opens_per_s=} and {attempts_per_min=} must be positive")
        self._clock = clock
        self._rng = rng
        self.opens_per_s = opens_per_s
        self._attempts_per_min = attempts_per_min
        self._next_ns = clock.monotonic_ns()
        self._given: dict[str, deque[int]] = {}
        self.turns = 0

    async def acquire(self, slot: str = "") -> int:
        """Wait for a turn; returns the milliseconds waited.

        Turns are given in the order in which they were asked for, except that a slot which has used up
        its minute keeps nobody else waiting.
        """
        began_ns = now_ns = self._clock.monotonic_ns()
        given = self._given.setdefault(slot, deque(maxlen=self._attempts_per_min))
        while len(given) == self._attempts_per_min and (free_ns := given[0] + MINUTE_NS) > now_ns:
            await self._clock.sleep_ms((free_ns - now_ns) / 1e6)
            now_ns = self._clock.monotonic_ns()
        # The turn is taken before the wait, so later callers queue behind it.
        turn_ns = max(now_ns, self._next_ns)
        stretch = 1.0 if self._rng is None else self._rng.uniform(1.0, 1.2)
        self._next_ns = turn_ns + int(1e9 / self.opens_per_s * stretch)
        given.append(turn_ns)
        self.turns += 1
        while (now_ns := self._clock.monotonic_ns()) < turn_ns:
            await self._clock.sleep_ms((turn_ns - now_ns) / 1e6)
        return (now_ns - began_ns) // 1_000_000

    def hold(self, wait_s: float) -> None:
        """Give no further turn for that long (the host named a ``Retry-After``)."""
        self._next_ns = max(self._next_ns, self._clock.monotonic_ns() + int(wait_s * 1e9))
