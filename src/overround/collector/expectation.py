"""How often a stream speaks, and how long a silence of it is ordinary; learnt, and forgotten again.

Market data come in bursts: the one-second counts of a busy connection have a variance 40 to 160 times their mean, so a
rate alone says little about a silence. Under Poisson's law a connection of 20 changes a second is never silent for two
seconds; the recorded ones are, hundreds of times a day.

So the ordinary silence is learnt without any law. A limit falls by half in every half-life; each silence that outlasts
it and then ends by itself was none to be suspicious of, and raises it by half of itself again. Between two bounds the
limit therefore settles where ``ln 2 / ln 1.5`` = 1.7 silences of a half-life outlast it, whatever the stream is like:
a stream that can be suspected only so often cannot cry wolf. The rate still bounds it from below: a silence in which
fewer than a handful of messages were due means nothing.
"""

from __future__ import annotations

import math

__all__ = ["Expectation", "Rate"]

RISE = 1.5
MEMORY_MS = 600_000
# By Poisson's law so many due messages stay out once in 150 silences; burstier streams raise their limit.
MESSAGES_DUE = 5.0


class Rate:
    """A decaying mean rate, unbiased from its first minute on.

    Parameters
    ----------
    now_ms : int
        When counting begins.
    memory_ms : int
        Age at which a message has lost all but 1/e of its weight.
    """

    __slots__ = ("_at_ms", "_began_ms", "_memory_ms", "_weight")

    def __init__(self, now_ms: int, *, memory_ms: int = MEMORY_MS) -> None:
        self._memory_ms = memory_ms
        self._began_ms = self._at_ms = now_ms
        self._weight = 0.0

    def add(self, n: int, now_ms: int) -> None:
        """So many messages came."""
        passed = max(0, now_ms - self._at_ms)
        self._weight = self._weight * math.exp(-passed / self._memory_ms) + n
        self._at_ms = max(self._at_ms, now_ms)

    def skip(self, duration_ms: int) -> None:
        """A time that does not count (no connection, exchange closed) has passed."""
        self._at_ms += duration_ms
        self._began_ms += duration_ms

    def per_s(self, now_ms: int) -> float:
        """Messages per second; 0 before the first."""
        if not self._weight:
            return 0.0
        age = max(1_000, now_ms - self._began_ms)
        weight = self._weight * math.exp(-max(0, now_ms - self._at_ms) / self._memory_ms)
        return weight * 1_000 / (self._memory_ms * -math.expm1(-age / self._memory_ms))


class Expectation:
    """One stream: its last message, its rate, and the silence beyond which it is suspicious.

    Parameters
    ----------
    now_ms : int
        When listening begins.
    shortest_ms, longest_ms : int
        Bounds of the limit.
    first_ms : int
        The limit before anything is learnt.
    half_life_ms : int
        In which the limit falls by half.

    Attributes
    ----------
    heard_ms : int
        When it spoke last, or when listening began.
    rate : Rate
    """

    __slots__ = ("_half_life_ms", "_learnt_ms", "_longest_ms", "_set_ms", "_shortest_ms", "heard_ms", "rate")

    def __init__(
        self, now_ms: int, *, shortest_ms: int, longest_ms: int, first_ms: int = 15_000, half_life_ms: int = 600_000
    ) -> None:
        self.heard_ms = now_ms
        self.rate = Rate(now_ms)
        self._shortest_ms = shortest_ms
        self._longest_ms = longest_ms
        self._half_life_ms = half_life_ms
        self._learnt_ms = float(min(max(first_ms, shortest_ms), longest_ms))
        self._set_ms = now_ms

    def heard(self, n: int, now_ms: int) -> None:
        """It spoke: so many messages."""
        silence_ms = now_ms - self.heard_ms
        if silence_ms > self._shortest_ms:
            limit_ms = self.limit_ms(now_ms)
            if silence_ms > limit_ms:
                self._learnt_ms = min(self._longest_ms, limit_ms * RISE)
                self._set_ms = now_ms
        self.rate.add(n, now_ms)
        self.heard_ms = now_ms

    def skip_to(self, now_ms: int) -> None:
        """Nothing could be heard until now: no silence, and no time that counts."""
        if now_ms > self.heard_ms:
            self.rate.skip(now_ms - self.heard_ms)
            self._set_ms += now_ms - self.heard_ms
            self.heard_ms = now_ms

    def silence_ms(self, now_ms: int) -> int:
        """How long it has been silent."""
        return now_ms - self.heard_ms

    def limit_ms(self, now_ms: int, *, rate_per_s: float | None = None) -> float:
        """The longest silence that is still ordinary.

        Parameters
        ----------
        now_ms : int
        rate_per_s : float, optional
            The expected rate, where it is known better than by the stream's own past (markets have left it).
        """
        rate = self.rate.per_s(now_ms) if rate_per_s is None else rate_per_s
        due_ms = MESSAGES_DUE * 1_000 / rate if rate > 0 else math.inf
        learnt = self._learnt_ms * math.exp2(-max(0, now_ms - self._set_ms) / self._half_life_ms)
        return min(self._longest_ms, max(self._shortest_ms, due_ms, learnt))
