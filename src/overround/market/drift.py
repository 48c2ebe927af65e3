"""What a venue's messages have come to contain that its documentation does not: plain values, mergeable.

Two collectors (or a collector and a scan) count the same venue, each in its own process; what each has counted since it
last wrote is added to what is in the file. So everything here is a sum, a minimum or a maximum.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["DRIFT_NAMES_MAX", "Drift", "DriftSort", "DriftState", "KindTraits", "Trait"]

DRIFT_NAMES_MAX = 500
"""Names kept for one venue; what goes beyond is counted under one name, so that a venue gone mad costs no memory."""

OVERFLOW = "(more names)"
SAMPLE_CHARS = 160


class DriftSort(StrEnum):
    """How a message departs from what is documented, or from what was usual."""

    UNKNOWN_EVENT = "unknown_event"
    """A kind of message that is not documented."""
    UNKNOWN_FIELD = "unknown_field"
    """A field that is not documented."""
    MISSING_FIELD = "missing_field"
    """A field that every message of its kind has is not there."""
    DOMAIN = "domain"
    """A value outside what is documented for its field, or of another type."""
    OLD_FORMAT = "old_format"
    """A message in a form that the venue gave up."""
    CONSTANT = "constant"
    """A field that used to move shows one value only."""
    VANISHED = "vanished"
    """An optional field that used to come does so no more."""
    REJECTED = "rejected"
    """A message that the feed refused."""


class Drift(msgspec.Struct, kw_only=True):
    """One departure, by name.

    Attributes
    ----------
    sort : DriftSort
    name : str
        Kind and path, such as ``price_change.price_changes[].side``.
    detail : str
        What was expected.
    sample : str
        A value, or the beginning of a message.
    first_ms, last_ms : int
        When it was first and last seen. For a vanished or constant field: since when.
    count : int
        Times seen in what was sampled; every time for unknown events and rejected messages.
    accepted_ms : int or None
        When the operator said that it is known.
    """

    sort: DriftSort
    name: str
    detail: str = ""
    sample: str = ""
    first_ms: int = 0
    last_ms: int = 0
    count: int = 0
    accepted_ms: int | None = None

    @property
    def key(self) -> str:
        """Identity within a venue."""
        return f"{self.sort} {self.name}"

    def add(self, other: Drift) -> None:
        """Take over what another process counted of the same name."""
        self.first_ms = min(self.first_ms, other.first_ms)
        if other.last_ms >= self.last_ms:
            self.last_ms = other.last_ms
            self.detail, self.sample = other.detail, other.sample or self.sample
        self.count += other.count
        if other.accepted_ms is not None:
            self.accepted_ms = max(other.accepted_ms, self.accepted_ms or 0)


class Trait(msgspec.Struct, kw_only=True):
    """How one field behaves in the samples of its kind.

    Attributes
    ----------
    present, changes : int
        Samples that had it, and of these the ones with another value than the one before.
    longest_absent, longest_same : int
        Longest row of samples without it, and with one value.
    last_ms : int
        When it was last seen.
    """

    present: int = 0
    changes: int = 0
    longest_absent: int = 0
    longest_same: int = 0
    last_ms: int = 0

    def add(self, other: Trait) -> None:
        """Take over what another process counted."""
        self.present += other.present
        self.changes += other.changes
        self.longest_absent = max(self.longest_absent, other.longest_absent)
        self.longest_same = max(self.longest_same, other.longest_same)
        self.last_ms = max(self.last_ms, other.last_ms)


class KindTraits(msgspec.Struct, kw_only=True):
    """What is usual for one kind of message.

    Attributes
    ----------
    samples : int
    first_ms, last_ms : int
        Span in which they were taken; 0 before the first.
    fields : dict of str to Trait
        By path.
    """

    samples: int = 0
    first_ms: int = 0
    last_ms: int = 0
    fields: dict[str, Trait] = msgspec.field(default_factory=dict)

    def add(self, other: KindTraits) -> None:
        """Take over what another process counted."""
        if other.samples == 0:
            return
        self.first_ms = min(self.first_ms, other.first_ms) if self.samples else other.first_ms
        self.last_ms = max(self.last_ms, other.last_ms)
        self.samples += other.samples
        for path, trait in other.fields.items():
            self.fields.setdefault(path, Trait()).add(trait)


class DriftState(msgspec.Struct, kw_only=True):
    """Everything known of one venue's drift: the departures, and the profile that they are departures from.

    Attributes
    ----------
    found : dict of str to Drift
        By ``Drift.key``.
    kinds : dict of str to KindTraits
    """

    found: dict[str, Drift] = msgspec.field(default_factory=dict)
    kinds: dict[str, KindTraits] = msgspec.field(default_factory=dict)

    def note(self, drift: Drift) -> Drift:
        """Count one departure; returns the entry it went to (the common one when there are too many names)."""
        entry = self.found.get(drift.key)
        if entry is None and len(self.found) >= DRIFT_NAMES_MAX:
            drift = Drift(
                sort=drift.sort, name=OVERFLOW, first_ms=drift.first_ms, last_ms=drift.last_ms, count=drift.count
            )
            entry = self.found.get(drift.key)
        if entry is None:
            entry = self.found[drift.key] = drift
        else:
            entry.add(drift)
        return entry

    def add(self, other: DriftState) -> None:
        """Take over what another process counted since it last wrote."""
        for drift in other.found.values():
            self.note(msgspec.structs.replace(drift))  # a copy: the entry goes on counting
        for kind, traits in other.kinds.items():
            self.kinds.setdefault(kind, KindTraits()).add(traits)
