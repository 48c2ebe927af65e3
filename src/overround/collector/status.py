"""What a collector says about itself."""

from __future__ import annotations

import math

import msgspec

__all__ = ["VenueStatus"]


class VenueStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One venue at one moment; what the log line every ten seconds and the live view show.

    Attributes
    ----------
    venue, mode : str
        Mode is ``socket`` or ``polling``.
    connections, connected : int
        Slots wanted and standing.
    subscriptions, live, hot, warm : int
        Markets held, of these with a right book; markets of each set.
    frames, changes, trades : int
        Since the start.
    frames_per_s, snapshots_per_s : float
        Over the last interval. A snapshot is one market's rows at one instant.
    snapshots, rows : int
        Snapshots taken, and rows stored (two outcomes each by default).
    rows_waiting, flushes, last_flush_ms, flush_failures, files, bytes_written : int
        The writer: rows not yet durable; the last flush's duration; Parquet files and their bytes.
    last_flush_age_ms : int
        Since the last flush that succeeded, or the start.
    oldest_book_ms : int
        Longest time since a live book was last proved: by a hash, a whole sequence, or REST. A quiet market's grows.
    journal_bytes : int
    gaps, open_gaps, repairs, resyncs, marked, reconnects, rejected, unknown : int
        ``marked``: times that every repair step failed for a market.
    row_verdicts : dict of str to int
        ``rows`` by their word in the column ``integrity``.
    book_verdicts : dict of str to int
        Books held at this moment by the word that a row of theirs would carry now, as far as it is known without a new
        proof; books that never came and those of ended markets are in none.
    verified_share : float
        Share of the rows written so far whose book was proved; NaN before the first row.
    verified_minutes : float
        Share of the wanted market-minutes that the ledger holds as verified; NaN before the first.
    listed : int
        Markets announced since the start; the next scan brings them.
    suspicions, audits, freezes, mutes, missing_books : int
        See ``collector.watch.SilenceCounters``.
    drift, quarantined : int
        Ways in which messages are not as documented, by name, and messages set aside for it.
    requests, request_failures, rate_limited : int
        REST requests sent, calls that failed for good, answers that told us to wait.
    breakers : dict of str to str
        State of each host's circuit breaker: ``closed``, ``half_open``, ``open``.
    journal_failures, journal_waiting : int
        Writes of frames that the disk refused, and bytes in memory because of it.
    ledger_failures, ledger_waiting : int
        The same of the coverage ledger, in rows.
    clock_steps : int
        Times that the machine's clock was set and recording began anew.
    warning : str
        Something the operator should know, or empty.
    """

    venue: str
    mode: str
    connections: int
    connected: int
    subscriptions: int
    live: int
    hot: int
    warm: int
    frames: int
    changes: int
    trades: int
    frames_per_s: float
    snapshots_per_s: float
    snapshots: int
    rows: int
    rows_waiting: int
    flushes: int
    last_flush_ms: float
    flush_failures: int
    files: int
    bytes_written: int
    journal_bytes: int
    gaps: int
    open_gaps: int
    repairs: int
    resyncs: int
    reconnects: int
    rejected: int
    unknown: int
    verified_share: float
    verified_minutes: float = math.nan
    marked: int = 0
    row_verdicts: dict[str, int] = msgspec.field(default_factory=dict)
    book_verdicts: dict[str, int] = msgspec.field(default_factory=dict)
    listed: int = 0
    suspicions: int = 0
    audits: int = 0
    freezes: int = 0
    mutes: int = 0
    missing_books: int = 0
    drift: int = 0
    quarantined: int = 0
    last_flush_age_ms: int = 0
    oldest_book_ms: int = 0
    requests: int = 0
    request_failures: int = 0
    rate_limited: int = 0
    breakers: dict[str, str] = msgspec.field(default_factory=dict)
    journal_failures: int = 0
    journal_waiting: int = 0
    ledger_failures: int = 0
    ledger_waiting: int = 0
    clock_steps: int = 0
    warning: str = ""

    @property
    def unsaved(self) -> bool:
        """Whether the disk has refused something that is in memory only."""
        refused = self.flush_failures and self.rows_waiting
        return bool(refused or (self.journal_failures and self.journal_waiting) or self.ledger_waiting)
