"""Canaries: a few busy markets subscribed on a second connection, the witness, whose books are never stored.

Two connections hear the same market. What one of them heard, the other must have heard within a tolerance; if not,
the one that is behind is convicted without asking anybody: its whole connection if that has been silent as long, else
that market on it. Books that both have been left alone for a second and that differ all the same are no matter of
silence; REST tells which of them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from overround.book import Book
from overround.collector.silence import Check, Fault, Finding, Why
from overround.market import MarketId

__all__ = ["WITNESS", "CanaryJudge", "Pair", "choose_canaries"]

WITNESS = "witness"
"""Slot name of the second connection."""

# A market that speaks more rarely tells too late to be of use.
_LEAST_PER_S = 1 / 20
_SETTLED_MS = 1_000
_CALM_MS = 15_000
# A connection that spoke so lately speaks.
_SPEAKS_MS = 1_500


class Pair(NamedTuple):
    """A canary's book on the connection that records it, and on the witness."""

    market_id: MarketId
    slot: str
    recorded: Book
    witnessed: Book


def choose_canaries(
    held: Iterable[MarketId], rates: Mapping[str, Mapping[MarketId, float]], *, per_connection: int
) -> set[MarketId]:
    """The busiest markets of every connection.

    Parameters
    ----------
    held : iterable of MarketId
        Canaries now; one stays while it is half as busy as the market that would replace it, so that canaries do not
        come and go with every burst.
    rates : mapping
        Changes per second of the live markets, by connection.
    per_connection : int

    Examples
    --------
    >>> choose_canaries({"b"}, {"0": {"a": 1.5, "b": 1.0, "c": 0.1}}, per_connection=1)
    {'b'}
    >>> choose_canaries({"c"}, {"0": {"a": 1.5, "b": 1.0, "c": 0.1}}, per_connection=1)
    {'a'}
    """
    known = set(held)
    chosen: set[MarketId] = set()
    for of_one in rates.values():
        busy = {market_id: rate for market_id, rate in of_one.items() if rate >= _LEAST_PER_S}
        ranked = sorted(busy, key=lambda m: (-busy[m] * (2 if m in known else 1), m))
        chosen.update(ranked[:per_connection])
    return chosen


class _Sides:
    """What either side of a pair has said, and since when the other one has left it unanswered."""

    __slots__ = (
        "apart_ms",
        "calm_ms",
        "heard_ms",
        "recorded_behind_ms",
        "recorded_seq",
        "witness_behind_ms",
        "witnessed_seq",
    )

    def __init__(self, pair: Pair, now_ms: int) -> None:
        self.recorded_seq, self.witnessed_seq = pair.recorded.seq, pair.witnessed.seq
        self.heard_ms = now_ms
        self.recorded_behind_ms: int | None = None
        self.witness_behind_ms: int | None = None
        self.apart_ms: int | None = None
        self.calm_ms = now_ms

    def settle(self) -> None:
        """The books are equal: whatever was said, both have heard it."""
        self.recorded_behind_ms = self.witness_behind_ms = self.apart_ms = None


class CanaryJudge:
    """Compares the two sides of every canary.

    Parameters
    ----------
    tolerance_ms : int
    stall_ms : int
        A connection silent for less is late, not frozen.
    silence_ms : callable
        How long the connection of a slot has been silent.
    """

    def __init__(self, *, tolerance_ms: int, stall_ms: int, silence_ms: Callable[[str], int]) -> None:
        self._tolerance_ms = tolerance_ms
        self._stall_ms = stall_ms
        self._silence_ms = silence_ms
        self._sides: dict[MarketId, _Sides] = {}
        self._witness_ms = 0

    def judge(self, pairs: Iterable[Pair], *, now_ms: int) -> list[Finding | Check]:
        """What the pairs tell now; called as often as the connections are looked at."""
        told: list[Finding | Check] = []
        frozen: set[str] = set()
        present: set[MarketId] = set()
        for pair in pairs:
            present.add(pair.market_id)
            sides = self._sides.get(pair.market_id)
            if sides is None or not (pair.recorded.live and pair.witnessed.live):
                # A side that has just come, or come back, begins anew.
                self._sides[pair.market_id] = _Sides(pair, now_ms)
                continue
            self._listen(sides, pair, now_ms)
            found = self._look(sides, pair, now_ms)
            if isinstance(found, Finding) and found.fault is Fault.FROZEN:
                if found.slot in frozen:
                    continue
                frozen.add(found.slot)
            if found is not None:
                told.append(found)
        for market_id in self._sides.keys() - present:
            del self._sides[market_id]
        return told

    def _listen(self, sides: _Sides, pair: Pair, now_ms: int) -> None:
        recorded = pair.recorded.seq != sides.recorded_seq
        witnessed = pair.witnessed.seq != sides.witnessed_seq
        sides.recorded_seq, sides.witnessed_seq = pair.recorded.seq, pair.witnessed.seq
        if recorded or witnessed:
            sides.heard_ms = now_ms
        if witnessed:
            self._witness_ms = now_ms
        # A side is behind from the first thing that the other said after it: how long it was quiet before counts for
        # nothing, since a quiet market's two connections hear of a change within milliseconds, or a lag, of each other.
        if recorded:
            sides.recorded_behind_ms = None
        elif witnessed and sides.recorded_behind_ms is None:
            sides.recorded_behind_ms = now_ms
        if witnessed:
            sides.witness_behind_ms = None
        elif recorded and sides.witness_behind_ms is None:
            sides.witness_behind_ms = now_ms

    def _look(self, sides: _Sides, pair: Pair, now_ms: int) -> Finding | Check | None:
        recorded, witnessed = pair.recorded, pair.witnessed
        if recorded.bids == witnessed.bids and recorded.asks == witnessed.asks:
            sides.settle()
            return None
        if now_ms < sides.calm_ms:
            return None
        for slot, behind_ms in ((pair.slot, sides.recorded_behind_ms), (WITNESS, sides.witness_behind_ms)):
            if behind_ms is not None and now_ms - behind_ms >= self._tolerance_ms:
                silence_ms = now_ms - self._witness_ms if slot == WITNESS else self._silence_ms(slot)
                frozen = silence_ms >= max(self._tolerance_ms, self._stall_ms)
                if not frozen and silence_ms > _SPEAKS_MS:
                    return None  # the siblings will tell: they speak, or they are silent for long enough
                fault = Fault.FROZEN if frozen else Fault.MUTE
                sides.calm_ms = now_ms + _CALM_MS
                return Finding(fault=fault, slot=slot, market_ids=(pair.market_id,), by=Why.CANARY)
        if now_ms - sides.heard_ms < _SETTLED_MS:
            return None
        if sides.apart_ms is None:
            sides.apart_ms = now_ms
        elif now_ms - sides.apart_ms >= self._tolerance_ms:
            sides.apart_ms = None
            sides.calm_ms = now_ms + _CALM_MS
            return Check(why=Why.CANARY, market_ids=(pair.market_id,))
        return None
