"""What a connection knows of its markets and subscriptions, and how that may change.

A market on one connection stands in one of six stages::

                      ASKED                     BOOK
         IDLE ─────────────────────> JOINING ─────────> LIVE ──┐
          ^  ^                          │                ^     │ FAULT (a hole, a negative level,
          │  │ LOST                     │ LOST      BOOK │     v  a crossed pair, a value refused)
          │  └──────────────────────────┴──────────── BROKEN <─┘
          │                                              ^
          │ LOST, RESTED                         RESUMED │
       REFUSED <── REFUSED (by the venue)               ENDED <── ENDED (close time, empty at close, result)

Only ``LIVE`` has a live book. ``NEXT`` is the whole table, complete over every pair.

What is tried for a market without a book is the other table, ``venue.repair.TABLE``.
"""

from __future__ import annotations

from enum import Enum

from overround.book import Book
from overround.errors import WireError
from overround.market import MarketId, sz_e6
from overround.venue.kalshi.parse import time_ms
from overround.venue.repair import Mend

__all__ = ["NEXT", "Channel", "Command", "Held", "Saw", "Sizes", "Stage", "TimedBook", "Verb"]

_SIZE_TEXTS = 32_768
_TIMES_END_MS = 10**15


class Stage(Enum):
    """Where a market stands on this connection."""

    IDLE = "idle"
    """Wanted, and not asked for on this connection."""
    JOINING = "joining"
    """Asked for; its first book has not come."""
    LIVE = "live"
    """Its book has come, and every change since."""
    BROKEN = "broken"
    """A change is missing or the book is wrong; changes are discarded until its book comes."""
    ENDED = "ended"
    """Trading is over."""
    REFUSED = "refused"
    """The venue does not give it here; not asked again before a rest, or another connection."""


class Saw(Enum):
    """What happened to a market."""

    ASKED = "asked"
    BOOK = "book"
    FAULT = "fault"
    LOST = "lost"
    ENDED = "ended"
    RESUMED = "resumed"
    REFUSED = "refused"
    RESTED = "rested"


NEXT: dict[tuple[Stage, Saw], Stage] = {
    (Stage.IDLE, Saw.ASKED): Stage.JOINING,
    (Stage.IDLE, Saw.BOOK): Stage.LIVE,
    (Stage.IDLE, Saw.FAULT): Stage.IDLE,
    (Stage.IDLE, Saw.LOST): Stage.IDLE,
    (Stage.IDLE, Saw.ENDED): Stage.ENDED,
    (Stage.IDLE, Saw.RESUMED): Stage.IDLE,
    (Stage.IDLE, Saw.REFUSED): Stage.REFUSED,
    (Stage.IDLE, Saw.RESTED): Stage.IDLE,
    (Stage.JOINING, Saw.ASKED): Stage.JOINING,
    (Stage.JOINING, Saw.BOOK): Stage.LIVE,
    (Stage.JOINING, Saw.FAULT): Stage.JOINING,
    (Stage.JOINING, Saw.LOST): Stage.IDLE,
    (Stage.JOINING, Saw.ENDED): Stage.ENDED,
    (Stage.JOINING, Saw.RESUMED): Stage.JOINING,
    (Stage.JOINING, Saw.REFUSED): Stage.REFUSED,
    (Stage.JOINING, Saw.RESTED): Stage.JOINING,
    (Stage.LIVE, Saw.ASKED): Stage.LIVE,
    (Stage.LIVE, Saw.BOOK): Stage.LIVE,
    (Stage.LIVE, Saw.FAULT): Stage.BROKEN,
    (Stage.LIVE, Saw.LOST): Stage.IDLE,
    (Stage.LIVE, Saw.ENDED): Stage.ENDED,
    (Stage.LIVE, Saw.RESUMED): Stage.LIVE,
    (Stage.LIVE, Saw.REFUSED): Stage.REFUSED,
    (Stage.LIVE, Saw.RESTED): Stage.LIVE,
    (Stage.BROKEN, Saw.ASKED): Stage.BROKEN,
    (Stage.BROKEN, Saw.BOOK): Stage.LIVE,
    (Stage.BROKEN, Saw.FAULT): Stage.BROKEN,
    (Stage.BROKEN, Saw.LOST): Stage.IDLE,
    (Stage.BROKEN, Saw.ENDED): Stage.ENDED,
    (Stage.BROKEN, Saw.RESUMED): Stage.BROKEN,
    (Stage.BROKEN, Saw.REFUSED): Stage.REFUSED,
    (Stage.BROKEN, Saw.RESTED): Stage.BROKEN,
    # An ended market keeps its last content; only word that it trades on makes it want a book again.
    (Stage.ENDED, Saw.ASKED): Stage.ENDED,
    (Stage.ENDED, Saw.BOOK): Stage.ENDED,
    (Stage.ENDED, Saw.FAULT): Stage.ENDED,
    (Stage.ENDED, Saw.LOST): Stage.ENDED,
    (Stage.ENDED, Saw.ENDED): Stage.ENDED,
    (Stage.ENDED, Saw.RESUMED): Stage.BROKEN,
    (Stage.ENDED, Saw.REFUSED): Stage.ENDED,
    (Stage.ENDED, Saw.RESTED): Stage.ENDED,
    (Stage.REFUSED, Saw.ASKED): Stage.REFUSED,
    (Stage.REFUSED, Saw.BOOK): Stage.LIVE,
    (Stage.REFUSED, Saw.FAULT): Stage.REFUSED,
    # Another connection may be luckier.
    (Stage.REFUSED, Saw.LOST): Stage.IDLE,
    (Stage.REFUSED, Saw.ENDED): Stage.ENDED,
    (Stage.REFUSED, Saw.RESUMED): Stage.REFUSED,
    (Stage.REFUSED, Saw.REFUSED): Stage.REFUSED,
    (Stage.REFUSED, Saw.RESTED): Stage.IDLE,
}


