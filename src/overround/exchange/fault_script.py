"""What can be injected, and scripts of it: JSON that replays, or drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from overround.errors import ConfigError
from overround.market import Venue

__all__ = [
    "CATALOGUE_KINDS",
    "CONNECTION_KINDS",
    "DOOR_KINDS",
    "FRAME_KINDS",
    "HTTP_KINDS",
    "KINDS",
    "LOSING_KINDS",
    "MARKET_KINDS",
    "ONE_VENUE",
    "Fault",
    "FaultScript",
    "HttpFault",
]

FRAME_KINDS = {
    "silence": "no frame but heartbeats for duration_ms (of params.frames only, where given); what was due is lost",
    "lag": "for duration_ms every frame leaves params.delay_ms (1,500) late, in order",
    "stall": "frames are held for duration_ms and then sent at once, in order: a burst",
    "mute_token": "one market is not sent for duration_ms; a fresh subscription revives it with params.revive (0.55)",
    "missing_first_book": "the next params.count first books are not sent",
    "drop": "params.count frames are lost",
    "duplicate": "params.count frames are sent twice",
    "reorder": "params.count frames change places with their successor",
    "late": "params.count frames leave params.delay_ms (1,500) later than they should",
    "cut_frame": "a frame is cut: params.mode payload (half the text) or wire (half the bytes, then the end)",
    "renamed_field": "in params.count frames params.from is spelt params.to",
    "extra_field": "params.count frames carry an unknown field",
    "old_format": "Polymarket: price_change in the form before September 2025 for duration_ms",
}
CONNECTION_KINDS = {
    "close": "the connection ends: params.mode abort, hang_up or a close code",
    "sequence_gap": "Kalshi: params.count numbers are left out; Polymarket: a change is lost",
    "underflow": "Kalshi: a delta takes more than a level holds",
    "unknown_event": "params.count frames of an unknown kind",
    "terminal_error": "Kalshi: the book subscription ends with params.code (10)",
}
DOOR_KINDS = {
    "refuse": "upgrades are refused for duration_ms: params.status, or dropped without an answer",
    "close_on_open": "for duration_ms connections are let in and dropped at once",
    "maintenance": "all connections end, upgrades get 503 and the exchange says it is closed for duration_ms",
}
MARKET_KINDS = {
    "tick_change": "a market's tick becomes params.tick_e4 (or finer, or coarser again)",
    "resolution": "a market resolves to params.result (0 or 1)",
}
CATALOGUE_KINDS = {
    "edit": "a market's listing changes: params.title, rules, label, source, close_in_ms, tick_e4, fee_rate, status, event_title",
    "delist": "a market is left out of the listings; its book goes on",
    "relist": "a market is listed again",
}
"""No faults but a venue's own edits: in a script they fire like faults, drawn scripts have none."""
HTTP_KINDS = {
    "http_status": "params.count answers, or all for duration_ms, are params.status; params.retry_after seconds or 'date'",
    "http_html": "answers are an HTML page with params.status (502)",
    "http_slow": "answers wait params.delay_ms (2,000)",
    "http_cut": "answers end halfway",
    "stuck_cursor": "pages name the cursor they were asked with",
    "shifted_pages": "pages begin params.rows (3) rows too early: rows repeat",
}
KINDS = {**FRAME_KINDS, **CONNECTION_KINDS, **DOOR_KINDS, **MARKET_KINDS, **HTTP_KINDS}
LOSING_KINDS = frozenset(
    {"silence", "mute_token", "missing_first_book", "drop", "cut_frame", "renamed_field", "close", "close_on_open",
     "maintenance", "terminal_error"}
)  # fmt: skip
"""Kinds after which a client without repair misses something; a ``sequence_gap`` loses on Polymarket only."""
ONE_VENUE = {
    "underflow": Venue.KALSHI,
    "terminal_error": Venue.KALSHI,
    "old_format": Venue.POLYMARKET,
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault of a script.

    Attributes
    ----------
    kind : str
        A key of ``KINDS`` or ``CATALOGUE_KINDS``.
    venue : Venue
    at_ms : int or None
        Milliseconds after the exchange's start; at once when neither this nor ``after_frames`` is given.
    after_frames : int or None
        Fires when the venue has sent so many data frames.
    connection : int or str
        Running number of the connection (the first is 1), ``any`` (drawn among those with subscriptions) or ``all``.
        A fault waits for its connection.
    market : str
        Market key, ``any`` (drawn among the connection's markets) or ``all``.
    duration_ms : int
        How long it lasts; 0 until its count is used up, or for ever.
    params : dict
        See ``KINDS`` and ``CATALOGUE_KINDS``; ``every`` applies counted kinds to each n-th frame only.
    """

    kind: str
    venue: Venue
    at_ms: int | None = None
    after_frames: int | None = None
    connection: int | Literal["any", "all"] = "any"
    market: str = "any"
    duration_ms: int = 0
    params: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.kind not in KINDS and self.kind not in CATALOGUE_KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}; known: {', '.join([*KINDS, *CATALOGUE_KINDS])}")
        only = ONE_VENUE.get(self.kind)
        if only is not None and only is not self.venue:
            raise ValueError(f"{self.kind} is a fault of {only} only")


class FaultScript(msgspec.Struct, frozen=True):
    """Faults in the order in which they are written."""

    faults: tuple[Fault, ...] = ()

    @classmethod
    def from_json(cls, text: bytes | str) -> FaultScript:
        """Read a JSON list of faults.

        Raises
        ------
        ConfigError
            If it is no such list.
        """
        try:
            return cls(msgspec.json.decode(text, type=tuple[Fault, ...]))
        except msgspec.DecodeError as exc:
            raise ConfigError(f"fault script: {exc}", hint="a JSON list of {kind, venue, at_ms, ...}") from exc

    @classmethod
    def from_file(cls, path: Path) -> FaultScript:
        """Read a script from a file.

        Raises
        ------
        ConfigError
            If there is no such file or it is no script.
        """
        try:
            return cls.from_json(path.read_bytes())
        except OSError as exc:
            raise ConfigError(f"fault script {path}: {exc.strerror}", hint="name a JSON file") from exc

    def to_json(self) -> bytes:
        """The script as JSON, readable by ``from_json``."""
        return msgspec.json.encode(self.faults)

    @classmethod
    def drawn(
        cls,
        seed: int,
        *,
        venues: Sequence[Venue],
        count: int,
        span_ms: int,
        kinds: Sequence[str] | None = None,
        longest_ms: int = 5_000,
    ) -> FaultScript:
        """A random script, the same for the same seed.

        Parameters
        ----------
        seed : int
        venues : sequence of Venue
        count : int
            Number of faults.
        span_ms : int
            They begin within so many milliseconds of the start.
        kinds : sequence of str, optional
            Kinds to draw from; all when None.
        longest_ms : int
            Longest duration.
        """
        rng = random.Random(f"faults:{seed}")
        chosen = []
        for _ in range(count):
            venue = rng.choice(list(venues))
            possible = [k for k in kinds or list(KINDS) if ONE_VENUE.get(k, venue) is venue]
            chosen.append(
                Fault(
                    kind=rng.choice(possible),
                    venue=venue,
                    at_ms=rng.randrange(span_ms),
                    duration_ms=rng.randint(200, longest_ms),
                )
            )
        return cls(tuple(sorted(chosen, key=lambda fault: fault.at_ms or 0)))


class HttpFault(msgspec.Struct, frozen=True, kw_only=True):
    """What the REST side is to do with one request.

    Attributes
    ----------
    kind : str
    status : int
    retry_after : str or None
        Value of the header.
    delay_ms : int
    """

    kind: str
    status: int = 0
    retry_after: str | None = None
    delay_ms: int = 0
