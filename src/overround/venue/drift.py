"""What has changed in a venue's messages: departures counted by name, and habits that were given up.

Departures from the documentation are news at once. Habits are learnt: for each optional field the longest row of samples
without it, for each value the longest row in which it did not change. A field is said to have vanished when it has been
away for three times its longest absence, and to stand still after five times its longest standstill, never before a kind
has been watched for a while; so what comes in bursts is given the time of its bursts. A standstill counts only where
several markets were seen in it (one quiet market explains any), except for fields that move in every stream.

Pure: the samples and the time come in, and what is new goes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from overround.market import Drift, DriftSort, DriftState, KindTraits, Trait
from overround.market.drift import DRIFT_NAMES_MAX
from overround.venue.shapes import Departure, Seen, Shape

__all__ = ["DriftLedger"]

MATURE_SAMPLES = 500
MATURE_MS = 600_000
MATURE_SLOW_MS = 2 * 3_600_000
"""A listing is read once an hour: its habits show in two."""
ABSENT_MIN, ABSENT_FACTOR = 100, 3
ABSENT_MIN_MS = 10_000
STILL_MIN, STILL_FACTOR = 500, 5
STILL_CHANGES_MIN = 50
STILL_SHARE_MIN = 0.02
STILL_MARKETS = 3
FIELDS_MAX = 2_000
"""Paths watched for one kind."""


class _Run:
    """Where one field stands now: what a restart may forget."""

    __slots__ = ("absent", "flagged", "identities", "last", "same", "since_ms", "still_ms")

    def __init__(self) -> None:
        self.absent = 0
        self.same = 0
        self.last: object = _NOTHING
        self.identities: set[str] = set()
        self.since_ms = 0
        self.still_ms = 0
        self.flagged = ""


_NOTHING = object()


class DriftLedger:
    """Counts one venue's drift.

    Parameters
    ----------
    shapes : mapping of str to Shape
    known : DriftState
        What earlier runs found and learnt; not changed.

    Attributes
    ----------
    fresh : DriftState
        What was counted since the last ``take``.
    """

    def __init__(self, shapes: Mapping[str, Shape], known: DriftState | None = None) -> None:
        self._shapes = shapes
        self._known = known or DriftState()
        self.fresh = DriftState()
        self._runs: dict[str, dict[str, _Run]] = {}
        self._named: set[str] = set()
        self._n_accepted = 0

    @property
    def names(self) -> int:
        """Names found in this run that nobody has accepted."""
        return len(self._named) - self._n_accepted

    def depart(self, departures: Iterable[Departure], now_ms: int) -> list[Drift]:
        """Count departures; returns those whose name was not seen in this run before."""
        return [
            drift
            for departure in departures
            if (drift := self._note(departure.sort, departure.name, departure.detail, departure.sample, now_ms))
        ]

    def see(self, seen: Seen, now_ms: int) -> list[Drift]:
        """Learn from one sample; returns habits found broken by it."""
        shape = self._shapes.get(seen.kind)
        if shape is None:
            return []
        fresh = self.fresh.kinds.setdefault(seen.kind, KindTraits())
        known = self._known.kinds.get(seen.kind, _NO_TRAITS)
        fresh.first_ms = fresh.first_ms or now_ms
        fresh.last_ms = now_ms
        fresh.samples += 1
        samples = fresh.samples + known.samples
        began = known.first_ms or fresh.first_ms
        mature = samples > MATURE_SAMPLES and now_ms - began >= (MATURE_SLOW_MS if shape.slow else MATURE_MS)
        runs = self._runs.setdefault(seen.kind, {})
        found: list[Drift] = []
        for path, value in seen.values.items():
            run = runs.get(path)
            if run is None:
                if len(runs) >= FIELDS_MAX:
                    continue
                run = runs[path] = _Run()
                if path not in known.fields:
                    run.absent = samples - 1
            trait = fresh.fields.get(path)
            if trait is None:
                trait = fresh.fields[path] = Trait()
            _came(run, trait, now_ms)
            if path == shape.identity:
                continue
            if value != run.last:
                _moved(run, trait, value, now_ms)
            else:
                run.same += 1
                if seen.identity and len(run.identities) < STILL_MARKETS:
                    run.identities.add(seen.identity)
                if mature and not run.flagged and self._stands_still(shape, path, run, known, fresh):
                    run.flagged = DriftSort.CONSTANT
                    found += self._broken(DriftSort.CONSTANT, seen.kind, path, run.still_ms, value, now_ms)
        for path, run in runs.items():
            if path not in seen.values:
                run.absent += 1
                if mature and not run.flagged and self._is_gone(shape, path, run, known, fresh, now_ms):
                    run.flagged = DriftSort.VANISHED
                    found += self._broken(DriftSort.VANISHED, seen.kind, path, run.since_ms, None, now_ms)
        if mature and fresh.samples == ABSENT_MIN + 1:
            # A field that stopped while nobody looked: it was never seen in this run.
            found += self._never_came(shape, seen, runs, known, now_ms)
        return found

    def take(self) -> DriftState:
        """Hand over what was counted, to be written; it is known from here on."""
        fresh, self.fresh = self.fresh, DriftState()
        known = DriftState()
        known.add(self._known)
        known.add(fresh)
        self._known = known
        return fresh

    def know(self, merged: DriftState) -> None:
        """Take over what the file holds now, other processes' counts included."""
        self._known = merged

    # -- inside -------------------------------------------------------------------------------------

    def _note(self, sort: DriftSort, name: str, detail: str, sample: str, now_ms: int) -> Drift | None:
        drift = Drift(sort=sort, name=name, detail=detail, sample=sample, first_ms=now_ms, last_ms=now_ms, count=1)
        entry = self.fresh.note(drift)
        if entry.key in self._named or len(self._named) > DRIFT_NAMES_MAX:
            return None
        self._named.add(entry.key)
        earlier = self._known.found.get(entry.key)
        if earlier is None:
            return msgspec.structs.replace(entry)
        if earlier.accepted_ms is not None:
            self._n_accepted += 1
        return msgspec.structs.replace(
            entry, first_ms=earlier.first_ms, count=entry.count + earlier.count, accepted_ms=earlier.accepted_ms
        )

    def _broken(self, sort: DriftSort, kind: str, path: str, since_ms: int, value: object, now_ms: int) -> list[Drift]:
        detail = "one value only" if sort is DriftSort.CONSTANT else "comes no more"
        drift = self._note(sort, f"{kind}.{path}", detail, "" if value is None else str(value)[:80], now_ms)
        if drift is None:
            return []
        entry = self.fresh.found[drift.key]
        entry.first_ms = drift.first_ms = min(since_ms or now_ms, entry.first_ms)
        return [drift]

    def _stands_still(self, shape: Shape, path: str, run: _Run, known: KindTraits, fresh: KindTraits) -> bool:
        if path in shape.fleeting:
            return False
        if path not in shape.moving and len(run.identities) < STILL_MARKETS:
            return False
        present, changes, _, longest = _sums(path, known, fresh)
        return (
            run.same > max(STILL_MIN, STILL_FACTOR * longest)
            and changes >= STILL_CHANGES_MIN
            and changes >= STILL_SHARE_MIN * (present - run.same)
        )

    def _is_gone(self, shape: Shape, path: str, run: _Run, known: KindTraits, fresh: KindTraits, now_ms: int) -> bool:
        if path in shape.fleeting or _inside_list(path) or now_ms - run.since_ms < ABSENT_MIN_MS:
            return False
        present, _, longest, _ = _sums(path, known, fresh)
        return present >= ABSENT_MIN and run.absent > max(ABSENT_MIN, ABSENT_FACTOR * longest)

    def _never_came(
        self, shape: Shape, seen: Seen, runs: Mapping[str, _Run], known: KindTraits, now_ms: int
    ) -> list[Drift]:
        found: list[Drift] = []
        for path, trait in known.fields.items():
            usual = trait.present >= ABSENT_MIN and trait.longest_absent * ABSENT_FACTOR <= ABSENT_MIN
            if usual and path not in runs and path not in shape.fleeting and not _inside_list(path):
                found += self._broken(DriftSort.VANISHED, seen.kind, path, trait.last_ms, None, now_ms)
        return found