class TimedBook(Book):
    """A book whose venue time is read from its text when somebody asks for it.

    Until April 2026 a change carried its time as a text only. Thousands of them come between two readings,
    and reading each would cost as much as applying it.

    Attributes
    ----------
    stamp : int, str or None
        Venue time of the last change: milliseconds, or the RFC 3339 text.
    channel : Channel
        The subscription whose changes it takes, while it is live.
    """

    __slots__ = ("channel", "stamp")

    stamp: int | str | None
    channel: Channel

    @property
    def ts_venue_ms(self) -> int | None:
        """Venue time of the last change, ms; None where the venue told none that can be read."""
        stamp = self.stamp
        if isinstance(stamp, str):
            try:
                stamp = time_ms(stamp)
            except WireError:
                stamp = None
            self.stamp = stamp
        # JSON knows integers of any size, a row does not.
        return stamp if stamp is None or abs(stamp) < _TIMES_END_MS else None

    @ts_venue_ms.setter
    def ts_venue_ms(self, value: int | None) -> None:
        self.stamp = value


class Held:
    """One market of this connection.

    Attributes
    ----------
    market_id : MarketId
    book : TimedBook
        On the shelf; shared with whoever reads it.
    stage : Stage
    mend : Mend
        Where its repair stands, and what is tried next while it has no book.
    close_ts : int or None
        When trading ends as listed, ms.
    ends_ms : int or None
        When our own timer ends it; None where the listed time had passed when it was told (it may have moved).
    cause : str
        ``ErrCode`` of the interruption that lasts, or empty.
    proven_ms : int or None
        While it is not live: the last instant at which its book was whole.
    since_ms : int
        When it was asked for, or when the interruption began.
    not_before_ms : int
        No repair before this: a market that breaks again and again is asked for more and more slowly.
    breaks, repaired_ms : int
        Interruptions in quick succession, and the end of the last.
    refused_until_ms : int or None
        When a market whose command the venue refused is asked for again; None where it is not refused so.
    proved_ns : int or None
        Receive time of its last snapshot, or of the last that was asked for and found equal.
    doubts : int
        Contradictions since then; two break the book.
    mismatches : int
        Times its book was found wrong since one was found equal.
    prints, unmatched : int
        Prints that were held against its changes, and those without one.
    """

    __slots__ = (
        "book",
        "breaks",
        "cause",
        "close_ts",
        "doubts",
        "ends_ms",
        "market_id",
        "mend",
        "mismatches",
        "not_before_ms",
        "prints",
        "proved_ns",
        "proven_ms",
        "refused_until_ms",
        "repaired_ms",
        "since_ms",
        "stage",
        "unmatched",
    )

    def __init__(self, market_id: MarketId, book: TimedBook, *, now_ms: int) -> None:
        self.market_id = market_id
        self.book = book
        self.close_ts: int | None = None
        self.ends_ms: int | None = None
        self.stage = Stage.IDLE
        self.mend = Mend()
        self.cause = ""
        self.proven_ms: int | None = None
        self.since_ms = now_ms
        self.not_before_ms = 0
        self.breaks = 0
        self.repaired_ms = 0
        self.refused_until_ms: int | None = None
        self.proved_ns: int | None = None
        self.doubts = self.mismatches = 0
        self.prints = self.unmatched = 0

    def move(self, saw: Saw) -> bool:
        """Change the stage by the table; returns whether it did change."""
        stage = NEXT[self.stage, saw]
        changed = stage is not self.stage
        self.stage = stage
        if stage is not Stage.REFUSED:
            self.refused_until_ms = None
        return changed

    @property
    def needs_book(self) -> bool:
        """Whether a book of it is still to be had."""
        return self.stage is Stage.IDLE or self.stage is Stage.JOINING or self.stage is Stage.BROKEN


