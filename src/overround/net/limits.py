"""How often we may ask: token buckets from the venues' documented budgets, and the wait a host has named."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Budgets", "HostPause", "TokenBucket"]


_TRIAL_NS = 250_000_000
"""How often those who wait for the first request after a pause look again."""


class TokenBucket:
    """Tokens refill evenly; a request takes one, or learns how long to wait for it.

    With a documented budget of ``requests`` per ``per_s`` and our share ``fraction`` of it, requests
    settle at ``requests * fraction`` per ``per_s``. As many as that may go at once after a rest, but never
    so many that any window of ``per_s`` holds more than the documented ``requests``, whatever the fraction.

    Written here rather than taken from pyrate-limiter 4.5, whose waits sleep on the loop's own time (plus a
    fixed 50 ms) and so cannot follow an injected clock.

    Parameters
    ----------
    requests : float
        Documented budget.
    per_s : float
        Length of its window, seconds.
    fraction : float
        Our share of it, (0, 1].
    now_ns : int
        Monotonic time at which the bucket is full.
    """

    __slots__ = ("_capacity", "_interval_ns", "_tokens", "_updated_ns", "taken")

    def __init__(self, requests: float, per_s: float, *, fraction: float = 1.0, now_ns: int) -> None:
        if requests <= 0 or per_s <= 0 or not 0 < fraction <= 1:
            raise ValueError(f"a budget of {requests} requests per {per_s} s at fraction {fraction} admits nothing")
        share = requests * fraction
        self._interval_ns = per_s * 1e9 / share
        # A burst of b after a rest, then one per interval: share + b - 1 fall into one window.
        self._capacity = max(1.0, min(share, requests - share + 1))
        self._tokens = self._capacity
        self._updated_ns = now_ns
        self.taken = 0

    def reserve(self, now_ns: int) -> int:
        """Take one token, on credit if need be; returns the nanoseconds to wait before using it.

        The order of calls is the order of turns, so nobody is overtaken.
        """
        elapsed_ns = max(0, now_ns - self._updated_ns)
        self._updated_ns = max(now_ns, self._updated_ns)
        self._tokens = min(self._capacity, self._tokens + elapsed_ns / self._interval_ns) - 1
        self.taken += 1
        # The hundred-millionth forgives the rounding of the division above; a wait rounds up.
        return 0 if self._tokens > -1e-8 else int(-self._tokens * self._interval_ns) + 1


class Budgets:
    """One bucket per endpoint family; families nest by slashes.

    A request of family ``gamma/markets`` draws on ``gamma/markets`` and on ``gamma``, as far as the table
    has them, which is how venues publish totals beside single endpoints.

    Parameters
    ----------
    table : mapping of str to (requests, per_s)
        Documented budgets. Empty: no limit. ``default`` serves families that are not in it.
    fraction : float
        Our share of every budget.
    now_ns : int
    """

    def __init__(self, table: Mapping[str, tuple[float, float]], *, fraction: float = 1.0, now_ns: int) -> None:
        self._buckets = {
            family: TokenBucket(requests, per_s, fraction=fraction, now_ns=now_ns)
            for family, (requests, per_s) in table.items()
        }

    def reserve(self, family: str, now_ns: int) -> int:
        """Take a token of every budget that covers the family; returns the nanoseconds to wait.

        Raises
        ------
        ValueError
            If no budget of a table that has some covers the family: a request would go unlimited.
        """
        if not self._buckets:
            return 0
        parts = family.split("/")
        covering = [
            bucket
            for depth in range(len(parts), 0, -1)
            if (bucket := self._buckets.get("/".join(parts[:depth]))) is not None
        ]
        if not covering:
            if "default" not in self._buckets:
                raise ValueError(f"no budget covers the family {family!r}; known: {', '.join(self._buckets)}")
            covering = [self._buckets["default"]]
        return max(bucket.reserve(now_ns) for bucket in covering)


class HostPause:
    """The time before which one host does not want to be asked, as its last ``Retry-After`` said.

    When it is over, one request goes first and the others wait for its outcome: all at once they would be told
    to wait anew only after they had been sent.
    """

    __slots__ = ("_limited", "_trial", "_until_ns", "status")

    def __init__(self) -> None:
        self._until_ns = 0
        self._limited = self._trial = False
        self.status = 429

    def extend(self, wait_s: float, *, status: int, now_ns: int) -> None:
        """Obey a named wait; a shorter one never cuts a longer one."""
        self._limited = True
        until_ns = now_ns + int(wait_s * 1e9)
        if until_ns > self._until_ns:
            self._until_ns = until_ns
            self.status = status

    def remaining_ns(self, now_ns: int) -> int:
        """Nanoseconds still to wait, 0 when the host may be asked."""
        if now_ns < self._until_ns:
            return self._until_ns - now_ns
        return _TRIAL_NS if self._trial else 0

    def begin(self) -> None:
        """A request goes out; after a pause it is the one that the others wait for."""
        self._trial = self._limited

    def end(self, *, limited: bool | None) -> None:
        """A request has ended, ``limited`` or not; None: that is not known, the next one will find out."""
        self._trial = False
        if limited is False:
            self._limited = False