_NO_TRAITS = KindTraits()
_NO_TRAIT = Trait()


def _came(run: _Run, trait: Trait, now_ms: int) -> None:
    if run.absent:
        trait.longest_absent = max(trait.longest_absent, run.absent)
        run.absent = 0
        if run.flagged == DriftSort.VANISHED:
            run.flagged = ""
    trait.present += 1
    trait.last_ms = run.since_ms = now_ms


def _moved(run: _Run, trait: Trait, value: object, now_ms: int) -> None:
    if run.last is not _NOTHING:
        trait.changes += 1
        trait.longest_same = max(trait.longest_same, run.same)
    run.last, run.same, run.still_ms = value, 0, now_ms
    run.identities.clear()
    if run.flagged == DriftSort.CONSTANT:
        run.flagged = ""


def _sums(path: str, known: KindTraits, fresh: KindTraits) -> tuple[int, int, int, int]:
    """Present, changes, longest absence and longest standstill, earlier runs included."""
    old, new = known.fields.get(path, _NO_TRAIT), fresh.fields.get(path, _NO_TRAIT)
    return (
        old.present + new.present,
        old.changes + new.changes,
        max(old.longest_absent, new.longest_absent),
        max(old.longest_same, new.longest_same),
    )


def _inside_list(path: str) -> bool:
    # An empty list has no elements whose fields could come.
    return "[]" in path