class Sizes(dict[str, int]):
    """Signed sizes by their texts: few make up nearly all changes, so each text is read once.

    Bounded: when it is full it begins anew.

    Examples
    --------
    >>> Sizes()["-54.00"]
    -54000000
    """

    __slots__ = ()

    def __missing__(self, text: str) -> int:
        """Read a size not met before.

        Raises
        ------
        ValueOutOfScale
            If it does not fit our integers.
        """
        minus = text[:1] == "-"
        digits = text[1:-3] + text[-2:] if minus else text[:-3] + text[-2:]
        if text[-3:-2] == "." and len(digits) < 16 and digits.isascii() and digits.isdigit():
            # The venue's usual two decimals.
            change = int(digits) * (-10_000 if minus else 10_000)
        else:
            change = sz_e6(text, field="delta_fp", signed=True)
        if len(self) >= _SIZE_TEXTS:
            self.clear()
        self[text] = change
        return change


class Channel:
    """One subscription: the venue gives one per channel and connection.

    Attributes
    ----------
    name : str
        Channel name.
    sid : int or None
        The venue's number of it; None while there is none.
    last : int
        The number of the last frame of this sid; acknowledgements count.
    base : int
        ``last`` less the frames taken on the fast road, so that nothing else need count them.
    heard_ns : int
        Receive time of the last frame in sequence that did not take the fast road.
    live : dict of str to TimedBook
        Books whose changes it brings: exactly its markets that are whole.
    on_wire : set of str
        Markets that the venue has confirmed (or that we must assume) on it.
    refused : bool
        The venue does not know the channel: not asked again on this connection.
    run, run_next, run_due : int
        Length of a run of old numbers with none in order between them, the number that would continue it, and
        the one that was due meanwhile.
    excused, excused_at : int
        Unreadable frames met while ``excused_at`` was due: a hole of that size there is not a new one.
    """

    __slots__ = (
        "base",
        "excused",
        "excused_at",
        "heard_ns",
        "last",
        "live",
        "name",
        "on_wire",
        "refused",
        "run",
        "run_due",
        "run_next",
        "sid",
    )

    def __init__(self, name: str, *, sid: int | None = None, due: int = 1) -> None:
        self.name = name
        self.sid = sid
        self.last = due - 1
        self.base = due - 1
        self.heard_ns = 0
        self.live: dict[str, TimedBook] = {}
        self.on_wire: set[str] = set()
        self.refused = False
        self.run = 0
        self.run_next = 0
        self.run_due = 0
        self.excused = 0
        self.excused_at = 0

    @property
    def due(self) -> int:
        """The number that the next frame of this sid must carry."""
        return self.last + 1

    @property
    def n_fast(self) -> int:
        """Frames taken on the fast road."""
        return self.last - self.base

    @property
    def whole_ns(self) -> int | None:
        """Receive time of the last frame in sequence, or None; until then nothing was missing."""
        # The fast road leaves its time in the book only.
        return max(self.heard_ns, max((book.ts_recv_ns for book in self.live.values()), default=0)) or None

    def advance(self, due: int) -> None:
        """Set the number that is due, for a frame that did not take the fast road."""
        self.base += due - 1 - self.last
        self.last = due - 1


class Verb(Enum):
    """Kinds of commands."""

    SUBSCRIBE = "subscribe"
    ADD = "add_markets"
    DELETE = "delete_markets"
    SNAPSHOT = "get_snapshot"
    UNSUBSCRIBE = "unsubscribe"


class Command:
    """The command under way: one at a time, until every answer is there.

    Attributes
    ----------
    id : int
    verb : Verb
    channel : Channel
    tickers : tuple of str
    acks : int
        Acknowledgements still to come.
    awaiting : set of str
        Markets whose book is still to come.
    deadline_ms : int
        When it counts as unanswered; moved on by each answer.
    heard : bool
        Whether anything answered it at all.
    audit : bool
        Sent only to compare a book believed right.
    probe : bool
        Sent only to hear whether the connection lives.
    """

    __slots__ = ("acks", "audit", "awaiting", "channel", "deadline_ms", "heard", "id", "probe", "tickers", "verb")

    def __init__(
        self,
        number: int,
        verb: Verb,
        channel: Channel,
        tickers: tuple[str, ...],
        *,
        acks: int,
        awaiting: set[str],
        deadline_ms: int,
        probe: bool = False,
        audit: bool = False,
    ) -> None:
        self.audit = audit
        self.id = number
        self.verb = verb
        self.channel = channel
        self.tickers = tickers
        self.acks = acks
        self.awaiting = awaiting
        self.deadline_ms = deadline_ms
        self.heard = False
        self.probe = probe
