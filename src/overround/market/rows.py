"""The words a stored snapshot row may carry."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["BookStatus", "ErrCode", "Integrity"]


class BookStatus(StrEnum):
    """State of a stored book; the first that applies, in the order of ``stale``, ``empty``, ``partial``, ``ok``."""

    OK = "ok"
    STALE = "stale"
    PARTIAL = "partial"
    EMPTY = "empty"


class ErrCode(StrEnum):
    """Why a row is what it is; null when nothing is wrong."""

    GAP = "gap"
    RECONNECTING = "reconnecting"
    HASH_MISMATCH = "hash_mismatch"
    NEGATIVE_LEVEL = "negative_level"
    CROSSED = "crossed"
    VENUE_DOWN = "venue_down"
    CLOSED = "closed"
    AUDIT_MISMATCH = "audit_mismatch"


class Integrity(StrEnum):
    """How far a book is proved.

    ``verified``: the venue's own check holds (hash recomputed, sequence whole since a snapshot).
    ``unverified``: no check was possible or made. ``suspect``: a check failed and is being looked into.
    ``stale``: no sign of life. ``gap``: updates are known to be missing.
    """

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    SUSPECT = "suspect"
    STALE = "stale"
    GAP = "gap"
