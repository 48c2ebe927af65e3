"""What is really likely: one set of weights over a family's states, and how it moves.

Every market of a family is a set of states; its fair price is the sum of their weights. Quotes that straddle fair
prices of one such weighting cannot be combined into a sure profit (weak duality), so a family is free of arbitrage
by construction, at every instant, on both venues together. A planted arbitrage is the one place where quotes step over
the weights, by a known amount.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Protocol

__all__ = ["Deadlines", "Line", "Process", "Reach", "Shares"]

_FLOOR = 1e-6


class Process(Protocol):
    """Port of a moving weighting."""

    def weights(self, now_ms: int) -> list[float]:
        """Probability of every state; not negative, sums to one."""
        ...

    def kick(self, rng: random.Random, size: float) -> None:
        """Move by a random step; ``size`` is a standard deviation in log-odds."""
        ...


class Shares:
    """Exclusive states with log-odds of their own (candidates, teams, boxes of a joint table)."""

    __slots__ = ("_scores",)

    def __init__(self, scores: Sequence[float]) -> None:
        self._scores = list(scores)

    def weights(self, now_ms: int) -> list[float]:  # noqa: ARG002 - a process of time like the others
        """Probability of every state."""
        top = max(self._scores)
        raw = [math.exp(score - top) for score in self._scores]
        total = sum(raw)
        return [value / total for value in raw]

    def kick(self, rng: random.Random, size: float) -> None:
        """Move one state against the others; weakly pulled back, so that a long run stays alive."""
        at = rng.randrange(len(self._scores))
        self._scores[at] = self._scores[at] * 0.995 + rng.gauss(0.0, size)


def _below(x: float) -> float:
    """Logistic distribution function."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-min(x, 700.0)))
    raised = math.exp(max(x, -700.0))
    return raised / (1.0 + raised)


class Line:
    """One number to be measured: cells between rising cuts, a logistic law around a moving centre.

    Parameters
    ----------
    cuts : sequence of float
        Cell ``i`` lies between cut ``i - 1`` and cut ``i``; there is one cell more than cuts.
    centre, scale : float
    shrink_from_ms, shrink_to_ms : int
        The scale shrinks with the square root of the time that is left in this window, down to a tenth.
    """

    __slots__ = ("_centre", "_cuts", "_home", "_scale", "_window")

    def __init__(
        self, cuts: Sequence[float], centre: float, scale: float, shrink_from_ms: int = 0, shrink_to_ms: int = 0
    ) -> None:
        self._cuts = tuple(cuts)
        self._centre = self._home = centre
        self._scale = scale
        self._window = (shrink_from_ms, shrink_to_ms)

    def weights(self, now_ms: int) -> list[float]:
        """Probability of every cell."""
        scale = self._scale
        begin, end = self._window
        if end > begin and now_ms > begin:
            scale *= max(0.1, math.sqrt(max(0, end - now_ms) / (end - begin)))
        below = 0.0
        found = []
        for cut in self._cuts:
            upto = max(below, _below((cut - self._centre) / scale))
            found.append(upto - below)
            below = upto
        found.append(1.0 - below)
        return found

    def kick(self, rng: random.Random, size: float) -> None:
        """Move the centre by ``size`` scales."""
        self._centre += rng.gauss(0.0, size) * self._scale + (self._home - self._centre) * 0.002


class Deadlines:
    """One event that may happen once: cells are the intervals between rising deadlines, the last is never.

    Parameters
    ----------
    spans : sequence of float
        Rising deadlines in units of the first one.
    log_rate : float
        Logarithm of the rate of the event per unit.
    """

    __slots__ = ("_log_rate", "_spans")

    def __init__(self, spans: Sequence[float], log_rate: float) -> None:
        self._spans = tuple(spans)
        self._log_rate = log_rate

    def weights(self, now_ms: int) -> list[float]:  # noqa: ARG002 - a process of time like the others
        """Probability of every interval, and of never."""
        rate = math.exp(self._log_rate)
        found = []
        before = 0.0
        for span in self._spans:
            by = 1.0 - math.exp(-rate * span)
            found.append(by - before)
            before = by
        found.append(1.0 - before)
        return found

    def kick(self, rng: random.Random, size: float) -> None:
        """Move the rate."""
        self._log_rate = min(2.0, max(-6.0, self._log_rate + rng.gauss(0.0, size)))


class Reach:
    """How far up and how far down something goes: states are pairs (rungs reached upward, rungs reached downward).

    State ``i * (len(down) + 1) + j``: the ``i`` nearest rungs above were touched, and the ``j`` nearest below.
    The two are not exclusive.
    """

    __slots__ = ("_down", "_up")

    def __init__(self, up: Sequence[float], down: Sequence[float], scale: float) -> None:
        self._up = Line(up, 0.0, scale)
        self._down = Line(down, 0.0, scale)

    def weights(self, now_ms: int) -> list[float]:
        """Probability of every pair."""
        up, down = self._up.weights(now_ms), self._down.weights(now_ms)
        return [high * low for high in up for low in down]

    def kick(self, rng: random.Random, size: float) -> None:
        """Move either direction."""
        (self._up if rng.random() < 0.5 else self._down).kick(rng, size)
